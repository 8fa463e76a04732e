//! Receipts: what the receiving end signs when files are durable, and whoever has its key can check for ever.
//!
//! A receipt is a [`Record`] and the [`Group`] that it is signed in. Files come by the thousand and a signature has 64 octets, so
//! one signature covers up to [`RECORDS_MAX`] records. The octets of a group are canonical: there is one way to write a group, and
//! a parser takes no other. Numbers are big-endian:
//!
//! | 0: `tieline receipt v` (17) | 17: version, `1` (1) | 18: key of the receiver (32) | 50: key of the sender (32) |
//! | 82: number of records, 1 to 1,024 (2) | 84: records | after the last: signature (64) |
//!
//! A record:
//!
//! | 0: what, 1 delivered or 2 already there (1) | 1: transfer (16) | 17: entry (8) | 25: size (8) | 33: BLAKE3 of the content (32) |
//! | 65: modified, seconds since 1970 (8, signed) | 73: nanoseconds (4) | 77: delivered, seconds (8, signed) | 85: nanoseconds (4) |
//! | 89: path length, 1 to 4,096 (2) | 91: path as offered | then: length of the final name, 0 to 4,096 (2) | final name |
//!
//! The final name is below the inbox, or the folder of it, that the transfer is for. One that is the path as offered is not written again: its length is 0.
//!
//! The signature is Ed25519 (RFC 8032) by the receiver's key over all octets before it. They begin with words that nothing else of
//! tieline begins with, so a signature over a group is never one over something else. `openssl pkeyutl -verify -rawin` checks it
//! without tieline. The name of a group elsewhere is [`Group::digest`].
//!
//! What a receipt proves: the holder of the receiver's key stated that this content is stored. *When* is what the clock of the
//! receiver said. Who holds the key is not in it: the two ends tell each other their keys over the sealed line, and note them.

mod key;
mod line_keys;
mod octets;

use std::fmt;
use std::io;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use data_encoding::HEXLOWER;

pub use key::{KEY_LEN, KeyTextError, SigningKey, VerifyingKey, WeakKey};
pub use line_keys::{KeyChanged, LineKeys};

use crate::moment::Moment;
use crate::protocol::HASH_LEN;

/// Records under one signature: it then costs a sixteenth of an octet for each, and verifying one record hashes at most
/// [`GROUP_LEN_MAX`].
pub const RECORDS_MAX: usize = 1024;
/// Octets of a path or a final name: `PATH_MAX` of Linux.
pub const NAME_LEN_MAX: usize = 4096;
/// Octets of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;
/// Octets of a group before its first record.
pub const HEADER_LEN: usize = 84;
/// Octets of a record without its names.
pub const RECORD_LEN_MIN: usize = 93;
/// Octets of the longest group, 8.1 MiB; one with names as people give them has some 150 KiB.
pub const GROUP_LEN_MAX: usize =
    HEADER_LEN + RECORDS_MAX * (RECORD_LEN_MIN + 2 * NAME_LEN_MAX) + SIGNATURE_LEN;

/// The name of a transfer, the same at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub [u8; Self::LEN]);

/// How the content came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was sent and stored.
    Delivered,
    /// The same content was there before.
    AlreadyThere,
}

/// What the receiver states of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How it came to be there.
    pub arrival: Arrival,
    /// The transfer in which it was offered.
    pub transfer: TransferId,
    /// Its number in the transfer.
    pub entry: u64,
    /// Octets of the content.
    pub size: u64,
    /// BLAKE3 of the content.
    pub hash: [u8; HASH_LEN],
    /// When the file was modified, as the sender said.
    pub modified: Moment,
    /// When it was durable, by the clock of the receiver.
    pub delivered: Moment,
    /// Its path as offered, 1 to [`NAME_LEN_MAX`] octets. Not fit for a terminal, see [`crate::Escaped`].
    pub path: Box<[u8]>,
    /// The path under which the receiver has it, below what the transfer is for; 1 to [`NAME_LEN_MAX`] octets.
    pub final_name: Box<[u8]>,
}

/// Records under one signature; within the limits, but not verified before [`Group::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    receiver: VerifyingKey,
    sender: VerifyingKey,
    records: Vec<Record>,
    signature: [u8; SIGNATURE_LEN],
}

/// One record with what it needs from its group, to be kept or shown by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who received and signed.
    pub receiver: VerifyingKey,
    /// Whose file it was.
    pub sender: VerifyingKey,
    /// See [`Group::digest`].
    pub group: [u8; HASH_LEN],
    /// What was stated.
    pub record: Record,
}

/// Why records are no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The octets do not begin as a group.
    #[error("these octets are no receipts of tieline")]
    Magic,
    /// A version that is not known.
    #[error("receipts of version `{}`; this tieline knows version `1` only", .0.escape_ascii())]
    Version(u8),
    /// Fewer octets than the fields have.
    #[error("a group of receipts that is cut short")]
    Truncated,
    /// Octets behind the signature.
    #[error("{0} octets follow a group of receipts")]
    Trailing(usize),
    /// No record, or too many.
    #[error("a group of {0} receipts; it has 1 to {RECORDS_MAX}")]
    Count(usize),
    /// A key that proves nothing.
    #[error(transparent)]
    Key(#[from] WeakKey),
    /// A field outside its range.
    #[error("receipt {record} of a group has {value} in field `{field}`")]
    Field {
        /// Which record, counted from 0.
        record: usize,
        /// The field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// A final name that is written out though it is the path as offered.
    #[error("receipt {0} of a group repeats its path as its final name")]
    Repeated(usize),
}

/// Why a group proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It names another receiver.
    #[error("these receipts are signed by {found}, not by {expected}")]
    Receiver {
        /// The key in the group.
        found: VerifyingKey,
        /// The key that was asked for.
        expected: VerifyingKey,
    },
    /// The signature is not one of this key over these records.
    #[error("the signature does not fit these receipts: they were altered, or never signed by {0}")]
    Signature(VerifyingKey),
}

impl TransferId {
    /// Octets of it.
    pub const LEN: usize = 16;

    /// What stands for a transfer where there was none: of what happened to a file while it waited.
    pub const NONE: Self = Self([0; Self::LEN]);

    /// A name that no other transfer has.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut octets = [0; Self::LEN];
        aws_lc_rs::rand::fill(&mut octets).map_err(io::Error::other)?;
        Ok(Self(octets))
    }
}

impl SigningKey {
    /// Signs `records` of files that came from `sender`.
    ///
    /// # Errors
    ///
    /// `Count`; `Field` for a path or a final name that is empty or longer than [`NAME_LEN_MAX`].
    pub fn sign(&self, sender: VerifyingKey, records: Vec<Record>) -> Result<Group, GroupError> {
        check_count(records.len())?;
        for (number, record) in records.iter().enumerate() {
            check_name(number, "path length", record.path.len())?;
            check_name(number, "final name length", record.final_name.len())?;
        }
        let mut group = Group { receiver: self.public(), sender, records, signature: [0; SIGNATURE_LEN] };
        group.signature = self.sign_octets(&group.signed_octets());
        Ok(group)
    }
}

impl Record {
    /// Octets that it has in a group, at most.
    #[must_use]
    pub fn len_max(&self) -> usize {
        RECORD_LEN_MIN + self.path.len() + self.final_name.len()
    }
}

impl Group {
    /// Whether `receiver` signed it. Whose files these were is to be compared as well, see [`Self::sender`].
    ///
    /// # Errors
    ///
    /// `Receiver`, `Signature`.
    pub fn verify(&self, receiver: &VerifyingKey) -> Result<(), VerifyError> {
        if self.receiver != *receiver {
            return Err(VerifyError::Receiver { found: self.receiver, expected: *receiver });
        }
        UnparsedPublicKey::new(&ED25519, receiver.as_bytes())
            .verify(&self.signed_octets(), &self.signature)
            .map_err(|_| VerifyError::Signature(*receiver))
    }

    /// Who received and signed.
    #[must_use]
    pub fn receiver(&self) -> VerifyingKey {
        self.receiver
    }

    /// Whose files these were.
    #[must_use]
    pub fn sender(&self) -> VerifyingKey {
        self.sender
    }

    /// What was stated: 1 to [`RECORDS_MAX`] records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The name of the group: BLAKE3 of its octets, signature included; what `b3sum` says of them.
    #[must_use]
    pub fn digest(&self) -> [u8; HASH_LEN] {
        let mut octets = Vec::new();
        self.emit(&mut octets);
        *blake3::hash(&octets).as_bytes()
    }

    /// Its receipts one by one.
    pub fn into_receipts(self) -> impl Iterator<Item = Receipt> {
        let (receiver, sender, group) = (self.receiver, self.sender, self.digest());
        self.records.into_iter().map(move |record| Receipt { receiver, sender, group, record })
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

fn check_count(records: usize) -> Result<(), GroupError> {
    if (1..=RECORDS_MAX).contains(&records) { Ok(()) } else { Err(GroupError::Count(records)) }
}

fn check_name(record: usize, field: &'static str, len: usize) -> Result<(), GroupError> {
    if (1..=NAME_LEN_MAX).contains(&len) {
        return Ok(());
    }
    Err(GroupError::Field { record, field, value: len as u64 })
}

#[cfg(test)]
mod tests;
