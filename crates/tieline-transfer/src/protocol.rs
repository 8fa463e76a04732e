//! The messages of a transfer, octet by octet.
//!
//! A transfer is one reliable stream. Everything on it is a frame, numbers big-endian:
//!
//! | 0: length of what follows, 1 to [`FRAME_LEN_MAX`] (4) | 4: kind (1) | 5: body |
//!
//! | kind | from | message | body |
//! |---|---|---|---|
//! | 0x01 | sender | hello | magic `TLft` (4), oldest version (2), newest version (2), entries (8), octets (8) |
//! | 0x02 | sender | folder | entry (8), mode (4), path length (2), path |
//! | 0x03 | sender | file | entry (8), stamp (16), size (8), mode (4), mtime seconds (8, signed), nanoseconds (4), path length (2), path |
//! | 0x04 | sender | data | 1 to [`DATA_LEN_MAX`] octets of the file that is open |
//! | 0x05 | sender | file end | BLAKE3 of the whole file (32) |
//! | 0x06 | sender | abandon | why (2): the open file is not to be kept |
//! | 0x07 | sender | end | |
//! | 0x08 | sender | ask | as file: from where is its data wanted? |
//! | 0x09 | sender | body | entry (8), from (8): the file that was asked about is open, its data from there on follows |
//! | 0x0a | sender | identify | transfer (16), key (32): asks for receipts, right after the hello |
//! | 0x0b | sender | claim | BLAKE3 (32), then as ask: a file with this content may be there already |
//! | 0x0c | sender | want sums | entry (8), the next octets of a request of [sums](crate::delta), which go ends |
//! | 0x0d | sender | copy | from (8), length (8): octets of the old version, the next ones of the open file |
//! | 0x0e | sender | packed | length (4), the same as data of that length, [compressed](crate::compress) |
//! | 0x10 | sender | attributes | entry (8), items: what is told of the entry that follows besides its offer |
//! | 0x11 | sender | hole | length (8): so many zeros of the open file, 1 to [`HOLE_LEN_MAX`], that take no room |
//! | 0x12 | sender | link | entry (8), mtime seconds (8, signed), nanoseconds (4), target length (2), target, path length (2), path |
//! | 0x18 | sender | mirror | flags (1): 1 what is not listed is removed, 2 content is compared; key (32). Before the first entry |
//! | 0x19 | sender | listing | octets that it becomes (4), records of [`mirror`](crate::mirror), compressed |
//! | 0x1a | sender | listed | |
//! | 0x1b | sender | bundle | octets that it becomes (4), [frames](crate::bundle), compressed |
//! | 0x41 | receiver | welcome | version (2) |
//! | 0x42 | receiver | verdict | entry (8), what (1), code (2), detail (8) |
//! | 0x43 | receiver | done | |
//! | 0x44 | receiver | stop | code (2), detail (8) |
//! | 0x45 | receiver | go | entry (8), from (8): what is before that is here |
//! | 0x46 | receiver | receipt | the octets of a [`Group`](crate::receipt::Group) |
//! | 0x47 | receiver | identify | key (32): the answer to the sender's |
//! | 0x48 | receiver | sums | entry (8), the next octets of sums of an old version; before go |
//! | 0x4c | receiver | wanted | first entry (8), count (8), flags (1): of what was listed, these are to be sent; 1 other versions of them are there |
//! | 0x4d | receiver | checked | after the last wanted: everything else that was listed is as it should be |
//! | 0x4e | receiver | removed | files (8), folders (8), what could not be removed (8): before done, of a mirror that removes |
//! | 0x4f | receiver | bundle | octets that it becomes (4), [frames](crate::bundle), compressed |
//!
//! Nothing waits for an answer but files of which something may be at the receiving end. The hello comes first; the sender streams
//! entries, each with a number of its own below the announced count, each file followed by its data and its end. It asks first about a large one, a part
//! of which may be there from a transfer that was cut, told by its path and its stamp ([`Stamp`]); about a small one where it knows
//! that an older version is there; and it claims that one is there whose content it has sent before, under whatever name. Up to
//! [`ASKED_MAX`] questions about large files may be open while other entries go on, and [`ASKED_SMALL_MAX`] about others. Each is followed
//! by go, and then by body, data and end, or by a verdict. What a go says is there is a multiple of
//! [`PIECE_LEN`](crate::content::PIECE_LEN), or all of it.
//!
//! Sums before a go say that there is an old version, under the same name: first a request as the receiver chose it, then the sums that
//! it asks for ([`crate::delta`]). The sender may want others, once, with want sums, and gets them without the request, and
//! another go; then it sends body, and after it copies of the old version where it found something of it, and data between. At
//! most [`SUMS_OPEN_MAX`] octets of sums are under way, or not followed by body or want sums.
//!
//! Verdicts come back when they are true, in any order, one for every entry that was not abandoned. A verdict "delivered" means: the
//! octets are verified, and they and their name survive a power cut. After the sender's end and the last verdict the receiver says done.
//!
//! A sender that identifies itself names the transfer and the key that receipts for it are to be made out to. A receiver that signs
//! answers with its own key, and from then on sends each group of receipts before the verdicts that it is about: a verdict "delivered"
//! or "already there" on a file has a receipt before it, and all verdicts that a group is about come before the next group. Both keys
//! are as authentic as the stream. An end that knows the other's key takes no other, and no verdict without a receipt.
//!
//! Attributes come right before the offer of their entry, if there is anything to be told; what an item is says
//! [`metadata`](crate::metadata). A hole takes the place of data: its zeros are part of the file and of its hash.
//!
//! Either end may put frames that leave together into a [bundle](crate::bundle), which stands for them. Hello, welcome and what ends a
//! transfer before its end go as they are.
//!
//! A symbolic link is a text of 1 to [`PATH_LEN_MAX`](crate::path::PATH_LEN_MAX) octets without NUL. For a receipt it is a file with the target
//! as its content.
//!
//! Growth: octets behind the known fields of a body are ignored (but data, attributes and receipts have none). A kind of 0x80 or above that is not known is
//! ignored too, any other unknown kind is a violation: the version in the hello is what allows new ones.

use crate::delta::DeltaViolation;
use crate::holes::HOLE_LEN_MAX;
use crate::mirror::{FingerprintKey, ListingFault, MirrorRules};
use crate::reason::{Obstacle, StopReason};
use crate::receipt::{GroupError, KeyChanged, TransferId, VerifyError, VerifyingKey, WeakKey};
use crate::stamp::Stamp;

mod octets;

pub use crate::content::HASH_LEN;
pub(crate) use octets::{is_bundle, is_end, is_of_mirror, receiver_bundle, sender_bundle};

/// Octets of the length before each frame.
pub const PREFIX_LEN: usize = 4;
/// Octets of a file in one message.
pub const DATA_LEN_MAX: usize = 64 * 1024;
/// The longest frame: a full data message.
pub const FRAME_LEN_MAX: usize = 1 + DATA_LEN_MAX;
/// The version described here, and the only one so far.
pub const VERSION: u16 = 1;
/// Files and folders of one transfer; bounds what the sender keeps of them.
pub const ENTRIES_MAX: u64 = 1_000_000;
/// Questions about files longer than a piece that may be open at once; bounds the files that a receiver holds open for them.
pub const ASKED_MAX: usize = 32;
/// Questions about shorter ones; as many as go by within a round trip.
pub const ASKED_SMALL_MAX: usize = 1024;
/// Octets of sums that no use was made of yet; bounds what either end holds of them. The longest sums are shorter.
pub const SUMS_OPEN_MAX: usize = 16 << 20;
/// Unknown kinds from here on are ignored.
pub const IGNORABLE_FROM: u8 = 0x80;

/// How the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame without a kind.
    #[error("an empty frame")]
    EmptyFrame,
    /// A frame longer than [`FRAME_LEN_MAX`].
    #[error("a frame of {0} octets; {FRAME_LEN_MAX} are allowed")]
    FrameTooLong(u32),
    /// A kind that is neither known nor ignorable.
    #[error("a message of unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// A body with fewer octets than its fields have.
    #[error("a message of kind {0:#04x} that is cut short")]
    Truncated(u8),
    /// A hello without the magic: this is no tieline file transfer.
    #[error("the stream does not start as a file transfer")]
    Magic,
    /// A field outside its range.
    #[error("a message of kind {kind:#04x} with {value} in field `{field}`")]
    Field {
        /// The message.
        kind: u8,
        /// The field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// A message that has no place in the present state.
    #[error("a message of kind {0:#04x} where it does not belong")]
    OutOfPlace(u8),
    /// An entry number that came before, or is not below the announced count.
    #[error("entry {entry} for the second time, or beyond the announced {announced}")]
    Entry {
        /// Its number.
        entry: u64,
        /// How many were announced.
        announced: u64,
    },
    /// More open questions than [`ASKED_MAX`] or [`ASKED_SMALL_MAX`].
    #[error(
        "more than {ASKED_MAX} questions about large files at once, or {ASKED_SMALL_MAX} about small ones"
    )]
    TooManyAsked,
    /// Sums, a request of them or a copy that is none.
    #[error(transparent)]
    Delta(#[from] DeltaViolation),
    /// Sums where none have a place, or more than [`SUMS_OPEN_MAX`].
    #[error("sums for entry {0} that were not asked for, or are too many")]
    Sums(u64),
    /// A copy of what there is not in the old version of the file, or of a file that has none.
    #[error("a copy for entry {entry} from octet {from} of an old version that does not have it")]
    Copy {
        /// Of which file.
        entry: u64,
        /// From where.
        from: u64,
    },
    /// Packed data that cannot be made what it was.
    #[error("packed data that is not {0} octets")]
    Packed(usize),
    /// More data than the file's declared size.
    #[error("more data than the declared size of entry {0}")]
    BeyondSize(u64),
    /// A verdict on an entry that has none coming.
    #[error("a verdict on entry {0} that has none coming")]
    Verdict(u64),
    /// An answer to no question, or with a place from which no file goes on.
    #[error("entry {entry} is to go on from octet {from}, which was not asked or cannot be")]
    Answer {
        /// Which.
        entry: u64,
        /// From where.
        from: u64,
    },
    /// Done, though verdicts are missing.
    #[error("done, though {0} verdicts are missing")]
    DoneTooEarly(u64),
    /// A key that proves nothing, or another one than the peer is known to have.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// Octets that are no receipts.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Receipts that prove nothing.
    #[error(transparent)]
    Unproved(#[from] VerifyError),
    /// Receipts for somebody else.
    #[error("receipts that are made out to {0}, who is not this end")]
    OtherSender(VerifyingKey),
    /// A receipt that does not fit what was sent, or has no verdict.
    #[error("a receipt for entry {0} that does not fit what was sent and what is said of it")]
    Receipt(u64),
    /// A verdict that needs a receipt and has none.
    #[error("entry {0} is said to be delivered, without a receipt")]
    NoReceipt(u64),
    /// A hole of no octets, or of more than one may have.
    #[error("a hole of {0} octets; 1 to {HOLE_LEN_MAX} are allowed")]
    Hole(u64),
    /// Attributes that are none, or that the offer of their entry does not follow.
    #[error("attributes of entry {0} that are none, or without its offer")]
    Attributes(u64),
    /// A bundle that cannot be taken apart.
    #[error("a bundle of frames that is none")]
    Bundle,
    /// A listing that cannot be one.
    #[error("a listing of a mirror {0}")]
    Listing(ListingFault),
    /// The receiver wants entries that were not listed, or wants them twice.
    #[error("{count} entries from {first} on are wanted, which were not listed or are wanted already")]
    Wanted {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// What is wrong with a key that the peer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It proves nothing.
    #[error(transparent)]
    Weak(#[from] WeakKey),
    /// It is another one than before.
    #[error(transparent)]
    Changed(#[from] KeyChanged),
}

impl Violation {
    /// The number by which it is reported to the peer; for people who compare two logs.
    #[must_use]
    pub fn code(self) -> u64 {
        match self {
            Self::EmptyFrame => 1,
            Self::FrameTooLong(_) => 2,
            Self::UnknownKind(_) => 3,
            Self::Truncated(_) => 4,
            Self::Magic => 5,
            Self::Field { .. } => 6,
            Self::OutOfPlace(_) => 7,
            Self::Entry { .. } => 8,
            Self::BeyondSize(_) => 9,
            Self::Verdict(_) => 10,
            Self::DoneTooEarly(_) => 11,
            Self::TooManyAsked => 12,
            Self::Answer { .. } => 13,
            Self::Key(_) => 14,
            Self::Group(_) => 15,
            Self::Unproved(_) => 16,
            Self::OtherSender(_) => 17,
            Self::Receipt(_) => 18,
            Self::NoReceipt(_) => 19,
            Self::Hole(_) => 30,
            Self::Attributes(_) => 31,
            Self::Packed(_) => 20,
            Self::Delta(_) => 21,
            Self::Sums(_) => 22,
            Self::Copy { .. } => 23,
            Self::Listing(_) => 40,
            Self::Wanted { .. } => 41,
            Self::Bundle => 42,
        }
    }
}

/// What the sender is about to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it speaks.
    pub oldest: u16,
    /// The newest version that it speaks; not below `oldest`.
    pub newest: u16,
    /// Files and folders at most; entry numbers stay below.
    pub entries: u64,
    /// Octets of all files, as far as was known before the first was read.
    pub bytes: u64,
}

/// A time of last modification, as Linux has it; the later is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Below 10^9.
    pub nanoseconds: u32,
}

/// A file that follows. The path is as it came; see [`crate::RelativePath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOffer<'a> {
    /// Its number in this transfer.
    pub entry: u64,
    /// Which version of the file it is.
    pub stamp: Stamp,
    /// Octets of the whole file.
    pub size: u64,
    /// Permission bits; the receiver keeps some of them.
    pub mode: u32,
    /// When it was modified.
    pub modified: FileTime,
    /// Where it belongs.
    pub path: &'a [u8],
}

/// A folder that is to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderOffer<'a> {
    /// Its number in this transfer.
    pub entry: u64,
    /// Permission bits; the receiver keeps some of them.
    pub mode: u32,
    /// Where it belongs.
    pub path: &'a [u8],
}

/// A symbolic link that is to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOffer<'a> {
    /// Its number in this transfer.
    pub entry: u64,
    /// When it was modified.
    pub modified: FileTime,
    /// What it says.
    pub target: &'a [u8],
    /// Where it belongs.
    pub path: &'a [u8],
}

/// A message of the sending end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderMessage<'a> {
    /// Opens the transfer.
    Hello(Hello),
    /// A folder.
    Folder(FolderOffer<'a>),
    /// A file; its data follows.
    File(FileOffer<'a>),
    /// The next octets of the open file.
    Data(&'a [u8]),
    /// The open file is whole.
    FileEnd {
        /// BLAKE3 of all its data.
        hash: [u8; HASH_LEN],
    },
    /// The open file is not to be kept.
    Abandon {
        /// Why, for the receiver's log: 1 changed while it was read, 2 cannot be read further, 3 the receiver wants no more of it.
        code: u16,
    },
    /// Nothing more follows.
    End,
    /// A file; from where is its data wanted?
    Ask(FileOffer<'a>),
    /// The file that was asked about is open; its data follows.
    Body {
        /// Which.
        entry: u64,
        /// Where the data begins: as the receiver said.
        from: u64,
    },
    /// Asks for receipts.
    Identify {
        /// The name of the transfer.
        transfer: TransferId,
        /// Whom they are to be made out to.
        key: VerifyingKey,
    },
    /// As ask, about a file that may be there under whatever name.
    Claim {
        /// BLAKE3 of its content.
        hash: [u8; HASH_LEN],
        /// The file.
        offer: FileOffer<'a>,
    },
    /// The next octets of a request of sums of the old version.
    WantSums {
        /// Of which file.
        entry: u64,
        /// Not empty.
        octets: &'a [u8],
    },
    /// The next octets of the open file are in its old version.
    Copy {
        /// Where.
        from: u64,
        /// How many; not 0.
        len: u64,
    },
    /// The next octets of the open file, made shorter.
    Packed {
        /// How many they are.
        len: usize,
        /// What they were made to; see [`crate::compress`].
        octets: &'a [u8],
    },
    /// What is told of the entry that follows.
    Attributes {
        /// Which.
        entry: u64,
        /// See [`crate::metadata`].
        items: &'a [u8],
    },
    /// Zeros of the open file that take no room.
    Hole {
        /// How many; at most [`HOLE_LEN_MAX`].
        len: u64,
    },
    /// A symbolic link.
    Link(LinkOffer<'a>),
    /// The folder of this transfer is a mirror of what is listed next.
    Mirror {
        /// How it is kept.
        rules: MirrorRules,
        /// What the fingerprints in the listing depend on.
        key: FingerprintKey,
    },
    /// What is to be in the mirror: records, compressed.
    Listing {
        /// Octets of the records.
        len: u32,
        /// The next block of the stream that they are compressed in.
        packed: &'a [u8],
    },
    /// That was all.
    Listed,
    /// Frames that left together.
    Bundle {
        /// Octets of them.
        len: u32,
        /// The next block of the stream that they are compressed in.
        packed: &'a [u8],
    },
    /// An ignorable kind of a later version.
    Unknown(u8),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored, verified and durable under the name with this copy number, see [`crate::path::copy_name`].
    Delivered {
        /// 1 is its own name.
        copy: u32,
    },
    /// The same content was there under the name with this copy number.
    AlreadyThere {
        /// 1 is its own name.
        copy: u32,
    },
    /// The receiver does not take it.
    Refused(Obstacle),
    /// The receiver tried and could not.
    Failed(Obstacle),
    /// A verdict of a later version: certainly not "delivered".
    Other(u8),
}

/// Entries of a mirror that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedRun {
    /// The first.
    pub first: u64,
    /// How many follow one another.
    pub count: u64,
    /// Whether another version of each is there, so that asking about it pays.
    pub has_old: bool,
}

/// How much was removed of a mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Files, links and whatever else is no folder.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// What could not be removed; the receiver's log says why.
    pub left: u64,
}

/// A message of the receiving end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverMessage<'a> {
    /// Send.
    Welcome {
        /// The version spoken from here on.
        version: u16,
    },
    /// What became of an entry.
    Verdict {
        /// Which.
        entry: u64,
        /// What.
        verdict: Verdict,
    },
    /// Every entry has its verdict.
    Done,
    /// The data of a file that was asked about is wanted.
    Go {
        /// Which.
        entry: u64,
        /// From there on: a multiple of [`PIECE_LEN`](crate::content::PIECE_LEN), or the size.
        from: u64,
    },
    /// The receiver ends the transfer; entries without a verdict are not delivered.
    Stop(StopReason),
    /// Receipts for entries whose verdicts follow: the octets of a [`Group`](crate::receipt::Group).
    Receipt(&'a [u8]),
    /// There will be receipts.
    Identify {
        /// Who signs them.
        key: VerifyingKey,
    },
    /// The next octets of sums of the old version of a file.
    Sums {
        /// Which.
        entry: u64,
        /// Not empty.
        octets: &'a [u8],
    },
    /// Entries that were listed and are not there as they should be.
    Wanted(WantedRun),
    /// All others that were listed are.
    Checked,
    /// What was not listed was removed.
    Removed(Removed),
    /// Frames that left together.
    Bundle {
        /// Octets of them.
        len: u32,
        /// The next block of the stream that they are compressed in.
        packed: &'a [u8],
    },
    /// An ignorable kind of a later version.
    Unknown(u8),
}

/// How many octets follow a prefix.
///
/// # Errors
///
/// `EmptyFrame`, `FrameTooLong`.
pub fn frame_len(prefix: [u8; PREFIX_LEN]) -> Result<usize, Violation> {
    match u32::from_be_bytes(prefix) {
        0 => Err(Violation::EmptyFrame),
        len if len as usize > FRAME_LEN_MAX => Err(Violation::FrameTooLong(len)),
        len => Ok(len as usize),
    }
}
