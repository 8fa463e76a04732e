//! `fair`: fills the path, keeps a short queue, and shares.
//!
//! As many octets are on the way as the path holds by the model ([`Measurement::pipe`]), and a few more: the *surplus*. It stands in the
//! queue of the slowest link, keeps that link busy whatever the timers do, and is the question whether there is more to be had: if
//! there is, delivery becomes faster by as much within a round trip. That costs no lost packet, and loss at random below the
//! surplus costs no rate.
//!
//! ```text
//!  Startup ── full: no faster for three rounds, or a queue ──▶ Drain ──▶ Cruise
//!     ▲                                                          ▲          │
//!     │                                    every five seconds, or a queue  ─┘
//!     └── the path collapsed, or has become much longer: from any phase
//! ```
//!
//! **Drain** takes the queue away for a round trip, which shows the true length of the way, and two things more:
//!
//! - *Is the queue others'?* If it is still there, others fill it, and whoever avoids queues gets nothing beside them. Then the window
//!   is that of CUBIC, if it is larger: it grows as theirs does and gives way as theirs does.
//! - *Is the loss ours?* If less is lost while less is sent, the surplus overflows a short queue or a policer, and becomes smaller.

use std::time::{Duration, Instant};

use super::{
    INITIAL_WINDOW_PACKETS, WINDOW_PACKETS_MIN,
    cubic::Cubic,
    measurement::{Measurement, Round, Tally, octets_in},
    round_trips::BUCKET,
};

/// The surplus is this part of what the path holds …
const SURPLUS_PART: u32 = 16;
/// … and at least what is delivered in this time: less would be lost in the jitter of timers and threads.
const SURPLUS_TIME_MIN: Duration = Duration::from_millis(5);
/// … and at least so many packets: one that a slow link is busy with, and two until there is an acknowledgement.
const SURPLUS_PACKETS_MIN: u64 = 3;
/// How much faster than delivery packets leave. What is on the way is limited by the window; this limits what a policer has to drop.
const HASTE: f64 = 0.125;
/// The least part of surplus and haste that is left when loss is ours.
const APPETITE_MIN: f64 = 1.0 / 8.0;
/// By how much loss must be larger in cruise than in drain to be ours.
const OWN_LOSS: f64 = 0.02;
/// In a drain, of what the path holds this much is on the way: below the lot by more than the bandwidth is overrated.
const DRAINED: f64 = 0.95;
/// Rounds of a drain: in the first the queue goes, and what was sent in it is known at the end of the second.
const DRAIN_ROUNDS: u32 = 2;
/// Rounds with a queue of others until a drain asks whose it is.
const LATE_ROUNDS: u32 = 2;
/// "full" in startup: delivery has not become faster by a quarter …
const GROWTH: f64 = 1.25;
/// … for so many rounds (draft-ietf-ccwg-bbr §5.3.1.2).
const FLAT_ROUNDS: u32 = 3;
/// A way that has become longer by this factor …
const LONGER: u32 = 2;
/// … and this time is another way.
const LONGER_BY: Duration = Duration::from_millis(10);

/// What the policy remembers.
#[derive(Clone, Debug)]
pub(super) struct Fair {
    phase: Phase,
    /// The window beside those who fill the queue.
    rival: Option<Cubic>,
    /// The part of surplus and haste that is used.
    appetite: f64,
    /// The base of the round trip in the round before.
    base: Duration,
}

#[derive(Clone, Debug)]
enum Phase {
    Startup { window: u64, fastest: u64, flat_rounds: u32 },
    Cruise { drain_at: Option<Instant>, late_rounds: u32, tally: Tally },
    Drain { rounds: u32, cruise: Tally },
}

impl Phase {
    /// Doubling from `window` on, until the path is full.
    fn startup(window: u64) -> Self {
        Self::Startup { window, fastest: 0, flat_rounds: 0 }
    }

    const DRAIN: Self = Self::Drain { rounds: 0, cruise: Tally { delivered: 0, lost: 0 } };
    const CRUISE: Self =
        Self::Cruise { drain_at: None, late_rounds: 0, tally: Tally { delivered: 0, lost: 0 } };
}

impl Fair {
    /// Begins where the policy before has left the path.
    pub(super) fn new(path: &Measurement) -> Self {
        let phase = match path.known_pipe() {
            Some(_) => Phase::CRUISE,
            None => Phase::startup(INITIAL_WINDOW_PACKETS * path.mtu()),
        };
        let base = path.round_trips().base().unwrap_or_default();
        Self { phase, rival: None, appetite: 1.0, base }
    }

    pub(super) fn window(&self, path: &Measurement) -> u64 {
        let Some(pipe) = path.pipe() else { return INITIAL_WINDOW_PACKETS * path.mtu() };
        match &self.phase {
            Phase::Startup { window, .. } => *window,
            Phase::Cruise { .. } => {
                let rival = self.rival.as_ref().map_or(0, |rival| rival.octets(path.mtu()));
                (pipe + self.surplus(path)).max(rival)
            }
            Phase::Drain { .. } => (pipe as f64 * DRAINED) as u64,
        }
    }

    /// Octets each second; none before there was a round trip.
    pub(super) fn pacing_rate(&self, path: &Measurement) -> Option<u64> {
        let base = path.round_trips().base()?;
        let bandwidth = path.bandwidth()? as f64;
        let rate = match &self.phase {
            Phase::Startup { window, .. } => 2.0 * rate_of(*window, base),
            Phase::Cruise { .. } => {
                let rival = self.rival.as_ref().map_or(0, |rival| rival.octets(path.mtu()));
                let round_trip = path.round_trips().recent().unwrap_or(base);
                let haste = 1.0 + HASTE * self.appetite;
                (bandwidth * haste).max(rate_of(rival, round_trip) * (1.0 + HASTE))
            }
            Phase::Drain { .. } => bandwidth,
        };
        Some(rate as u64)
    }

    pub(super) fn on_ack(&mut self, now: Instant, path: &Measurement, octets: u64, is_limited: bool) {
        let is_used = !is_limited && path.in_flight() >= self.window(path) / 2;
        if !is_used {
            return;
        }
        match &mut self.phase {
            Phase::Startup { window, .. } => {
                *window = window.saturating_add(octets).min(super::WINDOW_BYTES_MAX);
            }
            Phase::Cruise { .. } | Phase::Drain { .. } => {
                let round_trip = path.round_trips().recent().unwrap_or_default();
                if let Some(rival) = &mut self.rival {
                    rival.on_ack(now, octets, round_trip, path.mtu());
                }
            }
        }
    }

    pub(super) fn on_round(&mut self, now: Instant, path: &mut Measurement, round: &Round) {
        let base_before = self.base;
        self.base = path.round_trips().base().unwrap_or_default();
        if !base_before.is_zero() && self.base > LONGER * base_before + LONGER_BY {
            self.rival = None;
            self.phase = Phase::startup(path.pipe().unwrap_or(0));
            return;
        }
        if path.is_excessive(round.lost) {
            // More was sent than the path takes. What it delivers is known by now.
            path.forget_bandwidth(round);
            self.rival = None;
            self.phase = Phase::CRUISE;
            return;
        }
        let (queue, short) = (path.queue(round), short_queue(path));
        match &mut self.phase {
            Phase::Startup { fastest, flat_rounds, .. } if !round.is_limited => {
                let bandwidth = path.bandwidth().unwrap_or(0);
                if bandwidth as f64 >= *fastest as f64 * GROWTH {
                    (*fastest, *flat_rounds) = (bandwidth, 0);
                } else {
                    *flat_rounds += 1;
                }
                if *flat_rounds >= FLAT_ROUNDS || queue > short {
                    self.phase = Phase::DRAIN;
                }
            }
            Phase::Startup { .. } => {}
            Phase::Cruise { drain_at, late_rounds, tally } => {
                tally.add(round.lost);
                let is_late = queue > 3 * short && !round.is_limited;
                *late_rounds = if is_late { *late_rounds + 1 } else { 0 };
                let is_late = *late_rounds >= LATE_ROUNDS && self.rival.is_none();
                let drain_at = *drain_at.get_or_insert(now + BUCKET);
                if is_late || (now >= drain_at && !round.is_limited) {
                    self.phase = Phase::Drain { rounds: 0, cruise: *tally };
                }
            }
            Phase::Drain { rounds, cruise } => {
                *rounds += 1;
                if *rounds >= DRAIN_ROUNDS {
                    let cruise = *cruise;
                    self.after_drain(now, path, round, cruise);
                }
            }
        }
    }

    /// A packet that was sent at `sent` was lost, or marked.
    pub(super) fn on_loss(&mut self, now: Instant, path: &Measurement, sent: Instant, is_marked: bool) {
        let queue = path.round_trips().recent().unwrap_or_default().saturating_sub(self.base);
        if let Some(rival) = &mut self.rival
            && (is_marked || queue > short_queue(path))
        {
            rival.on_loss(now, sent);
        }
    }

    /// For some time nothing at all arrived.
    pub(super) fn on_collapse(&mut self, path: &mut Measurement) {
        path.forgive_loss();
        self.rival = None;
        self.phase = Phase::startup(WINDOW_PACKETS_MIN * path.mtu());
    }

    fn after_drain(&mut self, now: Instant, path: &mut Measurement, round: &Round, cruise: Tally) {
        if path.queue(round) <= short_queue(path) {
            self.rival = None;
        } else if !round.is_limited {
            path.forget_bandwidth(round);
            self.rival.get_or_insert_with(|| Cubic::new(now, path.in_flight(), path.mtu()));
        }
        let is_own = cruise.is_telling(path.mtu()) && cruise.share() > round.lost.share() + OWN_LOSS;
        self.appetite =
            if is_own { (self.appetite / 2.0).max(APPETITE_MIN) } else { (self.appetite * 1.5).min(1.0) };
        self.phase = Phase::CRUISE;
    }

    /// Octets above what the path holds.
    fn surplus(&self, path: &Measurement) -> u64 {
        let surplus = octets_in(path.bandwidth().unwrap_or(0), surplus_time(path));
        ((surplus as f64 * self.appetite) as u64).max(SURPLUS_PACKETS_MIN * path.mtu())
    }
}

/// How long the surplus stands in the queue.
fn surplus_time(path: &Measurement) -> Duration {
    (path.round_trips().base().unwrap_or_default() / SURPLUS_PART).max(SURPLUS_TIME_MIN)
}

/// The longest queue that may be ours alone: the surplus, and on a slow link what leaves it at once.
fn short_queue(path: &Measurement) -> Duration {
    let packets = ((SURPLUS_PACKETS_MIN + 1) * path.mtu()) as f64;
    let leaving = packets / path.bandwidth().unwrap_or(u64::MAX) as f64;
    surplus_time(path).max(Duration::from_secs_f64(leaving))
}

/// Octets each second of a window.
fn rate_of(window: u64, round_trip: Duration) -> f64 {
    window as f64 / round_trip.as_secs_f64().max(1e-6)
}
