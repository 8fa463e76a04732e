//! What the receiving end asks of a disk, so that a test can be one: a disk that loses what was not synced, that is full, or that fails.
//!
//! A disk has a private part, where files grow under names that only the receiver uses, and a public one, the folders of the inbox, where
//! they appear when they are whole. Nothing is durable before it was synced: a file's data and size by the file, a name by the folder that
//! has it. The real disk is [`crate::folder::Folder`]. All methods fail with what the system says.

use std::fmt::Debug;
use std::io::{Read, Seek};

use rustix::fs::Mode;
use rustix::io::Result;

use crate::path::RelativePath;
use crate::protocol::FileTime;

/// A file system with an inbox on it.
pub trait Disk: Debug + Send + Sync {
    /// Creates an empty private file, which nobody else may read.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `EXIST` if there is one of that name.
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>>;

    /// Creates a private symbolic link with that text and, if there is one, that time.
    ///
    /// # Errors
    ///
    /// As `symlink(2)` and `utimensat(2)`; there is none then.
    fn create_link(&self, name: &str, target: &[u8], modified: Option<FileTime>) -> Result<()>;

    /// Opens a private file.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `NOENT` if there is none.
    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>>;

    /// Removes a private file.
    ///
    /// # Errors
    ///
    /// As `unlink(2)`: `NOENT` if there is none.
    fn remove(&self, name: &str) -> Result<()>;

    /// Removes all private files but those of these names, and says how many.
    ///
    /// # Errors
    ///
    /// As `readdir(3)` and `unlink(2)`.
    fn remove_others(&self, names: &[String]) -> Result<u64>;

    /// Makes the names of the private files durable.
    ///
    /// # Errors
    ///
    /// As `fsync(2)`.
    fn sync_names(&self) -> Result<()>;

    /// Opens the public folder `path`, or the top one, without following a link.
    ///
    /// # Errors
    ///
    /// `LOOP` for a symbolic link, `NOTDIR` for anything else that is no folder, else as `open(2)`.
    fn open_folder<'d>(&'d self, path: Option<&RelativePath>) -> Result<Box<dyn DiskFolder + 'd>>;

    /// Opens the public folder `path`, or the top one, and creates what is missing of it: the last one with `mode`, others with `0755`.
    /// Each folder in which one was created is handed to `changed`, to be synced.
    ///
    /// # Errors
    ///
    /// As [`Self::open_folder`] and `mkdir(2)`.
    fn make_folder<'d>(
        &'d self,
        path: Option<&RelativePath>,
        mode: Mode,
        changed: &mut dyn FnMut(Box<dyn DiskFolder + 'd>),
    ) -> Result<Box<dyn DiskFolder + 'd>>;

    /// Writes back all there is, names and data. A file whose data was lost in this says so once more when it is synced itself.
    ///
    /// # Errors
    ///
    /// As `syncfs(2)`.
    fn sync_all(&self) -> Result<()>;

    /// Octets that can still be stored.
    ///
    /// # Errors
    ///
    /// As `fstatvfs(3)`.
    fn free_bytes(&self) -> Result<u64>;
}

/// An open private file. An error in writing it back is told once to each who has it open, and what was lost is not tried again.
pub trait DiskFile: Attributed + Debug + Send {
    /// Writes all octets, from `at` on.
    ///
    /// # Errors
    ///
    /// As `pwrite(2)`.
    fn write_all_at(&self, octets: &[u8], at: u64) -> Result<()>;

    /// Cuts the file off at `at`, whatever was behind that, and lets it go on with `len` zeros that take no room, where that is possible.
    ///
    /// # Errors
    ///
    /// As `ftruncate(2)`.
    fn make_hole(&self, at: u64, len: u64) -> Result<()>;

    /// Reserves room for `size` octets; where that is not possible they may still fit.
    ///
    /// # Errors
    ///
    /// As `fallocate(2)`: `NOSPC`.
    fn reserve(&self, size: u64) -> Result<()>;

    /// Its size and the room it takes.
    ///
    /// # Errors
    ///
    /// As `fstat(2)`.
    fn extent(&self) -> Result<Extent>;

    /// Gives it permissions and, if there is one, a time.
    ///
    /// # Errors
    ///
    /// As `fchmod(2)` and `futimens(2)`.
    fn set_metadata(&self, mode: Mode, modified: Option<FileTime>) -> Result<()>;

    /// Makes its data and its size durable.
    ///
    /// # Errors
    ///
    /// As `fdatasync(2)`.
    fn sync_data(&self) -> Result<()>;

    /// Makes all of it durable but its name.
    ///
    /// # Errors
    ///
    /// As `fsync(2)`.
    fn sync(&self) -> Result<()>;
}

/// An open file or folder, which belongs to somebody and may have extended attributes.
pub trait Attributed {
    /// Gives it to these.
    ///
    /// # Errors
    ///
    /// As `fchown(2)`.
    fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> Result<()>;

    /// Gives it an extended attribute.
    ///
    /// # Errors
    ///
    /// As `fsetxattr(2)`.
    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()>;
}

/// How large a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Octets that can be read.
    pub size: u64,
    /// Octets of room on the disk, with what is reserved.
    pub allocated: u64,
}

/// An open public folder. It stays this one whatever becomes of its path.
pub trait DiskFolder: Attributed + Debug {
    /// What tells it from every other folder.
    ///
    /// # Errors
    ///
    /// As `fstat(2)`.
    fn id(&self) -> Result<FolderId>;

    /// Moves the private file or link `private` into it, under a name that must be free.
    ///
    /// # Errors
    ///
    /// As `rename(2)`: `EXIST` if the name is taken.
    fn publish(&self, private: &str, name: &[u8]) -> Result<()>;

    /// Moves the private file `private` into it in place of the file that has the name. At any moment, a power cut included, the name
    /// is that of one of the two. Whether what has it may be replaced is for the caller to find out, by [`Self::occupant`], just before.
    ///
    /// # Errors
    ///
    /// As `rename(2)`: `ISDIR` if the name is that of a folder.
    fn replace(&self, private: &str, name: &[u8]) -> Result<()>;

    /// What has the name `name`, none if nothing has; a link is not followed.
    ///
    /// # Errors
    ///
    /// As `stat(2)`.
    fn occupant(&self, name: &[u8]) -> Result<Option<Occupant>>;

    /// When a name in it appeared or went last.
    ///
    /// # Errors
    ///
    /// As `fstat(2)`.
    fn changed(&self) -> Result<FileTime>;

    /// Opens the folder `name` in it, without following a link and without leaving the file system that is mounted here.
    ///
    /// # Errors
    ///
    /// `LOOP` or `NOTDIR` for what is no folder, `XDEV` for a mount point, else as `open(2)`.
    fn child(&self, name: &[u8]) -> Result<Box<dyn DiskFolder>>;

    /// Removes the name `name`, which is not that of a folder; a link, and not what it leads to.
    ///
    /// # Errors
    ///
    /// As `unlink(2)`.
    fn remove_file(&self, name: &[u8]) -> Result<()>;

    /// Removes the empty folder `name`.
    ///
    /// # Errors
    ///
    /// As `rmdir(2)`.
    fn remove_folder(&self, name: &[u8]) -> Result<()>;

    /// Hands each name in it to `each`, in no order, until that says false.
    ///
    /// # Errors
    ///
    /// As `readdir(3)`.
    fn names(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<()>;

    /// Opens its regular file `name` to be compared or copied from. None if there is no such file or it cannot be opened.
    ///
    /// # Errors
    ///
    /// As `fstat(2)`.
    fn published(&self, name: &[u8]) -> Result<Option<Box<dyn PublishedFile>>>;

    /// The text of its symbolic link `name`; none if that is something else, or gone.
    ///
    /// # Errors
    ///
    /// As `readlink(2)`.
    fn link_target(&self, name: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Gives it a time.
    ///
    /// # Errors
    ///
    /// As `futimens(2)`.
    fn set_modified(&self, modified: FileTime) -> Result<()>;

    /// Makes the names in it durable.
    ///
    /// # Errors
    ///
    /// As `fsync(2)`.
    fn sync(&self) -> Result<()>;
}

/// What has a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// A regular file, its size and when it was modified.
    File {
        /// Octets that can be read.
        size: u64,
        /// By whichever clock it was set.
        modified: FileTime,
    },
    /// A folder.
    Folder,
    /// A link, a pipe, a socket or a device.
    Other,
}

/// Device and inode of a folder.
pub type FolderId = (u64, u64);

/// A file under its final name, open to be read.
pub trait PublishedFile: Read + Seek + Send {
    /// Its size when it was opened.
    fn size(&self) -> u64;

    /// Makes it durable, as far as somebody else wrote it.
    ///
    /// # Errors
    ///
    /// As `fsync(2)`.
    fn sync(&self) -> Result<()>;
}
