//! A folder below the far end's inbox that is kept as a folder at this end is: what differs is sent and replaces what is there, and what is
//! not here any more is removed there, if that is wanted.
//!
//! ```text
//!  sender     mirror ─ listing ─ … ─ listed ─────────────────────▶ wanted entries as in any transfer ─▶ end
//!  receiver             └▶ compares with its disk ─▶ wanted … checked                                    └▶ removes ─▶ removed, done
//! ```
//!
//! The sender lists all folders, each with what is to be in it, and sends what the receiver wants of that. A file is not wanted if the
//! journal there knows it as arrived and one that has the name has the same [fingerprint](Fingerprint): that of its size and time of
//! modification, and if that is wanted, of its content, which both ends read then. The listing is compressed: five octets for a file, and
//! what its name differs from the one before.
//!
//! Only a folder that a sync has made, or found empty, is a mirror; the journal there remembers which are. Nothing else is ever replaced or
//! removed by one. What is removed is found below the mirror's folder, by held descriptors, step by step; links are removed and not
//! followed, and what is mounted inside stays. Each file is in the audit log, on the disk, before it is removed, so a power cut leaves
//! nothing that is gone without a trace; one that is left is removed and logged by the next sync.
//!
//! Each message of a listing has whole records, by columns, as those compress best. Numbers are big-endian:
//!
//! | octets | of each record |
//! |---|---|
//! | 4 | how many records there are |
//! | 1 for each | kind: 1 a folder, in which is what follows, names ascending; 2 a file; 3 a folder in it, which has a record of kind 1 of its own; 4 something that is not sent, and whatever has its name there stays |
//! | 2 for each | of a folder the length of its path below the mirror; of others the octets that the name begins with as the one before in this folder (1), and how many follow (1) |
//! | their lengths | paths, and what follows of names |
//! | 5 for each of kind 2 | fingerprint |
//! | the rest, for each of kind 2 and 3 | how much its entry is above the last one's plus 1, which is 0 before the first: twice that, or if it is negative, twice its amount less 1; seven bits in an octet, lowest first, 0x80 says that more follow |
//!
//! A fingerprint is the front of the BLAKE3, under the key of the mirror, of size (8), modified seconds (8, signed), nanoseconds (4) and, where
//! content is compared, BLAKE3 of the content (32).

mod compare;
mod fingerprint;
mod list;
mod records;
mod remove;

pub(crate) use self::compare::{Mirroring, Tell};
pub use self::fingerprint::{FINGERPRINT_LEN, Fingerprint, FingerprintKey};
pub(crate) use self::list::list;
pub use self::records::{Record, RecordReader, RecordWriter};

use crate::fields::CutShort;

/// How a mirror is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorRules {
    /// Whether what is not listed is removed there.
    pub removes: bool,
    /// Whether the content of all files is compared, and not only their sizes and times. Both ends read all of them then.
    pub by_content: bool,
}

/// Octets of records in one message at most, before they are compressed.
const LISTING_LEN_MAX: usize = 48 * 1024;

/// Why a listing cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingFault {
    /// It is not compressed as it should be, or is longer than it may be.
    #[error("that cannot be decompressed")]
    Packed,
    /// A record that is cut short.
    #[error("with a record that is cut short")]
    CutShort,
    /// A kind of record that is not known.
    #[error("with a record of unknown kind {0}")]
    Kind(u8),
    /// The number of an entry that is none.
    #[error("with the number of an entry that is none")]
    Step,
    /// More octets than the records have.
    #[error("with {0} octets behind its records")]
    Trailing(usize),
    /// A record before that of the mirror itself.
    #[error("that does not begin with the mirror itself")]
    NoFolder,
    /// A name or path that may not be in an inbox.
    #[error("with a name that may not be created")]
    Name,
    /// Names that are not in their order.
    #[error("whose names are not in their order")]
    Order,
    /// An entry that was not announced.
    #[error("with entry {0}, which was not announced")]
    Entry(u64),
}

impl From<CutShort> for ListingFault {
    fn from(_: CutShort) -> Self {
        Self::CutShort
    }
}
