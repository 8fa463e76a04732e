//! Names in one folder that some file systems do not tell apart, as they differ by case or by Unicode's several spellings of one character
//! only. They are two names here and stay two; whoever works with the folder elsewhere is told.
//!
//! The names of a few folders are remembered by eight octets each, so a folder is read once and not for every file that arrives in it. It is
//! read again when somebody else changed it; if it is large, not more often than once in [`READ_AGAIN`], and twins of what was made
//! meanwhile are not noticed. That is a report and no rule that anything rests on.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use unicode_normalization::UnicodeNormalization;

use crate::disk::{DiskFolder, FolderId};
use crate::path::Escaped;
use crate::protocol::FileTime;

/// Names that are remembered of all folders; a folder with more is not looked at.
const NAMES_MAX: usize = 250_000;
/// Folders whose names are remembered; transfers come folder by folder.
const FOLDERS_MAX: usize = 16;
/// A folder with up to as many names is read whenever somebody else changed it.
const SMALL_FOLDER: usize = 1024;
/// How old may be what is known of a larger one.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// Twins that are named in the log; others are only counted, as the far end may send as many as it likes.
const NAMED_MAX: u64 = 64;

/// Which names have twins, of all that appear in an inbox.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    folders: Mutex<VecDeque<Known>>,
    found: AtomicU64,
    /// Those of them that were told already.
    taken: AtomicU64,
}

#[derive(Debug)]
struct Known {
    id: FolderId,
    changed: FileTime,
    read_at: Instant,
    /// Whether somebody else changed it since it was read.
    is_stale: bool,
    /// None: too many.
    names: Option<HashSet<u64>>,
}

impl Twins {
    /// Has the names of `folder` ready, before another appears in it. A folder that cannot be read has none.
    pub(crate) fn prepare(&self, folder: &dyn DiskFolder) {
        let (Ok(id), Ok(changed)) = (folder.id(), folder.changed()) else { return };
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = folders.iter().position(|known| known.id == id) {
            let known = folders.remove(at);
            if let Some(known) = known.and_then(|known| known.if_good(changed)) {
                // The last one is the one that was used last.
                folders.push_back(known);
                return;
            }
        }
        let Some(known) = Known::read(folder, id, changed) else { return };
        folders.push_back(known);
        let names = |folders: &VecDeque<Known>| folders.iter().map(Known::len).sum::<usize>();
        while folders.len() > FOLDERS_MAX || (folders.len() > 1 && names(&folders) > NAMES_MAX) {
            folders.pop_front();
        }
    }

    /// The name `name` has appeared in `folder`, for which [`Self::prepare`] was called just before.
    pub(crate) fn on_created(&self, folder: &dyn DiskFolder, name: &[u8]) {
        let (Ok(id), Ok(changed)) = (folder.id(), folder.changed()) else { return };
        let folded_name = folded(name);
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = folders.iter_mut().find(|known| known.id == id) else { return };
        known.changed = changed;
        let (is_small, is_stale) = (known.len() <= SMALL_FOLDER, known.is_stale);
        let Some(names) = &mut known.names else { return };
        // What was there when it was read may have gone since.
        let has_twin = names.len() < NAMES_MAX && !names.insert(hash(&folded_name)) && !is_stale;
        drop(folders);
        if has_twin && self.found.fetch_add(1, Ordering::Relaxed) < NAMED_MAX {
            let other = if is_small { find(folder, name, &folded_name) } else { None };
            let other = other.as_deref().map_or_else(String::new, |other| Escaped(other).to_string());
            tracing::warn!(name = %Escaped(name), other, "a name differs from another in its folder by case or spelling only; some systems take them for one");
        }
    }

    /// Twins found since this was asked last.
    pub(crate) fn take_found(&self) -> u64 {
        let found = self.found.load(Ordering::Relaxed);
        found.saturating_sub(self.taken.swap(found, Ordering::Relaxed))
    }
}

impl Known {
    fn read(folder: &dyn DiskFolder, id: FolderId, changed: FileTime) -> Option<Self> {
        let (mut names, mut are_all) = (HashSet::new(), true);
        let mut each = |name: &[u8]| {
            are_all = names.len() < NAMES_MAX;
            if are_all {
                names.insert(hash(&folded(name)));
            }
            are_all
        };
        folder.names(&mut each).ok()?;
        if !are_all {
            tracing::debug!(NAMES_MAX, "a folder has too many names to look for twins");
        }
        let names = are_all.then_some(names);
        Some(Self { id, changed, read_at: Instant::now(), is_stale: false, names })
    }

    fn len(&self) -> usize {
        self.names.as_ref().map_or(0, HashSet::len)
    }

    /// Itself, unless the folder is to be read again.
    fn if_good(mut self, changed: FileTime) -> Option<Self> {
        let is_small = self.names.as_ref().is_some_and(|names| names.len() <= SMALL_FOLDER);
        self.is_stale |= self.changed != changed;
        (!self.is_stale || (!is_small && self.read_at.elapsed() < READ_AGAIN)).then_some(self)
    }
}

/// The other name in the folder that folds to the same.
fn find(folder: &dyn DiskFolder, name: &[u8], folded_name: &[u8]) -> Option<Box<[u8]>> {
    let mut found = None;
    let mut each = |other: &[u8]| {
        if other != name && folded(other) == folded_name {
            found = Some(other.into());
        }
        found.is_none()
    };
    folder.names(&mut each).ok()?;
    found
}

pub(crate) fn hash(name: &[u8]) -> u64 {
    let hash = blake3::hash(name);
    u64::from_be_bytes(*hash.as_bytes().first_chunk().expect("a hash is longer"))
}

/// The name without what case and Unicode's several spellings of one character add: two names with the same are twins.
///
/// Large letters are made first, so that `ß` is `ss` and both forms of the small sigma are one, as in Unicode's full case folding.
pub(crate) fn folded(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => {
            let folded = text.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
            folded.nfc().collect::<String>().into_bytes()
        }
        _ => name.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::Disk;
    use crate::folder::Folder;

    fn create(twins: &Twins, disk: &Folder, dir: &tempfile::TempDir, name: &str) {
        let folder = disk.open_folder(None).unwrap();
        twins.prepare(&*folder);
        fs::write(dir.path().join(name), b"").unwrap();
        twins.on_created(&*folder, name.as_bytes());
    }

    #[test]
    fn a_twin_is_found_whoever_made_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::open(dir.path()).unwrap();
        let twins = Twins::default();
        fs::write(dir.path().join("Büro.txt"), b"").unwrap();
        for (name, found) in [("other", 0), ("bu\u{308}ro.TXT", 1), ("BÜRO.txt", 1), ("ünder", 0)] {
            create(&twins, &disk, &dir, name);
            assert_eq!(twins.take_found(), found, "{name}");
        }
        // The clock of a file system has ticks.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(dir.path().join("LATER"), b"").unwrap();
        create(&twins, &disk, &dir, "later");
        assert_eq!(twins.take_found(), 1);
    }

    #[test]
    fn a_folder_is_read_once_and_few_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::open(dir.path()).unwrap();
        let twins = Twins::default();
        create(&twins, &disk, &dir, "a");
        let read_at = || twins.folders.lock().unwrap()[0].read_at;
        let first = read_at();
        for number in 0..100 {
            create(&twins, &disk, &dir, &number.to_string());
        }
        assert_eq!(read_at(), first, "not read again for what appeared by us");
        for number in 0..2 * FOLDERS_MAX {
            let name = format!("folder {number}");
            fs::create_dir(dir.path().join(&name)).unwrap();
            let path = crate::RelativePath::parse(name.as_bytes()).unwrap();
            twins.prepare(&*disk.open_folder(Some(&path)).unwrap());
        }
        assert_eq!(twins.folders.lock().unwrap().len(), FOLDERS_MAX);
    }
}
