//! The sender's listing of what is to be in a mirror.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, statat};

use super::{FingerprintKey, LISTING_LEN_MAX, Record, RecordWriter};
use crate::beneath;
use crate::blocks::{Blocks, Closed};
use crate::compress::Compressor;
use crate::content::{ContentHasher, HASH_LEN};
use crate::path::RelativePath;
use crate::plan::{Plan, PlannedKind};
use crate::protocol::{DATA_LEN_MAX, FileTime, SenderMessage};
use crate::sender::Job;
use crate::source::{self, Source, SourceFault};

/// A name in a folder, or, without a name, the folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item<'p> {
    folder: &'p [u8],
    name: &'p [u8],
    /// The entry of the plan; none for the top folder, and for what is not sent.
    index: Option<usize>,
}

/// Puts the listing of everything in the plan of `job`, which is below `root`. Returns the files of which it turned out that they cannot be
/// sent.
///
/// # Errors
///
/// `Closed` if the transfer ended meanwhile.
pub(crate) fn list(
    job: &Job,
    root: &Arc<OwnedFd>,
    by_content: bool,
    key: FingerprintKey,
    out: &mut Blocks,
) -> Result<Vec<(usize, SourceFault)>, Closed> {
    let mut packing = Packing::new()?;
    let mut faults = Vec::new();
    let mut folder = Err(SourceFault::Changed);
    for Item { folder: path, name, index } in items(&job.plan) {
        let record = match index.map(|index| (index, job.plan.entries[index].kind)) {
            _ if name.is_empty() => {
                folder = open(root.as_fd(), path);
                Record::Folder { path }
            }
            None => Record::Stays { name },
            Some((entry, PlannedKind::Folder { .. })) => Record::Below { entry: entry as u64, name },
            Some((entry, PlannedKind::File { .. })) => {
                let looked = match by_content {
                    true => read(job, root, entry, out)?,
                    false => folder.as_ref().map_err(|fault| *fault).and_then(|folder| look(folder, name)),
                };
                match looked {
                    Ok(Looks { size, modified, content }) => {
                        let fingerprint = key.of(size, modified, content.as_ref());
                        Record::File { entry: entry as u64, fingerprint, name }
                    }
                    Err(fault) => {
                        faults.push((entry, fault));
                        Record::Stays { name }
                    }
                }
            }
        };
        if let (Record::File { .. } | Record::Below { .. }, Some(index)) = (&record, index) {
            job.ledger.listed(index);
        }
        packing.records.add(record);
        if packing.records.len() >= LISTING_LEN_MAX {
            packing.put(out)?;
        }
    }
    packing.put(out)?;
    Ok(faults)
}

/// Everything in the plan, folder by folder, names in the order of their octets.
fn items(plan: &Plan) -> Vec<Item<'_>> {
    let mut items = vec![Item { folder: b"", name: b"", index: None }];
    for (index, entry) in plan.entries.iter().enumerate() {
        let path = entry.path.as_bytes();
        items.push(item(path, Some(index)));
        if let PlannedKind::Folder { .. } = entry.kind {
            items.push(Item { folder: path, name: b"", index: Some(index) });
        }
    }
    // What has a name that no inbox takes is not there either.
    let named = plan.set_aside.iter().filter(|report| RelativePath::parse(&report.name).is_ok());
    items.extend(named.map(|report| item(&report.name, None)));
    items.sort_unstable();
    items
}

fn item(path: &[u8], index: Option<usize>) -> Item<'_> {
    match path.iter().rposition(|&octet| octet == b'/') {
        Some(slash) => Item { folder: &path[..slash], name: &path[slash + 1..], index },
        None => Item { folder: b"", name: path, index },
    }
}

fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, SourceFault> {
    let path = RelativePath::parse(path).ok();
    Ok(beneath::open_folder(root, path.as_ref())?)
}

/// What a file is told by.
struct Looks {
    size: u64,
    modified: FileTime,
    content: Option<[u8; HASH_LEN]>,
}

/// Size and time of a regular file.
fn look(folder: &OwnedFd, name: &[u8]) -> Result<Looks, SourceFault> {
    let stat = statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(SourceFault::Changed);
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Looks { size, modified: source::modified(&stat), content: None })
}

/// The same, with its content. What was listed before does not wait for it.
fn read(
    job: &Job,
    root: &Arc<OwnedFd>,
    entry: usize,
    out: &mut Blocks,
) -> Result<Result<Looks, SourceFault>, Closed> {
    out.offer_block()?;
    let read = || {
        let mut source = Source::open(Arc::clone(root), &job.plan.entries[entry].path)?;
        let (mut hasher, mut buffer) = (ContentHasher::new(), Vec::with_capacity(DATA_LEN_MAX));
        while source.left() > 0 {
            buffer.clear();
            source.read(DATA_LEN_MAX, &mut buffer)?;
            hasher.update(&buffer);
        }
        let looks = Looks { size: source.size, modified: source.modified, content: Some(hasher.finalize()) };
        source.check_unchanged().map(|()| looks)
    };
    Ok(read())
}

/// Records that wait to be compressed.
struct Packing {
    compressor: Compressor,
    records: RecordWriter,
}

impl Packing {
    fn new() -> Result<Self, Closed> {
        let compressor = Compressor::new().map_err(|error| cannot(&error))?;
        Ok(Self { compressor, records: RecordWriter::default() })
    }

    fn put(&mut self, out: &mut Blocks) -> Result<(), Closed> {
        if self.records.is_empty() {
            return Ok(());
        }
        let (mut octets, mut packed) = (Vec::new(), Vec::new());
        self.records.emit(&mut octets);
        self.compressor.compress(&octets, &mut packed).map_err(|error| cannot(&error))?;
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        out.put(SenderMessage::Listing { len, packed: &packed })
    }
}

fn cannot(error: &std::io::Error) -> Closed {
    tracing::error!(%error, "a listing cannot be compressed");
    Closed
}
