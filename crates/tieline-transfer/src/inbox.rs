//! The folder that receives, held open and locked.
//!
//! An [`Inbox`] lives as long as the process that receives. It holds the [`Disk`] that it is on: the folder itself and a private folder
//! inside it, where files grow until they are whole. One process is its owner; the owner removes what a killed one left there, but what the
//! journal knows: that goes on growing when its sender comes back.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::disk::{Disk, DiskFile};
use crate::folder::Folder;
use crate::journal::{Journal, JournalError};
use crate::metadata::Keep;
use crate::path::{PARTIAL_FOLDER, RelativePath};
use crate::receipt::LineKeys;
use crate::same_name::SameName;
use crate::stamp::Stamp;
use crate::twins::Twins;

/// Transfers that may arrive at once; bounds threads, open files and memory.
pub const TRANSFERS_MAX: u64 = 4;
/// Files from which nothing is taken; beyond it one of them is tried again.
const DISTRUSTED_MAX: usize = 1024;

/// A folder into which files are received.
#[derive(Debug)]
pub struct Inbox {
    disk: Box<dyn Disk>,
    path: PathBuf,
    /// Its name in the journal.
    name: String,
    journal: Arc<Journal>,
    /// With which it signs for what it has.
    keys: Option<LineKeys>,
    keep: Keep,
    same_name: SameName,
    twins: Twins,
    next_partial: AtomicU64,
    running: AtomicU64,
    /// Owners and attributes that files could not be given since that was last told.
    not_given: AtomicU64,
    leftovers: u64,
    /// Whether names may have been left that are not durable, and that no group knows any more.
    has_unsynced: Mutex<bool>,
    /// Files that were not what they were taken for, by the hash of the whole that was made from them.
    distrusted: Mutex<BTreeSet<RelativePath>>,
    /// Mirrors into which a transfer goes at this moment; no more than there are transfers.
    mirrors: Mutex<BTreeSet<RelativePath>>,
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
    /// What is known of unfinished files cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Inbox {
    /// Opens the inbox at `path`, creating it with mode 0750 if it is missing, and removes what a killed receiver left, unless `journal`
    /// knows it under `name`.
    ///
    /// # Errors
    ///
    /// `Folder`, `Partial` with the system's reason; `Owner`, `InUse`, `Journal`.
    pub fn open(path: &Path, name: &str, journal: Arc<Journal>) -> Result<Self, InboxError> {
        Self::on(Box::new(Folder::open(path)?), path, name, journal)
    }

    /// Opens the inbox on `disk`, which nobody else may use; else as [`Self::open`]. `path` is shown to people.
    ///
    /// # Errors
    ///
    /// `Partial`, `Journal`.
    pub fn on(
        disk: Box<dyn Disk>,
        path: &Path,
        name: &str,
        journal: Arc<Journal>,
    ) -> Result<Self, InboxError> {
        let known: Vec<String> = journal.partials(name)?.iter().map(ToString::to_string).collect();
        let leftovers = disk
            .remove_others(&known)
            .map_err(|errno| InboxError::Partial { path: path.into(), source: errno.into() })?;
        if leftovers > 0 {
            tracing::info!(inbox = %path.display(), leftovers, "removed what an interrupted receiver had left");
        }
        // The folder itself may be new, and a killed receiver may have left folders that no sync of what is in them makes durable.
        let has_unsynced = Mutex::new(disk.sync_all().is_err());
        let (next_partial, running) = (AtomicU64::new(0), AtomicU64::new(0));
        let (path, name) = (path.into(), name.into());
        let (keys, same_name, twins) = (None, SameName::default(), Twins::default());
        Ok(Self {
            disk,
            path,
            name,
            journal,
            keys,
            keep: Keep::default(),
            same_name,
            twins,
            next_partial,
            running,
            not_given: AtomicU64::new(0),
            leftovers,
            has_unsynced,
            distrusted: Mutex::default(),
            mirrors: Mutex::default(),
        })
    }

    /// Has it give files these of what they had at the other end, besides their content.
    #[must_use]
    pub fn with_keep(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }

    /// Has it sign for what it receives, and take files from the other end of the line only.
    #[must_use]
    pub fn with_keys(self, keys: LineKeys) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Has it do this with files whose names are taken, and not keep both.
    #[must_use]
    pub fn with_same_name(self, same_name: SameName) -> Self {
        Self { same_name, ..self }
    }

    pub(crate) fn twins(&self) -> &Twins {
        &self.twins
    }

    /// How many names appeared since this was asked last that differ from another in their folder by case or by Unicode's several
    /// spellings of one character only.
    pub fn take_twins(&self) -> u64 {
        self.twins.take_found()
    }

    pub(crate) fn keys(&self) -> Option<&LineKeys> {
        self.keys.as_ref()
    }

    /// What files keep besides their content.
    pub(crate) fn keep(&self) -> Keep {
        self.keep
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
        Ok(self.disk.free_bytes()?)
    }

    /// Counts owners and attributes that a file could not be given.
    pub(crate) fn count_not_given(&self, count: u64) {
        self.not_given.fetch_add(count, Ordering::Relaxed);
    }

    /// A name in the private folder that nobody has. Names of files that the journal knows are numbers alone.
    pub(crate) fn private_name(&self) -> String {
        format!("t{}", self.next_partial.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its name in the journal.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether names may have been left that are not durable: true until everything was synced.
    pub(crate) fn has_unsynced(&self) -> MutexGuard<'_, bool> {
        self.has_unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing more from the file at `path`, until the next start.
    pub(crate) fn distrust(&self, path: &RelativePath) {
        let mut distrusted = self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        if distrusted.len() >= DISTRUSTED_MAX {
            distrusted.pop_first();
        }
        distrusted.insert(path.clone());
    }

    pub(crate) fn distrusts(&self, path: &RelativePath) -> bool {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    fn mirrors(&self) -> MutexGuard<'_, BTreeSet<RelativePath>> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits one more transfer, or says how many run already.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admission, u64> {
        self.running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
                (running < TRANSFERS_MAX).then_some(running + 1)
            })
            .map(|_| Admission { inbox: Arc::clone(self), mirror: OnceLock::new() })
    }
}

/// The right of one transfer to write into the inbox; holds the lock for as long as any of its threads works.
#[derive(Debug)]
pub(crate) struct Admission {
    inbox: Arc<Inbox>,
    mirror: OnceLock<RelativePath>,
}

impl Admission {
    /// The transfer writes into the mirror `root` from now on, and no other one does. False if there is one, or if it has a mirror already.
    pub(crate) fn keep_mirror(&self, root: &RelativePath) -> bool {
        let mut mirrors = self.inbox.mirrors();
        // Held, so that a second one of this transfer does not take the first one's place.
        let is_free = self.mirror.get().is_none() && mirrors.insert(root.clone());
        is_free && self.mirror.set(root.clone()).is_ok()
    }

    /// What it does with files whose names are taken.
    pub(crate) fn same_name(&self) -> SameName {
        if self.mirror.get().is_some() { SameName::Replace } else { self.inbox.same_name }
    }

    /// The number of the only copy that there may be of a file; none if there may be several.
    pub(crate) fn only_copy(&self) -> Option<u32> {
        (self.same_name() != SameName::KeepBoth).then_some(1)
    }
}

impl std::ops::Deref for Admission {
    type Target = Inbox;

    fn deref(&self) -> &Inbox {
        &self.inbox
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(mirror) = self.mirror.get() {
            self.inbox.mirrors().remove(mirror);
        }
        self.inbox.running.fetch_sub(1, Ordering::AcqRel);
        let not_given = self.not_given.swap(0, Ordering::Relaxed);
        if not_given > 0 {
            let inbox = self.inbox.path.display();
            tracing::info!(%inbox, not_given, "owners or extended attributes are not known here, or may not be given to files");
        }
    }
}

/// A file that is not whole yet. Dropped, it is gone, unless it got its name, or the journal knows it: then it waits for the rest.
#[derive(Debug)]
pub(crate) struct Partial {
    admission: Arc<Admission>,
    name: String,
    pub(crate) file: Box<dyn DiskFile>,
    /// Its number in the journal, if it is known there.
    id: Option<i64>,
    stays: bool,
}

impl Partial {
    /// Creates an empty file that only we can reach.
    pub(crate) fn create(admission: &Arc<Admission>) -> rustix::io::Result<Self> {
        let name = admission.private_name();
        let file = admission.disk.create(&name)?;
        Ok(Self { admission: Arc::clone(admission), name, file, id: None, stays: false })
    }

    /// Opens the file that the journal knows by `id`; its name has to be taken from nobody.
    pub(crate) fn reopen(admission: &Arc<Admission>, id: i64) -> rustix::io::Result<Self> {
        let name = id.to_string();
        let file = admission.disk.open(&name)?;
        Ok(Self { admission: Arc::clone(admission), name, file, id: Some(id), stays: true })
    }

    /// Creates an empty file that the journal knows, for a version of the file that is to appear at `path`.
    pub(crate) fn begin(
        admission: &Arc<Admission>,
        path: &RelativePath,
        stamp: Stamp,
        size: u64,
    ) -> Result<Self, Errno> {
        let (id, given_up) =
            admission.journal.begin_partial(&admission.name, path, stamp, size).map_err(journal_errno)?;
        for id in given_up {
            remove_file(admission, &id.to_string());
        }
        let name = id.to_string();
        match admission.disk.create(&name) {
            Ok(file) => Ok(Self { admission: Arc::clone(admission), name, file, id: Some(id), stays: true }),
            Err(errno) => {
                let _ = admission.journal.forget_partial(id);
                Err(errno)
            }
        }
    }

    /// Its number in the journal, if it is known there.
    pub(crate) fn id(&self) -> Option<i64> {
        self.id
    }

    /// What becomes of it if its name is taken.
    pub(crate) fn same_name(&self) -> SameName {
        self.admission.same_name()
    }

    /// The private name under which it is to be found until then.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Says that the file has its final name.
    pub(crate) fn renamed(&mut self) {
        self.stays = true;
    }

    /// Says that the file is not needed, as another has its name and its content.
    pub(crate) fn superfluous(&mut self) {
        self.stays = false;
    }

    /// Removes the file, whoever knows it.
    pub(crate) fn discard(mut self) {
        self.give_up();
    }

    /// Has the file removed when it is dropped, whoever knows it.
    pub(crate) fn give_up(&mut self) {
        if let Some(id) = self.id {
            // First the row: a file without one is removed at the next start, a row without a file misleads.
            if let Err(error) = self.admission.journal.forget_partial(id) {
                tracing::warn!(%error, "an unfinished file stays");
                return;
            }
        }
        self.stays = false;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.stays {
            remove_file(&self.admission, &self.name);
        }
    }
}

fn remove_file(inbox: &Inbox, name: &str) {
    match inbox.disk.remove(name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => tracing::warn!(name, %error, "an unfinished file stays until the next start"),
    }
}

/// What an error of the journal is for whoever waits for the disk.
pub(crate) fn journal_errno(error: JournalError) -> Errno {
    tracing::error!(%error, "the journal cannot be written");
    if error.is_full() { Errno::NOSPC } else { Errno::IO }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn open(path: &Path) -> Result<Inbox, InboxError> {
        Inbox::open(path, "inbox", Arc::new(Journal::in_memory().unwrap()))
    }

    #[test]
    fn case_4_an_inbox_is_made_private_inside_and_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/inbox");
        let inbox = open(&path).unwrap();
        let mode = fs::metadata(path.join(PARTIAL_FOLDER)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(matches!(open(&path), Err(InboxError::InUse { .. })));
        drop(inbox);
        assert!(open(&path).is_ok());
    }

    #[test]
    fn leftovers_are_removed_by_the_next_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = open(dir.path()).unwrap();
        let partial = dir.path().join(PARTIAL_FOLDER);
        fs::write(partial.join("7"), b"half a file").unwrap();
        symlink("/etc", partial.join("8")).unwrap();
        assert!(open(dir.path()).is_err());
        assert!(partial.join("7").exists());
        drop(inbox);
        assert_eq!(open(dir.path()).unwrap().leftovers(), 2);
        assert_eq!(fs::read_dir(&partial).unwrap().count(), 0);
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn case_24_a_planted_private_folder_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), dir.path().join(PARTIAL_FOLDER)).unwrap();
        assert!(matches!(open(dir.path()), Err(InboxError::Partial { .. })));
    }

    #[test]
    fn a_file_as_inbox_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"").unwrap();
        let error = open(&dir.path().join("file")).unwrap_err().to_string();
        assert!(error.contains("/file cannot be used"), "{error}");
    }

    #[test]
    fn transfers_are_admitted_up_to_the_bound_and_again_when_one_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Arc::new(open(dir.path()).unwrap());
        let mut admitted: Vec<_> = (0..TRANSFERS_MAX).map(|_| inbox.admit().unwrap()).collect();
        assert_eq!(inbox.admit().unwrap_err(), TRANSFERS_MAX);
        admitted.pop();
        assert!(inbox.admit().is_ok());
    }

    #[test]
    fn a_partial_file_goes_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Arc::new(open(dir.path()).unwrap());
        let admission = Arc::new(inbox.admit().unwrap());
        let partial = Partial::create(&admission).unwrap();
        let at = dir.path().join(PARTIAL_FOLDER).join(&partial.name);
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o7777, 0o600);
        drop(partial);
        assert!(!at.exists());
    }
}
