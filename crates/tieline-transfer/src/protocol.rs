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
//! | 0x03 | sender | file | entry (8), size (8), mode (4), mtime seconds (8, signed), nanoseconds (4), path length (2), path |
//! | 0x04 | sender | data | 1 to [`DATA_LEN_MAX`] octets of the file that is open |
//! | 0x05 | sender | file end | BLAKE3 of the whole file (32) |
//! | 0x06 | sender | abandon | why (2): the open file is not to be kept |
//! | 0x07 | sender | end | |
//! | 0x41 | receiver | welcome | version (2) |
//! | 0x42 | receiver | verdict | entry (8), what (1), code (2), detail (8) |
//! | 0x43 | receiver | done | |
//! | 0x44 | receiver | stop | code (2), detail (8) |
//!
//! The hello comes first and waits for welcome or stop; from there nothing waits. The sender streams entries, numbered upwards
//! below the announced count, each file followed by its data and its end; verdicts come back when they are true, in any order,
//! one for every entry that was not abandoned. A verdict "delivered" means: the octets are verified, and they and their name
//! survive a power cut. After the sender's end and the last verdict the receiver says done.
//!
//! Growth: octets behind the known fields of a body are ignored (but data has none). A kind of 0x80 or above that is not known is
//! ignored too, any other unknown kind is a violation: the version in the hello is what allows new ones.

use crate::reason::{Obstacle, StopReason};

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
/// Octets of a BLAKE3 hash.
pub const HASH_LEN: usize = 32;
/// Unknown kinds from here on are ignored.
pub const IGNORABLE_FROM: u8 = 0x80;

const MAGIC: [u8; 4] = *b"TLft";
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const FOLDER: u8 = 0x02;
    pub(super) const FILE: u8 = 0x03;
    pub(super) const DATA: u8 = 0x04;
    pub(super) const FILE_END: u8 = 0x05;
    pub(super) const ABANDON: u8 = 0x06;
    pub(super) const END: u8 = 0x07;
    pub(super) const WELCOME: u8 = 0x41;
    pub(super) const VERDICT: u8 = 0x42;
    pub(super) const DONE: u8 = 0x43;
    pub(super) const STOP: u8 = 0x44;
}

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
    /// An entry number that is not above the last one and below the announced count.
    #[error("entry {entry} out of order or beyond the announced {announced}")]
    Entry {
        /// Its number.
        entry: u64,
        /// How many were announced.
        announced: u64,
    },
    /// More data than the file's declared size.
    #[error("more data than the declared size of entry {0}")]
    BeyondSize(u64),
    /// A verdict on an entry that has none coming.
    #[error("a verdict on entry {0} that has none coming")]
    Verdict(u64),
    /// Done, though verdicts are missing.
    #[error("done, though {0} verdicts are missing")]
    DoneTooEarly(u64),
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

/// A time of last modification, as Linux has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Octets that follow.
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

/// A message of the receiving end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverMessage {
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
    /// The receiver ends the transfer; entries without a verdict are not delivered.
    Stop(StopReason),
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

impl<'a> SenderMessage<'a> {
    /// Reads a frame: the octets that followed its prefix.
    ///
    /// # Errors
    ///
    /// `EmptyFrame`, `UnknownKind`, `Truncated`, `Magic`, `Field`.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Violation> {
        let mut fields = Fields::of(frame)?;
        Ok(match fields.kind {
            kind::HELLO => Self::Hello(parse_hello(&mut fields)?),
            kind::FOLDER => {
                let (entry, mode) = (fields.u64()?, fields.u32()?);
                Self::Folder(FolderOffer { entry, mode, path: fields.path()? })
            }
            kind::FILE => {
                let (entry, size, mode) = (fields.u64()?, fields.u64()?, fields.u32()?);
                let modified = fields.time()?;
                Self::File(FileOffer { entry, size, mode, modified, path: fields.path()? })
            }
            kind::DATA if fields.rest.is_empty() => return Err(Violation::Truncated(kind::DATA)),
            kind::DATA => Self::Data(fields.rest),
            kind::FILE_END => Self::FileEnd { hash: fields.take()? },
            kind::ABANDON => Self::Abandon { code: fields.u16()? },
            kind::END => Self::End,
            unknown => Self::Unknown(fields.ignorable(unknown)?),
        })
    }

    /// Appends the frame with its prefix to `out`.
    ///
    /// A path longer than [`crate::path::PATH_LEN_MAX`] or data longer than [`DATA_LEN_MAX`] is the caller's mistake; the
    /// other end refuses the frame.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Hello(hello) => frame(out, kind::HELLO, |out| {
                out.extend(MAGIC);
                out.extend(hello.oldest.to_be_bytes());
                out.extend(hello.newest.to_be_bytes());
                out.extend(hello.entries.to_be_bytes());
                out.extend(hello.bytes.to_be_bytes());
            }),
            Self::Folder(folder) => frame(out, kind::FOLDER, |out| {
                out.extend(folder.entry.to_be_bytes());
                out.extend(folder.mode.to_be_bytes());
                emit_path(out, folder.path);
            }),
            Self::File(file) => frame(out, kind::FILE, |out| {
                out.extend(file.entry.to_be_bytes());
                out.extend(file.size.to_be_bytes());
                out.extend(file.mode.to_be_bytes());
                out.extend(file.modified.seconds.to_be_bytes());
                out.extend(file.modified.nanoseconds.to_be_bytes());
                emit_path(out, file.path);
            }),
            Self::Data(data) => frame(out, kind::DATA, |out| out.extend_from_slice(data)),
            Self::FileEnd { hash } => frame(out, kind::FILE_END, |out| out.extend(hash)),
            Self::Abandon { code } => frame(out, kind::ABANDON, |out| out.extend(code.to_be_bytes())),
            Self::End => frame(out, kind::END, |_| ()),
            Self::Unknown(kind) => frame(out, kind, |_| ()),
        }
    }

    /// The number of this kind of message.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Folder(_) => kind::FOLDER,
            Self::File(_) => kind::FILE,
            Self::Data(_) => kind::DATA,
            Self::FileEnd { .. } => kind::FILE_END,
            Self::Abandon { .. } => kind::ABANDON,
            Self::End => kind::END,
            Self::Unknown(kind) => *kind,
        }
    }
}

impl ReceiverMessage {
    /// Reads a frame: the octets that followed its prefix.
    ///
    /// # Errors
    ///
    /// `EmptyFrame`, `UnknownKind`, `Truncated`, `Field`.
    pub fn parse(frame: &[u8]) -> Result<Self, Violation> {
        let mut fields = Fields::of(frame)?;
        Ok(match fields.kind {
            kind::WELCOME => Self::Welcome { version: fields.u16()? },
            kind::VERDICT => {
                let (entry, what) = (fields.u64()?, fields.u8()?);
                let (code, detail) = (fields.u16()?, fields.u64()?);
                Self::Verdict { entry, verdict: parse_verdict(what, code, detail)? }
            }
            kind::DONE => Self::Done,
            kind::STOP => {
                let code = fields.u16()?;
                Self::Stop(StopReason::from_wire(code, fields.u64()?))
            }
            unknown => Self::Unknown(fields.ignorable(unknown)?),
        })
    }

    /// Appends the frame with its prefix to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Welcome { version } => frame(out, kind::WELCOME, |out| out.extend(version.to_be_bytes())),
            Self::Verdict { entry, verdict } => frame(out, kind::VERDICT, |out| {
                let (what, code, detail) = match verdict {
                    Verdict::Delivered { copy } => (verdict::DELIVERED, 0, u64::from(copy)),
                    Verdict::AlreadyThere { copy } => (verdict::ALREADY_THERE, 0, u64::from(copy)),
                    Verdict::Refused(obstacle) => with_obstacle(verdict::REFUSED, obstacle),
                    Verdict::Failed(obstacle) => with_obstacle(verdict::FAILED, obstacle),
                    Verdict::Other(what) => (what, 0, 0),
                };
                out.extend(entry.to_be_bytes());
                out.push(what);
                out.extend(code.to_be_bytes());
                out.extend(detail.to_be_bytes());
            }),
            Self::Done => frame(out, kind::DONE, |_| ()),
            Self::Stop(reason) => frame(out, kind::STOP, |out| {
                let (code, detail) = reason.to_wire();
                out.extend(code.to_be_bytes());
                out.extend(detail.to_be_bytes());
            }),
            Self::Unknown(kind) => frame(out, kind, |_| ()),
        }
    }

    /// The number of this kind of message.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Welcome { .. } => kind::WELCOME,
            Self::Verdict { .. } => kind::VERDICT,
            Self::Done => kind::DONE,
            Self::Stop(_) => kind::STOP,
            Self::Unknown(kind) => *kind,
        }
    }
}

/// Appends one frame whose body `body` writes.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; PREFIX_LEN]);
    out.push(kind);
    body(out);
    let len = u32::try_from(out.len() - start - PREFIX_LEN).unwrap_or(u32::MAX);
    out[start..start + PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
}

/// The kind of a data message, for [`frame`].
pub(crate) const DATA: u8 = kind::DATA;

mod verdict {
    pub(super) const DELIVERED: u8 = 1;
    pub(super) const ALREADY_THERE: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const FAILED: u8 = 4;
}

fn with_obstacle(what: u8, obstacle: Obstacle) -> (u8, u16, u64) {
    let (code, detail) = obstacle.to_wire();
    (what, code, detail)
}

fn parse_verdict(what: u8, code: u16, detail: u64) -> Result<Verdict, Violation> {
    let copy = || match u32::try_from(detail) {
        Ok(copy) if copy >= 1 => Ok(copy),
        _ => Err(Violation::Field { kind: kind::VERDICT, field: "copy", value: detail }),
    };
    Ok(match what {
        verdict::DELIVERED => Verdict::Delivered { copy: copy()? },
        verdict::ALREADY_THERE => Verdict::AlreadyThere { copy: copy()? },
        verdict::REFUSED => Verdict::Refused(Obstacle::from_wire(code, detail)),
        verdict::FAILED => Verdict::Failed(Obstacle::from_wire(code, detail)),
        other => Verdict::Other(other),
    })
}

fn parse_hello(fields: &mut Fields<'_>) -> Result<Hello, Violation> {
    if fields.take()? != MAGIC {
        return Err(Violation::Magic);
    }
    let (oldest, newest) = (fields.u16()?, fields.u16()?);
    if oldest > newest {
        return Err(Violation::Field { kind: kind::HELLO, field: "oldest", value: u64::from(oldest) });
    }
    Ok(Hello { oldest, newest, entries: fields.u64()?, bytes: fields.u64()? })
}

fn emit_path(out: &mut Vec<u8>, path: &[u8]) {
    out.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(path);
}

/// The fields of a body, taken from the front.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(frame: &'a [u8]) -> Result<Self, Violation> {
        match frame {
            [] => Err(Violation::EmptyFrame),
            [..] if frame.len() > FRAME_LEN_MAX => {
                Err(Violation::FrameTooLong(u32::try_from(frame.len()).unwrap_or(u32::MAX)))
            }
            [kind, rest @ ..] => Ok(Self { kind: *kind, rest }),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Violation::Truncated(self.kind))?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, Violation> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Violation> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Violation> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Violation> {
        self.take().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<FileTime, Violation> {
        let (seconds, nanoseconds) = (self.take().map(i64::from_be_bytes)?, self.u32()?);
        if nanoseconds >= NANOSECONDS_PER_SECOND {
            return Err(Violation::Field {
                kind: self.kind,
                field: "nanoseconds",
                value: u64::from(nanoseconds),
            });
        }
        Ok(FileTime { seconds, nanoseconds })
    }

    fn path(&mut self) -> Result<&'a [u8], Violation> {
        let len = usize::from(self.u16()?);
        let (path, rest) = self.rest.split_at_checked(len).ok_or(Violation::Truncated(self.kind))?;
        self.rest = rest;
        Ok(path)
    }

    fn ignorable(&self, kind: u8) -> Result<u8, Violation> {
        if kind >= IGNORABLE_FROM { Ok(kind) } else { Err(Violation::UnknownKind(kind)) }
    }
}

/// Whether a frame is the sender's end, after which it sends nothing.
pub(crate) fn is_end(frame: &[u8]) -> bool {
    frame.first() == Some(&kind::END)
}
