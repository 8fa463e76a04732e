//! A file from one office to another, over a path that is slow, long and loses: how fast it arrives, and what that costs on the wire.
//!
//! `files --tieline PROGRAM [--policy fair|fixed|trickle] [--rate MBIT] [--line MBIT] [--rtt MS] [--loss SHARE] [--mib COUNT]
//! [--rounds COUNT] [--seed SEED]`. The offices are namespaces, the path between them is the model of `tieline-sim` by the real clock, in
//! this process. The ends are run by this program as well (`files end …`), because a policy is set at a running end; all else is done by the
//! program itself: `new`, `join`, `send`.
#![allow(clippy::print_stdout, reason = "what was measured is for whoever asked")]

mod end;
mod offices;

use std::process::ExitCode;
use std::time::Duration;

use tieline_sim::lab::Lab;

use crate::offices::{Measured, Offices};

/// What to measure.
#[derive(Clone, Debug)]
struct Options {
    tieline: String,
    policy: String,
    /// Of the policy `fixed`.
    rate_mbit: u64,
    line_mbit: u64,
    round_trip: Duration,
    loss: f64,
    mib: u64,
    rounds: usize,
    seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tieline: "tieline".into(),
            policy: "fair".into(),
            rate_mbit: 100,
            line_mbit: 100,
            round_trip: Duration::from_millis(80),
            loss: 0.0,
            mib: 256,
            rounds: 1,
            seed: 1,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["end", line, policy, rate] => end::run(line, policy, rate),
        options => parse(options).and_then(|options| measure(&options)),
    };
    match done {
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
    println!("{options:?}");
    println!("| Mbit/s | seconds | sent on the wire | arrived | processor s, sender | receiver |");
    println!("|---|---|---|---|---|---|");
    let mut rates = Vec::new();
    for round in 0..options.rounds {
        let offices = Offices::new(options, round)?;
        let Measured { rate_mbit, seconds, offered, delivered, processor } = offices.send(options.mib)?;
        let [sender, receiver] = processor;
        println!(
            "| {rate_mbit:.1} | {seconds:.2} | {offered:.4} | {delivered:.4} | {sender:.1} | {receiver:.1} |"
        );
        rates.push(rate_mbit);
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "\nmedian: {:.1} Mbit/s; octets on the wire are IP packets, for each octet of the file",
        rates[rates.len() / 2]
    );
    Ok(())
}

fn parse(words: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} needs a value", pair[0])) };
        let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
        match *name {
            "--tieline" => options.tieline = (*value).into(),
            "--policy" => options.policy = (*value).into(),
            "--rate" => options.rate_mbit = number()?,
            "--line" => options.line_mbit = number()?,
            "--rtt" => options.round_trip = Duration::from_millis(number()?),
            "--loss" => options.loss = value.parse().map_err(|error| format!("{name} {value}: {error}"))?,
            "--mib" => options.mib = number()?.max(1),
            "--rounds" => options.rounds = number()?.max(1) as usize,
            "--seed" => options.seed = number()?,
            _ => return Err(format!("there is no option {name}")),
        }
    }
    Ok(options)
}
