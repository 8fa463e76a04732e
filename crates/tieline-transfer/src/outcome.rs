//! What became of every file and folder, for people and for the exit status.

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::path::{Escaped, NameFault, RelativePath, copy_name};
use crate::protocol::Verdict;
use crate::reason::Obstacle;
use crate::source::SourceFault;

/// What became of one file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Verified and durable at the receiving end, under the name with this copy number (1 is its own).
    Delivered {
        /// See [`copy_name`].
        copy: u32,
    },
    /// The same content was there already, under the name with this copy number.
    AlreadyThere {
        /// See [`copy_name`].
        copy: u32,
    },
    /// In the mirror as it should be, since an earlier transfer.
    Unchanged,
    /// Nothing that is sent.
    Skipped(Skip),
    /// The receiving end does not take it.
    Refused(Obstacle),
    /// It was tried and did not work.
    Failed(Fault),
    /// Sent, but the transfer ended before the receiving end said what became of it. Sending it again settles it.
    Unconfirmed,
    /// Not sent any more, because the transfer ended before.
    NotSent,
}

/// Why something in a tree is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// Links are neither followed nor copied.
    #[error("a symbolic link; name what it points to instead")]
    Link,
    /// A named pipe.
    #[error("a named pipe, not a file")]
    Pipe,
    /// A socket.
    #[error("a socket, not a file")]
    Socket,
    /// A device node.
    #[error("a device, not a file")]
    Device,
    /// A kind of file that this program does not know.
    #[error("neither a file nor a folder")]
    Unknown,
    /// A name that no inbox takes.
    #[error(transparent)]
    Name(#[from] NameFault),
}

/// Why a delivery did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// At the receiving end.
    #[error(transparent)]
    Receiver(#[from] Obstacle),
    /// At the source.
    #[error(transparent)]
    Source(#[from] SourceFault),
    /// The sender gave it up, as the receiver sees it.
    #[error("the sender gave it up (reason {0})")]
    Abandoned(u16),
    /// A verdict of a later version.
    #[error("the receiving end gave verdict {0}, which this version of tieline does not know")]
    Verdict(u8),
}

impl From<Verdict> for Fate {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Delivered { copy } => Self::Delivered { copy },
            Verdict::AlreadyThere { copy } => Self::AlreadyThere { copy },
            Verdict::Refused(obstacle) => Self::Refused(obstacle),
            Verdict::Failed(obstacle) => Self::Failed(Fault::Receiver(obstacle)),
            Verdict::Other(code) => Self::Failed(Fault::Verdict(code)),
        }
    }
}

impl Fate {
    /// Whether the receiving end has it, durably.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::AlreadyThere { .. } | Self::Unchanged)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::AlreadyThere { .. } => "already-there",
            Self::Unchanged => "unchanged",
            Self::Skipped(_) => "skipped",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Unconfirmed => "unconfirmed",
            Self::NotSent => "not-sent",
        }
    }

    /// Why it is not delivered, in a sentence; none if it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Delivered { .. } | Self::AlreadyThere { .. } | Self::Unchanged => None,
            Self::Skipped(skip) => Some(skip.to_string()),
            Self::Refused(obstacle) => Some(obstacle.to_string()),
            Self::Failed(fault) => Some(fault.to_string()),
            Self::Unconfirmed => Some("the transfer ended before it was confirmed; send it again".into()),
            Self::NotSent => Some("the transfer ended before; send it again".into()),
        }
    }
}

/// File or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Something else, which is not sent.
    Other,
}

/// One file or folder and what became of it.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryReport {
    /// Its path as offered, in octets: components joined by `/`. Not fit for a terminal, see [`Escaped`].
    pub name: Box<[u8]>,
    /// What it is.
    pub kind: EntryKind,
    /// Octets, as far as known.
    pub size: u64,
    /// What became of it.
    pub fate: Fate,
}

impl EntryReport {
    /// The path below the inbox (or the chosen folder of it) under which the receiving end has it, if it has it.
    #[must_use]
    pub fn final_name(&self) -> Option<Vec<u8>> {
        let copy = match self.fate {
            Fate::Delivered { copy } | Fate::AlreadyThere { copy } => copy,
            Fate::Unchanged => 1,
            _ => return None,
        };
        Some(match RelativePath::parse(&self.name) {
            Ok(path) => path.copy(copy).as_bytes().to_vec(),
            Err(_) => copy_name(&self.name, copy),
        })
    }
}

impl fmt::Display for EntryReport {
    /// One row for people: the name, and what they have to know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(&self.name), self.fate.word().replace('-', " "))?;
        match (self.fate.reason(), self.final_name()) {
            (Some(reason), _) => write!(f, ": {reason}"),
            (None, Some(name)) if *name != *self.name => write!(f, " as {}", Escaped(&name)),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Debug for EntryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} `{}` ({}): {:?}", self.kind, Escaped(&self.name), self.size, self.fate)
    }
}

impl Serialize for EntryReport {
    /// `name`, `kind`, `size`, `fate`, and where they say something `final_name` and `reason`; names escaped as for people.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("EntryReport", 6)?;
        row.serialize_field("name", &Escaped(&self.name).to_string())?;
        row.serialize_field("kind", &self.kind)?;
        row.serialize_field("size", &self.size)?;
        row.serialize_field("fate", self.fate.word())?;
        match self.final_name() {
            Some(name) => row.serialize_field("final_name", &Escaped(&name).to_string())?,
            None => row.skip_field("final_name")?,
        }
        match self.fate.reason() {
            Some(reason) => row.serialize_field("reason", &reason)?,
            None => row.skip_field("reason")?,
        }
        row.end()
    }
}

/// How many of one fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Files, and things that are neither files nor folders.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Octets of the files.
    pub bytes: u64,
}

/// How many of each fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Newly stored.
    pub delivered: Tally,
    /// There before with the same content.
    pub already_there: Tally,
    /// In the mirror since an earlier transfer.
    pub unchanged: Tally,
    /// Not sent, by their kind or name.
    pub skipped: Tally,
    /// Not taken.
    pub refused: Tally,
    /// Tried in vain.
    pub failed: Tally,
    /// Sent, without a word of what became of them.
    pub unconfirmed: Tally,
    /// Never sent.
    pub not_sent: Tally,
}

impl Totals {
    /// Counts one more.
    pub fn count(&mut self, kind: EntryKind, size: u64, fate: &Fate) {
        let tally = match fate {
            Fate::Delivered { .. } => &mut self.delivered,
            Fate::AlreadyThere { .. } => &mut self.already_there,
            Fate::Unchanged => &mut self.unchanged,
            Fate::Skipped(_) => &mut self.skipped,
            Fate::Refused(_) => &mut self.refused,
            Fate::Failed(_) => &mut self.failed,
            Fate::Unconfirmed => &mut self.unconfirmed,
            Fate::NotSent => &mut self.not_sent,
        };
        match kind {
            EntryKind::Folder => tally.folders += 1,
            EntryKind::File | EntryKind::Other => tally.files += 1,
        }
        tally.bytes = tally.bytes.saturating_add(size);
    }

    /// Whether nothing has any fate but delivered or already there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        [self.skipped, self.refused, self.failed, self.unconfirmed, self.not_sent]
            .iter()
            .all(|tally| tally.files == 0 && tally.folders == 0)
    }
}

/// Whether it is a file's turn to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Now,
    /// Others go first. It is not begun in this transfer; what is under way, or there in part, is ended.
    Later,
    /// It is not to be sent any more. If it is under way, it is given up where it is.
    Never,
}

/// Where the time of the sending end goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reading files.
    Disk,
    /// Hashing and packing them.
    Processor,
    /// Waiting for the stream to take more.
    Stream,
    /// Waiting for the receiver's answers, with nothing else to send.
    Answer,
}

impl Work {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 4] = [Self::Disk, Self::Processor, Self::Stream, Self::Answer];
}

/// Whatever may be watched of a transfer, and steered; every method may be called from any thread and should return at once.
pub trait Progress: Send + Sync {
    /// So much was found by the first pass so far.
    fn scanned(&self, _files: u64, _bytes: u64) {}
    /// The far end is ready; so much is going to be sent or to be received.
    fn started(&self, _entries: u64, _bytes: u64) {}
    /// Whether this file is to be sent: asked before it is, and again and again while it is.
    fn turn(&self, _name: &RelativePath) -> Turn {
        Turn::Now
    }
    /// The data of this file comes next.
    fn file(&self, _name: &RelativePath, _size: u64) {}
    /// So many octets of the file need not be sent: they were there already, or are a hole.
    fn held(&self, _bytes: u64) {}
    /// So many more octets of files went into the stream, or came out of it.
    fn moved(&self, _bytes: u64) {}
    /// So much time went there, and is over.
    fn spent(&self, _on: Work, _time: Duration) {}
    /// This is settled, at the sender by the receiver's word.
    fn settled(&self, _entry: &EntryReport) {}
}

/// Nobody watches.
impl Progress for () {}
