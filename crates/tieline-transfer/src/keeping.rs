//! Bringing what arrived of large files to the disk while more of them arrives, so that little is sent again after a cut.
//!
//! One file at a time: first its data, then the journal's word that it is there. While that goes on more of the file gathers, so how much
//! is held at once follows the speed of the disk.
//!
//! When data cannot be written back, the system forgets that it was to be written: a later success says nothing of it. So no more of that
//! file is held in this transfer; what was held before stays held, and the next transfer writes the rest anew.

use tokio::sync::mpsc;

use crate::content::CHAINING_VALUE_LEN;
use crate::inbox::{Inbox, journal_errno};

/// New pieces from which on it is worth a wait for the disk: 4 MiB.
pub(crate) const HOLD_PIECES: usize = 4;
/// Files that wait to be held, beside the one that is.
pub(crate) const HOLDS_MAX: usize = 1;

/// Pieces of a file that are written, but not on the disk for certain.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Its number in the journal.
    pub(crate) id: i64,
    /// The number of the first of the pieces.
    pub(crate) first: u64,
    pub(crate) pieces: Vec<[u8; CHAINING_VALUE_LEN]>,
}

/// Holds what comes until nobody sends more. What cannot be held is only sent again after a cut.
pub(crate) fn keep(inbox: &Inbox, mut holds: mpsc::Receiver<Hold>) {
    let mut lossy = None;
    while let Some(Hold { id, first, pieces }) = holds.blocking_recv() {
        if lossy == Some(id) {
            continue;
        }
        // Opened anew, so that whoever gives the file its name hears of an error as well: each opening is told of it once.
        let held = inbox
            .disk()
            .open(&id.to_string())
            .and_then(|file| file.sync_data())
            .and_then(|()| if first == 0 { inbox.disk().sync_names() } else { Ok(()) })
            .and_then(|()| inbox.journal().hold(id, first, &pieces).map_err(journal_errno));
        if let Err(error) = held {
            tracing::warn!(%error, "the rest of a file is not held");
            lossy = Some(id);
        }
    }
}
