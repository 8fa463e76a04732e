//! The receiver's look at a mirror: what of the listing is there, what is wanted, and what is too much.

use std::io::Read;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use super::remove::{Extras, Remover};
use super::{Fingerprint, FingerprintKey, LISTING_LEN_MAX, ListingFault, MirrorRules, Record, RecordReader};
use crate::basis::Basis;
use crate::compress::Decompressor;
use crate::content::{ContentHasher, HASH_LEN};
use crate::disk::Occupant;
use crate::inbox::{Admission, journal_errno};
use crate::path::RelativePath;
use crate::protocol::{DATA_LEN_MAX, FileTime, Removed, Violation, WantedRun};
use crate::reason::StopReason;
use crate::receiver::ReceiveError;
use crate::signing::Signing;

/// Octets of one message, before they were compressed: what a sender gathers, and the record that makes it full.
const LEN_MAX: usize = LISTING_LEN_MAX + 8 * 1024;

/// A mirror that is being compared with its listing, and then filled.
pub(crate) struct Mirroring {
    admission: Arc<Admission>,
    /// The mirror's folder below the inbox.
    root: RelativePath,
    rules: MirrorRules,
    key: FingerprintKey,
    announced: u64,
    decompressor: Decompressor,
    reader: RecordReader,
    at: Option<At>,
    wanted: Wanted,
    extras: Extras,
    removed: Removed,
    is_listed: bool,
}

/// The folder whose listing is being read.
struct At {
    /// Below the inbox.
    path: RelativePath,
    /// What is in it and was not listed so far, in the order of the names.
    names: Peekable<vec::IntoIter<(Box<[u8]>, Occupant)>>,
    /// The name that was listed last.
    last: Box<[u8]>,
}

/// How whoever waits is told.
pub(crate) struct Tell<'t> {
    /// Of entries that are wanted.
    pub(crate) wanted: &'t mut dyn FnMut(WantedRun),
    /// Whether nobody waits any more.
    pub(crate) is_gone: &'t dyn Fn() -> bool,
}

/// Entries that are wanted, and not told yet.
#[derive(Default)]
struct Wanted {
    run: Option<WantedRun>,
}

impl Mirroring {
    /// Sees that `folder` is a mirror or may become one.
    ///
    /// # Errors
    ///
    /// `Refused` if it may not be.
    pub(crate) fn begin(
        admission: &Arc<Admission>,
        folder: Option<&RelativePath>,
        announced: u64,
        rules: MirrorRules,
        key: FingerprintKey,
    ) -> Result<Self, ReceiveError> {
        let root = folder.ok_or(ReceiveError::Refused(StopReason::NoMirrorFolder))?;
        if !admission.keep_mirror(root) {
            return Err(ReceiveError::Refused(StopReason::MirrorBusy));
        }
        allow(admission, root).map_err(ReceiveError::Refused)?;
        Ok(Self {
            admission: Arc::clone(admission),
            root: root.clone(),
            rules,
            key,
            announced,
            decompressor: Decompressor::new().map_err(ReceiveError::Stream)?,
            reader: RecordReader::default(),
            at: None,
            wanted: Wanted::default(),
            extras: Extras::default(),
            removed: Removed::default(),
            is_listed: false,
        })
    }

    /// Whether everything was listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Takes the next part of the listing. Runs of entries that are wanted go to `tell`.
    ///
    /// # Errors
    ///
    /// `Listing`.
    pub(crate) fn on_listing(
        &mut self,
        len: u32,
        packed: &[u8],
        signing: &Signing,
        tell: &mut Tell<'_>,
    ) -> Result<(), Violation> {
        let len = usize::try_from(len).ok().filter(|len| *len <= LEN_MAX);
        let mut octets = Vec::new();
        let unpacked = len.map(|len| self.decompressor.decompress(packed, len, &mut octets));
        if !matches!(unpacked, Some(Ok(()))) {
            return Err(Violation::Listing(ListingFault::Packed));
        }
        let mut reader = std::mem::take(&mut self.reader);
        let read = reader.read(&octets, |record| self.on_record(record, signing, tell));
        self.reader = reader;
        read.map_err(Violation::Listing)
    }

    /// Everything was listed.
    ///
    /// # Errors
    ///
    /// `Listing` if it did not begin.
    pub(crate) fn on_listed(&mut self, signing: &Signing, tell: &mut Tell<'_>) -> Result<(), Violation> {
        let at = self.at.take().ok_or(Violation::Listing(ListingFault::NoFolder))?;
        self.leave(at, signing);
        self.wanted.flush(tell);
        self.is_listed = true;
        Ok(())
    }

    /// Everything wanted has come: removes what is too much. None if nothing is to be removed.
    pub(crate) fn finish(mut self, signing: &Signing) -> Option<Removed> {
        let extras = self.extras.take();
        self.remover(signing).remove(extras);
        self.rules.removes.then_some(self.removed)
    }

    fn on_record(
        &mut self,
        record: Record<'_>,
        signing: &Signing,
        tell: &mut Tell<'_>,
    ) -> Result<(), ListingFault> {
        let name = match record {
            Record::Folder { path } => return self.enter(path, signing),
            Record::File { name, .. } | Record::Below { name, .. } | Record::Stays { name } => name,
        };
        let mut at = self.at.take().ok_or(ListingFault::NoFolder)?;
        let path = at.path.child(name).map_err(|_| ListingFault::Name)?;
        if *name <= *at.last {
            return Err(ListingFault::Order);
        }
        at.last = name.into();
        while let Some((extra, _)) = at.names.next_if(|(there, _)| **there < *name) {
            self.on_extra(&at.path, extra, signing);
        }
        let there = at.names.next_if(|(there, _)| **there == *name).map(|(_, occupant)| occupant);
        let (entry, is_good) = match (record, there) {
            (Record::Folder { .. } | Record::Stays { .. }, _) => (None, true),
            (Record::File { entry, .. } | Record::Below { entry, .. }, None) => (Some(entry), false),
            (Record::File { entry, fingerprint, .. }, Some(Occupant::File { size, modified })) => {
                let is_same = self.has_arrived(&path, size)
                    && self.fingerprint(&path, size, modified, tell) == Some(fingerprint);
                (Some(entry), is_same)
            }
            (Record::Below { entry, .. }, Some(Occupant::Folder)) => (Some(entry), true),
            (Record::File { entry, .. } | Record::Below { entry, .. }, Some(_)) => {
                // Something of another kind is in the way, and what follows needs its place.
                if self.rules.removes {
                    self.remover(signing).remove_one(&at.path, name);
                }
                (Some(entry), false)
            }
        };
        self.at = Some(at);
        match entry {
            Some(entry) if entry >= self.announced => Err(ListingFault::Entry(entry)),
            Some(entry) if !is_good => {
                self.wanted.add(entry, matches!(there, Some(Occupant::File { .. })), tell);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, path: &[u8], signing: &Signing) -> Result<(), ListingFault> {
        match self.at.take() {
            Some(at) if !path.is_empty() => self.leave(at, signing),
            None if path.is_empty() => {}
            Some(_) | None => return Err(ListingFault::NoFolder),
        }
        let path = match path {
            [] => self.root.clone(),
            path => {
                let below = RelativePath::parse(path).map_err(|_| ListingFault::Name)?;
                self.root.join(&below).map_err(|_| ListingFault::Name)?
            }
        };
        let names = look(&self.admission, &path).into_iter().peekable();
        self.at = Some(At { path, names, last: Box::default() });
        Ok(())
    }

    fn leave(&mut self, at: At, signing: &Signing) {
        for (extra, _) in at.names {
            self.on_extra(&at.path, extra, signing);
        }
    }

    fn on_extra(&mut self, folder: &RelativePath, name: Box<[u8]>, signing: &Signing) {
        if self.rules.removes && self.extras.add(folder, name) {
            let extras = self.extras.take();
            self.remover(signing).remove(extras);
        }
    }

    fn remover<'r>(&'r mut self, signing: &'r Signing) -> Remover<'r> {
        Remover { inbox: &self.admission, root: &self.root, signing, removed: &mut self.removed }
    }

    /// That of a file that is here; none if it cannot be read.
    fn fingerprint(
        &self,
        path: &RelativePath,
        size: u64,
        modified: FileTime,
        tell: &mut Tell<'_>,
    ) -> Option<Fingerprint> {
        let content = match self.rules.by_content {
            true => Some(self.read(path, size, tell)?),
            false => None,
        };
        Some(self.key.of(size, modified, content.as_ref()))
    }

    /// The hash of a file of that size; none also if nobody waits for it any more.
    fn read(&self, path: &RelativePath, size: u64, tell: &mut Tell<'_>) -> Option<[u8; HASH_LEN]> {
        let mut file = Basis::find(&self.admission, path.clone())?.open(&self.admission).ok()?;
        let (mut hasher, mut buffer) = (ContentHasher::new(), vec![0; DATA_LEN_MAX]);
        loop {
            match file.read(&mut buffer).ok()? {
                0 => return (hasher.len() == size).then(|| hasher.finalize()),
                read => hasher.update(&buffer[..read]),
            }
            if (tell.is_gone)() || hasher.len() > size {
                return None;
            }
        }
    }

    /// Whether the journal knows a file of that size as arrived there.
    fn has_arrived(&self, path: &RelativePath, size: u64) -> bool {
        let arrived = self.admission.journal().arrived(self.admission.name(), path);
        arrived.is_ok_and(|arrived| arrived.is_some_and(|file| (file.size, file.copy) == (size, 1)))
    }
}

impl Wanted {
    fn add(&mut self, entry: u64, has_old: bool, tell: &mut Tell<'_>) {
        match &mut self.run {
            Some(run) if run.first.checked_add(run.count) == Some(entry) && run.has_old == has_old => {
                run.count += 1;
            }
            _ => {
                self.flush(tell);
                self.run = Some(WantedRun { first: entry, count: 1, has_old });
            }
        }
    }

    fn flush(&mut self, tell: &mut Tell<'_>) {
        if let Some(run) = self.run.take() {
            (tell.wanted)(run);
        }
    }
}

/// Sees that `root` is a mirror, and makes it one if it is empty.
fn allow(admission: &Admission, root: &RelativePath) -> Result<(), StopReason> {
    let (journal, inbox) = (admission.journal(), admission.name());
    let failed =
        |error| StopReason::Folder { errno: u64::from(journal_errno(error).raw_os_error().unsigned_abs()) };
    let mut above = root.split_last().0;
    while let Some(path) = above {
        if journal.is_mirror(inbox, &path).map_err(failed)? {
            return Err(StopReason::InsideMirror);
        }
        above = path.split_last().0;
    }
    if journal.is_mirror(inbox, root).map_err(failed)? {
        return Ok(());
    }
    let refuse = |errno: rustix::io::Errno| StopReason::Folder {
        errno: u64::from(errno.raw_os_error().unsigned_abs()),
    };
    let mut is_empty = true;
    let mut each = |_: &[u8]| {
        is_empty = false;
        false
    };
    admission.disk().open_folder(Some(root)).and_then(|folder| folder.names(&mut each)).map_err(refuse)?;
    if !is_empty {
        return Err(StopReason::NotAMirror);
    }
    journal.make_mirror(inbox, root).map_err(failed)
}

/// What is in a folder, by name. A folder that cannot be looked at has nothing in it that might be removed or kept.
fn look(admission: &Admission, path: &RelativePath) -> Vec<(Box<[u8]>, Occupant)> {
    let Ok(folder) = admission.disk().open_folder(Some(path)) else { return Vec::new() };
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut each = |name: &[u8]| {
        names.push(name.into());
        true
    };
    if let Err(error) = folder.names(&mut each) {
        tracing::warn!(%path, %error, "a folder of a mirror cannot be read");
        return Vec::new();
    }
    names.sort_unstable();
    let look = |name: Box<[u8]>| {
        let occupant = folder.occupant(&name).ok().flatten()?;
        Some((name, occupant))
    };
    names.into_iter().filter_map(look).collect()
}
