//! Keyed BLAKE2s as the protocol uses it: MAC1, MAC2, the cookie's own key, and what is derived from an
//! invitation.

use blake2::digest::consts::{U16, U32};
use blake2::digest::generic_array::{ArrayLength, GenericArray};
use blake2::digest::typenum::{IsLessOrEqual, LeEq, NonZero};
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use subtle::ConstantTimeEq;
use tieline_wire::wireguard::{HandshakeInitiation, HandshakeResponse, MAC_LEN};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::PublicKey;

/// A key of 32 octets for [`MacKey::mac`]: that of MAC1, of an invitation's proof, or of the cookies an end
/// gives out.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct MacKey([u8; 32]);

impl MacKey {
    /// The key of MAC1 in messages to `receiver`: HASH(LABEL_MAC1 ‖ its public key) (paper §5.4.4).
    pub(crate) fn mac1_to(receiver: &PublicKey) -> Self {
        Self(hash_of_label_and_key(LABEL_MAC1, receiver))
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// MAC of `parts`, one after the other.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_LEN] {
        keyed_hash::<U16>(&self.0, parts).into()
    }

    /// Whether `mac` is that of `message`, in constant time.
    pub(crate) fn verifies(&self, message: &[u8], mac: &[u8]) -> bool {
        self.mac(&[message]).ct_eq(mac).into()
    }
}

/// Writes the MAC1 that fits into a handshake initiation or response, as anybody can who knows the receiver's
/// public key. For fuzzers and tests, whose messages would not get past the door without it. Other datagrams
/// are left as they are.
pub fn stamp_mac1(datagram: &mut [u8], receiver: &PublicKey) {
    let mac1_at = match datagram.len() {
        HandshakeInitiation::LEN => HandshakeInitiation::MAC1,
        HandshakeResponse::LEN => HandshakeResponse::MAC1,
        _ => return,
    };
    let mac1 = MacKey::mac1_to(receiver).mac(&[&datagram[..mac1_at]]);
    datagram[mac1_at..mac1_at + MAC_LEN].copy_from_slice(&mac1);
}

/// The key under which `sender` of a cookie reply seals it: HASH(LABEL_COOKIE ‖ its public key) (paper
/// §5.4.7).
pub(crate) fn cookie_reply_key(sender: &PublicKey) -> [u8; 32] {
    hash_of_label_and_key(LABEL_COOKIE, sender)
}

/// BLAKE2s with `key` of at most 32 octets over `parts`.
pub(crate) fn keyed_hash<Length>(key: &[u8], parts: &[&[u8]]) -> GenericArray<u8, Length>
where
    Length: ArrayLength<u8> + IsLessOrEqual<U32>,
    LeEq<Length, U32>: NonZero,
{
    let mut state =
        Blake2sMac::<Length>::new_from_slice(key).expect("keys of BLAKE2s here have 16 or 32 octets");
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed()
}

fn hash_of_label_and_key(label: &[u8], key: &PublicKey) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(key.as_bytes()).finalize().into()
}

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn keyed_blake2s_is_that_of_the_reference_vectors() {
        // BLAKE2 reference test vectors (blake2s, 32-octet key 00..1f): input empty, and input 00.
        let key: [u8; 32] = std::array::from_fn(|at| at as u8);
        let hex = |parts: &[&[u8]]| HEXLOWER.encode(&keyed_hash::<U32>(&key, parts));
        assert_eq!(hex(&[]), "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49");
        assert_eq!(hex(&[&[0]]), "40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1");
    }

    #[test]
    fn parts_count_as_one_message() {
        let key = MacKey::from_bytes([3; 32]);
        assert_eq!(key.mac(&[b"ab", b"", b"c"]), key.mac(&[b"abc"]));
    }

    #[test]
    fn a_changed_message_mac_or_key_does_not_verify() {
        let key = MacKey::from_bytes([3; 32]);
        let mac = key.mac(&[b"message"]);
        assert!(key.verifies(b"message", &mac));
        assert!(!key.verifies(b"massage", &mac));
        assert!(!MacKey::from_bytes([4; 32]).verifies(b"message", &mac));
        assert!(!key.verifies(b"message", &mac[..15]));
        for bit in 0..128 {
            let mut forged = mac;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(b"message", &forged), "bit {bit}");
        }
    }
}
