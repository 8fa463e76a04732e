//! A folder below the far end's inbox that is kept as a folder at this end is: what differs is sent and replaces what is there, and what is
//! not here any more is removed there, if that is wanted.
//!
//! ```text
//!  sender     mirror ─ listing ─ … ─ listed ─────────────────────▶ wanted entries as in any transfer ─▶ end
//!  receiver             └▶ compares with its disk ─▶ wanted … checked                                    └▶ removes ─▶ removed, done
//! ```
//!
//! The sender lists all folders, each with what is to be in it, and sends what the receiver wants of that. A file is not wanted if the
//! journal there knows it as arrived and one of that size and time of modification has the name. The listing is compressed: some ten octets
//! for a file.
//!
//! Only a folder that a sync has made, or found empty, is a mirror; the journal there remembers which are. Nothing else is ever replaced or
//! removed by one. What is removed is found below the mirror's folder, by held descriptors, step by step; links are removed and not
//! followed, and what is mounted inside stays. Each file is in the audit log, on the disk, before it is removed, so a power cut leaves
//! nothing that is gone without a trace; one that is left is removed and logged by the next sync.
//!
//! Records of a listing, numbers big-endian:
//!
//! | 0: kind (1) | |
//! |---|---|
//! | 1 | a folder: path length (2), path below the mirror, empty for the mirror itself. What follows is in it, names ascending |
//! | 2 | a file: entry (8), size (8), mtime seconds (8, signed), nanoseconds (4), name length (1), name |
//! | 3 | a folder in it, which has a record of kind 1 of its own: entry (8), name length (1), name |
//! | 4 | something that is not sent; whatever has its name there stays: name length (1), name |

mod compare;
mod list;
mod remove;

pub(crate) use self::compare::Mirroring;
pub(crate) use self::list::list;

use crate::fields::{CutShort, Fields};
use crate::moment::Moment;
use crate::protocol::FileTime;

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
    /// A time that is none.
    #[error("with {0} nanoseconds")]
    Nanoseconds(u32),
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

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record<'a> {
    Folder { path: &'a [u8] },
    File { entry: u64, size: u64, modified: FileTime, name: &'a [u8] },
    Below { entry: u64, name: &'a [u8] },
    Stays { name: &'a [u8] },
}

mod kind {
    pub(super) const FOLDER: u8 = 1;
    pub(super) const FILE: u8 = 2;
    pub(super) const BELOW: u8 = 3;
    pub(super) const STAYS: u8 = 4;
}

impl<'a> Record<'a> {
    fn parse(fields: &mut Fields<'a>) -> Result<Self, ListingFault> {
        let name = |fields: &mut Fields<'a>| {
            let len = fields.u8()?;
            fields.slice(len.into())
        };
        Ok(match fields.u8()? {
            kind::FOLDER => {
                let len = fields.u16()?;
                Self::Folder { path: fields.slice(len.into())? }
            }
            kind::FILE => {
                let (entry, size) = (fields.u64()?, fields.u64()?);
                let modified = fields.moment()?.map_err(ListingFault::Nanoseconds)?;
                let modified = FileTime { seconds: modified.seconds(), nanoseconds: modified.nanoseconds() };
                Self::File { entry, size, modified, name: name(fields)? }
            }
            kind::BELOW => Self::Below { entry: fields.u64()?, name: name(fields)? },
            kind::STAYS => Self::Stays { name: name(fields)? },
            unknown => return Err(ListingFault::Kind(unknown)),
        })
    }

    /// Appends its octets. Names and paths are as long as a [`crate::RelativePath`] has them.
    fn emit(&self, out: &mut Vec<u8>) {
        let emit_name = |out: &mut Vec<u8>, name: &[u8]| {
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name);
        };
        match *self {
            Self::Folder { path } => {
                out.push(kind::FOLDER);
                crate::fields::emit_counted(out, path);
            }
            Self::File { entry, size, modified, name } => {
                out.push(kind::FILE);
                out.extend(entry.to_be_bytes());
                out.extend(size.to_be_bytes());
                crate::fields::emit_moment(out, Moment::from(modified));
                emit_name(out, name);
            }
            Self::Below { entry, name } => {
                out.push(kind::BELOW);
                out.extend(entry.to_be_bytes());
                emit_name(out, name);
            }
            Self::Stays { name } => {
                out.push(kind::STAYS);
                emit_name(out, name);
            }
        }
    }
}

impl From<CutShort> for ListingFault {
    fn from(_: CutShort) -> Self {
        Self::CutShort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_their_octets_both_ways_and_none_is_read_that_is_cut_short() {
        let modified = FileTime { seconds: -1, nanoseconds: 5 };
        for (record, octets) in [
            (Record::Folder { path: b"" }, &b"\x01\0\0"[..]),
            (Record::Folder { path: b"a/b" }, b"\x01\0\x03a/b"),
            (
                Record::File { entry: 1, size: 2, modified, name: b"n" },
                b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x05\x01n",
            ),
            (Record::Below { entry: 3, name: b"m" }, b"\x03\0\0\0\0\0\0\0\x03\x01m"),
            (Record::Stays { name: b"l" }, b"\x04\x01l"),
        ] {
            let mut out = Vec::new();
            record.emit(&mut out);
            assert_eq!(out, octets);
            assert_eq!(Record::parse(&mut Fields::of(octets)), Ok(record));
            for len in 0..octets.len() {
                let cut = Record::parse(&mut Fields::of(&octets[..len]));
                assert_eq!(cut, Err(ListingFault::CutShort), "{record:?} cut to {len}");
            }
        }
        assert_eq!(Record::parse(&mut Fields::of(b"\x05")), Err(ListingFault::Kind(5)));
        let late = [&b"\x02"[..], &[0; 24], b"\x3b\x9a\xca\x00\x01n"].concat();
        assert_eq!(Record::parse(&mut Fields::of(&late)), Err(ListingFault::Nanoseconds(1_000_000_000)));
    }
}
