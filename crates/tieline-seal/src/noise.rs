//! The Noise handshake of WireGuard, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (paper §5.4), in one type for each
//! awaited step.
//!
//! ```text
//! initiator                                        responder
//! Initiator::start ── message 1: e, s, timestamp ─► Responder::read ─► Identified
//! Initiator::finish ◄── message 2: e, nothing ───── Identified::respond
//!        └──────────► SessionKeys ◄───────────────────────┘
//! ```
//!
//! The state machine is snow's. What it needs underneath is given by our own resolver (`primitives`), for three
//! reasons: ephemeral keys come from the caller's generator, so that a run can be repeated; an agreement with
//! a point of low order is refused, as WireGuard demands; and the keys it holds are erased. snow itself does
//! not erase its chaining key and preshared key, so a state that is done with is overwritten in place
//! ([`Erased`]). Copies that snow made on the stack are beyond our reach.

mod primitives;

use std::hint::black_box;

use snow::params::NoiseParams;
use snow::{Builder, Error, HandshakeState};
use tieline_wire::tai64n::Tai64N;
use tieline_wire::wireguard::{HandshakeInitiation, HandshakeResponse};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use self::primitives::Resolver;
pub(crate) use self::primitives::{aead_key, aead_nonce};
use crate::keys::{KEY_LEN, PresharedKey, PrivateKey, PublicKey};

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// What both ends derive from a finished handshake, seen from this end.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionKeys {
    pub(crate) sealing: [u8; KEY_LEN],
    pub(crate) opening: [u8; KEY_LEN],
}

/// The initiator, awaiting message 2.
pub(crate) struct Initiator(Erased);

impl Initiator {
    /// Writes message 1 to `peer`. `ephemeral` must be fresh from a generator.
    pub(crate) fn start(
        private_key: &PrivateKey,
        peer: &PublicKey,
        preshared_key: &PresharedKey,
        ephemeral: Zeroizing<[u8; KEY_LEN]>,
        timestamp: Tai64N,
    ) -> Result<(Self, [u8; HandshakeInitiation::NOISE_LEN]), NotAuthentic> {
        let mut state = Erased::new(
            builder(ephemeral)
                .prologue(PROLOGUE)?
                .local_private_key(private_key.expose())?
                .remote_public_key(peer.as_bytes())?
                .psk(PSK_POSITION, preshared_key.expose())?
                .build_initiator()?,
        );
        let mut message = [0; HandshakeInitiation::NOISE_LEN];
        state.0.write_message(&timestamp.to_bytes(), &mut message)?;
        Ok((Self(state), message))
    }

    /// Reads message 2. The handshake goes on awaiting if it is not authentic, so nobody can end it by a
    /// forgery.
    pub(crate) fn finish(
        &mut self,
        message: &[u8; HandshakeResponse::NOISE_LEN],
    ) -> Result<SessionKeys, NotAuthentic> {
        self.0.0.read_message(message, &mut [])?;
        let (sealing, opening) = self.0.0.dangerously_get_raw_split();
        Ok(SessionKeys { sealing, opening })
    }
}

/// The responder before message 1: there is nothing to hold.
pub(crate) struct Responder;

impl Responder {
    /// Reads message 1. Who sent it is known then, but not yet whether it is welcome.
    pub(crate) fn read(
        private_key: &PrivateKey,
        ephemeral: Zeroizing<[u8; KEY_LEN]>,
        message: &[u8; HandshakeInitiation::NOISE_LEN],
    ) -> Result<Identified, NotAuthentic> {
        let mut state = Erased::new(
            builder(ephemeral)
                .prologue(PROLOGUE)?
                .local_private_key(private_key.expose())?
                .build_responder()?,
        );
        let mut timestamp = [0; Tai64N::LEN];
        state.0.read_message(message, &mut timestamp)?;
        let peer: [u8; KEY_LEN] =
            state.0.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(NotAuthentic)?;
        Ok(Identified { state, peer: PublicKey::from_bytes(peer), timestamp: Tai64N::from_bytes(timestamp) })
    }
}

/// The responder after message 1.
pub(crate) struct Identified {
    state: Erased,
    /// The initiator's static key.
    pub(crate) peer: PublicKey,
    /// The date that the initiator says it is.
    pub(crate) timestamp: Tai64N,
}

impl Identified {
    /// Writes message 2.
    pub(crate) fn respond(
        mut self,
        preshared_key: &PresharedKey,
    ) -> Result<(SessionKeys, [u8; HandshakeResponse::NOISE_LEN]), NotAuthentic> {
        self.state.0.set_psk(PSK_POSITION.into(), preshared_key.expose())?;
        let mut message = [0; HandshakeResponse::NOISE_LEN];
        self.state.0.write_message(&[], &mut message)?;
        let (opening, sealing) = self.state.0.dangerously_get_raw_split();
        Ok((SessionKeys { sealing, opening }, message))
    }
}

impl From<Error> for NotAuthentic {
    fn from(_: Error) -> Self {
        Self
    }
}

/// A handshake state that is overwritten before its memory is given back.
struct Erased(Box<HandshakeState>);

impl Erased {
    fn new(state: HandshakeState) -> Self {
        Self(Box::new(state))
    }
}

impl Drop for Erased {
    fn drop(&mut self) {
        let empty =
            Builder::with_resolver(params(EMPTY_PROTOCOL), Box::new(Resolver::default())).build_initiator();
        if let Ok(empty) = empty {
            *self.0 = empty;
            // Without a reader the compiler could leave out a write to memory that is freed next.
            black_box(&mut self.0);
        }
    }
}

fn builder<'keys>(ephemeral: Zeroizing<[u8; KEY_LEN]>) -> Builder<'keys> {
    Builder::with_resolver(params(PROTOCOL), Box::new(Resolver { ephemeral }))
}

fn params(protocol: &str) -> NoiseParams {
    protocol.parse().expect("the protocol's name is one that snow knows")
}

const PROTOCOL: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const PSK_POSITION: u8 = 2;

/// A protocol that needs no keys, for a state without secrets.
const EMPTY_PROTOCOL: &str = "Noise_NN_25519_ChaChaPoly_BLAKE2s";

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::Aad;
    use data_encoding::HEXLOWER;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        protocol: String,
        prologue: String,
        preshared_key: String,
        initiator_static: String,
        initiator_ephemeral: String,
        responder_static: String,
        responder_static_public: String,
        responder_ephemeral: String,
        handshake_hash: String,
        messages: Vec<VectorMessage>,
    }

    #[derive(Deserialize)]
    struct VectorMessage {
        payload: String,
        ciphertext: String,
    }

    fn bytes(hex: &str) -> Vec<u8> {
        HEXLOWER.decode(hex.as_bytes()).unwrap()
    }

    fn key(hex: &str) -> [u8; KEY_LEN] {
        bytes(hex).try_into().unwrap()
    }

    #[test]
    fn the_handshake_and_its_keys_are_those_of_an_independent_implementation() {
        let vector: Vector = toml::from_str(include_str!("../tests/vectors/noise-ikpsk2.toml")).unwrap();
        assert_eq!(vector.protocol, PROTOCOL);
        let (prologue, preshared_key) = (bytes(&vector.prologue), key(&vector.preshared_key));
        let initiator_static = key(&vector.initiator_static);
        let responder_static = key(&vector.responder_static);
        let responder_public = key(&vector.responder_static_public);
        let mut initiator = builder(Zeroizing::new(key(&vector.initiator_ephemeral)))
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(&initiator_static))
            .and_then(|builder| builder.remote_public_key(&responder_public))
            .and_then(|builder| builder.psk(PSK_POSITION, &preshared_key))
            .and_then(Builder::build_initiator)
            .unwrap();
        let mut responder = builder(Zeroizing::new(key(&vector.responder_ephemeral)))
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(&responder_static))
            .and_then(Builder::build_responder)
            .unwrap();

        let mut out = [0; 256];
        let [first, second, transport @ ..] = &vector.messages[..] else {
            panic!("a handshake has two messages")
        };
        let length = initiator.write_message(&bytes(&first.payload), &mut out).unwrap();
        assert_eq!(HEXLOWER.encode(&out[..length]), first.ciphertext);
        let length = responder.read_message(&bytes(&first.ciphertext), &mut out).unwrap();
        assert_eq!(HEXLOWER.encode(&out[..length]), first.payload);

        responder.set_psk(PSK_POSITION.into(), &preshared_key).unwrap();
        let length = responder.write_message(&bytes(&second.payload), &mut out).unwrap();
        assert_eq!(HEXLOWER.encode(&out[..length]), second.ciphertext);
        let length = initiator.read_message(&bytes(&second.ciphertext), &mut out).unwrap();
        assert_eq!(HEXLOWER.encode(&out[..length]), second.payload);
        assert_eq!(HEXLOWER.encode(initiator.get_handshake_hash()), vector.handshake_hash);

        let (of_initiator, of_responder) = initiator.dangerously_get_raw_split();
        assert_eq!((of_initiator, of_responder), responder.dangerously_get_raw_split());
        assert_eq!(transport.len(), 4);
        for (number, message) in transport.iter().enumerate() {
            let key = if number % 2 == 0 { of_initiator } else { of_responder };
            let mut text = bytes(&message.payload);
            let tag = aead_key(&key)
                .seal_in_place_separate_tag(aead_nonce(number as u64 / 2), Aad::empty(), &mut text)
                .unwrap();
            assert_eq!(HEXLOWER.encode(&[&text, tag.as_ref()].concat()), message.ciphertext);
        }
    }

    fn private(byte: u8) -> PrivateKey {
        PrivateKey::from_bytes([byte; KEY_LEN])
    }

    fn ephemeral(byte: u8) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new([byte; KEY_LEN])
    }

    const TIMESTAMP: Tai64N = Tai64N::from_bytes([7; Tai64N::LEN]);

    fn start(peer: u8, preshared_key: &PresharedKey) -> (Initiator, [u8; HandshakeInitiation::NOISE_LEN]) {
        let peer = private(peer).public_key();
        Initiator::start(&private(1), &peer, preshared_key, ephemeral(0x11), TIMESTAMP).unwrap()
    }

    #[test]
    fn both_sides_derive_the_same_keys_crosswise() {
        let preshared_key = PresharedKey::from_bytes([9; KEY_LEN]);
        let (mut initiator, first) = start(2, &preshared_key);
        let identified = Responder::read(&private(2), ephemeral(0x22), &first).unwrap();
        assert_eq!(identified.peer, private(1).public_key());
        assert_eq!(identified.timestamp, TIMESTAMP);
        let (of_responder, second) = identified.respond(&preshared_key).unwrap();
        let of_initiator = initiator.finish(&second).unwrap();
        assert_eq!(of_initiator.sealing, of_responder.opening);
        assert_eq!(of_initiator.opening, of_responder.sealing);
        assert_ne!(of_initiator.sealing, of_initiator.opening);
    }

    #[test]
    fn a_message_for_another_key_is_not_authentic() {
        let (_, first) = start(3, &PresharedKey::ZERO);
        assert!(Responder::read(&private(2), ephemeral(0x22), &first).is_err());
    }

    #[test]
    fn an_initiator_outlives_forgeries_and_takes_the_true_answer() {
        let (mut initiator, first) = start(2, &PresharedKey::ZERO);
        let identified = Responder::read(&private(2), ephemeral(0x22), &first).unwrap();
        let (_, second) = identified.respond(&PresharedKey::ZERO).unwrap();
        for octet in 0..second.len() {
            let mut forged = second;
            forged[octet] ^= 1;
            assert!(initiator.finish(&forged).is_err(), "octet {octet}");
        }
        assert!(initiator.finish(&[0; HandshakeResponse::NOISE_LEN]).is_err(), "a point of low order");
        assert!(initiator.finish(&second).is_ok());
    }

    #[test]
    fn a_different_preshared_key_shows_in_the_second_message() {
        let (mut initiator, first) = start(2, &PresharedKey::from_bytes([1; KEY_LEN]));
        let identified = Responder::read(&private(2), ephemeral(0x22), &first).unwrap();
        let (_, second) = identified.respond(&PresharedKey::from_bytes([2; KEY_LEN])).unwrap();
        assert!(initiator.finish(&second).is_err());
    }
}
