//! The header that stands before a packet on a network device with `IFF_VNET_HDR` (virtio 1.2 §5.1.6, `struct virtio_net_hdr` in the
//! legacy layout that Linux uses for TUN): what has not been done to the packet yet.
//!
//! ```text
//!  0        1          2            4            6             8             10
//!  | flags  | gso type | header len | gso size   | csum start  | csum offset |      all in the machine's byte order
//! ```

use crate::ParseError;

/// Octets of the header.
pub const VNET_HEADER_LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// A transport checksum that holds the sum of the pseudo header only, and must be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Offset in the packet of the first octet to sum.
    pub start: u16,
    /// Where the checksum is, from `start`.
    pub offset: u16,
}

/// What a packet that is too long for the medium is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// TCP over IPv4, cut into segments of so many octets of payload.
    TcpV4(u16),
    /// TCP over IPv6.
    TcpV6(u16),
    /// UDP over either: each piece is a datagram of its own.
    Udp(u16),
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VnetHeader {
    /// The transport checksum; `None`: it is in the packet, right or wrong.
    pub checksum: Option<PartialChecksum>,
    /// How the packet is to be cut; `None`: it is one packet.
    pub segments: Option<Segments>,
    /// Octets of all headers of a packet that is to be cut; a hint.
    pub header_len: u16,
}

impl VnetHeader {
    /// One packet as it is on any medium.
    pub const PLAIN: Self = Self { checksum: None, segments: None, header_len: 0 };

    /// The same of a packet that stands `link_len` octets behind the beginning of a frame.
    #[must_use]
    pub fn behind(self, link_len: usize) -> Self {
        let more = link_len as u16;
        let checksum =
            self.checksum.map(|sum| PartialChecksum { start: sum.start.saturating_add(more), ..sum });
        Self { checksum, header_len: self.header_len.saturating_add(more), ..self }
    }

    /// The same of the packet alone that stands `link_len` octets behind the beginning of a frame. None if what is to be summed begins
    /// before it.
    #[must_use]
    pub fn without(self, link_len: usize) -> Option<Self> {
        let less = link_len as u16;
        let checksum = match self.checksum {
            Some(sum) => Some(PartialChecksum { start: sum.start.checked_sub(less)?, ..sum }),
            None => None,
        };
        Some(Self { checksum, header_len: self.header_len.saturating_sub(less), ..self })
    }

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// `Field` if the packet is to be cut in a way that this end never offered.
    pub fn parse(octets: &[u8; VNET_HEADER_LEN]) -> Result<Self, ParseError> {
        let [flags, gso_type, ..] = *octets;
        let word = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
        let size = word(4);
        let needs_checksum = flags & NEEDS_CHECKSUM != 0;
        let checksum = needs_checksum.then(|| PartialChecksum { start: word(6), offset: word(8) });
        // Whether congestion was experienced is in the packet as well.
        let segments = match gso_type & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCP_V4 => Some(Segments::TcpV4(size)),
            GSO_TCP_V6 => Some(Segments::TcpV6(size)),
            GSO_UDP => Some(Segments::Udp(size)),
            _ => return Err(ParseError::Field { field: "gso_type", value: gso_type.into() }),
        };
        Ok(Self { checksum, segments, header_len: word(2) })
    }

    /// Writes the header.
    #[must_use]
    pub fn to_octets(self) -> [u8; VNET_HEADER_LEN] {
        let (flags, start, offset) = match self.checksum {
            None => (0, 0, 0),
            Some(PartialChecksum { start, offset }) => (NEEDS_CHECKSUM, start, offset),
        };
        let (gso_type, size) = match self.segments {
            None => (GSO_NONE, 0),
            Some(Segments::TcpV4(size)) => (GSO_TCP_V4, size),
            Some(Segments::TcpV6(size)) => (GSO_TCP_V6, size),
            Some(Segments::Udp(size)) => (GSO_UDP, size),
        };
        let mut octets = [0; VNET_HEADER_LEN];
        octets[..2].copy_from_slice(&[flags, gso_type]);
        for (at, word) in [(2, self.header_len), (4, size), (6, start), (8, offset)] {
            octets[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_written_and_read_the_same() {
        let checksums = [None, Some(PartialChecksum { start: 40, offset: 16 })];
        let segments =
            [None, Some(Segments::TcpV4(1368)), Some(Segments::TcpV6(1348)), Some(Segments::Udp(1200))];
        for checksum in checksums {
            for segments in segments {
                let header = VnetHeader { checksum, segments, header_len: 54 };
                assert_eq!(VnetHeader::parse(&header.to_octets()), Ok(header));
            }
        }
        assert_eq!(VnetHeader::PLAIN.to_octets(), [0; VNET_HEADER_LEN]);
    }

    #[test]
    fn a_header_moves_with_its_packet() {
        let checksum = Some(PartialChecksum { start: 20, offset: 16 });
        let header = VnetHeader { checksum, segments: Some(Segments::TcpV4(1448)), header_len: 52 };
        let moved = header.behind(18);
        assert_eq!((moved.checksum, moved.header_len), (Some(PartialChecksum { start: 38, offset: 16 }), 70));
        assert_eq!(moved.without(18), Some(header));
        assert_eq!(moved.without(39), None);
        assert_eq!(VnetHeader::PLAIN.without(14), Some(VnetHeader::PLAIN));
    }

    #[test]
    fn a_header_of_the_kernel_is_read() {
        // TCP over IPv4 with congestion control bits, 1,448 octets a segment, headers of 20 and 32 octets.
        let mut octets = [1, 0x81, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, word) in [(2, 52_u16), (4, 1448), (6, 20), (8, 16)] {
            octets[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        let header = VnetHeader::parse(&octets).unwrap();
        assert_eq!(header.segments, Some(Segments::TcpV4(1448)));
        assert_eq!(header.checksum, Some(PartialChecksum { start: 20, offset: 16 }));
        assert_eq!(header.header_len, 52);
    }

    #[test]
    fn ways_of_cutting_that_were_not_offered_are_refused() {
        let mut octets = [0; VNET_HEADER_LEN];
        octets[1] = 3; // IPv4 fragments of a UDP datagram
        assert_eq!(VnetHeader::parse(&octets), Err(ParseError::Field { field: "gso_type", value: 3 }));
    }
}
