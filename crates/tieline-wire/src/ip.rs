//! As much of IPv4 (RFC 791) and IPv6 (RFC 8200) as a line must read: whose packet it is and where it ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ParseError;

const IPV4_HEADER_LEN_MIN: usize = 20;
const IPV4_TOTAL_LENGTH: usize = 2;
const IPV4_SOURCE: usize = 12;
const IPV4_DESTINATION: usize = 16;

const IPV6_HEADER_LEN: usize = 40;
const IPV6_PAYLOAD_LENGTH: usize = 4;
const IPV6_SOURCE: usize = 8;
const IPV6_DESTINATION: usize = 24;

/// What a line reads of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Octets of header and payload together; what follows in the buffer is padding.
    pub total_len: usize,
}

impl IpPacket {
    /// Reads the header at the front of `bytes`; octets after the packet's own length are padding and not looked at.
    ///
    /// # Errors
    ///
    /// `Truncated` if the header or the length it states reaches beyond `bytes`; `Field` if the version is neither 4
    /// nor 6, or a length field contradicts the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let version = bytes.first().map(|octet| octet >> 4);
        let packet = match version {
            Some(4) => parse_ipv4(bytes)?,
            Some(6) => parse_ipv6(bytes)?,
            Some(version) => return Err(ParseError::Field { field: "version", value: version.into() }),
            None => return Err(ParseError::Truncated { needed: IPV4_HEADER_LEN_MIN, found: 0 }),
        };
        if packet.total_len > bytes.len() {
            return Err(ParseError::Truncated { needed: packet.total_len, found: bytes.len() });
        }
        Ok(packet)
    }
}

impl IpPacket {
    /// Whether the packet must not leave its link: its source is link-local (RFC 4291 §2.5.6, RFC 3927 §2.7), or it
    /// goes to a multicast group of that scope (RFC 4291 §2.7, RFC 5771 §4).
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        let source = match self.source {
            IpAddr::V4(source) => source.is_link_local(),
            IpAddr::V6(source) => source.is_unicast_link_local(),
        };
        let group = match self.destination {
            IpAddr::V4(destination) => destination.octets()[..3] == [224, 0, 0],
            IpAddr::V6(destination) => destination.is_multicast() && destination.segments()[0] & 0x000f <= 2,
        };
        source || group
    }
}

fn parse_ipv4(bytes: &[u8]) -> Result<IpPacket, ParseError> {
    let Some(header) = bytes.first_chunk::<IPV4_HEADER_LEN_MIN>() else {
        return Err(ParseError::Truncated { needed: IPV4_HEADER_LEN_MIN, found: bytes.len() });
    };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header_len < IPV4_HEADER_LEN_MIN {
        return Err(ParseError::Field { field: "IHL", value: (header[0] & 0x0f).into() });
    }
    let total_len = u16_at(header, IPV4_TOTAL_LENGTH);
    if usize::from(total_len) < header_len {
        return Err(ParseError::Field { field: "total length", value: total_len.into() });
    }
    Ok(IpPacket {
        source: Ipv4Addr::from(octets_at::<4>(header, IPV4_SOURCE)).into(),
        destination: Ipv4Addr::from(octets_at::<4>(header, IPV4_DESTINATION)).into(),
        total_len: total_len.into(),
    })
}

fn parse_ipv6(bytes: &[u8]) -> Result<IpPacket, ParseError> {
    let Some(header) = bytes.first_chunk::<IPV6_HEADER_LEN>() else {
        return Err(ParseError::Truncated { needed: IPV6_HEADER_LEN, found: bytes.len() });
    };
    Ok(IpPacket {
        source: Ipv6Addr::from(octets_at::<16>(header, IPV6_SOURCE)).into(),
        destination: Ipv6Addr::from(octets_at::<16>(header, IPV6_DESTINATION)).into(),
        total_len: IPV6_HEADER_LEN + usize::from(u16_at(header, IPV6_PAYLOAD_LENGTH)),
    })
}

fn u16_at(header: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(octets_at(header, offset))
}

/// The `N` octets at `offset`; callers have checked the header's length.
fn octets_at<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&header[offset..offset + N]);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(total_len: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(total_len)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 1, 0, 7]);
        packet[16..20].copy_from_slice(&[10, 2, 0, 9]);
        packet
    }

    fn ipv6(payload_len: u16) -> Vec<u8> {
        let mut packet = vec![0; 40 + usize::from(payload_len)];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
        packet[23] = 1;
        packet[39] = 2;
        packet
    }

    #[test]
    fn ipv4_header_is_read_and_padding_left_alone() {
        let mut bytes = ipv4(30);
        bytes.extend_from_slice(&[0; 2]);
        let packet = IpPacket::parse(&bytes).unwrap();
        assert_eq!(packet.source, "10.1.0.7".parse::<IpAddr>().unwrap());
        assert_eq!(packet.destination, "10.2.0.9".parse::<IpAddr>().unwrap());
        assert_eq!(packet.total_len, 30);
    }

    #[test]
    fn ipv6_header_is_read() {
        let packet = IpPacket::parse(&ipv6(8)).unwrap();
        assert_eq!(packet.source, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(packet.destination, "::2".parse::<IpAddr>().unwrap());
        assert_eq!(packet.total_len, 48);
    }

    #[test]
    fn headers_that_lie_about_their_length_are_refused() {
        assert_eq!(IpPacket::parse(&ipv4(30)[..29]), Err(ParseError::Truncated { needed: 30, found: 29 }));
        assert_eq!(IpPacket::parse(&ipv6(8)[..47]), Err(ParseError::Truncated { needed: 48, found: 47 }));
        assert_eq!(IpPacket::parse(&ipv4(20)[..19]), Err(ParseError::Truncated { needed: 20, found: 19 }));
        let mut short_header = ipv4(20);
        short_header[0] = 0x44;
        assert_eq!(IpPacket::parse(&short_header), Err(ParseError::Field { field: "IHL", value: 4 }));
        let mut short_total = ipv4(24);
        short_total[0] = 0x46;
        short_total[3] = 23;
        assert_eq!(
            IpPacket::parse(&short_total),
            Err(ParseError::Field { field: "total length", value: 23 })
        );
    }

    #[test]
    fn what_must_stay_on_its_link_is_told() {
        let is_link_local = |source: &str, destination: &str| {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            IpPacket { source, destination, total_len: 40 }.is_link_local()
        };
        for (source, destination) in [
            ("fe80::1", "fd00::1"),
            ("169.254.1.1", "10.1.0.1"),
            ("::", "ff02::16"),
            ("10.1.0.1", "224.0.0.251"),
        ] {
            assert!(is_link_local(source, destination), "{source} to {destination}");
        }
        for (source, destination) in [
            ("fd00::1", "fd00::2"),
            ("10.1.0.1", "10.2.0.1"),
            ("fd00::1", "ff05::2"),
            ("10.1.0.1", "239.1.1.1"),
        ] {
            assert!(!is_link_local(source, destination), "{source} to {destination}");
        }
    }

    #[test]
    fn other_versions_and_nothing_are_refused() {
        assert_eq!(IpPacket::parse(&[0x50]), Err(ParseError::Field { field: "version", value: 5 }));
        assert!(IpPacket::parse(&[]).is_err());
    }
}
