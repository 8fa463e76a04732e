//! The sums of the blocks of an old file, as they were asked for.

use std::io::{self, Read, Seek, SeekFrom};

use super::DeltaViolation;
use super::request::{STRONG_LEN_MAX, SumRequest};
use super::rolling::Rolling;

/// Sums of blocks, kept as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    request: SumRequest,
    sums: Vec<u8>,
}

impl Signature {
    /// Reads the ranges of `request` from `old` and sums their blocks. Blocks on the disk, for as long as reading them takes.
    ///
    /// # Errors
    ///
    /// What reading fails with; `UnexpectedEof` if the file is shorter than the ranges, because it changed or the peer asks for what
    /// there never was.
    pub fn of(request: SumRequest, old: &mut (impl Read + Seek)) -> io::Result<Self> {
        let rolling = Rolling::new(request.key(), request.block_len() as usize);
        let mut sums = Vec::with_capacity(request.sums_len());
        let mut block = Vec::with_capacity(request.block_len() as usize);
        for range in request.ranges() {
            old.seek(SeekFrom::Start(range.from))?;
            let mut left = range.len;
            while left > 0 {
                let len = left.min(u64::from(request.block_len()));
                block.clear();
                if old.take(len).read_to_end(&mut block)? as u64 != len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                sums.extend(Row::of(&request, rolling.sum(&block).value(), &block).octets());
                left -= len;
            }
        }
        Ok(Self { request, sums })
    }

    /// Takes the sums that came for `request`.
    ///
    /// # Errors
    ///
    /// `SumsLen` if they are not [`SumRequest::sums_len`] octets.
    pub fn parse(request: SumRequest, sums: Vec<u8>) -> Result<Self, DeltaViolation> {
        let (expected, got) = (request.sums_len(), sums.len());
        if got != expected {
            return Err(DeltaViolation::SumsLen { expected, got });
        }
        Ok(Self { request, sums })
    }

    /// The request that this answers.
    #[must_use]
    pub fn request(&self) -> &SumRequest {
        &self.request
    }

    /// The sums as they travel: [`SumRequest::sums_len`] octets.
    #[must_use]
    pub fn sums(&self) -> &[u8] {
        &self.sums
    }

    /// The sum of one block.
    pub(super) fn row(&self, block: u32) -> &[u8] {
        let len = self.request.sum_len();
        &self.sums[block as usize * len..][..len]
    }

    /// The weak sum of one block, as [`weak`] makes it.
    pub(super) fn weak(&self, block: u32) -> u64 {
        let weak = &self.row(block)[..self.request.weak_len()];
        weak.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
    }
}

/// As much of a rolling sum as travels.
#[inline(always)]
pub(super) fn weak(value: u64, weak_len: usize) -> u64 {
    value & (u64::MAX >> (u64::BITS as usize - 8 * weak_len))
}

/// Both sums of some octets, as they travel.
pub(super) struct Row {
    octets: [u8; Row::LEN_MAX],
    len: usize,
}

impl Row {
    const LEN_MAX: usize = size_of::<u64>() + STRONG_LEN_MAX as usize;

    /// `value` is the rolling sum of `block`.
    pub(super) fn of(request: &SumRequest, value: u64, block: &[u8]) -> Self {
        let (weak_len, len) = (request.weak_len(), request.sum_len());
        let mut octets = [0; Self::LEN_MAX];
        octets[..weak_len].copy_from_slice(&value.to_be_bytes()[size_of::<u64>() - weak_len..]);
        octets[weak_len..len].copy_from_slice(&request.key().strong(block)[..request.strong_len()]);
        Self { octets, len }
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}
