//! `test`: what the line carries, and what a call over it is like meanwhile.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::Client,
    line_test::{Load, Spread, TestPhase, WayReport},
    places::{LineName, Places},
};

use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::{output, process};

/// Seconds of the phase in which the line is not filled.
const IDLE_SECONDS: u64 = 3;
/// Below this score of a call somebody would complain (ITU-T G.109: R 80, "satisfied").
const MOS_GOOD: f64 = 4.0;

/// Measure what the line carries, and what it does to a call
///
/// Speaks to the far end as a telephone does, while the line is otherwise left alone, then while it is filled towards the far end, then
/// towards this one. What fills it gives way to everything else. Where nothing shapes what an end sends (`rate` in the configuration),
/// a full line harms calls, so that way is not filled while somebody speaks. The exit status is 0 if all was measured.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The line
    name: LineName,

    /// How many seconds the line is filled each way
    #[arg(short, long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(3..=60))]
    seconds: u64,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Measured {
    line: LineName,
    phases: Vec<TestPhase>,
    /// What was not measured, and why.
    refused: Vec<String>,
}

/// Not everything was measured.
#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error("the far end did not answer: `tieline doctor` looks for the reason")]
    Silent,
    #[error("{0}")]
    Refused(String),
}

impl CommandError for TestError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_in_report(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Measures and tells, each phase when it is over.
///
/// # Errors
///
/// If the line is not up, or something was not measured.
pub(crate) fn run(places: &Places, args: &TestArgs) -> Result<(), Failure> {
    let client = Client::new(&places.files(&args.name).socket);
    let mut measured = Measured { line: args.name.clone(), phases: Vec::new(), refused: Vec::new() };
    let is_text = !args.reporting.json;
    let is_shaped = process::runtime()?.block_on(async {
        let is_shaped = client.status().await?.rate.is_some();
        for (load, seconds) in
            [(Load::None, IDLE_SECONDS), (Load::Out, args.seconds), (Load::In, args.seconds)]
        {
            if is_text {
                announce(load, seconds);
            }
            match client.test(load, seconds).await {
                Ok(phase) if phase.round_trip.is_none() => return Err(TestError::Silent.into()),
                Ok(phase) => {
                    if is_text {
                        output::text(&rows(&phase))?;
                    }
                    measured.phases.push(phase);
                }
                Err(refused) if load != Load::None => measured.refused.push(refused.to_string()),
                Err(error) => return Err(Failure::from(error)),
            }
        }
        Ok::<_, Failure>(is_shaped)
    })?;
    if is_text {
        output::text(&verdict(&measured.phases, is_shaped))?;
    } else {
        output::json(&measured)?;
    }
    match measured.refused.into_iter().next() {
        Some(refused) => Err(TestError::Refused(refused).into()),
        None => Ok(()),
    }
}

/// Says what is going on to whoever waits, beside what is reported.
fn announce(load: Load, seconds: u64) {
    let what = match load {
        Load::None => "the line as it is",
        Load::Out => "while the line is filled towards the far end",
        Load::In => "while the line is filled towards this end",
    };
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{what}, {seconds} s");
}

/// A phase in rows.
fn rows(phase: &TestPhase) -> String {
    let mut text = String::new();
    if let Some(rate) = phase.bits_per_second {
        text.push_str(&format!("  carries     {:.2} Mbit/s of files\n", rate / 1e6));
    }
    if let Some(Spread { p50_seconds, p99_seconds, max_seconds, .. }) = phase.round_trip {
        let [p50, p99, max] = [p50_seconds, p99_seconds, max_seconds].map(|seconds| seconds * 1000.0);
        text.push_str(&format!("  round trip  {p50:.1} ms, 99 % within {p99:.1}, all within {max:.1}\n"));
    }
    for (way, report) in [("to there", &phase.out), ("to here", &phase.inwards)] {
        if let Some(report) = report {
            text.push_str(&way_row(way, report));
        }
    }
    text
}

fn way_row(way: &str, report: &WayReport) -> String {
    let WayReport { lost, late, wait, jitter_seconds, mos, .. } = report;
    format!(
        "  call {way:<8}  MOS {mos:.2}, 99 % held up by at most {:.1} ms, jitter {:.1} ms, {:.1} % lost, {:.1} % too late\n",
        wait.p99_seconds * 1000.0,
        jitter_seconds * 1000.0,
        lost * 100.0,
        late * 100.0
    )
}

/// What it comes to, in a sentence.
fn verdict(phases: &[TestPhase], is_shaped: bool) -> String {
    let worst = |is_full: bool| {
        let phases = phases.iter().filter(move |phase| (phase.load != Load::None) == is_full);
        let ways = phases.flat_map(|phase| [phase.out, phase.inwards]).flatten();
        ways.map(|way| way.mos).reduce(f64::min)
    };
    let sentence = match (worst(false), worst(true)) {
        (Some(idle), _) if idle < MOS_GOOD => {
            "Calls are not good even while the line is idle: the path between the two ends loses or delays packets."
        }
        (_, Some(full)) if full < MOS_GOOD => {
            "Calls suffer while the line is full. Say at both ends what the line carries (`rate` in the configuration), and they will not."
        }
        (Some(_), Some(_)) if is_shaped => "Calls are good, however full the line is.",
        (Some(_), Some(_)) => {
            "Calls are good beside files that tieline sends, for these give way. What else fills the line may still harm them: nothing shapes it, for `rate` is not in the configuration."
        }
        _ => "Calls are good while the line is idle; what a full line does to them was not measured.",
    };
    format!("{sentence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(load: Load, mos: f64) -> TestPhase {
        let spread = Spread { min_seconds: 0.02, p50_seconds: 0.0213, p99_seconds: 0.025, max_seconds: 0.03 };
        let way = WayReport { lost: 0.01, late: 0.0, wait: spread, jitter_seconds: 0.0004, r: 90.0, mos };
        let bits_per_second = (load != Load::None).then_some(19_230_000.0);
        TestPhase {
            load,
            bits_per_second,
            packets_sent: 300,
            round_trip: Some(spread),
            out: Some(way),
            inwards: Some(way),
        }
    }

    #[test]
    fn a_phase_is_told_in_rows() {
        assert_eq!(
            rows(&phase(Load::Out, 4.36)),
            "  carries     19.23 Mbit/s of files\n  \
             round trip  21.3 ms, 99 % within 25.0, all within 30.0\n  \
             call to there  MOS 4.36, 99 % held up by at most 25.0 ms, jitter 0.4 ms, 1.0 % lost, 0.0 % too late\n  \
             call to here   MOS 4.36, 99 % held up by at most 25.0 ms, jitter 0.4 ms, 1.0 % lost, 0.0 % too late\n"
        );
    }

    #[test]
    fn the_verdict_is_that_of_the_worst() {
        let of = |idle: f64, full: f64| verdict(&[phase(Load::None, idle), phase(Load::In, full)], true);
        assert!(of(4.4, 4.3).contains("however full"));
        assert!(of(4.4, 2.0).contains("suffer"));
        assert!(of(2.0, 2.0).contains("even while the line is idle"));
        assert!(verdict(&[phase(Load::None, 4.4)], true).contains("not measured"));
        assert!(verdict(&[phase(Load::None, 4.4), phase(Load::Out, 4.4)], false).contains("nothing shapes"));
    }
}
