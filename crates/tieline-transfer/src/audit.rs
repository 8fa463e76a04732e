//! The audit log: what happened to every file, in a chain in which nothing can be changed, left out or moved without a trace.
//!
//! Each end keeps its own. An [`Entry`] is what happened; a [`Link`] is an entry at its place: its number, counted from 1, the hash
//! of the link before it (32 octets of zero before the first), and its own hash, which is BLAKE3 of these octets, numbers big-endian:
//!
//! | 0: `tieline audit v1` (16) | 16: number (8) | 24: previous hash (32) | 56: entry |
//!
//! An entry:
//!
//! | 0: event (1) | 1: direction, 1 sent or 2 received (1) | 2: which optional fields follow (1) |
//! | 3: time, seconds since 1970 (8, signed) | 11: nanoseconds (4) | 15: transfer (16) | 31: entry number (8) | 39: size (8) |
//! | 47: path length, 0 to 4,096 (2) | 49: path |
//! | then, with bit 0x01: BLAKE3 of the content (32) |
//! | then, with bit 0x02: reason code (2), text length, 0 to 1,024 (2), text in UTF-8 |
//! | then, with bit 0x04: digest of the group of receipts (32) |
//!
//! | event | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
//! |---|---|---|---|---|---|---|---|---|
//! | | offered | delivered | already there | refused | given up | failed | cancelled | removed |
//!
//! The transfer is sixteen octets of zero where there was none: of what was cancelled while it waited.
//!
//! There is one way to write an entry, and a parser takes no other. Links are kept wherever the caller likes; [`Chain`] makes them
//! and [`Verifier`] reads them one by one, so a log may be longer than memory.
//!
//! What a sound chain proves: nothing before its last link was touched since somebody saw the hash of that link. Whoever may write
//! the log can write all of it anew, or cut off its end, and the chain alone does not show that; a [`Mark`] does, one that was kept
//! where he cannot write: at the other end of the line, or on paper.

mod fate;
mod octets;
mod verify;

pub use octets::EntryError;
pub use verify::{Break, Fault, Verified, Verifier, verify};

use std::fmt;

use data_encoding::HEXLOWER;

use crate::moment::Moment;
use crate::protocol::HASH_LEN;
use crate::receipt::TransferId;

/// Octets of a path, as in a receipt; a longer one is logged by its beginning. No inbox takes it, and the reason says so.
pub const PATH_LEN_MAX: usize = crate::receipt::NAME_LEN_MAX;
/// Octets of the text of a reason: a long sentence with a path in it. A longer one is cut.
pub const TEXT_LEN_MAX: usize = 1024;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The sender offered it.
    Offered,
    /// It is durable at the receiving end.
    Delivered,
    /// The same content was there before.
    AlreadyThere,
    /// The receiver does not take it.
    Refused,
    /// It was tried for as long as was configured.
    GivenUp,
    /// It was tried and did not work; it may be tried again.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
    /// It is taken out of a mirror, because it is not at the other end any more. Noted before it is done.
    Removed,
}

/// Which way the file goes, seen from the end that keeps the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the other end.
    Sent,
    /// From the other end.
    Received,
}

/// Why it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The code, see [`crate::reason`].
    pub code: u16,
    /// The sentence. Not fit for a terminal if it quotes a name, see [`crate::Escaped`].
    pub text: String,
}

/// Something that happened to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, by the clock of the end that keeps the log.
    pub at: Moment,
    /// What.
    pub event: Event,
    /// Which way the file goes.
    pub direction: Direction,
    /// In which transfer.
    pub transfer: TransferId,
    /// The file's number in the transfer.
    pub entry: u64,
    /// Its path as offered. Not fit for a terminal, see [`crate::Escaped`].
    pub path: Box<[u8]>,
    /// Octets of its content, as far as known.
    pub size: u64,
    /// BLAKE3 of its content, if known.
    pub hash: Option<[u8; HASH_LEN]>,
    /// Why, if there is more to say than the event does.
    pub reason: Option<Reason>,
    /// The group with its receipt, see [`crate::receipt::Group::digest`], if there is one.
    pub receipt: Option<[u8; HASH_LEN]>,
}

/// An entry at its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its place, counted from 1.
    pub number: u64,
    /// The hash of the link before it.
    pub previous: [u8; HASH_LEN],
    /// What happened.
    pub entry: Entry,
    /// Its own hash.
    pub hash: [u8; HASH_LEN],
}

/// A place in the chain and the hash of the link there: all that is needed to go on after it, or to recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the link.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; HASH_LEN],
}

/// The end of a chain, where links are added.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    last: Mark,
}

impl Event {
    const ALL: [Self; 8] = [
        Self::Offered,
        Self::Delivered,
        Self::AlreadyThere,
        Self::Refused,
        Self::GivenUp,
        Self::Failed,
        Self::Cancelled,
        Self::Removed,
    ];

    /// Its word in exports and on screens.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Delivered => "delivered",
            Self::AlreadyThere => "already-there",
            Self::Refused => "refused",
            Self::GivenUp => "given-up",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Removed => "removed",
        }
    }
}

impl Direction {
    /// Its word in exports and on screens.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

impl Mark {
    /// The place before the first link.
    pub const START: Self = Self { number: 0, hash: [0; HASH_LEN] };
}

impl fmt::Display for Mark {
    /// Number and hash, as they are kept on paper.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, HEXLOWER.encode_display(&self.hash))
    }
}

impl Chain {
    /// Goes on after `last`: the mark of the last link that was kept, [`Mark::START`] for a new log.
    #[must_use]
    pub fn new(last: Mark) -> Self {
        Self { last }
    }

    /// Makes the link of `entry`. If it cannot be kept, the chain goes on where the log does: with [`Self::new`] after its last link.
    ///
    /// A path longer than [`PATH_LEN_MAX`] and a text longer than [`TEXT_LEN_MAX`] are cut: a log that refuses to note what a
    /// hostile peer did would be worth less.
    pub fn append(&mut self, mut entry: Entry) -> Link {
        entry.cut();
        // A number that cannot grow was not counted by us; the verifier says so.
        let number = self.last.number.saturating_add(1);
        let previous = self.last.hash;
        let mut link = Link { number, previous, entry, hash: [0; HASH_LEN] };
        link.hash = link.computed_hash();
        self.last = link.mark();
        link
    }

    /// The last link that was appended.
    #[must_use]
    pub fn last(&self) -> Mark {
        self.last
    }
}

impl Link {
    /// Its place and its hash.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { number: self.number, hash: self.hash }
    }
}

impl Entry {
    /// Cuts what is longer than an entry may be.
    fn cut(&mut self) {
        if !self.fits() {
            self.path = kept_path(&self.path).into();
            if let Some(reason) = &mut self.reason {
                reason.text.truncate(kept_text(&reason.text).len());
            }
        }
    }

    fn fits(&self) -> bool {
        self.path.len() <= PATH_LEN_MAX
            && self.reason.as_ref().is_none_or(|reason| reason.text.len() <= TEXT_LEN_MAX)
    }
}

fn kept_path(path: &[u8]) -> &[u8] {
    &path[..path.len().min(PATH_LEN_MAX)]
}

fn kept_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LEN_MAX)]
}

#[cfg(test)]
mod tests;
