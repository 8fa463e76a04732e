//! A line made as a user makes it: `new` at one end, `join` at the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::NamespaceCommand;

use crate::offices::{Office, Offices};
use crate::process::{self, Daemon};

/// The name of the line.
pub const LINE: &str = "bench";
/// Where the first end listens.
pub const PORT: u16 = 51820;
/// How long the ends may take to be up.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// Makes the line. `ends` prepare the program at each end, without arguments; the first is reached at `address`.
///
/// # Errors
///
/// What the program said.
pub fn make(ends: [&dyn Fn() -> NamespaceCommand; 2], address: impl std::fmt::Display) -> Result<(), String> {
    let listen = format!("0.0.0.0:{PORT}");
    let address = format!("{address}:{PORT}");
    let new = ["new", LINE, "--no-up", "--json", "--listen", &listen, "--address", &address];
    let made = process::must(ends[0]().args(new))?;
    let made: Value = serde_json::from_str(&made).map_err(|error| format!("{made}: {error}"))?;
    let invitation = made["invitation"].as_str().ok_or("there is no invitation")?;
    process::must(ends[1]().args(["join", invitation, "--no-up", "--name", LINE])).map(drop)
}

/// Tells the program where an end's files are: below `folder`.
#[must_use]
pub fn with_places(command: NamespaceCommand, folder: &Path) -> NamespaceCommand {
    command
        .env("TIELINE_CONFIG_DIR", folder.join("etc"))
        .env("TIELINE_RUNTIME_DIR", folder.join("run"))
        .env("NO_COLOR", "1")
}

/// Changes the configuration of an end whose files are below `folder`.
///
/// # Errors
///
/// What the system said.
pub fn configure(folder: &Path, change: impl FnOnce(String) -> String) -> Result<(), String> {
    let file = folder.join("etc").join(format!("{LINE}.toml"));
    let fault = |error: std::io::Error| format!("{}: {error}", file.display());
    let text = fs::read_to_string(&file).map_err(fault)?;
    fs::write(&file, change(text)).map_err(fault)
}

/// Prepares the program as an administrator of that office calls it.
#[must_use]
pub fn command(program: &Path, office: &Office) -> NamespaceCommand {
    with_places(office.command(program), &office.folder)
}

/// Where what is sent to an office appears.
#[must_use]
pub fn inbox(office: &Office) -> PathBuf {
    office.folder.join("etc").join(LINE).join("inbox")
}

/// Makes a line and brings both ends up; `change` is given the configuration of each end with its place, 0 or 1.
///
/// # Errors
///
/// What went wrong; nothing is left running.
pub fn start(
    program: &Path,
    offices: &Offices,
    change: impl Fn(usize, String) -> String,
) -> Result<Vec<Daemon>, String> {
    let ends = offices.both();
    make([&|| command(program, ends[0]), &|| command(program, ends[1])], offices.a.outside)?;
    let mut daemons = Vec::new();
    for (place, end) in ends.into_iter().enumerate() {
        configure(&end.folder, |text| change(place, text))?;
        let up = command(program, end).args(["up", "--foreground", LINE]);
        daemons.push(Daemon::start(up, end.folder.join("log"))?);
    }
    let deadline = Instant::now() + UP_WITHIN;
    // Without an end that runs, other commands would bring up one of their own.
    while !ends.iter().all(|end| end.folder.join("run").join(format!("{LINE}.sock")).exists()) {
        if Instant::now() > deadline {
            let logs = daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n");
            return Err(format!("the ends do not come up\n{logs}"));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(daemons)
}
