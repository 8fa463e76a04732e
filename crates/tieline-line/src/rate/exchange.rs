//! The reports of both ends, put together: what went in here and came out there between two of them.
//!
//! An end remembers what it had sent when it made each report. The far end tells what it had received when a report arrived.
//! Two reports of which both are known give the rate at which the path delivers, what was lost between them, and how much
//! longer the way has become. What is compared are counts, so a report that is lost costs nothing but time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tieline_wire::rate_report::{Answer, Heard, Micros, RateReport};

use super::delay::Delays;

/// Reports whose fate is not known; at two a pulse and 20 a second those of some seconds.
const DEPARTURES_MAX: usize = 128;
/// Reports whose fate is known.
const ARRIVALS_MAX: usize = 64;
/// A rate is measured over at least this long, and this many full packets.
const SPAN_MIN: Duration = Duration::from_millis(40);
const SPAN_PACKETS: u32 = 12;
/// A rate is measured over at most this long while a queue stands, so that it is that of now.
const SPAN_QUEUED_MAX: Duration = Duration::from_millis(500);

/// Datagrams and their octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sealed datagrams.
    pub datagrams: u64,
    /// Their octets, as UDP payload.
    pub octets: u64,
}

/// A report that this end has sent.
#[derive(Clone, Copy, Debug)]
struct Departure {
    sequence: u32,
    at: Instant,
    sent: Counted,
    limited: bool,
    wants_answer: bool,
}

/// A report of which the far end has said when it arrived.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    departure: Departure,
    heard: Heard,
    transit: i64,
}

/// What is known of the way out from a report that has arrived there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the report left.
    pub left: Instant,
    /// How long it was on its way, less the shortest time.
    pub above: Duration,
    /// The same by the far clock, and with the clocks' difference in it.
    pub transit: i64,
    /// Until its answer was back, less what the far end waited.
    pub round_trip: Duration,
    /// Bits a second that arrived, with what the line below adds.
    pub delivered: f64,
    /// Bits a second that were sent meanwhile.
    pub sent: f64,
    /// Datagrams sent, and those of them that did not arrive.
    pub datagrams: u64,
    /// See there.
    pub lost: u64,
    /// Whether more would have been sent if the rate had let it.
    pub limited: bool,
    /// Whether a queue stood all the time, so that `delivered` is all that the path can.
    pub queued: bool,
    /// Whether the two reports are close enough to each other that no cut can be between them.
    pub whole: bool,
}

impl Sample {
    /// The share of the datagrams that was lost.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.datagrams == 0 { 0.0 } else { self.lost as f64 / self.datagrams as f64 }
    }
}

/// The reports of one line.
#[derive(Debug)]
pub struct Exchange {
    epoch: Instant,
    /// Octets that lower layers add to each datagram.
    overhead: usize,
    next_sequence: u32,
    departures: VecDeque<Departure>,
    arrivals: VecDeque<Arrival>,
    heard: Option<Heard>,
}

impl Exchange {
    /// Nothing sent, nothing heard.
    #[must_use]
    pub fn new(now: Instant, overhead: usize) -> Self {
        Self {
            epoch: now,
            overhead,
            next_sequence: 0,
            departures: VecDeque::new(),
            arrivals: VecDeque::new(),
            heard: None,
        }
    }

    /// Forgets what was heard: the far end was started anew.
    pub fn restart(&mut self) {
        self.departures.clear();
        self.arrivals.clear();
        self.heard = None;
    }

    /// Makes a report. `sent` is all that has been sent before it; `limited` says whether more would have been since the last
    /// one.
    pub fn make(
        &mut self,
        now: Instant,
        sent: Counted,
        limited: bool,
        answer: Answer,
        ceiling_kbit: u32,
    ) -> RateReport {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        if self.departures.len() == DEPARTURES_MAX {
            self.departures.pop_front();
        }
        let wants_answer = answer != Answer::NotWanted;
        self.departures.push_back(Departure { sequence, at: now, sent, limited, wants_answer });
        RateReport { sequence, sent: self.micros(now), ceiling_kbit, answer, heard: self.heard }
    }

    /// Takes a report that arrived at `arrived`, when `received` had come in all, and returns what it tells of the way out.
    pub fn handle(
        &mut self,
        now: Instant,
        arrived: Instant,
        report: &RateReport,
        received: Counted,
        delays: &mut Delays,
        packet_time: Duration,
    ) -> Option<Sample> {
        self.hear(arrived, report, received);
        let heard = report.heard?;
        let index = self.departures.iter().position(|departure| departure.sequence == heard.sequence)?;
        let departure = self.departures.drain(..=index).next_back()?;
        let transit = heard.arrived.since(self.micros(departure.at));
        delays.handle_transit(now, transit);
        let arrival = Arrival { departure, heard, transit };
        let sample = self.sample(now, &arrival, report.sent, delays, packet_time);
        if self.arrivals.len() == ARRIVALS_MAX {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(arrival);
        sample
    }

    /// Since when an answer to a report has been missing, if one is.
    #[must_use]
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.departures.iter().find(|departure| departure.wants_answer).map(|departure| departure.at)
    }

    /// Only the newest report counts: one that was overtaken tells of the past.
    fn hear(&mut self, arrived: Instant, report: &RateReport, received: Counted) {
        let is_newer = |heard: Heard| report.sequence.wrapping_sub(heard.sequence).cast_signed() > 0;
        if self.heard.is_none_or(is_newer) {
            #[expect(clippy::cast_possible_truncation, reason = "the count goes round")]
            let datagrams = received.datagrams as u32;
            self.heard = Some(Heard {
                sequence: report.sequence,
                arrived: self.micros(arrived),
                datagrams,
                octets: received.octets,
            });
        }
    }

    fn sample(
        &self,
        now: Instant,
        arrival: &Arrival,
        far_now: Micros,
        delays: &Delays,
        packet_time: Duration,
    ) -> Option<Sample> {
        let threshold = delays.threshold(packet_time) / 2;
        let is_queued = |arrival: &Arrival| delays.above(arrival.transit) > threshold;
        let span_since = |earlier: &Arrival| micros(arrival.heard.arrived.since(earlier.heard.arrived));
        let run = self.arrivals.iter().rev().take_while(|earlier| is_queued(earlier));
        let span_min = SPAN_MIN.max(SPAN_PACKETS * packet_time);
        let span_max = SPAN_QUEUED_MAX.max(2 * span_min);
        let queued = run
            .take_while(|earlier| span_since(earlier) <= span_max)
            .last()
            .filter(|earlier| is_queued(arrival) && span_since(earlier) >= span_min / 2);
        let earlier = queued
            .or_else(|| self.arrivals.iter().rev().find(|earlier| span_since(earlier) >= span_min))
            .or_else(|| self.arrivals.front())?;
        let (before, after) = (earlier.departure.sent, arrival.departure.sent);
        let span = span_since(earlier);
        let datagrams = after.datagrams.saturating_sub(before.datagrams);
        let arrived = u64::from(arrival.heard.datagrams.wrapping_sub(earlier.heard.datagrams));
        let octets = arrival.heard.octets.checked_sub(earlier.heard.octets)?;
        let departed = arrival.departure.at.saturating_duration_since(earlier.departure.at);
        let held = micros(far_now.since(arrival.heard.arrived));
        Some(Sample {
            left: arrival.departure.at,
            above: delays.above(arrival.transit),
            transit: arrival.transit,
            round_trip: now.saturating_duration_since(arrival.departure.at).saturating_sub(held),
            delivered: self.rate(arrived, octets, span)?,
            sent: self.rate(datagrams, after.octets.saturating_sub(before.octets), departed)?,
            datagrams,
            lost: datagrams.saturating_sub(arrived),
            limited: arrival.departure.limited,
            queued: queued.is_some(),
            whole: departed <= span_max,
        })
    }

    /// Bits a second on the wire.
    fn rate(&self, datagrams: u64, octets: u64, time: Duration) -> Option<f64> {
        let on_the_wire = octets as f64 + datagrams as f64 * self.overhead as f64;
        (!time.is_zero()).then(|| on_the_wire * 8.0 / time.as_secs_f64())
    }

    fn micros(&self, at: Instant) -> Micros {
        #[expect(clippy::cast_possible_truncation, reason = "the clock goes round")]
        let micros = at.saturating_duration_since(self.epoch).as_micros() as u32;
        Micros(micros)
    }
}

fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or(0))
}
