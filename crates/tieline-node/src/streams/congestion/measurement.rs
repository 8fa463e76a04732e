//! What is known of the path: how fast it delivers, how long it takes, what it loses.
//!
//! The rate of delivery is measured as draft-ietf-ccwg-bbr §4.1 does: what was delivered between the departure of a packet and its
//! acknowledgement, by the longer of the times in which it was sent and acknowledged. Instead of a record for each packet there is one for
//! each millisecond of departures ([`Departure`]): the interval begins a little earlier, and what is delivered in it counts as well.
//!
//! Time is divided into *rounds*: one ends when something sent after its begin is acknowledged.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use super::round_trips::RoundTrips;

/// Time between two departures that are noted.
const DEPARTURES_APART: Duration = Duration::from_millis(1);
/// Departures that are remembered: four seconds of them, longer than any round trip on Earth.
const DEPARTURES_MAX: usize = 4096;
/// Rounds of which the fastest tells the bandwidth.
const ROUNDS_REMEMBERED: usize = 8;
/// Loss in one round that no line has by itself: more was sent than the path takes.
const LOSS_EXCESSIVE: f64 = 0.15;
/// Packets that must be missing before a share of loss means anything.
const LOST_PACKETS_FEW: u64 = 8;

/// The path, as seen by the sender.
#[derive(Clone, Debug)]
pub(super) struct Measurement {
    mtu: u64,
    in_flight: u64,
    delivered: u64,
    delivered_at: Instant,
    /// When the newest packet that was delivered had been sent.
    delivered_sent: Instant,
    /// What was sent before this many octets are delivered was sent for want of more to send.
    limited_until: u64,
    departures: VecDeque<Departure>,
    /// When the newest packet of this batch of acknowledgements was sent.
    batch: Option<Instant>,
    round: Round,
    round_ends_at: u64,
    /// Octets each second, of past rounds.
    bandwidths: VecDeque<u64>,
    /// Whether there was ever enough to send to find out.
    is_known: bool,
    round_trips: RoundTrips,
}

/// How things stood when a packet left.
#[derive(Clone, Copy, Debug)]
struct Departure {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    delivered_sent: Instant,
    is_limited: bool,
}

/// What happened in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// The shortest round trip; zero if there was none.
    pub(super) round_trip: Duration,
    pub(super) lost: Tally,
    /// Whether there was less to send than was allowed, at any time.
    pub(super) is_limited: bool,
    /// The fastest delivery that says what the path can, in octets each second; zero if there was none.
    pub(super) bandwidth: u64,
    /// The fastest delivery, also of what was sent for want of more to send.
    pub(super) fastest: u64,
}

/// Octets that arrived, and those that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) delivered: u64,
    pub(super) lost: u64,
}

impl Tally {
    /// What is lost of all.
    pub(super) fn share(self) -> f64 {
        self.lost as f64 / ((self.delivered + self.lost) as f64).max(1.0)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
    }

    /// Whether enough is lost to speak of a share.
    pub(super) fn is_telling(self, mtu: u64) -> bool {
        self.lost >= LOST_PACKETS_FEW * mtu
    }
}

impl Measurement {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: mtu.max(1).into(),
            in_flight: 0,
            delivered: 0,
            delivered_at: now,
            delivered_sent: now,
            limited_until: 0,
            departures: VecDeque::new(),
            batch: None,
            round: Round::default(),
            round_ends_at: 0,
            bandwidths: VecDeque::new(),
            is_known: false,
            round_trips: RoundTrips::default(),
        }
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.max(1).into();
    }

    /// Octets of a full packet.
    pub(super) fn mtu(&self) -> u64 {
        self.mtu
    }

    /// Octets on the way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Octets each second that the path delivers.
    pub(super) fn bandwidth(&self) -> Option<u64> {
        let fastest = self.bandwidths.iter().copied().max().unwrap_or(0).max(self.round.bandwidth);
        (fastest > 0).then_some(fastest)
    }

    pub(super) fn round_trips(&self) -> &RoundTrips {
        &self.round_trips
    }

    /// Octets that are on the way when the path is full and nothing waits.
    pub(super) fn pipe(&self) -> Option<u64> {
        Some(octets_in(self.bandwidth()?, self.round_trips.base()?))
    }

    /// The same, if there was ever enough to send to fill it.
    pub(super) fn known_pipe(&self) -> Option<u64> {
        self.pipe().filter(|_| self.is_known)
    }

    /// How much longer than the base the round trip was, all through a round.
    pub(super) fn queue(&self, round: &Round) -> Duration {
        round.round_trip.saturating_sub(self.round_trips.base().unwrap_or_default())
    }

    /// Whether a round lost more than lines lose by themselves.
    pub(super) fn is_excessive(&self, lost: Tally) -> bool {
        lost.is_telling(self.mtu) && lost.share() > LOSS_EXCESSIVE
    }

    /// The path is not what it was: of its bandwidth only what the last round has shown counts.
    pub(super) fn forget_bandwidth(&mut self, last: &Round) {
        let shown = if last.bandwidth > 0 { last.bandwidth } else { last.fastest };
        if shown > 0 {
            self.bandwidths.clear();
            self.bandwidths.push_back(shown);
        }
    }

    /// What was lost in this round so far is answered already.
    pub(super) fn forgive_loss(&mut self) {
        self.round.lost = Tally::default();
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.in_flight == 0 {
            // Time in which nothing was on the way says nothing about the path.
            (self.delivered_at, self.delivered_sent) = (now, now);
        }
        self.in_flight += bytes;
        let is_due = self.departures.back().is_none_or(|last| now >= last.at + DEPARTURES_APART);
        if !is_due {
            return;
        }
        if self.departures.len() == DEPARTURES_MAX {
            self.departures.pop_front();
        }
        self.departures.push_back(Departure {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            delivered_sent: self.delivered_sent,
            is_limited: self.limited_until > self.delivered,
        });
    }

    /// One packet was acknowledged; [`Self::on_end_acks`] follows.
    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = now;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.round.lost.delivered += bytes;
        self.batch = self.batch.max(Some(sent));
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.round.lost.lost += bytes;
    }

    /// All packets of one acknowledgement were told. Returns the round that has ended with it.
    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64, is_limited: bool) -> Option<Round> {
        self.in_flight = in_flight;
        let sent = self.batch.take()?;
        let sample = now.saturating_duration_since(sent);
        self.round_trips.on_sample(now, sample);
        let shortest = self.round.round_trip;
        self.round.round_trip = if shortest.is_zero() { sample } else { shortest.min(sample) };
        let departure = self.take_departures_before(sent);
        self.delivered_sent = self.delivered_sent.max(sent);
        if let Some(departure) = departure {
            self.measure(now, sent, departure, is_limited);
        }
        if is_limited {
            self.limited_until = self.delivered + self.in_flight.max(1);
        }
        if departure.is_none_or(|departure| departure.delivered < self.round_ends_at) {
            return None;
        }
        self.round_ends_at = self.delivered;
        let ended = mem::take(&mut self.round);
        if ended.bandwidth > 0 {
            if self.bandwidths.len() == ROUNDS_REMEMBERED {
                self.bandwidths.pop_front();
            }
            self.bandwidths.push_back(ended.bandwidth);
        }
        Some(ended)
    }

    /// Forgets the departures before the last one that is not after `sent`, and returns that one.
    fn take_departures_before(&mut self, sent: Instant) -> Option<Departure> {
        let after = self.departures.partition_point(|departure| departure.at <= sent);
        let last = after.checked_sub(1)?;
        self.departures.drain(..last);
        self.departures.front().copied()
    }

    fn measure(&mut self, now: Instant, sent: Instant, departure: Departure, is_limited: bool) {
        let acknowledging = now.saturating_duration_since(departure.delivered_at);
        let sending = sent.saturating_duration_since(departure.delivered_sent);
        let interval = acknowledging.max(sending);
        // Shorter than the way is long: acknowledgements that came in a heap.
        if interval.is_zero() || self.round_trips.base().is_some_and(|base| interval < base) {
            return;
        }
        let octets = (self.delivered - departure.delivered) as f64;
        let bandwidth = (octets / interval.as_secs_f64()) as u64;
        let is_limited = is_limited || departure.is_limited;
        self.round.is_limited |= is_limited;
        self.is_known |= !is_limited;
        self.round.fastest = self.round.fastest.max(bandwidth);
        if !is_limited || self.bandwidth().is_none_or(|known| bandwidth > known) {
            self.round.bandwidth = self.round.bandwidth.max(bandwidth);
        }
    }
}

/// What a rate of octets each second delivers in a time.
pub(super) fn octets_in(rate: u64, time: Duration) -> u64 {
    (rate as f64 * time.as_secs_f64()) as u64
}
