//! Taking out of a mirror what is not at the other end any more.
//!
//! A folder is opened by its name from the folder that holds it, from the mirror's own one downwards, each without following a link or
//! entering what is mounted. So whatever somebody swaps meanwhile, nothing outside is removed.

use std::time::SystemTime;

use rustix::io::Errno;

use crate::audit::{Direction, Entry, Event, Reason};
use crate::disk::{DiskFolder, Occupant};
use crate::inbox::{Inbox, journal_errno};
use crate::journal::accounts::Accounts;
use crate::moment::Moment;
use crate::path::{DEPTH_MAX, Escaped, RelativePath};
use crate::protocol::{HASH_LEN, Removed};
use crate::reason::Obstacle;
use crate::signing::Signing;

/// Octets of names that wait to be removed; what is more is removed at once.
const EXTRAS_LEN_MAX: usize = 4 << 20;
/// What a name costs besides its octets.
const EXTRA_LEN: usize = 48;
/// Files that share a commit of the journal.
const BATCH_MAX: usize = 256;

/// Names that are too much, folder by folder.
#[derive(Debug, Default)]
pub(super) struct Extras {
    folders: Vec<InFolder>,
    len: usize,
}

#[derive(Debug)]
struct InFolder {
    path: RelativePath,
    names: Vec<Box<[u8]>>,
}

impl Extras {
    /// Keeps one more; true if they are many.
    pub(super) fn add(&mut self, folder: &RelativePath, name: Box<[u8]>) -> bool {
        self.len += name.len() + EXTRA_LEN;
        match self.folders.last_mut() {
            Some(last) if last.path == *folder => last.names.push(name),
            _ => self.folders.push(InFolder { path: folder.clone(), names: vec![name] }),
        }
        self.len >= EXTRAS_LEN_MAX
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// Removes, and counts.
pub(super) struct Remover<'r> {
    pub(super) inbox: &'r Inbox,
    /// The mirror's folder below the inbox.
    pub(super) root: &'r RelativePath,
    pub(super) signing: &'r Signing,
    pub(super) removed: &'r mut Removed,
}

/// Something that is about to be removed.
struct Victim<'n> {
    name: &'n [u8],
    /// Below the inbox.
    path: Vec<u8>,
    is_folder: bool,
    size: u64,
}

impl<'r> Remover<'r> {
    pub(super) fn remove(&mut self, extras: Extras) {
        for InFolder { path, names } in extras.folders {
            self.remove_in(&path, &names);
        }
    }

    pub(super) fn remove_one(&mut self, folder: &RelativePath, name: &[u8]) {
        self.remove_in(folder, &[name.into()]);
    }

    /// Removes these names from a folder of the mirror.
    fn remove_in(&mut self, path: &RelativePath, names: &[Box<[u8]>]) {
        match self.open(path) {
            Ok(folder) => self.clear(&*folder, path.as_bytes(), names, path.depth()),
            Err(error) => self.leave(path.as_bytes(), error, names.len() as u64),
        }
    }

    /// Opens a folder of the mirror, or the mirror's own, on the mount that that one is on.
    fn open(&self, path: &RelativePath) -> Result<Box<dyn DiskFolder + 'r>, Errno> {
        let inbox: &'r Inbox = self.inbox;
        let mut folder = inbox.disk().open_folder(Some(self.root))?;
        for component in path.components().skip(self.root.depth()) {
            folder = folder.child(component)?;
        }
        Ok(folder)
    }

    /// Removes these names from an open folder, folders with all that is in them, and syncs it.
    fn clear(&mut self, folder: &dyn DiskFolder, path: &[u8], names: &[Box<[u8]>], depth: usize) {
        for names in names.chunks(BATCH_MAX) {
            let mut victims = Vec::new();
            for name in names {
                let path = [path, b"/", name].concat();
                match self.prepare(folder, name, &path, depth) {
                    Ok(Some((is_folder, size))) => victims.push(Victim { name, path, is_folder, size }),
                    Ok(None) => {}
                    Err(error) => self.leave(&path, error, 1),
                }
            }
            self.remove_batch(folder, &victims);
        }
        if let Err(error) = folder.sync() {
            *self.inbox.has_unsynced() = true;
            tracing::warn!(path = %Escaped(path), %error, "what was removed may be there again after a power cut");
        }
    }

    /// What a name is that may be removed: whether a folder, which is empty then, and the size of a file. None if it has gone.
    fn prepare(
        &mut self,
        folder: &dyn DiskFolder,
        name: &[u8],
        path: &[u8],
        depth: usize,
    ) -> Result<Option<(bool, u64)>, Errno> {
        match folder.occupant(name)? {
            None => Ok(None),
            Some(Occupant::File { size, .. }) => Ok(Some((false, size))),
            Some(Occupant::Other) => Ok(Some((false, 0))),
            Some(Occupant::Folder) if depth >= DEPTH_MAX => Err(Errno::NAMETOOLONG),
            Some(Occupant::Folder) => {
                let child = folder.child(name)?;
                let mut names: Vec<Box<[u8]>> = Vec::new();
                child.names(&mut |name| {
                    names.push(name.into());
                    true
                })?;
                if !names.is_empty() {
                    self.clear(&*child, path, &names, depth + 1);
                }
                Ok(Some((true, 0)))
            }
        }
    }

    /// First the journal, then the disk: what is gone was logged.
    fn remove_batch(&mut self, folder: &dyn DiskFolder, victims: &[Victim<'_>]) {
        let files = || victims.iter().filter(|victim| !victim.is_folder);
        let entries = files().map(|victim| self.entry(victim, Event::Removed, None)).collect();
        let paths = files().map(|victim| &*victim.path);
        let accounts = Accounts { entries, ..Accounts::default() };
        if let Err(error) = self.inbox.journal().remove_arrived(self.inbox.name(), paths, &accounts) {
            self.leave(self.root.as_bytes(), journal_errno(error), victims.len() as u64);
            return;
        }
        let mut failed = Accounts::default();
        for victim in victims {
            let removed = if victim.is_folder {
                folder.remove_folder(victim.name)
            } else {
                folder.remove_file(victim.name)
            };
            match removed {
                Ok(()) if victim.is_folder => self.removed.folders += 1,
                Ok(()) => self.removed.files += 1,
                Err(Errno::NOENT) => {}
                // What could not be removed inside was told.
                Err(Errno::NOTEMPTY) if victim.is_folder => {}
                Err(error) => {
                    self.leave(&victim.path, error, 1);
                    if !victim.is_folder {
                        failed.entries.push(self.entry(victim, Event::Failed, Some(error.into())));
                    }
                }
            }
        }
        if !failed.entries.is_empty()
            && let Err(error) = self.inbox.journal().account(&failed)
        {
            tracing::warn!(%error, "what could not be removed is not in the log");
        }
    }

    fn leave(&mut self, path: &[u8], error: Errno, count: u64) {
        tracing::warn!(path = %Escaped(path), %error, count, "could not be removed from a mirror");
        self.removed.left += count;
    }

    fn entry(&self, victim: &Victim<'_>, event: Event, obstacle: Option<Obstacle>) -> Entry {
        // Its path as the other end knows it, without the mirror's own.
        let path = victim.path.get(self.root.as_bytes().len() + 1..).unwrap_or(&victim.path);
        let reason =
            obstacle.map(|obstacle| Reason { code: obstacle.to_wire().0, text: obstacle.to_string() });
        Entry {
            at: Moment::from(SystemTime::now()),
            event,
            direction: Direction::Received,
            transfer: self.signing.transfer(),
            entry: 0,
            path: path.into(),
            size: victim.size,
            hash: self.hash(&victim.path),
            reason,
            receipt: None,
        }
    }

    /// The hash of what arrived there, if anything did.
    fn hash(&self, path: &[u8]) -> Option<[u8; HASH_LEN]> {
        let path = RelativePath::parse(path).ok()?;
        let arrived = self.inbox.journal().arrived(self.inbox.name(), &path);
        arrived.ok().flatten().map(|file| file.hash)
    }
}
