//! `trickle`: takes what nobody else wants.
//!
//! As LEDBAT (RFC 6817): the window follows the queue in front of the slowest link. Below [`QUEUE`] it grows, the more the emptier the
//! queue is; above, it shrinks, down to almost nothing as long as others keep the queue. Round trips stand for one-way delays, as in
//! LEDBAT++, whose multiplicative decrease this is as well. The base of the round trip is that of a whole minute, and a [`Pause`] every five
//! seconds keeps our own queue out of it.
//!
//! Who keeps a shorter queue than that, as `fair` on another line does, is not noticed in time and gets a little more than half.

use std::time::{Duration, Instant};

use super::{
    INITIAL_WINDOW_PACKETS, WINDOW_BYTES_MAX, WINDOW_PACKETS_MIN,
    measurement::{Measurement, Round},
    pause::Pause,
};

/// The queue that is aimed at. RFC 6817 allows 100 ms; a call beside the line's own should not hear it.
const QUEUE: Duration = Duration::from_millis(20);
/// Each round trip the window grows by this part of itself at most, …
const GROWTH: f64 = 1.0 / 16.0;
/// … and shrinks by this one.
const SHRINKAGE: f64 = 0.5;
/// How much faster than one window in a round trip packets leave.
const HASTE: f64 = 1.25;
/// In a pause, of what the path holds this much is on the way.
const PAUSED: f64 = 0.75;

/// What the policy remembers.
#[derive(Clone, Debug)]
pub(super) struct Trickle {
    window: f64,
    /// Whether the window still doubles.
    is_starting: bool,
    reduced_at: Option<Instant>,
    pause: Pause,
}

impl Trickle {
    /// Begins with what the path holds, if that is known.
    pub(super) fn new(path: &Measurement) -> Self {
        let known = path.known_pipe();
        let window = known.unwrap_or(INITIAL_WINDOW_PACKETS * path.mtu()) as f64;
        Self { window, is_starting: known.is_none(), reduced_at: None, pause: Pause::default() }
    }

    pub(super) fn window(&self, path: &Measurement) -> u64 {
        let pipe = path.pipe().unwrap_or(u64::MAX) as f64;
        (if self.pause.is_now() { self.window.min(pipe * PAUSED) } else { self.window }) as u64
    }

    /// Octets each second; none before there was a round trip.
    pub(super) fn pacing_rate(&self, path: &Measurement) -> Option<u64> {
        let round_trip = path.round_trips().recent()?.as_secs_f64().max(1e-6);
        let window = self.window(path).max(WINDOW_PACKETS_MIN * path.mtu()) as f64;
        Some((HASTE * window / round_trip) as u64)
    }

    pub(super) fn on_ack(&mut self, path: &Measurement, octets: u64, is_limited: bool) {
        let octets = octets as f64;
        let queue = queue(path);
        if self.is_starting && queue > QUEUE / 2 {
            self.is_starting = false;
        }
        // "off_target" of RFC 6817 §2.4.2: one with an empty queue, zero at the target.
        let off_target = 1.0 - queue.as_secs_f64() / QUEUE.as_secs_f64();
        let is_used = !is_limited && path.in_flight() >= self.window(path) / 2;
        if off_target < 0.0 && !is_limited {
            self.window -= SHRINKAGE * octets * (-off_target).min(1.0);
        } else if is_used && self.is_starting {
            self.window += octets;
        } else if is_used && !self.pause.is_now() {
            let one_packet = path.mtu() as f64 * octets / self.window;
            self.window += off_target * (GROWTH * octets).max(one_packet);
        }
        let least = (WINDOW_PACKETS_MIN * path.mtu()) as f64;
        self.window = self.window.clamp(least, WINDOW_BYTES_MAX as f64);
    }

    pub(super) fn on_round(&mut self, now: Instant, round: &Round) {
        let _ = self.pause.on_round(now, round);
    }

    /// A packet that was sent at `sent` was lost. A queue, or who marks the packet, says that it was for others' sake; then the
    /// window is halved, once each round trip (RFC 6817 §2.4.2).
    pub(super) fn on_loss(&mut self, now: Instant, path: &Measurement, sent: Instant, is_sure: bool) {
        let is_new = self.reduced_at.is_none_or(|reduced_at| sent > reduced_at);
        if is_new && (is_sure || queue(path) > QUEUE / 4) {
            self.is_starting = false;
            self.window /= 2.0;
            self.reduced_at = Some(now);
        }
    }
}

fn queue(path: &Measurement) -> Duration {
    let trips = path.round_trips();
    trips.recent().unwrap_or_default().saturating_sub(trips.base_long().unwrap_or_default())
}
