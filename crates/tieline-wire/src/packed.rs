//! Packed calls: entries that share one labelled packet, each an IP packet of a call whose headers are elided or which is whole.
//!
//! A bundle is an octet that says among which references to look ([`Window`]), and 1 to [`ENTRIES_MAX`] entries, one behind the other, to the
//! end of the packet. The first bit of an entry tells two kinds apart.
//!
//! Whole:
//!
//! | 1 bit: 1 | 1: E | 6: 0 | if E: what it establishes (8) | the IP packet, as long as its header says |
//!
//! Coded against a reference, which is a packet that arrived before and was kept:
//!
//! | 1 bit: 0 | 4: fields | 11: number of the reference | 8: distance | if fields are 1111: fields (1) | what fields say | payload |
//!
//! The distance is by how much the RTP sequence number is above that of the reference. Fields are bits, and what they say stands in this
//! order:
//!
//! | bit | what stands there |
//! |---|---|
//! | `01` | octet 1 of the RTP header: marker and payload type |
//! | `02` | RTP timestamp (4) |
//! | `04` | identification of the IPv4 header (2) |
//! | `08` | octets of the payload: one octet below `e0`, or `e000` and more, less `e000`, in two |
//! | `10` | what it establishes (8); not among the four bits |
//!
//! What is not there is as the reference and the distance let one expect. The payload is what follows the first 12 octets of RTP.
//!
//! What an entry establishes makes its packet a reference:
//!
//! | 0: serial number of the reference (4) | 4: step of the timestamp (2) | 6: step of the identification (2) |
//!
//! Its number in entries is the serial number's lower 11 bits. [`Feedback`] says which references have arrived.

mod feedback;

pub use self::feedback::Feedback;
use crate::{ParseError, ip::IpPacket};

/// Entries in one bundle. Each may grow by the headers of its packet, so this bounds what a bundle can become.
pub const ENTRIES_MAX: usize = 64;
/// Octets by which an IP packet is longer as an entry of its own that is whole and establishes nothing.
pub const WHOLE_OVERHEAD: usize = 1;
/// The longest payload of a coded entry.
pub const PAYLOAD_LEN_MAX: usize = (1 << 13) - 1;

const FLAG_WHOLE: u8 = 0x80;
const FLAG_WHOLE_ESTABLISHES: u8 = 0x40;
/// Number and distance.
const CODED_HEAD_LEN: usize = 3;
const NUMBER_BITS: u32 = 11;
/// What stands in the place of the fields if they follow.
const FIELDS_FOLLOW: u8 = 0x0f;
/// From here on the length of a payload takes two octets.
const LENGTH_SHORT_END: usize = 0xe0;

/// The number of a reference in entries: the lower 11 bits of its serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceNumber(u16);

impl ReferenceNumber {
    /// The number of the reference with this serial number.
    #[must_use]
    pub fn of(serial: u32) -> Self {
        Self((serial % (1 << NUMBER_BITS)) as u16)
    }

    /// The 11 bits.
    #[must_use]
    pub fn value(self) -> u16 {
        self.0
    }
}

/// Among which references those of a bundle are: the first octet of the bundle.
///
/// Serial numbers come in blocks of [`Self::BLOCK`]. The octet is the block, modulo 256, of the serial number that would have been given out
/// next when the bundle was begun. All references of the bundle are in this block or the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub u8);

impl Window {
    /// Serial numbers in a block.
    pub const BLOCK: u32 = 1 << (NUMBER_BITS - 1);
    /// Number and window together tell so many serial numbers apart that follow one another.
    pub const DISTINCT: u32 = Self::BLOCK << u8::BITS;

    /// That of a bundle which begins before `next` is given out.
    #[must_use]
    pub fn of(next: u32) -> Self {
        Self(Self::block(next))
    }

    /// Whether a reference of this serial number may be one of the bundle's.
    #[must_use]
    pub fn contains(self, serial: u32) -> bool {
        self.0.wrapping_sub(Self::block(serial)) <= 1
    }

    #[expect(clippy::cast_possible_truncation, reason = "modulo 256")]
    fn block(serial: u32) -> u8 {
        (serial / Self::BLOCK) as u8
    }
}

/// Which fields stand in a coded entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    /// None.
    pub const NONE: Self = Self(0);
    /// Marker and payload type.
    pub const KIND: Self = Self(0x01);
    /// The RTP timestamp.
    pub const TIMESTAMP: Self = Self(0x02);
    /// The identification of the IPv4 header.
    pub const IDENTIFICATION: Self = Self(0x04);
    /// How long the payload is.
    pub const LENGTH: Self = Self(0x08);
    const ESTABLISHES: Self = Self(0x10);

    /// Whether all of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These, and `other` if `is_there`.
    #[must_use]
    pub const fn and(self, other: Self, is_there: bool) -> Self {
        if is_there { Self(self.0 | other.0) } else { self }
    }

    fn parse(octet: u8) -> Result<Self, ParseError> {
        if octet & !0x1f != 0 {
            return Err(ParseError::Field { field: "fields", value: octet.into() });
        }
        Ok(Self(octet))
    }
}

/// That the packet of an entry becomes a reference, and what is to be expected of those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Establish {
    /// Counted up by one with each reference that is offered under a label.
    pub serial: u32,
    /// What the RTP timestamp grows by from one packet to the next.
    pub timestamp_step: u16,
    /// The same of the IPv4 identification.
    pub identification_step: u16,
}

impl Establish {
    /// Octets on the wire.
    pub const LEN: usize = 8;

    fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let ([s0, s1, s2, s3, t0, t1, i0, i1], rest) = split::<{ Self::LEN }>(bytes)?;
        let establish = Self {
            serial: u32::from_be_bytes([s0, s1, s2, s3]),
            timestamp_step: u16::from_be_bytes([t0, t1]),
            identification_step: u16::from_be_bytes([i0, i1]),
        };
        Ok((establish, rest))
    }

    fn emit(&self, out: &mut Writer<'_>) {
        out.put(&self.serial.to_be_bytes());
        out.put(&self.timestamp_step.to_be_bytes());
        out.put(&self.identification_step.to_be_bytes());
    }
}

/// An entry whose headers are elided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded<'b> {
    /// The reference.
    pub number: ReferenceNumber,
    /// The RTP sequence number, less that of the reference.
    pub distance: u8,
    /// Marker and payload type, if they stand there.
    pub kind: Option<u8>,
    /// The RTP timestamp, if it stands there.
    pub timestamp: Option<u32>,
    /// The IPv4 identification, if it stands there.
    pub identification: Option<u16>,
    /// Whether the length of the payload stands there.
    pub has_length: bool,
    /// The reference that the packet becomes.
    pub establish: Option<Establish>,
    /// What follows the first 12 octets of RTP.
    pub payload: &'b [u8],
}

/// An entry of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'b> {
    /// An IP packet as it is.
    Whole {
        /// The reference that it becomes.
        establish: Option<Establish>,
        /// The packet.
        packet: &'b [u8],
    },
    /// One without its headers.
    Coded(Coded<'b>),
}

/// Why an entry, and with it the rest of its bundle, cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is not what an entry is.
    #[error("the entry is not understood")]
    Malformed(#[from] ParseError),
    /// It is coded against a reference that is not here.
    #[error("reference {} is not here", .0.value())]
    UnknownReference(ReferenceNumber),
}

impl<'b> Entry<'b> {
    /// Reads the entry at the front of `bytes` and returns it with what follows. `payload_len_of` knows the references that are here.
    ///
    /// # Errors
    ///
    /// `UnknownReference` if `payload_len_of` knows nothing; `Malformed` for an entry that is cut short, reserved bits that are not zero,
    /// and an IP packet that is none.
    pub fn parse(
        bytes: &'b [u8],
        payload_len_of: impl FnOnce(ReferenceNumber) -> Option<u16>,
    ) -> Result<(Self, &'b [u8]), EntryError> {
        let ([first], behind) = split::<1>(bytes)?;
        if first & FLAG_WHOLE != 0 {
            return Ok(parse_whole(first, behind)?);
        }
        let ([high, low, distance], rest) = split::<CODED_HEAD_LEN>(bytes)?;
        let word = u16::from_be_bytes([high, low]);
        let number = ReferenceNumber::of(word.into());
        let payload_len = payload_len_of(number).ok_or(EntryError::UnknownReference(number))?;
        let (fields, rest) = match high >> (NUMBER_BITS - 8) {
            FIELDS_FOLLOW => {
                let ([octet], rest) = split::<1>(rest)?;
                (Fields::parse(octet)?, rest)
            }
            fields => (Fields(fields), rest),
        };
        Ok(parse_coded(number, distance, fields, payload_len, rest)?)
    }

    /// Writes the entry to the front of `out` and returns its octets; `None`, and anything in `out`, if it does not fit or its payload is
    /// longer than [`PAYLOAD_LEN_MAX`] and its length is to stand there.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut out = Writer { out, len: 0, fits: true };
        match self {
            Self::Whole { establish, packet } => {
                let flag = if establish.is_some() { FLAG_WHOLE_ESTABLISHES } else { 0 };
                out.put(&[FLAG_WHOLE | flag]);
                if let Some(establish) = establish {
                    establish.emit(&mut out);
                }
                out.put(packet);
            }
            Self::Coded(coded) => coded.emit(&mut out),
        }
        out.fits.then_some(out.len)
    }
}

fn parse_whole(first: u8, rest: &[u8]) -> Result<(Entry<'_>, &[u8]), ParseError> {
    if first & !(FLAG_WHOLE | FLAG_WHOLE_ESTABLISHES) != 0 {
        return Err(ParseError::Field { field: "reserved", value: first.into() });
    }
    let (establish, rest) = establish_if(first & FLAG_WHOLE_ESTABLISHES != 0, rest)?;
    let (packet, rest) = rest.split_at(IpPacket::parse(rest)?.total_len);
    Ok((Entry::Whole { establish, packet }, rest))
}

fn parse_coded(
    number: ReferenceNumber,
    distance: u8,
    fields: Fields,
    payload_len: u16,
    rest: &[u8],
) -> Result<(Entry<'_>, &[u8]), ParseError> {
    let (kind, rest) = split_if::<1>(fields.contains(Fields::KIND), rest)?;
    let (timestamp, rest) = split_if::<4>(fields.contains(Fields::TIMESTAMP), rest)?;
    let (identification, rest) = split_if::<2>(fields.contains(Fields::IDENTIFICATION), rest)?;
    let has_length = fields.contains(Fields::LENGTH);
    let (len, rest) = if has_length { parse_length(rest)? } else { (payload_len.into(), rest) };
    let (establish, rest) = establish_if(fields.contains(Fields::ESTABLISHES), rest)?;
    let (payload, rest) =
        rest.split_at_checked(len).ok_or(ParseError::Truncated { needed: len, found: rest.len() })?;
    let coded = Coded {
        number,
        distance,
        kind: kind.map(|[octet]| octet),
        timestamp: timestamp.map(u32::from_be_bytes),
        identification: identification.map(u16::from_be_bytes),
        has_length,
        establish,
        payload,
    };
    Ok((Entry::Coded(coded), rest))
}

fn parse_length(bytes: &[u8]) -> Result<(usize, &[u8]), ParseError> {
    let ([first], rest) = split::<1>(bytes)?;
    if usize::from(first) < LENGTH_SHORT_END {
        return Ok((first.into(), rest));
    }
    let ([first, second], rest) = split::<2>(bytes)?;
    Ok((usize::from(u16::from_be_bytes([first, second])) - (LENGTH_SHORT_END << 8), rest))
}

fn establish_if(is_there: bool, bytes: &[u8]) -> Result<(Option<Establish>, &[u8]), ParseError> {
    if !is_there {
        return Ok((None, bytes));
    }
    let (establish, rest) = Establish::parse(bytes)?;
    Ok((Some(establish), rest))
}

impl Coded<'_> {
    /// Which fields stand there.
    #[must_use]
    pub fn fields(&self) -> Fields {
        Fields::NONE
            .and(Fields::KIND, self.kind.is_some())
            .and(Fields::TIMESTAMP, self.timestamp.is_some())
            .and(Fields::IDENTIFICATION, self.identification.is_some())
            .and(Fields::LENGTH, self.has_length)
            .and(Fields::ESTABLISHES, self.establish.is_some())
    }

    fn emit(&self, out: &mut Writer<'_>) {
        let fields = self.fields().0;
        let follow = fields >= FIELDS_FOLLOW;
        let first = if follow { FIELDS_FOLLOW } else { fields };
        let [high, low] = self.number.0.to_be_bytes();
        out.put(&[first << (NUMBER_BITS - 8) | high, low, self.distance]);
        if follow {
            out.put(&[fields]);
        }
        if let Some(kind) = self.kind {
            out.put(&[kind]);
        }
        if let Some(timestamp) = self.timestamp {
            out.put(&timestamp.to_be_bytes());
        }
        if let Some(identification) = self.identification {
            out.put(&identification.to_be_bytes());
        }
        if self.has_length {
            emit_length(self.payload.len(), out);
        }
        if let Some(establish) = &self.establish {
            establish.emit(out);
        }
        out.put(self.payload);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "compared before")]
fn emit_length(len: usize, out: &mut Writer<'_>) {
    if len < LENGTH_SHORT_END {
        out.put(&[len as u8]);
    } else if len <= PAYLOAD_LEN_MAX {
        out.put(&((LENGTH_SHORT_END << 8 | len) as u16).to_be_bytes());
    } else {
        out.fits = false;
    }
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), ParseError> {
    let (octets, rest) =
        bytes.split_first_chunk().ok_or(ParseError::Truncated { needed: N, found: bytes.len() })?;
    Ok((*octets, rest))
}

fn split_if<const N: usize>(is_there: bool, bytes: &[u8]) -> Result<(Option<[u8; N]>, &[u8]), ParseError> {
    if !is_there {
        return Ok((None, bytes));
    }
    let (octets, rest) = split(bytes)?;
    Ok((Some(octets), rest))
}

struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
    fits: bool,
}

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) {
        match self.out.get_mut(self.len..self.len + octets.len()) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.len += octets.len();
            }
            None => self.fits = false,
        }
    }
}

#[cfg(test)]
mod tests;
