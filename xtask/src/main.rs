//! Commands for the people who work on tieline: `cargo xtask …`.
#![expect(clippy::print_stdout, reason = "what these commands find out is for whoever called them")]

mod bench;
mod fuzz;
mod soak;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask verify                  what CI runs, without installing anything
cargo xtask simulate [--seeds N]    N random lives of a line on virtual time (default 100000)
cargo xtask simulate files [--seeds N]
                                    N random lives of two offices that send files (default 10000)
cargo xtask soak [FILTER]           the long tests of the system, released program, one at a time (about three quarters of an hour)
cargo xtask fuzz [--seconds N] [--inputs N] [TARGET]...
                                    runs the fuzz targets, each for so long or so many inputs (default 60 s)
cargo xtask bench micro [FILTER]    the packet path's parts and the ciphers, one core
cargo xtask bench tunnel [--help]   the released program beside other tunnels, as root (about half an hour)
cargo xtask bench files [--help]    the released program beside others that carry files, as root (many hours, unless told what to measure)
cargo xtask bench voice [--help]    calls beside a full line, over the released program and others, as root (about 25 minutes)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["verify"] => run(Command::new(root().join(".ci/run")).arg("--no-install")),
        ["simulate"] => simulate_lines("100000"),
        ["simulate", "--seeds", runs] => simulate_lines(runs),
        ["simulate", "files"] => simulate_files("10000"),
        ["simulate", "files", "--seeds", runs] => simulate_files(runs),
        ["soak"] => soak::soak("soak_").and_then(|()| soak::many_files()),
        ["soak", filter] => soak::soak(filter),
        ["fuzz", options @ ..] => fuzz::Options::parse(options).and_then(|options| fuzz::run(&options)),
        ["bench", "micro", options @ ..] => bench::micro(options),
        ["bench", "tunnel", options @ ..] => bench::tunnel(options),
        ["bench", "files", options @ ..] => bench::files(options),
        ["bench", "voice", options @ ..] => bench::voice(options),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn simulate_lines(runs: &str) -> Result<(), String> {
    run(Command::new("cargo")
        .args(["test", "--release", "--package", "tieline-sim", "--test", "ends_random", "--", "--nocapture"])
        .env("TIELINE_RUNS", runs))
}

/// Not with the released program: these lives wait for clocks most of the time.
fn simulate_files(runs: &str) -> Result<(), String> {
    run(Command::new("cargo")
        .args(["test", "--package", "tieline-transfer", "--test", "random", "--", "--nocapture"])
        .env("TIELINE_RUNS", runs))
}

/// Runs `command` at the root of the workspace to its end.
fn run(command: &mut Command) -> Result<(), String> {
    let status = command.current_dir(root()).status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
