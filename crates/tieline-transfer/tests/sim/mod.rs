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

#![allow(dead_code, reason = "each test program uses a part of it")]

mod state;

use std::any::Any;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::Mode;
use rustix::io::{Errno, Result};
use state::{Call, NameChange, Names, Node, Octets, PRIVATE, PowerCut, State, TOP};
use tieline_transfer::RelativePath;
use tieline_transfer::disk::{
    Attributed, Disk, DiskFile, DiskFolder, Extent, FolderId, Occupant, PublishedFile,
};
use tieline_transfer::protocol::FileTime;

use crate::support::Tree;

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
        Self(Arc::new(Mutex::new(State::new(seed, careless))))
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

    /// Leaves room for so many more octets; none: for as many as there may be.
    pub(crate) fn leave_room(&self, octets: Option<u64>) {
        let mut state = self.state();
        state.room = octets.map(|octets| state.used().saturating_add(octets));
    }

    /// Is a file system that takes names and files of so many octets at most.
    pub(crate) fn limit(&self, name_len_max: usize, file_len_max: u64) {
        let mut state = self.state();
        (state.name_len_max, state.file_len_max) = (name_len_max, file_len_max);
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
                    Node::Link(id) => drop(tree.insert(path, Some(state.links[&id].clone()))),
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

    fn create_link(&self, name: &str, target: &[u8], _modified: Option<FileTime>) -> Result<()> {
        let mut state = self.state();
        state.call(Call::Change)?;
        if state.look(PRIVATE, name.as_bytes()).is_some() {
            return Err(Errno::EXIST);
        }
        let id = state.number();
        state.links.insert(id, target.into());
        state.change(vec![NameChange { folder: PRIVATE, name: name.into(), to: Some(Node::Link(id)) }]);
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Call::Look)?;
        match state.look(PRIVATE, name.as_bytes()) {
            Some(Node::File(id)) => Ok(Box::new(self.file(id, state.files[&id].told()))),
            Some(Node::Folder(_)) => Err(Errno::ISDIR),
            Some(Node::Link(_)) => Err(Errno::LOOP),
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
                Some(Node::Link(_)) => return Err(Errno::LOOP),
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
                Some(Node::Link(_)) => return Err(Errno::LOOP),
                None => {
                    state.check_name(component)?;
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
        let mut state = self.state();
        state.call(Call::Look)?;
        Ok(state.room.map_or(1 << 40, |room| room.saturating_sub(state.used())))
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

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
    /// Errors that were told here.
    seen: AtomicU64,
}

impl Attributed for SimFile {
    fn set_owner(&self, _user: Option<u32>, _group: Option<u32>) -> Result<()> {
        self.disk.state().call(Call::Change)
    }

    fn set_xattr(&self, _name: &[u8], _value: &[u8]) -> Result<()> {
        self.disk.state().call(Call::Change)
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, octets: &[u8], at: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        state.need_room(self.id, at + octets.len() as u64)?;
        state.files.get_mut(&self.id).unwrap().write(octets, usize::try_from(at).unwrap());
        Ok(())
    }

    fn reserve(&self, size: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        state.need_room(self.id, size)?;
        state.files.get_mut(&self.id).unwrap().reserved = size;
        Ok(())
    }

    fn extent(&self) -> Result<Extent> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        let file = &state.files[&self.id];
        Ok(Extent { size: file.now.len() as u64, allocated: file.allocated() })
    }

    fn make_hole(&self, at: u64, len: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        let [at, end] = [at, at + len].map(|place| usize::try_from(place).unwrap());
        state.files.get_mut(&self.id).unwrap().make_hole(at, end);
        Ok(())
    }

    fn set_metadata(&self, _mode: Mode, modified: Option<FileTime>) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        if let Some(modified) = modified {
            state.files.get_mut(&self.id).unwrap().modified = (modified.seconds, modified.nanoseconds);
        }
        Ok(())
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

impl Attributed for SimFolder {
    fn set_owner(&self, _user: Option<u32>, _group: Option<u32>) -> Result<()> {
        self.disk.state().call(Call::Change)
    }

    fn set_xattr(&self, _name: &[u8], _value: &[u8]) -> Result<()> {
        self.disk.state().call(Call::Change)
    }
}

impl DiskFolder for SimFolder {
    fn id(&self) -> Result<FolderId> {
        Ok((0, self.id))
    }

    fn publish(&self, private: &str, name: &[u8]) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        state.check_name(name)?;
        let node = state.look(PRIVATE, private.as_bytes()).ok_or(Errno::NOENT)?;
        if state.look(self.id, name).is_some() {
            return Err(Errno::EXIST);
        }
        let to = NameChange { folder: self.id, name: name.into(), to: Some(node) };
        state.change(vec![to, NameChange { folder: PRIVATE, name: private.into(), to: None }]);
        Ok(())
    }

    fn replace(&self, private: &str, name: &[u8]) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        let node = state.look(PRIVATE, private.as_bytes()).ok_or(Errno::NOENT)?;
        if let Some(Node::Folder(_)) = state.look(self.id, name) {
            return Err(Errno::ISDIR);
        }
        let to = NameChange { folder: self.id, name: name.into(), to: Some(node) };
        state.change(vec![to, NameChange { folder: PRIVATE, name: private.into(), to: None }]);
        Ok(())
    }

    fn occupant(&self, name: &[u8]) -> Result<Option<Occupant>> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        Ok(state.look(self.id, name).map(|node| match node {
            Node::File(id) => {
                let file = &state.files[&id];
                let (seconds, nanoseconds) = file.modified;
                let modified = FileTime { seconds, nanoseconds };
                Occupant::File { size: file.now.len() as u64, modified }
            }
            Node::Folder(_) => Occupant::Folder,
            Node::Link(_) => Occupant::Other,
        }))
    }

    fn changed(&self) -> Result<FileTime> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        Ok(FileTime { seconds: state.folders[&self.id].changes, nanoseconds: 0 })
    }

    fn child(&self, name: &[u8]) -> Result<Box<dyn DiskFolder>> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        match state.look(self.id, name) {
            Some(Node::Folder(id)) => Ok(Box::new(self.disk.folder(id))),
            Some(Node::File(_)) => Err(Errno::NOTDIR),
            Some(Node::Link(_)) => Err(Errno::LOOP),
            None => Err(Errno::NOENT),
        }
    }

    fn remove_file(&self, name: &[u8]) -> Result<()> {
        self.remove(name, |node| !matches!(node, Node::Folder(_)))
    }

    fn remove_folder(&self, name: &[u8]) -> Result<()> {
        self.remove(name, |node| matches!(node, Node::Folder(_)))
    }

    fn names(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        let names: Vec<Vec<u8>> = state.folders[&self.id].now.keys().cloned().collect();
        drop(state);
        names.iter().all(|name| each(name));
        Ok(())
    }

    fn published(&self, name: &[u8]) -> Result<Option<Box<dyn PublishedFile>>> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        let Some(Node::File(id)) = state.look(self.id, name) else { return Ok(None) };
        let file = &state.files[&id];
        let content = Cursor::new(file.now.clone());
        Ok(Some(Box::new(SimPublished { file: self.disk.file(id, file.told()), content })))
    }

    fn link_target(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        let Some(Node::Link(id)) = state.look(self.id, name) else { return Ok(None) };
        Ok(Some(state.links[&id].clone()))
    }

    fn set_modified(&self, _modified: FileTime) -> Result<()> {
        self.disk.state().call(Call::Change)
    }

    fn sync(&self) -> Result<()> {
        self.disk.state().sync_folder(self.id)
    }
}

impl SimFolder {
    fn remove(&self, name: &[u8], is_kind: impl Fn(Node) -> bool) -> Result<()> {
        let mut state = self.disk.state();
        state.call(Call::Change)?;
        let node = state.look(self.id, name).ok_or(Errno::NOENT)?;
        if !is_kind(node) {
            return Err(Errno::NOTDIR);
        }
        if let Node::Folder(id) = node
            && !state.folders[&id].now.is_empty()
        {
            return Err(Errno::NOTEMPTY);
        }
        state.change(vec![NameChange { folder: self.id, name: name.into(), to: None }]);
        Ok(())
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

impl Seek for SimPublished {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.content.seek(to)
    }
}

impl PublishedFile for SimPublished {
    fn size(&self) -> u64 {
        self.content.get_ref().len() as u64
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }
}
