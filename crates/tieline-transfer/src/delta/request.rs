//! Which ranges of the old file are to be summed, in blocks of what length, under which key; layout in [`super`].

use std::fmt;

use super::{BLOCK_LEN_MAX, BLOCK_LEN_MIN, BLOCKS_MAX, DeltaViolation, RANGES_MAX};

/// What both kinds of sums depend on. It comes with a request and is drawn at random for each transfer, so that no file can be prepared
/// against it; it protects nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; Key::LEN]);

impl Key {
    /// Octets of a key.
    pub const LEN: usize = 32;

    /// Takes 32 random octets.
    #[must_use]
    pub const fn new(random: [u8; Self::LEN]) -> Self {
        Self(random)
    }

    /// The strong sum of a block; only the front of it is used.
    pub(super) fn strong(&self, block: &[u8]) -> [u8; STRONG_LEN_MAX as usize] {
        let hash = blake3::keyed_hash(&self.0, block);
        *hash.as_bytes().first_chunk().expect("a hash is longer than any strong sum")
    }

    /// A number that depends on the key and on `purpose`, and lets nobody guess either.
    pub(super) fn number(&self, purpose: &str) -> u64 {
        let hash = blake3::keyed_hash(&self.0, purpose.as_bytes());
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash is longer than a number"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

/// A part of the old file, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OldRange {
    pub(super) from: u64,
    pub(super) len: u64,
}

impl OldRange {
    pub(super) fn end(&self) -> u64 {
        self.from + self.len
    }
}

/// What is to be summed; both ends number the blocks by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumRequest {
    key: Key,
    block_len: u32,
    weak_len: u8,
    strong_len: u8,
    /// Each with the number of its first block.
    ranges: Vec<(OldRange, u32)>,
    blocks: u32,
}

impl SumRequest {
    /// Octets before the ranges.
    pub const HEADER_LEN: usize = Key::LEN + 4 + 1 + 1 + 4;
    /// Octets of one range.
    pub const RANGE_LEN: usize = 16;
    /// Octets of the longest request.
    pub const LEN_MAX: usize = Self::HEADER_LEN + RANGES_MAX as usize * Self::RANGE_LEN;

    /// Asks for the first signature: all of an old file of `old_len` octets, to be looked for in `new_len` octets.
    ///
    /// Of a file above 2 TiB it covers the front.
    #[must_use]
    pub fn whole(key: Key, old_len: u64, new_len: u64) -> Self {
        let covered = old_len.min(u64::from(BLOCK_LEN_MAX) * u64::from(BLOCKS_MAX));
        let block_len = block_len(old_len);
        let ranges = (covered > 0).then_some(OldRange { from: 0, len: covered });
        Self::new(key, block_len, new_len, ranges).expect("blocks are long enough to be few")
    }

    /// Asks for `ranges` in blocks of `block_len`, to be looked for in `searched` octets; none if that would be too many blocks.
    pub(super) fn new(
        key: Key,
        block_len: u32,
        searched: u64,
        ranges: impl IntoIterator<Item = OldRange>,
    ) -> Option<Self> {
        let mut request = Self { key, block_len, weak_len: 0, strong_len: 0, ranges: Vec::new(), blocks: 0 };
        for range in ranges {
            request.add(range).ok()?;
        }
        (request.weak_len, request.strong_len) = sum_lens(searched, request.blocks);
        Some(request)
    }

    /// Reads the request at the front of `bytes` and returns it with what follows.
    ///
    /// # Errors
    ///
    /// `Truncated`, `BlockLen`, `SumLen`, `Ranges`, `Range`, `Blocks`.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), DeltaViolation> {
        let (key, bytes) = take(bytes)?;
        let (block_len, bytes) = take(bytes)?;
        let ([weak_len, strong_len], bytes) = take(bytes)?;
        let (ranges, mut bytes) = take(bytes)?;
        let (block_len, ranges) = (u32::from_be_bytes(block_len), u32::from_be_bytes(ranges));
        if !block_len.is_power_of_two() || !(BLOCK_LEN_MIN..=BLOCK_LEN_MAX).contains(&block_len) {
            return Err(DeltaViolation::BlockLen(block_len));
        }
        let is_allowed = (WEAK_LEN_MIN..=WEAK_LEN_MAX).contains(&weak_len)
            && (STRONG_LEN_MIN..=STRONG_LEN_MAX).contains(&strong_len);
        if !is_allowed {
            return Err(DeltaViolation::SumLen { weak: weak_len, strong: strong_len });
        }
        if ranges > RANGES_MAX {
            return Err(DeltaViolation::Ranges(ranges));
        }
        let mut request =
            Self { key: Key(key), block_len, weak_len, strong_len, ranges: Vec::new(), blocks: 0 };
        for _ in 0..ranges {
            let (from, rest) = take(bytes)?;
            let (len, rest) = take(rest)?;
            request.add(OldRange { from: u64::from_be_bytes(from), len: u64::from_be_bytes(len) })?;
            bytes = rest;
        }
        Ok((request, bytes))
    }

    /// Octets of the request that begins with `bytes`; none while too few are known to tell.
    ///
    /// # Errors
    ///
    /// `Ranges`.
    pub fn announced_len(bytes: &[u8]) -> Result<Option<usize>, DeltaViolation> {
        let Some(ranges) = bytes.get(Self::HEADER_LEN - 4..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        match u32::from_be_bytes(*ranges) {
            ranges if ranges > RANGES_MAX => Err(DeltaViolation::Ranges(ranges)),
            ranges => Ok(Some(Self::HEADER_LEN + ranges as usize * Self::RANGE_LEN)),
        }
    }

    /// Appends the request to `out`: [`Self::emitted_len`] octets.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let ranges = u32::try_from(self.ranges.len()).expect("ranges are counted when they are added");
        out.extend(self.key.0);
        out.extend(self.block_len.to_be_bytes());
        out.extend([self.weak_len, self.strong_len]);
        out.extend(ranges.to_be_bytes());
        for (range, _) in &self.ranges {
            out.extend(range.from.to_be_bytes());
            out.extend(range.len.to_be_bytes());
        }
    }

    /// Octets of the request on the wire, at most [`Self::LEN_MAX`].
    #[must_use]
    pub fn emitted_len(&self) -> usize {
        Self::HEADER_LEN + self.ranges.len() * Self::RANGE_LEN
    }

    /// Octets of the sums that answer it.
    #[must_use]
    pub fn sums_len(&self) -> usize {
        self.blocks as usize * self.sum_len()
    }

    /// Octets of a block, but for the last ones of ranges.
    #[must_use]
    pub fn block_len(&self) -> u32 {
        self.block_len
    }

    /// Blocks of all ranges.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn weak_len(&self) -> usize {
        usize::from(self.weak_len)
    }

    pub(super) fn strong_len(&self) -> usize {
        usize::from(self.strong_len)
    }

    /// Octets of one sum, weak and strong.
    pub(super) fn sum_len(&self) -> usize {
        self.weak_len() + self.strong_len()
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = OldRange> {
        self.ranges.iter().map(|(range, _)| *range)
    }

    /// Where in the old file a block is; none for a number that no block has.
    pub(super) fn block(&self, number: u32) -> Option<OldRange> {
        let after = self.ranges.partition_point(|(_, first)| *first <= number);
        let (range, first) = self.ranges.get(after.checked_sub(1)?)?;
        let from = range.from + u64::from(number - first) * u64::from(self.block_len);
        let len = range.end().checked_sub(from).filter(|left| *left > 0)?.min(u64::from(self.block_len));
        Some(OldRange { from, len })
    }

    /// Which block begins at this place in the old file.
    pub(super) fn block_at(&self, from: u64) -> Option<u32> {
        let after = self.ranges.partition_point(|(range, _)| range.from <= from);
        let (range, first) = self.ranges.get(after.checked_sub(1)?)?;
        let before = from - range.from;
        let begins = before < range.len && before.is_multiple_of(u64::from(self.block_len));
        begins.then(|| first + (before / u64::from(self.block_len)) as u32)
    }

    /// The only short block that is looked for: the last of all, which ends the old file and may end the new one.
    pub(super) fn short_tail(&self) -> Option<(u32, OldRange)> {
        let number = self.blocks.checked_sub(1)?;
        let block = self.block(number).filter(|block| block.len < u64::from(self.block_len))?;
        Some((number, block))
    }

    fn add(&mut self, range: OldRange) -> Result<(), DeltaViolation> {
        let OldRange { from, len } = range;
        let behind = self.ranges.last().map_or(0, |(last, _)| last.end());
        if len == 0 || from < behind || from.checked_add(len).is_none() {
            return Err(DeltaViolation::Range { from, len });
        }
        let blocks = u64::from(self.blocks).saturating_add(len.div_ceil(u64::from(self.block_len)));
        let allowed = u32::try_from(blocks).ok().filter(|blocks| *blocks <= BLOCKS_MAX);
        let blocks = allowed.ok_or(DeltaViolation::Blocks(blocks))?;
        if self.ranges.len() >= RANGES_MAX as usize {
            return Err(DeltaViolation::Ranges(RANGES_MAX + 1));
        }
        self.ranges.push((range, self.blocks));
        self.blocks = blocks;
        Ok(())
    }
}

/// Twice the square root of the file's length, rounded up to a power of two. rsync takes the square root, where sums and literals of
/// a few scattered edits cost the same; here the second round takes most of the literals away, and longer blocks pay.
fn block_len(old_len: u64) -> u32 {
    let root = 1_u64 << (u64::BITS - old_len.saturating_sub(1).leading_zeros()).div_ceil(2);
    let len = (2 * root).clamp(BLOCK_LEN_MIN.into(), BLOCK_LEN_MAX.into());
    u32::try_from(len).expect("clamped to what a block may have")
}

/// Octets of the weak and the strong sum, so that one search in 2^[`SPARE_BITS`] or so finds something false: as rsync decides it, but
/// knowing how much will be searched.
fn sum_lens(searched: u64, blocks: u32) -> (u8, u8) {
    let bits = SPARE_BITS + searched.max(1).ilog2() + blocks.max(1).ilog2();
    let len = bits.div_ceil(8).clamp(SUM_LEN_MIN, SUM_LEN_MAX) as u8;
    let strong_len_min = if len < STRONG_FROM_LEN { STRONG_LEN_MIN } else { STRONG_LEN_MIN + 1 };
    let weak_len = (len - strong_len_min).min(WEAK_LEN_MAX);
    (weak_len, len - weak_len)
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), DeltaViolation> {
    let (field, rest) = bytes.split_first_chunk().ok_or(DeltaViolation::Truncated)?;
    Ok((*field, rest))
}

/// What is left of a sum when all comparisons of a search are taken from it; rsync's bias.
const SPARE_BITS: u32 = 10;
const SUM_LEN_MIN: u32 = (WEAK_LEN_MIN + STRONG_LEN_MIN) as u32;
const SUM_LEN_MAX: u32 = (WEAK_LEN_MAX + STRONG_LEN_MAX) as u32;
/// Fewer bits would find candidates, to be hashed in vain, every few blocks.
const WEAK_LEN_MIN: u8 = 4;
/// With 48 bits, a search for the blocks of 2 TiB hashes one octet in a hundred in vain.
const WEAK_LEN_MAX: u8 = 6;
const STRONG_LEN_MIN: u8 = 1;
/// From so long a sum on the strong one has an octet more.
const STRONG_FROM_LEN: u8 = 6;
pub(super) const STRONG_LEN_MAX: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_with_the_file_and_stay_few() {
        for (old_len, expected) in [
            (0, 256),
            (1, 256),
            (16 << 10, 256),
            ((16 << 10) + 1, 512),
            (64 << 10, 512),
            ((64 << 10) + 1, 1 << 10),
            (1 << 20, 2 << 10),
            (64 << 20, 16 << 10),
            (1 << 30, 64 << 10),
            (100 << 30, 1 << 20),
            (1 << 41, 4 << 20),
            (u64::MAX, 4 << 20),
        ] {
            assert_eq!(block_len(old_len), expected, "{old_len}");
            assert!(SumRequest::whole(KEY, old_len, old_len).blocks() <= BLOCKS_MAX);
        }
    }

    #[test]
    fn a_sum_is_as_long_as_the_search_is_large() {
        for (searched, blocks, expected) in [
            (0, 0, (4, 1)),
            (12_500, 49, (4, 1)),
            (1 << 20, 1 << 9, (4, 1)),
            (64 << 20, 1 << 12, (4, 2)),
            (1 << 30, 1 << 14, (5, 2)),
            (100 << 30, 100 << 10, (6, 2)),
            (1 << 41, 1 << 19, (6, 3)),
            (u64::MAX, BLOCKS_MAX, (6, 6)),
        ] {
            assert_eq!(sum_lens(searched, blocks), expected, "{searched}, {blocks}");
        }
    }

    #[test]
    fn a_block_is_found_by_its_number_and_by_its_place() {
        let ranges = [(512, 1024), (4096, 512), (8192, 700)].map(|(from, len)| OldRange { from, len });
        let request = SumRequest::new(KEY, 512, 1, ranges).unwrap();
        assert_eq!(request.blocks(), 5);
        for (number, from, len) in
            [(0, 512, 512), (1, 1024, 512), (2, 4096, 512), (3, 8192, 512), (4, 8704, 188)]
        {
            assert_eq!(request.block(number), Some(OldRange { from, len }));
            assert_eq!(request.block_at(from), Some(number));
        }
        assert_eq!(request.block(5), None);
        for nowhere in [0, 511, 513, 1536, 4608, 8703, 9216, u64::MAX] {
            assert_eq!(request.block_at(nowhere), None, "{nowhere}");
        }
        assert_eq!(request.short_tail(), Some((4, OldRange { from: 8704, len: 188 })));
    }

    const KEY: Key = Key([7; Key::LEN]);
}
