//! The search: a window of one block goes over the new file, octet by octet where nothing matches, block by block where all does.

use std::io::{self, Read};

use super::index::Index;
use super::operation::{Copied, Copies};
use super::request::SumRequest;
use super::rolling::{Rolling, Sum};
use super::signature::{Row, Signature};

/// Searches regions of the new file for the blocks of one signature.
pub(super) struct Scan<'a> {
    index: Index<'a>,
    rolling: Rolling,
    buffer: Vec<u8>,
    effort: Effort,
}

impl<'a> Scan<'a> {
    pub(super) fn for_blocks_of(signature: &'a Signature) -> Self {
        let block_len = signature.request().block_len() as usize;
        Self {
            index: Index::of(signature),
            rolling: Rolling::new(signature.request().key(), block_len),
            buffer: vec![0; 2 * block_len + READ_LEN],
            effort: Effort { passed: 0, in_vain: 0, patience: PATIENCE_BLOCKS * block_len as u64 },
        }
    }

    pub(super) fn index(&self) -> &Index<'a> {
        &self.index
    }

    /// Reads `len` octets from `new`, which are at `at` of the new file, and adds what the old one has of them to `copies`.
    ///
    /// # Errors
    ///
    /// What reading fails with; `UnexpectedEof` if the file ends early.
    pub(super) fn region(
        &mut self,
        new: &mut impl Read,
        mut at: u64,
        len: u64,
        copies: &mut Copies,
    ) -> io::Result<()> {
        let block_len = self.request().block_len() as usize;
        let (mut start, mut end, mut unread) = (0, 0, len);
        // Of the block at `start`, if it is known already.
        let mut sum = None;
        while !copies.is_full() {
            if end - start <= block_len && unread > 0 {
                self.buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                let wanted = unread.min((self.buffer.len() - end) as u64) as usize;
                new.read_exact(&mut self.buffer[end..end + wanted])?;
                end += wanted;
                unread -= wanted as u64;
            }
            if end - start < block_len {
                break;
            }
            let (skipped, found) = self.next_match(start..end, sum.take(), at, unread == 0, copies);
            match found {
                Found::Block(copied) => {
                    copies.push(copied);
                    start += skipped + block_len;
                    at += (skipped + block_len) as u64;
                }
                Found::MoreToRead(last) => {
                    sum = Some(last);
                    start += skipped;
                    at += skipped as u64;
                }
                Found::Nothing => {
                    start += skipped;
                    at += skipped as u64;
                    break;
                }
            }
            self.effort.passed += skipped as u64;
        }
        if !copies.is_full() {
            self.match_tail(start..end, at, copies);
        }
        Ok(())
    }

    /// Moves the window from the front of `range` to the next place where a block matches, and returns how far that is.
    fn next_match(
        &mut self,
        range: std::ops::Range<usize>,
        known: Option<Sum>,
        at: u64,
        is_last: bool,
        copies: &Copies,
    ) -> (usize, Found) {
        let Self { index, rolling, buffer, effort } = self;
        let octets = &buffer[range];
        let block_len = index.signature.request().block_len() as usize;
        let mut sum = known.unwrap_or_else(|| rolling.sum(&octets[..block_len]));
        let (leaving, entering) = (&octets[..octets.len() - block_len], &octets[block_len..]);
        for (skipped, (&leaving, &entering)) in leaving.iter().zip(entering).enumerate() {
            if index.may_hold(sum.value()) {
                let block = &octets[skipped..skipped + block_len];
                if let Some(copied) = compare(index, effort, sum.value(), block, at + skipped as u64, copies)
                {
                    return (skipped, Found::Block(copied));
                }
            }
            sum = rolling.roll(sum, leaving, entering);
        }
        let skipped = leaving.len();
        if !is_last {
            return (skipped, Found::MoreToRead(sum));
        }
        let copied = compare(index, effort, sum.value(), &octets[skipped..], at + skipped as u64, copies);
        (skipped, copied.map_or(Found::Nothing, Found::Block))
    }

    /// Compares the end of a region with the short block that ends the old file.
    fn match_tail(&mut self, left: std::ops::Range<usize>, at: u64, copies: &mut Copies) {
        let octets = &self.buffer[left];
        let Some((block, old)) = self.request().short_tail() else { return };
        let Some(before) = octets.len().checked_sub(old.len as usize) else { return };
        let tail = &octets[before..];
        let row = Row::of(self.request(), self.rolling.sum(tail).value(), tail);
        if self.index.signature.row(block) == row.octets() {
            copies.push(Copied { at: at + before as u64, from: old.from, len: old.len });
        }
    }

    fn request(&self) -> &SumRequest {
        self.index.signature.request()
    }
}

/// How a walk of the window ended.
enum Found {
    /// At a block.
    Block(Copied),
    /// At the last block that is in the buffer, not yet compared; its sum.
    MoreToRead(Sum),
    /// At the end of the region.
    Nothing,
}

/// Bounds what hashing without a result may cost, which honest sums hardly ever cause and lying ones could at every octet.
struct Effort {
    /// Octets that the window went over.
    passed: u64,
    /// Octets that were hashed and did not match.
    in_vain: u64,
    /// Octets that may be hashed in vain before the first is passed.
    patience: u64,
}

/// Compares `block`, which is at `at` of the new file and has a rolling sum of `value`, with the blocks that it may be.
///
/// Of several with the same content it takes the one that goes on where the last copy ended, or was at the same place.
#[cold]
fn compare(
    index: &Index<'_>,
    effort: &mut Effort,
    value: u64,
    block: &[u8],
    at: u64,
    copies: &Copies,
) -> Option<Copied> {
    let candidates = index.candidates(value);
    if candidates.is_empty() || effort.in_vain > effort.passed + effort.patience {
        return None;
    }
    let request = index.signature.request();
    let row = Row::of(request, value, block);
    let expected = request.block_at(copies.expected_from(at)).filter(|expected| {
        index.signature.row(*expected) == row.octets()
            && request.block(*expected).is_some_and(|old| old.len == block.len() as u64)
    });
    match expected.or_else(|| index.matching(candidates, &row)).and_then(|number| request.block(number)) {
        Some(old) => Some(Copied { at, from: old.from, len: old.len }),
        None => {
            effort.in_vain += block.len() as u64;
            None
        }
    }
}

/// Octets that are read at once, besides the two blocks that the window may be between.
const READ_LEN: usize = 256 * 1024;
/// Blocks that may be hashed in vain at once; later on, an octet for each octet passed.
const PATIENCE_BLOCKS: u64 = 32;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::delta::{Key, SumRequest};

    #[test]
    fn sums_that_lie_at_every_octet_cost_no_more_than_hashing_twice() {
        let zeros = vec![0; 4 << 20];
        let honest = signature(&zeros);
        let (mut sums, sum_len) = (honest.sums().to_vec(), honest.request().sum_len());
        for strong in sums.iter_mut().skip(sum_len - 1).step_by(sum_len) {
            *strong ^= 1;
        }
        let lying = Signature::parse(honest.request().clone(), sums).unwrap();
        let (scan, copies) = scanned(&lying, &zeros, usize::MAX);
        assert_eq!(copies, []);
        let Effort { passed, in_vain, patience } = scan.effort;
        assert!(passed + 2 * READ_LEN as u64 > zeros.len() as u64);
        assert!(in_vain > zeros.len() as u64 / 2, "the lie was noticed by something else: {in_vain}");
        assert!(in_vain <= passed + patience + u64::from(lying.request().block_len()));
    }

    #[test]
    fn what_finds_no_room_among_the_copies_is_left_out() {
        let old: Vec<u8> = (0..64 * 1024_u32).map(|at| (at / 512) as u8).collect();
        // Every other block, so that no two are neighbours.
        let new: Vec<u8> = old.chunks(1024).flat_map(|pair| &pair[..512]).copied().collect();
        let signature = signature(&old);
        assert_eq!(signature.request().block_len(), 512);
        for room in [0, 1, 3, 64, 100] {
            let (_, copies) = scanned(&signature, &new, room);
            assert_eq!(copies.len(), room.min(64));
            assert!(copies.iter().zip(0..).all(|(copied, index)| {
                *copied == Copied { at: index * 512, from: index * 1024, len: 512 }
            }));
        }
    }

    fn signature(old: &[u8]) -> Signature {
        let request = SumRequest::whole(Key::new([3; Key::LEN]), old.len() as u64, old.len() as u64);
        Signature::of(request, &mut Cursor::new(old)).unwrap()
    }

    fn scanned<'a>(signature: &'a Signature, new: &[u8], room: usize) -> (Scan<'a>, Vec<Copied>) {
        let mut scan = Scan::for_blocks_of(signature);
        let mut copies = Copies::with_room_for(room);
        scan.region(&mut &new[..], 0, new.len() as u64, &mut copies).unwrap();
        (scan, copies.into_list())
    }
}
