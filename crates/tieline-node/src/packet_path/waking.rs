//! When QUIC is woken for what came in.
//!
//! At 100 Mbit/s a packet comes every 120 microseconds, and each would cost QUIC's task a wake-up, an acknowledgement for every second one, and the
//! sending thread one more. So while many come QUIC is woken once in a millisecond, and finds some of them together. Where few come,
//! as in a question and its answer, it is woken for each at once. Only QUIC waits: other packets are delivered when they come.

use std::time::{Duration, Instant};

use super::pace::Rate;

/// How often QUIC is woken at most while many packets come; its own timers are no finer.
const PAUSE: Duration = Duration::from_millis(1);
/// Many are more than these in a millisecond: some 36 Mbit/s of full packets.
const PACKETS_FEW: u32 = 3;

/// Whether somebody is to be woken, and when.
#[derive(Debug)]
pub(super) struct Waking {
    rate: Rate,
    last: Instant,
    is_owed: bool,
}

impl Waking {
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: Rate::new(now), last: now, is_owed: false }
    }

    /// Notes that so many packets were delivered.
    pub(super) fn count(&mut self, packets: usize) {
        self.rate.count(packets);
        self.is_owed |= packets > 0;
    }

    /// Whether to wake now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if !self.is_owed || (self.rate.is_above(PACKETS_FEW, now) && !self.left(now).is_zero()) {
            return false;
        }
        (self.last, self.is_owed) = (now, false);
        true
    }

    /// How long until it is due, if it is going to be.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.is_owed.then(|| self.left(now))
    }

    fn left(&self, now: Instant) -> Duration {
        PAUSE.saturating_sub(now.saturating_duration_since(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// How often QUIC is woken in a second in which `packets` come every `interval`; never later than a pause after a packet.
    fn wakes(packets: usize, interval: Duration) -> usize {
        let start = Instant::now();
        let (mut waking, mut now, mut wakes) = (Waking::new(start), start, 0);
        let mut next = start;
        let mut waits_since: Option<Instant> = None;
        while now < start + Duration::from_secs(1) {
            if now >= next {
                waking.count(packets);
                waits_since = waits_since.or(Some(now));
                next += interval;
            }
            if waking.is_due(now) {
                wakes += 1;
                assert!(now - waits_since.take().unwrap() <= PAUSE);
            }
            now = waking.wait(now).map_or(next, |wait| next.min(now + wait));
        }
        assert!(waits_since.is_none() || waking.wait(now).is_some(), "nothing is forgotten");
        wakes
    }

    #[test]
    fn many_packets_are_found_together_and_few_at_once() {
        assert!((990..1030).contains(&wakes(1, 120 * MICROSECOND)), "100 Mbit/s");
        assert!((990..1030).contains(&wakes(32, 250 * MICROSECOND)), "a Gbit/s and more");
        assert_eq!(wakes(1, 500 * MICROSECOND), 2000, "question and answer");
        assert_eq!(wakes(2, 20_000 * MICROSECOND), 50);
    }

    #[test]
    fn nobody_is_woken_for_nothing() {
        let start = Instant::now();
        let mut waking = Waking::new(start);
        waking.count(0);
        assert!(!waking.is_due(start + PAUSE));
        assert_eq!(waking.wait(start + PAUSE), None);
    }
}
