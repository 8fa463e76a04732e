//! What a simulated disk holds: names and octets, each as it is now and as it is for certain.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::{Errno, Result};

use super::{Careless, Random, Trouble};

/// What is written back as one.
const PAGE: usize = 4096;
/// The number of the top folder.
pub(super) const TOP: u64 = 0;
/// The number of the private folder.
pub(super) const PRIVATE: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Folder(u64),
    /// Its text is as durable as its name, as in ext4 and XFS.
    Link(u64),
}

#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) now: BTreeMap<Vec<u8>, Node>,
    pub(super) durable: BTreeMap<Vec<u8>, Node>,
    /// How many names appeared or went.
    pub(super) changes: i64,
}

#[derive(Debug, Default)]
pub(super) struct Octets {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Pages of `now` that are not written back.
    pub(super) dirty: BTreeSet<usize>,
    pub(super) reserved: u64,
    /// When it was modified, as it is now and as it is for certain.
    pub(super) modified: (i64, u32),
    pub(super) modified_durable: (i64, u32),
    /// Errors in writing it back, and whether anybody was told of the last.
    pub(super) errors: u64,
    pub(super) is_told: bool,
}

/// A name that appears, or goes.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub(super) folder: u64,
    pub(super) name: Vec<u8>,
    pub(super) to: Option<Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Look,
    /// May need room.
    Change,
    /// Finds out whether there was room for what was written.
    Sync,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, Octets>,
    pub(super) links: BTreeMap<u64, Vec<u8>>,
    pub(super) folders: BTreeMap<u64, Names>,
    pub(super) next: u64,
    /// Changes of names that are not durable, in their order; two for a renaming.
    pub(super) pending: Vec<Vec<NameChange>>,
    pub(super) calls: u64,
    pub(super) troubles: Vec<(u64, Trouble)>,
    /// Octets that all files may have together, if not as many as they like.
    pub(super) room: Option<u64>,
    pub(super) name_len_max: usize,
    pub(super) file_len_max: u64,
    pub(super) is_off: bool,
    pub(super) careless: Careless,
    pub(super) random: Random,
}

impl State {
    /// A disk with its two folders.
    pub(super) fn new(seed: u64, careless: Careless) -> Self {
        Self {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            folders: BTreeMap::from([(TOP, Names::default()), (PRIVATE, Names::default())]),
            next: PRIVATE + 1,
            pending: Vec::new(),
            calls: 0,
            troubles: Vec::new(),
            room: None,
            name_len_max: 255,
            file_len_max: u64::MAX,
            is_off: false,
            careless,
            random: Random::new(seed),
        }
    }

    /// Counts a call, and has happen what is planned for it.
    pub(super) fn call(&mut self, call: Call) -> Result<()> {
        match self.try_call(call) {
            Err(Trouble::PowerCut) => resume_unwind(Box::new(PowerCut)),
            Err(Trouble::Io | Trouble::Loss) => Err(Errno::IO),
            Err(Trouble::Full) => Err(Errno::NOSPC),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn try_call(&mut self, call: Call) -> std::result::Result<(), Trouble> {
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

    /// Octets of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let nodes = self.folders.values().flat_map(|folder| folder.now.values());
        nodes
            .map(|node| match node {
                Node::File(id) => self.files[id].allocated(),
                Node::Folder(_) | Node::Link(_) => 0,
            })
            .sum()
    }

    /// Fails if a name is longer than they may be here.
    pub(super) fn check_name(&self, name: &[u8]) -> Result<()> {
        if name.len() > self.name_len_max { Err(Errno::NAMETOOLONG) } else { Ok(()) }
    }

    /// Fails if that file may not have so many octets, or if there is no room for them.
    pub(super) fn need_room(&self, id: u64, octets: u64) -> Result<()> {
        if octets > self.file_len_max {
            return Err(Errno::FBIG);
        }
        let more = octets.saturating_sub(self.files[&id].allocated());
        match self.room {
            Some(room) if self.used().saturating_add(more) > room => Err(Errno::NOSPC),
            _ => Ok(()),
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn look(&self, folder: u64, name: &[u8]) -> Option<Node> {
        self.folders[&folder].now.get(name).copied()
    }

    pub(super) fn change(&mut self, changes: Vec<NameChange>) {
        for change in &changes {
            let names = self.folders.get_mut(&change.folder).unwrap();
            change.apply(&mut names.now);
            names.changes += 1;
        }
        self.pending.push(changes);
        if self.careless == Careless::NamesFirst {
            self.settle_names(|_| true);
        }
    }

    /// Makes those changes of names durable that `is_due`, and forgets earlier ones of the same names.
    pub(super) fn settle_names(&mut self, is_due: impl Fn(&[NameChange]) -> bool) {
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

    pub(super) fn sync_folder(&mut self, folder: u64) -> Result<()> {
        self.call(Call::Sync)?;
        if self.careless != Careless::FolderSyncs {
            self.settle_names(|changes| changes.iter().any(|change| change.folder == folder));
        }
        Ok(())
    }

    pub(super) fn sync_file(&mut self, id: u64, seen: &AtomicU64) -> Result<()> {
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

    pub(super) fn power_cycle(&mut self) {
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
    pub(super) fn apply(&self, names: &mut BTreeMap<Vec<u8>, Node>) {
        match self.to {
            Some(node) => names.insert(self.name.clone(), node),
            None => names.remove(&self.name),
        };
    }

    pub(super) fn is_of_same_name(&self, other: &Self) -> bool {
        (self.folder, &self.name) == (other.folder, &other.name)
    }
}

impl Octets {
    /// Octets of room that it takes.
    pub(super) fn allocated(&self) -> u64 {
        self.reserved.max(self.now.len() as u64)
    }

    /// The errors that somebody who opens it now is not told.
    pub(super) fn told(&self) -> u64 {
        if self.is_told { self.errors } else { self.errors.saturating_sub(1) }
    }

    pub(super) fn write(&mut self, octets: &[u8], at: usize) {
        let end = at + octets.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[at..end].copy_from_slice(octets);
        self.dirty.extend(at / PAGE..end.div_ceil(PAGE));
    }

    /// Zeros from `at` to `end`, and nothing behind them.
    pub(super) fn make_hole(&mut self, at: usize, end: usize) {
        self.now.truncate(at);
        self.now.resize(end, 0);
        self.dirty.extend(at / PAGE..end.div_ceil(PAGE));
    }

    pub(super) fn write_back(&mut self) {
        self.durable.resize(self.now.len(), 0);
        self.modified_durable = self.modified;
        for page in std::mem::take(&mut self.dirty) {
            self.write_page(page);
        }
    }

    pub(super) fn lose(&mut self, random: &mut Random) {
        if random.coin() {
            self.durable.resize(self.now.len(), 0);
        }
        self.dirty.clear();
        self.errors += 1;
        self.is_told = false;
    }

    pub(super) fn power_cycle(&mut self, random: &mut Random) {
        if random.coin() {
            self.durable.resize(self.now.len(), 0);
        }
        for page in std::mem::take(&mut self.dirty) {
            if random.coin() {
                self.write_page(page);
            }
        }
        self.now.clone_from(&self.durable);
        self.modified = self.modified_durable;
        (self.errors, self.is_told) = (0, false);
    }

    /// Writes a page as far as there is of it, and as the durable size has room for it.
    pub(super) fn write_page(&mut self, page: usize) {
        let end = ((page + 1) * PAGE).min(self.durable.len()).min(self.now.len());
        let range = page * PAGE..end;
        if !range.is_empty() {
            self.durable[range.clone()].copy_from_slice(&self.now[range]);
        }
    }
}

/// What ends a thread when the power is gone.
pub(super) struct PowerCut;
