//! The product, set up as a user does: `new`, `join`, `up`.

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
    let address = office.inside_network();
    line::configure(&office.folder, |text| format!("address = [\"{address}\"]\n{text}"))?;
    let up = command(ends.program, office).args(ends.arguments).args([LINE]);
    Daemon::start(up, office.folder.join("log"))
}

fn command(program: &Path, office: &Office) -> NamespaceCommand {
    line::with_places(office.command(program), &office.folder)
}
