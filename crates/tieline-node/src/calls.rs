//! What one end says of the calls: the answer of the local API to `calls`, for people and for programs.
//!
//! As with [`crate::status`], fields are added, never renamed.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tieline_line::calls::{IDLE_MAX, Snapshot, StreamReport, hours::Hour, sequence::share};
use tieline_transfer::moment::Moment;
use tieline_wire::time::Now;

/// Silence after which nobody is speaking, or who does is on hold.
const QUIET_AFTER: Duration = Duration::from_secs(2);

const HOUR: Duration = Duration::from_secs(3600);

/// All that is known of the calls of a line: what comes out of it at this end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CallsStatus {
    /// Calls that go on, then those that have ended, the last one first. What the far end's phones say, as it comes out of the line here;
    /// the other way is measured at the other end.
    pub calls: Vec<Call>,
    /// Hours in which there were calls, oldest first.
    pub hours: Vec<HourStatus>,
    /// Calls that were given up because there were too many.
    pub unfollowed: u64,
}

/// Whether a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// Sound comes.
    Talking,
    /// No sound for two seconds: silence is not sent, or the call is on hold, or has ended just now.
    Quiet,
    /// No sound for half a minute.
    Ended,
}

/// One direction of one call. Times in seconds, shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Call {
    /// Whether it goes on.
    pub state: CallState,
    /// The phone in the other office.
    pub from: SocketAddr,
    /// The phone in this one.
    pub to: SocketAddr,
    /// The codec, as far as it can be told from outside.
    pub codec: String,
    /// The payload type of RTP.
    pub payload_type: u8,
    /// Time in one packet, if it is known.
    pub packet_seconds: Option<f64>,
    /// When the first packet came.
    pub began: String,
    /// From the first packet to the last.
    pub duration_seconds: f64,
    /// Since the last packet.
    pub silent_seconds: f64,
    /// Packets that were sent, by their numbers.
    pub packets_expected: u64,
    /// Those that did not arrive.
    pub packets_lost: u64,
    /// Those that came later than a phone's buffer waits.
    pub packets_late: u64,
    /// Packets that came once more.
    pub packets_repeated: u64,
    /// Packets that others had overtaken.
    pub packets_reordered: u64,
    /// The share that was lost.
    pub lost: f64,
    /// The share that was late.
    pub late: f64,
    /// How much longer bursts of loss were than those of random loss; 1 if not.
    pub burst_ratio: f64,
    /// Jitter (RFC 3550), now or at the end.
    pub jitter_seconds: f64,
    /// The largest.
    pub jitter_max_seconds: f64,
    /// One-way delay of the line meanwhile; none if the far end answers no probes.
    pub delay_seconds: Option<f64>,
    /// R of the E-model (G.107), of all of it.
    pub r: f64,
    /// The same as a mean opinion score.
    pub mos: f64,
    /// The score of the last five seconds; none before there are any.
    pub mos_now: Option<f64>,
    /// The score of the worst five seconds.
    pub mos_worst: Option<f64>,
}

/// One hour. Times in seconds, shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HourStatus {
    /// When it began.
    pub began: String,
    /// Calls that began in it.
    pub calls: u64,
    /// Packets that were sent, by their numbers.
    pub packets_expected: u64,
    /// Those that did not arrive.
    pub packets_lost: u64,
    /// Those that came later than a phone's buffer waits.
    pub packets_late: u64,
    /// The share that was lost.
    pub lost: f64,
    /// The share that was late.
    pub late: f64,
    /// The largest jitter.
    pub jitter_max_seconds: f64,
    /// The mean score of all that was said.
    pub mos: Option<f64>,
    /// The score of the worst five seconds.
    pub mos_worst: Option<f64>,
}

impl CallsStatus {
    /// What `snapshot` says at `now`.
    #[must_use]
    pub fn of(snapshot: &Snapshot, now: Now) -> Self {
        let followed = snapshot.streams.iter().map(|report| call(report, now));
        let ended = snapshot.ended.iter().rev().map(|report| call(report, now));
        let mut calls: Vec<_> = followed.chain(ended).collect();
        // What is followed may have ended since the last packet of any call.
        calls.sort_by_key(|call| call.state == CallState::Ended);
        Self { calls, hours: snapshot.hours.iter().map(hour).collect(), unfollowed: snapshot.unfollowed }
    }
}

fn call(report: &StreamReport, now: Now) -> Call {
    let StreamReport { tuple, tally, began, last, .. } = report;
    let silence = now.monotonic.saturating_duration_since(*last);
    Call {
        state: match silence {
            _ if silence >= IDLE_MAX => CallState::Ended,
            _ if silence >= QUIET_AFTER => CallState::Quiet,
            _ => CallState::Talking,
        },
        from: tuple.source,
        to: tuple.destination,
        codec: report.codec.as_str().to_owned(),
        payload_type: report.payload_type,
        packet_seconds: report.packet_time.map(|time| time.as_secs_f64()),
        began: Moment::from(began.wall).to_string(),
        duration_seconds: last.saturating_duration_since(began.monotonic).as_secs_f64(),
        silent_seconds: silence.as_secs_f64(),
        packets_expected: tally.expected,
        packets_lost: tally.lost(),
        packets_late: tally.late,
        packets_repeated: tally.duplicates,
        packets_reordered: tally.reordered,
        lost: share(tally.lost(), tally.expected),
        late: share(tally.late, tally.expected),
        burst_ratio: tally.burst_ratio(),
        jitter_seconds: report.jitter.as_secs_f64(),
        jitter_max_seconds: report.jitter_max.as_secs_f64(),
        delay_seconds: report.delay.map(|delay| delay.as_secs_f64()),
        r: report.rating.r(),
        mos: report.rating.mos(),
        mos_now: report.rating_now.map(|rating| rating.mos()),
        mos_worst: report.rating_worst.map(|rating| rating.mos()),
    }
}

fn hour(hour: &Hour) -> HourStatus {
    let began =
        u32::try_from(hour.number).ok().and_then(|number| SystemTime::UNIX_EPOCH.checked_add(HOUR * number));
    HourStatus {
        began: Moment::from(began.unwrap_or(SystemTime::UNIX_EPOCH)).to_string(),
        calls: hour.streams,
        packets_expected: hour.expected,
        packets_lost: hour.lost,
        packets_late: hour.late,
        lost: share(hour.lost, hour.expected),
        late: share(hour.late, hour.expected),
        jitter_max_seconds: hour.jitter_max.as_secs_f64(),
        mos: hour.mos(),
        mos_worst: hour.worst.map(|rating| rating.mos()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tieline_line::calls::Calls;

    use super::*;

    const PACKET_TIME: Duration = Duration::from_millis(20);

    /// Speaks for `packets` from `host` and returns when the last one came.
    fn speak(calls: &mut Calls, start: Now, host: u8, packets: u8) -> Now {
        let mut now = start;
        for n in 0..packets {
            now = start.after(PACKET_TIME * n.into());
            let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, host, 10, 2, 0, 9];
            packet.extend([0x9c, 0x40, 0x40, 0x00, 0, 40, 0, 0]);
            packet.extend([0x80, 18, 0, n]);
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend([0, 0, 0, host]);
            packet.resize(60, 0);
            calls.handle_packet(now, &packet);
        }
        now
    }

    #[test]
    fn a_call_goes_on_is_quiet_and_has_ended_though_nobody_looks_meanwhile() {
        let start = Now {
            monotonic: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_858_245),
        };
        let mut calls = Calls::default();
        let last = speak(&mut calls, start, 7, 104);
        let snapshot = calls.snapshot();
        let at = |seconds| CallsStatus::of(&snapshot, last.after(Duration::from_secs(seconds)));
        let [call] = &at(1).calls[..] else { panic!("{:?}", at(1)) };
        assert_eq!((call.state, call.from.to_string().as_str()), (CallState::Talking, "10.1.0.7:40000"));
        assert_eq!((call.codec.as_str(), call.packet_seconds), ("G.729", Some(0.02)));
        assert_eq!((call.packets_expected, call.lost, call.delay_seconds), (100, 0.0, None));
        assert_eq!(call.began, "2026-11-28T09:30:45.080000000Z");
        assert!((call.duration_seconds - 1.98).abs() < 0.001 && call.mos > 4.0);
        assert_eq!(at(5).calls[0].state, CallState::Quiet);
        assert_eq!(at(40).calls[0].state, CallState::Ended);
        assert_eq!(at(1).hours[0].began, "2026-11-28T09:00:00.000000000Z");
        assert_eq!(at(1).hours[0].calls, 1);
    }

    #[test]
    fn what_goes_on_comes_first_and_then_what_ended_last() {
        let mut now = Now::from_system();
        let mut calls = Calls::default();
        for host in 1..4 {
            now = speak(&mut calls, now, host, 10).after(IDLE_MAX);
            calls.handle_timeout(now, None);
        }
        now = speak(&mut calls, now, 4, 10);
        let said = CallsStatus::of(&calls.snapshot(), now);
        let hosts: Vec<_> = said.calls.iter().map(|call| call.from.ip().to_string()).collect();
        assert_eq!(hosts, ["10.1.0.4", "10.1.0.3", "10.1.0.2", "10.1.0.1"]);
    }
}
