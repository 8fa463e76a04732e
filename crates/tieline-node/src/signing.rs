//! The keys of receipts: ours follows from the line's, the far end's is learnt from its hello and kept in the journal.
//!
//! As a signing key follows from the key of its line, an end that is known by the one has always the same other. If it shows another one
//! all the same, then either its journal or ours was meddled with, or somebody speaks for it; its receipts are refused then.

use tieline_seal::{PrivateKey, PublicKey};
use tieline_transfer::{
    Journal, JournalError,
    receipt::{KeyChanged, KeyTextError, LineKeys, SigningKey, VerifyingKey},
};

/// What the secret of the signing key is derived from the line's key for.
const PURPOSE: &str = "key that signs receipts for files";

/// Why the far end's signing key is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FarKeyError {
    /// It is none, or one that proves nothing.
    #[error(transparent)]
    Text(#[from] KeyTextError),
    /// It had another one.
    #[error(transparent)]
    Changed(#[from] KeyChanged),
    /// It cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The signing keys of a line whose far end is `peer`, as far as they are known.
///
/// # Errors
///
/// What the journal said.
pub fn keys_of_line(
    private_key: &PrivateKey,
    peer: Option<PublicKey>,
    journal: &Journal,
) -> Result<LineKeys, JournalError> {
    let keys = LineKeys::new(SigningKey::from_line_secret(&private_key.derive(PURPOSE)));
    journal.know_key(private_key.public_key().as_bytes(), &keys.own())?;
    if let Some(known) = peer.map(|peer| journal.known_key(peer.as_bytes())).transpose()?.flatten() {
        // Nobody has shown another one yet.
        let _ = keys.learn(known);
    }
    Ok(keys)
}

/// Takes what the far end `peer` shows as its signing key, and keeps it. Waits for the disk if it is new.
///
/// # Errors
///
/// [`FarKeyError`]; the key that is known then stands.
pub fn learn_far_key(
    keys: &LineKeys,
    peer: PublicKey,
    shown: &str,
    journal: &Journal,
) -> Result<(), FarKeyError> {
    let found: VerifyingKey = shown.parse()?;
    keys.learn(found)?;
    match journal.know_key(peer.as_bytes(), &found)? {
        known if known == found => Ok(()),
        known => Err(KeyChanged { known, found }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(octet: u8) -> PrivateKey {
        PrivateKey::from_bytes([octet; 32])
    }

    #[test]
    fn a_far_end_is_known_by_its_signing_key_after_a_restart() {
        let journal = Journal::in_memory().unwrap();
        let (here, peer) = (end(1), end(2).public_key());
        let shown = keys_of_line(&end(2), None, &Journal::in_memory().unwrap()).unwrap().own();
        let keys = keys_of_line(&here, Some(peer), &journal).unwrap();
        assert_eq!(keys.far_end(), None);
        learn_far_key(&keys, peer, &shown.to_string(), &journal).unwrap();
        assert_eq!(keys.far_end(), Some(shown));
        let after = keys_of_line(&here, Some(peer), &journal).unwrap();
        assert_eq!((after.own(), after.far_end()), (keys.own(), Some(shown)));
        let anew = keys_of_line(&here, Some(end(3).public_key()), &journal).unwrap();
        assert_eq!(anew.far_end(), None, "another far end has another key");
        assert_eq!(journal.known_keys().unwrap().len(), 2, "ours and the far end's");
    }

    #[test]
    fn a_far_end_that_shows_another_key_or_none_is_not_believed() {
        let journal = Journal::in_memory().unwrap();
        let peer = end(2).public_key();
        let known = SigningKey::from_line_secret(&[5; 32]).public();
        let found = SigningKey::from_line_secret(&[6; 32]).public();
        journal.know_key(peer.as_bytes(), &known).unwrap();
        let keys = keys_of_line(&end(1), Some(peer), &journal).unwrap();
        let changed = learn_far_key(&keys, peer, &found.to_string(), &journal);
        assert!(
            matches!(changed, Err(FarKeyError::Changed(changed)) if changed == KeyChanged { known, found })
        );
        assert_eq!(keys.far_end(), Some(known));
        // A transfer was faster than the hello, and the journal knows better.
        let keys = keys_of_line(&end(1), None, &journal).unwrap();
        assert!(matches!(
            learn_far_key(&keys, peer, &found.to_string(), &journal),
            Err(FarKeyError::Changed(_))
        ));
        for shown in ["ab", &"00".repeat(32)] {
            assert!(matches!(learn_far_key(&keys, peer, shown, &journal), Err(FarKeyError::Text(_))));
        }
    }
}
