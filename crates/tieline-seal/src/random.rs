//! Where all random numbers of a line come from: a generator with a seed, so that a run can be repeated.
//!
//! A generator whose past can be computed from its state would give away the keys of old sessions to whoever
//! reads the memory of a running end. Therefore it replaces its own key after every secret it has given
//! ("fast key erasure").

use std::hint::black_box;
use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tieline_wire::wireguard::{CookieReply, SessionIndex};
use zeroize::Zeroizing;

/// See the module.
pub(crate) struct Generator(ChaCha20Rng);

impl Generator {
    pub(crate) fn new(seed: [u8; SEED_LEN]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(ChaCha20Rng::from_seed(*seed))
    }

    /// 32 octets for a key, which nothing that is left here can reproduce.
    pub(crate) fn secret(&mut self) -> Zeroizing<[u8; SEED_LEN]> {
        let mut secret = Zeroizing::new([0; SEED_LEN]);
        self.0.fill_bytes(&mut *secret);
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        self.0.fill_bytes(&mut *seed);
        self.0 = ChaCha20Rng::from_seed(*seed);
        secret
    }

    pub(crate) fn index(&mut self) -> SessionIndex {
        SessionIndex(self.0.next_u32())
    }

    pub(crate) fn nonce(&mut self) -> [u8; CookieReply::NONCE_LEN] {
        let mut nonce = [0; CookieReply::NONCE_LEN];
        self.0.fill_bytes(&mut nonce);
        nonce
    }

    /// Anything from nothing to `most`.
    pub(crate) fn jitter(&mut self, most: Duration) -> Duration {
        self.0.random_range(Duration::ZERO..=most)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.0 = ChaCha20Rng::from_seed([0; SEED_LEN]);
        // Without a reader the compiler could leave out a write to memory that is freed next.
        black_box(&mut self.0);
    }
}

const SEED_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let draw = |seed: u8| {
            let mut generator = Generator::new([seed; SEED_LEN]);
            let jitter = generator.jitter(Duration::from_secs(1));
            (*generator.secret(), generator.index(), generator.nonce(), jitter, *generator.secret())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1).0, draw(1).4);
    }

    #[test]
    fn after_a_secret_the_state_is_another_one() {
        let mut generator = Generator::new([1; SEED_LEN]);
        let before = generator.0.clone();
        generator.secret();
        assert_ne!(generator.0.get_seed(), before.get_seed());
        assert_eq!(generator.0.get_word_pos(), 0, "it begins anew and has nothing behind it");
    }

    #[test]
    fn jitter_spreads_over_its_whole_range() {
        let mut generator = Generator::new([1; SEED_LEN]);
        let most = Duration::from_millis(333);
        let drawn: Vec<_> = (0..1000).map(|_| generator.jitter(most)).collect();
        assert!(drawn.iter().all(|jitter| *jitter <= most));
        assert!(drawn.iter().min() < Some(&(most / 50)));
        assert!(drawn.iter().max() > Some(&(most * 49 / 50)));
    }
}
