//! Messages to octets and back; the layout is in the table of [`super`].

use super::{
    DATA_LEN_MAX, FRAME_LEN_MAX, FileOffer, FileTime, FolderOffer, Hello, IGNORABLE_FROM, KeyFault,
    LinkOffer, PREFIX_LEN, ReceiverMessage, Removed, SenderMessage, Verdict, Violation, WantedRun,
};
use crate::mirror::{FingerprintKey, MirrorRules};
use crate::path::PATH_LEN_MAX;
use crate::reason::{Obstacle, StopReason};
use crate::receipt::{TransferId, VerifyingKey};
use crate::stamp::Stamp;

const MAGIC: [u8; 4] = *b"TLft";
/// Flags of a mirror.
const MIRROR_REMOVES: u8 = 1;
const MIRROR_BY_CONTENT: u8 = 2;
const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const FOLDER: u8 = 0x02;
    pub(super) const FILE: u8 = 0x03;
    pub(super) const DATA: u8 = 0x04;
    pub(super) const FILE_END: u8 = 0x05;
    pub(super) const ABANDON: u8 = 0x06;
    pub(super) const END: u8 = 0x07;
    pub(super) const ASK: u8 = 0x08;
    pub(super) const BODY: u8 = 0x09;
    pub(super) const IDENTIFY: u8 = 0x0a;
    pub(super) const CLAIM: u8 = 0x0b;
    pub(super) const WANT_SUMS: u8 = 0x0c;
    pub(super) const COPY: u8 = 0x0d;
    pub(super) const PACKED: u8 = 0x0e;
    pub(super) const ATTRIBUTES: u8 = 0x10;
    pub(super) const HOLE: u8 = 0x11;
    pub(super) const LINK: u8 = 0x12;
    pub(super) const MIRROR: u8 = 0x18;
    pub(super) const LISTING: u8 = 0x19;
    pub(super) const LISTED: u8 = 0x1a;
    pub(super) const BUNDLE: u8 = 0x1b;
    pub(super) const WELCOME: u8 = 0x41;
    pub(super) const VERDICT: u8 = 0x42;
    pub(super) const DONE: u8 = 0x43;
    pub(super) const STOP: u8 = 0x44;
    pub(super) const GO: u8 = 0x45;
    pub(super) const RECEIPT: u8 = 0x46;
    pub(super) const RECEIVER_IDENTIFY: u8 = 0x47;
    pub(super) const SUMS: u8 = 0x48;
    pub(super) const WANTED: u8 = 0x4c;
    pub(super) const CHECKED: u8 = 0x4d;
    pub(super) const REMOVED: u8 = 0x4e;
    pub(super) const RECEIVER_BUNDLE: u8 = 0x4f;
}

impl<'a> SenderMessage<'a> {
    /// Reads a frame: the octets that followed its prefix.
    ///
    /// # Errors
    ///
    /// `EmptyFrame`, `UnknownKind`, `Truncated`, `Magic`, `Field`, `Key`.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Violation> {
        let mut fields = Fields::of(frame)?;
        Ok(match fields.kind {
            kind::HELLO => Self::Hello(parse_hello(&mut fields)?),
            kind::FOLDER => {
                let (entry, mode) = (fields.u64()?, fields.u32()?);
                Self::Folder(FolderOffer { entry, mode, path: fields.path()? })
            }
            kind::FILE => Self::File(parse_file(&mut fields)?),
            kind::DATA if fields.rest.is_empty() => return Err(Violation::Truncated(kind::DATA)),
            kind::DATA => Self::Data(fields.rest),
            kind::FILE_END => Self::FileEnd { hash: fields.take()? },
            kind::ABANDON => Self::Abandon { code: fields.u16()? },
            kind::END => Self::End,
            kind::ASK => Self::Ask(parse_file(&mut fields)?),
            kind::BODY => Self::Body { entry: fields.u64()?, from: fields.u64()? },
            kind::IDENTIFY => Self::Identify { transfer: TransferId(fields.take()?), key: fields.key()? },
            kind::ATTRIBUTES => Self::Attributes { entry: fields.u64()?, items: fields.rest },
            kind::HOLE => Self::Hole { len: fields.u64()? },
            kind::CLAIM => Self::Claim { hash: fields.take()?, offer: parse_file(&mut fields)? },
            kind::WANT_SUMS => Self::WantSums { entry: fields.u64()?, octets: fields.rest()? },
            kind::COPY => parse_copy(&mut fields)?,
            kind::PACKED => parse_packed(&mut fields)?,
            kind::LINK => Self::Link(parse_link(&mut fields)?),
            kind::MIRROR => parse_mirror(&mut fields)?,
            kind::LISTING => Self::Listing { len: fields.u32()?, packed: fields.rest()? },
            kind::LISTED => Self::Listed,
            kind::BUNDLE => Self::Bundle { len: fields.u32()?, packed: fields.rest()? },
            unknown => Self::Unknown(fields.ignorable(unknown)?),
        })
    }

    /// Appends the frame with its prefix to `out`.
    ///
    /// A path longer than [`crate::path::PATH_LEN_MAX`] or data longer than [`super::DATA_LEN_MAX`] is the caller's mistake; the
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
            Self::File(file) => frame(out, kind::FILE, |out| emit_file(out, &file)),
            Self::Data(data) => frame(out, kind::DATA, |out| out.extend_from_slice(data)),
            Self::FileEnd { hash } => frame(out, kind::FILE_END, |out| out.extend(hash)),
            Self::Abandon { code } => frame(out, kind::ABANDON, |out| out.extend(code.to_be_bytes())),
            Self::End => frame(out, kind::END, |_| ()),
            Self::Ask(file) => frame(out, kind::ASK, |out| emit_file(out, &file)),
            Self::Body { entry, from } => frame(out, kind::BODY, |out| emit_place(out, entry, from)),
            Self::Identify { transfer, key } => frame(out, kind::IDENTIFY, |out| {
                out.extend(transfer.0);
                out.extend(key.as_bytes());
            }),
            Self::Attributes { entry, items } => frame(out, kind::ATTRIBUTES, |out| {
                out.extend(entry.to_be_bytes());
                out.extend_from_slice(items);
            }),
            Self::Hole { len } => frame(out, kind::HOLE, |out| out.extend(len.to_be_bytes())),
            Self::Claim { hash, offer } => frame(out, kind::CLAIM, |out| {
                out.extend(hash);
                emit_file(out, &offer);
            }),
            Self::WantSums { entry, octets } => {
                frame(out, kind::WANT_SUMS, |out| emit_part(out, entry, octets))
            }
            Self::Copy { from, len } => frame(out, kind::COPY, |out| emit_place(out, from, len)),
            Self::Packed { len, octets } => frame(out, kind::PACKED, |out| {
                out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
                out.extend_from_slice(octets);
            }),
            Self::Link(link) => frame(out, kind::LINK, |out| {
                out.extend(link.entry.to_be_bytes());
                emit_time(out, link.modified);
                emit_path(out, link.target);
                emit_path(out, link.path);
            }),
            Self::Mirror { rules: MirrorRules { removes, by_content }, key } => {
                frame(out, kind::MIRROR, |out| {
                    out.push(u8::from(removes) * MIRROR_REMOVES + u8::from(by_content) * MIRROR_BY_CONTENT);
                    out.extend(key.0);
                });
            }
            Self::Listing { len, packed } => {
                frame(out, kind::LISTING, |out| emit_compressed(out, len, packed))
            }
            Self::Listed => frame(out, kind::LISTED, |_| ()),
            Self::Bundle { len, packed } => frame(out, kind::BUNDLE, |out| emit_compressed(out, len, packed)),
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
            Self::Ask(_) => kind::ASK,
            Self::Body { .. } => kind::BODY,
            Self::Identify { .. } => kind::IDENTIFY,
            Self::Attributes { .. } => kind::ATTRIBUTES,
            Self::Hole { .. } => kind::HOLE,
            Self::Claim { .. } => kind::CLAIM,
            Self::WantSums { .. } => kind::WANT_SUMS,
            Self::Copy { .. } => kind::COPY,
            Self::Packed { .. } => kind::PACKED,
            Self::Link(_) => kind::LINK,
            Self::Mirror { .. } => kind::MIRROR,
            Self::Listing { .. } => kind::LISTING,
            Self::Listed => kind::LISTED,
            Self::Bundle { .. } => kind::BUNDLE,
            Self::Unknown(kind) => *kind,
        }
    }
}

impl<'a> ReceiverMessage<'a> {
    /// Reads a frame: the octets that followed its prefix.
    ///
    /// # Errors
    ///
    /// `EmptyFrame`, `UnknownKind`, `Truncated`, `Field`, `Key`. Receipts are not looked at.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Violation> {
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
            kind::GO => Self::Go { entry: fields.u64()?, from: fields.u64()? },
            kind::RECEIPT => Self::Receipt(fields.rest),
            kind::RECEIVER_IDENTIFY => Self::Identify { key: fields.key()? },
            kind::SUMS => Self::Sums { entry: fields.u64()?, octets: fields.rest()? },
            kind::WANTED => {
                let (first, count) = (fields.u64()?, fields.u64()?);
                Self::Wanted(WantedRun { first, count, has_old: fields.flag("flags")? })
            }
            kind::CHECKED => Self::Checked,
            kind::REMOVED => {
                let (files, folders) = (fields.u64()?, fields.u64()?);
                Self::Removed(Removed { files, folders, left: fields.u64()? })
            }
            kind::RECEIVER_BUNDLE => Self::Bundle { len: fields.u32()?, packed: fields.rest()? },
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
            Self::Go { entry, from } => frame(out, kind::GO, |out| emit_place(out, entry, from)),
            Self::Receipt(group) => frame(out, kind::RECEIPT, |out| out.extend_from_slice(group)),
            Self::Identify { key } => frame(out, kind::RECEIVER_IDENTIFY, |out| out.extend(key.as_bytes())),
            Self::Sums { entry, octets } => frame(out, kind::SUMS, |out| emit_part(out, entry, octets)),
            Self::Wanted(run) => frame(out, kind::WANTED, |out| {
                emit_place(out, run.first, run.count);
                out.push(run.has_old.into());
            }),
            Self::Checked => frame(out, kind::CHECKED, |_| ()),
            Self::Bundle { len, packed } => {
                frame(out, kind::RECEIVER_BUNDLE, |out| emit_compressed(out, len, packed))
            }
            Self::Removed(Removed { files, folders, left }) => frame(out, kind::REMOVED, |out| {
                [files, folders, left].iter().for_each(|count| out.extend(count.to_be_bytes()));
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
            Self::Go { .. } => kind::GO,
            Self::Receipt(_) => kind::RECEIPT,
            Self::Identify { .. } => kind::RECEIVER_IDENTIFY,
            Self::Sums { .. } => kind::SUMS,
            Self::Wanted(_) => kind::WANTED,
            Self::Checked => kind::CHECKED,
            Self::Removed(_) => kind::REMOVED,
            Self::Bundle { .. } => kind::RECEIVER_BUNDLE,
            Self::Unknown(kind) => *kind,
        }
    }
}

/// Appends one frame whose body `body` writes.
fn frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; PREFIX_LEN]);
    out.push(kind);
    body(out);
    let len = u32::try_from(out.len() - start - PREFIX_LEN).unwrap_or(u32::MAX);
    out[start..start + PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
}

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

fn parse_copy<'a>(fields: &mut Fields<'_>) -> Result<SenderMessage<'a>, Violation> {
    match (fields.u64()?, fields.u64()?) {
        (from, len) if len > 0 && from.checked_add(len).is_some() => Ok(SenderMessage::Copy { from, len }),
        (_, len) => Err(Violation::Field { kind: kind::COPY, field: "length", value: len }),
    }
}

fn parse_packed<'a>(fields: &mut Fields<'a>) -> Result<SenderMessage<'a>, Violation> {
    let len = fields.u32()?;
    if fields.rest.is_empty() {
        return Err(Violation::Truncated(kind::PACKED));
    }
    match usize::try_from(len) {
        Ok(len) if (1..=DATA_LEN_MAX).contains(&len) => {
            Ok(SenderMessage::Packed { len, octets: fields.rest })
        }
        _ => Err(Violation::Field { kind: kind::PACKED, field: "length", value: len.into() }),
    }
}

fn parse_mirror<'a>(fields: &mut Fields<'_>) -> Result<SenderMessage<'a>, Violation> {
    let flags = fields.u8()?;
    if flags & !(MIRROR_REMOVES | MIRROR_BY_CONTENT) != 0 {
        return Err(Violation::Field { kind: kind::MIRROR, field: "flags", value: flags.into() });
    }
    let (removes, by_content) = (flags & MIRROR_REMOVES != 0, flags & MIRROR_BY_CONTENT != 0);
    let key = FingerprintKey(fields.take()?);
    Ok(SenderMessage::Mirror { rules: MirrorRules { removes, by_content }, key })
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

fn parse_file<'a>(fields: &mut Fields<'a>) -> Result<FileOffer<'a>, Violation> {
    let (entry, stamp) = (fields.u64()?, Stamp::from_bytes(fields.take()?));
    let (size, mode, modified) = (fields.u64()?, fields.u32()?, fields.time()?);
    Ok(FileOffer { entry, stamp, size, mode, modified, path: fields.path()? })
}

fn emit_file(out: &mut Vec<u8>, file: &FileOffer<'_>) {
    out.extend(file.entry.to_be_bytes());
    out.extend(file.stamp.as_bytes());
    out.extend(file.size.to_be_bytes());
    out.extend(file.mode.to_be_bytes());
    emit_time(out, file.modified);
    emit_path(out, file.path);
}

fn parse_link<'a>(fields: &mut Fields<'a>) -> Result<LinkOffer<'a>, Violation> {
    let (entry, modified, target) = (fields.u64()?, fields.time()?, fields.path()?);
    if target.is_empty() || target.len() > PATH_LEN_MAX || target.contains(&0) {
        return Err(Violation::Field { kind: kind::LINK, field: "target", value: target.len() as u64 });
    }
    Ok(LinkOffer { entry, modified, target, path: fields.path()? })
}

fn emit_time(out: &mut Vec<u8>, time: FileTime) {
    out.extend(time.seconds.to_be_bytes());
    out.extend(time.nanoseconds.to_be_bytes());
}

/// A place in a file, or a run of entries.
fn emit_place(out: &mut Vec<u8>, entry: u64, from: u64) {
    out.extend(entry.to_be_bytes());
    out.extend(from.to_be_bytes());
}

/// A part of something that is longer than a frame.
fn emit_part(out: &mut Vec<u8>, entry: u64, octets: &[u8]) {
    out.extend(entry.to_be_bytes());
    out.extend_from_slice(octets);
}

/// Octets that become `len`.
fn emit_compressed(out: &mut Vec<u8>, len: u32, packed: &[u8]) {
    out.extend(len.to_be_bytes());
    out.extend_from_slice(packed);
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

    /// All that is left, which must not be empty.
    fn rest(&mut self) -> Result<&'a [u8], Violation> {
        if self.rest.is_empty() { Err(Violation::Truncated(self.kind)) } else { Ok(self.rest) }
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

    fn key(&mut self) -> Result<VerifyingKey, Violation> {
        Ok(VerifyingKey::from_bytes(self.take()?).map_err(KeyFault::from)?)
    }

    fn path(&mut self) -> Result<&'a [u8], Violation> {
        let len = usize::from(self.u16()?);
        let (path, rest) = self.rest.split_at_checked(len).ok_or(Violation::Truncated(self.kind))?;
        self.rest = rest;
        Ok(path)
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, Violation> {
        match self.u8()? {
            value @ 0..=1 => Ok(value == 1),
            value => Err(Violation::Field { kind: self.kind, field, value: value.into() }),
        }
    }

    fn ignorable(&self, kind: u8) -> Result<u8, Violation> {
        if kind >= IGNORABLE_FROM { Ok(kind) } else { Err(Violation::UnknownKind(kind)) }
    }
}

/// Whether a frame stands for others, of either direction.
pub(crate) fn is_bundle(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(&(kind::BUNDLE | kind::RECEIVER_BUNDLE)))
}

/// What a bundle of the sender becomes and is made of, if the frame is one.
pub(crate) fn sender_bundle(frame: &[u8]) -> Result<Option<(u32, &[u8])>, Violation> {
    if frame.first() != Some(&kind::BUNDLE) {
        return Ok(None);
    }
    let mut fields = Fields::of(frame)?;
    Ok(Some((fields.u32()?, fields.rest()?)))
}

/// The same of the receiver.
pub(crate) fn receiver_bundle(frame: &[u8]) -> Result<Option<(u32, &[u8])>, Violation> {
    if frame.first() != Some(&kind::RECEIVER_BUNDLE) {
        return Ok(None);
    }
    let mut fields = Fields::of(frame)?;
    Ok(Some((fields.u32()?, fields.rest()?)))
}

/// Whether a frame is of the sender's listing of a mirror, which comes before the entries.
pub(crate) fn is_of_mirror(frame: &[u8]) -> bool {
    frame.first().is_some_and(|kind| (kind::MIRROR..=kind::LISTED).contains(kind))
}

/// Whether a frame is the sender's end, after which it sends nothing.
pub(crate) fn is_end(frame: &[u8]) -> bool {
    frame.first() == Some(&kind::END)
}
