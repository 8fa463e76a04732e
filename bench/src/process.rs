//! Processes: those that run to their end, and daemons.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_io::namespace::NamespaceCommand;

/// The kernel counts processor time in these (`USER_HZ`; 100 a second on every Linux that we know).
const TICKS_PER_SECOND: f64 = 100.0;
/// Where the two times are that a process used itself, and those of its children that have ended, behind the name in `/proc/PID/stat`: the
/// 14th and 15th field, and the two after them.
const OWN_TIMES: usize = 11;
const CHILDREN_TIMES: usize = 13;
/// Rows of a daemon's log that are shown when something fails.
const LOG_ROWS: usize = 15;

/// Runs a command to its end, which must be a good one, and returns what it wrote.
///
/// # Errors
///
/// What it said.
pub fn must(command: NamespaceCommand) -> Result<String, String> {
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
#[must_use]
pub fn is_installed(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where administrators' programs are, also if they are not on the path.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Those of them that are not installed.
#[must_use]
pub fn missing(programs: &[PathBuf]) -> Vec<String> {
    let absent = programs.iter().filter(|program| !is_installed(program));
    absent.map(|program| program.display().to_string()).collect()
}

/// # Errors
///
/// Which one of them is not installed.
pub fn need(programs: &[&str]) -> Result<(), String> {
    match programs.iter().find(|program| !is_installed(program.as_ref())) {
        Some(absent) => Err(format!("{absent} is not installed, and nothing can be measured without it")),
        None => Ok(()),
    }
}

/// What a program calls itself: the first row that it writes when asked with `argument`.
#[must_use]
pub fn version(program: &Path, argument: &str) -> String {
    let output = match Command::new(program).arg(argument).output() {
        Ok(output) => output,
        Err(error) => return error.to_string(),
    };
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    said.lines().find(|row| !row.trim().is_empty()).unwrap_or("it does not say").trim().to_owned()
}

/// Seconds of processor time of all processes that this one started and saw end, and of those that they saw end.
///
/// # Errors
///
/// What the kernel did not say.
pub fn children_seconds() -> Result<f64, String> {
    let text = fs::read_to_string("/proc/self/stat").map_err(|error| format!("/proc/self/stat: {error}"))?;
    ticks(&text, CHILDREN_TIMES)
}

/// A daemon; dropped, it is killed.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it says goes to `log`.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub fn start(command: NamespaceCommand, log: PathBuf) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", log.display());
        let file = File::create(&log).map_err(fault)?;
        let errors = file.try_clone().map_err(fault)?;
        let command = command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().map_err(|error| format!("cannot start a daemon: {error}"))?;
        Ok(Self { child, log })
    }

    /// Seconds of processor time since it was started, of all its threads.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn processor_seconds(&self) -> Result<f64, String> {
        ticks(&self.proc("stat")?, OWN_TIMES)
    }

    /// The most memory that was resident at once, in KiB.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn peak_kib(&self) -> Result<u64, String> {
        let text = self.proc("status")?;
        let peak = text.lines().find_map(|row| row.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|row| row.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.ok_or("the kernel does not say how much memory the daemon had".into())
    }

    /// Tells it to end, as a person would, and waits so long for it.
    pub fn terminate(mut self, limit: Duration) {
        let pid = self.child.id().to_string();
        // What cannot be told is killed at the end of this.
        let _ = Command::new("sh").args(["-c", "kill \"$0\"", &pid]).status();
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
    }

    /// The end of what it said.
    #[must_use]
    pub fn log(&self) -> String {
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

/// Seconds of two fields of `/proc/PID/stat`.
fn ticks(text: &str, first: usize) -> Result<f64, String> {
    // The second field is a name that may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = fields.split_whitespace().skip(first).map(|field| field.parse::<u64>().ok());
    let (user, system) = (times.next().flatten(), times.next().flatten());
    let ticks = user.zip(system).map(|(user, system)| user + system);
    ticks.map(|ticks| ticks as f64 / TICKS_PER_SECOND).ok_or(format!("not understood: {text}"))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_that_holds_anything() {
        let text = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 3 4 20 0 1 0 99";
        assert_eq!((ticks(text, OWN_TIMES), ticks(text, CHILDREN_TIMES)), (Ok(2.0), Ok(0.07)));
        assert!(ticks("7 (a) S 1", OWN_TIMES).is_err());
    }
}
