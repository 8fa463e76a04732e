//! The long-term secrets of an end: its private key, the preshared key, the secret of an invitation.
//!
//! Text is base64 with padding, as `wg` reads and writes it. Secrets are erased when dropped, compared in constant time and never
//! printed; the only ways out are the methods that say so in their name.

use std::fmt;
use std::str::FromStr;

use blake2::digest::consts::U32;
use curve25519_dalek::MontgomeryPoint;
use data_encoding::BASE64;
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::mac::{MacKey, keyed_hash};

/// Octets of every key here but the invitation's secret.
pub const KEY_LEN: usize = 32;

/// The private half of an end's static key (X25519).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_LEN]);

/// The public half of an end's static key, which is also its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

/// The symmetric key that two ends may share beforehand (paper §5.2); all zero if they do not.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LEN]);

/// The one-time secret of an invitation, from which a preshared key and a key to prove it come.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InvitationSecret([u8; Self::LEN]);

/// Why text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is too short or too long.
    #[error("a key has {KEY_TEXT_LEN} characters, this has {found}")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// It is not base64.
    #[error("not a key: the character at position {position} does not belong there")]
    Character {
        /// Where, counted from 1.
        position: usize,
    },
}

impl PrivateKey {
    /// Makes a new key from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *bytes);
        Self::from_bytes(*bytes)
    }

    /// Takes any 32 octets as a key, setting the bits that X25519 sets (RFC 7748 §5), as `wg` does.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(curve25519_dalek::scalar::clamp_integer(*bytes))
    }

    /// Computes the public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(MontgomeryPoint::mul_base_clamped(self.0).to_bytes())
    }

    /// Writes the secret as text, for a file that only its owner reads.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&self.0))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PublicKey {
    /// Takes any 32 octets as a public key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PresharedKey {
    /// What two ends use that share no key.
    pub const ZERO: Self = Self([0; KEY_LEN]);

    /// Makes a new key from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Self::ZERO;
        rng.fill_bytes(&mut key.0);
        key
    }

    /// Takes any 32 octets as a key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Whether this is [`Self::ZERO`], that is, no key.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self == &Self::ZERO
    }

    /// Writes the secret as text, for a file that only its owner reads.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&self.0))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl Default for PresharedKey {
    fn default() -> Self {
        Self::ZERO
    }
}

impl InvitationSecret {
    /// Octets of the secret: 128 bits, so that an invitation stays short enough to be read out.
    pub const LEN: usize = 16;

    /// Makes a new secret from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self([0; Self::LEN]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// Takes the secret out of an invitation.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The octets, for the invitation.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Derives the preshared key of the pair.
    #[must_use]
    pub fn preshared_key(&self) -> PresharedKey {
        PresharedKey(keyed_hash::<U32>(&self.0, &[PRESHARED_KEY_LABEL]).into())
    }

    /// Derives the key with which a joiner marks its initiations; tells nothing about the preshared key.
    pub(crate) fn proof_key(&self) -> MacKey {
        MacKey::from_bytes(keyed_hash::<U32>(&self.0, &[PROOF_KEY_LABEL]).into())
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for PrivateKey {}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for PresharedKey {}

impl PartialEq for InvitationSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for InvitationSecret {}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = decode(text)?;
        Ok(Self::from_bytes(*bytes))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(|bytes| Self(*bytes))
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(|bytes| Self(*bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_zero() { "PresharedKey(none)" } else { "PresharedKey(secret)" })
    }
}

impl fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationSecret(secret)")
    }
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let text = text.trim();
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyError::Length { found: text.chars().count() });
    }
    let mut decoded = Zeroizing::new([0; DECODED_LEN_MAX]);
    let length = BASE64
        .decode_mut(text.as_bytes(), &mut *decoded)
        .map_err(|partial| KeyError::Character { position: partial.error.position + 1 })?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if length != KEY_LEN {
        return Err(KeyError::Character { position: KEY_TEXT_LEN });
    }
    key.copy_from_slice(&decoded[..KEY_LEN]);
    Ok(key)
}

/// Characters of a key as text.
const KEY_TEXT_LEN: usize = 44;

/// Octets that so many characters may decode to at most.
const DECODED_LEN_MAX: usize = KEY_TEXT_LEN / 4 * 3;

const PRESHARED_KEY_LABEL: &[u8] = b"tieline invitation v1: preshared key";
const PROOF_KEY_LABEL: &[u8] = b"tieline invitation v1: proof of the joiner";
