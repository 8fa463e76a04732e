//! The program, as its user has it: a line that is up at both ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_bench::line::{self, LINE};
use tieline_bench::process::{self, Daemon};
use tieline_io::namespace::NamespaceCommand;

use super::{Job, finish, limited};
use crate::case::Case;
use crate::content::NAME;
use crate::offices::{Office, Offices};
use crate::options::Options;

/// How long the ends may take to be up.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether something has happened.
const LOOK_EACH: Duration = Duration::from_millis(1);

/// Brings the line up, and sends an octet, so that the ends have met, as they have on a line that is up.
///
/// # Errors
///
/// What went wrong.
pub(super) fn start(options: &Options, case: Case, offices: &Offices) -> Result<Vec<Daemon>, String> {
    let (program, ends) = (&options.tieline, [&offices.a, &offices.b]);
    line::make([&|| command(program, ends[0]), &|| command(program, ends[1])], offices.a.address)?;
    let mut daemons = Vec::new();
    for end in ends {
        if case.is_fixed() {
            append(
                &end.folder.join("etc").join(format!("{LINE}.toml")),
                &format!("\n[transfer]\npolicy = \"fixed\"\nrate = \"{} Mbit/s\"\n", options.line_mbit),
            )?;
        }
        let up = command(program, end).args(["up", "--foreground", LINE]);
        daemons.push(Daemon::start(up, end.folder.join("log"))?);
    }
    let logs = || daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n");
    let deadline = Instant::now() + UP_WITHIN;
    // Without an end that runs, `send` would bring up one of its own.
    while !ends.iter().all(|end| end.folder.join("run").join(format!("{LINE}.sock")).exists()) {
        if Instant::now() > deadline {
            return Err(format!("the ends do not come up\n{}", logs()));
        }
        sleep(LOOK_EACH);
    }
    let first = offices.a.write("first", "1")?;
    let sent = process::must(command(program, &offices.a).args(["send", "--wait", LINE]).arg(first));
    sent.map_err(|problem| format!("{problem}\n{}", logs()))?;
    fs::remove_file(inbox(&offices.b).join("first")).map_err(|error| error.to_string())?;
    Ok(daemons)
}

/// Where what is sent appears.
pub(super) fn inbox(office: &Office) -> PathBuf {
    office.folder.join("etc").join(LINE).join("inbox")
}

/// Sends the folder; where the far end has an old version of it, as a mirror.
///
/// # Errors
///
/// What the program said.
pub(super) fn transfer(program: &Path, offices: &Offices, job: &Job<'_>) -> Result<(), String> {
    let limited = limited(offices.a.command("timeout"), job.options.limit).arg(program);
    let command = if job.case.is_delta() {
        limited.args(["sync", LINE]).arg(job.source).arg(NAME)
    } else {
        limited.args(["send", "--wait", LINE]).arg(job.source)
    };
    finish(with_places(command, &offices.a))
}

/// Renames a file into the outbox and waits until it is gone from there, which it is when its receipt is kept.
///
/// # Errors
///
/// What did not happen.
pub(super) fn put_into_outbox(offices: &Offices, job: &Job<'_>) -> Result<(), String> {
    let outbox = offices.a.folder.join("etc").join(LINE).join("outbox").join(NAME);
    fs::rename(job.source, &outbox).map_err(|error| format!("{}: {error}", outbox.display()))?;
    let deadline = Instant::now() + job.options.limit;
    while outbox.exists() {
        if Instant::now() > deadline {
            return Err("time is up".into());
        }
        sleep(LOOK_EACH);
    }
    Ok(())
}

fn command(program: &Path, office: &Office) -> NamespaceCommand {
    with_places(office.command(program), office)
}

fn with_places(command: NamespaceCommand, office: &Office) -> NamespaceCommand {
    command
        .env("TIELINE_CONFIG_DIR", office.folder.join("etc"))
        .env("TIELINE_RUNTIME_DIR", office.folder.join("run"))
        .env("NO_COLOR", "1")
}

fn append(file: &Path, text: &str) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("{}: {error}", file.display());
    let before = fs::read_to_string(file).map_err(fault)?;
    fs::write(file, before + text).map_err(fault)
}
