//! A call to nobody: what a telephone call over the line would be like, both ways, measured without one.
//!
//! Test packets (STAMP, RFC 8762) of the size and pace of G.711 go as voice to the far end, which sends each back. They have a session
//! identifier of their own (RFC 8972 §3), so that the far end counts them and it shows on which way one was lost. Both timestamps of the
//! far end are in the answer, so the delay of each way is known but for the difference of the clocks; that cancels out of what matters to
//! a phone: how much longer than the least of its way a packet took.
//!
//! The test has phases, one for each thing that is tried beside the call; what one phase shows is compared with the least delay of all of
//! them. The order of use: [`TestCall::begin_phase`], [`TestCall::poll_probe`] when [`TestCall::poll_timeout`] says so, answers to
//! [`TestCall::handle_answer`], and [`TestCall::figures`] when the phase and [`ANSWER_WAIT`] are over.

use std::time::{Duration, Instant};

use tieline_wire::{
    stamp::{NtpTimestamp, ReflectorPacket, SenderPacket},
    time::Now,
};

use crate::{
    calls::BUFFER,
    emodel::{Conditions, Impairment, Rating},
};

/// Octets of an IPv4 packet with 20 ms of G.711.
pub const PACKET_LEN: usize = 200;
/// Time between packets.
pub const PACKET_TIME: Duration = Duration::from_millis(20);
/// How long a phase may last.
pub const PHASE_MAX: Duration = Duration::from_secs(60);
/// How long after its end the last answers of a phase may still come.
pub const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// After so long a pause a phase begins another test, whose delays are compared with its own only.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The weight of a new packet in the jitter (RFC 3550 §6.4.1).
const JITTER_GAIN: f64 = 1.0 / 16.0;

/// A packet that came back.
#[derive(Clone, Copy, Debug)]
struct Answer {
    sequence: u32,
    /// How many the far end had received with it.
    received: u32,
    /// Seconds to the far end by two clocks, and back.
    transit: [f64; 2],
}

/// One test: a call, and its phase.
#[derive(Debug)]
pub struct TestCall {
    ssid: u16,
    next_sequence: u32,
    /// The first of the phase.
    first: u32,
    next: Instant,
    /// The end of the phase.
    until: Instant,
    /// Those of the phase; [`PHASE_MAX`] bounds them.
    answers: Vec<Answer>,
    least_transit: [f64; 2],
    least_round_trip: Duration,
}

/// What one phase was like.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Packets sent.
    pub sent: u32,
    /// Round trips of those that came back, without the time at the far end, sorted.
    pub round_trips: Vec<Duration>,
    /// To the far end, and back; none if nothing came back.
    pub ways: Option<[Way; 2]>,
}

/// What one way was like.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The share of packets that did not arrive, 0 to 1.
    pub lost: f64,
    /// The share that came later than a phone's buffer waits ([`BUFFER`]), 0 to 1.
    pub late: f64,
    /// How much longer than the least of all phases the packets took, sorted.
    pub waits: Vec<Duration>,
    /// RFC 3550 §6.4.1, at the end.
    pub jitter: Duration,
    /// What that does to a listener, of G.711.
    pub rating: Rating,
}

impl TestCall {
    /// A call of the session `ssid`, which is not 0, without a phase yet.
    #[must_use]
    pub fn new(now: Instant, ssid: u16) -> Self {
        Self {
            ssid,
            next_sequence: 0,
            first: 0,
            next: now,
            until: now,
            answers: Vec::new(),
            least_transit: [f64::INFINITY; 2],
            least_round_trip: Duration::MAX,
        }
    }

    /// Whether a phase, or the wait for its answers, is still going on.
    #[must_use]
    pub fn is_busy(&self, now: Instant) -> bool {
        now < self.until + ANSWER_WAIT
    }

    /// Whether the next phase is one of this test.
    #[must_use]
    pub fn goes_on(&self, now: Instant) -> bool {
        now < self.until + PAUSE_MAX
    }

    /// Speaks for so long, [`PHASE_MAX`] at most. What the phase before has shown is forgotten, but for the least delays.
    pub fn begin_phase(&mut self, now: Instant, lasts: Duration) {
        self.answers.clear();
        self.first = self.next_sequence;
        (self.next, self.until) = (now, now + lasts.min(PHASE_MAX));
    }

    /// The packet that is due, if one is.
    pub fn poll_probe(&mut self, now: Now) -> Option<SenderPacket> {
        if now.monotonic < self.next || now.monotonic >= self.until {
            return None;
        }
        // A thread that wakes late sends the next one in time.
        self.next = (self.next + PACKET_TIME).max(now.monotonic);
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        Some(SenderPacket { sequence, ssid: self.ssid, timestamp: NtpTimestamp::from_wall(now.wall) })
    }

    /// When to call [`Self::poll_probe`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.next < self.until).then_some(self.next)
    }

    /// Takes an answer that arrived at `arrived`; one that was not asked for in this phase, or came before, is ignored.
    pub fn handle_answer(&mut self, arrived: Now, answer: &ReflectorPacket) {
        let probe = answer.sender;
        let place = probe.sequence.wrapping_sub(self.first);
        let is_of_phase = probe.ssid == self.ssid && place < self.next_sequence.wrapping_sub(self.first);
        if !is_of_phase || self.answers.iter().rev().any(|other| other.sequence == probe.sequence) {
            return;
        }
        let transit = [
            answer.received.seconds_since(probe.timestamp),
            NtpTimestamp::from_wall(arrived.wall).seconds_since(answer.timestamp),
        ];
        for (least, transit) in self.least_transit.iter_mut().zip(transit) {
            *least = least.min(transit);
        }
        let received = answer.sequence.wrapping_add(1);
        let answer = Answer { sequence: probe.sequence, received, transit };
        self.least_round_trip = self.least_round_trip.min(answer.round_trip());
        self.answers.push(answer);
    }

    /// What the phase was like.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let sent = self.next_sequence.wrapping_sub(self.first);
        let mut round_trips: Vec<_> = self.answers.iter().map(Answer::round_trip).collect();
        round_trips.sort_unstable();
        let lost = self.lost(sent);
        let ways = lost.map(|lost| [self.way(0, lost[0]), self.way(1, lost[1])]);
        Figures { sent, round_trips, ways }
    }

    /// The shares that were lost on each way. Before the first and behind the last that came back it is not known on which: they count as
    /// lost on the way there.
    fn lost(&self, sent: u32) -> Option<[f64; 2]> {
        let first = self.answers.iter().min_by_key(|answer| answer.sequence.wrapping_sub(self.first))?;
        let last = self.answers.iter().max_by_key(|answer| answer.sequence.wrapping_sub(self.first))?;
        let answered = self.answers.len() as u32;
        // A far end that was started anew counts from the beginning.
        let counted = last.received.wrapping_sub(first.received).wrapping_add(1);
        let received = if counted >= answered && counted <= sent { counted } else { answered };
        let share = |part: u32, of: u32| f64::from(part) / f64::from(of.max(1));
        Some([share(sent - received, sent), share(received - answered, received)])
    }

    fn way(&self, index: usize, lost: f64) -> Way {
        let wait = |answer: &Answer| answer.transit[index] - self.least_transit[index];
        let mut jitter = 0.0;
        for pair in self.answers.windows(2) {
            jitter += ((pair[1].transit[index] - pair[0].transit[index]).abs() - jitter) * JITTER_GAIN;
        }
        let mut waits: Vec<_> = self.answers.iter().map(|answer| seconds(wait(answer))).collect();
        waits.sort_unstable();
        let late = waits.iter().filter(|wait| **wait > BUFFER).count() as f64 / waits.len().max(1) as f64;
        let conditions = Conditions {
            delay: PACKET_TIME + self.least_round_trip / 2 + BUFFER,
            loss: (lost + late).min(1.0),
            burst_ratio: 1.0,
            impairment: Impairment::G711,
        };
        Way { lost, late, waits, jitter: seconds(jitter), rating: Rating::of(&conditions) }
    }
}

impl Answer {
    fn round_trip(&self) -> Duration {
        seconds(self.transit[0] + self.transit[1])
    }
}

/// What clocks say; one that steps may say anything.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(start: Now, time: Duration) -> Now {
        Now { monotonic: start.monotonic + time, wall: start.wall + time }
    }

    /// Runs one phase of `call` over a path that takes `out(n)` and `back(n)` for packet n, or loses it; the far end's clock is `ahead`.
    fn phase(
        call: &mut TestCall,
        start: Now,
        ahead: Duration,
        out: impl Fn(u32) -> Option<Duration>,
        back: impl Fn(u32) -> Option<Duration>,
    ) -> Figures {
        call.begin_phase(start.monotonic, Duration::from_secs(4));
        let (mut now, mut received, mut answers) = (start, 0, Vec::new());
        while let Some(timeout) = call.poll_timeout() {
            now = after(start, timeout - start.monotonic);
            let probe = call.poll_probe(now).expect("one is due");
            let n = probe.sequence % 200;
            let Some(there) = out(n) else { continue };
            let at = after(now, there + ahead);
            let answer = ReflectorPacket {
                sequence: received,
                timestamp: NtpTimestamp::from_wall(at.wall + MS),
                received: NtpTimestamp::from_wall(at.wall),
                sender: probe,
            };
            received += 1;
            if let Some(back) = back(n) {
                answers.push((after(now, there + MS + back), answer));
            }
        }
        answers.sort_by_key(|(arrived, _)| arrived.monotonic);
        for (arrived, answer) in &answers {
            call.handle_answer(*arrived, answer);
            call.handle_answer(*arrived, answer);
        }
        assert!(call.is_busy(now.monotonic) && !call.is_busy(now.monotonic + 2 * ANSWER_WAIT));
        call.figures()
    }

    fn start() -> (TestCall, Now) {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) };
        (TestCall::new(now.monotonic, 7), now)
    }

    /// The timestamps have some nanoseconds of error.
    fn is_near(time: Duration, wanted: Duration) -> bool {
        time.abs_diff(wanted) < Duration::from_micros(1)
    }

    #[test]
    fn a_good_path_is_told_without_the_clocks() {
        let (mut call, now) = start();
        let figures = phase(&mut call, now, Duration::from_secs(90), |_| Some(10 * MS), |_| Some(15 * MS));
        assert_eq!((figures.sent, figures.round_trips.len()), (200, 200));
        assert!(is_near(figures.round_trips[0], 25 * MS));
        for way in figures.ways.unwrap() {
            assert_eq!((way.lost, way.late), (0.0, 0.0));
            assert!(is_near(way.waits[199], Duration::ZERO) && is_near(way.jitter, Duration::ZERO));
            assert!(way.rating.mos() > 4.3);
        }
    }

    #[test]
    fn loss_and_lateness_are_told_on_the_way_on_which_they_were() {
        let (mut call, now) = start();
        let out = |n: u32| (n % 20 != 5).then_some(10 * MS);
        let back = |n: u32| (n % 10 != 7).then_some(if n % 40 == 8 { 75 * MS } else { 10 * MS });
        let [out, back] = phase(&mut call, now, Duration::ZERO, out, back).ways.unwrap();
        assert!((out.lost - 0.05).abs() < 0.001 && out.late == 0.0, "{out:?}");
        assert!((back.lost - 20.0 / 190.0).abs() < 0.001, "{}", back.lost);
        assert!(
            (back.late - 5.0 / 170.0).abs() < 0.001 && is_near(back.waits[169], 65 * MS),
            "{}",
            back.late
        );
        assert!(back.rating < out.rating && out.rating.mos() < 4.3);
    }

    #[test]
    fn a_later_phase_is_compared_with_the_least_of_those_before() {
        let (mut call, now) = start();
        phase(&mut call, now, Duration::ZERO, |_| Some(10 * MS), |_| Some(10 * MS));
        let later = after(now, Duration::from_secs(6));
        assert!(call.goes_on(later.monotonic) && !call.goes_on(later.monotonic + PAUSE_MAX));
        let [out, back] =
            phase(&mut call, later, Duration::ZERO, |_| Some(110 * MS), |_| Some(10 * MS)).ways.unwrap();
        assert!(is_near(out.waits[0], 100 * MS) && out.late == 1.0 && out.rating.mos() < 2.0);
        assert!(back.late == 0.0 && back.rating.mos() > 4.3);
    }

    #[test]
    fn a_path_that_carries_nothing_has_no_ways() {
        let (mut call, now) = start();
        let figures = phase(&mut call, now, Duration::ZERO, |_| None, |_| None);
        assert_eq!(figures, Figures { sent: 200, round_trips: vec![], ways: None });
    }

    #[test]
    fn answers_to_what_was_not_asked_and_absurd_clocks_change_nothing() {
        let (mut call, now) = start();
        let timestamp = NtpTimestamp::from_wall(now.wall);
        call.begin_phase(now.monotonic, 100 * MS);
        let probe = call.poll_probe(now).unwrap();
        let answer = ReflectorPacket { sequence: u32::MAX, timestamp, received: timestamp, sender: probe };
        for sender in [SenderPacket { ssid: 0, ..probe }, SenderPacket { sequence: 99, ..probe }] {
            call.handle_answer(now, &ReflectorPacket { sender, ..answer });
        }
        assert_eq!(call.figures().round_trips, []);
        let absurd = NtpTimestamp::from_wall(UNIX_EPOCH + Duration::from_secs(4_000_000_000));
        call.handle_answer(now, &ReflectorPacket { received: absurd, ..answer });
        assert_eq!(call.figures().round_trips.len(), 1);
        assert!(call.figures().ways.is_some());
    }
}
