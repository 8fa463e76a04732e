//! The real disk: a folder held by its descriptor, and a private folder inside it.
//!
//! Everything is created relative to the held folder, whatever becomes of its path. The lock on the private folder makes one process its
//! owner.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, Timespec,
    Timestamps, UTIME_OMIT, fallocate, fchmod, fdatasync, flock, fstat, fstatvfs, fsync, ftruncate, futimens,
    linkat, mkdirat, openat, readlinkat, renameat, renameat_with, statat, symlinkat, syncfs, unlinkat,
    utimensat,
};
use rustix::fs::{Gid, Uid, XattrFlags, fchown, fsetxattr};
use rustix::io::{Errno, Result};

use crate::beneath;
use crate::disk::{Attributed, Disk, DiskFile, DiskFolder, Extent, FolderId, Occupant, PublishedFile};
use crate::inbox::InboxError;
use crate::path::{PARTIAL_FOLDER, RelativePath};
use crate::protocol::FileTime;

/// Octets of a block of [`MetadataExt::blocks`].
const BLOCK_LEN: u64 = 512;

/// A folder of this machine.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    private: Arc<OwnedFd>,
}

impl Folder {
    /// Opens the folder at `path` and locks it, creating it with mode 0750 if it is missing.
    ///
    /// # Errors
    ///
    /// `Folder`, `Partial` with the system's reason; `Owner`, `InUse`.
    pub fn open(path: &Path) -> std::result::Result<Self, InboxError> {
        let folder = |source: io::Error| InboxError::Folder { path: path.into(), source };
        let inside = |source: Errno| InboxError::Partial { path: path.into(), source: source.into() };
        DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(folder)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|errno| folder(errno.into()))?;
        match mkdirat(&root, PARTIAL_FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(inside(errno)),
        }
        let private =
            openat(&root, PARTIAL_FOLDER, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(inside)?;
        let (owner, us) = (fstat(&private).map_err(inside)?.st_uid, rustix::process::geteuid().as_raw());
        if owner != us {
            return Err(InboxError::Owner { path: path.into(), owner, us });
        }
        fchmod(&private, Mode::RWXU).map_err(inside)?;
        match flock(&private, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, private: Arc::new(private) }),
            Err(Errno::WOULDBLOCK) => Err(InboxError::InUse { path: path.into() }),
            Err(errno) => Err(inside(errno)),
        }
    }

    fn held(&self, folder: OwnedFd) -> Box<dyn DiskFolder> {
        Box::new(HeldFolder { folder, private: Arc::clone(&self.private) })
    }
}

impl Disk for Folder {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Box::new(File::from(openat(&self.private, name, flags, Mode::RUSR | Mode::WUSR)?)))
    }

    fn create_link(&self, name: &str, target: &[u8], modified: Option<FileTime>) -> Result<()> {
        symlinkat(target, &self.private, name)?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let timed =
            modified.map_or(Ok(()), |modified| utimensat(&self.private, name, &times(modified), nofollow));
        if timed.is_err() {
            unlinkat(&self.private, name, AtFlags::empty())?;
        }
        timed
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Box::new(File::from(openat(&self.private, name, flags, Mode::empty())?)))
    }

    fn remove(&self, name: &str) -> Result<()> {
        unlinkat(&self.private, name, AtFlags::empty())
    }

    fn remove_others(&self, names: &[String]) -> Result<u64> {
        remove_others(&self.private, names)
    }

    fn sync_names(&self) -> Result<()> {
        fsync(&*self.private)
    }

    fn open_folder<'d>(&'d self, path: Option<&RelativePath>) -> Result<Box<dyn DiskFolder + 'd>> {
        Ok(self.held(beneath::open_folder(self.root.as_fd(), path)?))
    }

    fn make_folder<'d>(
        &'d self,
        path: Option<&RelativePath>,
        mode: Mode,
        changed: &mut dyn FnMut(Box<dyn DiskFolder + 'd>),
    ) -> Result<Box<dyn DiskFolder + 'd>> {
        let mut changed = |folder| changed(self.held(folder));
        Ok(self.held(beneath::make_folder(self.root.as_fd(), path, mode, &mut changed)?))
    }

    fn sync_all(&self) -> Result<()> {
        syncfs(&self.root)
    }

    fn free_bytes(&self) -> Result<u64> {
        let space = fstatvfs(&self.root)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl Attributed for File {
    fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> Result<()> {
        fchown(self, user.map(Uid::from_raw), group.map(Gid::from_raw))
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()> {
        fsetxattr(self, name, value, XattrFlags::empty())
    }
}

impl DiskFile for File {
    fn write_all_at(&self, octets: &[u8], at: u64) -> Result<()> {
        FileExt::write_all_at(self, octets, at).map_err(errno)
    }

    fn make_hole(&self, at: u64, len: u64) -> Result<()> {
        // What is there already, of a part that was not held, must not show in the hole.
        if self.extent()?.size > at {
            ftruncate(self, at)?;
        }
        ftruncate(self, at.checked_add(len).ok_or(Errno::FBIG)?)
    }

    fn reserve(&self, size: u64) -> Result<()> {
        match fallocate(self, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            reserved => reserved,
        }
    }

    fn extent(&self) -> Result<Extent> {
        let status = self.metadata().map_err(errno)?;
        Ok(Extent { size: status.len(), allocated: status.blocks() * BLOCK_LEN })
    }

    fn set_metadata(&self, mode: Mode, modified: Option<FileTime>) -> Result<()> {
        fchmod(self, mode)?;
        modified.map_or(Ok(()), |modified| futimens(self, &times(modified)))
    }

    fn sync_data(&self) -> Result<()> {
        fdatasync(self)
    }

    fn sync(&self) -> Result<()> {
        fsync(self)
    }
}

/// A file of a public folder.
struct Published {
    file: File,
    size: u64,
}

impl Read for Published {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Published {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl PublishedFile for Published {
    fn size(&self) -> u64 {
        self.size
    }

    fn sync(&self) -> Result<()> {
        fsync(&self.file)
    }
}

#[derive(Debug)]
struct HeldFolder {
    folder: OwnedFd,
    private: Arc<OwnedFd>,
}

impl Attributed for HeldFolder {
    fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> Result<()> {
        fchown(&self.folder, user.map(Uid::from_raw), group.map(Gid::from_raw))
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()> {
        fsetxattr(&self.folder, name, value, XattrFlags::empty())
    }
}

impl DiskFolder for HeldFolder {
    fn id(&self) -> Result<FolderId> {
        fstat(&self.folder).map(|stat| (stat.st_dev, stat.st_ino))
    }

    fn publish(&self, private: &str, name: &[u8]) -> Result<()> {
        match renameat_with(&self.private, private, &self.folder, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                move_by_link(self.private.as_fd(), private, self.folder.as_fd(), name)
            }
            renamed => renamed,
        }
    }

    fn replace(&self, private: &str, name: &[u8]) -> Result<()> {
        renameat(&self.private, private, &self.folder, name)
    }

    fn occupant(&self, name: &[u8]) -> Result<Option<Occupant>> {
        let stat = match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Occupant::File { size, modified: modified(&stat) }
            }
            FileType::Directory => Occupant::Folder,
            _ => Occupant::Other,
        }))
    }

    fn changed(&self) -> Result<FileTime> {
        fstat(&self.folder).map(|stat| modified(&stat))
    }

    fn child(&self, name: &[u8]) -> Result<Box<dyn DiskFolder>> {
        let folder = beneath::open_child(self.folder.as_fd(), name)?;
        Ok(Box::new(Self { folder, private: Arc::clone(&self.private) }))
    }

    fn remove_file(&self, name: &[u8]) -> Result<()> {
        unlinkat(&self.folder, name, AtFlags::empty())
    }

    fn remove_folder(&self, name: &[u8]) -> Result<()> {
        unlinkat(&self.folder, name, AtFlags::REMOVEDIR)
    }

    fn names(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<()> {
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && !each(name) {
                break;
            }
        }
        Ok(())
    }

    fn published(&self, name: &[u8]) -> Result<Option<Box<dyn PublishedFile>>> {
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // Opening what is no file could do something.
        if !statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_file(&stat)) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.folder, name, flags, Mode::empty()) else { return Ok(None) };
        let stat = fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let file = is_file(&stat).then(|| Published { file: File::from(file), size });
        Ok(file.map(|file| Box::new(file) as Box<dyn PublishedFile>))
    }

    fn link_target(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match readlinkat(&self.folder, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_modified(&self, modified: FileTime) -> Result<()> {
        futimens(&self.folder, &times(modified))
    }

    fn sync(&self) -> Result<()> {
        fsync(&self.folder)
    }
}

fn times(modified: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    }
}

/// A second name, which fails as atomically if it is taken, and then the first one's end.
fn move_by_link(private: BorrowedFd<'_>, from: &str, folder: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    linkat(private, from, folder, name, AtFlags::empty())?;
    if let Err(error) = unlinkat(private, from, AtFlags::empty()) {
        tracing::warn!(from, %error, "a second name stays until the next start");
    }
    Ok(())
}

/// Removes what is in the private folder, but files of these names; only its lock's holder may.
fn remove_others(private: &OwnedFd, names: &[String]) -> Result<u64> {
    let mut others = Vec::new();
    for entry in Dir::read_from(private)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") && !names.iter().any(|known| known.as_bytes() == name) {
            others.push(entry.file_name().to_owned());
        }
    }
    let mut removed = 0;
    for name in others {
        match unlinkat(private, &name, AtFlags::empty()) {
            Ok(()) => removed += 1,
            // We make no folders here. An empty one is no harm and goes, a full one is somebody's work and stays.
            Err(Errno::ISDIR) => match unlinkat(private, &name, AtFlags::REMOVEDIR) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(?name, %error, "a folder among the unfinished files is left alone")
                }
            },
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn modified(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn where_renaming_cannot_refuse_to_replace_a_link_does() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::open(dir.path()).unwrap();
        for (private, content) in [("1", b"one"), ("2", b"two")] {
            disk.create(private).unwrap().write_all_at(content, 0).unwrap();
        }
        let publish = |from| move_by_link(disk.private.as_fd(), from, disk.root.as_fd(), b"name");
        assert_eq!(publish("1"), Ok(()));
        assert_eq!(publish("2"), Err(Errno::EXIST));
        assert_eq!(fs::read(dir.path().join("name")).unwrap(), b"one");
        let private = dir.path().join(PARTIAL_FOLDER);
        assert!(!private.join("1").exists() && private.join("2").exists());
    }

    #[test]
    fn only_a_regular_file_is_opened_to_be_compared() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::open(dir.path()).unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        fs::write(dir.path().join("file"), b"xyz").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let top = disk.open_folder(None).unwrap();
        for (name, expected) in [("folder", None), ("missing", None), ("link", None), ("file", Some(3))] {
            let size = top.published(name.as_bytes()).unwrap().map(|file| file.size());
            assert_eq!(size, expected, "{name}");
        }
    }
}
