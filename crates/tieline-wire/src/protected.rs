//! Protected packets: voice with numbers, so that copies are told, and repair symbols, so that what is lost is made again.
//!
//! Both kinds stand under a label that the receiving end gives out, and begin with the same four octets:
//!
//! | 4 bits: kind | 2: lane | 10: process | 16: sequence number |
//!
//! Lane and process together are the stream, one run of sequence numbers. A source packet (kind 1) is sent at once; what follows is what a sealed packet carries ([`crate::sealed`]), but never padded and never
//! a protected packet again:
//!
//! | 4: packet |
//!
//! A repair packet (kind 2) carries one repair symbol of RFC 8681 over the last `window` source packets, of which the newest has the
//! sequence number in front:
//!
//! | 4: window (1) | 5: repair key (2) | 7: repair symbol |
//!
//! The code is the sliding-window random linear code over GF(2⁸) with full density (density threshold 15). The source symbol of a packet is
//! its length (2), its octets, and zeros up to the length of all symbols. Zeros at the end of a repair symbol are left away: it is as long
//! as the longest packet of its window makes it.

use crate::ParseError;

/// Octets before the packet of a source packet.
pub const HEADER_LEN: usize = 4;
/// Octets before the symbol of a repair packet.
pub const REPAIR_HEADER_LEN: usize = HEADER_LEN + 3;
/// Octets before the packet in a symbol: its length.
pub const SYMBOL_PREFIX_LEN: usize = 2;
/// The most source packets that one repair packet may cover.
pub const WINDOW_MAX: usize = 32;
/// The largest packet that can be protected.
pub const PACKET_LEN_MAX: usize = 1498;
/// The longest symbol.
pub const SYMBOL_LEN_MAX: usize = SYMBOL_PREFIX_LEN + PACKET_LEN_MAX;

const KIND_SOURCE: u8 = 1;
const KIND_REPAIR: u8 = 2;

/// Which run of sequence numbers a packet belongs to, 12 bits: the number of the lane in the highest two, and ten that are random for each
/// process. Each lane counts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(u16);

impl StreamId {
    /// Lanes that an end may have.
    pub const LANES: usize = 4;

    /// Takes the low 12 bits of `value`.
    #[must_use]
    pub const fn of(value: u16) -> Self {
        Self(value & 0x0fff)
    }

    /// The stream of a lane, of which the low two bits are taken, in a process that drew `random`, of which the low ten are.
    #[must_use]
    pub const fn of_lane(lane: usize, random: u16) -> Self {
        Self(((lane & 0b11) << 10) as u16 | (random & 0x03ff))
    }

    /// The 12 bits as a number.
    #[must_use]
    pub fn value(self) -> u16 {
        self.0
    }

    /// Which lane, below [`Self::LANES`].
    #[must_use]
    pub fn lane(self) -> usize {
        usize::from(self.0 >> 10)
    }
}

/// Stream and sequence number: what both kinds begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which run of numbers.
    pub stream: StreamId,
    /// Of a source packet its own number; of a repair packet that of the newest source packet it covers. Wraps around.
    pub sequence: u16,
}

/// A protected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected<'p> {
    /// A packet, sent at once.
    Source {
        /// Its number.
        position: Position,
        /// What a sealed packet carries; at least one octet, at most [`PACKET_LEN_MAX`].
        packet: &'p [u8],
    },
    /// What makes a lost packet again.
    Repair {
        /// Which source packets it covers, and the seed of their coefficients.
        repair: Repair,
        /// The repair symbol without zeros at its end, at most [`SYMBOL_LEN_MAX`] octets.
        symbol: &'p [u8],
    },
}

/// What a repair packet says of its symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The newest source packet that it covers.
    pub newest: Position,
    /// How many it covers, 1 to [`WINDOW_MAX`].
    pub window: u8,
    /// The repair key of RFC 8681 §3.6: the coefficients' seed.
    pub key: u16,
}

impl<'p> Protected<'p> {
    /// Reads a protected packet: what stands behind its label.
    ///
    /// # Errors
    ///
    /// `Truncated` if the header is cut short or nothing follows it; `Field` for another kind, or a window that is zero or larger than
    /// [`WINDOW_MAX`]; `Length` for a packet or symbol that is too long.
    pub fn parse(bytes: &'p [u8]) -> Result<Self, ParseError> {
        let truncated = |needed| ParseError::Truncated { needed, found: bytes.len() };
        let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(truncated(HEADER_LEN + 1))?;
        let [kind_and_stream, stream_low, sequence @ ..] = *header;
        let position = Position {
            stream: StreamId::of(u16::from_be_bytes([kind_and_stream, stream_low])),
            sequence: u16::from_be_bytes(sequence),
        };
        match kind_and_stream >> 4 {
            KIND_SOURCE => {
                if body.is_empty() {
                    return Err(truncated(HEADER_LEN + 1));
                }
                bounded(body, PACKET_LEN_MAX)?;
                Ok(Self::Source { position, packet: body })
            }
            KIND_REPAIR => {
                let Some(([window, key @ ..], symbol)) = body.split_first_chunk::<3>() else {
                    return Err(truncated(REPAIR_HEADER_LEN + 1));
                };
                if !(1..=WINDOW_MAX).contains(&usize::from(*window)) {
                    return Err(ParseError::Field { field: "window", value: (*window).into() });
                }
                if symbol.is_empty() {
                    return Err(truncated(REPAIR_HEADER_LEN + 1));
                }
                bounded(symbol, SYMBOL_LEN_MAX)?;
                let repair = Repair { newest: position, window: *window, key: u16::from_be_bytes(*key) };
                Ok(Self::Repair { repair, symbol })
            }
            kind => Err(ParseError::Field { field: "kind", value: kind.into() }),
        }
    }
}

impl Position {
    /// The header of the source packet with this number.
    #[must_use]
    pub fn emit_source(self) -> [u8; HEADER_LEN] {
        self.emit(KIND_SOURCE)
    }

    fn emit(self, kind: u8) -> [u8; HEADER_LEN] {
        let [high, low] = self.stream.value().to_be_bytes();
        let [sequence_high, sequence_low] = self.sequence.to_be_bytes();
        [(kind << 4) | high, low, sequence_high, sequence_low]
    }
}

impl Repair {
    /// The header of the repair packet.
    #[must_use]
    pub fn emit(&self) -> [u8; REPAIR_HEADER_LEN] {
        let [a, b, c, d] = self.newest.emit(KIND_REPAIR);
        let [key_high, key_low] = self.key.to_be_bytes();
        [a, b, c, d, self.window, key_high, key_low]
    }
}

fn bounded(bytes: &[u8], max: usize) -> Result<(), ParseError> {
    if bytes.len() > max {
        return Err(ParseError::Length { expected: max, found: bytes.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position { stream: StreamId(0xabc), sequence: 0x1234 };
    const REPAIR: Repair = Repair { newest: POSITION, window: 12, key: 0x5678 };
    const SOURCE_OCTETS: [u8; 6] = [0x1a, 0xbc, 0x12, 0x34, 0x45, 0x00];
    const REPAIR_OCTETS: [u8; 9] = [0x2a, 0xbc, 0x12, 0x34, 12, 0x56, 0x78, 0xde, 0xad];

    #[test]
    fn headers_are_emitted_as_drawn() {
        assert_eq!(POSITION.emit_source(), SOURCE_OCTETS[..HEADER_LEN]);
        assert_eq!(REPAIR.emit(), REPAIR_OCTETS[..REPAIR_HEADER_LEN]);
    }

    #[test]
    fn packets_are_parsed_with_what_they_carry() {
        assert_eq!(
            Protected::parse(&SOURCE_OCTETS),
            Ok(Protected::Source { position: POSITION, packet: &[0x45, 0x00] })
        );
        assert_eq!(
            Protected::parse(&REPAIR_OCTETS),
            Ok(Protected::Repair { repair: REPAIR, symbol: &[0xde, 0xad] })
        );
    }

    #[test]
    fn what_is_cut_short_or_carries_nothing_is_refused() {
        for (octets, header_len) in [(&SOURCE_OCTETS[..], HEADER_LEN), (&REPAIR_OCTETS, REPAIR_HEADER_LEN)] {
            for len in 0..=header_len {
                let found = Protected::parse(&octets[..len]);
                assert!(matches!(found, Err(ParseError::Truncated { .. })), "{len} of {octets:?}: {found:?}");
            }
        }
    }

    #[test]
    fn other_kinds_and_impossible_windows_are_refused() {
        for kind in (0..16).filter(|kind| ![KIND_SOURCE, KIND_REPAIR].contains(kind)) {
            let mut octets = REPAIR_OCTETS;
            octets[0] = (kind << 4) | 0x0a;
            let refused = ParseError::Field { field: "kind", value: kind.into() };
            assert_eq!(Protected::parse(&octets), Err(refused));
        }
        for window in [0, 33, 255] {
            let mut octets = REPAIR_OCTETS;
            octets[4] = window;
            let refused = ParseError::Field { field: "window", value: window.into() };
            assert_eq!(Protected::parse(&octets), Err(refused));
        }
    }

    #[test]
    fn what_is_too_long_to_be_coded_is_refused() {
        let with = |header: &[u8], len: usize| [header, &vec![0x45; len]].concat();
        let source = |len| Protected::parse(&with(&SOURCE_OCTETS[..HEADER_LEN], len)).map(|_| ());
        let repair = |len| Protected::parse(&with(&REPAIR_OCTETS[..REPAIR_HEADER_LEN], len)).map(|_| ());
        assert_eq!(source(PACKET_LEN_MAX), Ok(()));
        assert_eq!(source(1499), Err(ParseError::Length { expected: 1498, found: 1499 }));
        assert_eq!(repair(SYMBOL_LEN_MAX), Ok(()));
        assert_eq!(repair(1501), Err(ParseError::Length { expected: 1500, found: 1501 }));
    }

    #[test]
    fn a_stream_has_12_bits_and_says_of_which_lane_it_is() {
        assert_eq!(StreamId::of(0xffff).value(), 0x0fff);
        for lane in 0..StreamId::LANES {
            let stream = StreamId::of_lane(lane, 0xffff);
            assert_eq!((stream.lane(), stream.value() & 0x03ff), (lane, 0x03ff));
        }
    }
}
