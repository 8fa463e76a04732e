//! Sending less until a queue is gone.

use std::time::{Duration, Instant};

use super::super::exchange::Sample;

/// Of what the path delivers, so much is sent while its queue runs empty.
const SHARE: f64 = 0.5;
/// No queue is waited for longer.
const TIME_MAX: Duration = Duration::from_secs(5);
/// After so many drains that have changed nothing, the queue is not ours, or none at all: the way has become longer.
pub(super) const FRUITLESS_MAX: u32 = 3;

/// How a drain goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Progress {
    /// Not over; the path delivers as much as this.
    Draining { delivered: f64 },
    /// The queue is gone.
    Empty,
    /// It should be gone, and is as long as before.
    StillThere,
}

/// One drain.
#[derive(Debug)]
pub(super) struct Drain {
    begun: Instant,
    until: Instant,
    delivered: f64,
    /// What was sent before, which may still be on its way into the queue.
    rate_before: f64,
    usual_loss: f64,
    above_before: Duration,
    /// Whether `delivered` is of a time when a queue stood.
    sure: bool,
}

impl Drain {
    pub(super) fn new(
        now: Instant,
        sample: &Sample,
        delivered: f64,
        rate_before: f64,
        usual_loss: f64,
    ) -> Self {
        let mut drain = Self {
            begun: now,
            until: now,
            delivered,
            rate_before,
            usual_loss,
            above_before: sample.above,
            sure: sample.queued,
        };
        drain.extend(now, sample);
        drain
    }

    pub(super) fn rate(&self, now: Instant) -> f64 {
        self.delivered * if now < self.until { SHARE } else { super::AFTER_QUEUE }
    }

    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        Some(self.until).filter(|until| *until > now)
    }

    pub(super) fn handle_sample(&mut self, now: Instant, sample: &Sample, threshold: Duration) -> Progress {
        let empty = sample.above <= threshold / 2;
        if sample.left >= self.begun && empty && now < self.until {
            self.until = now;
            return Progress::Empty;
        }
        if sample.left >= self.until {
            // A queue that shrinks takes longer than was thought; that is no reason to believe that it is not ours.
            let shrinks = sample.above < self.above_before / 2;
            return match sample.above <= threshold {
                true => Progress::Empty,
                false if shrinks => {
                    self.above_before = sample.above;
                    self.extend(now, sample);
                    Progress::Draining { delivered: self.delivered }
                }
                false => Progress::StillThere,
            };
        }
        self.learn(sample);
        if sample.left < self.begun {
            self.above_before = self.above_before.max(sample.above);
            self.extend(now, sample);
        }
        Progress::Draining { delivered: self.delivered }
    }

    /// While a queue of ours stands, what arrives is all that the path can; it is ours if it shrinks or grows with what we send.
    fn learn(&mut self, sample: &Sample) {
        let changes = (sample.delivered / sample.sent.max(1.0) - 1.0).abs() > 0.1;
        if !sample.queued || !changes {
            return;
        }
        let delivered = (sample.delivered / (1.0 - self.usual_loss)).min(self.rate_before);
        self.delivered = if self.sure { (self.delivered + delivered) / 2.0 } else { delivered };
        self.sure = true;
    }

    /// The queue that the sample saw, and what was sent into it after that, need so long.
    fn extend(&mut self, now: Instant, sample: &Sample) {
        let too_fast = (self.rate_before / self.delivered.max(1.0) - 1.0).max(0.0);
        let blind = self.begun.saturating_duration_since(sample.left);
        let seconds = (sample.above.as_secs_f64() + blind.as_secs_f64() * too_fast) / (1.0 - SHARE);
        let needed = Duration::try_from_secs_f64(seconds).unwrap_or(TIME_MAX).min(TIME_MAX);
        self.until = self.until.max(self.begun.max(sample.left) + needed).min(now + TIME_MAX);
    }
}
