//! One process per thing: a lock on a file, which the kernel takes back when its holder ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Digits of the largest process id, and the row end.
const PID_BYTES_MAX: u64 = 16;

/// A lock that this process holds until the value is dropped.
///
/// The file stays when the lock goes: removing it would let two processes hold locks on two files of one name.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock on the file at `path`, making the file if need be, and writes our process id into it. Never waits.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] with the holder's process id; else what the system said about the file.
    pub fn try_acquire(path: &Path) -> Result<Self, LockError> {
        let fault = |source| LockError::File { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            // A symlink planted in a folder that others may write to must not choose the file for us.
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(fault)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { path: path.to_owned(), holder: read_pid(&mut file) });
            }
            Err(error) => return Err(fault(error.into())),
        }
        write_pid(&mut file).map_err(fault)?;
        Ok(Self { _file: file })
    }

    /// The process that holds the lock on the file at `path`, if any does. The answer may be out of date when it arrives.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] never; what the system said about the file. A missing file is held by nobody.
    pub fn holder(path: &Path) -> Result<Option<Holder>, LockError> {
        let fault = |source| LockError::File { path: path.to_owned(), source };
        let mut file =
            match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(fault(error)),
            };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(Errno::WOULDBLOCK) => Ok(Some(Holder { pid: read_pid(&mut file) })),
            Err(error) => Err(fault(error.into())),
        }
    }
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, unless it is only just writing it down.
    pub pid: Option<u32>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is locked by {}", .path.display(), holder_name(*.holder))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that has it, unless it is only just writing its id down.
        holder: Option<u32>,
    },
    /// The file could not be used.
    #[error("cannot lock {}", .path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder_name(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_holder_and_a_dropped_one_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line.lock");
        assert_eq!(FileLock::holder(&path).unwrap(), None);
        let lock = FileLock::try_acquire(&path).unwrap();
        let own = Some(std::process::id());
        assert_eq!(FileLock::holder(&path).unwrap(), Some(Holder { pid: own }));
        match FileLock::try_acquire(&path) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, own),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert_eq!(FileLock::holder(&path).unwrap(), None);
        FileLock::try_acquire(&path).unwrap();
    }

    #[test]
    fn a_shorter_process_id_replaces_a_longer_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line.lock");
        std::fs::write(&path, "4294967295\nrubbish of a former holder\n").unwrap();
        let _lock = FileLock::try_acquire(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn rubbish_in_a_held_file_is_a_holder_without_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line.lock");
        let _lock = FileLock::try_acquire(&path).unwrap();
        std::fs::write(&path, [0xff; 4096]).unwrap();
        assert_eq!(FileLock::holder(&path).unwrap(), Some(Holder { pid: None }));
    }

    #[test]
    fn a_symlink_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, path) = (folder.path().join("precious"), folder.path().join("line.lock"));
        std::fs::write(&target, "keep").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(FileLock::try_acquire(&path), Err(LockError::File { .. })));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "keep");
    }

    #[test]
    fn a_missing_folder_is_told_by_its_path() {
        let error = FileLock::try_acquire(Path::new("/nonexistent/line.lock")).unwrap_err();
        assert_eq!(error.to_string(), "cannot lock /nonexistent/line.lock");
    }
}
