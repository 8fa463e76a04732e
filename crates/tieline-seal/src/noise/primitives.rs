//! The primitives under the handshake: X25519, ChaCha20-Poly1305 and BLAKE2s, in the form that snow asks for.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use blake2::{Blake2s256, Digest};
use curve25519_dalek::MontgomeryPoint;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;
use tieline_wire::wireguard::TAG_LEN;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::KEY_LEN;

/// Gives snow its primitives.
#[derive(Default)]
pub(super) struct Resolver {
    /// The one secret that a side draws.
    pub(super) ephemeral: Zeroizing<[u8; KEY_LEN]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneEphemeral(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::default())),
            DHChoice::Curve448 => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s::default())),
            HashChoice::Blake2b | HashChoice::SHA256 | HashChoice::SHA512 => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly::default())),
            CipherChoice::AESGCM => None,
        }
    }
}

/// The one draw that each side of IKpsk2 makes: its ephemeral key.
struct OneEphemeral(Option<Zeroizing<[u8; KEY_LEN]>>);

impl Random for OneEphemeral {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        match self.0.take() {
            Some(ephemeral) if out.len() == KEY_LEN => {
                out.copy_from_slice(&*ephemeral);
                Ok(())
            }
            _ => Err(Error::Rng),
        }
    }
}

/// X25519 (RFC 7748) that refuses points of low order and erases its key.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct X25519 {
    private: [u8; KEY_LEN],
    #[zeroize(skip)]
    public: [u8; KEY_LEN],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        self.public = MontgomeryPoint::mul_base_clamped(self.private).to_bytes();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(&mut *private)?;
        self.set(&*private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    fn dh(&self, peer: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let peer = peer.first_chunk::<KEY_LEN>().ok_or(Error::Dh)?;
        let shared = Zeroizing::new(MontgomeryPoint(*peer).mul_clamped(self.private).to_bytes());
        if shared.ct_eq(&[0; KEY_LEN]).into() {
            return Err(Error::Dh);
        }
        out.get_mut(..KEY_LEN).ok_or(Error::Dh)?.copy_from_slice(&*shared);
        Ok(())
    }
}

/// ChaCha20-Poly1305 (RFC 8439) with the nonce of Noise: four zero octets, then the counter, little endian.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct ChaChaPoly {
    key: [u8; KEY_LEN],
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        self.key = *key;
    }

    fn encrypt(&self, counter: u64, associated: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = aead_key(&self.key)
            .seal_in_place_separate_tag(aead_nonce(counter), Aad::from(associated), text)
            .expect("a handshake field is shorter than the AEAD's limit of 256 GiB");
        rest[..TAG_LEN].copy_from_slice(tag.as_ref());
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        counter: u64,
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let length = sealed.len().checked_sub(TAG_LEN).ok_or(Error::Decrypt)?;
        let (text, tag) = sealed.split_at(length);
        let out = out.get_mut(..length).ok_or(Error::Decrypt)?;
        aead_key(&self.key)
            .open_separate_gather(aead_nonce(counter), Aad::from(associated), text, tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(length)
    }
}

/// BLAKE2s (RFC 7693).
#[derive(Default)]
struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..self.hash_len()].copy_from_slice(&self.0.finalize_reset());
    }
}

/// A key of ChaCha20-Poly1305 in the library's form, which is erased when freed.
pub(crate) fn aead_key(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(
        UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of ChaCha20-Poly1305 has 32 octets"),
    )
}

/// The nonce of packet or message number `counter` (paper §5.4.6).
pub(crate) fn aead_nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - size_of::<u64>()..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ephemeral_key_is_drawn_once() {
        let mut draw = OneEphemeral(Some(Zeroizing::new([5; KEY_LEN])));
        let mut out = [0; KEY_LEN];
        draw.try_fill_bytes(&mut out).unwrap();
        assert_eq!(out, [5; KEY_LEN]);
        assert_eq!(draw.try_fill_bytes(&mut out), Err(Error::Rng));
    }

    #[test]
    fn an_agreement_with_a_point_of_low_order_is_refused() {
        let mut key = X25519::default();
        key.set(&[3; KEY_LEN]);
        let mut out = [0; KEY_LEN];
        assert_eq!(key.dh(&[0; KEY_LEN], &mut out), Err(Error::Dh));
        let mut one = [0; KEY_LEN];
        one[0] = 1;
        assert_eq!(key.dh(&one, &mut out), Err(Error::Dh));
        assert_eq!(out, [0; KEY_LEN]);
    }

    #[test]
    fn a_sealed_field_opens_only_unchanged() {
        let mut cipher = ChaChaPoly::default();
        cipher.set(&[7; KEY_LEN]);
        let (mut sealed, mut out) = ([0; 20], [0; 4]);
        assert_eq!(cipher.encrypt(5, b"associated", b"text", &mut sealed), 20);
        assert_eq!(cipher.decrypt(5, b"associated", &sealed, &mut out), Ok(4));
        assert_eq!(&out, b"text");
        assert_eq!(cipher.decrypt(6, b"associated", &sealed, &mut out), Err(Error::Decrypt));
        assert_eq!(cipher.decrypt(5, b"other", &sealed, &mut out), Err(Error::Decrypt));
        assert_eq!(cipher.decrypt(5, b"associated", &sealed[..15], &mut out), Err(Error::Decrypt));
        assert_eq!(cipher.decrypt(5, b"associated", &sealed, &mut out[..3]), Err(Error::Decrypt));
    }
}
