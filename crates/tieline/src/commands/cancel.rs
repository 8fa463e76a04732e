//! `cancel`: files that are not to be sent any more.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tieline_node::api::client::{Client, ClientError};
use tieline_node::files::outgoing::{OutgoingStatus, cancel::Cancelled};
use tieline_node::places::{LineName, Places};

use super::status::octets;
use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::{output, process};

/// Give up files that wait to be sent
///
/// They are not sent any more unless they change, and the log has them as cancelled. What `tieline send` put into the outbox is removed
/// from it; files that were put there by hand stay where they are. A file that is on its way is given up where it is, and the far end
/// keeps nothing of it; if its end is sent already, it may arrive all the same.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The line
    name: LineName,

    /// Files and folders, by the names below the outbox that `tieline transfers` shows, or by their full paths
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The name of the pair of folders; the line's own outbox if none is given
    #[arg(long, value_name = "PAIR", default_value = "", hide_default_value = true)]
    pair: String,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Why nothing, or not everything, was given up.
#[derive(Debug, thiserror::Error)]
enum CancelFailure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{} is in no outbox of this line; `tieline transfers` shows where they are", .0.display())]
    NoOutbox(PathBuf),
    #[error("not everything that was named was waiting; the report above says what was not")]
    NotWaiting,
}

impl CommandError for CancelFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::NoOutbox(_) => Exit::Wrong,
            Self::Client(_) | Self::NotWaiting => Exit::Failed,
        }
    }

    fn is_in_report(&self) -> bool {
        matches!(self, Self::NotWaiting)
    }
}

#[derive(Default, Serialize)]
#[serde(transparent)]
struct Report(Cancelled);

/// Gives them up.
///
/// # Errors
///
/// If the line is not up, or something that was named does not wait.
pub(crate) fn run(places: &Places, args: &CancelArgs) -> Result<(), Failure> {
    let client = Client::new(&places.files(&args.name).socket);
    let report = process::runtime()?.block_on(cancel(&client, args))?;
    let is_whole = report.0.not_waiting.is_empty();
    output::report(args.reporting.json, &report)?;
    if is_whole { Ok(()) } else { Err(CancelFailure::NotWaiting.into()) }
}

async fn cancel(client: &Client, args: &CancelArgs) -> Result<Report, CancelFailure> {
    let outboxes = client.transfers().await?;
    let mut named: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    for path in &args.paths {
        let (outbox, name) = place(&outboxes, &args.pair, path)?;
        match named.iter_mut().find(|(other, _)| *other == outbox) {
            Some((_, names)) => names.push(name),
            None => named.push((outbox, vec![name])),
        }
    }
    let mut all = Cancelled::default();
    for (outbox, names) in named {
        let Cancelled { files, bytes, staying, not_waiting } = client.cancel(&outbox, names).await?;
        all.files += files;
        all.bytes += bytes;
        all.staying += staying;
        all.not_waiting.extend(not_waiting);
    }
    Ok(Report(all))
}

/// In which outbox a path is, and under which name.
fn place(outboxes: &[OutgoingStatus], pair: &str, path: &Path) -> Result<(String, Vec<u8>), CancelFailure> {
    if path.is_relative() {
        // `photos/` is what shells make of `photos`, and some people write `./photos`.
        let name: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        return Ok((pair.to_owned(), name.as_os_str().as_bytes().to_vec()));
    }
    let below = |outbox: &OutgoingStatus| {
        let name = path.strip_prefix(&outbox.folder).ok()?.as_os_str().as_bytes().to_vec();
        Some((outbox.name.clone(), name))
    };
    outboxes.iter().find_map(below).ok_or_else(|| CancelFailure::NoOutbox(path.into()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cancelled { files, bytes, staying, not_waiting } = &self.0;
        for name in not_waiting {
            writeln!(f, "{name}: nothing of this name waits")?;
        }
        writeln!(f, "{files} files, {}, are not sent any more", octets(*bytes))?;
        if *staying > 0 {
            writeln!(f, "{staying} of them were put into the outbox by hand, and stay there")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_name_below_an_outbox_or_leads_into_one() {
        let outbox = |name: &str, folder: &str| OutgoingStatus {
            name: name.into(),
            folder: folder.into(),
            ..OutgoingStatus::default()
        };
        let outboxes = [outbox("", "/var/lib/tieline/line/outbox"), outbox("accounts", "/srv/out")];
        for (path, expected) in [
            ("a", Some(("mail", "a"))),
            ("photos/", Some(("mail", "photos"))),
            ("./a/b", Some(("mail", "a/b"))),
            ("/srv/out/a/b", Some(("accounts", "a/b"))),
            ("/srv/out/", Some(("accounts", ""))),
            ("/var/lib/tieline/line/outbox/x", Some(("", "x"))),
            ("/srv/outer/a", None),
        ] {
            let found = place(&outboxes, "mail", Path::new(path)).ok();
            let expected = expected.map(|(name, path)| (name.to_owned(), path.as_bytes().to_vec()));
            assert_eq!(found, expected, "{path}");
        }
    }
}
