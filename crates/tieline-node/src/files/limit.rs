//! What a transfer waits for, and so how fast it goes: measured, not guessed from settings.
//!
//! Where the time of a transfer goes is counted by `Effort`: reading from the disk, hashing and packing, waiting for the stream to take more,
//! waiting for answers. Where most of it goes is the limit. If that is the stream, `Gauge` says why it takes no more: because the
//! configured rate is reached, because less is on the way than the path would take (then the far end does not take it in), or
//! because the path takes no more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tieline_transfer::Work;

use crate::streams::congestion::{Limits, Policy};
use crate::streams::{Flow, Streams};

/// What is looked back at: long enough for a block to go over a slow line.
const WINDOW: Duration = Duration::from_secs(8);
/// Time of one part of the window.
const PART: Duration = Duration::from_secs(1);
/// Less of the window than this says nothing.
const LEAST: Duration = Duration::from_millis(800);
/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many looks are kept.
const LOOKS: usize = 4;

/// What holds a transfer up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Reading files here.
    Disk,
    /// Hashing and packing them here.
    Processor,
    /// The way to the far end.
    Line,
    /// The far end takes in no faster, or its answers are waited for.
    FarEnd,
    /// The rate that is configured.
    Cap,
}

impl Limit {
    /// In words for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Processor => "processor",
            Self::Line => "line",
            Self::FarEnd => "far end",
            Self::Cap => "cap",
        }
    }
}

/// Where the time of an outbox's transfers went of late.
#[derive(Debug)]
pub(super) struct Effort {
    start: Instant,
    /// For each part of time, by its number, what went where.
    parts: Mutex<VecDeque<(u64, [Duration; Work::ALL.len()])>>,
}

impl Effort {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, parts: Mutex::default() }
    }

    /// Counts time that ended now.
    pub(super) fn spent(&self, now: Instant, work: Work, time: Duration) {
        let number = self.number(now);
        let mut parts = self.parts();
        if parts.back().is_none_or(|(last, _)| *last != number) {
            parts.push_back((number, Default::default()));
        }
        if let Some((_, times)) = parts.back_mut() {
            times[work as usize] += time;
        }
        forget(&mut parts, number);
    }

    /// Where most of it went.
    pub(super) fn most(&self, now: Instant) -> Option<Work> {
        let mut parts = self.parts();
        forget(&mut parts, self.number(now));
        let spent = |work: Work| parts.iter().map(|(_, times)| times[work as usize]).sum::<Duration>();
        let most = Work::ALL.into_iter().max_by_key(|work| spent(*work))?;
        (spent(most) >= LEAST).then_some(most)
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / PART.as_secs()
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<(u64, [Duration; Work::ALL.len()])>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(parts: &mut VecDeque<(u64, [Duration; Work::ALL.len()])>, number: u64) {
    let first = number.saturating_sub(WINDOW.as_secs() / PART.as_secs());
    while parts.front().is_some_and(|(part, _)| *part < first) {
        parts.pop_front();
    }
}

/// How fast the connection goes, and why not faster.
#[derive(Debug, Default)]
pub(super) struct Gauge(Mutex<VecDeque<(Instant, Flow)>>);

impl Gauge {
    /// Looks at the connection until the task is dropped.
    pub(super) async fn follow(&self, streams: &Streams) {
        loop {
            self.look(Instant::now(), streams.flow());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&self, now: Instant, flow: Option<Flow>) {
        let mut looks = self.looks();
        match flow {
            Some(flow) => looks.push_back((now, flow)),
            None => looks.clear(),
        }
        if looks.len() > LOOKS {
            looks.pop_front();
        }
    }

    /// Why the connection takes no more; it is known that it does not.
    pub(super) fn limit(&self, limits: &Limits) -> Option<Limit> {
        let looks = self.looks();
        let ((then, before), (now, flow)) = (looks.front()?, looks.back()?);
        let time = now.duration_since(*then).as_secs_f64();
        // Another connection counts anew.
        let sent = flow.sent_octets.checked_sub(before.sent_octets).filter(|_| time > 0.0)?;
        let cap = match limits.policy() {
            Policy::Fixed(rate) => Some(rate),
            Policy::Fair | Policy::Trickle => limits.cap(),
        };
        let cap = cap.into_iter().chain(limits.cap()).min().map(|cap| cap.bits_per_second() as f64);
        Some(limit_of(sent as f64 / time, cap, flow))
    }

    fn looks(&self) -> MutexGuard<'_, VecDeque<(Instant, Flow)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `rate` is in octets of QUIC in a second, `cap` in bits of the wire in a second.
fn limit_of(rate: f64, cap: Option<f64>, flow: &Flow) -> Limit {
    // What the line adds to each packet is some hundredths, and a cap is not reached to the last.
    if cap.is_some_and(|cap| rate * 8.0 >= cap * 0.85) {
        return Limit::Cap;
    }
    let on_the_way = rate * flow.round_trip.as_secs_f64();
    // The controller would let more go than goes: then it is the far end's window that does not.
    if on_the_way < flow.window_octets as f64 / 2.0 { Limit::FarEnd } else { Limit::Line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_limit_is_where_most_of_the_time_went_of_late() {
        let start = Instant::now();
        let effort = Effort::new(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(effort.most(at(0)), None);
        for second in 0..5 {
            effort.spent(at(second), Work::Disk, 700 * MS);
            effort.spent(at(second), Work::Processor, 200 * MS);
        }
        assert_eq!(effort.most(at(5)), Some(Work::Disk));
        for second in 20..25 {
            effort.spent(at(second), Work::Stream, 900 * MS);
            effort.spent(at(second), Work::Disk, 50 * MS);
        }
        assert_eq!(effort.most(at(25)), Some(Work::Stream));
        assert_eq!(effort.most(at(50)), None, "nothing of late");
        effort.spent(at(51), Work::Answer, 10 * MS);
        assert_eq!(effort.most(at(51)), None, "too little to say");
    }

    #[test]
    fn what_is_kept_is_bounded_by_the_window() {
        let start = Instant::now();
        let effort = Effort::new(start);
        for second in 0..1000 {
            effort.spent(start + Duration::from_secs(second), Work::Disk, MS);
        }
        assert!(effort.parts().len() <= 9);
    }

    #[test]
    fn a_stream_that_takes_no_more_is_held_by_the_cap_the_far_end_or_the_line() {
        let flow = Flow { sent_octets: 0, round_trip: 80 * MS, window_octets: 1_000_000 };
        for (octets_per_second, cap, limit) in [
            (12_000_000.0, Some(100e6), Limit::Cap),
            (11_000_000.0, Some(100e6), Limit::Cap),
            (12_000_000.0, Some(200e6), Limit::Line),
            (12_000_000.0, None, Limit::Line),
            (3_000_000.0, None, Limit::FarEnd),
            (3_000_000.0, Some(100e6), Limit::FarEnd),
        ] {
            assert_eq!(limit_of(octets_per_second, cap, &flow), limit, "{octets_per_second} {cap:?}");
        }
    }
}
