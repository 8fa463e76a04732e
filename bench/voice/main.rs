//! Calls beside a full line, over the program and over what people use otherwise.
//!
//! Offices are namespaces; the path between them is the model of `tieline-sim` by the real clock, with the queue of a modem. Calls are
//! streams of RTP both ways; every packet's way is timed exactly, since both offices have one clock. In each run they are alone first, on
//! the same path, so that what the machine does to them is known, then beside the load. Every run has fresh offices.
//!
//! Root only. Nothing is changed outside the namespaces and a temporary folder, which end with this process.
#![allow(clippy::print_stdout, reason = "what was measured is for whoever asked")]

mod bulk;
mod case;
mod contender;
mod metric;
mod options;
mod phones;
mod report;
mod run;
mod trips;

use std::process::ExitCode;

use tieline_bench::process;
use tieline_io::wait::wait_precisely;
use tieline_sim::lab::Lab;

use crate::case::Case;
use crate::contender::Contender;
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
    // Threads inherit it. Without it each waits up to 50 µs longer than it should.
    wait_precisely().map_err(|error| error.to_string())?;
    let (contenders, mut missing) = installed(options)?;
    let cases: Vec<Case> = options.cases.iter().copied().filter(|case| *case != Case::Phones).collect();
    let absent = if options.cases.contains(&Case::Phones) { phones::missing(options) } else { vec![] };
    let cases = if absent.is_empty() { options.cases.clone() } else { cases };
    missing.extend((!absent.is_empty()).then(|| format!("the case phones ({})", absent.join(", "))));
    let mut report = Report::new(options, &contenders, missing);
    for round in 1..=options.rounds {
        for case in &cases {
            for contender in options.wanted(*case) {
                if contenders.contains(&contender) {
                    report.add(round, *case, contender, run::run(options, *case, contender, round))?;
                }
            }
        }
    }
    println!("{}", report.markdown());
    report.complete()
}

/// Those that can be run, and the names of those that cannot, with what is missing.
fn installed(options: &Options) -> Result<(Vec<Contender>, Vec<String>), String> {
    process::need(&["ip", "iperf3", "ping", "ss", "timeout"])?;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    let is_wanted =
        |contender: &Contender| options.cases.iter().any(|case| options.wanted(*case).contains(contender));
    for contender in Contender::ALL.into_iter().filter(is_wanted) {
        let absent = process::missing(&contender.programs(options));
        if absent.is_empty() {
            there.push(contender);
        } else {
            missing.push(format!("{} ({})", contender.name(), absent.join(", ")));
        }
    }
    if there.is_empty() { Err("there is nothing to measure".into()) } else { Ok((there, missing)) }
}
