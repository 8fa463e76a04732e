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
//! What there may be of a file before it comes is in `questions`, how it grows in `growing`.
//!
//! What the sender may not do at all is a [`Violation`] and ends the transfer; what only concerns one entry is a verdict
//! on it, and the rest goes on.

mod growing;
mod questions;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use self::growing::{Growing, Hashed};
use self::questions::{Claimed, Question};
use crate::basis::{SumJob, SumsOpen};
use crate::compress::Decompressor;
use crate::content::HASH_LEN;
use crate::delta::Key;
use crate::holes::HOLE_LEN_MAX;
use crate::inbox::{Admission, Partial};
use crate::keeping::Hold;
use crate::metadata::Names;
use crate::metadata::attributes::{Attributes, Malformed};
use crate::outcome::{EntryKind, EntryReport, Fate, Fault, Progress};
use crate::path::{PATH_LEN_MAX, RelativePath};
use crate::protocol::{
    FileOffer, FileTime, FolderOffer, LinkOffer, Removed, SenderMessage, Verdict, Violation, WantedRun,
};
use crate::publish::{Content, NewLink, Ready};
use crate::reason::Obstacle;
use crate::receipt::{Group, VerifyingKey};
use crate::stamp::Stamp;

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
    /// Numbers that came, a bit for each up to the greatest: 125 KB at most.
    came: Vec<u64>,
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
            came: Vec::new(),
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
            // They come before the first entry, or stand for others, and are not here.
            | (
                State::Idle
                | State::Growing(_)
                | State::Claimed(_)
                | State::Discarding { .. }
                | State::Wanting { .. },
                SenderMessage::Mirror { .. }
                | SenderMessage::Listing { .. }
                | SenderMessage::Listed
                | SenderMessage::Bundle { .. },
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
        let wrong = Violation::Entry { entry, announced: self.announced };
        if entry >= self.announced {
            return Err(wrong);
        }
        let (word, bit) = (usize::try_from(entry / 64).map_err(|_| wrong)?, 1 << (entry % 64));
        if word >= self.came.len() {
            self.came.resize(word + 1, 0);
        }
        if self.came[word] & bit != 0 {
            return Err(wrong);
        }
        self.came[word] |= bit;
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

fn hole_len(len: u64) -> Result<u64, Violation> {
    if (1..=HOLE_LEN_MAX).contains(&len) { Ok(len) } else { Err(Violation::Hole(len)) }
}
