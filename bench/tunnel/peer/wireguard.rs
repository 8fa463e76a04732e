//! Programs that are set up as WireGuard is, by `wg` over a socket.

use std::ffi::OsStr;
use std::path::Path;

use tieline_bench::process::Daemon;
use tieline_bench::wireguard::{self, End};
use tieline_io::namespace::NamespaceCommand;

use crate::offices::{Office, Offices, PREFIX_LEN};

pub(super) fn start(program: &Path, arguments: &[&str], offices: &Offices) -> Result<Vec<Daemon>, String> {
    let [a, b] = offices.both();
    let (at_a, at_b) = (|program: &OsStr| a.command(program), |program: &OsStr| b.command(program));
    wireguard::start(program, arguments, [&end(a, &at_a), &end(b, &at_b)], PREFIX_LEN)
}

fn end<'a>(office: &'a Office, command: &'a dyn Fn(&OsStr) -> NamespaceCommand) -> End<'a> {
    End { command, folder: &office.folder, outside: office.outside, inside: office.inside }
}
