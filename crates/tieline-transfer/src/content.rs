//! The BLAKE3 hash of content that arrives in order, such that hashing can be continued later without the content.
//!
//! BLAKE3 is a tree. What is remembered of content that was hashed is one chaining value for each whole piece of [`PIECE_LEN`], and from
//! these follows the hash of all. So whoever holds a part of a file and its chaining values goes on where it was, after a restart too,
//! without reading the part again. Read first: the BLAKE3 paper, section 2.1; [`blake3::hazmat`].

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// Octets of a piece: 1 MiB, a whole subtree. 100 GiB have 3.2 MB of chaining values.
pub const PIECE_LEN: u64 = 1 << 20;
/// Octets of a chaining value.
pub const CHAINING_VALUE_LEN: usize = 32;
/// Octets of a hash.
pub const HASH_LEN: usize = 32;

/// Pieces of content of `len` octets that may be remembered: all whole ones but the last, so that something is left to end with. For the
/// end of a tree is hashed in another way, and which piece is the end is known only with it.
#[must_use]
pub fn pieces_within(len: u64) -> u64 {
    len.saturating_sub(1) / PIECE_LEN
}

/// Hashes content in order.
#[derive(Clone, Debug)]
pub struct ContentHasher {
    /// Of the pieces that are whole and have something after them.
    pieces: Vec<ChainingValue>,
    /// The piece after them, and its octets so far: at most [`PIECE_LEN`].
    piece: Hasher,
    in_piece: u64,
}

impl ContentHasher {
    /// Nothing is hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::resume(Vec::new())
    }

    /// Continues after the content that has these `pieces`.
    #[must_use]
    pub fn resume(pieces: Vec<ChainingValue>) -> Self {
        let piece = piece_hasher(pieces.len());
        Self { pieces, piece, in_piece: 0 }
    }

    /// Takes the next octets.
    pub fn update(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.in_piece == PIECE_LEN {
                self.pieces.push(self.piece.finalize_non_root());
                self.piece = piece_hasher(self.pieces.len());
                self.in_piece = 0;
            }
            let room = usize::try_from(PIECE_LEN - self.in_piece).unwrap_or(usize::MAX);
            let (now, later) = octets.split_at(room.min(octets.len()));
            self.piece.update(now);
            self.in_piece += now.len() as u64;
            octets = later;
        }
    }

    /// Octets that were hashed.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether it is empty")]
    pub fn len(&self) -> u64 {
        self.pieces.len() as u64 * PIECE_LEN + self.in_piece
    }

    /// The chaining values of all pieces that are whole and have something after them.
    #[must_use]
    pub fn pieces(&self) -> &[ChainingValue] {
        &self.pieces
    }

    /// The hash of all octets: what [`blake3::hash`] makes of them.
    #[must_use]
    pub fn finalize(&self) -> [u8; HASH_LEN] {
        if self.pieces.is_empty() {
            return self.piece.finalize().into();
        }
        let pieces: Vec<ChainingValue> =
            self.pieces.iter().copied().chain([self.piece.finalize_non_root()]).collect();
        let (left, right) = pieces.split_at(left_len(pieces.len()));
        merge_subtrees_root(&merged(left), &merged(right), Mode::Hash).into()
    }
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self::new()
    }
}

fn piece_hasher(number: usize) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(number as u64 * PIECE_LEN);
    hasher
}

/// The chaining value over a subtree of one or more pieces. As deep as the tree, so at most 44 calls.
fn merged(pieces: &[ChainingValue]) -> ChainingValue {
    match pieces {
        [] => unreachable!("a subtree has a piece"),
        [piece] => *piece,
        pieces => {
            let (left, right) = pieces.split_at(left_len(pieces.len()));
            merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
        }
    }
}

/// How many of at least two pieces belong to the left subtree: as BLAKE3 divides octets.
fn left_len(pieces: usize) -> usize {
    let left = left_subtree_len(pieces as u64 * PIECE_LEN) / PIECE_LEN;
    usize::try_from(left).expect("fewer than all pieces")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = PIECE_LEN as usize;

    fn content(len: usize) -> Vec<u8> {
        let mut content = vec![0; len];
        Hasher::new().update(&len.to_le_bytes()).finalize_xof().fill(&mut content);
        content
    }

    #[test]
    fn the_hash_is_that_of_blake3_for_every_critical_length() {
        for pieces in 0..6 {
            for more in [0, 1, 1023, 1024, 1025, PIECE - 1] {
                let content = content(pieces * PIECE + more);
                let mut hasher = ContentHasher::new();
                content.chunks(77_777).for_each(|octets| hasher.update(octets));
                assert_eq!(hasher.finalize(), *blake3::hash(&content).as_bytes(), "{pieces} and {more}");
                assert_eq!(hasher.len(), content.len() as u64);
                assert_eq!(hasher.pieces().len() as u64, pieces_within(content.len() as u64));
            }
        }
    }

    #[test]
    fn hashing_goes_on_from_the_pieces_alone() {
        let content = content(5 * PIECE + 3);
        let mut whole = ContentHasher::new();
        whole.update(&content);
        for held in 0..=5 {
            let mut rest = ContentHasher::resume(whole.pieces()[..held].to_vec());
            assert_eq!(rest.len(), (held * PIECE) as u64);
            rest.update(&content[held * PIECE..]);
            assert_eq!(rest.finalize(), whole.finalize(), "from piece {held}");
        }
    }

    #[test]
    fn a_wrong_piece_gives_another_hash() {
        let content = content(3 * PIECE + 1);
        let mut whole = ContentHasher::new();
        whole.update(&content);
        let mut pieces = whole.pieces().to_vec();
        pieces[1][31] ^= 1;
        let mut rest = ContentHasher::resume(pieces);
        rest.update(&content[3 * PIECE..]);
        assert_ne!(rest.finalize(), whole.finalize());
    }

    #[test]
    fn the_end_of_content_is_never_among_its_pieces() {
        for (len, pieces) in [
            (0, 0),
            (1, 0),
            (PIECE_LEN, 0),
            (PIECE_LEN + 1, 1),
            (2 * PIECE_LEN, 1),
            (u64::MAX, (1 << 44) - 1),
        ] {
            assert_eq!(pieces_within(len), pieces, "{len}");
        }
    }
}
