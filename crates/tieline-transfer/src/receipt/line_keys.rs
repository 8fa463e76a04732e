//! The signing keys of the two ends of a line, as far as this end knows them.
//!
//! The far end's is learnt once, from whatever reaches this end over the sealed line first. From then on there is no other: a far end
//! whose signing key is another one, while its line key is not, is somebody else or has lost its mind, and nothing it signs is taken.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{SigningKey, VerifyingKey};

/// The keys of both ends; clones share what is learnt.
#[derive(Clone)]
pub struct LineKeys(Arc<Inner>);

struct Inner {
    own: Own,
    far_end: Mutex<Option<VerifyingKey>>,
}

enum Own {
    Signs(SigningKey),
    Named(VerifyingKey),
}

/// The far end shows another signing key than it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the far end signs with {found}, but is known to sign with {known}")]
pub struct KeyChanged {
    /// What it showed before.
    pub known: VerifyingKey,
    /// What it shows now.
    pub found: VerifyingKey,
}

impl LineKeys {
    /// The keys of an end that signs.
    #[must_use]
    pub fn new(own: SigningKey) -> Self {
        Self::of(Own::Signs(own))
    }

    /// The keys of an end whose own key is kept elsewhere: it sends, and takes receipts, but gives none.
    #[must_use]
    pub fn without_secret(own: VerifyingKey) -> Self {
        Self::of(Own::Named(own))
    }

    fn of(own: Own) -> Self {
        Self(Arc::new(Inner { own, far_end: Mutex::new(None) }))
    }

    /// The key that verifies what this end signs.
    #[must_use]
    pub fn own(&self) -> VerifyingKey {
        match &self.0.own {
            Own::Signs(key) => key.public(),
            Own::Named(key) => *key,
        }
    }

    /// The key that this end signs with, if it is here.
    #[must_use]
    pub fn signing_key(&self) -> Option<&SigningKey> {
        match &self.0.own {
            Own::Signs(key) => Some(key),
            Own::Named(_) => None,
        }
    }

    /// The key that verifies what the far end signs, once it is known.
    #[must_use]
    pub fn far_end(&self) -> Option<VerifyingKey> {
        *self.0.far_end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the far end's key.
    ///
    /// # Errors
    ///
    /// [`KeyChanged`] if it is known to have another one, which then stands.
    pub fn learn(&self, found: VerifyingKey) -> Result<(), KeyChanged> {
        let mut far_end = self.0.far_end.lock().unwrap_or_else(PoisonError::into_inner);
        match *far_end.get_or_insert(found) {
            known if known == found => Ok(()),
            known => Err(KeyChanged { known, found }),
        }
    }
}

impl fmt::Debug for LineKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineKeys").field("own", &self.own()).field("far_end", &self.far_end()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_end_has_one_key_and_whoever_shares_the_keys_knows_it() {
        let [own, far, other] = [1, 2, 3].map(|seed| SigningKey::from_line_secret(&[seed; 32]));
        let keys = LineKeys::new(own);
        let shared = keys.clone();
        assert_eq!(keys.far_end(), None);
        keys.learn(far.public()).unwrap();
        shared.learn(far.public()).unwrap();
        let changed = KeyChanged { known: far.public(), found: other.public() };
        assert_eq!(shared.learn(other.public()), Err(changed));
        assert_eq!((keys.far_end(), shared.far_end()), (Some(far.public()), Some(far.public())));
    }

    #[test]
    fn an_end_without_its_secret_has_a_name_and_signs_nothing() {
        let own = SigningKey::from_line_secret(&[1; 32]).public();
        let keys = LineKeys::without_secret(own);
        assert_eq!(keys.own(), own);
        assert!(keys.signing_key().is_none());
    }
}
