//! Packets that were cut in pieces become whole again (RFC 4623, label 17).
//!
//! On a slow line a long packet keeps voice waiting, so the sending end cuts it ([`crate::queue`]) and lets voice go in between. On any line
//! a frame of Ethernet may be longer than the medium takes. The pieces
//! of a packet are numbered one after the other, whatever goes between them. Here they wait for the others, whichever comes first; what
//! does not become whole is overwritten by what comes later, and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tieline_wire::control_word::{ControlWord, Part, next_sequence};

use crate::{Shared, counters::DropReason};

/// Numbers of which a piece is remembered: some milliseconds of a fast line, so much may one overtake another on the way.
pub const PIECES_MAX: usize = 256;
/// A piece that has waited for longer belongs to a packet that does not come any more.
pub const PIECE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Gives the pieces of all sending threads of a line their numbers.
#[derive(Debug, Default)]
pub struct PieceNumbers(AtomicU64);

impl PieceNumbers {
    /// The first of `count` numbers that follow one another; none is 0.
    #[must_use]
    pub fn take(&self, count: usize) -> u16 {
        let first = self.0.fetch_add(count as u64, Ordering::Relaxed);
        (first % u64::from(u16::MAX)) as u16 + 1
    }
}

/// The pieces that wait for others. Their buffers are made when they are first needed, and kept.
#[derive(Debug)]
pub struct Pieces {
    shared: Arc<Shared>,
    /// Octets of the longest packet.
    len_max: usize,
    /// By number, modulo [`PIECES_MAX`]; as long as no piece has come, there is none.
    waiting: Vec<Piece>,
    whole: Vec<u8>,
}

#[derive(Debug)]
struct Piece {
    /// Number 0: there is none here.
    word: ControlWord,
    came: Instant,
    octets: Vec<u8>,
}

impl Pieces {
    /// Room for the pieces of packets of up to `len_max` octets.
    #[must_use]
    pub fn new(len_max: usize, shared: Arc<Shared>) -> Self {
        Self { shared, len_max, waiting: Vec::new(), whole: Vec::new() }
    }

    /// Takes what came under label 17 and returns the packet that became whole by it, if one did: what a sealed packet carries. What is no
    /// piece is dropped and counted.
    pub fn handle_piece(&mut self, now: Instant, payload: &[u8]) -> Option<&mut [u8]> {
        let parsed = ControlWord::parse(payload).ok();
        let fits = parsed.filter(|(word, octets)| word.sequence != 0 && octets.len() <= self.len_max);
        let Some((word, octets)) = fits else {
            self.shared.counters.dropped(DropReason::PieceLost);
            return None;
        };
        if self.waiting.is_empty() {
            let none = ControlWord { part: Part::Whole, sequence: 0 };
            self.waiting.resize_with(PIECES_MAX, || Piece { word: none, came: now, octets: Vec::new() });
        }
        let place = &mut self.waiting[usize::from(word.sequence) % PIECES_MAX];
        if place.word.sequence != 0 && place.word.sequence != word.sequence {
            self.shared.counters.dropped(DropReason::PieceLost);
        }
        (place.word, place.came) = (word, now);
        place.octets.clear();
        place.octets.extend_from_slice(octets);
        self.join(now, word.sequence)
    }

    /// Joins the packet to which the piece of this number belongs, if all of it is there.
    fn join(&mut self, now: Instant, sequence: u16) -> Option<&mut [u8]> {
        let mut first = sequence;
        while !self.piece(now, first)?.word.part.is_first() {
            first = previous(first);
        }
        let mut last = first;
        let mut len = self.piece(now, first)?.octets.len();
        while !self.piece(now, last)?.word.part.is_last() {
            last = next_sequence(last);
            let piece = self.piece(now, last)?;
            len += piece.octets.len();
            if len > self.len_max || piece.word.part.is_first() {
                return None;
            }
        }
        self.whole.clear();
        loop {
            let piece = &mut self.waiting[usize::from(first) % PIECES_MAX];
            self.whole.extend_from_slice(&piece.octets);
            piece.word.sequence = 0;
            if first == last {
                return Some(&mut self.whole);
            }
            first = next_sequence(first);
        }
    }

    /// The piece of this number, if it waits. As numbers come round only after more than [`PIECES_MAX`], no walk along them is endless.
    fn piece(&self, now: Instant, sequence: u16) -> Option<&Piece> {
        let piece = &self.waiting[usize::from(sequence) % PIECES_MAX];
        let is_fresh = now.saturating_duration_since(piece.came) <= PIECE_WAIT_MAX;
        (piece.word.sequence == sequence && is_fresh).then_some(piece)
    }
}

fn previous(sequence: u16) -> u16 {
    if sequence <= 1 { u16::MAX } else { sequence - 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::accept::AcceptTable;

    const LEN_MAX: usize = 1420;

    #[test]
    fn numbers_are_given_once_and_none_is_zero() {
        let numbers = PieceNumbers::default();
        assert_eq!([numbers.take(2), numbers.take(65_532), numbers.take(3)], [1, 3, u16::MAX]);
        assert_eq!(numbers.take(1), next_sequence(next_sequence(next_sequence(u16::MAX))));
    }

    fn none_yet() -> Pieces {
        Pieces::new(LEN_MAX, Arc::new(Shared::new(AcceptTable::default(), 0)))
    }

    fn lost(pieces: &Pieces) -> u64 {
        pieces.shared.counters.drops(DropReason::PieceLost)
    }

    /// The pieces of packets, numbered from `sequence` on.
    fn cut(packets: &[Vec<u8>], piece_len: usize, mut sequence: u16) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        for packet in packets {
            let count = packet.len().div_ceil(piece_len);
            for (index, octets) in packet.chunks(piece_len).enumerate() {
                let part = Part::new(index == 0, index + 1 == count);
                pieces.push([&ControlWord { part, sequence }.emit()[..], octets].concat());
                sequence = next_sequence(sequence);
            }
        }
        pieces
    }

    fn packets(count: u8) -> Vec<Vec<u8>> {
        (1..=count).map(|number| vec![number; 300 + 37 * usize::from(number)]).collect()
    }

    fn join(pieces: &mut Pieces, now: Instant, cut: &[Vec<u8>]) -> Vec<Vec<u8>> {
        cut.iter().filter_map(|piece| pieces.handle_piece(now, piece).map(|whole| whole.to_vec())).collect()
    }

    #[test]
    fn packets_become_whole_also_where_the_numbers_begin_anew() {
        let sent = packets(20);
        assert_eq!(join(&mut none_yet(), Instant::now(), &cut(&sent, 200, 65_500)), sent);
    }

    #[test]
    fn pieces_may_overtake_one_another_and_come_twice() {
        let sent = packets(12);
        let mut pieces = cut(&sent, 200, 1);
        for pair in pieces.chunks_mut(5) {
            pair.reverse();
        }
        pieces.insert(3, pieces[2].clone());
        let mut joined = join(&mut none_yet(), Instant::now(), &pieces);
        joined.sort();
        assert_eq!(joined, sent);
    }

    #[test]
    fn a_packet_that_lacks_a_piece_never_comes_and_the_others_do() {
        let sent = packets(12);
        let mut sent_pieces = cut(&sent, 200, 1);
        sent_pieces.remove(1);
        let mut pieces = none_yet();
        assert_eq!(join(&mut pieces, Instant::now(), &sent_pieces), sent[1..]);
        let more: Vec<_> = (0..PIECES_MAX).map(|_| vec![9; 100]).collect();
        let after = cut(&more, 200, 100);
        assert_eq!(join(&mut pieces, Instant::now(), &after).len(), PIECES_MAX);
        assert_eq!(lost(&pieces), 1, "what was left of the first");
    }

    #[test]
    fn pieces_of_long_ago_are_not_joined_to_new_ones() {
        let sent = packets(1);
        let cut = cut(&sent, 200, 1);
        let (mut pieces, now) = (none_yet(), Instant::now());
        assert!(join(&mut pieces, now, &cut[..1]).is_empty());
        assert!(join(&mut pieces, now + PIECE_WAIT_MAX * 2, &cut[1..]).is_empty());
    }

    #[test]
    fn a_packet_longer_than_the_line_carries_does_not_become_whole() {
        let cut = cut(&[vec![1; LEN_MAX + 1]], 200, 1);
        assert!(join(&mut none_yet(), Instant::now(), &cut).is_empty());
    }

    #[test]
    fn what_is_no_piece_is_counted() {
        let mut pieces = none_yet();
        for bad in [&[][..], &[0; 3], &[0x10, 0, 0, 1], &[0, 0, 0, 0, 7]] {
            assert!(pieces.handle_piece(Instant::now(), bad).is_none());
        }
        assert_eq!(lost(&pieces), 4);
    }

    proptest! {
        #[test]
        fn no_octets_panic_or_grow(rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..400)) {
            let (mut pieces, now) = (none_yet(), Instant::now());
            for row in rows {
                if let Some(whole) = pieces.handle_piece(now, &row) {
                    prop_assert!(whole.len() <= LEN_MAX);
                }
                prop_assert!(pieces.waiting.len() <= PIECES_MAX);
            }
        }
    }
}
