//! What was found with the first signature, what is asked for then, and what is known in the end.

use std::io::{self, Read, Seek, SeekFrom};

use super::operation::{Copied, Copies, Operation, Operations};
use super::request::{Key, OldRange, SumRequest};
use super::scan::Scan;
use super::{COPIES_MAX, RANGES_MAX, Signature};

/// What the old file has of the new one, in blocks of the first signature.
#[derive(Debug)]
pub struct Matches {
    operations: Operations,
    /// Octets that are in no copy.
    literal_len: u64,
    /// Blocks of the old file whose content was not found, neighbours joined.
    unused: Vec<OldRange>,
    key: Key,
    block_len: u32,
}

impl Matches {
    /// Reads the new file of `new_len` octets to its end and looks for the blocks of `signature` in it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What reading fails with; `UnexpectedEof` if the file is shorter than `new_len`.
    pub fn find(new: &mut impl Read, new_len: u64, signature: &Signature) -> io::Result<Self> {
        let mut scan = Scan::for_blocks_of(signature);
        // Half of the copies are for the second round.
        let mut copies = Copies::with_room_for(COPIES_MAX / 2);
        scan.region(new, 0, new_len, &mut copies)?;
        let operations = Operations::new(copies.into_list(), new_len);
        let request = signature.request();
        let mut used = used_blocks(request, &operations);
        scan.index().mark_same(&mut used);
        Ok(Self {
            literal_len: operations.literal_len(),
            operations,
            unused: unused_ranges(request, &used),
            key: *request.key(),
            block_len: request.block_len(),
        })
    }

    /// Asks for shorter blocks of what changed in the old file; none if that is not worth a round trip or its octets.
    #[must_use]
    pub fn fine_request(&self) -> Option<SumRequest> {
        if self.literal_len < WORTH_ASKING_LEN || self.unused.is_empty() {
            return None;
        }
        let shortest = FINE_LEN_MIN.ilog2();
        let longest = (self.block_len / COARSE_PER_FINE).checked_ilog2()?;
        (shortest..=longest).find_map(|bits| {
            let ranges = self.unused.iter().copied();
            let request = SumRequest::new(self.key, 1 << bits, self.literal_len, ranges)?;
            let cost = (request.emitted_len() + request.sums_len()) as u64;
            (cost <= self.literal_len / SAVED_PER_COST).then_some(request)
        })
    }

    /// Looks for the blocks of `fine`, the answer to [`Self::fine_request`], in what was not found so far.
    ///
    /// # Errors
    ///
    /// What reading fails with; `UnexpectedEof` if the file became shorter.
    pub fn refine(self, new: &mut (impl Read + Seek), fine: &Signature) -> io::Result<Operations> {
        let mut scan = Scan::for_blocks_of(fine);
        let mut copies = Copies::with_room_for(COPIES_MAX / 2);
        for operation in self.operations.from_offset(0) {
            match operation {
                Operation::Copy { at, from, len } => copies.push_known(Copied { at, from, len }),
                Operation::Literal { at, len } => {
                    new.seek(SeekFrom::Start(at))?;
                    scan.region(new, at, len, &mut copies)?;
                }
            }
        }
        Ok(Operations::new(copies.into_list(), self.operations.new_len()))
    }

    /// Leaves it at what was found.
    #[must_use]
    pub fn into_operations(self) -> Operations {
        self.operations
    }
}

/// Which blocks of the first signature are in a copy.
fn used_blocks(request: &SumRequest, operations: &Operations) -> Vec<bool> {
    let mut used = vec![false; request.blocks() as usize];
    for copied in operations.copies() {
        let first = request.block_at(copied.from).expect("copies begin where blocks do") as usize;
        let blocks = copied.len.div_ceil(u64::from(request.block_len())) as usize;
        used[first..first + blocks].fill(true);
    }
    used
}

/// The blocks that are not used, neighbours joined; no more than a request may name.
fn unused_ranges(request: &SumRequest, used: &[bool]) -> Vec<OldRange> {
    let mut ranges: Vec<OldRange> = Vec::new();
    for (number, _) in used.iter().enumerate().filter(|(_, used)| !**used) {
        let block = request.block(number as u32).expect("one flag for each block");
        match ranges.last_mut() {
            Some(last) if last.end() == block.from => last.len += block.len,
            _ => ranges.push(block),
        }
    }
    ranges.truncate(RANGES_MAX as usize);
    ranges
}

/// Sending as much takes less than a round trip on the lines that offices have.
const WORTH_ASKING_LEN: u64 = 8 * 1024;
/// Octets of the shortest block of the second round: of a long block around an edit, the sums of shorter ones cost more than they save.
const FINE_LEN_MIN: u32 = 512;
/// What could be saved is at most the literals, and some of them are new in truth.
const SAVED_PER_COST: u64 = 8;
/// Fewer short blocks to a long one leave too much of it, for the trouble.
const COARSE_PER_FINE: u32 = 4;
