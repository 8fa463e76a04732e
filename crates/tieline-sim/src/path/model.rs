//! What a path is like: plain values, all of them perfect by default.

use std::time::Duration;

/// One direction of a path through a network.
///
/// A datagram meets the members in this order: it must fit the MTU, the path must not be cut, it waits in the queue and goes
/// out at the rate, may be lost, corrupted or doubled on the way, and arrives after delay and jitter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathModel {
    /// Octets of the largest datagram, overhead included; larger ones vanish without a word. `None`: any.
    pub mtu: Option<usize>,
    /// The slowest link, and the queue in front of it. `None`: no limit.
    pub bottleneck: Option<Bottleneck>,
    /// Octets that lower layers add to each datagram (28 for UDP over IPv4), counted for rate, queue and MTU.
    pub overhead: usize,
    /// How long every datagram is on its way at least.
    pub delay: Duration,
    /// How much longer at most, uniformly at random. Does not change the order.
    pub jitter: Duration,
    /// Chance of each datagram to be lost, by itself.
    pub loss: f64,
    /// Losses that come together.
    pub bursts: Option<Bursts>,
    /// Datagrams that others overtake.
    pub reordering: Option<Reordering>,
    /// Chance to arrive twice.
    pub duplication: f64,
    /// Chance to arrive with one to [`BITS_FLIPPED_MAX`] bits flipped.
    pub corruption: f64,
    /// When nothing goes through, counted from the start of the path.
    pub outages: Vec<Outage>,
}

/// Bits that corruption flips in one datagram at most.
pub const BITS_FLIPPED_MAX: usize = 3;

impl PathModel {
    /// An access line to the internet: a rate, a delay, and a queue of [`Bottleneck::QUEUE`] as such lines have.
    #[must_use]
    pub fn internet(bits_per_second: u64, delay: Duration) -> Self {
        Self { bottleneck: Some(Bottleneck::new(bits_per_second)), delay, ..Self::default() }
    }
}

/// A link that is slower than what is sent through it, and the first-in first-out queue where that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// Never zero; zero is taken as one.
    pub bits_per_second: u64,
    /// What does not fit is dropped at the tail. A datagram that is being sent counts with what is left of it.
    pub queue_bytes_max: usize,
}

impl Bottleneck {
    /// The queue of [`Bottleneck::new`] in time: what a common access router holds.
    pub const QUEUE: Duration = Duration::from_millis(100);

    /// Octets of the smallest queue: some full packets, also on slow links.
    const QUEUE_BYTES_MIN: usize = 10 * 1500;

    /// A link with a queue of [`Self::QUEUE`].
    #[must_use]
    pub fn new(bits_per_second: u64) -> Self {
        let bytes = u128::from(bits_per_second) * Self::QUEUE.as_nanos() / (8 * 1_000_000_000);
        let queue_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX).max(Self::QUEUE_BYTES_MIN);
        Self { bits_per_second, queue_bytes_max }
    }
}

/// Losses in bursts: the model of Gilbert (1960) and Elliott (1963), a channel that is either good or bad and may change with
/// each datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Chance to turn bad, per datagram while good.
    pub begin: f64,
    /// Chance to turn good again, per datagram while bad: the mean burst is `1 / end` datagrams long.
    pub end: f64,
    /// Chance to lose a datagram while bad.
    pub loss: f64,
}

impl Bursts {
    /// Bursts of `length` lost datagrams on average, so often that `fraction` of all are lost.
    #[must_use]
    pub fn of(length: f64, fraction: f64) -> Self {
        let end = 1.0 / length.max(1.0);
        let fraction = fraction.clamp(0.0, 0.99);
        Self { begin: (end * fraction / (1.0 - fraction)).min(1.0), end, loss: 1.0 }
    }
}

/// Datagrams that are held back while later ones go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reordering {
    /// Chance of each datagram.
    pub probability: f64,
    /// How long it is held back at most, uniformly at random.
    pub hold: Duration,
}

/// A time when nothing goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it begins, counted from the start of the path.
    pub begin: Duration,
    /// How long it lasts.
    pub length: Duration,
}

impl Outage {
    /// Whether it is on at `since_start`.
    #[must_use]
    pub fn contains(&self, since_start: Duration) -> bool {
        since_start.checked_sub(self.begin).is_some_and(|into| into < self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_path_is_perfect() {
        let model = PathModel::default();
        assert!(model.loss == 0.0 && model.duplication == 0.0 && model.corruption == 0.0);
        assert!(model.delay.is_zero() && model.jitter.is_zero() && model.outages.is_empty());
        assert_eq!((model.mtu, model.bottleneck, model.bursts, model.reordering), (None, None, None, None));
    }

    #[test]
    fn an_access_line_queues_a_tenth_of_a_second_and_some_packets_at_least() {
        assert_eq!(Bottleneck::new(20_000_000).queue_bytes_max, 250_000);
        assert_eq!(Bottleneck::new(64_000).queue_bytes_max, 15_000);
    }

    #[test]
    fn an_outage_begins_on_time_and_ends_before_its_end() {
        let outage = Outage { begin: Duration::from_secs(2), length: Duration::from_secs(1) };
        let at = |millis| outage.contains(Duration::from_millis(millis));
        assert_eq!([at(1999), at(2000), at(2999), at(3000)], [false, true, true, false]);
    }
}
