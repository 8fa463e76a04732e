//! When a packet thread rests, and for how long.
//!
//! A thread of real time runs the moment something arrives for it, takes it, and waits again. That is best for a lone packet. At a high
//! rate it takes each packet by itself, between two of whoever sends them, and most of the time goes into waking. So a thread that has
//! much to do pauses each time it has done all of it, and finds a batch when it looks again; network cards moderate their
//! interrupts in the same way.
//!
//! A thread that never gets done pauses as well, now and then, so that others may run.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a thread rests that has done all, while there is much to do.
const PAUSE: Duration = Duration::from_micros(200);
/// Much to do: more packets than these in [`SPAN`]. A question whose answer is the cause of the next stays below that on the
/// fastest network, and TCP in super-packets is soon above.
const PACKETS_FEW: u32 = 25;
/// Over how long packets are counted, at least.
const SPAN: Duration = Duration::from_millis(1);
/// The longest that a thread runs without rest. With [`PAUSE`] that leaves a tenth of the processor to others. Of threads of real time the
/// kernel asks a twentieth, and takes it in a piece of 50 ms.
const RUN_MAX: Duration = Duration::from_micros(1800);

/// The rhythm of one thread.
#[derive(Debug)]
pub struct Pace {
    /// Since when it runs without a rest.
    running_since: Instant,
    counted_since: Instant,
    packets: u32,
    /// Whether there was much to do when it was last counted.
    is_busy: bool,
    /// Whether nothing was found since the last pause.
    found_nothing: bool,
}

impl Pace {
    /// The rhythm of a thread that begins at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { running_since: now, counted_since: now, packets: 0, is_busy: false, found_nothing: true }
    }

    /// Notes that `packets` were taken, whatever became of them.
    pub fn count(&mut self, packets: usize) {
        self.packets = self.packets.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
        self.found_nothing &= packets == 0;
    }

    /// Rests as long as the thread may: not at all, for a moment, or, if all `is_done` and there is not much to do, by `wait`, which
    /// returns when there is something, and whose result is returned.
    pub fn rest<R>(&mut self, is_done: bool, wait: impl FnOnce() -> R) -> Option<R> {
        if let Some(pause) = self.pause(Instant::now(), is_done) {
            thread::sleep(pause);
            return None;
        }
        let waited = is_done.then(wait);
        if is_done {
            self.woke(Instant::now());
        }
        waited
    }

    /// For how long the thread is to sleep before it looks again. `None`: it is to go on at once, or, if all `is_done`, to wait.
    fn pause(&mut self, now: Instant, is_done: bool) -> Option<Duration> {
        let counted_for = now.saturating_duration_since(self.counted_since);
        if counted_for >= SPAN {
            self.is_busy = SPAN.saturating_mul(self.packets) > counted_for.saturating_mul(PACKETS_FEW);
            (self.counted_since, self.packets) = (now, 0);
        }
        let pauses = if is_done {
            self.is_busy && !self.found_nothing
        } else {
            now.saturating_duration_since(self.running_since) >= RUN_MAX
        };
        if pauses {
            self.running_since = now + PAUSE;
            self.found_nothing = true;
        }
        pauses.then_some(PAUSE)
    }

    /// Notes that the thread has waited until there was something to do.
    fn woke(&mut self, now: Instant) {
        self.running_since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A thread that is woken every `interval`, moves so many datagrams each time and is done: how often it pauses in a second.
    fn pauses(interval: Duration, datagrams: usize) -> usize {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut pauses) = (start, 0);
        while now < start + Duration::from_secs(1) {
            now += interval;
            pace.woke(now);
            pace.count(datagrams);
            pauses += usize::from(pace.pause(now, true).is_some());
        }
        pauses
    }

    #[test]
    fn few_datagrams_are_never_kept_back() {
        assert_eq!(pauses(20 * MS, 1), 0, "a call");
        assert_eq!(pauses(20 * MS, 200), 0, "a burst now and then");
        assert_eq!(pauses(Duration::from_micros(80), 2), 0, "question and answer over the fastest network");
    }

    #[test]
    fn many_datagrams_are_taken_in_batches() {
        assert!(pauses(Duration::from_micros(10), 1) > 90_000, "each alone");
        assert!(pauses(Duration::from_micros(65), 46) > 15_000, "TCP in super-packets");
    }

    #[test]
    fn a_pause_that_brings_nothing_is_followed_by_waiting() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.count(1000);
        assert_eq!(pace.pause(start + MS, true), Some(PAUSE));
        pace.count(0);
        assert_eq!(pace.pause(start + MS + PAUSE, true), None);
        pace.count(3);
        assert_eq!(
            pace.pause(start + MS + 2 * PAUSE, true),
            Some(PAUSE),
            "still within the time of much to do"
        );
        assert_eq!(pace.pause(start + 500 * MS, true), None);
        pace.count(1);
        assert_eq!(pace.pause(start + 501 * MS, true), None, "the lone packet after the rush");
    }

    #[test]
    fn a_thread_that_is_never_done_leaves_others_a_tenth() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut rested) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(1) {
            now += Duration::from_micros(50);
            pace.count(300);
            if let Some(pause) = pace.pause(now, false) {
                now += pause;
                rested += pause;
            }
        }
        assert!((95..110).contains(&rested.as_millis()), "{rested:?}");
    }
}
