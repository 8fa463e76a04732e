//! Octets of files made shorter with zstd, where a sample shows that it pays.
//!
//! One stream of blocks goes through a [`Compressor`] at one end and a [`Decompressor`] at the other, in the same order. Each block can
//! be read as soon as it has come, and those before it serve as its dictionary, even across files. Blocks that are not worth it
//! are sent as they are and pass both by. After a cut, both ends begin anew.
//!
//! Whoever reads a block knows from the sender how long it is, and that is all it may become: a block that would grow beyond, however
//! small it came, is refused before it takes more memory. The window, which is what the reader has to remember, is bounded too.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

/// Octets of the longest block, before it is compressed.
pub const COMPRESS_BLOCK_LEN_MAX: usize = 1 << 20;
/// Octets that a compressed block may have more than it had before: zstd adds 3 for every 128 KiB that it stores, and a header.
pub const COMPRESS_OVERHEAD_MAX: usize = 64;

/// Whether a block is worth compressing, by a quick trial on `sample`, its front; a few KiB are enough.
///
/// What is compressed or encrypted already, as most of what is large, is not.
#[must_use]
pub fn worth_it(sample: &[u8]) -> bool {
    let sample = &sample[..sample.len().min(SAMPLE_LEN_MAX)];
    let mut wanted = vec![0; sample.len() - sample.len().div_ceil(SAVED_PART)];
    zstd::bulk::compress_to_buffer(sample, &mut wanted[..], TRIAL_LEVEL).is_ok()
}

/// The writing end of a stream of blocks; holds about 4 MiB.
pub struct Compressor {
    encoder: Encoder<'static>,
}

impl Compressor {
    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new() -> io::Result<Self> {
        Self::with_window(WINDOW_BITS)
    }

    /// Begins a stream of what is short and like what came shortly before; holds less than a MiB.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub(crate) fn of_frames() -> io::Result<Self> {
        Self::with_window(FRAMES_WINDOW_BITS)
    }

    fn with_window(bits: u32) -> io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(bits))?;
        Ok(Self { encoder })
    }

    /// Appends `block`, compressed, to `out`: at most [`COMPRESS_OVERHEAD_MAX`] more octets than it has. It is part of the stream then
    /// and has to be sent as it is.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a block longer than [`COMPRESS_BLOCK_LEN_MAX`]; what zstd fails with, after which the stream is at its end.
    pub fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if block.len() > COMPRESS_BLOCK_LEN_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let start = out.len();
        out.resize(start + block.len() + COMPRESS_OVERHEAD_MAX, 0);
        let mut input = InBuffer::around(block);
        let mut output = OutBuffer::around(&mut out[start..]);
        while input.pos() < block.len() {
            let before = (input.pos(), output.pos());
            self.encoder.run(&mut input, &mut output)?;
            if (input.pos(), output.pos()) == before {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if self.encoder.flush(&mut output)? > 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let len = output.pos();
        out.truncate(start + len);
        Ok(())
    }
}

/// The reading end of a stream of blocks; holds about 2 MiB.
pub struct Decompressor {
    decoder: Decoder<'static>,
}

/// Why a block cannot be read. The stream is at its end then.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// A block is announced that is longer than [`COMPRESS_BLOCK_LEN_MAX`].
    #[error("a compressed block of {0} octets; {COMPRESS_BLOCK_LEN_MAX} are allowed")]
    BlockLen(usize),
    /// It becomes longer than announced.
    #[error("a compressed block that becomes longer than the announced {0} octets")]
    TooLong(usize),
    /// It is shorter than announced.
    #[error("a compressed block of {got} octets where {announced} were announced")]
    TooShort {
        /// What was announced.
        announced: usize,
        /// What came.
        got: usize,
    },
    /// No block, or one that asks for more memory than the writing end may.
    #[error("a block that is not compressed as it should be")]
    Malformed(#[source] io::Error),
}

impl Decompressor {
    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_BITS))?;
        Ok(Self { decoder })
    }

    /// Appends the `len` octets that `packed` was made from to `out`; on an error nothing.
    ///
    /// # Errors
    ///
    /// See [`DecompressError`].
    pub fn decompress(
        &mut self,
        packed: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        if len > COMPRESS_BLOCK_LEN_MAX {
            return Err(DecompressError::BlockLen(len));
        }
        let start = out.len();
        // One more than announced, so that too much shows.
        out.resize(start + len + 1, 0);
        let got = self.fill(packed, &mut out[start..]);
        let checked = match got {
            Ok(got) if got == len => Ok(()),
            Ok(got) if got > len => Err(DecompressError::TooLong(len)),
            Ok(got) => Err(DecompressError::TooShort { announced: len, got }),
            Err(error) => Err(DecompressError::Malformed(error)),
        };
        out.truncate(if checked.is_ok() { start + len } else { start });
        checked
    }

    /// Decompresses until `packed` is used up or `out` is full; returns how much of it is.
    fn fill(&mut self, packed: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let (mut read, mut written) = (0, 0);
        while read < packed.len() && written < out.len() {
            let status = self.decoder.run_on_buffers(&packed[read..], &mut out[written..])?;
            if status.bytes_read == 0 && status.bytes_written == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            read += status.bytes_read;
            written += status.bytes_written;
        }
        Ok(written)
    }
}

/// zstd's own default: several hundred MB/s, and most of what the slower ones reach.
const LEVEL: i32 = 3;
/// The window is a MiB: what a reader must be ready to remember.
const WINDOW_BITS: u32 = 20;
/// 128 KiB hold the names of a thousand files, and all else that comes again.
const FRAMES_WINDOW_BITS: u32 = 17;
const TRIAL_LEVEL: i32 = 1;
/// A sample shows what a file is like; more of it would only take time.
const SAMPLE_LEN_MAX: usize = 64 * 1024;
/// Less than a twentieth saved is not worth the time of two processors.
const SAVED_PART: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sample_tells_text_from_noise() {
        for (sample, expected) in [
            (text(64 << 10), true),
            (text(1 << 10), true),
            (vec![0; 4096], true),
            (noise(64 << 10), false),
            (noise(4096), false),
            (Vec::new(), false),
            (b"x".to_vec(), false),
            ([noise(64 << 10), text(1 << 20)].concat(), false),
        ] {
            assert_eq!(worth_it(&sample), expected, "{} octets", sample.len());
        }
    }

    #[test]
    fn blocks_before_are_a_dictionary() {
        let block = noise(64 << 10);
        let packed = pack(&[&block, &block]);
        assert!(packed[0].len() > block.len());
        assert!(packed[1].len() < 100, "{}", packed[1].len());
        assert_eq!(unpack(&packed, &[block.len(), block.len()]).unwrap(), [block.clone(), block]);
    }

    #[test]
    fn the_longest_block_of_noise_keeps_to_its_overhead() {
        let block = noise(COMPRESS_BLOCK_LEN_MAX);
        let packed = pack(&[&block, &block[1..], &[], &block[..1]]);
        assert!(packed[0].len() <= block.len() + COMPRESS_OVERHEAD_MAX);
        let mut out = Vec::new();
        let mut compressor = Compressor::new().unwrap();
        let error = compressor.compress(&vec![0; COMPRESS_BLOCK_LEN_MAX + 1], &mut out).unwrap_err();
        assert_eq!((error.kind(), out.len()), (io::ErrorKind::InvalidInput, 0));
    }

    #[test]
    fn case_26_a_bomb_is_refused_and_leaves_nothing() {
        let zeros = vec![0; COMPRESS_BLOCK_LEN_MAX];
        let bomb = pack(&[&zeros[..]; 64]).concat();
        assert!(bomb.len() < 10_000);
        for (len, expected) in [
            (COMPRESS_BLOCK_LEN_MAX, "TooLong(1048576)"),
            (0, "TooLong(0)"),
            (COMPRESS_BLOCK_LEN_MAX + 1, "BlockLen(1048577)"),
        ] {
            let (error, out) = refuse(&bomb, len);
            assert_eq!(error, expected);
            assert_eq!(out, b"before");
            assert!(out.capacity() <= 4 * COMPRESS_BLOCK_LEN_MAX);
        }
        let honest = pack(&[&[0; 1000]]);
        assert_eq!(refuse(&honest[0], 999).0, "TooLong(999)");
        assert_eq!(refuse(&honest[0], 1001).0, "TooShort { announced: 1001, got: 1000 }");
        assert_eq!(refuse(&honest[0][..5], 1000).0, "TooShort { announced: 1000, got: 0 }");
        assert_eq!(refuse(&[], 1).0, "TooShort { announced: 1, got: 0 }");
        assert!(refuse(b"no zstd at all", 1000).0.starts_with("Malformed"));
    }

    #[test]
    fn a_window_that_takes_too_much_memory_is_refused() {
        let mut encoder = Encoder::new(LEVEL).unwrap();
        encoder.set_parameter(CParameter::WindowLog(WINDOW_BITS + 1)).unwrap();
        let mut wide = Compressor { encoder };
        let mut packed = Vec::new();
        wide.compress(&noise(1000), &mut packed).unwrap();
        assert!(refuse(&packed, 1000).0.starts_with("Malformed"));
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..5)
        ) {
            let blocks: Vec<Vec<u8>> = blocks.into_iter().map(|block| block.repeat(3)).collect();
            let packed = pack(&blocks.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let lens: Vec<usize> = blocks.iter().map(Vec::len).collect();
            prop_assert_eq!(unpack(&packed, &lens).unwrap(), blocks);
        }

        #[test]
        fn anything_at_all_is_bounded_and_does_not_panic(
            mut packed: Vec<u8>, len in 0..5000_usize, flip in any::<prop::sample::Index>(), honest: bool
        ) {
            if honest {
                packed = pack(&[&packed.repeat(2)]).remove(0);
                let at = flip.index(packed.len().max(1));
                if let Some(octet) = packed.get_mut(at) {
                    *octet ^= 1;
                }
            }
            let mut out = Vec::new();
            let result = Decompressor::new().unwrap().decompress(&packed, len, &mut out);
            prop_assert_eq!(out.len(), if result.is_ok() { len } else { 0 });
        }
    }

    fn pack(blocks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut compressor = Compressor::new().unwrap();
        let pack_one = |block: &&[u8]| {
            let mut out = Vec::new();
            compressor.compress(block, &mut out).unwrap();
            out
        };
        blocks.iter().map(pack_one).collect()
    }

    fn unpack(packed: &[Vec<u8>], lens: &[usize]) -> Result<Vec<Vec<u8>>, DecompressError> {
        let mut decompressor = Decompressor::new().unwrap();
        let unpack_one = |(packed, len): (&Vec<u8>, &usize)| {
            let mut out = Vec::new();
            decompressor.decompress(packed, *len, &mut out).map(|()| out)
        };
        packed.iter().zip(lens).map(unpack_one).collect()
    }

    fn refuse(packed: &[u8], len: usize) -> (String, Vec<u8>) {
        let mut out = b"before".to_vec();
        let error = Decompressor::new().unwrap().decompress(packed, len, &mut out).unwrap_err();
        (format!("{error:?}"), out)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut octets);
        octets
    }

    fn text(len: usize) -> Vec<u8> {
        (0_u32..).flat_map(|row| format!("row {row}: nothing new\n").into_bytes()).take(len).collect()
    }
}
