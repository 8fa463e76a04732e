//! The folder that receives, held open and locked.
//!
//! An [`Inbox`] lives as long as the process that receives. It holds the folder itself by descriptor, so that everything is
//! created relative to it whatever becomes of its path, and a private folder inside it where files grow until they are whole.
//! The lock on that private folder makes one process its owner; the owner removes what a killed one left there.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fstatvfs, mkdirat, openat, syncfs,
    unlinkat,
};
use rustix::io::Errno;

use crate::path::PARTIAL_FOLDER;

/// Transfers that may arrive at once; bounds threads, open files and memory.
pub const TRANSFERS_MAX: u64 = 4;

/// A folder into which files are received.
#[derive(Debug)]
pub struct Inbox {
    root: OwnedFd,
    partial: OwnedFd,
    path: PathBuf,
    next_partial: AtomicU64,
    running: AtomicU64,
    leftovers: u64,
}

/// Why a folder cannot be an inbox.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// It cannot be created or opened.
    #[error("the inbox {path} cannot be used: {source}")]
    Folder {
        /// The inbox.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder for unfinished files inside it cannot be used.
    #[error("the folder `{PARTIAL_FOLDER}` in the inbox {path} cannot be used: {source}")]
    Partial {
        /// The inbox.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder for unfinished files belongs to somebody else, who could swap files in it.
    #[error(
        "the folder `{PARTIAL_FOLDER}` in the inbox {path} belongs to user {owner}, not to user {us} who runs this; remove it"
    )]
    Owner {
        /// The inbox.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Another process receives into it.
    #[error(
        "the inbox {path} is in use by another tieline; stop that one or give this line an inbox of its own"
    )]
    InUse {
        /// The inbox.
        path: PathBuf,
    },
}

impl Inbox {
    /// Opens the inbox at `path`, creating it with mode 0750 if it is missing, and removes what a killed receiver left.
    ///
    /// # Errors
    ///
    /// `Folder`, `Partial` with the system's reason; `Owner`, `InUse`.
    pub fn open(path: &Path) -> Result<Self, InboxError> {
        let folder = |source: io::Error| InboxError::Folder { path: path.into(), source };
        let inside = |source: Errno| InboxError::Partial { path: path.into(), source: source.into() };
        let is_new = matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
        DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(folder)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|errno| folder(errno.into()))?;
        if is_new {
            // What is delivered into a folder is not there after a power cut if the folder is not.
            syncfs(&root).map_err(|errno| folder(errno.into()))?;
        }
        match mkdirat(&root, PARTIAL_FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(inside(errno)),
        }
        let partial =
            openat(&root, PARTIAL_FOLDER, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(inside)?;
        let (owner, us) = (fstat(&partial).map_err(inside)?.st_uid, rustix::process::geteuid().as_raw());
        if owner != us {
            return Err(InboxError::Owner { path: path.into(), owner, us });
        }
        fchmod(&partial, Mode::RWXU).map_err(inside)?;
        match flock(&partial, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(InboxError::InUse { path: path.into() }),
            Err(errno) => return Err(inside(errno)),
        }
        let leftovers = remove_leftovers(&partial).map_err(inside)?;
        if leftovers > 0 {
            tracing::info!(inbox = %path.display(), leftovers, "removed what an interrupted receiver had left");
        }
        let (next_partial, running) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { root, partial, path: path.into(), next_partial, running, leftovers })
    }

    /// Where it was when it was opened; for people only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many unfinished files of a killed receiver were removed when it was opened.
    #[must_use]
    pub fn leftovers(&self) -> u64 {
        self.leftovers
    }

    /// Octets that can still be stored.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let space = fstatvfs(&self.root)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Admits one more transfer, or says how many run already.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admission, u64> {
        self.running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
                (running < TRANSFERS_MAX).then_some(running + 1)
            })
            .map(|_| Admission(Arc::clone(self)))
    }
}

/// The right of one transfer to write into the inbox; holds the lock for as long as any of its threads works.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Inbox>);

impl std::ops::Deref for Admission {
    type Target = Inbox;

    fn deref(&self) -> &Inbox {
        &self.0
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A file that is not whole yet; gone when dropped, unless it was renamed away.
#[derive(Debug)]
pub(crate) struct Partial {
    admission: Arc<Admission>,
    name: String,
    pub(crate) file: File,
    renamed: bool,
}

impl Partial {
    /// Creates an empty file that only we can reach.
    pub(crate) fn create(admission: &Arc<Admission>) -> rustix::io::Result<Self> {
        let name = admission.next_partial.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&admission.partial, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { admission: Arc::clone(admission), name, file: file.into(), renamed: false })
    }

    /// The folder and the name under which it is to be found until then.
    pub(crate) fn place(&self) -> (BorrowedFd<'_>, &str) {
        (self.admission.partial.as_fd(), &self.name)
    }

    /// Says that the file has left the private folder.
    pub(crate) fn renamed(&mut self) {
        self.renamed = true;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.renamed {
            return;
        }
        if let Err(error) = unlinkat(&self.admission.partial, &self.name, AtFlags::empty()) {
            tracing::warn!(name = self.name, %error, "an unfinished file stays until the next start");
        }
    }
}

/// Removes what is in the private folder; only its lock's holder may.
fn remove_leftovers(partial: &OwnedFd) -> rustix::io::Result<u64> {
    let mut names = Vec::new();
    for entry in Dir::read_from(partial)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    let mut removed = 0;
    for name in names {
        match unlinkat(partial, &name, AtFlags::empty()) {
            Ok(()) => removed += 1,
            // We make no folders here. An empty one is no harm and goes, a full one is somebody's work and stays.
            Err(Errno::ISDIR) => match unlinkat(partial, &name, AtFlags::REMOVEDIR) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_inbox_is_made_private_inside_and_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/inbox");
        let inbox = Inbox::open(&path).unwrap();
        let mode = fs::metadata(path.join(PARTIAL_FOLDER)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(matches!(Inbox::open(&path), Err(InboxError::InUse { .. })));
        drop(inbox);
        assert!(Inbox::open(&path).is_ok());
    }

    #[test]
    fn leftovers_are_removed_by_the_next_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        let partial = dir.path().join(PARTIAL_FOLDER);
        fs::write(partial.join("7"), b"half a file").unwrap();
        symlink("/etc", partial.join("8")).unwrap();
        assert!(Inbox::open(dir.path()).is_err());
        assert!(partial.join("7").exists());
        drop(inbox);
        assert_eq!(Inbox::open(dir.path()).unwrap().leftovers(), 2);
        assert_eq!(fs::read_dir(&partial).unwrap().count(), 0);
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn a_planted_private_folder_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), dir.path().join(PARTIAL_FOLDER)).unwrap();
        assert!(matches!(Inbox::open(dir.path()), Err(InboxError::Partial { .. })));
    }

    #[test]
    fn a_file_as_inbox_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"").unwrap();
        let error = Inbox::open(&dir.path().join("file")).unwrap_err().to_string();
        assert!(error.contains("/file cannot be used"), "{error}");
    }

    #[test]
    fn transfers_are_admitted_up_to_the_bound_and_again_when_one_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Arc::new(Inbox::open(dir.path()).unwrap());
        let mut admitted: Vec<_> = (0..TRANSFERS_MAX).map(|_| inbox.admit().unwrap()).collect();
        assert_eq!(inbox.admit().unwrap_err(), TRANSFERS_MAX);
        admitted.pop();
        assert!(inbox.admit().is_ok());
    }

    #[test]
    fn a_partial_file_goes_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Arc::new(Inbox::open(dir.path()).unwrap());
        let admission = Arc::new(inbox.admit().unwrap());
        let partial = Partial::create(&admission).unwrap();
        let at = dir.path().join(PARTIAL_FOLDER).join(&partial.name);
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o7777, 0o600);
        drop(partial);
        assert!(!at.exists());
    }
}
