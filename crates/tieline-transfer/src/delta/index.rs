//! Finds the blocks of a signature by their weak sums.
//!
//! A filter of bits says for nearly every place of a file, in one load, that no block begins there. What passes is looked for among the
//! sorted sums. The peer made these sums: whatever they are, a search takes some twenty steps and yields a handful of candidates.

use super::BLOCKS_MAX;
use super::signature::{Row, Signature, weak};

/// The blocks of full length of one signature.
pub(super) struct Index<'a> {
    pub(super) signature: &'a Signature,
    weak_len: usize,
    filter: Filter,
    /// Weak sum and number of each block in one number, sorted.
    keys: Vec<u64>,
}

impl<'a> Index<'a> {
    pub(super) fn of(signature: &'a Signature) -> Self {
        let short = u32::from(signature.request().short_tail().is_some());
        let full = signature.request().blocks() - short;
        let mut filter = Filter::for_blocks(full);
        let mut keys = Vec::with_capacity(full as usize);
        for block in 0..full {
            filter.insert(signature.weak(block));
            keys.push(key(signature.weak(block)) | u64::from(block));
        }
        keys.sort_unstable();
        Self { signature, weak_len: signature.request().weak_len(), filter, keys }
    }

    /// Whether a block with this rolling sum may exist; rarely wrong, and only by saying yes.
    #[inline(always)]
    pub(super) fn may_hold(&self, value: u64) -> bool {
        self.filter.may_hold(weak(value, self.weak_len))
    }

    /// The blocks worth a comparison with octets of this rolling sum, at most [`CANDIDATES_MAX`], in order.
    pub(super) fn candidates(&self, value: u64) -> &[u64] {
        let key = key(weak(value, self.weak_len));
        let from = self.keys.partition_point(|other| *other < key);
        let same = self.keys[from..].iter().take(CANDIDATES_MAX);
        let len = same.take_while(|other| **other & !NUMBER_MASK == key).count();
        &self.keys[from..from + len]
    }

    /// The candidate whose sums are these.
    pub(super) fn matching(&self, candidates: &[u64], row: &Row) -> Option<u32> {
        candidates.iter().map(|key| number(*key)).find(|block| self.signature.row(*block) == row.octets())
    }

    /// Adds to `used` every block of whose content one is in it: the search took one of several that are the same.
    pub(super) fn mark_same(&self, used: &mut [bool]) {
        for same in self.keys.chunk_by(|a, b| *a & !NUMBER_MASK == *b & !NUMBER_MASK) {
            if same.iter().any(|key| used[number(*key) as usize]) {
                same.iter().for_each(|key| used[number(*key) as usize] = true);
            }
        }
    }
}

fn key(weak: u64) -> u64 {
    weak << NUMBER_BITS
}

fn number(key: u64) -> u32 {
    (key & NUMBER_MASK) as u32
}

/// One bit for each value of some bits of the weak sum.
struct Filter {
    words: Vec<u64>,
    mask: u64,
}

impl Filter {
    fn for_blocks(blocks: u32) -> Self {
        let words = (blocks as usize).next_power_of_two().min(FILTER_WORDS_MAX);
        Self { words: vec![0; words], mask: words as u64 - 1 }
    }

    fn insert(&mut self, weak: u64) {
        self.words[(weak >> WORD_BITS & self.mask) as usize] |= 1 << (weak & WORD_MASK);
    }

    #[inline(always)]
    fn may_hold(&self, weak: u64) -> bool {
        self.words[(weak >> WORD_BITS & self.mask) as usize] >> (weak & WORD_MASK) & 1 == 1
    }
}

/// Bits of the number of a block in a key; the other 45 are those of the weak sum.
const NUMBER_BITS: u32 = (BLOCKS_MAX - 1).ilog2() + 1;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
/// More than one block of the same weak sum and another strong one is not seen in honest signatures.
const CANDIDATES_MAX: usize = 4;
const WORD_BITS: u32 = u64::BITS.ilog2();
const WORD_MASK: u64 = u64::BITS as u64 - 1;
/// 64 bits for each block pass one place in 64; at 2 MiB the caches of a processor are full, and one in 32 passes at the most.
const FILTER_WORDS_MAX: usize = 1 << 18;
