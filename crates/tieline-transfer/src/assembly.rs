//! Frames become files: the receiver's side of the protocol, one frame after the other.
//!
//! ```text
//!              folder ─▶ ready           file (refused) ─▶ discarding ─┐
//!                ┌────┐                                                │ data, until file end or abandon
//!   ────────────▶│idle│◀───────────────────────────────────────────────┘
//!                └────┘ file ─▶ growing ─ data ─▶ growing ─ file end ─▶ ready
//!                 │  │                         └ disk says no ─▶ discarding
//!                 │  ▼ ask, claim ─▶ (asked) ─ body ─▶ growing, or claimed ─ file end ─▶ ready
//!                 ▼ end                └ want sums ┘
//! ```
//!
//! What there may be of a file before it comes is in [`questions`].
//!
//! What the sender may not do at all is a [`Violation`] and ends the transfer; what only concerns one entry is a verdict
//! on it, and the rest goes on.

mod questions;

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use tokio::sync::mpsc;

use self::questions::{Claimed, Question};
use crate::basis::{Basis, SumJob, SumsOpen};
use crate::compress::Decompressor;
use crate::content::{ContentHasher, HASH_LEN};
use crate::delta::Key;
use crate::disk::PublishedFile;
use crate::holes::{HOLE_LEN_MAX, hash_zeros};
use crate::inbox::{Admission, Inbox, Partial};
use crate::keeping::{HOLD_PIECES, Hold};
use crate::metadata::attributes::{Attributes, Malformed};
use crate::metadata::{Names, give};
use crate::outcome::{EntryKind, EntryReport, Fate, Fault, Progress};
use crate::path::{PATH_LEN_MAX, RelativePath};
use crate::protocol::{
    DATA_LEN_MAX, FileOffer, FileTime, FolderOffer, LinkOffer, Removed, SenderMessage, Verdict, Violation,
    WantedRun,
};
use crate::publish::{Content, NewLink, Ready};
use crate::reason::Obstacle;
use crate::receipt::{Group, VerifyingKey};
use crate::stamp::Stamp;

/// Octets that are copied at once.
const COPY_LEN: u64 = DATA_LEN_MAX as u64;

/// What is to be told to the sender.
#[derive(Debug)]
pub(crate) enum Reply {
    /// From where the data of a file is wanted.
    Go { entry: u64, from: u64 },
    /// Sums of the old version of a file.
    Sums { entry: u64, octets: Vec<u8> },
    /// Who signs here.
    Identify(VerifyingKey),
    /// Receipts for entries that follow.
    Receipt(Arc<Group>),
    /// Entries of a mirror that are wanted.
    Wanted(WantedRun),
    /// The others of it are there.
    Checked,
    /// What was removed of it.
    Removed(Removed),
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
    pub(crate) sums: mpsc::Sender<SumJob>,
    pub(crate) sums_open: Arc<SumsOpen>,
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.sums_open.close();
    }
}

/// Takes frames in order; see the module.
pub(crate) struct Assembly {
    admission: Arc<Admission>,
    folder: Option<RelativePath>,
    announced: u64,
    next_entry: u64,
    state: State,
    /// What was told of the entry whose offer follows.
    attributes: Option<(u64, Attributes)>,
    names: Names,
    /// Files that were asked about, until their body comes.
    asked: BTreeMap<u64, Question>,
    /// How many of them are short.
    asked_small: usize,
    /// Of the sums in it, drawn when it is needed.
    sum_key: Option<Key>,
    /// Of what comes packed; begins with the first of it.
    decompressor: Option<Decompressor>,
    outputs: Outputs,
    progress: Arc<dyn Progress>,
}

enum State {
    Idle,
    Growing(Box<Growing>),
    Claimed(Box<Claimed>),
    Discarding {
        entry: u64,
        left: u64,
    },
    /// A request of sums comes; what there is of it.
    Wanting {
        entry: u64,
        octets: Vec<u8>,
    },
}

/// An offered file, and where it is to be.
struct Offered {
    entry: u64,
    stamp: Stamp,
    name: RelativePath,
    path: RelativePath,
    size: u64,
    mode: u32,
    modified: FileTime,
    attributes: Attributes,
}

struct Growing {
    offered: Offered,
    left: u64,
    partial: Partial,
    content: Hashed,
    /// Pieces that were handed on to be held.
    held: usize,
    /// From which parts of it may be taken, and that file, if some were.
    basis: Option<Basis>,
    old: Option<Box<dyn PublishedFile>>,
}

/// The hash of a growing file.
enum Hashed {
    SoFar(Box<ContentHasher>),
    /// All of it was here before.
    Whole([u8; HASH_LEN]),
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
        Self {
            admission,
            folder,
            announced,
            next_entry: 0,
            state: State::Idle,
            attributes: None,
            names: Names::default(),
            asked: BTreeMap::new(),
            asked_small: 0,
            sum_key: None,
            decompressor: None,
            outputs,
            progress,
        }
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
        match SenderMessage::parse(frame)? {
            // Whatever becomes of them: what comes later builds on it.
            SenderMessage::Packed { len, octets } => {
                let data = self.unpack(octets, len)?;
                self.handle_message(SenderMessage::Data(&data))
            }
            message => self.handle_message(message),
        }
    }

    fn unpack(&mut self, octets: &[u8], len: usize) -> Result<Vec<u8>, Violation> {
        let wrong = |_| Violation::Packed(len);
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(wrong)?),
        };
        let mut data = Vec::with_capacity(len + 1);
        decompressor.decompress(octets, len, &mut data).map_err(|_| Violation::Packed(len))?;
        Ok(data)
    }

    fn handle_message(&mut self, message: SenderMessage<'_>) -> Result<bool, Violation> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.state = match (state, message) {
            (state, SenderMessage::Unknown(kind)) => {
                tracing::debug!(kind, "a message of a later version is ignored");
                state
            }
            (State::Idle, SenderMessage::Folder(offer)) => self.on_folder(offer)?,
            (State::Idle, SenderMessage::File(offer)) => self.on_file(offer)?,
            (State::Idle, SenderMessage::Link(offer)) => self.on_link(offer)?,
            (State::Idle, SenderMessage::Ask(offer)) => self.on_ask(&offer, None)?,
            (State::Idle, SenderMessage::Claim { hash, offer }) => self.on_ask(&offer, Some(hash))?,
            (State::Idle, SenderMessage::WantSums { entry, octets }) => {
                self.on_want_sums(entry, Vec::new(), octets)?
            }
            (State::Wanting { entry, octets: before }, SenderMessage::WantSums { entry: same, octets })
                if entry == same =>
            {
                self.on_want_sums(entry, before, octets)?
            }
            (State::Idle, SenderMessage::Body { entry, from }) => self.on_body(entry, from)?,
            (State::Idle, SenderMessage::Attributes { entry, items }) => self.on_attributes(entry, items)?,
            (State::Idle, SenderMessage::End) if self.asked.is_empty() => return Ok(true),
            (State::Growing(growing), SenderMessage::Data(data)) => self.on_data(growing, data)?,
            (State::Growing(growing), SenderMessage::Hole { len }) => self.on_hole(growing, len)?,
            (State::Growing(growing), SenderMessage::Copy { from, len }) => {
                self.on_copy(growing, from, len)?
            }
            (State::Growing(growing), SenderMessage::FileEnd { hash }) => self.on_file_end(*growing, hash),
            (State::Growing(growing), SenderMessage::Abandon { code }) => {
                growing.partial.discard();
                self.on_abandon(&growing.offered, code)
            }
            (State::Claimed(claimed), SenderMessage::FileEnd { hash }) => self.on_claim(*claimed, hash),
            (State::Claimed(claimed), SenderMessage::Abandon { code }) => {
                self.on_abandon(&claimed.offered, code)
            }
            (State::Claimed(claimed), SenderMessage::Data(_) | SenderMessage::Hole { .. }) => {
                return Err(Violation::BeyondSize(claimed.offered.entry));
            }
            (State::Discarding { entry, left }, SenderMessage::Data(data)) => {
                let left = left.checked_sub(data.len() as u64).ok_or(Violation::BeyondSize(entry))?;
                State::Discarding { entry, left }
            }
            (State::Discarding { entry, left }, SenderMessage::Copy { len, .. }) => {
                let left = left.checked_sub(len).ok_or(Violation::BeyondSize(entry))?;
                State::Discarding { entry, left }
            }
            (State::Discarding { entry, left }, SenderMessage::Hole { len }) => {
                let left = left.checked_sub(hole_len(len)?).ok_or(Violation::BeyondSize(entry))?;
                State::Discarding { entry, left }
            }
            (State::Discarding { .. }, SenderMessage::FileEnd { .. } | SenderMessage::Abandon { .. }) => {
                State::Idle
            }
            (
                State::Idle,
                SenderMessage::Hello(_)
                | SenderMessage::Data(_)
                | SenderMessage::Hole { .. }
                | SenderMessage::Packed { .. }
                | SenderMessage::Copy { .. }
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
                | SenderMessage::Claim { .. }
                | SenderMessage::WantSums { .. }
                | SenderMessage::Body { .. }
                | SenderMessage::Attributes { .. }
                | SenderMessage::Link(_)
                | SenderMessage::Packed { .. }
                | SenderMessage::Identify { .. }
                | SenderMessage::End,
            )
            | (State::Claimed(_), SenderMessage::Copy { .. })
            | (
                State::Wanting { .. },
                SenderMessage::Hello(_)
                | SenderMessage::Folder(_)
                | SenderMessage::File(_)
                | SenderMessage::Data(_)
                | SenderMessage::FileEnd { .. }
                | SenderMessage::Abandon { .. }
                | SenderMessage::Ask(_)
                | SenderMessage::Claim { .. }
                | SenderMessage::WantSums { .. }
                | SenderMessage::Copy { .. }
                | SenderMessage::Body { .. }
                | SenderMessage::Attributes { .. }
                | SenderMessage::Hole { .. }
                | SenderMessage::Packed { .. }
                | SenderMessage::Link(_)
                | SenderMessage::Identify { .. }
                | SenderMessage::End,
            )
            // They come before the first entry, and not here.
            | (
                State::Idle
                | State::Growing(_)
                | State::Claimed(_)
                | State::Discarding { .. }
                | State::Wanting { .. },
                SenderMessage::Mirror { .. } | SenderMessage::Listing { .. } | SenderMessage::Listed,
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
        let attributes = Box::new(self.take_number(offer.entry)?);
        match self.place(offer.path) {
            Ok((offered, path)) => {
                let mode = self.admission.keep().folder_mode(offer.mode);
                let content = Content::Folder { mode, attributes };
                self.hand_on(Ready { entry: offer.entry, offered, path, content });
            }
            Err(obstacle) => {
                self.settle(offer.entry, offer.path, EntryKind::Folder, 0, Verdict::Refused(obstacle));
            }
        }
        Ok(State::Idle)
    }

    fn on_link(&mut self, offer: LinkOffer<'_>) -> Result<State, Violation> {
        self.take_number(offer.entry)?;
        let LinkOffer { entry, modified, target, path } = offer;
        let keep = self.admission.keep();
        let placed = if keep.links { self.place(path) } else { Err(Obstacle::LinksRefused) };
        match placed {
            Ok((offered, path)) => {
                let given = keep.times.then_some(modified);
                let private = self.admission.private_name();
                let link = NewLink { private, target: target.into(), modified, given };
                self.hand_on(Ready { entry, offered, path, content: Content::Link(Box::new(link)) });
            }
            Err(obstacle) => {
                let size = target.len() as u64;
                self.settle(entry, path, EntryKind::File, size, Verdict::Refused(obstacle));
            }
        }
        Ok(State::Idle)
    }

    fn on_file(&mut self, offer: FileOffer<'_>) -> Result<State, Violation> {
        let attributes = self.take_number(offer.entry)?;
        let verdict = match self.offered(&offer, attributes).and_then(|offered| self.begin(offered)) {
            Ok(growing) => {
                self.progress.file(&growing.offered.name, growing.offered.size);
                return Ok(State::Growing(Box::new(growing)));
            }
            Err(verdict) => verdict,
        };
        self.settle(offer.entry, offer.path, EntryKind::File, offer.size, verdict);
        Ok(State::Discarding { entry: offer.entry, left: offer.size })
    }

    /// Begins a file that nobody knows of before it is whole.
    fn begin(&self, offered: Offered) -> Result<Growing, Verdict> {
        self.check_room(offered.room())?;
        let partial = Partial::create(&self.admission).map_err(|error| Verdict::Failed(error.into()))?;
        Ok(Growing::new(offered, partial, Hashed::SoFar(Box::default())))
    }

    fn on_attributes(&mut self, entry: u64, items: &[u8]) -> Result<State, Violation> {
        let wrong = Violation::Attributes(entry);
        let attributes = Attributes::parse(items).map_err(|Malformed| wrong)?;
        let (kept, is_unknown) = attributes.kept(self.admission.keep(), &mut self.names);
        self.admission.count_not_given(is_unknown.into());
        match self.attributes.replace((entry, kept)) {
            Some((earlier, _)) => Err(Violation::Attributes(earlier)),
            None => Ok(State::Idle),
        }
    }

    fn on_data(&mut self, growing: Box<Growing>, data: &[u8]) -> Result<State, Violation> {
        if data.len() as u64 > growing.left {
            return Err(Violation::BeyondSize(growing.offered.entry));
        }
        self.progress.moved(data.len() as u64);
        Ok(self.append(growing, data))
    }

    fn on_hole(&mut self, mut growing: Box<Growing>, len: u64) -> Result<State, Violation> {
        let Offered { entry, size, .. } = growing.offered;
        let left = growing.left.checked_sub(hole_len(len)?).ok_or(Violation::BeyondSize(entry))?;
        if let Err(error) = growing.partial.file.make_hole(size - growing.left, len) {
            return Ok(self.fail(*growing, error.into(), left));
        }
        if let Hashed::SoFar(hasher) = &mut growing.content {
            hash_zeros(hasher, len);
        }
        self.progress.held(len);
        Ok(self.grown(growing, left))
    }

    /// Takes the next octets of the file, which has room for them, from its old version.
    fn on_copy(&mut self, mut growing: Box<Growing>, from: u64, len: u64) -> Result<State, Violation> {
        let entry = growing.offered.entry;
        let basis =
            growing.basis.as_ref().filter(|basis| from.checked_add(len).is_some_and(|to| to <= basis.len));
        let basis = basis.ok_or(Violation::Copy { entry, from })?;
        if len > growing.left {
            return Err(Violation::BeyondSize(entry));
        }
        let old = match growing.old.take() {
            Some(old) => Ok(old),
            None => basis.open(&self.admission),
        };
        let Ok(mut old) = old.and_then(|mut old| old.seek(SeekFrom::Start(from)).map(|_| old)) else {
            let left = growing.left - len;
            return Ok(self.fail(*growing, Obstacle::OldVersion, left));
        };
        let mut buffer = vec![0; len.min(COPY_LEN) as usize];
        let mut uncopied = len;
        while uncopied > 0 {
            let part = &mut buffer[..uncopied.min(COPY_LEN) as usize];
            if old.read_exact(part).is_err() {
                let left = growing.left - uncopied;
                return Ok(self.fail(*growing, Obstacle::OldVersion, left));
            }
            uncopied -= part.len() as u64;
            growing = match self.append(growing, part) {
                State::Growing(growing) => growing,
                State::Discarding { entry, left } => {
                    return Ok(State::Discarding { entry, left: left - uncopied });
                }
                other => return Ok(other),
            };
        }
        self.progress.held(len);
        growing.old = Some(old);
        Ok(State::Growing(growing))
    }

    /// Adds octets to a file that has room for them.
    fn append(&mut self, mut growing: Box<Growing>, data: &[u8]) -> State {
        let at = growing.offered.size - growing.left;
        let left = growing.left - data.len() as u64;
        // What is copied from holes of an old version is to be one again.
        let is_hole = growing.offered.attributes.room.is_some() && data.iter().all(|octet| *octet == 0);
        let written = match is_hole {
            true => growing.partial.file.make_hole(at, data.len() as u64),
            false => growing.partial.file.write_all_at(data, at),
        };
        if let Err(error) = written {
            return self.fail(*growing, error.into(), left);
        }
        if let Hashed::SoFar(hasher) = &mut growing.content {
            hasher.update(data);
        }
        self.grown(growing, left)
    }

    fn grown(&self, mut growing: Box<Growing>, left: u64) -> State {
        growing.left = left;
        self.outputs.hold(&mut growing, HOLD_PIECES, false);
        State::Growing(growing)
    }

    /// Gives up a file of which `left` octets are still to come.
    fn fail(&mut self, growing: Growing, obstacle: Obstacle, left: u64) -> State {
        let Growing { offered, partial, basis, .. } = growing;
        // First the room, then the word: whoever hears it may want to use that room.
        match (obstacle, basis) {
            (Obstacle::OldVersion, Some(basis)) => {
                basis.distrust(&self.admission);
                partial.discard();
            }
            _ => drop(partial),
        }
        let (entry, size) = (offered.entry, offered.size);
        self.settle(entry, offered.name.as_bytes(), EntryKind::File, size, Verdict::Failed(obstacle));
        State::Discarding { entry, left }
    }

    fn on_file_end(&mut self, growing: Growing, hash: [u8; HASH_LEN]) -> State {
        let checked = if growing.left > 0 {
            Err(Obstacle::TooShort)
        } else if growing.content.hash() == hash {
            finish(&growing, &self.admission).map_err(Obstacle::from)
        } else if growing.old.is_some() {
            Err(Obstacle::OldVersion)
        } else {
            Err(Obstacle::HashMismatch)
        };
        if let (Err(Obstacle::OldVersion), Some(basis)) = (checked, &growing.basis) {
            basis.distrust(&self.admission);
        }
        let Growing { offered, partial, .. } = growing;
        let Offered { entry, stamp, name, path, size, modified, .. } = offered;
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
        let Offered { entry, stamp, name, path, size, modified, .. } = offered;
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

    /// The next entry has this number; returns what was told of it before.
    fn take_number(&mut self, entry: u64) -> Result<Attributes, Violation> {
        if entry < self.next_entry || entry >= self.announced {
            return Err(Violation::Entry { entry, announced: self.announced });
        }
        self.next_entry = entry + 1;
        match self.attributes.take() {
            Some((other, _)) if other != entry => Err(Violation::Attributes(other)),
            attributes => Ok(attributes.map_or_else(Attributes::default, |(_, attributes)| attributes)),
        }
    }

    fn offered(&self, offer: &FileOffer<'_>, attributes: Attributes) -> Result<Offered, Verdict> {
        let (name, path) = self.place(offer.path).map_err(Verdict::Refused)?;
        let FileOffer { entry, stamp, size, mode, modified, .. } = *offer;
        Ok(Offered { entry, stamp, name, path, size, mode, modified, attributes })
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

impl Offered {
    /// How much room it takes, if that was told; no more than it has octets.
    fn room(&self) -> u64 {
        self.attributes.room.map_or(self.size, |room| room.min(self.size))
    }
}

impl Growing {
    fn new(offered: Offered, partial: Partial, content: Hashed) -> Self {
        let size = offered.size;
        let (here, held) = match &content {
            Hashed::SoFar(hasher) => (hasher.len(), hasher.pieces().len()),
            Hashed::Whole(_) => (size, 0),
        };
        Self { offered, left: size.saturating_sub(here), partial, content, held, basis: None, old: None }
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

fn hole_len(len: u64) -> Result<u64, Violation> {
    if (1..=HOLE_LEN_MAX).contains(&len) { Ok(len) } else { Err(Violation::Hole(len)) }
}

/// Gives the whole file what it keeps besides its content.
fn finish(growing: &Growing, inbox: &Inbox) -> rustix::io::Result<()> {
    let Offered { mode, modified, attributes, .. } = &growing.offered;
    let (file, keep) = (&*growing.partial.file, inbox.keep());
    file.set_metadata(keep.file_mode(*mode), keep.times.then_some(*modified))?;
    inbox.count_not_given(give(file, attributes));
    Ok(())
}
