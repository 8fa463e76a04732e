//! Giving files of an outbox up, because somebody does not want them to be sent any more.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tieline_transfer::audit::{Direction, Entry, Event};
use tieline_transfer::journal::abandoned::AbandonedFile;
use tieline_transfer::moment::Moment;
use tieline_transfer::outbox::after::{After, dispose};
use tieline_transfer::outbox::{Found, Look, Rules, Scan, Sight};
use tieline_transfer::receipt::TransferId;
use tieline_transfer::spool::Mark;
use tieline_transfer::{Journal, JournalError, RelativePath, Stamp};
use tokio::sync::oneshot;
use tracing::warn;

/// Paths that are named at once.
pub const PATHS_MAX: usize = 1024;
/// Files that are cancelled at once, those in folders that are named among them.
pub const FILES_MAX: usize = 100_000;
/// Cancellations of an outbox that wait until it comes to them.
pub(super) const ORDERS_MAX: usize = 4;

/// What is to be given up, and who wants to know what came of it.
#[derive(Debug)]
pub(super) struct CancelOrder {
    pub(super) paths: Vec<RelativePath>,
    pub(super) reply: oneshot::Sender<Result<Cancelled, CancelError>>,
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cancelled {
    /// Files that are not sent any more.
    pub files: u64,
    /// Their octets.
    pub bytes: u64,
    /// How many of them are still in the outbox: they were put there by hand.
    pub staying: u64,
    /// Paths under which nothing waited.
    pub not_waiting: Vec<String>,
}

/// Why nothing was given up.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The line has no such outbox.
    #[error("the line has no outbox `{}`", .0.escape_debug())]
    NoOutbox(String),
    /// The folder is not there.
    #[error("the outbox is not there")]
    Gone,
    /// More than are cancelled at once.
    #[error("more than {FILES_MAX} files; cancel them in parts")]
    TooMany,
    /// It cannot be remembered.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// This end is going down.
    #[error("this end is going down")]
    GoingDown,
}

/// Notes that what is under `paths` is not sent any more, and removes what are only copies. Returns also which files those are.
///
/// Blocks on the disk. What is noted survives a restart.
pub(super) fn cancel(
    root: &OwnedFd,
    outbox: &str,
    journal: &Journal,
    paths: &[RelativePath],
) -> Result<(Cancelled, Vec<RelativePath>), CancelError> {
    let (mut done, mut files) = (Cancelled::default(), BTreeMap::new());
    for path in paths {
        let mut is_waiting_here = false;
        for found in found_under(root, path) {
            if files.len() >= FILES_MAX {
                return Err(CancelError::TooMany);
            }
            if is_waiting(journal, outbox, &found)? {
                is_waiting_here = true;
                files.insert(found.path.clone(), found);
            }
        }
        if !is_waiting_here {
            done.not_waiting.push(path.to_string());
        }
    }
    journal.abandon(outbox, files.values().map(noted))?;
    for Found { path, size, stamp, .. } in files.values() {
        done.files += 1;
        done.bytes += size;
        done.staying += u64::from(!remove_copy(root, path, stamp));
    }
    Ok((done, files.into_keys().collect()))
}

/// The file of this name, or all that are below the folder of this name.
fn found_under(root: &OwnedFd, path: &RelativePath) -> impl Iterator<Item = Found> {
    // What is ignored when everything is looked at may well be named.
    let rules = Rules { ignore: Vec::new(), done_suffix: None, ..Rules::default() };
    // But what was sent lies in a folder of the outbox and is not in it.
    let look = (!rules.ignores(path)).then(|| Look::At { path: path.clone(), arrived: true });
    let scan = |look| Scan::new(root.as_fd(), &rules, look).take(FILES_MAX + 1).collect::<Vec<_>>();
    look.map(scan).unwrap_or_default().into_iter().filter_map(|sight| match sight {
        Sight::File(found) => Some(found),
        Sight::Trouble(_) => None,
    })
}

/// Whether it would be sent, or was refused and is kept for nothing.
fn is_waiting(journal: &Journal, outbox: &str, found: &Found) -> Result<bool, JournalError> {
    let delivered = journal.delivered(outbox, &found.path)?;
    if delivered.is_some_and(|file| file.stamp == found.stamp) {
        return Ok(false);
    }
    let abandoned = journal.abandoned(outbox, &found.path)?;
    Ok(!abandoned.is_some_and(|file| file.stamp == found.stamp && file.reason.is_none()))
}

fn noted(found: &Found) -> (&RelativePath, AbandonedFile, Entry) {
    let Found { path, size, stamp, .. } = found;
    let entry = Entry {
        at: Moment::from(SystemTime::now()),
        event: Event::Cancelled,
        direction: Direction::Sent,
        transfer: TransferId::NONE,
        entry: 0,
        path: path.as_bytes().into(),
        size: *size,
        hash: None,
        reason: None,
        receipt: None,
    };
    (path, AbandonedFile { stamp: *stamp, reason: None }, entry)
}

/// Removes a cancelled file from the outbox if it is only a copy; false if it stays.
pub(super) fn remove_copy(root: &OwnedFd, path: &RelativePath, stamp: &Stamp) -> bool {
    if Mark::of(root.as_fd(), path).is_none() {
        return false;
    }
    let removed = dispose(root.as_fd(), path, stamp, After::Remove);
    removed.inspect_err(|error| warn!(%path, %error, "a cancelled file stays in the outbox")).is_ok()
}
