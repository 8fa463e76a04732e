//! The keys of receipts. An end keeps no key for them: it follows from the private key of its line, by way of a secret that is no key of
//! anything else.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::HEXLOWER;
use zeroize::{Zeroize, Zeroizing};

use super::SIGNATURE_LEN;

/// Octets of each key here.
pub const KEY_LEN: usize = 32;

/// What BLAKE3 derives the key under; another key of the same line has another one.
const CONTEXT: &str = "tieline 2026-11-28 key that signs receipts v1";

/// The y coordinates of the points of small order, as they may be encoded; the sign bit does not matter. Under such a key
/// anybody can make signatures, some of which fit every content, so its holder could deny his own. As in libsodium's
/// `ge25519_has_small_order`.
const WEAK: [[u8; KEY_LEN]; 7] = [
    small(0),
    small(1),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

/// The private key that an end signs its receipts with. Not printed, and erased by aws-lc when dropped.
pub struct SigningKey(Ed25519KeyPair);

/// The public key of an end that signs receipts: any 32 octets but the few that prove nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; KEY_LEN]);

/// A key under which signatures prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("with the key {} receipts prove nothing: anybody can sign with it", HEXLOWER.encode_display(.0))]
pub struct WeakKey(pub [u8; KEY_LEN]);

/// Why text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It is not the hexadecimal of so many octets.
    #[error("a signing key has {} digits, 0 to 9 and a to f", 2 * KEY_LEN)]
    Text,
    /// It proves nothing.
    #[error(transparent)]
    Weak(#[from] WeakKey),
}

impl SigningKey {
    /// Derives it from a secret that follows from the private key of the line.
    #[must_use]
    pub fn from_line_secret(line_secret: &[u8; KEY_LEN]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(line_secret);
        let mut output = hasher.finalize_xof();
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        output.fill(&mut *seed);
        output.zeroize();
        hasher.zeroize();
        Self(Ed25519KeyPair::from_seed_unchecked(&*seed).expect("any 32 octets are a seed"))
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        let octets = self.0.public_key().as_ref();
        VerifyingKey(octets.try_into().expect("a public key of Ed25519 has 32 octets"))
    }

    pub(super) fn sign_octets(&self, octets: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(octets).as_ref().try_into().expect("a signature of Ed25519 has 64 octets")
    }
}

impl VerifyingKey {
    /// Takes a key as it was received or kept.
    ///
    /// # Errors
    ///
    /// [`WeakKey`] for a point of small order. Octets that are no point at all are taken: no signature fits them.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Result<Self, WeakKey> {
        let mut y = bytes;
        y[KEY_LEN - 1] &= 0x7f;
        if WEAK.contains(&y) { Err(WeakKey(bytes)) } else { Ok(Self(bytes)) }
    }

    /// Its octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyTextError;

    /// Reads a key as [`fmt::Display`] writes it.
    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let octets = HEXLOWER.decode(text.as_bytes()).ok().and_then(|octets| octets.try_into().ok());
        Ok(Self::from_bytes(octets.ok_or(KeyTextError::Text)?)?)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.public())
    }
}

impl fmt::Display for VerifyingKey {
    /// In hexadecimal, so that nobody takes it for the base64 key of a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn small(number: u8) -> [u8; KEY_LEN] {
    let mut octets = [0; KEY_LEN];
    octets[0] = number;
    octets
}

/// A number near the prime p = 2^255 - 19, whose lowest octet is 0xed; all others are those of 2^255 - 1.
const fn near_p(lowest: u8) -> [u8; KEY_LEN] {
    let mut octets = [0xff; KEY_LEN];
    octets[0] = lowest;
    octets[KEY_LEN - 1] = 0x7f;
    octets
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;

    #[test]
    fn keys_follow_from_the_line_and_only_from_it() {
        let key = SigningKey::from_line_secret(&[7; KEY_LEN]);
        assert_eq!(key.public(), SigningKey::from_line_secret(&[7; KEY_LEN]).public());
        assert_ne!(key.public(), SigningKey::from_line_secret(&[8; KEY_LEN]).public());
        let as_it_is = Ed25519KeyPair::from_seed_unchecked(&[7; KEY_LEN]).unwrap();
        assert_ne!(
            as_it_is.public_key().as_ref(),
            key.public().as_bytes(),
            "the line's secret itself signs nothing"
        );
    }

    #[test]
    fn no_secret_is_in_what_is_printed() {
        let key = SigningKey::from_line_secret(&[7; KEY_LEN]);
        let public = key.public().to_string();
        assert_eq!(format!("{key:?}"), format!("SigningKey of {public}"));
        assert_eq!(public.len(), 2 * KEY_LEN);
    }

    #[test]
    fn a_key_survives_text_and_text_that_is_none_is_refused() {
        let key = SigningKey::from_line_secret(&[7; KEY_LEN]).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "ab", &"g".repeat(64), &"AB".repeat(32), &"ab".repeat(33)] {
            assert_eq!(text.parse::<VerifyingKey>(), Err(KeyTextError::Text), "{text}");
        }
        let weak = WeakKey([0; KEY_LEN]);
        assert_eq!("00".repeat(32).parse::<VerifyingKey>(), Err(KeyTextError::Weak(weak)));
    }

    #[test]
    fn one_signature_under_a_weak_key_fits_everything_so_the_key_is_refused() {
        let identity = WEAK[1];
        let forged = [&identity[..], &[0; KEY_LEN]].concat();
        for message in [&b"anything"[..], b"anything else"] {
            assert!(UnparsedPublicKey::new(&ED25519, &identity).verify(message, &forged).is_ok());
        }
        assert_eq!(VerifyingKey::from_bytes(identity), Err(WeakKey(identity)));
    }

    #[test]
    fn exactly_the_points_of_small_order_are_weak() {
        for point in EIGHT_TORSION {
            let octets = point.compress().to_bytes();
            assert_eq!(VerifyingKey::from_bytes(octets), Err(WeakKey(octets)));
        }
        for y in WEAK {
            for sign in [0, 0x80] {
                let mut octets = y;
                octets[KEY_LEN - 1] |= sign;
                assert_eq!(VerifyingKey::from_bytes(octets), Err(WeakKey(octets)));
                let mut near = octets;
                near[7] ^= 1;
                assert!(VerifyingKey::from_bytes(near).is_ok());
            }
        }
        assert!(VerifyingKey::from_bytes(near_p(0xef)).is_ok());
        assert!(VerifyingKey::from_bytes(near_p(0xeb)).is_ok());
    }
}
