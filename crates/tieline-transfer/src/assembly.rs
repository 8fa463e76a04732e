//! Frames become files: the receiver's side of the protocol, one frame after the other.
//!
//! ```text
//!              folder ─▶ ready           file (refused) ─▶ discarding ─┐
//!                ┌────┐                                                │ data, until file end or abandon
//!   ────────────▶│idle│◀───────────────────────────────────────────────┘
//!                └────┘ file ─▶ growing ─ data ─▶ growing ─ file end ─▶ ready
//!                 │  │                         └ disk says no ─▶ discarding
//!                 │  ▼ ask ─▶ (asked) ─ body ─▶ growing, or claimed ─ file end ─▶ ready
//!                 ▼ end
//! ```
//!
//! What the sender may not do at all is a [`Violation`] and ends the transfer; what only concerns one entry is a verdict
//! on it, and the rest goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::content::{ContentHasher, HASH_LEN};
use crate::inbox::{Admission, Partial, journal_errno};
use crate::keeping::{HOLD_PIECES, Hold};
use crate::outcome::{EntryKind, EntryReport, Fate, Fault, Progress};
use crate::path::{PATH_LEN_MAX, RelativePath};
use crate::protocol::{ASKED_MAX, FileOffer, FileTime, FolderOffer, SenderMessage, Verdict, Violation};
use crate::publish::{Content, Ready};
use crate::reason::Obstacle;
use crate::receipt::{Group, VerifyingKey};
use crate::stamp::Stamp;

/// Permission bits that a file keeps; the owner may always read and write it.
const FILE_MODE: u32 = 0o755;
const FILE_MODE_ALWAYS: u32 = 0o600;
/// Permission bits that a folder keeps; the owner may always use it.
const FOLDER_MODE: u32 = 0o755;
const FOLDER_MODE_ALWAYS: u32 = 0o700;

/// What is to be told to the sender.
#[derive(Debug)]
pub(crate) enum Reply {
    /// From where the data of a file is wanted.
    Go { entry: u64, from: u64 },
    /// Who signs here.
    Identify(VerifyingKey),
    /// Receipts for entries that follow.
    Receipt(Arc<Group>),
    /// What became of an entry.
    Settled(Settled),
}

/// An entry that has come to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is whole and waits for its name.
    Ready(Ready),
    /// It gets none.
    Settled(Settled),
}

/// An entry and what became of it, on its way to the sender and to whoever watches.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) entry: u64,
    /// Goes to the sender; none if the sender itself gave the entry up.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) report: EntryReport,
}

/// Where the results of an [`Assembly`] go.
pub(crate) struct Outputs {
    pub(crate) ended: mpsc::Sender<Ended>,
    pub(crate) replies: mpsc::Sender<Reply>,
    pub(crate) holds: mpsc::Sender<Hold>,
}

/// Takes frames in order; see the module.
pub(crate) struct Assembly {
    admission: Arc<Admission>,
    folder: Option<RelativePath>,
    announced: u64,
    next_entry: u64,
    state: State,
    /// Files that were asked about, until their body comes.
    asked: BTreeMap<u64, Asked>,
    outputs: Outputs,
    progress: Arc<dyn Progress>,
}

enum State {
    Idle,
    Growing(Box<Growing>),
    Claimed(Box<Claimed>),
    Discarding { entry: u64, left: u64 },
}

enum Asked {
    Growing(Box<Growing>),
    Claimed(Box<Claimed>),
}

/// An offered file, and where it is to be.
struct Offered {
    entry: u64,
    stamp: Stamp,
    name: RelativePath,
    path: RelativePath,
    size: u64,
    modified: FileTime,
}

struct Growing {
    offered: Offered,
    left: u64,
    mode: u32,
    partial: Partial,
    content: Hashed,
    /// Pieces that were handed on to be held.
    held: usize,
}

/// The hash of a growing file.
enum Hashed {
    SoFar(Box<ContentHasher>),
    /// All of it was here before.
    Whole([u8; HASH_LEN]),
}

/// A file that is here under a name already, or was: the sender has to show that it is the same.
struct Claimed {
    offered: Offered,
    /// Its number in the journal, if that has it among the partial files still.
    partial: Option<i64>,
    /// The number of its name, if the journal knows it.
    copy: Option<u32>,
    hash: [u8; HASH_LEN],
}

impl Assembly {
    /// Begins a transfer of up to `announced` entries into `folder` below the inbox.
    pub(crate) fn new(
        admission: Arc<Admission>,
        folder: Option<RelativePath>,
        announced: u64,
        outputs: Outputs,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let (next_entry, state, asked) = (0, State::Idle, BTreeMap::new());
        Self { admission, folder, announced, next_entry, state, asked, outputs, progress }
    }

    /// Whether the transfer was given up, so that nobody waits for what becomes of it.
    pub(crate) fn is_alone(&self) -> bool {
        self.outputs.replies.is_closed()
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
            (State::Idle, SenderMessage::Ask(offer)) => self.on_ask(offer)?,
            (State::Idle, SenderMessage::Body { entry, from }) => self.on_body(entry, from)?,
            (State::Idle, SenderMessage::End) if self.asked.is_empty() => return Ok(true),
            (State::Growing(growing), SenderMessage::Data(data)) => self.on_data(growing, data)?,
            (State::Growing(growing), SenderMessage::FileEnd { hash }) => self.on_file_end(*growing, hash),
            (State::Growing(growing), SenderMessage::Abandon { code }) => {
                growing.partial.discard();
                self.on_abandon(&growing.offered, code)
            }
            (State::Claimed(claimed), SenderMessage::FileEnd { hash }) => self.on_claim(*claimed, hash),
            (State::Claimed(claimed), SenderMessage::Abandon { code }) => {
                self.on_abandon(&claimed.offered, code)
            }
            (State::Claimed(claimed), SenderMessage::Data(_)) => {
                return Err(Violation::BeyondSize(claimed.offered.entry));
            }
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
                | SenderMessage::Abandon { .. }
                | SenderMessage::Identify { .. }
                | SenderMessage::End,
            )
            | (
                State::Growing(_) | State::Claimed(_) | State::Discarding { .. },
                SenderMessage::Hello(_)
                | SenderMessage::Folder(_)
                | SenderMessage::File(_)
                | SenderMessage::Ask(_)
                | SenderMessage::Body { .. }
                | SenderMessage::Identify { .. }
                | SenderMessage::End,
            ) => return Err(Violation::OutOfPlace(message.kind())),
        };
        Ok(false)
    }

    /// No more frames come: what there is of the open file is held.
    pub(crate) fn finish(mut self) {
        if let State::Growing(growing) = &mut self.state {
            self.outputs.hold(growing, 1, true);
        }
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
                self.progress.file(&growing.offered.name, growing.offered.size);
                return Ok(State::Growing(Box::new(growing)));
            }
            Err(verdict) => verdict,
        };
        self.settle(offer.entry, offer.path, EntryKind::File, offer.size, verdict);
        Ok(State::Discarding { entry: offer.entry, left: offer.size })
    }

    fn begin(&self, offer: &FileOffer<'_>) -> Result<Growing, Verdict> {
        let offered = self.offered(offer)?;
        self.check_room(offer.size)?;
        let partial = Partial::create(&self.admission).map_err(|error| Verdict::Failed(error.into()))?;
        Ok(Growing::new(offered, offer, partial, Hashed::SoFar(Box::default())))
    }

    fn on_ask(&mut self, offer: FileOffer<'_>) -> Result<State, Violation> {
        self.take_number(offer.entry)?;
        if self.asked.len() >= ASKED_MAX {
            return Err(Violation::TooManyAsked);
        }
        match self.look_up(&offer) {
            Ok(asked) => {
                let reply = Reply::Go { entry: offer.entry, from: asked.from() };
                self.asked.insert(offer.entry, asked);
                self.tell(reply);
            }
            Err(verdict) => self.settle(offer.entry, offer.path, EntryKind::File, offer.size, verdict),
        }
        Ok(State::Idle)
    }

    /// What there is of this version of a file.
    fn look_up(&self, offer: &FileOffer<'_>) -> Result<Asked, Verdict> {
        let offered = self.offered(offer)?;
        let failed = |error| Verdict::Failed(journal_errno(error).into());
        let (journal, inbox) = (self.admission.journal(), self.admission.name());
        match journal.arrived(inbox, &offered.path).map_err(failed)? {
            Some(arrived) if (arrived.stamp, arrived.size) == (offer.stamp, offer.size) => {
                let (partial, copy, hash) = (None, Some(arrived.copy), arrived.hash);
                return Ok(Asked::Claimed(Box::new(Claimed { offered, partial, copy, hash })));
            }
            _ => {}
        }
        let known = journal.partial(inbox, &offered.path).map_err(failed)?;
        let Some(known) = known.filter(|known| (known.stamp, known.size) == (offer.stamp, offer.size)) else {
            return self.begin_partial(offered, offer);
        };
        let opened = Partial::reopen(&self.admission, known.id)
            .and_then(|partial| Ok((partial.file.extent()?, partial)));
        match (opened, known.hash) {
            (Ok((extent, partial)), hash) if extent.size >= known.held() => {
                self.check_room(offer.size.saturating_sub(extent.allocated))?;
                let hashed = hash.map_or_else(
                    || Hashed::SoFar(Box::new(ContentHasher::resume(known.pieces))),
                    Hashed::Whole,
                );
                Ok(Asked::Growing(Box::new(Growing::new(offered, offer, partial, hashed))))
            }
            // It was whole, and the power went before the journal was told of its name.
            (Err(Errno::NOENT), Some(hash)) => {
                let partial = Some(known.id);
                Ok(Asked::Claimed(Box::new(Claimed { offered, partial, copy: None, hash })))
            }
            (Ok(_) | Err(_), _) => self.begin_partial(offered, offer),
        }
    }

    fn begin_partial(&self, offered: Offered, offer: &FileOffer<'_>) -> Result<Asked, Verdict> {
        self.check_room(offer.size)?;
        let partial = Partial::begin(&self.admission, &offered.path, offer.stamp, offer.size)
            .map_err(|error| Verdict::Failed(error.into()))?;
        let growing = Growing::new(offered, offer, partial, Hashed::SoFar(Box::default()));
        Ok(Asked::Growing(Box::new(growing)))
    }

    fn on_body(&mut self, entry: u64, from: u64) -> Result<State, Violation> {
        let asked = self.asked.remove(&entry).filter(|asked| asked.from() == from);
        let asked = asked.ok_or(Violation::Answer { entry, from })?;
        let Offered { name, size, .. } = asked.offered();
        self.progress.file(name, *size);
        Ok(match asked {
            Asked::Growing(growing) => State::Growing(growing),
            Asked::Claimed(claimed) => State::Claimed(claimed),
        })
    }

    fn on_data(&mut self, mut growing: Box<Growing>, data: &[u8]) -> Result<State, Violation> {
        let Offered { entry, size, .. } = growing.offered;
        let left = growing.left.checked_sub(data.len() as u64).ok_or(Violation::BeyondSize(entry))?;
        let at = size - growing.left;
        if let Err(error) = growing.partial.file.write_all_at(data, at) {
            let Growing { offered, partial, .. } = *growing;
            // First the room, then the word: whoever hears it may want to use that room.
            drop(partial);
            let verdict = Verdict::Failed(error.into());
            self.settle(entry, offered.name.as_bytes(), EntryKind::File, size, verdict);
            return Ok(State::Discarding { entry, left });
        }
        if let Hashed::SoFar(hasher) = &mut growing.content {
            hasher.update(data);
        }
        growing.left = left;
        self.progress.moved(data.len() as u64);
        self.outputs.hold(&mut growing, HOLD_PIECES, false);
        Ok(State::Growing(growing))
    }

    fn on_file_end(&mut self, growing: Growing, hash: [u8; HASH_LEN]) -> State {
        let checked = if growing.left > 0 {
            Err(Obstacle::TooShort)
        } else if growing.content.hash() != hash {
            Err(Obstacle::HashMismatch)
        } else {
            finish(&growing.partial, growing.mode, growing.offered.modified).map_err(Obstacle::from)
        };
        let Growing { offered, partial, .. } = growing;
        let Offered { entry, stamp, name, path, size, modified } = offered;
        match checked {
            Ok(()) => {
                let content = Content::File { partial, stamp, size, hash, modified };
                self.hand_on(Ready { entry, offered: name, path, content });
            }
            Err(obstacle) => {
                partial.discard();
                self.settle(entry, name.as_bytes(), EntryKind::File, size, Verdict::Failed(obstacle));
            }
        }
        State::Idle
    }

    fn on_claim(&mut self, claimed: Claimed, hash: [u8; HASH_LEN]) -> State {
        let Claimed { offered, partial, copy, hash: known } = claimed;
        let Offered { entry, stamp, name, path, size, modified } = offered;
        let is_likely = hash == known;
        let content = Content::Claim { partial, stamp, size, hash, modified, copy, is_likely };
        self.hand_on(Ready { entry, offered: name, path, content });
        State::Idle
    }

    fn on_abandon(&mut self, offered: &Offered, code: u16) -> State {
        let fate = Fate::Failed(Fault::Abandoned(code));
        let (name, kind) = (offered.name.as_bytes().into(), EntryKind::File);
        let report = EntryReport { name, kind, size: offered.size, fate };
        self.end(Ended::Settled(Settled { entry: offered.entry, verdict: None, report }));
        State::Idle
    }

    fn take_number(&mut self, entry: u64) -> Result<(), Violation> {
        if entry < self.next_entry || entry >= self.announced {
            return Err(Violation::Entry { entry, announced: self.announced });
        }
        self.next_entry = entry + 1;
        Ok(())
    }

    fn offered(&self, offer: &FileOffer<'_>) -> Result<Offered, Verdict> {
        let (name, path) = self.place(offer.path).map_err(Verdict::Refused)?;
        let FileOffer { entry, stamp, size, modified, .. } = *offer;
        Ok(Offered { entry, stamp, name, path, size, modified })
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

    fn check_room(&self, bytes: u64) -> Result<(), Verdict> {
        let free = self.admission.free_bytes().map_err(|error| Verdict::Failed(error.into()))?;
        match bytes.checked_sub(free) {
            Some(missing_bytes) if missing_bytes > 0 => {
                Err(Verdict::Refused(Obstacle::NoSpace { missing_bytes }))
            }
            _ => Ok(()),
        }
    }

    fn settle(&self, entry: u64, name: &[u8], kind: EntryKind, size: u64, verdict: Verdict) {
        let name = name[..name.len().min(PATH_LEN_MAX)].into();
        let report = EntryReport { name, kind, size, fate: verdict.into() };
        self.end(Ended::Settled(Settled { entry, verdict: Some(verdict), report }));
    }

    fn tell(&self, reply: Reply) {
        // Nobody listens any more when the transfer was cut; then nobody is owed an answer either.
        let _ = self.outputs.replies.blocking_send(reply);
    }

    fn hand_on(&self, ready: Ready) {
        self.end(Ended::Ready(ready));
    }

    fn end(&self, ended: Ended) {
        // The other side of this channel ends after this one; see `receiver`.
        let _ = self.outputs.ended.blocking_send(ended);
    }
}

impl Growing {
    fn new(offered: Offered, offer: &FileOffer<'_>, partial: Partial, content: Hashed) -> Self {
        let FileOffer { size, mode, .. } = *offer;
        let (here, held) = match &content {
            Hashed::SoFar(hasher) => (hasher.len(), hasher.pieces().len()),
            Hashed::Whole(_) => (size, 0),
        };
        Self { offered, left: size.saturating_sub(here), mode, partial, content, held }
    }
}

impl Hashed {
    fn hash(&self) -> [u8; HASH_LEN] {
        match self {
            Self::SoFar(hasher) => hasher.finalize(),
            Self::Whole(hash) => *hash,
        }
    }
}

impl Asked {
    fn offered(&self) -> &Offered {
        match self {
            Self::Growing(growing) => &growing.offered,
            Self::Claimed(claimed) => &claimed.offered,
        }
    }

    /// From where the data is wanted.
    fn from(&self) -> u64 {
        match self {
            Self::Growing(growing) => growing.offered.size - growing.left,
            Self::Claimed(claimed) => claimed.offered.size,
        }
    }
}

impl Outputs {
    /// Has the pieces of a file that the journal knows held, if there are `at_least` so many new ones, and unless others are being held;
    /// with `waits`, after them.
    fn hold(&self, growing: &mut Growing, at_least: usize, waits: bool) {
        let (Some(id), Hashed::SoFar(hasher)) = (growing.partial.id(), &growing.content) else { return };
        let pieces = &hasher.pieces()[growing.held..];
        if pieces.len() < at_least || (!waits && self.holds.capacity() == 0) {
            return;
        }
        let hold = Hold { id, first: growing.held as u64, pieces: pieces.to_vec() };
        if waits {
            let _ = self.holds.blocking_send(hold);
        } else if self.holds.try_send(hold).is_err() {
            return;
        }
        growing.held = hasher.pieces().len();
    }
}

/// Gives the whole file its permissions and its time.
fn finish(partial: &Partial, mode: u32, modified: FileTime) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode((mode & FILE_MODE) | FILE_MODE_ALWAYS);
    partial.file.set_metadata(mode, modified)
}
