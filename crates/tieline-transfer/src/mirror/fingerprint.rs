//! What a file of a mirror is like, in a few octets: what is the same at both ends is not worth more of them.
//!
//! A fingerprint depends on a key that is drawn for each transfer. So two versions of a file that have the same one by chance, once in
//! 2^40, have another one by the next sync, and nobody can prepare a file that is taken for another.

use crate::content::HASH_LEN;
use crate::protocol::FileTime;

/// Octets of a fingerprint.
pub const FINGERPRINT_LEN: usize = 5;

/// What a file is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; FINGERPRINT_LEN]);

/// What the fingerprints of a transfer depend on; it is no secret from either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintKey(pub [u8; FingerprintKey::LEN]);

impl FingerprintKey {
    /// Octets of a key.
    pub const LEN: usize = 32;

    /// That of a file of this size and time, and with this content where that is to be compared too.
    #[must_use]
    pub fn of(&self, size: u64, modified: FileTime, content: Option<&[u8; HASH_LEN]>) -> Fingerprint {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&size.to_be_bytes());
        hasher.update(&modified.seconds.to_be_bytes());
        hasher.update(&modified.nanoseconds.to_be_bytes());
        hasher.update(content.map_or(&[], |hash| &hash[..]));
        let mut fingerprint = [0; FINGERPRINT_LEN];
        hasher.finalize_xof().fill(&mut fingerprint);
        Fingerprint(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_another_for_another_size_time_content_or_key() {
        let time = |seconds, nanoseconds| FileTime { seconds, nanoseconds };
        let (key, other) = (FingerprintKey([1; 32]), FingerprintKey([2; 32]));
        let one = key.of(7, time(8, 9), None);
        assert_eq!(one, key.of(7, time(8, 9), None));
        for differs in [
            other.of(7, time(8, 9), None),
            key.of(6, time(8, 9), None),
            key.of(7, time(-8, 9), None),
            key.of(7, time(8, 0), None),
            key.of(7, time(8, 9), Some(&[0; HASH_LEN])),
        ] {
            assert_ne!(one, differs);
        }
    }

    #[test]
    fn a_fingerprint_is_as_it_is_described() {
        let described =
            |octets: &[u8]| blake3::keyed_hash(&[1; 32], octets).as_bytes()[..FINGERPRINT_LEN].to_vec();
        let (key, modified) = (FingerprintKey([1; 32]), FileTime { seconds: -2, nanoseconds: 9 });
        let octets = b"\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\x09";
        assert_eq!(key.of(7, modified, None).0[..], described(octets));
        let with_content = [&octets[..], &[5; HASH_LEN]].concat();
        assert_eq!(key.of(7, modified, Some(&[5; HASH_LEN])).0[..], described(&with_content));
    }
}
