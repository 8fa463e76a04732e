//! How long the way there and back is: the shortest round trip of some time, and what is above it, the queue.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long a round trip is collected in one bucket.
pub(super) const BUCKET: Duration = Duration::from_secs(5);
/// Buckets of the base: a path that has become longer is known after ten seconds.
const BUCKETS: usize = 2;
/// Buckets of the long base: in a minute, others' queues have been empty once.
const BUCKETS_LONG: usize = 12;
/// Samples of which the shortest counts as the present one: acknowledgements may be late by themselves.
const SAMPLES_RECENT: usize = 4;

/// The round trips of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundTrips {
    /// Begin and shortest round trip of each; the newest is the last.
    buckets: VecDeque<(Instant, Duration)>,
    recent: VecDeque<Duration>,
}

impl RoundTrips {
    pub(super) fn on_sample(&mut self, now: Instant, sample: Duration) {
        match self.buckets.back_mut() {
            Some((began, shortest)) if now.saturating_duration_since(*began) < BUCKET => {
                *shortest = sample.min(*shortest);
            }
            Some(_) | None => self.buckets.push_back((now, sample)),
        }
        if self.buckets.len() > BUCKETS_LONG {
            self.buckets.pop_front();
        }
        self.recent.push_back(sample);
        if self.recent.len() > SAMPLES_RECENT {
            self.recent.pop_front();
        }
    }

    /// The shortest of the last five to ten seconds in which there were samples.
    pub(super) fn base(&self) -> Option<Duration> {
        self.shortest(BUCKETS)
    }

    /// The shortest of the last minute in which there were samples.
    pub(super) fn base_long(&self) -> Option<Duration> {
        self.shortest(BUCKETS_LONG)
    }

    /// The present one.
    pub(super) fn recent(&self) -> Option<Duration> {
        self.recent.iter().min().copied()
    }

    fn shortest(&self, buckets: usize) -> Option<Duration> {
        self.buckets.iter().rev().take(buckets).map(|(_, shortest)| *shortest).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn shorter_round_trip_counts_at_once_and_a_longer_one_when_the_shorter_is_old() {
        let (start, mut trips) = (Instant::now(), RoundTrips::default());
        assert_eq!((trips.base(), trips.base_long(), trips.recent()), (None, None, None));
        trips.on_sample(start, millis(80));
        trips.on_sample(start, millis(30));
        assert_eq!(trips.base(), Some(millis(30)));
        trips.on_sample(start + BUCKET, millis(600));
        assert_eq!(trips.base(), Some(millis(30)));
        trips.on_sample(start + 2 * BUCKET, millis(600));
        assert_eq!((trips.base(), trips.base_long()), (Some(millis(600)), Some(millis(30))));
        for bucket in 3..=BUCKETS_LONG as u32 {
            trips.on_sample(start + bucket * BUCKET, millis(500));
        }
        assert_eq!(trips.base_long(), Some(millis(500)));
        assert_eq!(trips.buckets.len(), BUCKETS_LONG, "it is bounded");
    }

    #[test]
    fn single_late_acknowledgement_is_no_queue() {
        let (start, mut trips) = (Instant::now(), RoundTrips::default());
        for sample in [80, 120, 81, 110, 105] {
            trips.on_sample(start, millis(sample));
        }
        assert_eq!(trips.recent(), Some(millis(81)));
        assert_eq!(trips.recent.len(), SAMPLES_RECENT, "it is bounded");
    }
}
