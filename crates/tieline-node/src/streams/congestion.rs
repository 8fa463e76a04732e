//! How fast the stream connection sends: one of three policies, under a cap, both changeable at any time ([`Limits`]).
//!
//! - [`Policy::Fixed`] (`fixed`) sends at a rate that is the company's own, and makes up for loss within a bound.
//! - [`Policy::Fair`] (`fair`), the default, models the path by its bandwidth and its shortest round trip, keeps a short queue and shares
//!   with others. Loss at random does not slow it, loss that comes with its own sending does.
//! - [`Policy::Trickle`] (`trickle`) takes what nobody else wants, and leaves as soon as the queue grows.
//!
//! All of them read the same measurement, so a policy begins where the one before has left the path. None of them asks a clock: time
//! comes with the events of the connection. A policy answers two questions, how many octets may be on the way and how fast they leave;
//! QUIC's pacer obeys. A line is mostly idle: what is sent while there is little to send teaches how long the way is, never that it
//! were narrow.
//!
//! Read first: RFC 9002 §7, draft-ietf-ccwg-bbr §4.1 (delivery rate), RFC 6817 (LEDBAT), RFC 9438 (CUBIC).

mod cubic;
mod fair;
mod fixed;
mod limits;
mod measurement;
mod pause;
mod round_trips;
mod trickle;

use std::{any::Any, sync::Arc, time::Instant};

use noq::congestion::{Controller, ControllerFactory, ControllerMetrics};
use noq_proto::RttEstimator;

use fair::Fair;
use fixed::Fixed;
pub use limits::{Limits, Policy, RATE_MAX, RATE_MIN, Rate};
use measurement::Measurement;
use trickle::Trickle;

/// Packets that a fresh connection may send before it knows the path. As many as large web sites begin with; paced over a round trip, that
/// is no burst.
const INITIAL_WINDOW_PACKETS: u64 = 32;
/// Packets that may be on the way in any case, so that loss is noticed by what arrives after it.
const WINDOW_PACKETS_MIN: u64 = 4;
/// Octets on the way at most: no more than flow control lets through.
const WINDOW_BYTES_MAX: u64 = super::CONNECTION_WINDOW_BYTES as u64;

impl ControllerFactory for Limits {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Pilot::new(Limits::clone(&self), now, current_mtu))
    }
}

/// The controller of one connection.
#[derive(Clone, Debug)]
struct Pilot {
    limits: Limits,
    path: Measurement,
    course: Course,
}

/// The policy in force, and what it remembers.
#[derive(Clone, Debug)]
enum Course {
    Fixed(Fixed),
    Fair(Fair),
    Trickle(Trickle),
}

impl Pilot {
    fn new(limits: Limits, now: Instant, mtu: u16) -> Self {
        let path = Measurement::new(now, mtu);
        let course = Course::new(limits.policy(), &path);
        Self { limits, path, course }
    }

    /// Changes over if another policy was set.
    fn follow(&mut self) {
        let policy = self.limits.policy();
        match (&mut self.course, policy) {
            (Course::Fixed(fixed), Policy::Fixed(rate)) => fixed.set_rate(rate),
            (Course::Fair(_), Policy::Fair) | (Course::Trickle(_), Policy::Trickle) => {}
            (course, policy) => *course = Course::new(policy, &self.path),
        }
    }

    /// Octets each second, if the path is known well enough to say.
    fn pacing_rate(&self) -> Option<u64> {
        let wanted = match &self.course {
            Course::Fixed(fixed) => Some(fixed.pacing_rate(&self.path)),
            Course::Fair(fair) => fair.pacing_rate(&self.path),
            Course::Trickle(trickle) => trickle.pacing_rate(&self.path),
        };
        let cap = self.limits.cap().map(|cap| cap.octets(self.path.mtu()));
        let least = RATE_MIN.octets(self.path.mtu());
        match (wanted, cap) {
            (Some(wanted), Some(cap)) => Some(wanted.max(least).min(cap)),
            (wanted, cap) => wanted.map(|wanted| wanted.max(least)).or(cap),
        }
    }
}

impl Course {
    fn new(policy: Policy, path: &Measurement) -> Self {
        match policy {
            Policy::Fixed(rate) => Self::Fixed(Fixed::new(rate)),
            Policy::Fair => Self::Fair(Fair::new(path)),
            Policy::Trickle => Self::Trickle(Trickle::new(path)),
        }
    }
}

impl Controller for Pilot {
    fn on_packet_sent(&mut self, now: Instant, bytes: u16, _pn: u64) {
        self.follow();
        self.path.on_sent(now, bytes.into());
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        _pn: u64,
        app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        match &mut self.course {
            Course::Fixed(_) => {}
            Course::Fair(fair) => fair.on_ack(now, &self.path, bytes, app_limited),
            Course::Trickle(trickle) => trickle.on_ack(&self.path, bytes, app_limited),
        }
        self.path.on_ack(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest: Option<u64>) {
        self.follow();
        let Some(round) = self.path.on_end_acks(now, in_flight, app_limited) else { return };
        match &mut self.course {
            Course::Fixed(fixed) => fixed.on_round(now, &mut self.path, &round),
            Course::Fair(fair) => fair.on_round(now, &mut self.path, &round),
            Course::Trickle(trickle) => trickle.on_round(now, &round),
        }
    }

    fn on_packet_lost(&mut self, lost_bytes: u16, _pn: u64, _now: Instant) {
        self.path.on_lost(lost_bytes.into());
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        is_ecn: bool,
        _lost_bytes: u64,
        _largest_lost_pn: u64,
    ) {
        match &mut self.course {
            Course::Fixed(_) => {}
            Course::Fair(fair) if is_persistent_congestion => fair.on_collapse(&mut self.path),
            Course::Fair(fair) => fair.on_loss(now, &self.path, sent, is_ecn),
            Course::Trickle(trickle) => {
                trickle.on_loss(now, &self.path, sent, is_ecn || is_persistent_congestion);
            }
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.path.set_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        let wanted = match &self.course {
            Course::Fixed(fixed) => fixed.window(&self.path),
            Course::Fair(fair) => fair.window(&self.path),
            Course::Trickle(trickle) => trickle.window(&self.path),
        };
        wanted.min(WINDOW_BYTES_MAX).max(WINDOW_PACKETS_MIN * self.path.mtu())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = self.pacing_rate();
        metrics.bandwidth_estimate = self.path.bandwidth().map(|octets| octets.saturating_mul(8));
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW_PACKETS * self.path.mtu()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests;
