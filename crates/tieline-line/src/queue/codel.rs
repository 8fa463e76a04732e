//! CoDel (RFC 8289): when a queue should lose a packet so that whoever fills it sends less.
//!
//! A queue that is empty again and again is a good one, however long it is between: it takes up bursts. One that never gets empty delays
//! everything and gains nothing. So what counts is the least time that packets have waited over an interval. Where it stays above the
//! target, one packet is to be dropped, and then more and more often until it is not.
//!
//! This is the rule alone, without a queue. Read first: RFC 8289 §5.

use std::time::{Duration, Instant};

/// The rule for one queue.
#[derive(Clone, Debug)]
pub(super) struct Codel {
    target: Duration,
    interval: Duration,
    /// When packets will have waited for longer than the target for an interval (`first_above_time`).
    above_until: Option<Instant>,
    dropping: Option<Dropping>,
    /// The last time of dropping: when its next drop would have been, and how many there were.
    last: Option<(Instant, u32)>,
}

/// A time in which packets are dropped.
#[derive(Clone, Copy, Debug)]
struct Dropping {
    next: Instant,
    drops: u32,
}

impl Codel {
    /// Packets may always wait for `target`, and for longer during `interval`: about the longest round trip.
    pub(super) const fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval, above_until: None, dropping: None, last: None }
    }

    /// Packets may wait for as long as with `other` from now on.
    pub(super) fn set_target(&mut self, other: &Self) {
        (self.target, self.interval) = (other.target, other.interval);
    }

    /// Whether to drop a packet that leaves the queue at `now` and has `waited` in it.
    pub(super) fn is_to_drop(&mut self, waited: Duration, now: Instant) -> bool {
        if !self.is_standing(waited, now) {
            if let Some(Dropping { next, drops }) = self.dropping.take() {
                self.last = Some((next, drops));
            }
            return false;
        }
        let dropping = match self.dropping {
            Some(dropping) if now < dropping.next => return false,
            Some(Dropping { next, drops }) => {
                let drops = drops.saturating_add(1);
                Dropping { next: now.max(next + self.gap(drops)), drops }
            }
            None => {
                let drops = self.drops_to_begin_with(now);
                Dropping { next: now + self.gap(drops), drops }
            }
        };
        self.dropping = Some(dropping);
        true
    }

    /// Whether packets have waited for longer than the target for an interval.
    fn is_standing(&mut self, waited: Duration, now: Instant) -> bool {
        if waited < self.target {
            self.above_until = None;
            return false;
        }
        now >= *self.above_until.get_or_insert(now + self.interval)
    }

    /// Soon after a time of dropping it goes on at nearly the rate that was right then (RFC 8289 §5.4).
    fn drops_to_begin_with(&self, now: Instant) -> u32 {
        match self.last {
            Some((next, drops)) if now.saturating_duration_since(next) < 16 * self.interval => {
                drops.saturating_sub(2).max(1)
            }
            _ => 1,
        }
    }

    /// `interval / sqrt(drops)`: TCP slows down by the square root of how often it loses.
    fn gap(&self, drops: u32) -> Duration {
        self.interval.div_f64(f64::from(drops.max(1)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TARGET: Duration = Duration::from_millis(5);
    const NONE: [u32; 0] = [];
    const INTERVAL: Duration = Duration::from_millis(100);

    /// The milliseconds at which packets are dropped, of which one leaves each millisecond for as long as `waited` has an answer.
    fn drops(codel: &mut Codel, start: Instant, millis: std::ops::Range<u32>, waited: Duration) -> Vec<u32> {
        millis.filter(|millis| codel.is_to_drop(waited, start + *millis * MS)).collect()
    }

    #[test]
    fn what_waits_for_less_than_the_target_is_never_dropped() {
        let mut codel = Codel::new(TARGET, INTERVAL);
        assert_eq!(drops(&mut codel, Instant::now(), 0..10_000, 4 * MS), NONE);
    }

    #[test]
    fn a_burst_shorter_than_the_interval_passes() {
        let (mut codel, start) = (Codel::new(TARGET, INTERVAL), Instant::now());
        for burst in 0..50 {
            let from = burst * 100;
            assert_eq!(drops(&mut codel, start, from..from + 99, 50 * MS), NONE);
            assert_eq!(drops(&mut codel, start, from + 99..from + 100, MS), NONE);
        }
    }

    #[test]
    fn a_standing_queue_loses_more_and_more_often() {
        let (mut codel, start) = (Codel::new(TARGET, INTERVAL), Instant::now());
        let dropped = drops(&mut codel, start, 0..500, 6 * MS);
        // After one interval, then after 1/√1, 1/√2, 1/√3 … of one.
        assert_eq!(dropped, [100, 200, 271, 329, 379, 424, 464]);
    }

    #[test]
    fn one_packet_that_went_fast_ends_it_and_the_next_time_goes_on_where_it_was() {
        let (mut codel, start) = (Codel::new(TARGET, INTERVAL), Instant::now());
        assert_eq!(drops(&mut codel, start, 0..500, 6 * MS).len(), 7);
        assert_eq!(drops(&mut codel, start, 500..501, MS), NONE);
        // Five instead of seven to begin with: 100 / √5 after the first.
        assert_eq!(drops(&mut codel, start, 501..660, 6 * MS), [601, 646]);
    }

    #[test]
    fn long_after_it_begins_anew() {
        let (mut codel, start) = (Codel::new(TARGET, INTERVAL), Instant::now());
        assert_eq!(drops(&mut codel, start, 0..500, 6 * MS).len(), 7);
        assert_eq!(drops(&mut codel, start, 500..4000, MS), NONE);
        assert_eq!(drops(&mut codel, start, 4000..4250, 6 * MS), [4100, 4200]);
    }

    #[test]
    fn after_silence_it_does_not_make_up_for_drops_that_were_not_due() {
        let (mut codel, start) = (Codel::new(TARGET, INTERVAL), Instant::now());
        assert_eq!(drops(&mut codel, start, 0..300, 6 * MS).len(), 3);
        let after = drops(&mut codel, start, 60_000..60_100, 6 * MS);
        assert!(after.len() <= 4, "{after:?}");
    }
}
