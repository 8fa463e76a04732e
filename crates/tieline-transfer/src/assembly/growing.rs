//! A file that grows: data, holes and parts of an older version, until it is whole.

use std::io::{Seek, SeekFrom};

use super::{Assembly, Offered, Outputs, State, hole_len};
use crate::basis::Basis;
use crate::content::{ContentHasher, HASH_LEN};
use crate::disk::PublishedFile;
use crate::holes::hash_zeros;
use crate::inbox::{Inbox, Partial};
use crate::keeping::{HOLD_PIECES, Hold};
use crate::metadata::give;
use crate::outcome::EntryKind;
use crate::protocol::{DATA_LEN_MAX, Verdict, Violation};
use crate::publish::{Content, Ready};
use crate::reason::Obstacle;

/// Octets that are copied at once.
const COPY_LEN: u64 = DATA_LEN_MAX as u64;

/// A file that is open, and how far it is.
pub(super) struct Growing {
    pub(super) offered: Offered,
    pub(super) left: u64,
    pub(super) partial: Partial,
    pub(super) content: Hashed,
    /// Pieces that were handed on to be held.
    pub(super) held: usize,
    /// From which parts of it may be taken, and that file, if some were.
    pub(super) basis: Option<Basis>,
    pub(super) old: Option<Box<dyn PublishedFile>>,
}

/// The hash of a growing file.
pub(super) enum Hashed {
    SoFar(Box<ContentHasher>),
    /// All of it was here before.
    Whole([u8; HASH_LEN]),
}

impl Assembly {
    pub(super) fn on_data(&mut self, growing: Box<Growing>, data: &[u8]) -> Result<State, Violation> {
        if data.len() as u64 > growing.left {
            return Err(Violation::BeyondSize(growing.offered.entry));
        }
        self.progress.moved(data.len() as u64);
        Ok(self.append(growing, data))
    }

    pub(super) fn on_hole(&mut self, mut growing: Box<Growing>, len: u64) -> Result<State, Violation> {
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
    pub(super) fn on_copy(
        &mut self,
        mut growing: Box<Growing>,
        from: u64,
        len: u64,
    ) -> Result<State, Violation> {
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

    pub(super) fn on_file_end(&mut self, growing: Growing, hash: [u8; HASH_LEN]) -> State {
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
}

impl Growing {
    pub(super) fn new(offered: Offered, partial: Partial, content: Hashed) -> Self {
        let size = offered.size;
        let (here, held) = match &content {
            Hashed::SoFar(hasher) => (hasher.len(), hasher.pieces().len()),
            Hashed::Whole(_) => (size, 0),
        };
        Self { offered, left: size.saturating_sub(here), partial, content, held, basis: None, old: None }
    }
}

impl Hashed {
    pub(super) fn hash(&self) -> [u8; HASH_LEN] {
        match self {
            Self::SoFar(hasher) => hasher.finalize(),
            Self::Whole(hash) => *hash,
        }
    }
}

impl Outputs {
    /// Has the pieces of a file that the journal knows held, if there are `at_least` so many new ones, and unless others are being held;
    /// with `waits`, after them.
    pub(super) fn hold(&self, growing: &mut Growing, at_least: usize, waits: bool) {
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

/// Gives the whole file what it keeps besides its content.
fn finish(growing: &Growing, inbox: &Inbox) -> rustix::io::Result<()> {
    let Offered { mode, modified, attributes, .. } = &growing.offered;
    let (file, keep) = (&*growing.partial.file, inbox.keep());
    file.set_metadata(keep.file_mode(*mode), keep.times.then_some(*modified))?;
    inbox.count_not_given(give(file, attributes));
    Ok(())
}
