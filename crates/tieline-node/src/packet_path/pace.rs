//! When a packet thread rests, and for how long.
//!
//! A thread of real time runs the moment something arrives for it, takes it, and waits again. That is best for a lone packet. At a high
//! rate it takes each packet by itself, between two of whoever sends them, and most of the time goes into waking. So a thread that has
//! much to do pauses each time it has done all of it, and finds a batch when it looks again; network cards moderate their
//! interrupts in the same way.
//!
//! A thread that never gets done pauses as well, now and then, so that others may run: the programs of the machine, and the thread of
//! the other direction. One that sends leaves more to them than one that receives. For where a line is as fast as the processors let it,
//! something has to wait, and it is better that it waits before the sending thread, where lone packets pass streams (`intake`), than
//! before the receiving one, where all stand in one row.

use std::{
    thread,
    time::{Duration, Instant},
};

use tieline_io::scheduling::RealTime;

/// For how long a thread rests that has done all, while there is much to do, and how long it runs without rest at most. Of threads of
/// real time the kernel asks a twentieth for others, and takes it in a piece of 50 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    pause: Duration,
    run_max: Duration,
}

/// A quarter for others. Lone packets do not wait for the end of the pause.
const SENDING: Share = Share { pause: Duration::from_micros(200), run_max: Duration::from_micros(600) };
/// An eighteenth for others. Whatever comes during the pause waits for its end.
const RECEIVING: Share = Share { pause: Duration::from_micros(100), run_max: Duration::from_micros(1700) };
/// Much to do: more packets than these in [`SPAN`]. A question whose answer is the cause of the next stays below that on the
/// fastest network, and TCP in super-packets is soon above.
const PACKETS_FEW: u32 = 25;
/// Over how long packets are counted, at least.
const SPAN: Duration = Duration::from_millis(1);

/// The rhythm of one thread.
#[derive(Debug)]
pub struct Pace {
    share: Share,
    /// Since when it runs without a rest.
    running_since: Instant,
    rate: Rate,
    /// Whether nothing was found since the last pause.
    found_nothing: bool,
    /// Whether it lets other threads of its kind run between two batches. One that is like all others would let everybody run, each for
    /// milliseconds.
    yields: bool,
}

impl Pace {
    /// The rhythm of a thread that begins to send at `now`, the calling one or another of its class of scheduling.
    #[must_use]
    pub fn of_sending(now: Instant) -> Self {
        Self::new(SENDING, now)
    }

    /// The rhythm of a thread that begins to receive at `now`, the calling one or another of its class of scheduling.
    #[must_use]
    pub fn of_receiving(now: Instant) -> Self {
        Self::new(RECEIVING, now)
    }

    fn new(share: Share, now: Instant) -> Self {
        let rate = Rate::new(now);
        Self { share, running_since: now, rate, found_nothing: true, yields: RealTime::is_entered() }
    }

    /// Notes that `packets` were taken, whatever became of them.
    pub fn count(&mut self, packets: usize) {
        self.rate.count(packets);
        self.found_nothing &= packets == 0;
    }

    /// Rests as long as the thread may: not at all; or, by `rest`, for the time that it is given; or, given none because all `is_done` and
    /// there is not much to do, until there is something. Returns what `rest` returned.
    pub fn rest<R>(&mut self, is_done: bool, rest: impl FnOnce(Option<Duration>) -> R) -> Option<R> {
        let pause = self.pause(Instant::now(), is_done);
        if pause.is_none() && !is_done {
            if self.yields {
                thread::yield_now();
            }
            return None;
        }
        let rested = rest(pause);
        self.woke(Instant::now());
        Some(rested)
    }

    /// For how long the thread is to sleep before it looks again. `None`: it is to go on at once, or, if all `is_done`, to wait.
    fn pause(&mut self, now: Instant, is_done: bool) -> Option<Duration> {
        let is_busy = self.rate.is_above(PACKETS_FEW, now);
        let pauses = if is_done {
            is_busy && !self.found_nothing
        } else {
            now.saturating_duration_since(self.running_since) >= self.share.run_max
        };
        if pauses {
            self.found_nothing = true;
        }
        pauses.then_some(self.share.pause)
    }

    /// Notes that the thread has rested.
    fn woke(&mut self, now: Instant) {
        self.running_since = now;
    }
}

/// How many packets come in a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    counted_since: Instant,
    packets: u32,
    /// Packets in so long a time when it was last counted.
    last: (u32, Duration),
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { counted_since: now, packets: 0, last: (0, SPAN) }
    }

    pub(super) fn count(&mut self, packets: usize) {
        self.packets = self.packets.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
    }

    /// Whether there were more than `few` in each [`SPAN`] of the last time that was counted to its end.
    pub(super) fn is_above(&mut self, few: u32, now: Instant) -> bool {
        let counted_for = now.saturating_duration_since(self.counted_since);
        if counted_for >= SPAN {
            self.last = (self.packets, counted_for);
            (self.counted_since, self.packets) = (now, 0);
        }
        SPAN.saturating_mul(self.last.0) > self.last.1.saturating_mul(few)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A thread that is woken every `interval`, moves so many datagrams each time and is done: how often it pauses in a second.
    fn pauses(interval: Duration, datagrams: usize) -> usize {
        let start = Instant::now();
        let mut pace = Pace::of_receiving(start);
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
        let mut pace = Pace::of_receiving(start);
        pace.count(1000);
        assert_eq!(pace.pause(start + MS, true), Some(RECEIVING.pause));
        pace.count(0);
        assert_eq!(pace.pause(start + MS + RECEIVING.pause, true), None);
        pace.count(3);
        assert_eq!(
            pace.pause(start + MS + 2 * RECEIVING.pause, true),
            Some(RECEIVING.pause),
            "still within the time of much to do"
        );
        assert_eq!(pace.pause(start + 500 * MS, true), None);
        pace.count(1);
        assert_eq!(pace.pause(start + 501 * MS, true), None, "the lone packet after the rush");
    }

    /// Of a second, in milliseconds, what a thread leaves to others that is never done.
    fn rest_of_a_second(mut pace: Pace, start: Instant) -> u128 {
        let (mut now, mut rested) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(1) {
            now += Duration::from_micros(50);
            pace.count(300);
            if let Some(pause) = pace.pause(now, false) {
                now += pause;
                rested += pause;
                pace.woke(now);
            }
        }
        rested.as_millis()
    }

    #[test]
    fn a_thread_that_is_never_done_leaves_its_share_to_others() {
        let start = Instant::now();
        assert!((245..255).contains(&rest_of_a_second(Pace::of_sending(start), start)));
        assert!(
            (53..60).contains(&rest_of_a_second(Pace::of_receiving(start), start)),
            "more than the kernel takes"
        );
    }

    #[test]
    fn a_thread_rests_for_a_time_without_limit_or_not_at_all() {
        let mut pace = Pace::of_receiving(Instant::now());
        assert_eq!(pace.rest(false, |limit| limit), None, "there is more to do");
        assert_eq!(pace.rest(true, |limit| limit), Some(None), "nothing is left and nothing much was");
        pace.count(usize::MAX);
        pace.rate.counted_since -= SPAN;
        assert_eq!(pace.rest(true, |limit| limit), Some(Some(RECEIVING.pause)));
    }
}
