//! How much longer than at its best the way is right now.
//!
//! A transit is when something arrived by the far clock, less when it left by ours. The clocks have nothing to do with each
//! other, so a transit means nothing by itself; above the least one of the last while it is the time spent in queues. The
//! clocks also run at different speeds (100 millionths apart are common), and a route may become longer. So the least is one of
//! a window, and may rise only slowly: a queue that we fill ourselves shall not be taken for the way.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Transits of this long back count, in steps of a quarter of it.
const WINDOW: Duration = Duration::from_secs(20);
const STEPS: u32 = 4;
/// What the least may rise by, in millionths of the time: more than clocks differ, less than a queue grows.
const RISE: f64 = 250e-6;
/// A transit that is this much off is one of another clock: the far end was started anew, or slept.
const OTHER_CLOCK: i64 = 60_000_000;
/// One difference between two transits counts with at most this, in µs, towards the jitter.
const JITTER_STEP_MAX: i64 = 20_000;
/// What counts as standing in a queue at least.
const THRESHOLD_MIN: Duration = Duration::from_millis(5);

/// The transits of one direction, in µs.
#[derive(Debug, Default)]
pub struct Delays {
    least: Option<f64>,
    steps: VecDeque<(Instant, i64)>,
    last: Option<(Instant, i64)>,
    jitter: f64,
}

impl Delays {
    /// Takes one transit, as it is known at `now`.
    pub fn handle_transit(&mut self, now: Instant, transit: i64) {
        if self.last.is_some_and(|(_, last)| (transit - last).abs() > OTHER_CLOCK) {
            *self = Self::default();
        }
        self.note_jitter(transit);
        let elapsed = self.last.map_or(Duration::ZERO, |(when, _)| now.saturating_duration_since(when));
        self.last = Some((now, transit));
        self.note_step(now, transit);
        let window = self.steps.iter().map(|(_, least)| *least).min().unwrap_or(transit) as f64;
        let allowed = self.least.map_or(window, |least| least + elapsed.as_secs_f64() * 1e6 * RISE);
        self.least = Some(window.min(allowed));
    }

    /// How far `transit` lies above the least.
    #[must_use]
    pub fn above(&self, transit: i64) -> Duration {
        let above = self.least.map_or(0.0, |least| transit as f64 - least);
        Duration::try_from_secs_f64(above / 1e6).unwrap_or(Duration::ZERO)
    }

    /// Takes `transit` for the least from now on: no sending less has brought it down, so it is the way that is longer.
    pub fn accept(&mut self, now: Instant, transit: i64) {
        self.least = Some(transit as f64);
        self.steps.clear();
        self.steps.push_back((now, transit));
    }

    /// What one transit usually differs from the one before.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter / 1e6)
    }

    /// Above the least by more than this, something stands in a queue: not only jitter, nor a packet or two of
    /// `packet_time` before it.
    #[must_use]
    pub fn threshold(&self, packet_time: Duration) -> Duration {
        (THRESHOLD_MIN + 2 * self.jitter()).max(2 * packet_time + self.jitter())
    }

    /// RFC 3550 §6.4.1, but a queue that grows is no jitter.
    fn note_jitter(&mut self, transit: i64) {
        let Some((_, last)) = self.last else { return };
        let calm = THRESHOLD_MIN + 3 * self.jitter();
        if self.above(transit) <= 2 * calm && self.above(last) <= 2 * calm {
            let difference = (transit - last).abs().min(JITTER_STEP_MAX) as f64;
            self.jitter += (difference - self.jitter) / 16.0;
        }
    }

    fn note_step(&mut self, now: Instant, transit: i64) {
        let since = |begin: Instant| now.saturating_duration_since(begin);
        while self.steps.front().is_some_and(|(begin, _)| since(*begin) > WINDOW) {
            self.steps.pop_front();
        }
        match self.steps.back_mut() {
            Some((begin, least)) if since(*begin) < WINDOW / STEPS => *least = transit.min(*least),
            _ => self.steps.push_back((now, transit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Duration = Duration::from_millis(50);

    /// Takes what `transit` makes of the seconds since the start, every 50 ms, and returns what the last one is above the least.
    fn run(delays: &mut Delays, start: Instant, seconds: u32, transit: impl Fn(f64) -> i64) -> Duration {
        let mut last = 0;
        for index in 0..seconds * 20 {
            let at = SAMPLE * index;
            last = transit(at.as_secs_f64());
            delays.handle_transit(start + at, last);
        }
        delays.above(last)
    }

    #[test]
    fn offset_of_the_clocks_cancels() {
        let mut delays = Delays::default();
        assert_eq!(run(&mut delays, Instant::now(), 5, |_| -1_234_567), Duration::ZERO);
        assert_eq!(delays.above(-1_234_567 + 9000), Duration::from_millis(9));
    }

    #[test]
    fn clocks_100_millionths_apart_stay_below_the_threshold() {
        for skew in [-100.0, 100.0] {
            let mut delays = Delays::default();
            let above = run(&mut delays, Instant::now(), 300, |seconds| (seconds * skew) as i64);
            assert!(above < THRESHOLD_MIN / 2, "{above:?}");
        }
    }

    #[test]
    fn a_standing_queue_is_not_taken_for_the_way_before_long() {
        let mut delays = Delays::default();
        let start = Instant::now();
        run(&mut delays, start, 30, |_| 0);
        let above = run(&mut delays, start + Duration::from_secs(30), 60, |_| 50_000);
        assert!(above > Duration::from_millis(30), "{above:?}");
        let later = start + Duration::from_secs(90);
        assert_eq!(run(&mut delays, later, 1, |_| 0), Duration::ZERO);
    }

    #[test]
    fn what_is_accepted_is_the_way_from_then_on() {
        let mut delays = Delays::default();
        let start = Instant::now();
        run(&mut delays, start, 5, |_| 0);
        delays.accept(start + Duration::from_secs(5), 50_000);
        assert_eq!(run(&mut delays, start + Duration::from_secs(5), 1, |_| 50_000), Duration::ZERO);
    }

    #[test]
    fn jitter_raises_the_threshold_and_a_queue_does_not() {
        let mut delays = Delays::default();
        let saw = |seconds: f64| i64::from((seconds * 20.0) as u32 % 2) * 4000;
        run(&mut delays, Instant::now(), 10, saw);
        assert!(delays.threshold(Duration::ZERO) > Duration::from_millis(10), "{:?}", delays.jitter());
        let mut delays = Delays::default();
        run(&mut delays, Instant::now(), 2, |seconds| (seconds * 1e5) as i64);
        assert!(delays.threshold(Duration::ZERO) < Duration::from_millis(12), "{:?}", delays.jitter());
    }

    #[test]
    fn another_clock_begins_anew() {
        let mut delays = Delays::default();
        let start = Instant::now();
        run(&mut delays, start, 5, |_| 0);
        assert_eq!(run(&mut delays, start + Duration::from_secs(5), 1, |_| 2_000_000_000), Duration::ZERO);
    }
}
