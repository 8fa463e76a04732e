//! The two cipher suites of a session, and which of them a datagram is sealed with.
//!
//! The first is WireGuard's, ChaCha20-Poly1305; every session has it and begins with it. The second, AES-256-GCM, is for
//! two tielines whose processors do AES in hardware. Its keys are derived from those of the first, so the handshake knows
//! nothing of it. An end gives the session a second index of its own and announces it to the peer inside the session; a
//! datagram that comes to that index is sealed with AES-256-GCM, one that comes to the first index is not. So the
//! suite of a datagram is never guessed, and no octet of it is new.
//!
//! What both suites share: the counter, so that each number is used once whatever it is used for; the replay window; the
//! form of the nonce; timers and limits of age. What they do not share is a key.
//!
//! How many octets may be sealed under one key of GCM is in [`crate::limits::AES_REJECT_AFTER_MESSAGES`].

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use blake2::digest::consts::U32;
use tieline_wire::wireguard::SessionIndex;
use zeroize::Zeroizing;

use crate::keys::KEY_LEN;
use crate::limits::{AES_REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES};
use crate::mac::keyed_hash;
use crate::noise::SessionKeys;

/// What seals the packets of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// WireGuard's (RFC 8439).
    ChaCha20Poly1305,
    /// The second one, between two tielines (NIST SP 800-38D).
    Aes256Gcm,
}

impl Suite {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
            Self::Aes256Gcm => "AES-256-GCM",
        }
    }

    /// The counter from which on nothing is sealed or opened under one key.
    pub(crate) const fn reject_after_messages(self) -> u64 {
        match self {
            Self::ChaCha20Poly1305 => REJECT_AFTER_MESSAGES,
            Self::Aes256Gcm => AES_REJECT_AFTER_MESSAGES,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// With what a packet is sealed, and the index that says so.
pub(crate) struct Sealing<'s> {
    pub(crate) suite: Suite,
    pub(crate) receiver: SessionIndex,
    pub(crate) key: &'s LessSafeKey,
}

/// With what a datagram is opened.
pub(crate) struct Opening<'s> {
    pub(crate) suite: Suite,
    pub(crate) key: &'s LessSafeKey,
}

/// A session's part in AES-256-GCM. Only an end that has fast AES makes it.
pub(crate) struct Aes {
    /// The index in datagrams to us.
    pub(crate) local_index: SessionIndex,
    /// The index in datagrams to the peer, once it has announced one.
    remote_index: OnceLock<SessionIndex>,
    sealing: LessSafeKey,
    opening: LessSafeKey,
}

impl Aes {
    pub(crate) fn new(local_index: SessionIndex, keys: &SessionKeys) -> Self {
        Self {
            local_index,
            remote_index: OnceLock::new(),
            sealing: derived_key(&keys.sealing),
            opening: derived_key(&keys.opening),
        }
    }

    /// Takes the index that the peer announced. The first one holds as long as the session.
    pub(crate) fn announce(&self, remote_index: SessionIndex) {
        let _ = self.remote_index.set(remote_index);
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.remote_index.get().is_some()
    }

    pub(crate) fn sealing(&self) -> Option<Sealing<'_>> {
        let receiver = *self.remote_index.get()?;
        Some(Sealing { suite: Suite::Aes256Gcm, receiver, key: &self.sealing })
    }

    pub(crate) fn opening(&self) -> Opening<'_> {
        Opening { suite: Suite::Aes256Gcm, key: &self.opening }
    }
}

/// The key of AES-256-GCM for the direction that has `key` in the first suite. BLAKE2s with a key is a pseudo-random
/// function, so neither of the two tells anything about the other.
fn derived_key(key: &[u8; KEY_LEN]) -> LessSafeKey {
    let derived: Zeroizing<[u8; KEY_LEN]> = Zeroizing::new(keyed_hash::<U32>(key, &[KEY_LABEL]).into());
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*derived).expect("a key of AES-256-GCM has 32 octets"))
}

const KEY_LABEL: &[u8] = b"tieline aes-256-gcm v1";

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::Aad;
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::noise::{aead_key, aead_nonce};

    fn sealed(key: &LessSafeKey, counter: u64, packet: &[u8]) -> Vec<u8> {
        let mut text = packet.to_vec();
        let tag = key.seal_in_place_separate_tag(aead_nonce(counter), Aad::empty(), &mut text).unwrap();
        [&text, tag.as_ref()].concat()
    }

    #[test]
    fn keys_and_octets_are_those_of_an_independent_implementation() {
        // Python: hashlib.blake2s(b"tieline aes-256-gcm v1", key=bytes(range(32))), then AESGCM of `cryptography` with
        // the nonce bytes(4) + (5).to_bytes(8, "little").
        let key: [u8; KEY_LEN] = std::array::from_fn(|at| at as u8);
        let derived = HEXLOWER.encode(&keyed_hash::<U32>(&key, &[KEY_LABEL]));
        assert_eq!(derived, "884a866719cf0e63c2ebbb3be9ee1c4179c1cfcc3a257f3fa302e7c530ee32b0");
        assert_eq!(
            HEXLOWER.encode(&sealed(&derived_key(&key), 5, b"a packet")),
            "1965bb1401234299bb1093d2e6925b7d4bab38f2da6182bb"
        );
    }

    #[test]
    fn the_same_key_and_counter_give_other_octets_under_the_other_suite() {
        let key = [7; KEY_LEN];
        assert_ne!(sealed(&aead_key(&key), 0, &[0; 64]), sealed(&derived_key(&key), 0, &[0; 64]));
    }

    #[test]
    fn nothing_is_sealed_with_aes_before_the_peer_has_announced_and_its_first_word_holds() {
        let aes = Aes::new(SessionIndex(1), &SessionKeys { sealing: [1; KEY_LEN], opening: [2; KEY_LEN] });
        assert!(aes.sealing().is_none() && !aes.is_announced());
        for announced in [SessionIndex(9), SessionIndex(8)] {
            aes.announce(announced);
            assert_eq!(aes.sealing().map(|sealing| sealing.receiver), Some(SessionIndex(9)));
        }
    }
}
