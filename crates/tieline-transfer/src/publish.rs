//! Giving whole files their final names, in groups, so that a name and what it names survive a power cut.
//!
//! The order is: data of the whole group to the disk, the journal's word that large files are whole, the names, the folders that hold
//! them, the journal's word that all arrived; only then is anything called delivered. A group costs a few waits for the disk, not some for each file in it. A file whose data could not be
//! written back is not tried again: the kernel forgets that it was dirty, so a second success would prove nothing.

use std::io::{self, Read};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::disk::{Disk, DiskFolder, FolderId};
use crate::inbox::{Inbox, Partial, journal_errno};
use crate::journal::JournalError;
use crate::journal::accounts::Accounts;
use crate::journal::incoming::ArrivedFile;
use crate::links;
use crate::metadata::attributes::Attributes;
use crate::metadata::give;
use crate::path::{COPIES_MAX, RelativePath, copy_name};
use crate::protocol::{FileTime, HASH_LEN, Verdict};
use crate::reason::Obstacle;
use crate::same_name::{SameName, Whole, publish_alone};
use crate::stamp::Stamp;
use crate::twins::Twins;

/// Files and folders that share their waits for the disk; bounds the files held open.
pub(crate) const GROUP_MAX: usize = 256;
/// From so many files on, one write-back of the file system is cheaper than one wait for each of them.
const SYNC_WHOLE_MIN: usize = 8;
/// Changed folders that are held open until they are synced one by one; beyond it the file system is synced.
const FOLDERS_HELD_MAX: usize = 16;

/// Something that is ready for its final name.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Its number in the transfer.
    pub(crate) entry: u64,
    /// Its path as offered.
    pub(crate) offered: RelativePath,
    /// Where that is below the inbox.
    pub(crate) path: RelativePath,
    pub(crate) content: Content,
}

/// What is to appear under that name.
#[derive(Debug)]
pub(crate) enum Content {
    /// A verified file, which version it is, its size, its BLAKE3 hash, and when it was modified.
    File { partial: Partial, stamp: Stamp, size: u64, hash: [u8; HASH_LEN], modified: FileTime },
    /// A file that is there already, under the name with this copy number or one that is not known; `is_likely`: if it is as the journal
    /// has it, among the partial files under the number `partial` or among those that arrived.
    Claim {
        partial: Option<i64>,
        stamp: Stamp,
        size: u64,
        hash: [u8; HASH_LEN],
        modified: FileTime,
        copy: Option<u32>,
        is_likely: bool,
    },
    /// A folder, its permission bits already cleaned, and what else it is given.
    Folder { mode: Mode, attributes: Box<Attributes> },
    /// A symbolic link.
    Link(Box<NewLink>),
}

/// A symbolic link that is to appear.
#[derive(Debug)]
pub(crate) struct NewLink {
    /// Under which private name it is made.
    pub(crate) private: String,
    pub(crate) target: Box<[u8]>,
    /// When it was modified, as it is said in the receipt.
    pub(crate) modified: FileTime,
    /// The time it is given.
    pub(crate) given: Option<FileTime>,
}

/// Publishes a group and returns the verdict on each, in order, when all of it is durable. The journal is to be told next, by
/// [`note_arrived`].
pub(crate) fn publish_group(inbox: &Inbox, group: &mut [Ready]) -> Vec<Verdict> {
    let mut changed = Changed::default();
    let synced = sync_data(inbox.disk(), group);
    give_up_lost(group, &synced);
    let synced = note_whole(inbox, group, synced);
    let mut verdicts: Vec<Verdict> = group
        .iter_mut()
        .zip(synced)
        .map(|(ready, synced)| {
            let verdict = synced.map_err(Obstacle::from).and_then(|()| publish(inbox, ready, &mut changed));
            verdict.unwrap_or_else(Verdict::Failed)
        })
        .collect();
    if let Err(error) = changed.sync(inbox) {
        tracing::error!(inbox = %inbox.path().display(), %error, "folders of the inbox cannot be written to the disk");
        for verdict in &mut verdicts {
            if matches!(verdict, Verdict::Delivered { .. } | Verdict::AlreadyThere { .. }) {
                *verdict = Verdict::Failed(error.into());
            }
        }
    }
    verdicts
}

/// Begins files anew of which something may be lost: no part of them is believed to be on the disk.
fn give_up_lost(group: &mut [Ready], synced: &[Result<(), Errno>]) {
    for (ready, synced) in group.iter_mut().zip(synced) {
        if let (Content::File { partial, .. }, Err(_)) = (&mut ready.content, synced) {
            partial.give_up();
        }
    }
}

/// Tells the journal which of the files it knows are whole and on the disk, before they get their names.
fn note_whole(inbox: &Inbox, group: &[Ready], mut synced: Vec<Result<(), Errno>>) -> Vec<Result<(), Errno>> {
    let is_known = |ready: &Ready| match &ready.content {
        Content::File { partial, hash, .. } => Some((partial.id()?, *hash)),
        Content::Claim { .. } | Content::Folder { .. } | Content::Link(_) => None,
    };
    let whole: Vec<_> = group
        .iter()
        .zip(&synced)
        .filter(|(_, synced)| synced.is_ok())
        .filter_map(|(ready, _)| is_known(ready))
        .collect();
    if whole.is_empty() {
        return synced;
    }
    if let Err(errno) = inbox.journal().whole(&whole).map_err(journal_errno) {
        for (ready, synced) in group.iter().zip(&mut synced) {
            if is_known(ready).is_some() {
                *synced = Err(errno);
            }
        }
    }
    synced
}

/// Tells the journal what arrived, what is not there any more, and what is to be kept with that. What it does not hear of is not to be
/// called delivered.
pub(crate) fn note_arrived(
    inbox: &Inbox,
    group: &[Ready],
    verdicts: &[Verdict],
    accounts: &Accounts,
) -> Result<(), JournalError> {
    let arrived = group.iter().zip(verdicts).filter_map(|(ready, verdict)| {
        let (id, stamp, size, hash) = match &ready.content {
            Content::File { partial, stamp, size, hash, .. } => (partial.id(), *stamp, *size, *hash),
            Content::Claim { partial, stamp, size, hash, .. } => (*partial, *stamp, *size, *hash),
            Content::Folder { .. } | Content::Link(_) => return None,
        };
        let (Verdict::Delivered { copy } | Verdict::AlreadyThere { copy }) = *verdict else { return None };
        Some((id, &ready.path, ArrivedFile { stamp, copy, size, hash }))
    });
    let gone = group.iter().zip(verdicts).filter_map(|(ready, verdict)| match (&ready.content, verdict) {
        (Content::Claim { .. }, Verdict::Failed(_)) => Some(&ready.path),
        _ => None,
    });
    inbox.journal().arrive(inbox.name(), arrived, gone, accounts)?;
    for (ready, verdict) in group.iter().zip(verdicts) {
        // Else it would be asked for by its name for ever.
        if let (Content::Claim { partial: Some(id), .. }, Verdict::Failed(_)) = (&ready.content, verdict)
            && let Err(error) = inbox.journal().forget_partial(*id)
        {
            tracing::warn!(%error, "a partial file that is gone is not forgotten");
        }
    }
    Ok(())
}

/// Creates `path` and makes it durable.
pub(crate) fn publish_folder(inbox: &Inbox, path: &RelativePath) -> Result<(), Errno> {
    let mut changed = Changed::default();
    let mode = Mode::from_raw_mode(0o755);
    inbox.disk().make_folder(Some(path), mode, &mut |folder| changed.note(folder))?;
    changed.sync(inbox)
}

/// Brings the data of every file of the group to the disk; one result for each member of it.
fn sync_data(disk: &dyn Disk, group: &[Ready]) -> Vec<Result<(), Errno>> {
    let files = group.iter().filter(|ready| matches!(ready.content, Content::File { .. })).count();
    if files >= SYNC_WHOLE_MIN {
        // Its result is not asked: each file is, and has kept an error that happened here.
        let _ = disk.sync_all();
    }
    group
        .iter()
        .map(|ready| match &ready.content {
            Content::File { partial, .. } => partial.file.sync(),
            Content::Claim { .. } | Content::Folder { .. } | Content::Link(_) => Ok(()),
        })
        .collect()
}

fn publish<'d>(inbox: &'d Inbox, ready: &mut Ready, changed: &mut Changed<'d>) -> Result<Verdict, Obstacle> {
    let (disk, path) = (inbox.disk(), &ready.path);
    match &mut ready.content {
        Content::Folder { mode, attributes } => {
            let mut created = false;
            let folder = disk.make_folder(Some(path), *mode, &mut |folder| {
                created = true;
                changed.note(folder);
            })?;
            if created {
                inbox.count_not_given(give(&*folder, attributes));
                return Ok(Verdict::Delivered { copy: 1 });
            }
            // Whoever made it may not have synced it.
            let (parent, _) = path.split_last();
            changed.note(disk.open_folder(parent.as_ref())?);
            Ok(Verdict::AlreadyThere { copy: 1 })
        }
        Content::Claim { size, hash, copy, is_likely, .. } => {
            let (parent, name) = path.split_last();
            let folder = disk.open_folder(parent.as_ref()).map_err(|_| Obstacle::HashMismatch)?;
            let copy = if *is_likely { find_content(&*folder, name, *copy, *size, hash)? } else { None };
            let copy = copy.ok_or(Obstacle::HashMismatch)?;
            // Whoever gave it its name may not have synced that.
            changed.note(folder);
            Ok(Verdict::AlreadyThere { copy })
        }
        Content::Link(link) => {
            let (parent, name) = path.split_last();
            let above = Mode::from_raw_mode(0o755);
            let folder = disk.make_folder(parent.as_ref(), above, &mut |folder| changed.note(folder))?;
            let verdict = links::publish(disk, &*folder, &link.private, name, &link.target, link.given)?;
            changed.note(folder);
            Ok(verdict)
        }
        Content::File { partial, size, hash, modified, .. } => {
            let (parent, name) = path.split_last();
            let above = Mode::from_raw_mode(0o755);
            let folder = disk.make_folder(parent.as_ref(), above, &mut |folder| changed.note(folder))?;
            inbox.twins().prepare(&*folder);
            let verdict = match partial.same_name() {
                SameName::KeepBoth => publish_file(&*folder, name, partial, *size, hash, inbox.twins())?,
                policy => {
                    let file = Whole { partial, size: *size, hash, modified: *modified };
                    publish_alone(&*folder, name, file, policy, inbox.twins())?
                }
            };
            changed.note(folder);
            Ok(verdict)
        }
    }
}

/// Gives the file the first free name of its row, unless one of the row has the same content already.
fn publish_file(
    folder: &dyn DiskFolder,
    name: &[u8],
    partial: &mut Partial,
    size: u64,
    hash: &[u8; HASH_LEN],
    twins: &Twins,
) -> Result<Verdict, Obstacle> {
    for copy in 1..=COPIES_MAX {
        let name = copy_name(name, copy);
        match folder.publish(partial.name(), &name) {
            Ok(()) => {
                partial.renamed();
                twins.on_created(folder, &name);
                return Ok(Verdict::Delivered { copy });
            }
            Err(Errno::EXIST) if has_content(folder, &name, size, hash)? => {
                partial.superfluous();
                return Ok(Verdict::AlreadyThere { copy });
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Obstacle::TooManyCopies)
}

/// The copy number of the name that has that content: `copy`, or any.
fn find_content(
    folder: &dyn DiskFolder,
    name: &[u8],
    copy: Option<u32>,
    size: u64,
    hash: &[u8; HASH_LEN],
) -> Result<Option<u32>, Errno> {
    let copies = copy.map_or(1..=COPIES_MAX, |copy| copy..=copy);
    for copy in copies {
        if has_content(folder, &copy_name(name, copy), size, hash)? {
            return Ok(Some(copy));
        }
    }
    Ok(None)
}

/// Whether a regular file of that name has that content, which is then durable too.
pub(crate) fn has_content(
    folder: &dyn DiskFolder,
    name: &[u8],
    size: u64,
    hash: &[u8; HASH_LEN],
) -> Result<bool, Errno> {
    let Some(mut file) = folder.published(name)?.filter(|file| file.size() == size) else { return Ok(false) };
    // A file that cannot be read is not known to be the same, so both are kept.
    if hash_of(&mut file).ok() != Some(*hash) {
        return Ok(false);
    }
    file.sync()?;
    Ok(true)
}

fn hash_of(file: &mut dyn Read) -> io::Result<[u8; HASH_LEN]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}

/// Folders in which a name was created since the last sync.
#[derive(Default)]
struct Changed<'d> {
    held: Vec<(FolderId, Box<dyn DiskFolder + 'd>)>,
    more_than_held: bool,
}

impl<'d> Changed<'d> {
    fn note(&mut self, folder: Box<dyn DiskFolder + 'd>) {
        match folder.id() {
            Ok(id) if self.held.iter().any(|(held, _)| *held == id) => {}
            Ok(id) if self.held.len() < FOLDERS_HELD_MAX => self.held.push((id, folder)),
            _ => self.more_than_held = true,
        }
    }

    fn sync(&self, inbox: &Inbox) -> Result<(), Errno> {
        let synced =
            self.sync_more(inbox).and_then(|()| self.held.iter().try_for_each(|(_, folder)| folder.sync()));
        if synced.is_err() {
            // A later group finds these folders made, and would not sync what they are in.
            *inbox.has_unsynced() = true;
        }
        synced
    }

    fn sync_more(&self, inbox: &Inbox) -> Result<(), Errno> {
        let mut has_unsynced = inbox.has_unsynced();
        if self.more_than_held || *has_unsynced {
            inbox.disk().sync_all()?;
            *has_unsynced = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    fn inbox() -> (tempfile::TempDir, Arc<Inbox>) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(crate::journal::Journal::in_memory().unwrap());
        let inbox = Arc::new(Inbox::open(dir.path(), "inbox", journal).unwrap());
        (dir, inbox)
    }

    fn ready(inbox: &Arc<Inbox>, path: &str, content: &[u8]) -> Ready {
        let admission = Arc::new(inbox.admit().unwrap());
        let partial = Partial::create(&admission).unwrap();
        partial.file.write_all_at(content, 0).unwrap();
        let path = RelativePath::parse(path.as_bytes()).unwrap();
        let (size, hash) = (content.len() as u64, *blake3::hash(content).as_bytes());
        let stamp = Stamp::from_bytes([0; 16]);
        let modified = FileTime { seconds: 0, nanoseconds: 0 };
        let content = Content::File { partial, stamp, size, hash, modified };
        Ready { entry: 0, offered: path.clone(), path, content }
    }

    #[test]
    fn the_same_file_twice_in_one_group_is_there_once() {
        let (dir, inbox) = inbox();
        let mut group = [ready(&inbox, "a", b"x"), ready(&inbox, "a", b"x"), ready(&inbox, "a", b"y")];
        let verdicts = publish_group(&inbox, &mut group);
        let there = Verdict::AlreadyThere { copy: 1 };
        assert_eq!(verdicts, [Verdict::Delivered { copy: 1 }, there, Verdict::Delivered { copy: 2 }]);
        drop(group);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "a, a (2), the private folder");
    }

    #[test]
    fn case_11_a_journal_without_room_delays_what_it_has_to_know_and_says_that_the_disk_is_full() {
        let (dir, inbox) = inbox();
        let admission = Arc::new(inbox.admit().unwrap());
        let private = dir.path().join(crate::path::PARTIAL_FOLDER);
        let stamp = Stamp::from_bytes([0; 16]);
        let begin = |number: u32| {
            // Long names, so that the journal needs more room soon.
            let path = RelativePath::parse(format!("{number}{}", "x".repeat(200)).as_bytes()).unwrap();
            Partial::begin(&admission, &path, stamp, 1)
        };
        inbox.journal().limit_room(0);
        let refused = (0..1000).find_map(|number| begin(number).err()).unwrap();
        assert_eq!(refused, Errno::NOSPC);
        let known = inbox.journal().partials(inbox.name()).unwrap().len();
        assert_eq!(fs::read_dir(&private).unwrap().count(), known, "a file for each row");
        inbox.journal().limit_room(1000);
        assert!(begin(1000).is_ok());
    }

    #[test]
    fn case_11_nothing_gets_its_name_while_the_journal_has_no_room_to_know_of_it() {
        let (dir, inbox) = inbox();
        let admission = Arc::new(inbox.admit().unwrap());
        let mut group: Vec<Ready> = (0..GROUP_MAX)
            .map(|number| {
                let path = RelativePath::parse(number.to_string().as_bytes()).unwrap();
                let stamp = Stamp::from_bytes([0; 16]);
                let partial = Partial::begin(&admission, &path, stamp, 1).unwrap();
                partial.file.write_all_at(b"x", 0).unwrap();
                let (hash, modified) =
                    (*blake3::hash(b"x").as_bytes(), FileTime { seconds: 0, nanoseconds: 0 });
                let content = Content::File { partial, stamp, size: 1, hash, modified };
                Ready { entry: 0, offered: path.clone(), path, content }
            })
            .collect();
        inbox.journal().limit_room(0);
        let full = Verdict::Failed(Obstacle::NoSpace { missing_bytes: 0 });
        assert!(publish_group(&inbox, &mut group).iter().all(|verdict| *verdict == full));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the private folder");
        inbox.journal().limit_room(1000);
        let delivered = Verdict::Delivered { copy: 1 };
        assert!(publish_group(&inbox, &mut group).iter().all(|verdict| *verdict == delivered));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_the_same() {
        let (dir, inbox) = inbox();
        let top = inbox.disk().open_folder(None).unwrap();
        // Of that size, but a folder, or gone when it is looked at.
        fs::create_dir(dir.path().join("folder")).unwrap();
        for name in [&b"folder"[..], b"missing"] {
            assert_eq!(has_content(&*top, name, 0, blake3::hash(b"").as_bytes()), Ok(false));
        }
        fs::write(dir.path().join("same"), b"x").unwrap();
        assert_eq!(has_content(&*top, b"same", 1, blake3::hash(b"x").as_bytes()), Ok(true));
        assert_eq!(has_content(&*top, b"same", 1, blake3::hash(b"y").as_bytes()), Ok(false));
        assert_eq!(has_content(&*top, b"same", 2, blake3::hash(b"x").as_bytes()), Ok(false));
    }

    #[test]
    fn folders_beyond_those_that_are_held_open_are_remembered_as_more() {
        let (dir, inbox) = inbox();
        let mut changed = Changed::default();
        for number in 0..FOLDERS_HELD_MAX + 3 {
            let name = number.to_string();
            fs::create_dir(dir.path().join(&name)).unwrap();
            let path = RelativePath::parse(name.as_bytes()).unwrap();
            for _ in 0..2 {
                changed.note(inbox.disk().open_folder(Some(&path)).unwrap());
            }
            let expected = (number + 1).min(FOLDERS_HELD_MAX);
            assert_eq!((changed.held.len(), changed.more_than_held), (expected, number >= FOLDERS_HELD_MAX));
        }
        assert_eq!(changed.sync(&inbox), Ok(()));
    }
}
