//! A disk in memory that keeps what is durable apart from what is not, and whose power can be cut.
//!
//! What may be left after a cut is at least what ext4 and XFS may leave:
//!
//! - Of octets that were not synced any subset of pages is there, and the new size or the old one; what was never written reads as zeros.
//! - Each name that was created or removed since its folder was synced is as before or as after, whatever becomes of the others. Of a
//!   renaming neither, one or both names may be left, unless one of the two folders was synced: then all of it is done.
//! - A file whose writing back failed has lost the pages that were to be written, and its size may be the new one. Reading still shows
//!   them until the power goes, syncing again says that all is well. Everybody who had it open is told once, and so is who opens it
//!   before anybody was.
//! - A folder whose writing back failed stays as it was, not synced.
//!
//! The power goes between two calls. The thread that makes the next one ends there, as a panic that nobody hears: what it would have done
//! afterwards never happens. Others go on to their next call, which is as if it had gone a moment later for all of them.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::Mode;
use rustix::io::{Errno, Result};
use tieline_transfer::RelativePath;
use tieline_transfer::disk::{Disk, DiskFile, DiskFolder, Extent, FolderId, PublishedFile};
use tieline_transfer::protocol::FileTime;

use crate::support::Tree;

/// What is written back as one.
const PAGE: usize = 4096;
const TOP: u64 = 0;
const PRIVATE: u64 = 1;

/// Numbers that look random, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// What ends a thread when the power is gone.
struct PowerCut;

/// Whether a thread ended because the power went, and not by a mistake of its own.
pub(crate) fn is_power_cut(panic: &(dyn Any + Send)) -> bool {
    panic.is::<PowerCut>()
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    PowerCut,
    /// An error of the device.
    Io,
    /// One in writing back, at this call or at the next one that syncs.
    Loss,
    /// No room, at this call or at the next one that needs some.
    Full,
}

/// What a disk does not do as is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Careless {
    Nothing,
    FileSyncs,
    FolderSyncs,
    /// Names: they are durable at once, before the data if that is not synced.
    NamesFirst,
}

/// The disk; its copies are the same one.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(crate) fn new(seed: u64, careless: Careless) -> Self {
        let folders = BTreeMap::from([(TOP, Names::default()), (PRIVATE, Names::default())]);
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            folders,
            next: PRIVATE + 1,
            pending: Vec::new(),
            calls: 0,
            troubles: Vec::new(),
            is_off: false,
            careless,
            random: Random::new(seed),
        })))
    }

    /// How many calls were made.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Has something happen at call number `at` from now on.
    pub(crate) fn plan(&self, at: u64, trouble: Trouble) {
        let mut state = self.state();
        let at = state.calls + at;
        state.troubles.push((at, trouble));
    }

    /// Whether something that was planned did not happen.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.state().troubles.is_empty()
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Cuts the power, if it is on, and brings it back: what was not durable is as chance has it.
    pub(crate) fn power_cycle(&self) {
        self.state().power_cycle();
    }

    /// Starts again after a kill: what was not durable is there still, and still not durable.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        state.is_off = false;
        state.troubles.clear();
    }

    /// What has a public name.
    pub(crate) fn tree(&self) -> Tree {
        let state = self.state();
        let mut tree = Tree::new();
        let mut folders = vec![(TOP, Vec::new())];
        while let Some((folder, above)) = folders.pop() {
            for (name, node) in &state.folders[&folder].now {
                let path = [&above[..], name].concat();
                match *node {
                    Node::File(id) => drop(tree.insert(path, Some(state.files[&id].now.clone()))),
                    Node::Folder(id) => {
                        folders.push((id, [&path[..], b"/"].concat()));
                        tree.insert(path, None);
                    }
                }
            }
        }
        tree
    }

    /// How many private files there are.
    pub(crate) fn private_files(&self) -> usize {
        self.state().folders[&PRIVATE].now.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The thread that held it ended by the cut, before it changed anything.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Folder(u64),
}

#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<Vec<u8>, Node>,
    durable: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug, Default)]
struct Octets {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Pages of `now` that are not written back.
    dirty: BTreeSet<usize>,
    reserved: u64,
    /// Errors in writing it back, and whether anybody was told of the last.
    errors: u64,
    is_told: bool,
}

/// A name that appears, or goes.
#[derive(Clone, Debug)]
struct NameChange {
    folder: u64,
    name: Vec<u8>,
    to: Option<Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Look,
    /// May need room.
    Change,
    /// Finds out whether there was room for what was written.
    Sync,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, Octets>,
    folders: BTreeMap<u64, Names>,
    next: u64,
    /// Changes of names that are not durable, in their order; two for a renaming.
    pending: Vec<Vec<NameChange>>,
    calls: u64,
    troubles: Vec<(u64, Trouble)>,
    is_off: bool,
    careless: Careless,
    random: Random,
}

impl State {
    /// Counts a call, and has happen what is planned for it.
    fn call(&mut self, call: Call) -> Result<()> {
        match self.try_call(call) {
            Err(Trouble::PowerCut) => resume_unwind(Box::new(PowerCut)),
            Err(Trouble::Io | Trouble::Loss) => Err(Errno::IO),
            Err(Trouble::Full) => Err(Errno::NOSPC),
            Ok(()) => Ok(()),
        }
    }

    fn try_call(&mut self, call: Call) -> std::result::Result<(), Trouble> {
        if self.is_off {
            return Err(Trouble::PowerCut);
        }
        self.calls += 1;
        let is_due = |&(at, trouble): &(u64, Trouble)| {
            self.calls >= at
                && match trouble {
                    Trouble::PowerCut | Trouble::Io => true,
                    Trouble::Loss => call == Call::Sync,
                    Trouble::Full => call != Call::Look,
                }
        };
        let Some(due) = self.troubles.iter().position(is_due) else { return Ok(()) };
        let (_, trouble) = self.troubles.remove(due);
        self.is_off = trouble == Trouble::PowerCut;
        Err(trouble)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn look(&self, folder: u64, name: &[u8]) -> Option<Node> {
        self.folders[&folder].now.get(name).copied()
    }

    fn change(&mut self, changes: Vec<NameChange>) {
        for change in &changes {
            change.apply(&mut self.folders.get_mut(&change.folder).unwrap().now);
        }
        self.pending.push(changes);
        if self.careless == Careless::NamesFirst {
            self.settle_names(|_| true);
        }
    }

    /// Makes those changes of names durable that `is_due`, and forgets earlier ones of the same names.
    fn settle_names(&mut self, is_due: impl Fn(&[NameChange]) -> bool) {
        let mut kept: Vec<Vec<NameChange>> = Vec::new();
        for changes in std::mem::take(&mut self.pending) {
            if !is_due(&changes) {
                kept.push(changes);
                continue;
            }
            for change in &changes {
                change.apply(&mut self.folders.get_mut(&change.folder).unwrap().durable);
                kept.iter_mut()
                    .for_each(|earlier| earlier.retain(|earlier| !earlier.is_of_same_name(change)));
            }
        }
        self.pending = kept;
    }

    fn sync_folder(&mut self, folder: u64) -> Result<()> {
        self.call(Call::Sync)?;
        if self.careless != Careless::FolderSyncs {
            self.settle_names(|changes| changes.iter().any(|change| change.folder == folder));
        }
        Ok(())
    }

    fn sync_file(&mut self, id: u64, seen: &AtomicU64) -> Result<()> {
        let failed = self.call(Call::Sync);
        let file = self.files.get_mut(&id).unwrap();
        match failed {
            Ok(()) if self.careless == Careless::FileSyncs => return Ok(()),
            Ok(()) => file.write_back(),
            Err(_) => file.lose(&mut self.random),
        }
        if seen.swap(file.errors, Ordering::Relaxed) < file.errors {
            file.is_told = true;
            return Err(failed.err().unwrap_or(Errno::IO));
        }
        Ok(())
    }

    fn power_cycle(&mut self) {
        for changes in std::mem::take(&mut self.pending) {
            for change in changes {
                if self.random.coin() {
                    change.apply(&mut self.folders.get_mut(&change.folder).unwrap().durable);
                }
            }
        }
        for folder in self.folders.values_mut() {
            folder.now.clone_from(&folder.durable);
        }
        for file in self.files.values_mut() {
            file.power_cycle(&mut self.random);
        }
        self.is_off = false;
        self.troubles.clear();
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<Vec<u8>, Node>) {
        match self.to {
            Some(node) => names.insert(self.name.clone(), node),
            None => names.remove(&self.name),
        };
    }

    fn is_of_same_name(&self, other: &Self) -> bool {
        (self.folder, &self.name) == (other.folder, &other.name)
    }
}

impl Octets {
    fn write(&mut self, octets: &[u8], at: usize) {
        let end = at + octets.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[at..end].copy_from_slice(octets);
        self.dirty.extend(at / PAGE..end.div_ceil(PAGE));
    }

    fn write_back(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            self.write_page(page);
        }
    }

    fn lose(&mut self, random: &mut Random) {
        if random.coin() {
            self.durable.resize(self.now.len(), 0);
        }
        self.dirty.clear();
        self.errors += 1;
        self.is_told = false;
    }

    fn power_cycle(&mut self, random: &mut Random) {
        if random.coin() {
            self.durable.resize(self.now.len(), 0);
        }
        for page in std::mem::take(&mut self.dirty) {
            if random.coin() {
                self.write_page(page);
            }
        }
        self.now.clone_from(&self.durable);
        (self.errors, self.is_told) = (0, false);
    }

    /// Writes a page as far as the durable size has room for it.
    fn write_page(&mut self, page: usize) {
        let range = page * PAGE..((page + 1) * PAGE).min(self.durable.len());
        if !range.is_empty() {
            self.durable[range.clone()].copy_from_slice(&self.now[range]);
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Call::Change)?;
        if state.look(PRIVATE, name.as_bytes()).is_some() {
            return Err(Errno::EXIST);
        }
        let id = state.number();
        state.files.insert(id, Octets::default());
        let (name, to) = (name.into(), Some(Node::File(id)));
        state.change(vec![NameChange { folder: PRIVATE, name, to }]);
        Ok(Box::new(self.file(id, 0)))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Call::Look)?;
        match state.look(PRIVATE, name.as_bytes()) {
            Some(Node::File(id)) => Ok(Box::new(self.file(id, state.files[&id].told()))),
            Some(Node::Folder(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        // Also called where a thread ends, which must not end twice; nothing follows from it there.
        state.try_call(Call::Look).map_err(|_| Errno::IO)?;
        state.look(PRIVATE, name.as_bytes()).ok_or(Errno::NOENT)?;
        state.change(vec![NameChange { folder: PRIVATE, name: name.into(), to: None }]);
        Ok(())
    }

    fn remove_others(&self, names: &[String]) -> Result<u64> {
        let mut state = self.state();
        state.call(Call::Look)?;
        let mut others: Vec<Vec<u8>> = state.folders[&PRIVATE].now.keys().cloned().collect();
        others.retain(|name| !names.iter().any(|known| known.as_bytes() == name));
        for name in &others {
            state.call(Call::Look)?;
            state.change(vec![NameChange { folder: PRIVATE, name: name.clone(), to: None }]);
        }
        Ok(others.len() as u64)
    }

    fn sync_names(&self) -> Result<()> {
        self.state().sync_folder(PRIVATE)
    }

    fn open_folder<'d>(&'d self, path: Option<&RelativePath>) -> Result<Box<dyn DiskFolder + 'd>> {
        let mut state = self.state();
        state.call(Call::Look)?;
        let mut at = TOP;
        for component in path.iter().flat_map(|path| path.components()) {
            match state.look(at, component) {
                Some(Node::Folder(id)) => at = id,
                Some(Node::File(_)) => return Err(Errno::NOTDIR),
                None => return Err(Errno::NOENT),
            }
        }
        Ok(Box::new(self.folder(at)))
    }

    fn make_folder<'d>(
        &'d self,
        path: Option<&RelativePath>,
        _mode: Mode,
        changed: &mut dyn FnMut(Box<dyn DiskFolder + 'd>),
    ) -> Result<Box<dyn DiskFolder + 'd>> {
        let mut at = TOP;
        for component in path.iter().flat_map(|path| path.components()) {
            let mut state = self.state();
            state.call(Call::Change)?;
            at = match state.look(at, component) {
                Some(Node::Folder(id)) => id,
                Some(Node::File(_)) => return Err(Errno::NOTDIR),
                None => {
                    let id = state.number();
                    state.folders.insert(id, Names::default());
                    let (name, to) = (component.into(), Some(Node::Folder(id)));
                    state.change(vec![NameChange { folder: at, name, to }]);
                    changed(Box::new(self.folder(at)));
                    id
                }
            };
        }
        Ok(Box::new(self.folder(at)))
    }

    fn sync_all(&self) -> Result<()> {
        let mut guard = self.state();
        let state = &mut *guard;
        let failed = state.call(Call::Sync);
        for file in state.files.values_mut().filter(|file| !file.dirty.is_empty()) {
            match failed {
                Ok(()) if state.careless == Careless::FileSyncs => {}
                Ok(()) => file.write_back(),
                Err(_) => file.lose(&mut state.random),
            }
        }
        if failed.is_ok() && state.careless != Careless::FolderSyncs {
            state.settle_names(|_| true);
        }
        failed
    }

    fn free_bytes(&self) -> Result<u64> {
        self.state().call(Call::Look)?;
        Ok(1 << 40)
    }
}

impl SimDisk {
    fn file(&self, id: u64, seen: u64) -> SimFile {
        SimFile { disk: self.clone(), id, seen: AtomicU64::new(seen) }
    }

    fn folder(&self, id: u64) -> SimFolder {
        SimFolder { disk: self.clone(), id }
    }
}

impl Octets {
    /// The errors that somebody who opens it now is not told.
    fn told(&self) -> u64 {
        if self.is_told { self.errors } else { self.errors.saturating_sub(1) }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
    /// Errors that were told here.
    seen: AtomicU64,
}

impl DiskFile for SimFile {
    fn write_all_at(&self, octets: &[u8], at: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        state.files.get_mut(&self.id).unwrap().write(octets, usize::try_from(at).unwrap());
        Ok(())
    }

    fn reserve(&self, size: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        state.files.get_mut(&self.id).unwrap().reserved = size;
        Ok(())
    }

    fn extent(&self) -> Result<Extent> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        let file = &state.files[&self.id];
        let size = file.now.len() as u64;
        Ok(Extent { size, allocated: size.max(file.reserved) })
    }

    fn set_metadata(&self, _mode: Mode, _modified: FileTime) -> Result<()> {
        self.disk.state().call(Call::Change)
    }

    fn sync_data(&self) -> Result<()> {
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        self.disk.state().sync_file(self.id, &self.seen)
    }
}

#[derive(Debug)]
struct SimFolder {
    disk: SimDisk,
    id: u64,
}

impl DiskFolder for SimFolder {
    fn id(&self) -> Result<FolderId> {
        Ok((0, self.id))
    }

    fn publish(&self, private: &str, name: &[u8]) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        let node = state.look(PRIVATE, private.as_bytes()).ok_or(Errno::NOENT)?;
        if state.look(self.id, name).is_some() {
            return Err(Errno::EXIST);
        }
        let to = NameChange { folder: self.id, name: name.into(), to: Some(node) };
        state.change(vec![to, NameChange { folder: PRIVATE, name: private.into(), to: None }]);
        Ok(())
    }

    fn published(&self, name: &[u8], size: u64) -> Result<Option<Box<dyn PublishedFile>>> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        let Some(Node::File(id)) = state.look(self.id, name) else { return Ok(None) };
        let file = &state.files[&id];
        if file.now.len() as u64 != size {
            return Ok(None);
        }
        let content = Cursor::new(file.now.clone());
        Ok(Some(Box::new(SimPublished { file: self.disk.file(id, file.told()), content })))
    }

    fn sync(&self) -> Result<()> {
        self.disk.state().sync_folder(self.id)
    }
}

struct SimPublished {
    file: SimFile,
    content: Cursor<Vec<u8>>,
}

impl Read for SimPublished {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer)
    }
}

impl PublishedFile for SimPublished {
    fn sync(&self) -> Result<()> {
        self.file.sync()
    }
}
