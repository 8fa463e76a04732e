//! The long-term secrets of an end: its private key, the preshared key, the secret of an invitation.
//!
//! Text is base64 with padding, as `wg` reads and writes it. Secrets are erased when dropped, compared in
//! constant time and never printed; the only ways out are the methods that say so in their name.

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

    /// Derives a secret for `purpose`, by BLAKE2s keyed with this one; it says nothing of this one, nor of that for another purpose.
    /// The purpose is a sentence that nothing else derives under.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(keyed_hash::<U32>(&self.0, &[DERIVATION_LABEL, purpose.as_bytes()]).into())
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

    /// Whether no handshake can succeed with it, because it is one of the few points that make every shared
    /// secret zero; all zero octets, as in an unset key, are one of them.
    #[must_use]
    pub fn is_low_order(&self) -> bool {
        MontgomeryPoint(self.0).mul_clamped([0; KEY_LEN]).to_bytes() == [0; KEY_LEN]
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
        // 31 octets end in two signs of padding, 33 in none.
        return Err(KeyError::Character { position: KEY_TEXT_LEN - usize::from(length < KEY_LEN) });
    }
    key.copy_from_slice(&decoded[..KEY_LEN]);
    Ok(key)
}

/// Characters of a key as text.
const KEY_TEXT_LEN: usize = 44;

/// Octets that so many characters may decode to at most.
const DECODED_LEN_MAX: usize = KEY_TEXT_LEN / 4 * 3;

const DERIVATION_LABEL: &[u8] = b"tieline derived secret v1: ";
const PRESHARED_KEY_LABEL: &[u8] = b"tieline invitation v1: preshared key";
const PROOF_KEY_LABEL: &[u8] = b"tieline invitation v1: proof of the joiner";

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn a_public_key_is_that_of_rfc_7748() {
        // §5.2: one iteration from the scalar 9 and the base point.
        let mut scalar = [0; KEY_LEN];
        scalar[0] = 9;
        let hex = data_encoding::HEXLOWER.encode(PrivateKey::from_bytes(scalar).public_key().as_bytes());
        assert_eq!(hex, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }

    #[test]
    fn keys_as_text_are_those_of_wg() {
        // `echo //79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA= | wg pubkey`, a key whose bits are not yet
        // clamped.
        let private: PrivateKey = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=".parse().unwrap();
        assert_eq!(private.public_key().to_string(), "Pry2khSTRNxU5YFgz5C+2e6h3RToHI6R3lV699ev2RU=");
    }

    #[test]
    fn generated_keys_are_clamped_and_survive_text() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let key = PrivateKey::generate(&mut rng);
        assert_eq!(key.expose()[0] & 7, 0);
        assert_eq!(key.expose()[31] & 0xc0, 0x40);
        assert_eq!(key.reveal().parse(), Ok(key.clone()));
        assert_ne!(key, PrivateKey::generate(&mut rng));

        let preshared = PresharedKey::generate(&mut rng);
        assert_eq!(preshared.reveal().parse(), Ok(preshared));
        let public = key.public_key();
        assert_eq!(public.to_string().parse(), Ok(public));
    }

    #[test]
    fn what_is_derived_depends_on_the_key_and_on_the_purpose() {
        let [one, other] = [1, 2].map(|octet| PrivateKey::from_bytes([octet; KEY_LEN]));
        assert_eq!(one.derive("a"), one.derive("a"));
        assert_ne!(one.derive("a"), one.derive("b"));
        assert_ne!(one.derive("a"), other.derive("a"));
        assert_ne!(*one.derive("a"), *one.expose());
    }

    #[test]
    fn text_that_is_not_a_key_is_named_as_such() {
        let parse = |text: &str| text.parse::<PublicKey>().unwrap_err();
        assert_eq!(parse(""), KeyError::Length { found: 0 });
        assert_eq!(parse("8wuirZ7G4lAcRuODOvbx9n2dmgamTVO+/538xUiPKXc"), KeyError::Length { found: 43 });
        assert_eq!(
            parse("8wuirZ7G4lAcRuODOvbx9n2dmgamTVO+/538xUiPKQ=="),
            KeyError::Character { position: 43 },
            "31 octets"
        );
        assert_eq!(
            parse("8wuirZ7G4lAc!uODOvbx9n2dmgamTVO+/538xUiPKXc="),
            KeyError::Character { position: 13 }
        );
        assert_eq!(
            parse("8wuirZ7G4lAcRuODOvbx9n2dmgamTVO+/538xUiPKXd="),
            KeyError::Character { position: 43 },
            "bits behind the last octet are not zero"
        );
        assert_eq!(parse("ä8wuirZ7G4lAcRuODOvbx9n2dmgamTVO+/538xUiPKX"), KeyError::Character { position: 1 });
        assert_eq!(
            parse("short").to_string(),
            "a key has 44 characters, this has 5",
            "the message says what is wrong"
        );
    }

    #[test]
    fn blanks_around_a_key_do_not_matter() {
        let text = " 8wuirZ7G4lAcRuODOvbx9n2dmgamTVO+/538xUiPKXc=\n";
        assert_eq!(text.parse::<PublicKey>().unwrap().to_string(), text.trim());
    }

    #[test]
    fn secrets_are_never_printed() {
        let text = "8wuirZ7G4lAcRuODOvbx9n2dmgamTVO+/538xUiPKXc=";
        let printed = format!(
            "{:?} {:?} {:?} {:?}",
            text.parse::<PrivateKey>().unwrap(),
            text.parse::<PresharedKey>().unwrap(),
            PresharedKey::ZERO,
            InvitationSecret::from_bytes(*b"very secret here"),
        );
        assert_eq!(
            printed,
            "PrivateKey(secret) PresharedKey(secret) PresharedKey(none) InvitationSecret(secret)"
        );
    }

    #[test]
    fn an_invitation_gives_two_keys_that_do_not_tell_each_other() {
        let secret = InvitationSecret::from_bytes([5; 16]);
        let preshared = secret.preshared_key();
        assert!(!preshared.is_zero());
        assert_eq!(preshared, secret.preshared_key());
        assert_ne!(preshared, InvitationSecret::from_bytes([6; 16]).preshared_key());
        let proof = secret.proof_key().mac(&[b"message"]);
        assert_ne!(proof, MacKey::from_bytes(*preshared.expose()).mac(&[b"message"]));
    }

    #[test]
    fn points_of_low_order_are_recognised() {
        let mut one = [0; KEY_LEN];
        one[0] = 1;
        assert!(PublicKey::from_bytes([0; KEY_LEN]).is_low_order());
        assert!(PublicKey::from_bytes(one).is_low_order());
        assert!(!PrivateKey::from_bytes([3; KEY_LEN]).public_key().is_low_order());
    }
}
