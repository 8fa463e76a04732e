//! The delta of a changed file: what of it the far end's old version holds already, and what has to be sent.
//!
//! This is arithmetic over two files and knows neither frames nor whose turn it is. The receiver has the old version, the sender the
//! new one:
//!
//! ```text
//!  receiver (old file)                                  sender (new file)
//!  SumRequest::whole ─▶ Signature::of ──── both ────▶   Matches::find
//!  Signature::of ◀──────────────────────── fine ─────   Matches::fine_request
//!                ─────────────────────── its sums ──▶   Matches::refine ─▶ Operations
//!  copies, and the octets that come ◀── operations ──
//! ```
//!
//! The first signature has few and long blocks, as a file that was only moved about or grew needs no more. Blocks of the old file that
//! the new one does not hold any more were changed somewhere; only these are summed again, in short blocks, and looked for in what is
//! left of the new file. A block of 64 KiB with an edit of 4 KiB so costs the edit and half a kilobyte of sums. The second round is left
//! out where request and sums would cost more than an eighth of the literals, or where those are less than a round trip is worth.
//!
//! A sum is two numbers: the weak one moves on octet by octet (`rolling`) and finds candidates, the strong one (BLAKE3 with a key)
//! confirms them. Both depend on a key drawn for this transfer, so that nobody can prepare a file that confuses them. Together they are
//! just long enough that a false match is rare; what rebuilds the file checks the hash of the whole in any case, and that
//! hash decides. A file that changes meanwhile, or an end that lies, so causes a wrong file that is refused, and nothing worse.
//!
//! Wire format, numbers big-endian. A request of sums, [`SumRequest::HEADER_LEN`] octets and 16 for each range:
//!
//! | 0: key (32) | 32: block length (4) | 36: octets of a weak sum (1), of a strong one (1) | 38: ranges (4) | each: from (8), length (8) |
//!
//! The sums that answer it, without a header: for each range in order and each block in it, the last one perhaps short:
//!
//! | weak sum | strong sum |
//!
//! The strong sum is the front of the block's BLAKE3 under the key. The weak sum is the end of the number that the block's octets, as
//! the coefficients of a polynomial, the last one that of 1, give at a point modulo 2^61 - 1. The point is made of the low 60 bits of
//! the first eight octets, little-endian, of the BLAKE3 under the key of the words `tieline delta: point of the rolling sum`.
//!
//! Limits: [`BLOCKS_MAX`], [`BLOCK_LEN_MAX`], [`RANGES_MAX`] and [`COPIES_MAX`] bound the memory of either end, less than 24 MiB for a file
//! of 100 GiB. What lies beyond a limit is not searched for and becomes literal. The search hashes at most twice as much as it
//! reads, and a few blocks, whatever is in the new file and in the signature.

mod index;
mod matches;
mod operation;
mod request;
mod rolling;
mod scan;
mod signature;

pub use matches::Matches;
pub use operation::{Operation, Operations, OperationsFrom};
pub use request::{Key, SumRequest};
pub use signature::Signature;

/// Octets of the shortest file that is worth a delta: sums and a round trip cost more than what a shorter one has.
pub const DELTA_LEN_MIN: u64 = 4 * 1024;
/// Octets of the shortest block: below it, sums cost more than what they find saves.
pub const BLOCK_LEN_MIN: u32 = 256;
/// Octets of the longest block; the buffer of the search holds two. Together with [`BLOCKS_MAX`] it covers 2 TiB.
pub const BLOCK_LEN_MAX: u32 = 4 << 20;
/// Blocks of one signature: 4 MiB of index and, at 9 octets a sum, 4.5 MiB of sums.
pub const BLOCKS_MAX: u32 = 1 << 19;
/// Ranges of one request: a megabyte on the wire.
pub const RANGES_MAX: u32 = 1 << 16;
/// Copies of one delta, neighbours counted as one: 6 MiB.
pub const COPIES_MAX: usize = 1 << 18;

/// How the peer broke the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaViolation {
    /// Fewer octets than the fields have.
    #[error("a request of sums that is cut short")]
    Truncated,
    /// A block length that is no power of two from [`BLOCK_LEN_MIN`] to [`BLOCK_LEN_MAX`].
    #[error("blocks of {0} octets")]
    BlockLen(u32),
    /// Sums of a length that is not allowed.
    #[error("sums of {weak} and {strong} octets")]
    SumLen {
        /// Octets of the weak one.
        weak: u8,
        /// Octets of the strong one.
        strong: u8,
    },
    /// More ranges than [`RANGES_MAX`].
    #[error("{0} ranges; {RANGES_MAX} are allowed")]
    Ranges(u32),
    /// A range that is empty, ends beyond all files or does not lie behind the one before it.
    #[error("a range of {len} octets from {from} that is empty or out of order")]
    Range {
        /// Where it begins.
        from: u64,
        /// How long it claims to be.
        len: u64,
    },
    /// More blocks than [`BLOCKS_MAX`].
    #[error("{0} blocks; {BLOCKS_MAX} are allowed")]
    Blocks(u64),
    /// Sums of another number of octets than was asked for.
    #[error("{got} octets of sums where {expected} were asked for")]
    SumsLen {
        /// What the request amounts to.
        expected: usize,
        /// What came.
        got: usize,
    },
}
