//! Processes: those that run to their end, and the daemons of a tunnel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tieline_io::namespace::NamespaceCommand;

/// The kernel counts processor time in these (`USER_HZ`; 100 a second on every Linux that we know).
const TICKS_PER_SECOND: f64 = 100.0;
/// Rows of a daemon's log that are shown when something fails.
const LOG_ROWS: usize = 15;

/// Runs a command to its end, which must be a good one, and returns what it wrote.
///
/// # Errors
///
/// What it said.
pub(crate) fn must(command: NamespaceCommand) -> Result<String, String> {
    let what = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}{text}", output.status, error))
}

/// Whether a program can be run: a file, or a name of one where programs are.
pub(crate) fn is_installed(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where administrators' programs are, also if they are not on the path.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// A daemon; dropped, it is killed.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(command: NamespaceCommand, log: PathBuf) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", log.display());
        let file = File::create(&log).map_err(fault)?;
        let errors = file.try_clone().map_err(fault)?;
        let command = command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().map_err(|error| format!("cannot start a daemon: {error}"))?;
        Ok(Self { child, log })
    }

    /// Seconds of processor time since it was started, of all its threads.
    pub(crate) fn processor_seconds(&self) -> Result<f64, String> {
        let text = self.proc("stat")?;
        // The second field is a name that may hold anything; user and system time are the 14th and 15th.
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Option<u64> =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
        ticks.map(|ticks| ticks as f64 / TICKS_PER_SECOND).ok_or(format!("not understood: {text}"))
    }

    /// The most memory that was resident at once, in KiB.
    pub(crate) fn peak_kib(&self) -> Result<u64, String> {
        let text = self.proc("status")?;
        let peak = text.lines().find_map(|row| row.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|row| row.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.ok_or("the kernel does not say how much memory the daemon had".into())
    }

    /// The end of what it said.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let rows: Vec<&str> = text.lines().collect();
        rows[rows.len().saturating_sub(LOG_ROWS)..].join("\n")
    }

    fn proc(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).map_err(|error| format!("the daemon is gone: {path}: {error}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
