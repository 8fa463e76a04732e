//! A link of a given rate behind a first-in first-out queue of a given length.
//!
//! The queue is not kept as a list: since all that was admitted will be sent, one after the other, the moment when the link
//! falls idle says everything about it.

use std::time::{Duration, Instant};

use super::model::Bottleneck;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// When the link will have sent all that was admitted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    idle_at: Option<Instant>,
}

impl Link {
    /// Admits a datagram of `octets` and says when its last bit will have left, or refuses it because the queue is full.
    pub(super) fn admit(&mut self, now: Instant, octets: usize, bottleneck: Bottleneck) -> Option<Instant> {
        let begin = self.idle_at.map_or(now, |idle_at| idle_at.max(now));
        let waiting = octets_within(begin - now, bottleneck);
        // An idle link takes what it is given; a queue only what fits.
        if waiting > 0 && waiting.saturating_add(octets) > bottleneck.queue_bytes_max {
            return None;
        }
        let sent = begin + time_for(octets, bottleneck);
        self.idle_at = Some(sent);
        Some(sent)
    }
}

fn rate(bottleneck: Bottleneck) -> u128 {
    u128::from(bottleneck.bits_per_second.max(1))
}

fn time_for(octets: usize, bottleneck: Bottleneck) -> Duration {
    let nanos = (octets as u128 * 8 * NANOS_PER_SECOND).div_ceil(rate(bottleneck));
    // A day for one datagram is as good as never, and can be added to an `Instant`.
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos).min(LONGEST)
}

fn octets_within(time: Duration, bottleneck: Bottleneck) -> usize {
    let octets = (time.as_nanos() * rate(bottleneck)).div_ceil(8 * NANOS_PER_SECOND);
    usize::try_from(octets).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One octet a microsecond.
    const LINK: Bottleneck = Bottleneck { bits_per_second: 8_000_000, queue_bytes_max: 3000 };

    fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn datagrams_leave_one_after_the_other_at_the_rate() {
        let (mut link, now) = (Link::default(), Instant::now());
        assert_eq!(link.admit(now, 1000, LINK), Some(now + micros(1000)));
        assert_eq!(link.admit(now, 500, LINK), Some(now + micros(1500)));
        assert_eq!(link.admit(now + micros(5000), 100, LINK), Some(now + micros(5100)));
    }

    #[test]
    fn what_does_not_fit_the_queue_is_refused_until_there_is_room() {
        let (mut link, now) = (Link::default(), Instant::now());
        for _ in 0..3 {
            assert!(link.admit(now, 1000, LINK).is_some());
        }
        assert_eq!(link.admit(now, 1000, LINK), None);
        assert_eq!(link.admit(now + micros(999), 1000, LINK), None);
        assert_eq!(link.admit(now + micros(1000), 1000, LINK), Some(now + micros(4000)));
    }

    #[test]
    fn an_idle_link_takes_a_datagram_larger_than_its_queue() {
        let (mut link, now) = (Link::default(), Instant::now());
        assert!(link.admit(now, 9000, LINK).is_some());
        assert_eq!(link.admit(now, 1, LINK), None);
    }

    #[test]
    fn no_rate_and_no_size_overflows() {
        let slowest = Bottleneck { bits_per_second: 0, queue_bytes_max: usize::MAX };
        let fastest = Bottleneck { bits_per_second: u64::MAX, queue_bytes_max: usize::MAX };
        for bottleneck in [slowest, fastest] {
            let (mut link, now) = (Link::default(), Instant::now());
            for octets in [usize::MAX, 0, 1] {
                assert!(link.admit(now, octets, bottleneck).is_some() || octets == usize::MAX);
            }
        }
    }
}
