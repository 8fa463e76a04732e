//! `cargo xtask fuzz`: builds the fuzz targets on stable Rust and runs them, two at a time if there are two cores.
//!
//! No tool is needed beyond a C++ compiler for libFuzzer: `fuzz/instrumented-rustc` adds the instrumentation. Inputs worth keeping
//! are collected in `fuzz/corpus`, what makes a target fail goes to `fuzz/artifacts`; run the target on that file to see it again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::{root, run as run_command};

/// What to run, and for how long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    seconds: Option<u64>,
    inputs: Option<u64>,
    /// All, if empty.
    targets: Vec<String>,
}

impl Options {
    /// # Errors
    ///
    /// What is wrong with the arguments, in a sentence.
    pub(crate) fn parse(mut arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        while let [first, rest @ ..] = arguments {
            let limit = || {
                let value = rest.first().ok_or(format!("{first} needs a number"))?;
                value.parse().map(Some).map_err(|error| format!("{first} {value}: {error}"))
            };
            match *first {
                "--seconds" => options.seconds = limit()?,
                "--inputs" => options.inputs = limit()?,
                unknown if unknown.starts_with('-') => {
                    return Err(format!("{unknown}: there is no such option"));
                }
                target => {
                    options.targets.push(target.into());
                    arguments = rest;
                    continue;
                }
            }
            arguments = &rest[1..];
        }
        if options.seconds.is_none() && options.inputs.is_none() {
            options.seconds = Some(60);
        }
        Ok(options)
    }
}

/// Builds and runs the targets and prints a table of what they did.
///
/// # Errors
///
/// Which targets failed, after all have run.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let fuzz = root().canonicalize().map_err(|error| error.to_string())?.join("fuzz");
    let targets = select(&all_targets(&fuzz)?, &options.targets)?;
    let triple = host()?;
    let target_folder = fuzz.join("target");
    run_command(
        Command::new("cargo")
            .args(["build", "--release", "--target", &triple, "--manifest-path"])
            .arg(fuzz.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target_folder)
            .env("RUSTC_WRAPPER", fuzz.join("instrumented-rustc"))
            .env_remove("RUSTFLAGS"),
    )?;
    let programs = target_folder.join(triple).join("release");

    println!("| {:<20} | {:>11} | {:>7} | {:>8} | result", "target", "inputs", "seconds", "coverage");
    let (queue, failed) = (Mutex::new(targets.into_iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().expect("no thread panics").next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let outcome = run_target(&fuzz, &programs, &target, options);
                    println!("| {target:<20} | {outcome}");
                    if let Some(failure) = outcome.failure {
                        failed.lock().expect("no thread panics").push(format!("--- {target}\n{failure}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// What a target did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    inputs: u64,
    seconds: u64,
    /// Edges of instrumented code that were reached.
    coverage: u64,
    /// What it said before it failed.
    failure: Option<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = if self.failure.is_none() { "no crash" } else { "FAILED" };
        write!(f, "{:>11} | {:>7} | {:>8} | {result}", self.inputs, self.seconds, self.coverage)
    }
}

fn run_target(fuzz: &Path, programs: &Path, target: &str, options: &Options) -> Outcome {
    match command_of(fuzz, programs, target, options).and_then(|mut command| command.output()) {
        Ok(output) => {
            // libFuzzer writes everything to standard error.
            let log = String::from_utf8_lossy(&output.stderr);
            let mut outcome = read_log(&log);
            if !output.status.success() {
                outcome.failure = Some(tail(&log));
            }
            outcome
        }
        Err(error) => Outcome { failure: Some(error.to_string()), ..Outcome::default() },
    }
}

fn command_of(fuzz: &Path, programs: &Path, target: &str, options: &Options) -> std::io::Result<Command> {
    let [corpus, artifacts] = ["corpus", "artifacts"].map(|folder| fuzz.join(folder).join(target));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(programs.join(target));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024"]);
    command.arg(format!("-max_len={}", input_len_max(target)));
    if let Some(seconds) = options.seconds {
        command.arg(format!("-max_total_time={seconds}"));
    }
    if let Some(inputs) = options.inputs {
        command.arg(format!("-runs={inputs}"));
    }
    let dictionary = fuzz.join("dictionaries").join(target);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.arg(corpus);
    let seeds = fuzz.join("seeds").join(target);
    if seeds.exists() {
        command.arg(seeds);
    }
    Ok(command)
}

/// Octets that an input may have: no more than a target looks at, or than show something that fewer do not.
fn input_len_max(target: &str) -> usize {
    match target {
        // As many mistakes as are made.
        "invitation_typo" => 256,
        // As many steps as are taken; files of several times the usual length.
        "config" | "join" | "key_file" | "session" | "wg_quick" => 1024,
        // As many steps as are taken; more groups than an invitation has, and than are compared with their places.
        "associated_channel" | "invitation" => 2048,
        _ => 4096,
    }
}

fn read_log(log: &str) -> Outcome {
    let number_after = |row: &str, label: &str| -> Option<u64> {
        let rest = row.split_once(label)?.1.trim_start();
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    };
    let last = |label: &str| log.lines().rev().find_map(|row| number_after(row, label)).unwrap_or_default();
    Outcome {
        inputs: last("stat::number_of_executed_units:"),
        seconds: log
            .lines()
            .rev()
            .find(|row| row.starts_with("Done "))
            .and_then(|row| number_after(row, " runs in "))
            .unwrap_or_default(),
        coverage: last(" cov: "),
        failure: None,
    }
}

/// The end of a log without libFuzzer's rows of progress.
fn tail(log: &str) -> String {
    let rows: Vec<&str> = log.lines().filter(|row| !row.starts_with('#')).collect();
    rows[rows.len().saturating_sub(TAIL_ROWS)..].join("\n")
}

fn all_targets(fuzz: &Path) -> Result<Vec<String>, String> {
    let folder = fuzz.join("targets");
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let files = read().map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut targets: Vec<String> =
        files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    targets.sort();
    Ok(targets)
}

fn select(all: &[String], wanted: &[String]) -> Result<Vec<String>, String> {
    if let Some(unknown) = wanted.iter().find(|target| !all.contains(target)) {
        return Err(format!("there is no target {unknown}; there are {}", all.join(", ")));
    }
    Ok(if wanted.is_empty() { all.to_vec() } else { wanted.to_vec() })
}

/// The machine that rustc builds for, by its triple. Given to cargo it keeps macros and build scripts apart from the targets.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc -vV: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|row| row.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".into())
}

const TAIL_ROWS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_limits_and_targets_in_any_order() {
        let options = Options::parse(&["ip", "--inputs", "1000", "label", "--seconds", "5"]).unwrap();
        assert_eq!(
            options,
            Options { seconds: Some(5), inputs: Some(1000), targets: vec!["ip".into(), "label".into()] }
        );
    }

    #[test]
    fn without_a_limit_a_run_ends_all_the_same() {
        assert_eq!(Options::parse(&[]).unwrap().seconds, Some(60));
        assert_eq!(Options::parse(&["--inputs", "1"]).unwrap().seconds, None);
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for wrong in [&["--seconds"][..], &["--seconds", "many"], &["--minutes", "1"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn figures_are_read_from_what_libfuzzer_prints() {
        let log = "#8388608\tpulse  cov: 62 ft: 66 corp: 13/664b exec/s: 1677721 rss: 27Mb\n\
                   #10368655\tDONE   cov: 63 ft: 66 corp: 13/664b exec/s: 1481236 rss: 27Mb\n\
                   Done 10368655 runs in 7 second(s)\n\
                   stat::number_of_executed_units: 10368655\n";
        let expected = Outcome { inputs: 10_368_655, seconds: 7, coverage: 63, failure: None };
        assert_eq!(read_log(log), expected);
    }

    #[test]
    fn target_that_does_not_exist_is_named() {
        let all = ["ip".to_owned(), "label".to_owned()];
        assert!(select(&all, &["ipv5".to_owned()]).unwrap_err().contains("ipv5"));
        assert_eq!(select(&all, &[]).unwrap(), all);
    }
}
