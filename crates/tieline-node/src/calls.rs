//! What one end says of the calls: the answer of the local API to `calls`, for people and for programs.
//!
//! As with [`crate::status`], fields are added, never renamed.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tieline_line::calls::{IDLE_MAX, Snapshot, StreamReport, hours::Hour, sequence::share};
use tieline_transfer::moment::Moment;
use tieline_wire::time::Now;

/// Silence after which nobody is speaking, or who does is on hold.
const QUIET_AFTER: Duration = Duration::from_secs(2);

const HOUR: Duration = Duration::from_secs(3600);

/// Where the packet threads show what they know of the calls. They replace it whole, once a second while there are any.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What comes out of the line at this end.
    pub incoming: Arc<ArcSwap<Snapshot>>,
    /// What goes into it, by each sending thread.
    pub outgoing: Vec<Arc<ArcSwap<Snapshot>>>,
}

/// All that is known of the calls of a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CallsStatus {
    /// Calls that go on, then those that have ended, the last one first.
    pub calls: Vec<Call>,
    /// Hours in which there were calls, oldest first: what came out of the line at this end.
    pub hours: Vec<HourStatus>,
    /// Directions of calls that were given up because there were too many.
    pub unfollowed: u64,
}

/// Whether a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// Sound comes.
    Talking,
    /// No sound for two seconds: silence is not sent, or the call is on hold, or has ended just now.
    Quiet,
    /// No sound for half a minute.
    Ended,
}

/// One call: one direction, or both. Times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Call {
    /// Whether it goes on.
    pub state: CallState,
    /// The phone in the other office.
    pub there: SocketAddr,
    /// The phone in this one.
    pub here: SocketAddr,
    /// When the first packet came.
    pub began: String,
    /// From the first packet to the last.
    pub duration_seconds: f64,
    /// Since the last packet.
    pub silent_seconds: f64,
    /// What the phone there says, as it comes out of the line at this end; none if it says nothing.
    pub from_there: Option<Voice>,
    /// What the phone here says, as it goes into the line. How it comes out is known at the other end.
    pub from_here: Option<Voice>,
}

/// One direction of a call. Times in seconds, shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Voice {
    /// The codec, as far as it can be told from outside.
    pub codec: String,
    /// The payload type of RTP.
    pub payload_type: u8,
    /// Time in one packet, if it is known.
    pub packet_seconds: Option<f64>,
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
    /// How it sounds; none of what only goes into the line.
    pub quality: Option<Quality>,
}

/// How a direction of a call sounds (ITU-T G.107).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Quality {
    /// One-way delay of the line meanwhile, in seconds; none if the far end answers no probes.
    pub delay_seconds: Option<f64>,
    /// R of the E-model, of all of it.
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

impl Watched {
    /// For so many sending threads.
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        Self { incoming: Arc::default(), outgoing: (0..lanes).map(|_| Arc::default()).collect() }
    }

    /// Calls of which somebody speaks.
    #[must_use]
    pub fn going_on(&self, now: Now) -> usize {
        self.status(now).calls.iter().filter(|call| call.state == CallState::Talking).count()
    }

    /// What they say at `now`.
    #[must_use]
    pub fn status(&self, now: Now) -> CallsStatus {
        let incoming = self.incoming.load();
        let outgoing: Vec<_> = self.outgoing.iter().map(|lane| lane.load_full()).collect();
        let out: Vec<_> = outgoing.iter().flat_map(|lane| streams(lane)).collect();
        let unfollowed = outgoing.iter().map(|lane| lane.unfollowed).sum::<u64>();
        let mut calls = pair(streams(&incoming), out, now);
        calls.sort_by(|one, other| {
            let of = |call: &Call| (call.state == CallState::Ended).then_some(call.silent_seconds);
            of(one).partial_cmp(&of(other)).unwrap_or(std::cmp::Ordering::Equal)
        });
        CallsStatus {
            calls,
            hours: incoming.hours.iter().map(hour).collect(),
            unfollowed: incoming.unfollowed + unfollowed,
        }
    }
}

fn streams(snapshot: &Snapshot) -> impl Iterator<Item = &StreamReport> {
    snapshot.streams.iter().chain(snapshot.ended.iter().map(Arc::as_ref))
}

/// Puts together what two phones say to each other at the same time. The same two may have more calls, one after the other.
fn pair<'s>(
    incoming: impl Iterator<Item = &'s StreamReport>,
    mut outgoing: Vec<&'s StreamReport>,
    now: Now,
) -> Vec<Call> {
    let mut calls = Vec::new();
    for from_there in incoming {
        let answers = |out: &&StreamReport| {
            out.tuple.source == from_there.tuple.destination
                && out.tuple.destination == from_there.tuple.source
                && out.began.monotonic <= from_there.last
                && from_there.began.monotonic <= out.last
        };
        let from_here = outgoing.iter().position(answers).map(|index| outgoing.swap_remove(index));
        calls.extend(call(Some(from_there), from_here, now));
    }
    calls.extend(outgoing.into_iter().filter_map(|from_here| call(None, Some(from_here), now)));
    calls
}

/// None of no direction.
fn call(from_there: Option<&StreamReport>, from_here: Option<&StreamReport>, now: Now) -> Option<Call> {
    let both = || from_there.into_iter().chain(from_here);
    let began = both().map(|report| report.began).min_by_key(|began| began.monotonic)?;
    let last = both().map(|report| report.last).max()?;
    let (there, here) = match (from_there, from_here) {
        (Some(report), _) => (report.tuple.source, report.tuple.destination),
        (None, report) => (report?.tuple.destination, report?.tuple.source),
    };
    let silence = now.monotonic.saturating_duration_since(last);
    Some(Call {
        state: match silence {
            _ if silence >= IDLE_MAX => CallState::Ended,
            _ if silence >= QUIET_AFTER => CallState::Quiet,
            _ => CallState::Talking,
        },
        there,
        here,
        began: Moment::from(began.wall).to_string(),
        duration_seconds: last.saturating_duration_since(began.monotonic).as_secs_f64(),
        silent_seconds: silence.as_secs_f64(),
        from_there: from_there.map(|report| Voice { quality: Some(quality(report)), ..voice(report) }),
        from_here: from_here.map(voice),
    })
}

fn voice(report: &StreamReport) -> Voice {
    let tally = &report.tally;
    Voice {
        codec: report.codec.as_str().to_owned(),
        payload_type: report.payload_type,
        packet_seconds: report.packet_time.map(|time| time.as_secs_f64()),
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
        quality: None,
    }
}

fn quality(report: &StreamReport) -> Quality {
    Quality {
        delay_seconds: report.delay.map(|delay| delay.as_secs_f64()),
        r: report.rating.r(),
        mos: report.rating.mos(),
        mos_now: report.rating_now.map(|rating| rating.mos()),
        mos_worst: report.rating_worst.map(|rating| rating.mos()),
    }
}

fn hour(hour: &Hour) -> HourStatus {
    let since = u32::try_from(hour.number).ok().map(|number| HOUR * number);
    let began = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
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

    /// `from` speaks to `to`, both hosts of 10.1.0.0/24, for `packets`. Returns when the last one came.
    fn speak(calls: &mut Calls, start: Now, (from, to): (u8, u8), packets: u8) -> Now {
        let mut now = start;
        for n in 0..packets {
            now = start.after(PACKET_TIME * n.into());
            let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, from, 10, 1, 0, to];
            packet.extend([0x40, 0x00, 0x40, 0x00, 0, 40, 0, 0]);
            packet.extend([0x80, 18, 0, n]);
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend([0, 0, 0, from]);
            packet.resize(60, 0);
            calls.handle_packet(now, &packet);
        }
        now
    }

    fn status(incoming: &Calls, outgoing: &[&Calls], now: Now) -> CallsStatus {
        let watched = Watched::new(outgoing.len());
        watched.incoming.store(Arc::new(incoming.snapshot()));
        for (lane, calls) in watched.outgoing.iter().zip(outgoing) {
            lane.store(Arc::new(calls.snapshot()));
        }
        watched.status(now)
    }

    #[test]
    fn a_call_goes_on_is_quiet_and_has_ended_though_nobody_looks_meanwhile() {
        let start = Now {
            monotonic: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_858_245),
        };
        let mut calls = Calls::default();
        let last = speak(&mut calls, start, (7, 9), 104);
        let at = |seconds| status(&calls, &[], last.after(Duration::from_secs(seconds)));
        let [call] = &at(1).calls[..] else { panic!("{:?}", at(1)) };
        assert_eq!((call.state, call.there.to_string().as_str()), (CallState::Talking, "10.1.0.7:16384"));
        assert_eq!(call.began, "2026-11-28T09:30:45.080000000Z");
        assert!((call.duration_seconds - 1.98).abs() < 0.001);
        let voice = call.from_there.as_ref().unwrap();
        assert_eq!((voice.codec.as_str(), voice.packet_seconds), ("G.729", Some(0.02)));
        assert_eq!((voice.packets_expected, voice.lost), (100, 0.0));
        let quality = voice.quality.as_ref().unwrap();
        assert!(quality.mos > 4.0 && quality.delay_seconds.is_none());
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
            now = speak(&mut calls, now, (host, 9), 10).after(IDLE_MAX);
            calls.handle_timeout(now, None);
        }
        now = speak(&mut calls, now, (4, 9), 10);
        let hosts: Vec<_> =
            status(&calls, &[], now).calls.iter().map(|call| call.there.ip().to_string()).collect();
        assert_eq!(hosts, ["10.1.0.4", "10.1.0.3", "10.1.0.2", "10.1.0.1"]);
    }

    #[test]
    fn two_directions_are_one_call_and_one_alone_is_one_too() {
        let (mut incoming, mut out, mut out_too) = (Calls::default(), Calls::default(), Calls::default());
        let start = Now::from_system();
        // The same two phones: a call that has ended, and one that goes on.
        speak(&mut incoming, start, (7, 9), 10);
        speak(&mut out, start, (9, 7), 10);
        let later = start.after(IDLE_MAX * 2);
        for calls in [&mut incoming, &mut out] {
            calls.handle_timeout(later, None);
        }
        speak(&mut incoming, later, (7, 9), 20);
        speak(&mut out, later, (9, 7), 30);
        // And two that nobody answers.
        speak(&mut incoming, later, (5, 9), 20);
        let last = speak(&mut out_too, later, (3, 6), 20);
        let calls = status(&incoming, &[&out, &out_too], last).calls;
        let expected = |voice: &Option<Voice>| voice.as_ref().map(|voice| voice.packets_expected);
        let mut said: Vec<_> = calls
            .iter()
            .map(|call| {
                let [there, here] = [call.there, call.here].map(|phone| phone.ip().to_string());
                (there, here, call.state, expected(&call.from_there), expected(&call.from_here))
            })
            .collect();
        said.sort();
        let row = |there: &str, here: &str, state, from_there, from_here| {
            (format!("10.1.0.{there}"), format!("10.1.0.{here}"), state, from_there, from_here)
        };
        let wanted = [
            row("5", "9", CallState::Talking, Some(16), None),
            row("6", "3", CallState::Talking, None, Some(16)),
            row("7", "9", CallState::Talking, Some(16), Some(26)),
            row("7", "9", CallState::Ended, Some(6), Some(6)),
        ];
        assert_eq!(said, wanted);
        assert!(calls.iter().flat_map(|call| &call.from_here).all(|voice| voice.quality.is_none()));
    }
}
