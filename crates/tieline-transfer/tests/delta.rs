//! Deltas: what is found gives the new file again whatever was done to the old one, and costs less than rsync's; formats and refusals.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{Cursor, ErrorKind};

use proptest::prelude::*;
use tieline_transfer::delta::{
    BLOCK_LEN_MAX, BLOCKS_MAX, DeltaViolation, Key, Matches, Operation, Operations, RANGES_MAX, Signature,
    SumRequest,
};

#[test]
fn scattered_edits_cost_far_less_than_the_blocks_they_are_in() {
    // A sixteenth of the file of the goal, and of its edits: 1 GiB with 5,000.
    let old = noise(1, 64 << 20);
    let mut new = old.clone();
    let places = noise(2, 312 * 8);
    let fresh = noise(3, 312 * 4096);
    for (place, fresh) in places.chunks(8).zip(fresh.chunks(4096)) {
        let at = u64::from_be_bytes(place.try_into().unwrap()) as usize % (old.len() - 4096);
        new[at..at + 4096].copy_from_slice(fresh);
    }
    let exchange = Exchange::between(&old, &new);
    assert!(exchange.is_rebuilt(&old, &new));
    assert!(exchange.octets() <= rsync_octets(&old, &new));
    // The edits, and no more than 1,024 octets around each of them and for its sums.
    assert!(exchange.octets() < 312 * (4096 + 1024), "{}", exchange.octets());
}

#[test]
fn an_insertion_at_the_front_costs_itself_and_no_second_round() {
    let old = noise(1, (64 << 20) + 1234);
    let new = [noise(2, 1 << 20), old.clone()].concat();
    let exchange = Exchange::between(&old, &new);
    assert!(exchange.is_rebuilt(&old, &new));
    assert_eq!(exchange.fine_blocks, None);
    assert_eq!(exchange.operations.literal_len(), 1 << 20);
    assert!(exchange.octets() <= rsync_octets(&old, &new));
}

#[test]
fn the_second_round_is_left_out_where_it_cannot_pay() {
    let noise = |seed, len| noise(seed, len);
    let old = noise(1, 1 << 20);
    let edited = |at: usize, len: usize| [&old[..at], &noise(2, len), &old[at + len..]].concat();
    for (what, new, expected) in [
        ("nothing changed", old.clone(), false),
        ("everything was removed", Vec::new(), false),
        ("everything is new", noise(3, 1 << 20), true),
        ("a single block changed", edited(5000, 100), false),
        ("many blocks changed", edited(5000, 30_000), true),
        ("most was removed and a little is new", [&old[..4096], &noise(2, 9000)].concat(), false),
        ("only new octets at the end", [&old[..], &noise(2, 30_000)].concat(), false),
    ] {
        let exchange = Exchange::between(&old, &new);
        assert_eq!(exchange.fine_blocks.is_some(), expected, "{what}");
        assert!(exchange.is_rebuilt(&old, &new), "{what}");
    }
    let small = noise(1, 200_000);
    let new = [&small[..1000], &noise(2, 50_000), &small[51_000..]].concat();
    assert_eq!(Exchange::between(&small, &new).fine_blocks, None, "blocks are short already");
}

#[test]
fn a_file_of_one_block_over_and_over_is_copied_at_once() {
    let len = 4 << 20;
    let one_block = |octets: &[u8]| octets.iter().copied().cycle().take(len).collect::<Vec<u8>>();
    for old in [vec![0; len], one_block(&noise(1, 4096)), one_block(b"ab"), one_block(&noise(2, 3001))] {
        let exchange = Exchange::between(&old, &old);
        let whole = [Operation::Copy { at: 0, from: 0, len: len as u64 }];
        assert_eq!(exchange.operations.from_offset(0).collect::<Vec<_>>(), whole);

        // Of many blocks that are the same, the one at the same place goes on.
        let mut new = old.clone();
        new[2_000_000..2_020_000].copy_from_slice(&noise(9, 20_000));
        let exchange = Exchange::between(&old, &new);
        assert!(exchange.is_rebuilt(&old, &new));
        assert!(exchange.operations.literal_len() < 20_000 + 2 * 4096);
        assert!(exchange.operations.from_offset(0).count() <= 5);
        assert!(exchange.octets() < 50_000, "{}", exchange.octets());

        let shifted = [&b"xyz"[..], &old].concat();
        let exchange = Exchange::between(&old, &shifted);
        assert!(exchange.is_rebuilt(&old, &shifted));
        assert!(exchange.operations.literal_len() < 3 + 4096);
        assert!(exchange.operations.from_offset(0).count() <= 4);
    }
}

#[test]
fn operations_can_begin_anywhere() {
    let old = noise(1, 20_000);
    let new = [&noise(2, 700), &old[1024..9000], &noise(3, 1), &old[..600], &noise(4, 500)].concat();
    let operations = Exchange::between(&old, &new).operations;
    assert!(operations.from_offset(0).count() >= 4);
    for offset in 0..=new.len() {
        assert_eq!(rebuilt(operations.from_offset(offset as u64), &old, &new), new[offset..], "{offset}");
    }
    for beyond in [new.len() as u64, new.len() as u64 + 1, u64::MAX] {
        assert_eq!(operations.from_offset(beyond).next(), None);
    }
}

#[test]
fn a_file_that_became_shorter_is_an_error_of_its_reader() {
    let request = SumRequest::whole(KEY, 10_000, 10_000);
    let error = Signature::of(request.clone(), &mut Cursor::new(noise(1, 9_999))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);

    let old = noise(1, 1 << 20);
    let signature = Signature::of(SumRequest::whole(KEY, 1 << 20, 1 << 20), &mut Cursor::new(&old)).unwrap();
    let error = Matches::find(&mut &old[1..], 1 << 20, &signature).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);

    let new = noise(2, 1 << 20);
    let matches = Matches::find(&mut &new[..], 1 << 20, &signature).unwrap();
    let fine = Signature::of(matches.fine_request().unwrap(), &mut Cursor::new(&old)).unwrap();
    let error = matches.refine(&mut Cursor::new(&new[..1000]), &fine).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_request_is_these_octets() {
    let request = SumRequest::whole(KEY, 1_000_000, 1_000_000);
    let golden =
        [&[7; 32][..], b"\0\0\x08\0\x04\x01\0\0\0\x01", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\x0f\x42\x40"].concat();
    let mut out = vec![0xa5];
    request.emit(&mut out);
    assert_eq!(out[1..], golden);
    assert_eq!(request.emitted_len(), golden.len());
    assert_eq!((request.block_len(), request.blocks(), request.sums_len()), (2048, 489, 489 * 5));
    let followed = [&golden[..], b"more"].concat();
    assert_eq!(SumRequest::parse(&followed), Ok((request, &b"more"[..])));
}

#[test]
fn sums_are_as_they_are_described() {
    let old = [noise(1, 512), b"abc".to_vec()].concat();
    let request = SumRequest::whole(KEY, 515, 515);
    let words = blake3::keyed_hash(&[7; 32], b"tieline delta: point of the rolling sum");
    let point = u64::from_le_bytes(words.as_bytes()[..8].try_into().unwrap()) % (1 << 60);
    let sum = |block: &[u8]| {
        let weak = block
            .iter()
            .fold(0, |value: u128, octet| (value * u128::from(point) + u128::from(*octet)) % ((1 << 61) - 1));
        [&weak.to_be_bytes()[12..], &blake3::keyed_hash(&[7; 32], block).as_bytes()[..1]].concat()
    };
    let signature = Signature::of(request, &mut Cursor::new(&old)).unwrap();
    assert_eq!(signature.sums(), [sum(&old[..256]), sum(&old[256..512]), sum(b"abc")].concat());
}

#[test]
fn what_is_no_request_is_refused() {
    let header = |block_len: u32, lens: [u8; 2], ranges: u32| {
        [&[7; 32][..], &block_len.to_be_bytes(), &lens, &ranges.to_be_bytes()].concat()
    };
    let with = |ranges: &[(u64, u64)]| {
        let ranges_len = ranges.len() as u32;
        ranges.iter().fold(header(512, [4, 2], ranges_len), |out, (from, len)| {
            [&out[..], &from.to_be_bytes(), &len.to_be_bytes()].concat()
        })
    };
    let allowed = u64::from(BLOCKS_MAX) * 512;
    let good = with(&[(0, 512), (512, 1), (10_000, allowed - 1024)]);
    assert!(SumRequest::parse(&good).is_ok());
    assert!(SumRequest::parse(&with(&[(u64::MAX - 5, 5)])).is_ok());
    for cut in 0..good.len() {
        assert_eq!(SumRequest::parse(&good[..cut]), Err(DeltaViolation::Truncated), "{cut}");
    }
    let range = |from, len| Err(DeltaViolation::Range { from, len });
    for (bytes, expected) in [
        (header(0, [4, 2], 0), Err(DeltaViolation::BlockLen(0))),
        (header(128, [4, 2], 0), Err(DeltaViolation::BlockLen(128))),
        (header(513, [4, 2], 0), Err(DeltaViolation::BlockLen(513))),
        (header(2 * BLOCK_LEN_MAX, [4, 2], 0), Err(DeltaViolation::BlockLen(2 * BLOCK_LEN_MAX))),
        (header(512, [3, 2], 0), Err(DeltaViolation::SumLen { weak: 3, strong: 2 })),
        (header(512, [7, 2], 0), Err(DeltaViolation::SumLen { weak: 7, strong: 2 })),
        (header(512, [4, 0], 0), Err(DeltaViolation::SumLen { weak: 4, strong: 0 })),
        (header(512, [4, 9], 0), Err(DeltaViolation::SumLen { weak: 4, strong: 9 })),
        (header(512, [4, 2], RANGES_MAX + 1), Err(DeltaViolation::Ranges(RANGES_MAX + 1))),
        (with(&[(0, 0)]), range(0, 0)),
        (with(&[(u64::MAX, 1)]), range(u64::MAX, 1)),
        (with(&[(100, 100), (199, 1)]), range(199, 1)),
        (with(&[(100, 100), (0, 100)]), range(0, 100)),
        (with(&[(0, allowed + 1)]), Err(DeltaViolation::Blocks(u64::from(BLOCKS_MAX) + 1))),
        (with(&[(0, allowed), (allowed, 1)]), Err(DeltaViolation::Blocks(u64::from(BLOCKS_MAX) + 1))),
        (with(&[(0, u64::MAX)]), Err(DeltaViolation::Blocks(1 << 55))),
    ] {
        assert_eq!(SumRequest::parse(&bytes).map(|(request, _)| request), expected);
    }
    let request = SumRequest::whole(KEY, 1000, 1000);
    for got in [0, 11, 13] {
        let expected = Err(DeltaViolation::SumsLen { expected: 20, got });
        assert_eq!(Signature::parse(request.clone(), vec![0; got]), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_was_done_to_a_small_file_its_delta_makes_the_new_one(
        old in old_file(0..3000), edits in prop::collection::vec(any_edit(2000), 0..6)
    ) {
        check_edits(&old, &edits)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_was_done_to_a_larger_file_its_delta_makes_the_new_one(
        old in old_file(262_000..600_000), edits in prop::collection::vec(any_edit(40_000), 0..8)
    ) {
        check_edits(&old, &edits)?;
    }

    #[test]
    fn sums_of_another_file_or_of_none_do_no_more_than_harm_the_result(
        old in old_file(0..300_000),
        new in old_file(0..300_000),
        other in old_file(0..300_000),
        noisy: bool,
        seed: u8,
    ) {
        let request = SumRequest::whole(KEY, old.len() as u64, new.len() as u64);
        let mut sums = Signature::of(request.clone(), &mut Cursor::new(&old)).unwrap().sums().to_vec();
        let lies = noise(seed, sums.len());
        for (sum, lie) in sums.iter_mut().zip(lies) {
            *sum = if noisy { lie } else { *sum ^ u8::from(lie < 2) };
        }
        let lying = Signature::parse(request, sums).unwrap();
        let matches = Matches::find(&mut &new[..], new.len() as u64, &lying).unwrap();
        let operations = match matches.fine_request() {
            Some(request) => {
                let fine_sums = noise(seed, request.sums_len());
                let fine = match Signature::of(request.clone(), &mut Cursor::new(&other)) {
                    Ok(honest_about_another) => honest_about_another,
                    Err(_) => Signature::parse(request, fine_sums).unwrap(),
                };
                matches.refine(&mut Cursor::new(&new), &fine).unwrap()
            }
            None => matches.into_operations(),
        };
        check_tiling(&operations, new.len() as u64, old.len() as u64)?;
    }

    #[test]
    fn a_request_comes_back_from_its_octets(lens in prop::collection::vec((1..5000_u64, 1..5000_u64), 0..50), bits in 9..23_u32) {
        let mut bytes = [&[7; 32][..], &(1_u32 << bits).to_be_bytes(), &[5, 3], &(lens.len() as u32).to_be_bytes()].concat();
        let mut at = 0;
        for (gap, len) in lens {
            bytes.extend((at + gap - 1).to_be_bytes());
            bytes.extend(len.to_be_bytes());
            at += gap - 1 + len;
        }
        let (request, rest) = SumRequest::parse(&bytes).unwrap();
        prop_assert_eq!(rest, b"".as_slice());
        let mut out = Vec::new();
        request.emit(&mut out);
        prop_assert_eq!(out, bytes);
    }

    #[test]
    fn anything_at_all_can_be_read_as_a_request(bytes: Vec<u8>) {
        if let Ok((request, rest)) = SumRequest::parse(&bytes) {
            prop_assert_eq!(request.emitted_len() + rest.len(), bytes.len());
        }
    }
}

const KEY: Key = Key::new([7; Key::LEN]);

/// All that two ends say to each other about one file, octet by octet.
struct Exchange {
    operations: Operations,
    fine_blocks: Option<u32>,
    to_sender: u64,
    to_receiver: u64,
}

impl Exchange {
    fn between(old: &[u8], new: &[u8]) -> Self {
        let (mut to_sender, mut to_receiver) = (0, 0);
        let whole = SumRequest::whole(KEY, old.len() as u64, new.len() as u64);
        let signature = Signature::of(told(&whole, &mut to_sender), &mut Cursor::new(old)).unwrap();
        let signature = answered(&signature, &mut to_sender);
        let matches = Matches::find(&mut &new[..], new.len() as u64, &signature).unwrap();
        let fine = matches.fine_request();
        let fine_blocks = fine.as_ref().map(SumRequest::blocks);
        let operations = match fine {
            Some(fine) => {
                let fine = Signature::of(told(&fine, &mut to_receiver), &mut Cursor::new(old)).unwrap();
                let fine = answered(&fine, &mut to_sender);
                matches.refine(&mut Cursor::new(new), &fine).unwrap()
            }
            None => matches.into_operations(),
        };
        for operation in operations.from_offset(0) {
            // As messages of the protocol: a copy says where and how much, data has a header.
            to_receiver += if matches!(operation, Operation::Copy { .. }) { 21 } else { 5 };
        }
        to_receiver += operations.literal_len();
        Self { operations, fine_blocks, to_sender, to_receiver }
    }

    fn octets(&self) -> u64 {
        self.to_sender + self.to_receiver
    }

    fn is_rebuilt(&self, old: &[u8], new: &[u8]) -> bool {
        rebuilt(self.operations.from_offset(0), old, new) == new
    }
}

fn told(request: &SumRequest, octets: &mut u64) -> SumRequest {
    let mut out = Vec::new();
    request.emit(&mut out);
    *octets += out.len() as u64;
    let (heard, rest) = SumRequest::parse(&out).unwrap();
    assert_eq!((&heard, rest), (request, &[][..]));
    heard
}

fn answered(signature: &Signature, octets: &mut u64) -> Signature {
    *octets += signature.sums().len() as u64;
    Signature::parse(signature.request().clone(), signature.sums().to_vec()).unwrap()
}

/// What the receiver makes of `operations` as they arrive; literals are taken from `new`.
fn rebuilt(operations: impl Iterator<Item = Operation>, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for operation in operations {
        match operation {
            Operation::Copy { from, len, .. } => out.extend(&old[from as usize..(from + len) as usize]),
            Operation::Literal { at, len } => out.extend(&new[at as usize..(at + len) as usize]),
        }
    }
    out
}

fn check_edits(old: &[u8], edits: &[Edit]) -> Result<(), TestCaseError> {
    let new = edits.iter().fold(old.to_vec(), |file, edit| edit.apply(&file));
    let exchange = Exchange::between(old, &new);
    check_tiling(&exchange.operations, new.len() as u64, old.len() as u64)?;
    prop_assert!(exchange.is_rebuilt(old, &new));
    prop_assert!(exchange.to_receiver <= new.len() as u64 + new.len() as u64 / 8 + 100);
    Ok(())
}

/// Operations that leave nothing out, overlap nowhere and stay within the old file.
fn check_tiling(operations: &Operations, new_len: u64, old_len: u64) -> Result<(), TestCaseError> {
    let (mut end, mut literal_len) = (0, 0);
    for operation in operations.from_offset(0) {
        let at = match operation {
            Operation::Copy { at, from, len } => {
                prop_assert!(from + len <= old_len);
                at
            }
            Operation::Literal { at, len } => {
                literal_len += len;
                at
            }
        };
        prop_assert_eq!(at, end);
        prop_assert!(operation.len() > 0);
        end += operation.len();
    }
    prop_assert_eq!((end, literal_len), (new_len, operations.literal_len()));
    Ok(())
}

/// What `rsync -z` (3.x) sends for the same, the literals incompressible: a signature with 4 octets and as many of the strong sum as
/// its `sum_sizes_sqroot` takes for each block of the square root of the length, and every block that differs. What it says
/// about names, and the tokens of what matches, is left out in its favour.
fn rsync_octets(old: &[u8], new: &[u8]) -> u64 {
    let block_len = (old.len().isqrt() as u64 & !7).max(700);
    let bits = 10 + 2 * u64::from(old.len().ilog2()) - u64::from(block_len.ilog2());
    let strong_len = (bits + 1 - 32).div_ceil(8).max(2);
    let blocks = (old.len() as u64).div_ceil(block_len);
    let literal_len: usize = if old.len() == new.len() {
        let pairs = old.chunks(block_len as usize).zip(new.chunks(block_len as usize));
        pairs.filter(|(old, new)| old != new).map(|(_, new)| new.len()).sum()
    } else {
        new.len() - old.len()
    };
    16 + blocks * (4 + strong_len) + literal_len as u64
}

#[derive(Clone, Debug)]
enum Edit {
    Insert { at: u16, seed: u8, len: usize },
    Remove { at: u16, len: usize },
    Overwrite { at: u16, seed: u8, len: usize },
    Move { from: u16, to: u16, len: usize },
    Duplicate { from: u16, to: u16, len: usize },
    Zero { at: u16, len: usize },
    Truncate { at: u16 },
}

impl Edit {
    fn apply(&self, file: &[u8]) -> Vec<u8> {
        // Places are parts of the file, so that they mean something in each.
        let place = |part: u16| file.len() * usize::from(part) / usize::from(u16::MAX);
        let span = |part: u16, len: usize| place(part)..(place(part) + len).min(file.len());
        let replaced = |span: std::ops::Range<usize>, with: &[u8]| {
            [&file[..span.start], with, &file[span.end..]].concat()
        };
        match *self {
            Self::Insert { at, seed, len } => replaced(place(at)..place(at), &noise(seed, len)),
            Self::Remove { at, len } => replaced(span(at, len), &[]),
            Self::Overwrite { at, seed, len } => {
                let span = span(at, len);
                replaced(span.clone(), &noise(seed, span.len()))
            }
            Self::Move { from, to, len } => {
                let rest = replaced(span(from, len), &[]);
                let to = rest.len() * usize::from(to) / usize::from(u16::MAX);
                [&rest[..to], &file[span(from, len)], &rest[to..]].concat()
            }
            Self::Duplicate { from, to, len } => replaced(place(to)..place(to), &file[span(from, len)]),
            Self::Zero { at, len } => {
                let span = span(at, len);
                replaced(span.clone(), &vec![0; span.len()])
            }
            Self::Truncate { at } => file[..place(at)].to_vec(),
        }
    }
}

fn any_edit(len_max: usize) -> impl Strategy<Value = Edit> {
    let len = move || prop_oneof![3 => 1..len_max, 1 => 510..515_usize, 1 => Just(1_usize)];
    prop_oneof![
        (any::<u16>(), any::<u8>(), len()).prop_map(|(at, seed, len)| Edit::Insert { at, seed, len }),
        (any::<u16>(), len()).prop_map(|(at, len)| Edit::Remove { at, len }),
        (any::<u16>(), any::<u8>(), len()).prop_map(|(at, seed, len)| Edit::Overwrite { at, seed, len }),
        (any::<u16>(), any::<u16>(), len()).prop_map(|(from, to, len)| Edit::Move { from, to, len }),
        (any::<u16>(), any::<u16>(), len()).prop_map(|(from, to, len)| Edit::Duplicate { from, to, len }),
        (any::<u16>(), len()).prop_map(|(at, len)| Edit::Zero { at, len }),
        any::<u16>().prop_map(|at| Edit::Truncate { at }),
    ]
}

/// Noise, zeros, or a few octets repeated.
fn old_file(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![3 => len.clone(), 1 => Just(len.start), 1 => Just(len.end.div_ceil(2048) * 2048)];
    (len, any::<u8>(), prop_oneof![3 => Just(usize::MAX), 1 => Just(1), 1 => Just(512), 1 => Just(1000)])
        .prop_map(|(len, seed, period)| noise(seed, len.min(period)).into_iter().cycle().take(len).collect())
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut octets = vec![0; len];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut octets);
    octets
}
