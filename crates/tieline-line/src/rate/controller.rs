//! How fast to send: finds the rate of the path out, and follows it.
//!
//! ```text
//!            no queue yet                                   the queue is gone
//!  Climb ──────┐                       ┌─────────── Drain ─────────────┐
//!    │  ▲      │   a queue grows, or what is sent     ▲                ▼
//!    └──┴──────┘   more does not arrive ──────────────┴───────────── Cruise ──▶ Probe
//!       ▲                                                              ▲          │
//!       └────────────────────── no queue came of it ───────────────────┼──────────┤
//!                                                                      └──────────┘ one came
//! ```
//!
//! - *Climb*: faster step by step, each after a report of the step before has come back without delay.
//! - *Drain*: half of what the path delivers, for as long as the queue needs to run empty. Voice never needs more than half.
//! - *Cruise*: up to a little below what the path delivered when it was full, slowly.
//! - *Probe*: a pulse of a tenth more, as long as it takes to make a queue that can be told from none. It is bulk that waits
//!   which fills it; without any there is no pulse.
//!
//! Only a queue that grows, or a loss that comes with delay, slows it down: loss by itself is a property of the path. An end
//! that does not use its rate learns nothing of the path, and keeps what it knows. Nothing heard at all may be a path that is
//! cut or one that is full: less and less is sent, and the first report tells which it was.

mod drain;
mod probe;

use std::time::{Duration, Instant};

use self::{
    drain::{Drain, Progress},
    probe::{Probe, Verdict},
};
use super::{delay::Delays, exchange::Sample};

/// Where it begins when nothing is known: enough for calls, not much for the slowest line.
pub const RATE_START: f64 = 2e6;
/// It never goes below.
pub const RATE_MIN: f64 = 64e3;
/// Where it ends without a ceiling.
pub const RATE_MAX: f64 = 100e9;

/// Of what the path delivers when it is full, so much is sent at most.
const BELOW_KNEE: f64 = 0.97;
/// And so much after it was full.
const AFTER_QUEUE: f64 = 0.9;
/// Growth in a second while cruising below that.
const RISE_PER_SECOND: f64 = 0.04;
/// Growth with each step of a climb, while nothing is known and when more turned out to be there.
const STEP_UNKNOWN: f64 = 1.5;
const STEP_KNOWN: f64 = 1.25;
/// Steps in which what arrives did not grow, by this much, after which it will not.
const FUTILE_STEPS_MAX: u32 = 3;
const STEP_GROWTH_MIN: f64 = 1.1;
/// How far two reports with a queue must be apart to be two.
const TWICE: Duration = Duration::from_millis(20);
/// So many thresholds are believed at once.
const BELIEVED_AT_ONCE: u32 = 4;
/// Loss above the usual that means something: together with delay, and without any while climbing.
const LOSS_WITH_DELAY: f64 = 0.1;
const LOSS_ALONE: f64 = 0.2;
/// So many datagrams must be lost before a share of them means anything.
const LOST_MIN: u64 = 8;
/// Delay that a loss must come with.
const DELAY_WITH_LOSS: Duration = Duration::from_millis(1);
/// The usual loss is that of about so many datagrams.
const USUAL_DATAGRAMS: f64 = 4000.0;
/// Loss above this is no usual one.
const USUAL_MAX: f64 = 0.3;
/// Cruising time before the first pulse, and the longest between two.
const PROBE_WAIT: Duration = Duration::from_secs(3);
const PROBE_WAIT_MAX: Duration = Duration::from_secs(9);
/// A climb that nobody pushes ends.
const CLIMB_UNUSED_MAX: Duration = Duration::from_secs(1);

/// Why the rate is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known yet.
    Start,
    /// More and more goes through.
    Climbing,
    /// Datagrams were late: a queue grew.
    Delay,
    /// Datagrams were lost, as with a queue that is full.
    Loss,
    /// A little below what the path delivers when it is full.
    Cruising,
    /// The configured ceiling, or that of the far end.
    Ceiling,
    /// No reports come.
    Silence,
}

impl Reason {
    /// The name it has in `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Climbing => "climbing",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Cruising => "cruising",
            Self::Ceiling => "ceiling",
            Self::Silence => "silence",
        }
    }
}

#[derive(Debug)]
enum State {
    Climb(Climb),
    Drain(Drain),
    Cruise,
    Probe(Probe),
}

#[derive(Debug)]
struct Climb {
    step: f64,
    /// When the rate became what it is.
    since: Instant,
    /// The most that arrived, and in how many steps it was not more.
    delivered: f64,
    futile: u32,
    /// When more would have been sent, last.
    used: Instant,
}

/// What a sample says about the queue of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Clear,
    Queue,
    Overflow,
}

/// The rate of the way out.
#[derive(Debug)]
pub struct Controller {
    state: State,
    rate: f64,
    ceiling: f64,
    /// Octets of the largest datagram, with all that the wire adds.
    packet_octets: usize,
    /// What the path delivered when it was full.
    knee: Option<f64>,
    usual_loss: f64,
    /// Since which report there is a queue.
    queue_since: Option<Instant>,
    /// Drains after which the queue was still there, and the rate before the first of them.
    fruitless: u32,
    rate_before: f64,
    probe_next: Instant,
    probe_wait: Duration,
    sample_last: Option<Instant>,
    round_trip: Duration,
    silent_since: Option<Instant>,
    reason: Reason,
    changed: Instant,
}

impl Controller {
    /// A controller that knows nothing. `packet_octets` are those of the largest datagram on the wire.
    #[must_use]
    pub fn new(now: Instant, ceiling: f64, packet_octets: usize) -> Self {
        let ceiling = ceiling.clamp(RATE_MIN, RATE_MAX);
        let rate = RATE_START.min(ceiling);
        Self {
            state: State::Climb(Climb::new(now, STEP_UNKNOWN)),
            rate,
            ceiling,
            packet_octets,
            knee: None,
            usual_loss: 0.0,
            queue_since: None,
            fruitless: 0,
            rate_before: rate,
            probe_next: now + PROBE_WAIT,
            probe_wait: PROBE_WAIT,
            sample_last: None,
            round_trip: Duration::ZERO,
            silent_since: None,
            reason: Reason::Start,
            changed: now,
        }
    }

    /// Bits a second that may be sent now.
    #[must_use]
    pub fn rate(&self, now: Instant) -> f64 {
        let rate = match &self.state {
            State::Climb(_) | State::Cruise => self.rate,
            State::Drain(drain) => drain.rate(now),
            State::Probe(probe) => probe.rate(now, self.rate),
        };
        let share = self.silent_since.map_or(1.0, |since| self.share_in_silence(now, since));
        (rate * share).clamp(RATE_MIN, self.ceiling)
    }

    /// What the path is believed to take for long.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        self.rate
    }

    /// Why, and since when.
    #[must_use]
    pub fn reason(&self) -> (Reason, Instant) {
        (self.reason, self.changed)
    }

    /// The shortest round trip of late.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// When the next report shall leave, the last one having left at `last`, if sooner than usual: a step or a pulse must be
    /// seen, and the end of a queue.
    #[must_use]
    pub fn report_at(&self, last: Instant) -> Option<Instant> {
        match &self.state {
            State::Climb(climb) => {
                let seen = climb.since + self.step_time();
                Some(if last < seen { seen } else { last + self.step_time() })
            }
            State::Probe(probe) => probe.report_at(last),
            State::Drain(_) => Some(last + TWICE),
            State::Cruise => None,
        }
    }

    /// When the rate changes by itself.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let turn = match &self.state {
            State::Drain(drain) => drain.poll_timeout(now),
            State::Probe(probe) => probe.poll_timeout(now),
            State::Climb(_) | State::Cruise => None,
        };
        let fainter = self.silent_since.map(|since| {
            let halvings = now.saturating_duration_since(since).as_millis() / SILENCE_HALVES.as_millis();
            since
                + SILENCE_HALVES * (u32::try_from(halvings).unwrap_or(u32::MAX).min(SILENCE_HALVINGS_MAX) + 1)
        });
        [turn, fainter.filter(|at| *at > now)].into_iter().flatten().min()
    }

    /// The time of one full packet at this rate.
    #[must_use]
    pub fn packet_time(&self) -> Duration {
        Duration::from_secs_f64(self.packet_octets as f64 * 8.0 / self.rate)
    }

    /// Never sends faster than `ceiling` bits a second from now on.
    pub fn set_ceiling(&mut self, now: Instant, ceiling: f64) {
        self.ceiling = ceiling.clamp(RATE_MIN, RATE_MAX);
        if self.rate > self.ceiling {
            self.set_rate(now, self.ceiling, Reason::Ceiling);
        }
    }

    /// No report has come for so long that one should have, or one has come again.
    pub fn set_silent(&mut self, now: Instant, silent: bool) {
        if silent != self.silent_since.is_some() {
            self.silent_since = silent.then_some(now);
            self.note(now, if silent { Reason::Silence } else { Reason::Cruising });
        }
    }

    /// Takes what a report told of the way out.
    pub fn handle_sample(&mut self, now: Instant, sample: &Sample, delays: &mut Delays) {
        let was_silent = self.silent_since.is_some();
        self.set_silent(now, false);
        self.note_round_trip(sample.round_trip);
        let sign = self.sign(sample, delays);
        if sign == Sign::Clear && sample.whole && !matches!(self.state, State::Climb(_)) {
            self.note_usual_loss(sample);
        }
        let elapsed = self.sample_last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.sample_last = Some(now);
        let threshold = delays.threshold(self.packet_time());
        if let State::Drain(drain) = &mut self.state {
            let progress = drain.handle_sample(now, sample, threshold);
            return self.after_drain(now, sample, delays, progress);
        }
        if self.is_full(sample, sign, was_silent, delays) {
            return self.fall(now, sample, sign);
        }
        match &mut self.state {
            State::Climb(_) => self.climb(now, sample, delays),
            State::Cruise => self.cruise(now, sample, sign, elapsed, delays),
            State::Probe(probe) => {
                let verdict = probe.handle_sample(now, sample, self.usual_loss);
                self.after_probe(now, verdict);
            }
            State::Drain(_) => {}
        }
    }

    /// A pulse of which nothing was heard has no verdict.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Probe(probe) = &self.state
            && probe.is_over(now, self.round_trip)
        {
            self.after_probe(now, Some(Verdict::Unknown));
        }
    }

    fn sign(&self, sample: &Sample, delays: &Delays) -> Sign {
        // A pulse makes a queue on purpose.
        let on_purpose = match &self.state {
            State::Probe(probe) => probe.queue(),
            State::Climb(_) | State::Drain(_) | State::Cruise => Duration::ZERO,
        };
        let lost_more =
            sample.whole && sample.lost >= LOST_MIN && sample.loss() > self.usual_loss + LOSS_WITH_DELAY;
        let delayed = sample.above > DELAY_WITH_LOSS.max(3 * delays.jitter()) + on_purpose;
        if lost_more && delayed {
            Sign::Overflow
        } else if sample.above > delays.threshold(self.packet_time()) + on_purpose {
            Sign::Queue
        } else {
            Sign::Clear
        }
    }

    /// Whether the path is full by what two reports say, or by one that is clear enough.
    fn is_full(&mut self, sample: &Sample, sign: Sign, was_silent: bool, delays: &Delays) -> bool {
        let ours = sample.limited || sample.sent > self.rate / 2.0;
        if sign == Sign::Clear || !ours {
            self.queue_since = None;
            return self.is_futile(sample);
        }
        let threshold = delays.threshold(self.packet_time());
        let at_once = was_silent
            || sample.above > BELIEVED_AT_ONCE * threshold
            || (sign == Sign::Overflow && sample.above > threshold);
        let first = *self.queue_since.get_or_insert(sample.left);
        at_once || sample.left.saturating_duration_since(first) >= TWICE
    }

    /// While climbing: whether more is sent and not more arrives, though nothing is late. So it is with queues that are short.
    fn is_futile(&self, sample: &Sample) -> bool {
        let State::Climb(climb) = &self.state else { return false };
        let lost =
            sample.whole && sample.lost >= 2 * LOST_MIN && sample.loss() > self.usual_loss + LOSS_ALONE;
        sample.limited && (lost || climb.futile >= FUTILE_STEPS_MAX)
    }

    fn fall(&mut self, now: Instant, sample: &Sample, sign: Sign) {
        // More than was sent cannot have been delivered in the long run.
        let delivered = self.undo_loss(sample.delivered).min(sample.sent.max(self.rate));
        let drain = Drain::new(now, sample, delivered, self.rate, self.usual_loss);
        if self.fruitless == 0 {
            self.rate_before = delivered * AFTER_QUEUE;
        }
        self.queue_since = None;
        self.probe_wait = PROBE_WAIT;
        self.knee = Some(delivered);
        let reason = if sign == Sign::Queue { Reason::Delay } else { Reason::Loss };
        self.set_rate(now, delivered * AFTER_QUEUE, reason);
        self.state = State::Drain(drain);
    }

    fn after_drain(&mut self, now: Instant, sample: &Sample, delays: &mut Delays, progress: Progress) {
        match progress {
            Progress::Draining { delivered } => {
                self.knee = Some(delivered);
                self.rate = (delivered * AFTER_QUEUE).clamp(RATE_MIN, self.ceiling);
                return;
            }
            Progress::Empty => self.fruitless = 0,
            Progress::StillThere if self.fruitless < drain::FRUITLESS_MAX => {
                self.fruitless += 1;
                return self.fall(now, sample, Sign::Queue);
            }
            Progress::StillThere => {
                // Sending less was in vain.
                delays.accept(now, sample.transit);
                self.fruitless = 0;
                self.knee = Some(self.rate_before / AFTER_QUEUE);
                self.set_rate(now, self.rate_before, Reason::Cruising);
            }
        }
        self.state = State::Cruise;
        self.probe_next = now + self.probe_wait;
    }

    fn climb(&mut self, now: Instant, sample: &Sample, delays: &Delays) {
        let step_time = self.step_time();
        let (rate, ceiling, knee) = (self.rate, self.ceiling, self.knee);
        let threshold = delays.threshold(self.packet_time()) / 2;
        let State::Climb(climb) = &mut self.state else { return };
        if sample.limited {
            climb.used = now;
        } else if now.saturating_duration_since(climb.used) > CLIMB_UNUSED_MAX && knee.is_some() {
            self.state = State::Cruise;
            self.probe_next = now + self.probe_wait;
            return;
        }
        // The rounding of timers must not make a step wait for one more report.
        let seen = sample.left.saturating_duration_since(climb.since) + Duration::from_millis(2) >= step_time;
        if !sample.limited || !seen || sample.above > threshold || rate >= ceiling {
            return;
        }
        let grew = sample.delivered > climb.delivered * STEP_GROWTH_MIN;
        climb.futile = if grew { 0 } else { climb.futile + 1 };
        climb.delivered = climb.delivered.max(sample.delivered);
        climb.since = now;
        let next = rate * climb.step;
        self.set_rate(now, next, Reason::Climbing);
    }

    fn cruise(&mut self, now: Instant, sample: &Sample, sign: Sign, elapsed: Duration, delays: &Delays) {
        let Some(knee) = self.knee else {
            self.state = State::Climb(Climb::new(now, STEP_UNKNOWN));
            return;
        };
        if !sample.limited {
            // The time without a queue of ours does not count.
            self.probe_next = self.probe_next.max(now + elapsed);
        }
        if !sample.limited || sign != Sign::Clear || self.rate >= self.ceiling {
            return;
        }
        let top = knee * BELOW_KNEE;
        if self.rate < top {
            let growth = RISE_PER_SECOND * elapsed.as_secs_f64().min(1.0);
            let next = (self.rate * (1.0 + growth)).min(top);
            self.set_rate(now, next, Reason::Cruising);
        } else if now >= self.probe_next {
            self.state = State::Probe(Probe::new(now, sample.above, delays, self.packet_time()));
        }
    }

    fn after_probe(&mut self, now: Instant, verdict: Option<Verdict>) {
        let Some(verdict) = verdict else { return };
        self.state = State::Cruise;
        match verdict {
            Verdict::Room => {
                self.probe_wait = PROBE_WAIT;
                self.state = State::Climb(Climb::new(now, STEP_KNOWN));
                self.set_rate(now, self.rate * probe::GAIN, Reason::Climbing);
            }
            Verdict::Full => {
                self.probe_wait = (self.probe_wait * 3 / 2).min(PROBE_WAIT_MAX);
            }
            Verdict::Unknown => {}
        }
        self.probe_next = now + self.probe_wait;
    }

    /// What the path would deliver if it did not lose what it usually loses.
    fn undo_loss(&self, delivered: f64) -> f64 {
        delivered / (1.0 - self.usual_loss)
    }

    fn note_usual_loss(&mut self, sample: &Sample) {
        let weight = (sample.datagrams as f64 / USUAL_DATAGRAMS).min(0.5);
        self.usual_loss += (sample.loss() - self.usual_loss) * weight;
        self.usual_loss = self.usual_loss.clamp(0.0, USUAL_MAX);
    }

    fn note_round_trip(&mut self, round_trip: Duration) {
        let slowly = self.round_trip + round_trip.saturating_sub(self.round_trip) / 16;
        self.round_trip = if self.round_trip.is_zero() { round_trip } else { slowly.min(round_trip) };
    }

    /// How long a step of a climb must last before a report can tell of it.
    fn step_time(&self) -> Duration {
        Duration::from_millis(25).max(8 * self.packet_time())
    }

    fn share_in_silence(&self, now: Instant, since: Instant) -> f64 {
        let halvings = now.saturating_duration_since(since).as_secs_f64() / SILENCE_HALVES.as_secs_f64();
        0.5_f64.powf(halvings.floor() + 1.0).max(0.5_f64.powi(SILENCE_HALVINGS_MAX.cast_signed()))
    }

    fn set_rate(&mut self, now: Instant, rate: f64, reason: Reason) {
        self.rate = rate.clamp(RATE_MIN, self.ceiling);
        let at_ceiling = self.rate >= self.ceiling && matches!(reason, Reason::Climbing | Reason::Cruising);
        self.note(now, if at_ceiling { Reason::Ceiling } else { reason });
    }

    fn note(&mut self, now: Instant, reason: Reason) {
        if reason != self.reason {
            self.reason = reason;
            self.changed = now;
        }
    }
}

impl Climb {
    fn new(now: Instant, step: f64) -> Self {
        Self { step, since: now, delivered: 0.0, futile: 0, used: now }
    }
}

/// What is sent while no report comes halves with each of these, down to 1/64.
const SILENCE_HALVES: Duration = Duration::from_millis(50);
const SILENCE_HALVINGS_MAX: u32 = 6;
