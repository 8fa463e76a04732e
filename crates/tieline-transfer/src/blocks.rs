//! Frames of the sender, gathered into blocks for the stream.

use tokio::sync::mpsc;

use crate::content::ContentHasher;
use crate::protocol::{DATA, DATA_LEN_MAX, SenderMessage, frame};
use crate::source::{Source, SourceFault};

/// A block goes to the stream when it is as long, or when the stream has nothing else to do.
const BLOCK_LEN: usize = 64 * 1024;

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
    blocks: mpsc::Sender<Block>,
    block: Block,
}

impl Blocks {
    pub(crate) fn new(blocks: mpsc::Sender<Block>) -> Self {
        Self { blocks, block: Block::default() }
    }

    pub(crate) fn put(&mut self, message: SenderMessage<'_>) -> Result<(), Closed> {
        message.emit(&mut self.block.frames);
        self.flush_if_long()
    }

    /// Puts the next data of `source`; a fault of it leaves nothing in the block.
    pub(crate) fn put_data(
        &mut self,
        source: &mut Source<'_>,
        hasher: &mut ContentHasher,
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

    pub(crate) fn flush(&mut self) -> Result<(), Closed> {
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
