//! Putting files into an outbox, whole and at once: what was named is copied beside it first and then renamed in.
//!
//! So whoever named it may change or remove it at once, and whoever empties the outbox never sees half of it. Where the file system can
//! share blocks between files (btrfs, XFS) the copy costs nothing.

mod mark;

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, openat, renameat_with, syncfs};
use rustix::io::Errno;

use crate::outcome::{EntryKind, EntryReport, Fate, Fault, Progress};
use crate::path::{COPIES_MAX, PARTIAL_FOLDER, RelativePath};
use crate::plan::{Entry, Plan, PlannedKind, open_root};
use crate::source::{Source, SourceFault};

pub use mark::Mark;

/// What is in the outbox now.
#[derive(Debug)]
pub struct Spooled {
    /// Under which names, below the outbox; one for each path that was named.
    pub names: Vec<RelativePath>,
    /// Files among them.
    pub files: u64,
    /// Their octets.
    pub bytes: u64,
    /// What is not there, and why.
    pub left_out: Vec<EntryReport>,
    /// Whether the outbox can hold marks: else nothing goes first, and what is cancelled has to be removed by hand.
    pub has_marks: bool,
}

/// Why nothing, or nothing more, was put into the outbox.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The outbox cannot be written to.
    #[error("the outbox {} cannot be written to: {source}", path.display())]
    Outbox {
        /// What could not be made or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// As many files of that name wait as there are numbers for.
    #[error(
        "{COPIES_MAX} files named `{name}` wait in the outbox; wait until they are delivered, or rename yours"
    )]
    TooManyCopies {
        /// The name.
        name: RelativePath,
    },
}

/// Copies everything in `plan` into `outbox`, below the folder `to` of it.
///
/// A name that is taken there gets a number, as at the receiving end. Files have the mark `mark` afterwards, and belong to the owner of the outbox afterwards, if this process
/// may arrange that. Blocks on the disk; what is in the outbox when it returns survives a power cut.
///
/// # Errors
///
/// [`SpoolError`]; what was renamed in before stays.
pub fn put(
    plan: &Plan,
    outbox: &Path,
    to: Option<&RelativePath>,
    mark: Mark,
    progress: &dyn Progress,
) -> Result<Spooled, SpoolError> {
    let staging = Staging::open(outbox, mark)?;
    let left_out = plan.set_aside.clone();
    let mut spooled = Spooled { names: Vec::new(), files: 0, bytes: 0, left_out, has_marks: true };
    progress.started(plan.entries.len() as u64, plan.bytes());
    for (number, root) in plan.roots.iter().enumerate() {
        let folder = staging.folder(number)?;
        let entries = plan.entries.iter().filter(|entry| entry.root == number);
        let mut top = None;
        let opened = open_root(root).map(Arc::new);
        for entry in entries {
            top.get_or_insert(&entry.path);
            match staging.copy(&opened, entry, &folder, progress) {
                Ok(Some(size)) => {
                    spooled.files += 1;
                    spooled.bytes += size;
                }
                Ok(None) => {}
                Err(CopyError::Source(fault)) => {
                    let (name, kind) = (entry.path.as_bytes().into(), EntryKind::File);
                    let fate = Fate::Failed(Fault::Source(fault));
                    spooled.left_out.push(EntryReport { name, kind, size: 0, fate });
                }
                Err(CopyError::Outbox(source)) => {
                    return Err(SpoolError::Outbox { path: folder.join(as_path(&entry.path)), source });
                }
            }
        }
        // Nothing of it could be read: then nothing is there to be renamed.
        let Some(top) = top.filter(|top| folder.join(as_path(top)).symlink_metadata().is_ok()) else {
            continue;
        };
        spooled.names.push(staging.publish(&folder, top, to)?);
    }
    spooled.has_marks = !staging.is_unmarked.get();
    Ok(spooled)
}

enum CopyError {
    Source(SourceFault),
    Outbox(io::Error),
}

/// A private folder in the outbox; gone when dropped.
struct Staging {
    outbox: PathBuf,
    path: PathBuf,
    owner: Option<(u32, u32)>,
    mark: Mark,
    /// Whether a copy could not be marked.
    is_unmarked: Cell<bool>,
    /// Says that its process lives.
    _lock: OwnedFd,
}

impl Staging {
    fn open(outbox: &Path, mark: Mark) -> Result<Self, SpoolError> {
        let all = outbox.join(PARTIAL_FOLDER);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SpoolError::Outbox { path, source }
        };
        let owner = fs::metadata(outbox).map_err(failed(outbox))?;
        let is_root = rustix::process::geteuid().is_root();
        make_folder(&all).map_err(failed(&all))?;
        remove_abandoned(&all);
        let path = all.join(format!("put-{}", std::process::id()));
        make_folder(&path).map_err(failed(&path))?;
        let lock = lock(&path).map_err(|errno| failed(&path)(errno.into()))?;
        let owner = is_root.then(|| (owner.uid(), owner.gid()));
        let is_unmarked = Cell::new(false);
        Ok(Self { outbox: outbox.into(), path, owner, mark, is_unmarked, _lock: lock })
    }

    fn folder(&self, number: usize) -> Result<PathBuf, SpoolError> {
        let path = self.path.join(number.to_string());
        make_folder(&path).map_err(|source| SpoolError::Outbox { path: path.clone(), source })?;
        Ok(path)
    }

    /// Copies one entry; the octets of a file.
    fn copy(
        &self,
        root: &Result<Arc<OwnedFd>, SourceFault>,
        entry: &Entry,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<u64>, CopyError> {
        let path = folder.join(as_path(&entry.path));
        match entry.kind {
            PlannedKind::Folder { mode, .. } => {
                DirBuilder::new().mode(mode | 0o700).create(&path).map_err(CopyError::Outbox)?;
                self.own(&File::open(&path).map_err(CopyError::Outbox)?).map_err(CopyError::Outbox)?;
                Ok(None)
            }
            PlannedKind::File { .. } => {
                let root = root.as_ref().map_err(|fault| CopyError::Source(*fault))?;
                let source = Source::open(Arc::clone(root), &entry.path).map_err(CopyError::Source)?;
                progress.file(&entry.path, source.size);
                let copied = self.copy_file(source, &path);
                if copied.is_err() {
                    let _ = fs::remove_file(&path);
                }
                let size = copied?;
                progress.moved(size);
                Ok(Some(size))
            }
        }
    }

    fn copy_file(&self, source: Source<'_>, path: &Path) -> Result<u64, CopyError> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = made.map_err(CopyError::Outbox)?;
        let (size, mode, modified) = (source.size, source.mode, source.modified_time());
        source.copy_to(&mut file).map_err(CopyError::Outbox)?.map_err(CopyError::Source)?;
        if !self.mark.set(&file) {
            self.is_unmarked.set(true);
        }
        let finished = self.own(&file).and_then(|()| {
            file.set_permissions(fs::Permissions::from_mode((mode & 0o777) | 0o600))?;
            file.set_modified(modified)
        });
        finished.map_err(CopyError::Outbox)?;
        Ok(size)
    }

    fn own(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((user, group)) => fchown(file, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// Renames what was copied into the outbox, under the first free name.
    fn publish(
        &self,
        folder: &Path,
        top: &RelativePath,
        to: Option<&RelativePath>,
    ) -> Result<RelativePath, SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SpoolError::Outbox { path, source }
        };
        let target = match to {
            Some(to) => to.join(top).map_err(|fault| {
                let source = io::Error::new(io::ErrorKind::InvalidFilename, fault.to_string());
                failed(&self.outbox)(source)
            })?,
            None => top.clone(),
        };
        let into = to.map_or_else(|| self.outbox.clone(), |to| self.outbox.join(as_path(to)));
        DirBuilder::new().recursive(true).mode(0o770).create(&into).map_err(failed(&into))?;
        let into = File::open(&into).map_err(failed(&into))?;
        // First the data, then the names: what is under a name is whole.
        syncfs(&into).map_err(|errno| failed(&self.outbox)(errno.into()))?;
        for copy in 1..=COPIES_MAX {
            let target = target.copy(copy);
            let (_, name) = target.split_last();
            match renameat_with(CWD, folder.join(as_path(top)), &into, name, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    into.sync_all().map_err(failed(&self.outbox))?;
                    return Ok(target);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(&self.outbox)(errno.into())),
            }
        }
        Err(SpoolError::TooManyCopies { name: target })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "what was being copied stays until the next time");
        }
    }
}

fn as_path(path: &RelativePath) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path.as_bytes()))
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn lock(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, path, flags, Mode::empty())?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}

/// Removes what processes left that were killed; nobody holds the lock of it.
fn remove_abandoned(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Ok(_lock) = lock(&path)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "what a killed process left stays");
        }
    }
}

#[cfg(test)]
mod tests;
