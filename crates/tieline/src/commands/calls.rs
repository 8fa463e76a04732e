//! `calls`: how good the telephone calls over a line are.

use std::fmt;
use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::{Client, ClientError},
    calls::{Call, CallState, CallsStatus, HourStatus, Voice},
    places::{LineName, Places},
};

use super::{status::seconds, table::table};
use crate::args::Reporting;
use crate::failure::Failure;
use crate::{output, process};

/// Calls that have ended and are shown to people.
const ENDED_SHOWN_MAX: usize = 20;
/// Below this score many who listen are dissatisfied (ITU-T G.109: R 70).
const MOS_POOR: f64 = 3.6;

/// Show how good the telephone calls are
///
/// For each call a row with what the phone in the other office says, as it comes out of the line here: all that the line did to it is in
/// it. And a row with what the phone here says, as it goes into the line; how it comes out is shown at the other end. Nothing has to be
/// set up at the phones. MOS is the score that listeners would give, from 1
/// (bad) to 4.4 (as good as a telephone is), reckoned from loss, delay and codec (ITU-T G.107); "worst" is that of the worst five seconds.
#[derive(Debug, Args)]
pub(crate) struct CallsArgs {
    /// The line [default: all that are up here]
    name: Option<LineName>,

    /// Show the hours of the last week instead
    #[arg(long)]
    hours: bool,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// The calls of one line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct LineCalls {
    line: LineName,
    #[serde(flatten)]
    calls: CallsStatus,
    #[serde(skip)]
    shows_hours: bool,
}

/// The lines that are up.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Lines(Vec<LineCalls>);

/// Asks and tells.
///
/// # Errors
///
/// If the line is not up.
pub(crate) fn run(places: &Places, args: &CallsArgs) -> Result<(), Failure> {
    let ask = async |line: LineName| {
        let calls = Client::new(&places.files(&line).socket).calls().await?;
        Ok::<_, ClientError>(LineCalls { line, calls, shows_hours: args.hours })
    };
    if let Some(name) = &args.name {
        let calls = process::runtime()?.block_on(ask(name.clone()))?;
        return Ok(output::report(args.reporting.json, &calls)?);
    }
    let names = places.lines()?;
    let lines = process::runtime()?.block_on(async {
        let mut lines = Vec::new();
        for name in names {
            match ask(name).await {
                Err(ClientError::NotUp { .. }) => {}
                line => lines.push(line?),
            }
        }
        Ok::<_, ClientError>(lines)
    })?;
    Ok(output::report(args.reporting.json, &Lines(lines))?)
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no line is up here; `tieline up` brings one up");
        }
        for (number, line) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for LineCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, calls: CallsStatus { calls, hours, unfollowed }, shows_hours } = self;
        let going_on = calls.iter().filter(|call| call.state != CallState::Ended).count();
        let ended = calls.len() - going_on;
        writeln!(f, "{line} — {going_on} calls, and {ended} that have ended")?;
        if *shows_hours {
            f.write_str(&table(HOUR_HEADS, hours.iter().map(hour_row)))?;
        } else {
            let shown = calls.iter().take(going_on + ENDED_SHOWN_MAX);
            f.write_str(&table(CALL_HEADS, shown.flat_map(call_rows)))?;
            if ended > ENDED_SHOWN_MAX {
                writeln!(f, "… and {} that ended before; --json has them all", ended - ENDED_SHOWN_MAX)?;
            }
        }
        if *unfollowed > 0 {
            writeln!(
                f,
                "{unfollowed} directions of calls were not followed to their end: there were too many at once"
            )?;
        }
        Ok(())
    }
}

const CALL_HEADS: [&str; 12] =
    ["from", "to", "codec", "for", "lost", "late", "jitter", "delay", "R", "MOS", "worst", ""];

/// One row for each direction.
fn call_rows(call: &Call) -> impl Iterator<Item = [String; 12]> {
    let from_there = call.from_there.as_ref().map(|voice| voice_row(call, [call.there, call.here], voice));
    let from_here = call.from_here.as_ref().map(|voice| voice_row(call, [call.here, call.there], voice));
    from_there.into_iter().chain(from_here)
}

fn voice_row(call: &Call, [from, to]: [SocketAddr; 2], voice: &Voice) -> [String; 12] {
    let packet = voice.packet_seconds.map(|time| format!(" {:.0} ms", time * 1000.0)).unwrap_or_default();
    let quality = voice.quality.as_ref();
    let of_line = |shown: Option<String>| shown.unwrap_or_default();
    [
        from.to_string(),
        to.to_string(),
        format!("{}{packet}", voice.codec),
        whole_seconds(call.duration_seconds),
        percent(voice.lost),
        percent(voice.late),
        millis(voice.jitter_seconds),
        of_line(quality.map(|quality| quality.delay_seconds.map_or_else(|| "?".to_owned(), millis))),
        of_line(quality.map(|quality| format!("{:.0}", quality.r))),
        of_line(quality.map(|quality| format!("{:.2}", quality.mos))),
        of_line(quality.map(|quality| score(quality.mos_worst))),
        remark(call, voice),
    ]
}

fn remark(call: &Call, voice: &Voice) -> String {
    let Some(quality) = &voice.quality else { return "into the line".to_owned() };
    match call.state {
        CallState::Talking if quality.mos_now.is_some_and(|now| now < MOS_POOR) => {
            "sounds bad now".to_owned()
        }
        CallState::Talking => String::new(),
        CallState::Quiet => format!("quiet for {}", whole_seconds(call.silent_seconds)),
        CallState::Ended => format!("ended {} ago", whole_seconds(call.silent_seconds)),
    }
}

const HOUR_HEADS: [&str; 8] =
    ["hour (UTC)", "calls", "packets", "lost", "late", "jitter up to", "MOS", "worst"];

fn hour_row(hour: &HourStatus) -> [String; 8] {
    [
        hour.began.get(..16).unwrap_or(&hour.began).replace('T', " "),
        hour.calls.to_string(),
        hour.packets_expected.to_string(),
        percent(hour.lost),
        percent(hour.late),
        millis(hour.jitter_max_seconds),
        score(hour.mos),
        score(hour.mos_worst),
    ]
}

fn whole_seconds(time: f64) -> String {
    seconds(time.round() as u64)
}

fn millis(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1000.0)
}

/// Something that is not nothing is not shown as nothing.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.05 { "< 0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

fn score(mos: Option<f64>) -> String {
    mos.map_or_else(|| "—".to_owned(), |mos| format!("{mos:.2}"))
}

#[cfg(test)]
mod tests {
    use tieline_node::calls::Quality;

    use super::*;

    fn voice() -> Voice {
        Voice {
            codec: "G.711".to_owned(),
            payload_type: 0,
            packet_seconds: Some(0.02),
            packets_expected: 10_000,
            packets_lost: 1,
            packets_late: 0,
            packets_repeated: 0,
            packets_reordered: 0,
            lost: 0.0001,
            late: 0.0,
            burst_ratio: 1.0,
            jitter_seconds: 0.0004,
            jitter_max_seconds: 0.001,
            quality: None,
        }
    }

    fn call(state: CallState) -> Call {
        let quality =
            Quality { delay_seconds: Some(0.0153), r: 90.6, mos: 4.35, mos_now: Some(2.0), mos_worst: None };
        Call {
            state,
            there: "10.1.0.7:16384".parse().unwrap(),
            here: "10.2.0.9:40000".parse().unwrap(),
            began: "2026-11-28T09:30:00.000000000Z".to_owned(),
            duration_seconds: 200.2,
            silent_seconds: 5.0,
            from_there: Some(Voice { quality: Some(quality), ..voice() }),
            from_here: Some(voice()),
        }
    }

    fn shown(calls: Vec<Call>, shows_hours: bool) -> String {
        let hours = vec![HourStatus {
            began: "2026-11-28T09:00:00.000000000Z".to_owned(),
            calls: 3,
            packets_expected: 30_000,
            packets_lost: 600,
            packets_late: 0,
            lost: 0.02,
            late: 0.0,
            jitter_max_seconds: 0.004,
            mos: Some(4.15),
            mos_worst: Some(3.2),
        }];
        let calls = CallsStatus { calls, hours, unfollowed: 0 };
        LineCalls { line: "berlin".parse().unwrap(), calls, shows_hours }.to_string()
    }

    #[test]
    fn each_direction_of_a_call_is_a_row() {
        let ended = Call { from_here: None, ..call(CallState::Ended) };
        let text = shown(vec![call(CallState::Talking), ended], false);
        let expected = "\
berlin — 1 calls, and 1 that have ended

from            to              codec        for         lost     late   jitter  delay    R   MOS   worst
10.1.0.7:16384  10.2.0.9:40000  G.711 20 ms  3 min 20 s  < 0.1 %  0.0 %  0.4 ms  15.3 ms  91  4.35  —      sounds bad now
10.2.0.9:40000  10.1.0.7:16384  G.711 20 ms  3 min 20 s  < 0.1 %  0.0 %  0.4 ms                            into the line
10.1.0.7:16384  10.2.0.9:40000  G.711 20 ms  3 min 20 s  < 0.1 %  0.0 %  0.4 ms  15.3 ms  91  4.35  —      ended 5 s ago
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_hour_is_a_row() {
        let expected = "\
berlin — 0 calls, and 0 that have ended

hour (UTC)        calls  packets  lost   late   jitter up to  MOS   worst
2026-11-28 09:00  3      30000    2.0 %  0.0 %  4.0 ms        4.15  3.20
";
        assert_eq!(shown(vec![], true), expected);
    }

    #[test]
    fn of_many_that_have_ended_people_see_the_last() {
        let ended = Call { from_here: None, ..call(CallState::Ended) };
        let text = shown(vec![ended; 30], false);
        assert_eq!(text.lines().count(), 3 + ENDED_SHOWN_MAX + 1);
        assert!(text.ends_with("… and 10 that ended before; --json has them all\n"), "{text}");
        assert_eq!(shown(vec![], false), "berlin — 0 calls, and 0 that have ended\n");
    }
}
