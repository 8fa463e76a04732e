//! The window of CUBIC (RFC 9438), for where the queue belongs to others that behave so.

use std::time::{Duration, Instant};

/// "β_cubic SHOULD be set to 0.7" (RFC 9438 §4.6).
const BETA: f64 = 0.7;
/// "C SHOULD be set to 0.4" (RFC 9438 §5.1), in packets for each second cubed.
const C: f64 = 0.4;
/// Packets each round trip with which additive increase is as fast as Reno (RFC 9438 §4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// A window, counted in packets.
#[derive(Clone, Debug)]
pub(super) struct Cubic {
    window: f64,
    /// The window at which the last loss happened.
    origin: f64,
    /// What Reno would have by now.
    reno: f64,
    epoch: Instant,
}

impl Cubic {
    /// Begins with a window of `octets`, as if the last loss had been just there.
    pub(super) fn new(now: Instant, octets: u64, mtu: u64) -> Self {
        let window = (octets as f64 / mtu as f64).max(super::WINDOW_PACKETS_MIN as f64);
        Self { window, origin: window, reno: window, epoch: now }
    }

    pub(super) fn octets(&self, mtu: u64) -> u64 {
        (self.window * mtu as f64) as u64
    }

    /// `octets` were acknowledged of a window that was used.
    pub(super) fn on_ack(&mut self, now: Instant, octets: u64, round_trip: Duration, mtu: u64) {
        let packets = octets as f64 / mtu as f64;
        self.reno += ALPHA * packets / self.window;
        let since = now.saturating_duration_since(self.epoch) + round_trip;
        let plateau = ((self.origin - self.window_after_loss()).max(0.0) / C).cbrt();
        let target = C * (since.as_secs_f64() - plateau).powi(3) + self.origin;
        // "target SHOULD be bounded" by 1.5 windows each round trip (RFC 9438 §4.2).
        let target = target.min(1.5 * self.window);
        self.window += ((target - self.window) * packets / self.window).max(0.0);
        self.window = self.window.max(self.reno);
    }

    /// A packet that was sent at `sent` was lost in a full queue. Reduces once for each round trip.
    pub(super) fn on_loss(&mut self, now: Instant, sent: Instant) {
        if sent <= self.epoch {
            return;
        }
        // Fast convergence (RFC 9438 §4.7).
        self.origin = if self.window < self.origin { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(super::WINDOW_PACKETS_MIN as f64);
        self.reno = self.window;
        self.epoch = now;
    }

    fn window_after_loss(&self) -> f64 {
        self.origin * BETA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u64 = 1000;
    const ROUND_TRIP: Duration = Duration::from_millis(100);

    #[test]
    fn window_falls_once_a_round_trip_and_comes_back_slower_the_nearer_it_is() {
        let start = Instant::now();
        let mut cubic = Cubic::new(start, 100 * MTU, MTU);
        cubic.on_loss(start + ROUND_TRIP, start + Duration::from_millis(1));
        assert_eq!(cubic.octets(MTU), 70 * MTU);
        cubic.on_loss(start + ROUND_TRIP, start + Duration::from_millis(2));
        assert_eq!(cubic.octets(MTU), 70 * MTU, "it was sent before the reduction");
        let mut windows = vec![cubic.window];
        for round in 2..45 {
            cubic.on_ack(start + round * ROUND_TRIP, cubic.octets(MTU), ROUND_TRIP, MTU);
            windows.push(cubic.window);
        }
        // K = cbrt(100 × 0.3 ÷ 0.4) = 4.2 s.
        assert!((98.0..103.0).contains(&windows[42]), "{windows:?}");
        assert!(windows[5] - windows[0] > 3.0 * (windows[40] - windows[35]), "{windows:?}");
    }

    #[test]
    fn small_window_grows_as_reno_and_a_lossless_path_without_leaps() {
        let start = Instant::now();
        let mut cubic = Cubic::new(start, 10 * MTU, MTU);
        cubic.on_ack(start + ROUND_TRIP, 10 * MTU, ROUND_TRIP, MTU);
        assert!((10.5..10.6).contains(&cubic.window), "{}", cubic.window);
        let before = cubic.window;
        cubic.on_ack(start + Duration::from_secs(3600), cubic.octets(MTU), ROUND_TRIP, MTU);
        assert!(cubic.window <= 1.5 * before, "{}", cubic.window);
    }

    #[test]
    fn window_never_falls_below_the_least() {
        let start = Instant::now();
        let mut cubic = Cubic::new(start, 10 * MTU, MTU);
        for round in 1..20 {
            cubic.on_loss(start + round * ROUND_TRIP, start + round * ROUND_TRIP);
        }
        assert_eq!(cubic.octets(MTU), super::super::WINDOW_PACKETS_MIN * MTU);
    }
}
