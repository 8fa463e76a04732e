//! Frames of the sender, gathered into blocks for the stream, and packed where a sample of the file shows that it pays.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::bundle::{Bundler, DATA_IN_BUNDLE_MAX};
use crate::compress::{self, COMPRESS_OVERHEAD_MAX, Compressor};
use crate::outcome::{Progress, Work};
use crate::protocol::{DATA_LEN_MAX, SenderMessage};
use crate::source::{Source, SourceFault};

/// A block goes to the stream when it is as long, or when the stream has nothing else to do.
const BLOCK_LEN: usize = 64 * 1024;

/// Octets that are read at once: packed, they fit a frame in any case.
const READ_LEN: usize = DATA_LEN_MAX - COMPRESS_OVERHEAD_MAX - size_of::<u32>();
/// How often it is looked at anew whether packing pays; files may have several parts.
const SAMPLE_EVERY: usize = 1 << 20;

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

/// Gathers frames, so that ten thousand small files are not thirty thousand writes.
pub(crate) struct Blocks {
    progress: Arc<dyn Progress>,
    blocks: mpsc::Sender<Block>,
    block: Block,
    /// Frames that go behind those in the block.
    bundler: Bundler,
    /// What was read last, and what it was packed to.
    data: Vec<u8>,
    packed: Vec<u8>,
    compressor: Packing,
    /// Of the open file, as its last sample showed.
    is_worth_packing: bool,
    /// Octets up to its next sample.
    until_sample: usize,
}

/// The compressor of a transfer; what the receiver has of it before is needed to read what follows.
enum Packing {
    NotYet,
    Running(Box<Compressor>),
    Ended,
}

impl Blocks {
    pub(crate) fn new(blocks: mpsc::Sender<Block>, progress: Arc<dyn Progress>) -> Self {
        Self {
            progress,
            blocks,
            block: Block::default(),
            bundler: Bundler::new(|len, packed, out| SenderMessage::Bundle { len, packed }.emit(out)),
            data: Vec::new(),
            packed: Vec::new(),
            compressor: Packing::NotYet,
            is_worth_packing: false,
            until_sample: 0,
        }
    }

    pub(crate) fn put(&mut self, message: SenderMessage<'_>) -> Result<(), Closed> {
        self.bundler.add(&mut self.block.frames, |frame| message.emit(frame));
        self.flush_if_long()
    }

    /// A file begins: whether its data is worth packing is not known.
    pub(crate) fn begin_file(&mut self) {
        (self.is_worth_packing, self.until_sample) = (false, 0);
    }

    /// Puts a hole, at once: it means more work than its octets show.
    pub(crate) fn put_hole(&mut self, len: u64) -> Result<(), Closed> {
        self.put(SenderMessage::Hole { len })?;
        self.offer_block()
    }

    /// Puts up to `len_max` next octets of `source`, shows them to `see`, and returns how many; a fault of it leaves nothing in the block.
    pub(crate) fn put_data(
        &mut self,
        source: &mut Source<'_>,
        len_max: usize,
        see: impl FnOnce(&[u8]),
    ) -> Result<Result<usize, SourceFault>, Closed> {
        self.data.clear();
        let start = Instant::now();
        let len = match source.read(len_max.min(READ_LEN), &mut self.data) {
            Ok(len) => len,
            Err(fault) => return Ok(Err(fault)),
        };
        let read = Instant::now();
        self.progress.spent(Work::Disk, read - start);
        see(&self.data);
        if len <= DATA_IN_BUNDLE_MAX {
            let data = SenderMessage::Data(&self.data);
            self.bundler.add(&mut self.block.frames, |frame| data.emit(frame));
        } else {
            self.bundler.flush(&mut self.block.frames);
            if self.until_sample == 0 {
                self.is_worth_packing = compress::worth_it(&self.data);
                self.until_sample = SAMPLE_EVERY;
            }
            self.until_sample = self.until_sample.saturating_sub(len);
            if !(self.is_worth_packing && self.pack()) {
                SenderMessage::Data(&self.data).emit(&mut self.block.frames);
            }
        }
        self.block.file_bytes += len as u64;
        self.progress.spent(Work::Processor, read.elapsed());
        self.flush_if_long().map(|()| Ok(len))
    }

    /// Puts the data packed; not if the compressor has come to its end.
    fn pack(&mut self) -> bool {
        let compressor = match &mut self.compressor {
            Packing::Ended => return false,
            Packing::Running(compressor) => compressor,
            begin => {
                *begin = Compressor::new().map_or(Packing::Ended, |new| Packing::Running(Box::new(new)));
                let Packing::Running(compressor) = begin else { return false };
                compressor
            }
        };
        self.packed.clear();
        if let Err(error) = compressor.compress(&self.data, &mut self.packed) {
            tracing::warn!(%error, "what follows is sent as it is");
            self.compressor = Packing::Ended;
            return false;
        }
        let packed = SenderMessage::Packed { len: self.data.len(), octets: &self.packed };
        packed.emit(&mut self.block.frames);
        true
    }

    fn flush_if_long(&mut self) -> Result<(), Closed> {
        if self.block.frames.len() + self.bundler.pending() >= BLOCK_LEN { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Closed> {
        self.bundler.flush(&mut self.block.frames);
        if self.block.frames.is_empty() {
            return Ok(());
        }
        self.blocks.blocking_send(std::mem::take(&mut self.block)).map_err(|_| Closed)
    }

    /// Hands on what there is if the stream is waiting for it.
    pub(crate) fn offer_block(&mut self) -> Result<(), Closed> {
        let is_idle = self.blocks.capacity() == self.blocks.max_capacity();
        if is_idle { self.flush() } else { Ok(()) }
    }
}
