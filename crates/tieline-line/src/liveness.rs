//! Is the far end there, and how far away: measurement packets (STAMP, RFC 8762) as probes.
//!
//! Each end probes the other once a second and answers the other's probes. An answer gives the round-trip time without the
//! time the far end held the probe, and how far the two wall clocks are apart. A probe without an answer in time makes the
//! line *suspect*: from then on it is probed four times a second, so that the end of a cut is noticed at once. Silence for
//! [`DETECTION_TIME`] makes it *silent* (RFC 5880 calls this the detection time). Anything authentic that is heard makes
//! it alive again, answer or not.
//!
//! The life of it: nothing is sent until the far end is known to be a tieline ([`Liveness::start`]); a plain WireGuard peer
//! would not answer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tieline_wire::{
    stamp::{NtpTimestamp, ReflectorPacket, SenderPacket},
    time::Now,
};

/// Time between probes while all is well.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between probes while answers are missing.
pub const PROBE_INTERVAL_SUSPECT: Duration = Duration::from_millis(250);
/// An answer that takes longer than this, and than four round trips, is missing.
pub const ANSWER_TIME_MIN: Duration = Duration::from_millis(250);
/// Silence after which the far end counts as unreachable.
pub const DETECTION_TIME: Duration = Duration::from_secs(3);
/// After this much silence probing slows down to [`PROBE_INTERVAL`] again.
pub const SUSPECT_PROBING_MAX: Duration = Duration::from_secs(600);
/// Probes whose answers are waited for; older ones are given up.
const OUTSTANDING_MAX: usize = 64;

/// Whether the far end is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// Nothing is known yet, or the far end is no tieline.
    Unknown,
    /// Heard within the detection time.
    Alive,
    /// Not heard for the detection time.
    Silent,
}

/// What the probes have measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// The last round trip, without the time the far end held the probe.
    pub round_trip_last: Option<Duration>,
    /// The smallest since the start.
    pub round_trip_min: Option<Duration>,
    /// Smoothed as TCP does it (RFC 6298 §2).
    pub round_trip_smoothed: Option<Duration>,
    /// Seconds by which the far end's wall clock is ahead of ours; negative if behind.
    pub clock_ahead_seconds: Option<f64>,
    /// Probes sent.
    pub sent: u64,
    /// Answers that came back.
    pub answered: u64,
}

/// A probe whose answer may still come.
#[derive(Debug)]
struct Probe {
    sequence: u32,
    sent: Instant,
    /// A later one was answered, so the absence of this answer is no news of the path.
    is_excused: bool,
}

/// The probing of one line.
#[derive(Debug)]
pub struct Liveness {
    reachability: Reachability,
    running: bool,
    suspect: bool,
    next_sequence: u32,
    next_probe: Instant,
    last_heard: Instant,
    outstanding: VecDeque<Probe>,
    measured: Measured,
}

impl Liveness {
    /// Probing that has not started.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            reachability: Reachability::Unknown,
            running: false,
            suspect: false,
            next_sequence: 0,
            next_probe: now,
            last_heard: now,
            outstanding: VecDeque::new(),
            measured: Measured::default(),
        }
    }

    /// The far end is a tieline and was just heard: probe it from now on.
    pub fn start(&mut self, now: Instant) {
        if !self.running {
            self.running = true;
            self.next_probe = now;
        }
        self.on_heard(now);
    }

    /// The far end turned out to be something that answers no probes.
    pub fn stop(&mut self) {
        self.running = false;
        self.suspect = false;
        self.reachability = Reachability::Unknown;
        self.outstanding.clear();
    }

    /// Something authentic came from the far end at `when`.
    pub fn on_heard(&mut self, when: Instant) {
        if when < self.last_heard {
            return;
        }
        self.last_heard = when;
        self.suspect = false;
        if self.running {
            self.reachability = Reachability::Alive;
        }
    }

    /// Sends a probe now, whatever the schedule says, and returns its sequence number; none if no probe can be answered.
    pub fn probe_now(&mut self, now: Instant) -> Option<u32> {
        if !self.running {
            return None;
        }
        self.next_probe = now;
        Some(self.next_sequence)
    }

    /// Takes the answer to a probe and returns its round trip; one that was never asked for is ignored.
    pub fn handle_answer(&mut self, now: Now, answer: &ReflectorPacket) -> Option<Duration> {
        let is_answered = |probe: &Probe| answer.sender.ssid == 0 && probe.sequence == answer.sender.sequence;
        let index = self.outstanding.iter().position(is_answered)?;
        let Probe { sent, .. } = self.outstanding.remove(index)?;
        for overtaken in self.outstanding.range_mut(..index) {
            overtaken.is_excused = true;
        }
        self.measured.answered += 1;
        let elapsed = now.monotonic.saturating_duration_since(sent);
        let held = Duration::try_from_secs_f64(answer.timestamp.seconds_since(answer.received))
            .unwrap_or(Duration::ZERO);
        // A far end whose clock stepped while it held the probe would make the trip negative.
        let round_trip = if held < elapsed { elapsed - held } else { elapsed };
        let arrived = NtpTimestamp::from_wall(now.wall);
        let measured = &mut self.measured;
        measured.clock_ahead_seconds = Some(
            (answer.received.seconds_since(answer.sender.timestamp)
                + answer.timestamp.seconds_since(arrived))
                / 2.0,
        );
        measured.round_trip_last = Some(round_trip);
        measured.round_trip_min =
            Some(measured.round_trip_min.map_or(round_trip, |least| least.min(round_trip)));
        measured.round_trip_smoothed =
            Some(measured.round_trip_smoothed.map_or(round_trip, |smoothed| (smoothed * 7 + round_trip) / 8));
        self.on_heard(now.monotonic);
        Some(round_trip)
    }

    /// Decides what silence means by now; to be called when [`Self::poll_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.running {
            return;
        }
        if now >= self.last_heard + DETECTION_TIME {
            self.reachability = Reachability::Silent;
        }
        if !self.suspect && self.overdue_at().is_some_and(|overdue| now >= overdue) {
            self.suspect = true;
            self.next_probe = self.next_probe.min(now);
        }
    }

    /// Sends the probe that is due, if one is.
    pub fn poll_probe(&mut self, now: Now) -> Option<SenderPacket> {
        if !self.running || now.monotonic < self.next_probe {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        if self.outstanding.len() == OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(Probe { sequence, sent: now.monotonic, is_excused: false });
        self.measured.sent += 1;
        self.next_probe = now.monotonic + self.interval(now.monotonic);
        Some(SenderPacket { sequence, ssid: 0, timestamp: NtpTimestamp::from_wall(now.wall) })
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_probe`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.running {
            return None;
        }
        let silent_at =
            (self.reachability == Reachability::Alive).then_some(self.last_heard + DETECTION_TIME);
        let suspect_at = if self.suspect { None } else { self.overdue_at() };
        [Some(self.next_probe), silent_at, suspect_at].into_iter().flatten().min()
    }

    /// Whether the far end is heard.
    #[must_use]
    pub fn reachability(&self) -> Reachability {
        self.reachability
    }

    /// When the far end was last heard.
    #[must_use]
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// What the probes have measured so far.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    fn interval(&self, now: Instant) -> Duration {
        let silence = now.saturating_duration_since(self.last_heard);
        if self.suspect && silence < SUSPECT_PROBING_MAX { PROBE_INTERVAL_SUSPECT } else { PROBE_INTERVAL }
    }

    /// When the oldest answer that is still waited for is missing.
    fn overdue_at(&self) -> Option<Instant> {
        let sent = self.outstanding.iter().find(|probe| !probe.is_excused)?.sent;
        Some(sent.max(self.last_heard) + self.answer_time())
    }

    fn answer_time(&self) -> Duration {
        let smoothed = self.measured.round_trip_smoothed.unwrap_or(PROBE_INTERVAL / 4);
        (smoothed * 4).clamp(ANSWER_TIME_MIN, DETECTION_TIME)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn start() -> Now {
        Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
    }

    /// What a far end whose clock is `ahead` answers after `out`, having held the probe for `held`.
    fn answer(
        sent: Now,
        probe: SenderPacket,
        out: Duration,
        held: Duration,
        ahead: Duration,
    ) -> ReflectorPacket {
        ReflectorPacket {
            sequence: probe.sequence,
            received: NtpTimestamp::from_wall(sent.wall + out + ahead),
            timestamp: NtpTimestamp::from_wall(sent.wall + out + held + ahead),
            sender: probe,
        }
    }

    /// Drives `liveness` for `time` without any answer and returns when it probed.
    fn drive(liveness: &mut Liveness, from: Now, time: Duration) -> Vec<Duration> {
        let mut probes = Vec::new();
        let mut now = from;
        let end = from.monotonic + time;
        while let Some(next) = liveness.poll_timeout().filter(|next| *next <= end) {
            now = now.after(next.saturating_duration_since(now.monotonic));
            liveness.handle_timeout(now.monotonic);
            while liveness.poll_probe(now).is_some() {
                probes.push(now.monotonic - from.monotonic);
            }
            assert!(liveness.poll_timeout() > Some(now.monotonic), "no progress");
        }
        probes
    }

    #[test]
    fn nothing_is_probed_before_the_far_end_is_known() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        assert_eq!(liveness.poll_timeout(), None);
        assert_eq!(liveness.poll_probe(now), None);
        liveness.on_heard(now.monotonic);
        assert_eq!(liveness.reachability(), Reachability::Unknown);
    }

    #[test]
    fn answer_gives_round_trip_without_holding_time_and_the_clock_offset() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        let probe = liveness.poll_probe(now).unwrap();
        let (out, held, ahead) =
            (Duration::from_millis(15), Duration::from_millis(5), Duration::from_secs(3600));
        let reply = answer(now, probe, out, held, ahead);
        liveness.handle_answer(now.after(out + held + out), &reply);
        let round_trip = liveness.measured().round_trip_last.unwrap();
        assert!(round_trip.abs_diff(Duration::from_millis(30)) < Duration::from_micros(1));
        assert!((liveness.measured().clock_ahead_seconds.unwrap() - 3600.0).abs() < 1e-3);
    }

    #[test]
    fn an_answer_that_another_overtook_counts_but_is_not_waited_for() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        let [first, second] = [(); 2].map(|()| {
            liveness.probe_now(now.monotonic);
            liveness.poll_probe(now).unwrap()
        });
        let reply = |probe| answer(now, probe, Duration::from_millis(1), Duration::ZERO, Duration::ZERO);
        assert!(liveness.handle_answer(now.after(Duration::from_millis(20)), &reply(second)).is_some());
        assert_eq!(liveness.overdue_at(), None);
        assert!(liveness.handle_answer(now.after(Duration::from_millis(30)), &reply(first)).is_some());
        assert_eq!(liveness.measured().answered, 2);
    }

    #[test]
    fn far_clock_that_steps_while_holding_does_not_spoil_the_round_trip() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        let probe = liveness.poll_probe(now).unwrap();
        let mut reply = answer(now, probe, Duration::from_millis(1), Duration::ZERO, Duration::ZERO);
        reply.timestamp = NtpTimestamp::from_wall(now.wall + Duration::from_secs(7200));
        liveness.handle_answer(now.after(Duration::from_millis(20)), &reply);
        assert_eq!(liveness.measured().round_trip_last, Some(Duration::from_millis(20)));
    }

    #[test]
    fn missing_answers_quicken_the_probes_and_then_mean_silence() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        let probes = drive(&mut liveness, now, Duration::from_secs(10));
        assert_eq!(liveness.reachability(), Reachability::Silent);
        let gaps: Vec<_> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[4..].iter().all(|gap| *gap == PROBE_INTERVAL_SUSPECT), "{gaps:?}");
    }

    #[test]
    fn silence_is_declared_at_the_detection_time_and_not_before() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        drive(&mut liveness, now, DETECTION_TIME - Duration::from_millis(1));
        assert_eq!(liveness.reachability(), Reachability::Alive);
        drive(&mut liveness, now.after(DETECTION_TIME - Duration::from_millis(1)), Duration::from_secs(1));
        assert_eq!(liveness.reachability(), Reachability::Silent);
    }

    #[test]
    fn probing_slows_down_after_long_silence() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        let probes = drive(&mut liveness, now, SUSPECT_PROBING_MAX + Duration::from_secs(60));
        let late = probes.iter().filter(|when| **when > SUSPECT_PROBING_MAX + PROBE_INTERVAL).count();
        assert!((55..=61).contains(&late), "{late} probes in the last minute");
    }

    #[test]
    fn anything_heard_ends_the_silence() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        drive(&mut liveness, now, Duration::from_secs(10));
        liveness.on_heard(now.monotonic + Duration::from_secs(10));
        assert_eq!(liveness.reachability(), Reachability::Alive);
    }

    #[test]
    fn forged_and_repeated_answers_change_nothing() {
        let now = start();
        let mut liveness = Liveness::new(now.monotonic);
        liveness.start(now.monotonic);
        let probe = liveness.poll_probe(now).unwrap();
        let never_sent = SenderPacket { sequence: 99, ..probe };
        let reply = answer(now, never_sent, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        assert_eq!(liveness.handle_answer(now, &reply), None);
        assert_eq!(liveness.measured().answered, 0);
        let reply = answer(now, probe, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        assert_eq!(liveness.handle_answer(now, &reply), Some(Duration::ZERO));
        assert_eq!(liveness.handle_answer(now, &reply), None);
        assert_eq!(liveness.measured().answered, 1);
    }
}
