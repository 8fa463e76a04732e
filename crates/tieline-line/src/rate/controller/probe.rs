//! A pulse: a little faster for a moment, to see whether the path takes it.

use std::time::{Duration, Instant};

use super::super::{delay::Delays, exchange::Sample};

/// How much faster.
pub(super) const GAIN: f64 = 1.1;
/// How much too fast that is if the path is as full as it is believed to be.
const EXCESS: f64 = 0.06;
/// How much slower for as long after it, so that what it may have put into a queue goes.
const AFTER: f64 = 0.93;
/// The queue that a pulse makes then: it can be told from none.
const QUEUE_MIN: Duration = Duration::from_micros(3500);
/// It is not worth a longer pulse.
const TIME_MAX: Duration = Duration::from_millis(500);
/// The reports of this last part of it are looked at.
const TAIL: u32 = 3;
/// Reports of a pulse leave no faster than this.
const GAP_MIN: Duration = Duration::from_millis(8);
/// Loss above the usual that means that it was too much.
const LOSS: f64 = 0.04;

/// What a pulse has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No queue came of it.
    Room,
    /// One came.
    Full,
    /// It was not filled, or no report tells of it.
    Unknown,
}

/// One pulse.
#[derive(Debug)]
pub(super) struct Probe {
    begun: Instant,
    end: Instant,
    /// The queue that would come of it.
    queue: Duration,
    above_before: Duration,
    /// The shortest delay in its tail.
    above: Option<Duration>,
    lost: u64,
    datagrams: u64,
    filled: bool,
}

impl Probe {
    pub(super) fn new(now: Instant, above: Duration, delays: &Delays, packet_time: Duration) -> Self {
        let queue = QUEUE_MIN.max(3 * packet_time / 2).max(5 * delays.jitter());
        let time = queue.div_f64(EXCESS).min(TIME_MAX);
        Self {
            begun: now,
            end: now + time,
            queue,
            above_before: above.min(queue),
            above: None,
            lost: 0,
            datagrams: 0,
            filled: true,
        }
    }

    pub(super) fn rate(&self, now: Instant, rate: f64) -> f64 {
        if now < self.end {
            rate * GAIN
        } else if now < self.slower_until() {
            rate * AFTER
        } else {
            rate
        }
    }

    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        [self.end, self.slower_until()].into_iter().find(|at| *at > now)
    }

    /// The queue that it makes where there is no room for it.
    pub(super) fn queue(&self) -> Duration {
        self.queue
    }

    /// When its next report shall leave; the last one leaves at its end.
    pub(super) fn report_at(&self, last: Instant) -> Option<Instant> {
        let gap = GAP_MIN.max((self.end - self.begun) / (4 * TAIL));
        (last < self.end).then(|| (last + gap).min(self.end))
    }

    /// Whether no report of it can come any more.
    pub(super) fn is_over(&self, now: Instant, round_trip: Duration) -> bool {
        now > self.slower_until() + 2 * round_trip + Duration::from_millis(200)
    }

    /// Takes a report; the first one that left after the pulse decides.
    pub(super) fn handle_sample(
        &mut self,
        now: Instant,
        sample: &Sample,
        usual_loss: f64,
    ) -> Option<Verdict> {
        if sample.left < self.begun {
            self.above_before = self.above_before.min(sample.above);
            return None;
        }
        if sample.left >= self.tail() {
            self.above = Some(self.above.map_or(sample.above, |least| least.min(sample.above)));
            (self.lost, self.datagrams) = (sample.lost, sample.datagrams);
            self.filled &= sample.limited;
        }
        if sample.left < self.end || now < self.end {
            return None;
        }
        let above = self.above.unwrap_or(sample.above).saturating_sub(self.above_before);
        let usual = self.datagrams as f64 * usual_loss;
        let lost_more = self.lost as f64 - usual;
        let lost = lost_more > (4.0 * usual.max(1.0).sqrt()).max(LOSS * self.datagrams as f64);
        Some(if above > self.queue / 2 || lost {
            Verdict::Full
        } else if self.filled {
            Verdict::Room
        } else {
            Verdict::Unknown
        })
    }

    fn tail(&self) -> Instant {
        self.end - (self.end - self.begun) / TAIL
    }

    fn slower_until(&self) -> Instant {
        self.end + (self.end - self.begun)
    }
}
