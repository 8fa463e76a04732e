//! The DS octet of an IP packet: differentiated services code point (RFC 2474 §3) and explicit congestion notification (RFC 3168 §5).
//!
//! | 6 bits: DSCP | 2: ECN |
//!
//! It is octet 1 of an IPv4 header; in IPv6 it lies across octets 0 and 1, as the traffic class (RFC 8200 §7).

use crate::checksum::Sum;

const IPV4_CHECKSUM: usize = 10;
const ECN_MASK: u8 = 0b11;

/// A differentiated services code point, 6 bits (RFC 2474 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// Default forwarding (RFC 2474 §4.1).
    pub const DF: Self = Self(0);
    /// Lower effort (RFC 8622).
    pub const LE: Self = Self(1);
    /// Class selector 1 (RFC 2474 §4.2.2), low priority of RFC 4594.
    pub const CS1: Self = Self(8);
    /// Class selector 2: operation and management.
    pub const CS2: Self = Self(16);
    /// Class selector 3: broadcast video.
    pub const CS3: Self = Self(24);
    /// Class selector 4: real-time interactive.
    pub const CS4: Self = Self(32);
    /// Class selector 5: signalling.
    pub const CS5: Self = Self(40);
    /// Class selector 6: network control.
    pub const CS6: Self = Self(48);
    /// Class selector 7: reserved for the network.
    pub const CS7: Self = Self(56);
    /// Expedited forwarding (RFC 3246): telephony.
    pub const EF: Self = Self(46);
    /// Telephony that was admitted (RFC 5865).
    pub const VOICE_ADMIT: Self = Self(44);

    /// The six bits as a number.
    #[must_use]
    pub fn value(self) -> u8 {
        self.0
    }

    /// The code point of assured forwarding class `class` (1 to 4) with `precedence` (1 to 3) (RFC 2597 §6); others give what the bits say.
    #[must_use]
    pub const fn af(class: u8, precedence: u8) -> Self {
        Self((class << 3 | precedence << 1) & 0x3f)
    }
}

/// The two bits of explicit congestion notification (RFC 3168 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// Not ECN-capable.
    NotEct,
    /// ECN-capable transport, code point 1: L4S (RFC 9331).
    Ect1,
    /// ECN-capable transport, code point 0.
    Ect0,
    /// Congestion experienced.
    Ce,
}

impl Ecn {
    /// What a packet is marked with that leaves a tunnel (RFC 6040 §4.2): `self` is its own mark, `outer` that of the datagram around it.
    /// None: it must be dropped, for its transport cannot hear of congestion in any other way.
    #[must_use]
    pub fn decapsulated(self, outer: Self) -> Option<Self> {
        match (self, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::Ect0 | Self::Ect1, Self::Ce) => Some(Self::Ce),
            (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (inner, _) => Some(inner),
        }
    }

    /// The lower two bits of `octet`.
    #[must_use]
    pub fn from_bits(octet: u8) -> Self {
        match octet & ECN_MASK {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits as a number.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }
}

/// A DS octet, put together.
#[must_use]
pub fn octet(dscp: Dscp, ecn: Ecn) -> u8 {
    dscp.0 << 2 | ecn.bits()
}

/// The DS octet of an IP packet, taken apart; that of the default for what is no IP packet.
#[must_use]
pub fn of(packet: &[u8]) -> (Dscp, Ecn) {
    let octet = match packet {
        [first, second, ..] if first >> 4 == 4 => *second,
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        _ => 0,
    };
    (Dscp(octet >> 2), Ecn::from_bits(octet))
}

/// Sets the ECN bits of a whole IP packet and mends the checksum of an IPv4 header (RFC 1624 §3); the code point stays as it is. What is
/// no IP packet stays as it is.
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) {
    match packet {
        [first, second, ..] if *first >> 4 == 6 => {
            *second = *second & !(ECN_MASK << 4) | ecn.bits() << 4;
        }
        [first, ..] if *first >> 4 == 4 && packet.len() >= IPV4_CHECKSUM + 2 => {
            let before = [packet[0], packet[1]];
            packet[1] = packet[1] & !ECN_MASK | ecn.bits();
            let checksum = [packet[IPV4_CHECKSUM], packet[IPV4_CHECKSUM + 1]];
            let sum = Sum::of(&checksum.map(|octet| !octet))
                + Sum::of(&before.map(|octet| !octet))
                + Sum::of(&[packet[0], packet[1]]);
            packet[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&sum.checksum());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(ds: u8) -> Vec<u8> {
        let mut packet = vec![0x45, ds, 0, 20, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
        let checksum = Sum::of(&packet).checksum();
        packet[10..12].copy_from_slice(&checksum);
        packet
    }

    #[test]
    fn code_point_and_ecn_are_read_from_either_version() {
        assert_eq!(of(&ipv4(0xb8)), (Dscp::EF, Ecn::NotEct));
        assert_eq!(of(&ipv4(0x2b)), (Dscp::af(1, 1), Ecn::Ce));
        let mut ipv6 = vec![0; 40];
        (ipv6[0], ipv6[1]) = (0x6b, 0x92);
        assert_eq!(of(&ipv6), (Dscp::EF, Ecn::Ect1));
        assert_eq!(octet(Dscp::EF, Ecn::Ect1), 0xb9);
        assert_eq!(of(&[]), (Dscp::DF, Ecn::NotEct));
        assert_eq!(of(&[0x50, 0xff]), (Dscp::DF, Ecn::NotEct));
    }

    #[test]
    fn names_have_the_numbers_of_their_standards() {
        assert_eq!([Dscp::af(1, 1), Dscp::af(4, 1), Dscp::af(4, 3)].map(Dscp::value), [10, 34, 38]);
        assert_eq!((0..4).map(|bits| Ecn::from_bits(0xb8 | bits).bits()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn marks_leave_a_tunnel_as_the_table_has_it() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let rows = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in rows {
            assert_eq!([NotEct, Ect0, Ect1, Ce].map(|outer| inner.decapsulated(outer)), row, "{inner:?}");
        }
    }

    #[test]
    fn a_mark_leaves_a_right_checksum_and_the_code_point() {
        for ds in 0..=255 {
            for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
                let mut packet = ipv4(ds);
                set_ecn(&mut packet, ecn);
                assert_eq!(packet, ipv4(ds & !ECN_MASK | ecn.bits()), "{ds:#x} to {ecn:?}");
            }
        }
        let mut ipv6 = vec![0xff; 40];
        ipv6[0] = 0x6b;
        set_ecn(&mut ipv6, Ecn::Ect0);
        assert_eq!(&ipv6[..3], [0x6b, 0xef, 0xff]);
        for mut short in [vec![], vec![0x45], vec![0x45; 11], vec![0x60]] {
            let before = short.clone();
            set_ecn(&mut short, Ecn::Ce);
            assert_eq!(short, before);
        }
    }
}
