//! Frames become files: the receiver's side of the protocol, one frame after the other.
//!
//! ```text
//!              folder ─▶ ready           file (refused) ─▶ discarding ─┐
//!                ┌────┐                                                │ data, until file end or abandon
//!   ────────────▶│idle│◀───────────────────────────────────────────────┘
//!                └────┘ file ─▶ growing ─ data ─▶ growing ─ file end ─▶ ready
//!                  │                         └ disk says no ─▶ discarding
//!                  ▼ end
//! ```
//!
//! What the sender may not do at all is a [`Violation`] and ends the transfer; what only concerns one entry is a verdict
//! on it, and the rest goes on.

use std::io::Write;
use std::sync::Arc;

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens};
use tokio::sync::mpsc;

use crate::inbox::{Admission, Partial};
use crate::outcome::{EntryKind, EntryReport, Fate, Fault, Progress};
use crate::path::{PATH_LEN_MAX, RelativePath};
use crate::protocol::{FileOffer, FileTime, FolderOffer, HASH_LEN, SenderMessage, Verdict, Violation};
use crate::publish::{Content, Ready};
use crate::reason::Obstacle;

/// Permission bits that a file keeps; the owner may always read and write it.
const FILE_MODE: u32 = 0o755;
const FILE_MODE_ALWAYS: u32 = 0o600;
/// Permission bits that a folder keeps; the owner may always use it.
const FOLDER_MODE: u32 = 0o755;
const FOLDER_MODE_ALWAYS: u32 = 0o700;

/// An entry and what became of it, on its way to the sender and to whoever watches.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) entry: u64,
    /// Goes to the sender; none if the sender itself gave the entry up.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) report: EntryReport,
}

/// Takes frames in order; see the module.
pub(crate) struct Assembly {
    admission: Arc<Admission>,
    folder: Option<RelativePath>,
    announced: u64,
    next_entry: u64,
    state: State,
    ready: mpsc::Sender<Ready>,
    settled: mpsc::Sender<Settled>,
    progress: Arc<dyn Progress>,
}

enum State {
    Idle,
    Growing(Box<Growing>),
    Discarding { entry: u64, left: u64 },
}

struct Growing {
    entry: u64,
    path: RelativePath,
    offered: RelativePath,
    size: u64,
    left: u64,
    mode: u32,
    modified: FileTime,
    partial: Partial,
    hasher: blake3::Hasher,
}

impl Assembly {
    /// Begins a transfer of up to `announced` entries into `folder` below the inbox.
    pub(crate) fn new(
        admission: Arc<Admission>,
        folder: Option<RelativePath>,
        announced: u64,
        ready: mpsc::Sender<Ready>,
        settled: mpsc::Sender<Settled>,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let (next_entry, state) = (0, State::Idle);
        Self { admission, folder, announced, next_entry, state, ready, settled, progress }
    }

    /// Whether the transfer was given up, so that nobody waits for what becomes of it.
    pub(crate) fn is_alone(&self) -> bool {
        self.settled.is_closed()
    }

    /// Handles one frame; true after the sender's end. Blocks on the disk and while nobody takes the results.
    ///
    /// # Errors
    ///
    /// The violation that ends the transfer.
    pub(crate) fn handle_frame(&mut self, frame: &[u8]) -> Result<bool, Violation> {
        let message = SenderMessage::parse(frame)?;
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.state = match (state, message) {
            (state, SenderMessage::Unknown(kind)) => {
                tracing::debug!(kind, "a message of a later version is ignored");
                state
            }
            (State::Idle, SenderMessage::Folder(offer)) => self.on_folder(offer)?,
            (State::Idle, SenderMessage::File(offer)) => self.on_file(offer)?,
            (State::Idle, SenderMessage::End) => return Ok(true),
            (State::Growing(growing), SenderMessage::Data(data)) => self.on_data(growing, data)?,
            (State::Growing(growing), SenderMessage::FileEnd { hash }) => self.on_file_end(*growing, hash),
            (State::Growing(growing), SenderMessage::Abandon { code }) => self.on_abandon(*growing, code),
            (State::Discarding { entry, left }, SenderMessage::Data(data)) => {
                let left = left.checked_sub(data.len() as u64).ok_or(Violation::BeyondSize(entry))?;
                State::Discarding { entry, left }
            }
            (State::Discarding { .. }, SenderMessage::FileEnd { .. } | SenderMessage::Abandon { .. }) => {
                State::Idle
            }
            (
                State::Idle,
                SenderMessage::Hello(_)
                | SenderMessage::Data(_)
                | SenderMessage::FileEnd { .. }
                | SenderMessage::Abandon { .. },
            )
            | (
                State::Growing(_) | State::Discarding { .. },
                SenderMessage::Hello(_)
                | SenderMessage::Folder(_)
                | SenderMessage::File(_)
                | SenderMessage::End,
            ) => return Err(Violation::OutOfPlace(message.kind())),
        };
        Ok(false)
    }

    fn on_folder(&mut self, offer: FolderOffer<'_>) -> Result<State, Violation> {
        self.take_number(offer.entry)?;
        match self.place(offer.path) {
            Ok((offered, path)) => {
                let mode = Mode::from_raw_mode((offer.mode & FOLDER_MODE) | FOLDER_MODE_ALWAYS);
                self.hand_on(Ready { entry: offer.entry, offered, path, content: Content::Folder { mode } });
            }
            Err(obstacle) => {
                self.settle(offer.entry, offer.path, EntryKind::Folder, 0, Verdict::Refused(obstacle));
            }
        }
        Ok(State::Idle)
    }

    fn on_file(&mut self, offer: FileOffer<'_>) -> Result<State, Violation> {
        self.take_number(offer.entry)?;
        let verdict = match self.begin(&offer) {
            Ok(growing) => {
                self.progress.file(&growing.offered, growing.size);
                return Ok(State::Growing(Box::new(growing)));
            }
            Err(verdict) => verdict,
        };
        self.settle(offer.entry, offer.path, EntryKind::File, offer.size, verdict);
        Ok(State::Discarding { entry: offer.entry, left: offer.size })
    }

    fn begin(&self, offer: &FileOffer<'_>) -> Result<Growing, Verdict> {
        let (offered, path) = self.place(offer.path).map_err(Verdict::Refused)?;
        let free = self.admission.free_bytes().map_err(|error| Verdict::Failed(error.into()))?;
        if offer.size > free {
            return Err(Verdict::Refused(Obstacle::NoSpace { missing_bytes: offer.size - free }));
        }
        let partial = Partial::create(&self.admission).map_err(|error| Verdict::Failed(error.into()))?;
        let FileOffer { entry, size, mode, modified, .. } = *offer;
        let hasher = blake3::Hasher::new();
        Ok(Growing { entry, path, offered, size, left: size, mode, modified, partial, hasher })
    }

    fn on_data(&mut self, mut growing: Box<Growing>, data: &[u8]) -> Result<State, Violation> {
        let Growing { entry, size, .. } = *growing;
        let left = growing.left.checked_sub(data.len() as u64).ok_or(Violation::BeyondSize(entry))?;
        growing.hasher.update(data);
        if let Err(error) = growing.partial.file.write_all(data) {
            let Growing { offered, partial, .. } = *growing;
            // First the room, then the word: whoever hears it may want to use that room.
            drop(partial);
            let verdict = Verdict::Failed(error.into());
            self.settle(entry, offered.as_bytes(), EntryKind::File, size, verdict);
            return Ok(State::Discarding { entry, left });
        }
        growing.left = left;
        self.progress.moved(data.len() as u64);
        Ok(State::Growing(growing))
    }

    fn on_file_end(&mut self, growing: Growing, hash: [u8; HASH_LEN]) -> State {
        let Growing { entry, path, offered, size, left, partial, .. } = growing;
        let checked = if left > 0 {
            Err(Obstacle::TooShort)
        } else if *growing.hasher.finalize().as_bytes() != hash {
            Err(Obstacle::HashMismatch)
        } else {
            finish(&partial, growing.mode, growing.modified).map_err(Obstacle::from)
        };
        match checked {
            Ok(()) => {
                self.hand_on(Ready { entry, offered, path, content: Content::File { partial, size, hash } });
            }
            Err(obstacle) => {
                self.settle(entry, offered.as_bytes(), EntryKind::File, size, Verdict::Failed(obstacle));
            }
        }
        State::Idle
    }

    fn on_abandon(&mut self, growing: Growing, code: u16) -> State {
        let fate = Fate::Failed(Fault::Abandoned(code));
        let (name, kind) = (growing.offered.as_bytes().into(), EntryKind::File);
        let report = EntryReport { name, kind, size: growing.size, fate };
        self.tell(Settled { entry: growing.entry, verdict: None, report });
        State::Idle
    }

    fn take_number(&mut self, entry: u64) -> Result<(), Violation> {
        if entry < self.next_entry || entry >= self.announced {
            return Err(Violation::Entry { entry, announced: self.announced });
        }
        self.next_entry = entry + 1;
        Ok(())
    }

    /// The offered path, checked, and the same below the folder of this transfer.
    fn place(&self, path: &[u8]) -> Result<(RelativePath, RelativePath), Obstacle> {
        let offered = RelativePath::parse(path)?;
        let placed = match &self.folder {
            Some(folder) => folder.join(&offered)?,
            None => offered.clone(),
        };
        Ok((offered, placed))
    }

    fn settle(&self, entry: u64, name: &[u8], kind: EntryKind, size: u64, verdict: Verdict) {
        let name = name[..name.len().min(PATH_LEN_MAX)].into();
        let report = EntryReport { name, kind, size, fate: verdict.into() };
        self.tell(Settled { entry, verdict: Some(verdict), report });
    }

    fn tell(&self, settled: Settled) {
        // Nobody listens any more when the transfer was cut; then nobody is owed an answer either.
        let _ = self.settled.blocking_send(settled);
    }

    fn hand_on(&self, ready: Ready) {
        // The other side of this channel ends after this one; see `receiver`.
        let _ = self.ready.blocking_send(ready);
    }
}

/// Gives the whole file its permissions and its time.
fn finish(partial: &Partial, mode: u32, modified: FileTime) -> rustix::io::Result<()> {
    fchmod(&partial.file, Mode::from_raw_mode((mode & FILE_MODE) | FILE_MODE_ALWAYS))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    };
    futimens(&partial.file, &times)
}
