//! The mark on files that were copied into an outbox: an extended attribute, so that it stays with the file over restarts.
//!
//! It says that the file is a copy, which may be removed with no loss when nobody wants it to be sent any more, and whether it goes first.
//! Where the file system has no extended attributes there is no mark, and then a file is nobody's copy and goes in its turn.

use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{OFlags, XattrFlags, fgetxattr, fsetxattr};

use crate::beneath;
use crate::path::RelativePath;

const NAME: &str = "user.tieline.spooled";
const IN_TURN: &[u8] = b"1";
const FIRST: &[u8] = b"first";

/// What a copy's mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whether it goes before all others.
    pub is_first: bool,
}

impl Mark {
    /// The mark of the file `path` below `root`; none if it has none, or cannot be read.
    #[must_use]
    pub fn of(root: BorrowedFd<'_>, path: &RelativePath) -> Option<Self> {
        let file = beneath::open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
        let mut value = [0; FIRST.len()];
        // One that is longer is none of ours, and an error.
        let len = fgetxattr(&file, NAME, &mut value).ok()?;
        match value.get(..len)? {
            IN_TURN => Some(Self { is_first: false }),
            FIRST => Some(Self { is_first: true }),
            _ => None,
        }
    }

    /// Marks a copy. Returns whether the file system let us.
    pub(super) fn set(self, file: &File) -> bool {
        let value = if self.is_first { FIRST } else { IN_TURN };
        fsetxattr(file, NAME, value, XattrFlags::empty()).is_ok()
    }
}
