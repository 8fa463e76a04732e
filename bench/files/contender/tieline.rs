//! The program, as its user has it: a line that is up at both ends.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_bench::line::{self, LINE};
use tieline_bench::offices::Offices;
use tieline_bench::process::{self, Daemon};

use super::{Job, finish, limited};
use crate::case::Case;
use crate::content::NAME;
use crate::options::Options;

/// How often it is looked whether something has happened.
const LOOK_EACH: Duration = Duration::from_millis(1);

/// Brings the line up, and sends an octet, so that the ends have met, as they have on a line that is up.
///
/// # Errors
///
/// What went wrong.
pub(super) fn start(options: &Options, case: Case, offices: &Offices) -> Result<Vec<Daemon>, String> {
    let program = &options.tieline;
    let daemons = line::start(program, offices, |_, text| {
        if case.is_fixed() {
            format!("{text}\n[transfer]\npolicy = \"fixed\"\nrate = \"{} Mbit/s\"\n", options.line_mbit)
        } else {
            text
        }
    })?;
    let logs = || daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n");
    let first = offices.a.write("first", "1")?;
    let sent = process::must(line::command(program, &offices.a).args(["send", "--wait", LINE]).arg(first));
    sent.map_err(|problem| format!("{problem}\n{}", logs()))?;
    fs::remove_file(line::inbox(&offices.b).join("first")).map_err(|error| error.to_string())?;
    Ok(daemons)
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
    finish(line::with_places(command, &offices.a.folder))
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
