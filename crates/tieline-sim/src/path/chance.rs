//! Randomness of a path, from a seed.
//!
//! Each effect draws from a stream of its own, so that turning one on or off leaves the others' decisions as they are: with
//! the same seed the same datagrams are lost, whether or not some are also doubled.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::model::{BITS_FLIPPED_MAX, Bursts, Reordering};

pub(super) struct Chance {
    loss: ChaCha8Rng,
    bursts: ChaCha8Rng,
    jitter: ChaCha8Rng,
    reordering: ChaCha8Rng,
    duplication: ChaCha8Rng,
    corruption: ChaCha8Rng,
    in_burst: bool,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let stream = |number| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(number);
            generator
        };
        Self {
            loss: stream(0),
            bursts: stream(1),
            jitter: stream(2),
            reordering: stream(3),
            duplication: stream(4),
            corruption: stream(5),
            in_burst: false,
        }
    }

    pub(super) fn is_lost(&mut self, probability: f64) -> bool {
        happens(&mut self.loss, probability)
    }

    /// Moves the channel on by one datagram and says whether that is lost.
    pub(super) fn is_lost_in_burst(&mut self, bursts: Bursts) -> bool {
        let turns = if self.in_burst { bursts.end } else { bursts.begin };
        if happens(&mut self.bursts, turns) {
            self.in_burst = !self.in_burst;
        }
        self.in_burst && happens(&mut self.bursts, bursts.loss)
    }

    pub(super) fn jitter(&mut self, most: Duration) -> Duration {
        up_to(&mut self.jitter, most)
    }

    /// How much longer this one is held back, if it is.
    pub(super) fn hold(&mut self, reordering: Reordering) -> Option<Duration> {
        happens(&mut self.reordering, reordering.probability)
            .then(|| up_to(&mut self.reordering, reordering.hold).max(Duration::from_nanos(1)))
    }

    pub(super) fn is_duplicated(&mut self, probability: f64) -> bool {
        happens(&mut self.duplication, probability)
    }

    /// The bits to flip in a datagram of `bits` bits, if it is to be corrupted. All different, so that none is flipped back.
    pub(super) fn flips(&mut self, probability: f64, bits: usize) -> Vec<usize> {
        if bits == 0 || !happens(&mut self.corruption, probability) {
            return Vec::new();
        }
        let count = self.corruption.random_range(1..=BITS_FLIPPED_MAX).min(bits);
        rand::seq::index::sample(&mut self.corruption, bits, count).into_vec()
    }
}

fn happens(generator: &mut ChaCha8Rng, probability: f64) -> bool {
    // Not a number is no chance.
    probability > 0.0 && generator.random_bool(probability.min(1.0))
}

fn up_to(generator: &mut ChaCha8Rng, most: Duration) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(generator.random_range(0..=nanos)) }
}
