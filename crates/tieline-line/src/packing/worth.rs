//! Whether it pays to pack, and how long a packet may be held for others to join it.

use std::time::{Duration, Instant};

/// From so many calls on, some wait together often enough.
const CALLS_MIN: usize = 4;
/// Above this share of the line that calls take every octet counts. Beside other traffic they take less: it gives way to them, and nobody
/// need wait.
const LOAD_PERCENT_MIN: u8 = 50;
/// How long the first packet of a bundle waits for others on a line that is loaded: 5 ms, less what a timer may be late.
const HOLD: Duration = Duration::from_millis(4);
/// How long one looks at a line to say how loaded it is.
const LOAD_TIME: Duration = Duration::from_millis(250);
/// A bundle takes no longer than this on the line: what comes after it waits for it.
const LINE_TIME_MAX: Duration = Duration::from_millis(5);

/// How long the first packet of a bundle is held for others; `None` if nothing is packed, and zero if only what waits anyway is.
/// `load_percent` is how much of the line's rate calls used in the last second.
#[must_use]
pub fn hold(calls: usize, load_percent: u8) -> Option<Duration> {
    if load_percent > LOAD_PERCENT_MIN {
        Some(if calls > 1 { HOLD } else { Duration::ZERO })
    } else {
        (calls >= CALLS_MIN).then_some(Duration::ZERO)
    }
}

/// Octets of a bundle at most, on a line whose sealed packets have at most `packet_len_max` octets besides the label, and that carries
/// so many octets in a second, if that is known. A single packet may need all of `packet_len_max`.
#[must_use]
pub fn bundle_len_max(packet_len_max: usize, octets_per_second: Option<u64>) -> usize {
    let of_the_line =
        octets_per_second.map(|rate| rate.saturating_mul(LINE_TIME_MAX.as_millis() as u64) / 1000);
    of_the_line
        .and_then(|octets| usize::try_from(octets).ok())
        .map_or(packet_len_max, |octets| octets.min(packet_len_max))
}

/// How much of the line calls use.
#[derive(Debug)]
pub struct Load {
    since: Instant,
    octets: usize,
    percent: u8,
}

impl Load {
    /// That of a line on which nothing was sent before `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { since: now, octets: 0, percent: 0 }
    }

    /// So many octets were sent.
    pub fn add(&mut self, octets: usize) {
        self.octets += octets;
    }

    /// Looks at what was sent since the last look, if that was long enough ago; true if it was.
    pub fn handle_timeout(&mut self, now: Instant, octets_per_second: u64) -> bool {
        let time = now.saturating_duration_since(self.since);
        if time < LOAD_TIME {
            return false;
        }
        let carried = u128::from(octets_per_second) * time.as_millis() / 1000;
        let percent = self.octets as u128 * 100 / carried.max(1);
        self.percent = u8::try_from(percent).unwrap_or(u8::MAX);
        (self.since, self.octets) = (now, 0);
        true
    }

    /// Of the line's rate, at the last look.
    #[must_use]
    pub fn percent(&self) -> u8 {
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_what_was_sent_of_what_could_have_been() {
        let start = Instant::now();
        let mut load = Load::new(start);
        load.add(30_000);
        assert!(!load.handle_timeout(start + LOAD_TIME / 2, 125_000));
        assert!(load.handle_timeout(start + LOAD_TIME, 125_000));
        assert_eq!(load.percent(), 96);
        load.add(usize::MAX / 2);
        assert!(load.handle_timeout(start + LOAD_TIME * 2, 0));
        assert_eq!(load.percent(), 255);
        assert!(load.handle_timeout(start + LOAD_TIME * 9, 125_000));
        assert_eq!(load.percent(), 0);
    }

    #[test]
    fn an_idle_line_holds_nothing() {
        for calls in 0..300 {
            for load in 0..=50 {
                assert_eq!(hold(calls, load), (calls >= 4).then_some(Duration::ZERO));
            }
        }
    }

    #[test]
    fn a_loaded_line_packs_and_waits_no_longer_than_five_milliseconds() {
        for load in 51..=255 {
            assert_eq!(
                [0, 1, 2, 50].map(|calls| hold(calls, load)),
                [Duration::ZERO, Duration::ZERO, HOLD, HOLD].map(Some)
            );
        }
        assert!(HOLD < Duration::from_millis(5));
    }

    #[test]
    fn a_bundle_takes_five_milliseconds_of_the_line() {
        assert_eq!(bundle_len_max(1416, Some(125_000)), 625);
        assert_eq!(bundle_len_max(1416, Some(2_500_000)), 1416);
        assert_eq!(bundle_len_max(1416, Some(u64::MAX)), 1416);
        assert_eq!(bundle_len_max(1416, None), 1416);
    }
}
