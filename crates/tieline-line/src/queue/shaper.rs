//! When the next packet may leave, so that the queue is here and not in front of the slowest link.
//!
//! Each packet takes the link for as long as its octets take at the rate. There is no credit for the time in which nothing was sent, and so
//! no burst; only for the little time by which the thread woke late, since otherwise every packet would lose that much of the line.

use std::time::{Duration, Instant};

/// For how long a thread that woke late may send what it missed; also what may be sent by one wake-up.
pub const LATE_MAX: Duration = Duration::from_millis(1);

const BITS_PER_OCTET: u128 = 8;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// How much a line carries in one direction: bits per second, on the wire, never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// The slowest rate: a packet of 1,500 octets takes a second and a half.
    pub const MIN: Self = Self(8_000);

    /// Takes a number of bits per second; fewer than [`Self::MIN`] are taken for that.
    #[must_use]
    pub const fn from_bits_per_second(bits: u64) -> Self {
        if bits < Self::MIN.0 { Self::MIN } else { Self(bits) }
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// So many hundredths of it.
    #[must_use]
    pub const fn percent(self, percent: u64) -> Self {
        Self::from_bits_per_second((self.0 as u128 * percent as u128 / 100) as u64)
    }

    /// How long so many octets take; a day at most.
    #[must_use]
    pub fn time_for(self, octets: usize) -> Duration {
        const LONGEST: u128 = 24 * 60 * 60 * NANOS_PER_SECOND;
        let nanos = (octets as u128).saturating_mul(BITS_PER_OCTET * NANOS_PER_SECOND) / u128::from(self.0);
        Duration::from_nanos(nanos.min(LONGEST) as u64)
    }

    /// How many octets go in so long a time.
    #[must_use]
    pub fn octets_in(self, time: Duration) -> usize {
        let octets = u128::from(self.0).saturating_mul(time.as_nanos()) / (BITS_PER_OCTET * NANOS_PER_SECOND);
        usize::try_from(octets).unwrap_or(usize::MAX)
    }
}

/// The shaper of one direction of a line; also the meter of a class that has a share of it.
#[derive(Clone, Debug)]
pub(super) struct Shaper {
    rate: Rate,
    /// When the link will have carried all that was sent.
    free_at: Instant,
}

impl Shaper {
    /// A link that is free at `now`.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, free_at: now }
    }

    /// Another rate from now on; what was sent keeps the time that it was given.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// When the link is free.
    pub(super) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// For how long the link is taken beyond `now`.
    pub(super) fn backlog(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// Notes that so many octets of the wire left at `now`.
    pub(super) fn send(&mut self, now: Instant, octets: usize) {
        let earliest = now.checked_sub(LATE_MAX).unwrap_or(now);
        self.free_at = self.free_at.max(earliest) + self.rate.time_for(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rate_is_turned_into_time_and_back() {
        let rate = Rate::from_bits_per_second(20_000_000);
        assert_eq!(rate.time_for(1518), Duration::from_nanos(607_200));
        assert_eq!(rate.octets_in(MS), 2500);
        assert_eq!(rate.percent(97).bits_per_second(), 19_400_000);
        assert_eq!(Rate::from_bits_per_second(0), Rate::MIN);
        assert_eq!(Rate::MIN.time_for(usize::MAX), Duration::from_secs(86_400));
        assert_eq!(Rate::from_bits_per_second(u64::MAX).octets_in(Duration::MAX), usize::MAX);
    }

    #[test]
    fn packets_follow_one_another_at_the_rate() {
        let start = Instant::now();
        let mut shaper = Shaper::new(Rate::from_bits_per_second(8_000_000), start);
        let mut now = start;
        for _ in 0..1000 {
            shaper.send(now, 1500);
            now = shaper.free_at();
        }
        assert_eq!(now - start, 1500 * MS);
    }

    #[test]
    fn idle_time_is_not_made_up_for() {
        let start = Instant::now();
        let mut shaper = Shaper::new(Rate::from_bits_per_second(8_000_000), start);
        let later = start + Duration::from_secs(10);
        let mut sent = 0;
        while shaper.free_at() <= later {
            shaper.send(later, 500);
            sent += 1;
        }
        assert_eq!(sent, 3, "a millisecond's worth, and the one that is under way");
    }

    #[test]
    fn a_thread_that_wakes_late_loses_nothing_of_the_line() {
        let start = Instant::now();
        let mut shaper = Shaper::new(Rate::from_bits_per_second(8_000_000), start);
        let mut sent = 0;
        // It looks every 0.7 ms, when packets take half a millisecond.
        for look in 0..1000 {
            let now = start + look * Duration::from_micros(700);
            while shaper.free_at() <= now {
                shaper.send(now, 500);
                sent += 1;
            }
        }
        assert!((1398..=1400).contains(&sent), "{sent} of 700 ms");
    }
}
