//! The product, set up as a user does: `new`, `join`, `up`.

use std::fs;
use std::path::Path;

use tieline_bench::line::{self, LINE};
use tieline_bench::process::Daemon;
use tieline_io::namespace::NamespaceCommand;

use crate::offices::{Office, Offices};

/// What runs an end, with the line's name behind these arguments.
pub(super) struct Up<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [&'a str],
}

/// Makes the line with `program` and has its ends run by `ends`.
pub(super) fn start(program: &Path, ends: &Up<'_>, offices: &Offices) -> Result<Vec<Daemon>, String> {
    let (a, b) = (&offices.a, &offices.b);
    line::make([&|| command(program, a), &|| command(program, b)], a.outside)?;
    offices.both().into_iter().map(|office| up(ends, office)).collect()
}

fn up(ends: &Up<'_>, office: &Office) -> Result<Daemon, String> {
    let file = office.folder.join("etc").join(format!("{LINE}.toml"));
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = format!("address = [\"{}\"]\n{text}", office.inside_network());
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let up = command(ends.program, office).args(ends.arguments).args([LINE]);
    Daemon::start(up, office.folder.join("log"))
}

fn command(program: &Path, office: &Office) -> NamespaceCommand {
    office
        .command(program)
        .env("TIELINE_CONFIG_DIR", office.folder.join("etc"))
        .env("TIELINE_RUNTIME_DIR", office.folder.join("run"))
        .env("NO_COLOR", "1")
}
