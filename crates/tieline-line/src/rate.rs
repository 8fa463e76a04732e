//! The rate of the way out: configured, or found by the reports of both ends.
//!
//! Each end counts what arrives and tells the other, with the moment when the other's last report came
//! ([`tieline_wire::rate_report`]). From two such reports follow the rate at which the path delivers, the loss, and the delay
//! above the least ([`exchange`], [`delay`]); from these follows how fast to send ([`controller`]).
//!
//! Who reports: an end whose rate is `auto` while there is traffic, and every end that is asked. An idle line is silent. What an
//! end can take in goes with every report, and is told at the start until it is known to have arrived.
//!
//! One `handle_*`, then [`Rate::poll_report`] until it returns `None`, then wait until [`Rate::poll_timeout`]. Traffic is counted
//! by whoever seals and opens; while nothing is due, somebody must look once a second whether there is any.

pub mod controller;
pub mod delay;
pub mod exchange;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use tieline_wire::{
    associated,
    label::LabelStackEntry,
    rate_report::{self, Answer, RateReport},
    wireguard::{TAG_LEN, TransportHeader},
};

use self::{
    controller::{Controller, RATE_MAX, Reason},
    delay::Delays,
    exchange::Exchange,
};

pub use self::exchange::Counted;

/// Time between two reports, where they are not too much for the line.
pub const INTERVAL: Duration = Duration::from_millis(50);
/// Time between them on the slowest lines.
const INTERVAL_MAX: Duration = Duration::from_millis(400);
/// What reports may take of the rate.
const SHARE: f64 = 0.008;
/// Reports never follow one another faster, whoever asks.
const GAP_MIN: Duration = Duration::from_millis(5);
/// So many other datagrams a second are traffic; probes and keepalives are fewer.
const TRAFFIC_MIN: u64 = 10;
const TRAFFIC_WINDOW: Duration = Duration::from_secs(1);
/// So many intervals without an answer, besides the round trip, are silence.
const SILENCE_INTERVALS: u32 = 5;
/// What was said at the start is said again after so long, then twice that, and so on.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(250);
/// So often; an end that has not answered then knows no reports.
const ANNOUNCEMENTS_MAX: u32 = 6;
/// A report as the medium carries it.
const DATAGRAM_LEN: usize =
    TransportHeader::LEN + LabelStackEntry::LEN + associated::HEADER_LEN + rate_report::LEN + TAG_LEN;

/// What there is to know of a line's rates.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether the rate of the way out is to be found.
    pub auto: bool,
    /// The most that may be sent, in bits a second on the wire.
    pub ceiling: Option<u64>,
    /// The most that can be taken in: the far end is told.
    pub ceiling_in: Option<u64>,
    /// Octets that lower layers add to a datagram.
    pub overhead: usize,
    /// Octets of the largest datagram.
    pub datagram_len_max: usize,
}

/// What has gone through the line since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sealed and sent.
    pub sent: Counted,
    /// Opened and found authentic.
    pub received: Counted,
    /// The time during which packets waited for the rate to let them out.
    pub backlogged: Duration,
}

/// The rate as a person may see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Status {
    /// Bits a second that may be sent now; none if there is no limit.
    pub now: Option<u64>,
    /// Bits a second that the path is believed to take; none if it is not measured.
    pub estimate: Option<u64>,
    /// Why, and since when.
    pub reason: Reason,
    /// See there.
    pub since: Instant,
    /// What the far end says it can take in.
    pub far_ceiling: Option<u64>,
    /// How much later than at best the last report arrived there.
    pub delay: Duration,
    /// What was lost of late, as a share.
    pub loss: f64,
}

/// The rates of one line.
#[derive(Debug)]
pub struct Rate {
    config: Config,
    far_ceiling: Option<u64>,
    controller: Controller,
    delays: Delays,
    exchange: Exchange,
    announcements: Announcements,
    /// The last report, and the last that this end sent of itself.
    last: Option<Instant>,
    last_own: Option<Instant>,
    answer_due: Option<Instant>,
    activity: Activity,
    backlogged: Duration,
    delay: Duration,
    loss: f64,
}

#[derive(Debug)]
enum Announcements {
    /// There is nobody to tell.
    NotYet,
    Due {
        at: Instant,
        said: u32,
    },
    /// The far end has answered.
    Heard,
    /// It has not, to any.
    Unheard,
}

#[derive(Debug, Default)]
struct Activity {
    reports: u64,
    mark: Option<(Instant, u64)>,
    until: Option<Instant>,
}

impl Rate {
    /// Rates of which nothing is known but what is configured.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        Self {
            far_ceiling: None,
            controller: Controller::new(now, bits(config.ceiling), config.datagram_len_max + config.overhead),
            delays: Delays::default(),
            exchange: Exchange::new(now, config.overhead),
            announcements: Announcements::NotYet,
            last: None,
            last_own: None,
            answer_due: None,
            activity: Activity::default(),
            backlogged: Duration::ZERO,
            delay: Duration::ZERO,
            loss: 0.0,
            config,
        }
    }

    /// There is a far end, or another one than before. The rate stays: the path is the same.
    pub fn handle_far_end(&mut self, now: Instant) {
        self.exchange.restart();
        self.delays = Delays::default();
        self.far_ceiling = None;
        self.controller.set_ceiling(now, self.ceiling());
        self.controller.set_silent(now, false);
        let has_something_to_say = self.config.auto || self.config.ceiling_in.is_some();
        self.announcements = match has_something_to_say {
            true => Announcements::Due { at: now, said: 0 },
            false => Announcements::NotYet,
        };
    }

    /// Packets go by another path from now on, of which nothing is known but what is configured.
    pub fn handle_path(&mut self, now: Instant) {
        self.exchange.restart();
        self.delays = Delays::default();
        let packet = self.config.datagram_len_max + self.config.overhead;
        self.controller = Controller::new(now, self.ceiling(), packet);
    }

    /// Takes a report that arrived at `arrived`, when `traffic` had gone through.
    pub fn handle_report(&mut self, now: Instant, arrived: Instant, report: &RateReport, traffic: &Traffic) {
        self.activity.reports += 1;
        self.note_activity(now, traffic);
        let told = Some(u64::from(report.ceiling_kbit) * 1000).filter(|told| *told > 0);
        if told != self.far_ceiling {
            self.far_ceiling = told;
            self.controller.set_ceiling(now, self.ceiling());
        }
        match report.answer {
            Answer::NotWanted => {}
            Answer::Wanted => self.answer_at(now, self.interval() * 4 / 5),
            Answer::AtOnce => self.answer_at(now, GAP_MIN),
        }
        if report.heard.is_some() {
            self.announcements = Announcements::Heard;
        }
        let packet_time = self.controller.packet_time();
        let sample =
            self.exchange.handle(now, arrived, report, traffic.received, &mut self.delays, packet_time);
        if let Some(sample) = sample
            && self.config.auto
        {
            (self.delay, self.loss) = (sample.above, sample.loss());
            self.controller.handle_sample(now, &sample, &mut self.delays);
        }
    }

    /// Does what is due, and looks whether there is traffic.
    pub fn handle_timeout(&mut self, now: Instant, traffic: &Traffic) {
        self.note_activity(now, traffic);
        self.controller.handle_timeout(now);
        if self.silence_at().is_some_and(|at| now >= at) {
            self.controller.set_silent(now, true);
        }
        if let Announcements::Due { said: ANNOUNCEMENTS_MAX, at } = self.announcements
            && now >= at
        {
            self.announcements = Announcements::Unheard;
        }
    }

    /// The report that is due, if one is; `traffic` is what went through until now.
    pub fn poll_report(&mut self, now: Instant, traffic: &Traffic) -> Option<RateReport> {
        let announcement = self.announce(now);
        let own_due = self.own_due(now);
        let is_due = |due: Option<Instant>, ahead| due.is_some_and(|due| now + ahead >= due);
        if !announcement && !is_due(own_due, Duration::ZERO) && !is_due(self.answer_due, Duration::ZERO) {
            return None;
        }
        // An answer that goes shortly before a report is due takes its place.
        let is_own = announcement || is_due(own_due, self.interval() / 5);
        let answer = match (is_own, self.controller.report_at(now).is_some()) {
            (false, _) => Answer::NotWanted,
            (true, true) if self.config.auto => Answer::AtOnce,
            (true, _) => Answer::Wanted,
        };
        let since = self.last.map_or(INTERVAL, |last| now.saturating_duration_since(last));
        let limited = traffic.backlogged.saturating_sub(self.backlogged) >= since / 2;
        self.backlogged = traffic.backlogged;
        self.last = Some(now);
        if is_own {
            self.last_own = Some(now);
        }
        self.answer_due = None;
        self.activity.reports += 1;
        Some(self.exchange.make(now, traffic.sent, limited, answer, kbit(self.config.ceiling_in)))
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_report`] next, or to ask for the rate again.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let announcement = match self.announcements {
            Announcements::Due { at, .. } => Some(at),
            Announcements::NotYet | Announcements::Heard | Announcements::Unheard => None,
        };
        let turn = if self.config.auto { self.controller.poll_timeout(now) } else { None };
        let silence = self.silence_at().filter(|at| *at > now);
        [announcement, self.answer_due, self.own_due(now), turn, silence].into_iter().flatten().min()
    }

    /// Bits a second that may be sent now, as the wire counts them; none if there is no limit. A found rate is what may leave: there is
    /// nothing more to stay below of.
    #[must_use]
    pub fn bits_per_second(&self, now: Instant) -> Option<u64> {
        let is_found = self.config.auto && !matches!(self.announcements, Announcements::Unheard);
        if is_found {
            return Some(whole(self.controller.rate(now)));
        }
        [self.config.ceiling, self.far_ceiling].into_iter().flatten().min()
    }

    /// All there is to see.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let (reason, since) = self.controller.reason();
        Status {
            now: self.bits_per_second(now),
            estimate: self.config.auto.then(|| whole(self.controller.estimate())),
            reason,
            since,
            far_ceiling: self.far_ceiling,
            delay: self.delay,
            loss: self.loss,
        }
    }

    fn ceiling(&self) -> f64 {
        bits([self.config.ceiling, self.far_ceiling].into_iter().flatten().min())
    }

    /// Time between reports: such that they take no more than their share.
    fn interval(&self) -> Duration {
        let rate = if self.config.auto { self.controller.estimate() } else { self.ceiling() };
        let on_the_wire = (DATAGRAM_LEN + self.config.overhead) as f64 * 8.0;
        Duration::from_secs_f64(on_the_wire / SHARE / rate).clamp(INTERVAL, INTERVAL_MAX)
    }

    fn own_due(&self, now: Instant) -> Option<Instant> {
        let is_heard = matches!(self.announcements, Announcements::Heard);
        if !self.config.auto || !is_heard || self.activity.until.is_none_or(|until| now >= until) {
            return None;
        }
        let Some(last) = self.last_own else { return Some(now) };
        let usual = last + self.interval();
        let soon = self.controller.report_at(last).map(|at| at.max(last + GAP_MIN));
        Some(soon.map_or(usual, |soon| soon.min(usual)))
    }

    fn answer_at(&mut self, now: Instant, after: Duration) {
        let at = self.last.map_or(now, |last| now.max(last + after));
        self.answer_due = Some(self.answer_due.map_or(at, |due| due.min(at)));
    }

    fn silence_at(&self) -> Option<Instant> {
        let is_heard = matches!(self.announcements, Announcements::Heard);
        let since = self.exchange.unanswered_since().filter(|_| self.config.auto && is_heard)?;
        Some(since + SILENCE_INTERVALS * self.interval() + 2 * self.controller.round_trip())
    }

    /// Whether it is time to say what this end can take in, or whether the far end knows reports at all.
    fn announce(&mut self, now: Instant) -> bool {
        let Announcements::Due { at, said } = &mut self.announcements else { return false };
        if now < *at || *said == ANNOUNCEMENTS_MAX {
            return false;
        }
        *at = now + ANNOUNCE_AGAIN * (1 << *said);
        *said += 1;
        true
    }

    fn note_activity(&mut self, now: Instant, traffic: &Traffic) {
        let all = traffic.sent.datagrams + traffic.received.datagrams;
        let others = all.saturating_sub(self.activity.reports);
        let (since, mark) = *self.activity.mark.get_or_insert((now, others));
        let is_traffic = others.saturating_sub(mark) >= TRAFFIC_MIN;
        if is_traffic {
            self.activity.until = Some(now + TRAFFIC_WINDOW);
        }
        if is_traffic || now.saturating_duration_since(since) >= TRAFFIC_WINDOW {
            self.activity.mark = Some((now, others));
        }
    }
}

fn bits(ceiling: Option<u64>) -> f64 {
    ceiling.map_or(RATE_MAX, |ceiling| ceiling as f64)
}

fn kbit(ceiling: Option<u64>) -> u32 {
    ceiling.map_or(0, |ceiling| u32::try_from(ceiling.div_ceil(1000)).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is between its bounds")]
fn whole(rate: f64) -> u64 {
    rate as u64
}
