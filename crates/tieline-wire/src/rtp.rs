//! The header of RTP (RFC 3550 §5.1), as much of it as shows what a call is like from outside.
//!
//! | 2 bits: version, 2 | 1: padding | 1: extension | 4: CSRC count | 1: marker | 7: payload type | 16: sequence number |
//! | 32: timestamp | 32: SSRC | 32 each: CSRC … | extension … |

use crate::ParseError;

const VERSION: u8 = 2;
const FLAG_EXTENSION: u8 = 0x10;
const FLAG_MARKER: u8 = 0x80;
/// Profile and length of an extension (RFC 3550 §5.3.1).
const EXTENSION_HEADER_LEN: usize = 4;
/// Payload types that would be packet types of RTCP on the same port (RFC 5761 §4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 64..=95;

/// The header of one RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// What the profile says it means: of sound, the first packet after silence.
    pub marker: bool,
    /// Which codec, 7 bits (RFC 3551 §6).
    pub payload_type: u8,
    /// Counted up by one with each packet.
    pub sequence: u16,
    /// When the first sample was taken, in units of the codec's clock.
    pub timestamp: u32,
    /// Whose stream it is.
    pub ssrc: u32,
    /// Octets of the header, with its CSRCs and its extension.
    pub len: usize,
}

impl RtpHeader {
    /// Octets of a header without CSRC or extension.
    pub const LEN: usize = 12;

    /// Reads the header at the front of the payload of a UDP datagram.
    ///
    /// # Errors
    ///
    /// `Truncated` if the header, with all it says it has, reaches beyond `bytes`; `Field` for another version than 2, or a payload type
    /// that is one of RTCP (RFC 5761 §4).
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let truncated = |needed| ParseError::Truncated { needed, found: bytes.len() };
        let fixed = bytes.first_chunk::<{ Self::LEN }>().ok_or(truncated(Self::LEN))?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        if flags >> 6 != VERSION {
            return Err(ParseError::Field { field: "version", value: (flags >> 6).into() });
        }
        let payload_type = kind & !FLAG_MARKER;
        if RTCP_TYPES.contains(&payload_type) {
            return Err(ParseError::Field { field: "payload type", value: payload_type.into() });
        }
        let mut len = Self::LEN + 4 * usize::from(flags & 0x0f);
        if flags & FLAG_EXTENSION != 0 {
            let words = bytes.get(len + 2..len + EXTENSION_HEADER_LEN);
            let words = words.ok_or(truncated(len + EXTENSION_HEADER_LEN))?;
            len += EXTENSION_HEADER_LEN + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        if len > bytes.len() {
            return Err(truncated(len));
        }
        Ok(Self {
            marker: kind & FLAG_MARKER != 0,
            payload_type,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let mut packet = vec![0x80, 0x88, 0x12, 0x34, 0, 0, 0x01, 0x40, 0xca, 0xfe, 0xba, 0xbe];
        packet.extend([0xd5; 160]);
        packet
    }

    #[test]
    fn a_packet_of_sound_is_read() {
        let header = RtpHeader::parse(&packet()).unwrap();
        let expected = RtpHeader {
            marker: true,
            payload_type: 8,
            sequence: 0x1234,
            timestamp: 320,
            ssrc: 0xcafe_babe,
            len: RtpHeader::LEN,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn contributing_sources_and_an_extension_belong_to_the_header() {
        let mut bytes = packet();
        bytes[0] = 0x92;
        bytes.splice(12..12, [[1; 4], [2; 4], [0xbe, 0xde, 0, 1], [9; 4]].concat());
        assert_eq!(RtpHeader::parse(&bytes).unwrap().len, 12 + 8 + 8);
        for len in 0..28 {
            assert!(RtpHeader::parse(&bytes[..len]).is_err(), "{len}");
        }
        assert!(RtpHeader::parse(&bytes[..28]).is_ok());
    }

    #[test]
    fn other_versions_and_rtcp_are_refused() {
        for flags in [0x00, 0x40, 0xc0] {
            let mut bytes = packet();
            bytes[0] = flags;
            let version = flags >> 6;
            let refused = ParseError::Field { field: "version", value: version.into() };
            assert_eq!(RtpHeader::parse(&bytes), Err(refused));
        }
        // A sender report has packet type 200.
        let mut bytes = packet();
        bytes[1] = 200;
        assert_eq!(RtpHeader::parse(&bytes), Err(ParseError::Field { field: "payload type", value: 72 }));
    }
}
