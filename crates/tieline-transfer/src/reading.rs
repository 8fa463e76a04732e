//! The sender's thread: files become frames, gathered into blocks for the stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::sync::mpsc;

use crate::outcome::{Fate, Fault};
use crate::plan::{Entry, Plan, PlannedKind, open_root};
use crate::protocol::{DATA, DATA_LEN_MAX, FileOffer, FolderOffer, SenderMessage, frame};
use crate::sender::Job;
use crate::source::{Source, SourceFault};

/// A block goes to the stream when it is as long, or when the stream has nothing else to do.
const BLOCK_LEN: usize = 64 * 1024;
/// Told with an abandoned file that the receiver has decided against already.
const ABANDON_DECIDED: u16 = 3;

/// Frames on their way to the stream.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) frames: Vec<u8>,
    /// Octets of files among them.
    pub(crate) file_bytes: u64,
}

/// Nobody takes blocks any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// Reads everything in the plan, in order.
///
/// # Errors
///
/// `Closed` if the transfer ended meanwhile.
pub(crate) fn read_all(job: &Job, blocks: mpsc::Sender<Block>) -> Result<(), Closed> {
    let mut out = Blocks { blocks, block: Block::default() };
    let mut roots = Roots { plan: &job.plan, open: None };
    for (index, Entry { root, path, kind }) in job.plan.entries.iter().enumerate() {
        match *kind {
            PlannedKind::Folder { mode } => {
                job.ledger.offered(index);
                job.ledger.ended(index);
                let folder = FolderOffer { entry: index as u64, mode, path: path.as_bytes() };
                out.put(SenderMessage::Folder(folder))?;
            }
            PlannedKind::File { .. } => match roots.open(*root).and_then(|root| Source::open(root, path)) {
                Ok(source) => read_file(job, index, source, &mut out)?,
                Err(fault) => give_up(job, index, fault),
            },
        }
        out.offer_block()?;
    }
    job.ledger.all_ended();
    out.put(SenderMessage::End)?;
    out.flush()
}

fn read_file(job: &Job, index: usize, mut source: Source<'_>, out: &mut Blocks) -> Result<(), Closed> {
    let path = &job.plan.entries[index].path;
    job.ledger.offered(index);
    job.progress.file(path, source.size);
    out.put(SenderMessage::File(FileOffer {
        entry: index as u64,
        size: source.size,
        mode: source.mode,
        modified: source.modified,
        path: path.as_bytes(),
    }))?;
    let mut hasher = blake3::Hasher::new();
    while source.left() > 0 {
        if job.ledger.is_settled(index) {
            return out.put(SenderMessage::Abandon { code: ABANDON_DECIDED });
        }
        if let Err(fault) = out.put_data(&mut source, &mut hasher)? {
            give_up(job, index, fault);
            return out.put(SenderMessage::Abandon { code: fault.abandon_code() });
        }
    }
    if let Err(fault) = source.check_unchanged() {
        give_up(job, index, fault);
        return out.put(SenderMessage::Abandon { code: fault.abandon_code() });
    }
    job.ledger.ended(index);
    out.put(SenderMessage::FileEnd { hash: *hasher.finalize().as_bytes() })
}

/// The root that is being read from, held open; entries come root by root.
struct Roots<'a> {
    plan: &'a Plan,
    open: Option<(usize, OwnedFd)>,
}

impl Roots<'_> {
    fn open(&mut self, root: usize) -> Result<BorrowedFd<'_>, SourceFault> {
        let held = match self.open.take() {
            Some((held, folder)) if held == root => folder,
            _ => open_root(&self.plan.roots[root])?,
        };
        Ok(self.open.insert((root, held)).1.as_fd())
    }
}

fn give_up(job: &Job, index: usize, fault: SourceFault) {
    let fate = Fate::Failed(Fault::Source(fault));
    if job.ledger.give_up(index, fate) {
        job.progress.settled(&job.report(index, fate));
    }
}

/// Gathers frames, so that ten thousand small files are not thirty thousand writes.
struct Blocks {
    blocks: mpsc::Sender<Block>,
    block: Block,
}

impl Blocks {
    fn put(&mut self, message: SenderMessage<'_>) -> Result<(), Closed> {
        message.emit(&mut self.block.frames);
        self.flush_if_long()
    }

    /// Puts the next data of `source`; a fault of it leaves nothing in the block.
    fn put_data(
        &mut self,
        source: &mut Source<'_>,
        hasher: &mut blake3::Hasher,
    ) -> Result<Result<(), SourceFault>, Closed> {
        let frames = &mut self.block.frames;
        let start = frames.len();
        let mut read = Ok(0);
        frame(frames, DATA, |out| {
            let data_start = out.len();
            read = source.read(DATA_LEN_MAX, out);
            hasher.update(&out[data_start..]);
        });
        match read {
            Ok(len) => {
                self.block.file_bytes += len as u64;
                self.flush_if_long().map(Ok)
            }
            Err(fault) => {
                frames.truncate(start);
                Ok(Err(fault))
            }
        }
    }

    fn flush_if_long(&mut self) -> Result<(), Closed> {
        if self.block.frames.len() >= BLOCK_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Closed> {
        self.blocks.blocking_send(std::mem::take(&mut self.block)).map_err(|_| Closed)
    }

    /// Hands on what there is if the stream is waiting for it.
    fn offer_block(&mut self) -> Result<(), Closed> {
        let is_idle = self.blocks.capacity() == self.blocks.max_capacity();
        if is_idle && !self.block.frames.is_empty() { self.flush() } else { Ok(()) }
    }
}
