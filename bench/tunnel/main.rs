//! The program beside other tunnels: two offices on one cable, each tunnel between them in turn, measured the same way in the same run.
//!
//! An office is a network namespace and one processor of its own; a tunnel is started afresh, in fresh offices, for every run. The runs
//! are interleaved, so that whatever else the machine does meets all of them; figures are medians over rounds. Every cable is measured
//! as it is, carrying 64 KiB in one piece, and as a real wire, on which no packet has more than 1,500 octets.
//!
//! Root only. Nothing is changed outside the namespaces, which end with this process, as do all processes in them.
#![allow(clippy::print_stdout, reason = "what was measured is for whoever asked")]

mod measure;
mod metric;
mod offices;
mod options;
mod peer;
mod report;
mod verify;

use std::process::ExitCode;

use tieline_bench::process;

use crate::offices::{Cable, Offices};
use crate::options::Options;
use crate::peer::Peer;
use crate::report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let peers = available(options)?;
    let cables = cables(options)?;
    if options.verify {
        return verify_all(options, &peers, &cables);
    }
    let mut report = Report::new(options, &peers)?;
    for round in 1..=options.rounds {
        for cable in &cables {
            for peer in &peers {
                let measured = between_offices(options, *peer, *cable, measure::all);
                report.add(round, *cable, *peer, measured)?;
            }
        }
    }
    println!("{}", report.markdown());
    report.complete()
}

/// Those of the wanted tunnels that are installed; the others are named.
fn available(options: &Options) -> Result<Vec<Peer>, String> {
    process::need(&["ip", "iperf3", "ping", "taskset", "timeout"])?;
    let mut peers = Vec::new();
    for peer in options.wanted() {
        let missing = process::missing(&peer.programs(options));
        if missing.is_empty() {
            peers.push(peer);
        } else {
            eprintln!("not measured: {}, for {} is not installed", peer.name(), missing.join(", "));
        }
    }
    if peers.is_empty() { Err("there is nothing to measure".into()) } else { Ok(peers) }
}

fn cables(options: &Options) -> Result<Vec<Cable>, String> {
    if options.cables.contains(&Cable::Wire) && !process::is_installed("ethtool".as_ref()) {
        return Err("ethtool is not installed: only `--cable whole` can be measured without it".into());
    }
    Ok(options.cables.clone())
}

fn verify_all(options: &Options, peers: &[Peer], cables: &[Cable]) -> Result<(), String> {
    let mut failed = Vec::new();
    for cable in cables {
        for peer in peers {
            let verified = between_offices(options, *peer, *cable, |_, offices, _| verify::transfer(offices));
            let (name, cable) = (peer.name(), cable.name());
            match verified {
                Ok(octets) => {
                    println!("{name}, {cable}: {octets} random octets each way arrived as they were sent")
                }
                Err(problem) => {
                    println!("{name}, {cable}: FAILED: {problem}");
                    failed.push(name);
                }
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("not verified: {}", failed.join(", "))) }
}

/// Does `job` between two fresh offices with the tunnel up between them.
fn between_offices<T>(
    options: &Options,
    peer: Peer,
    cable: Cable,
    job: impl FnOnce(&Options, &Offices, &mut peer::Running) -> Result<T, String>,
) -> Result<T, String> {
    let mut offices = Offices::new(cable)?;
    let mut running = peer.start(options, &mut offices)?;
    let done = offices.wait_until_reached().and_then(|()| job(options, &offices, &mut running));
    done.map_err(|problem| format!("{problem}\n{}", running.logs()))
}
