//! Symbolic links, as the text that they are: never followed, at neither end. One that leads nowhere, or out of the folder, is a text as well.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use rustix::io::Errno;

use crate::beneath;
use crate::content::HASH_LEN;
use crate::disk::{Disk, DiskFolder};
use crate::ledger::Version;
use crate::path::{COPIES_MAX, RelativePath, copy_name};
use crate::protocol::{FileTime, Verdict};
use crate::reason::Obstacle;
use crate::source::{SourceFault, modified};
use crate::stamp::Stamp;

/// A link of the sending end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) target: Vec<u8>,
    pub(crate) stamp: Stamp,
    pub(crate) modified: FileTime,
}

impl Link {
    /// Reads what is at `path` below `root`; none if that is no link.
    pub(crate) fn read(root: BorrowedFd<'_>, path: &RelativePath) -> Result<Option<Self>, SourceFault> {
        let (parent, name) = path.split_last();
        let folder = beneath::open_folder(root, parent.as_ref())?;
        let before = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(before.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        let target = readlinkat(&folder, name, Vec::new())?.into_bytes();
        let stamp = Stamp::of(&before);
        if Stamp::of(&statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?) != stamp {
            return Err(SourceFault::Changed);
        }
        Ok(Some(Self { target, stamp, modified: modified(&before) }))
    }

    /// What is sent of it.
    pub(crate) fn version(&self) -> Version {
        let (size, hash) = (self.target.len() as u64, hash(&self.target));
        Version { stamp: self.stamp, size, hash, modified: self.modified }
    }
}

/// What stands for the content of a link in a receipt.
pub(crate) fn hash(target: &[u8]) -> [u8; HASH_LEN] {
    *blake3::hash(target).as_bytes()
}

/// Makes a link under the private name `private` and gives it the first free name of its row, unless one of the row is the same link.
pub(crate) fn publish(
    disk: &dyn Disk,
    folder: &dyn DiskFolder,
    private: &str,
    name: &[u8],
    target: &[u8],
    modified: Option<FileTime>,
) -> Result<Verdict, Obstacle> {
    disk.create_link(private, target, modified)?;
    let published = give_name(folder, private, name, target);
    if !matches!(published, Ok(Verdict::Delivered { .. }))
        && let Err(error) = disk.remove(private)
    {
        tracing::warn!(private, %error, "a link stays until the next start");
    }
    published
}

fn give_name(
    folder: &dyn DiskFolder,
    private: &str,
    name: &[u8],
    target: &[u8],
) -> Result<Verdict, Obstacle> {
    for copy in 1..=COPIES_MAX {
        let name = copy_name(name, copy);
        match folder.publish(private, &name) {
            Ok(()) => return Ok(Verdict::Delivered { copy }),
            Err(Errno::EXIST) if folder.link_target(&name)?.as_deref() == Some(target) => {
                return Ok(Verdict::AlreadyThere { copy });
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Obstacle::TooManyCopies)
}
