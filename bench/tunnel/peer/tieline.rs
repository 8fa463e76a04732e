//! The product, set up as a user does: `new`, `join`, `up`.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tieline_io::namespace::NamespaceCommand;

use super::PORT;
use crate::offices::{Office, Offices};
use crate::process::{self, Daemon};

const LINE: &str = "bench";

pub(super) fn start(program: &Path, offices: &Offices) -> Result<Vec<Daemon>, String> {
    let (a, b) = (&offices.a, &offices.b);
    let listen = format!("0.0.0.0:{PORT}");
    let address = format!("{}:{PORT}", a.outside);
    let new = ["new", LINE, "--no-up", "--json", "--listen", &listen, "--address", &address];
    let made = process::must(command(program, a).args(new))?;
    let made: Value = serde_json::from_str(&made).map_err(|error| format!("{made}: {error}"))?;
    let invitation = made["invitation"].as_str().ok_or("there is no invitation")?;
    process::must(command(program, b).args(["join", invitation, "--no-up", "--name", LINE]))?;
    offices.both().into_iter().map(|office| up(program, office)).collect()
}

fn up(program: &Path, office: &Office) -> Result<Daemon, String> {
    let file = office.folder.join("etc").join(format!("{LINE}.toml"));
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = format!("address = [\"{}\"]\n{text}", office.inside_network());
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    Daemon::start(command(program, office).args(["up", "--foreground", LINE]), office.folder.join("log"))
}

fn command(program: &Path, office: &Office) -> NamespaceCommand {
    office
        .command(program)
        .env("TIELINE_CONFIG_DIR", office.folder.join("etc"))
        .env("TIELINE_RUNTIME_DIR", office.folder.join("run"))
        .env("NO_COLOR", "1")
}
