//! Files from one office to another, by the program and by what people use otherwise, over a path that is slow, long and loses.
//!
//! Offices are namespaces; the path between them is the model of `tieline-sim` by the real clock, in this process. Every run has fresh
//! offices. What was sent is compared with what arrived, and durable is compared with durable: who does not bring what arrived to the disk
//! by itself has a `sync` of its file system added to its time. Processor time is that of all processes of both ends, from their start to
//! their end. Rivals that can be told are run once with CUBIC and once with BBR. They have the path for themselves, bare; the fastest ones of a
//! case are run once more in a tunnel, since a line is one too.
//!
//! Root only, because of sshd. Nothing is changed outside the namespaces and a temporary folder, which end with this process.
#![allow(clippy::print_stdout, reason = "what was measured is for whoever asked")]

mod case;
mod contender;
mod content;
mod options;
mod report;
mod run;

use std::process::ExitCode;

use tieline_bench::process;
use tieline_sim::lab::Lab;

use crate::case::Case;
use crate::contender::{Contender, Contestant};
use crate::options::Options;
use crate::report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&arguments).and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    // Before anything starts a thread: a user namespace is entered by a whole process.
    Lab::prepare().map_err(|error| error.to_string())?;
    let mut report = Report::new(options, installed(options)?);
    for case in &options.cases {
        let content = case.content(options)?;
        let contestants = contestants(options, *case, report.contenders());
        for round in 1..=options.rounds {
            for contestant in &contestants {
                let measured = run::run(options, *case, &content, *contestant, round);
                report.add(*case, content.octets, *contestant, measured);
            }
        }
        for contestant in report.fastest_rivals(*case, options.carried) {
            let carried = Contestant { is_carried: true, ..contestant };
            for round in 1..=options.rounds {
                let measured = run::run(options, *case, &content, carried, round);
                report.add(*case, content.octets, carried, measured);
            }
        }
    }
    println!("{}", report.markdown());
    report.complete()
}

/// Those that can be run, and the names of those that cannot, with what is missing.
fn installed(options: &Options) -> Result<(Vec<Contender>, Vec<String>), String> {
    process::need(&["cp", "ip", "ping", "sync", "timeout"])?;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for contender in options.wanted() {
        let absent = process::missing(&contender.programs(options));
        if absent.is_empty() {
            there.push(contender);
        } else {
            missing.push(format!("{} ({})", contender.name(), absent.join(", ")));
        }
    }
    if there.is_empty() { Err("there is nothing to measure".into()) } else { Ok((there, missing)) }
}

/// Who takes part in a case on the bare path: rivals that can be told, once with each congestion control.
fn contestants(options: &Options, case: Case, contenders: &[Contender]) -> Vec<Contestant> {
    let of_case = contenders.iter().filter(|contender| case.is_for(**contender));
    of_case
        .flat_map(|contender| {
            let congestions = if contender.has_congestion_control() {
                options.congestions.iter().map(|congestion| Some(*congestion)).collect()
            } else {
                vec![None]
            };
            congestions.into_iter().map(|congestion| Contestant {
                contender: *contender,
                congestion,
                is_carried: false,
            })
        })
        .collect()
}
