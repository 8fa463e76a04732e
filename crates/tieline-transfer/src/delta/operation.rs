//! How the new file is made from the old one and from octets that are sent.

/// The next octets of the new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The old file has them.
    Copy {
        /// Where they are in the new file.
        at: u64,
        /// Where they are in the old one.
        from: u64,
        /// How many.
        len: u64,
    },
    /// They are sent.
    Literal {
        /// Where they are in the new file.
        at: u64,
        /// How many.
        len: u64,
    },
}

impl Operation {
    /// Octets of the new file that it makes; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an operation is never empty")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Copy { len, .. } | Self::Literal { len, .. } => *len,
        }
    }
}

/// Everything that makes the new file, from its front to its end without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    /// In order, not overlapping; what is between them is literal.
    copies: Vec<Copied>,
    new_len: u64,
}

impl Operations {
    pub(super) fn new(copies: Vec<Copied>, new_len: u64) -> Self {
        Self { copies, new_len }
    }

    /// The operations from `offset` of the new file on; the first may be the rest of one. None at the end and beyond.
    #[must_use]
    pub fn from_offset(&self, offset: u64) -> OperationsFrom<'_> {
        let before = self.copies.partition_point(|copied| copied.end() <= offset);
        OperationsFrom { copies: &self.copies[before..], at: offset, new_len: self.new_len }
    }

    /// Octets of the new file.
    #[must_use]
    pub fn new_len(&self) -> u64 {
        self.new_len
    }

    /// Octets that have to be sent.
    #[must_use]
    pub fn literal_len(&self) -> u64 {
        self.new_len - self.copies.iter().map(|copied| copied.len).sum::<u64>()
    }

    pub(super) fn copies(&self) -> &[Copied] {
        &self.copies
    }
}

/// The operations from some place in the new file on.
#[derive(Clone, Debug)]
pub struct OperationsFrom<'a> {
    copies: &'a [Copied],
    at: u64,
    new_len: u64,
}

impl Iterator for OperationsFrom<'_> {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        let at = self.at;
        let operation = match self.copies {
            [copied, rest @ ..] if copied.at <= at => {
                self.copies = rest;
                Operation::Copy { at, from: copied.from + (at - copied.at), len: copied.end() - at }
            }
            [copied, ..] => Operation::Literal { at, len: copied.at - at },
            [] if at < self.new_len => Operation::Literal { at, len: self.new_len - at },
            [] => return None,
        };
        self.at += operation.len();
        Some(operation)
    }
}

/// A part of the new file that the old one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) at: u64,
    pub(super) from: u64,
    pub(super) len: u64,
}

impl Copied {
    fn end(&self) -> u64 {
        self.at + self.len
    }

    fn is_followed_by(&self, other: &Self) -> bool {
        self.end() == other.at && self.from + self.len == other.from
    }
}

/// Gathers copies in order, up to a number of them.
pub(super) struct Copies {
    list: Vec<Copied>,
    room: usize,
}

impl Copies {
    pub(super) fn with_room_for(room: usize) -> Self {
        Self { list: Vec::new(), room }
    }

    /// Whether another copy might find no room.
    pub(super) fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Adds a copy that lies behind all others. There must be room.
    pub(super) fn push(&mut self, copied: Copied) {
        match self.list.last_mut() {
            Some(last) if last.is_followed_by(&copied) => last.len += copied.len,
            _ => {
                self.list.push(copied);
                self.room -= 1;
            }
        }
    }

    /// Adds a copy that had its room already.
    pub(super) fn push_known(&mut self, copied: Copied) {
        self.room += 1;
        self.push(copied);
    }

    /// Where the old file has what is at `at` of the new one, if nothing was put in or taken out since the last copy.
    pub(super) fn expected_from(&self, at: u64) -> u64 {
        self.list.last().map_or(at, |last| last.from.saturating_add(at - last.at))
    }

    pub(super) fn into_list(self) -> Vec<Copied> {
        self.list
    }
}
