//! The way into namespaces of our own, and tests that need a process of their own.

use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::{Completion, Failed};
use tieline_io::{namespace, tun};

/// A test: its name, a sentence, and what it does.
pub(crate) type Test = (&'static str, fn());

/// Names the test that this process is to run instead of the whole file.
const PROBE_VARIABLE: &str = "TIELINE_IO_PROBE";

/// Names an empty folder for that test, which the process that started it removes: a confined one could not.
const FOLDER_VARIABLE: &str = "TIELINE_IO_PROBE_FOLDER";

/// How a probe says that the system lacks what it tests.
const EXIT_IGNORED: i32 = 77;

/// Leaves the machine's network for an empty one in which we may do everything.
pub(crate) fn enter() -> Result<(), String> {
    namespace::acquire().map_err(|error| error.to_string())?;
    namespace::isolate_network().map_err(|error| error.to_string())?;
    tun::check_available().map_err(|error| error.to_string())
}

/// Runs the test `name` in a process of its own, which starts with one thread and all rights of this one.
pub(crate) fn run_probe(name: &str) -> Result<Completion, Failed> {
    let folder = tempfile::tempdir()?;
    let mut probe = Command::new(std::env::current_exe()?);
    let output = probe.env(PROBE_VARIABLE, name).env(FOLDER_VARIABLE, folder.path()).output()?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    match output.status.code() {
        Some(0) => Ok(Completion::Completed),
        Some(EXIT_IGNORED) => Ok(Completion::ignored_with(text(&output.stdout))),
        _ => Err(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into()),
    }
}

/// Does not return if this process was started by [`run_probe`].
pub(crate) fn run_probe_if_asked(probes: &[Test]) {
    let Ok(wanted) = std::env::var(PROBE_VARIABLE) else { return };
    let (_, probe) =
        probes.iter().find(|(name, _)| *name == wanted).expect("only our own tests are asked for");
    probe();
    std::process::exit(0);
}

/// The folder of this probe.
pub(crate) fn probe_folder() -> PathBuf {
    std::env::var_os(FOLDER_VARIABLE).expect("whoever starts a probe gives it a folder").into()
}

/// Ends a probe as ignored.
#[allow(clippy::print_stdout, reason = "the test that started us reads it")]
pub(crate) fn ignore(reason: &str) -> ! {
    print!("{reason}");
    std::process::exit(EXIT_IGNORED)
}
