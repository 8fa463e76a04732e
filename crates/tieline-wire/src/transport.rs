//! What stands in front of the payload of an IP packet: which two programs talk (RFC 768, RFC 9293), and of UDP what they say.

use std::net::SocketAddr;

use crate::ip::IpPacket;

/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;

const IPV4_HEADER_LEN_MIN: usize = 20;
const IPV4_FRAGMENT: usize = 6;
const IPV4_PROTOCOL: usize = 9;
/// More fragments, or an offset: all but "don't fragment".
const IPV4_IS_FRAGMENT: u16 = 0xbfff;
const IPV6_HEADER_LEN: usize = 40;
const IPV6_NEXT_HEADER: usize = 6;
const UDP_HEADER_LEN: usize = 8;

/// Who talks to whom: the five things that the packets of one flow, in one direction, have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// The protocol number; of IPv6 that of the first header that follows.
    pub protocol: u8,
    /// Who sends. Port 0 where there are no ports: other protocols than TCP and UDP, and fragments, of which only the first would have them.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

impl FiveTuple {
    /// Of a whole IP packet; `None` if it is none.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        let ip = IpPacket::parse(packet).ok()?;
        let (protocol, transport, is_whole) = payload(packet)?;
        let [source, destination] = match transport {
            [a, b, c, d, ..] if is_whole && matches!(protocol, TCP | UDP) => {
                [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])]
            }
            _ => [0, 0],
        };
        Some(Self {
            protocol,
            source: SocketAddr::new(ip.source, source),
            destination: SocketAddr::new(ip.destination, destination),
        })
    }
}

/// Whether a packet says that it carries UDP. It looks at two octets only, so that what does not is soon done with.
#[must_use]
pub fn is_udp(packet: &[u8]) -> bool {
    match packet {
        [0x40..=0x4f, ..] => packet.get(IPV4_PROTOCOL) == Some(&UDP),
        [0x60..=0x6f, ..] => packet.get(IPV6_NEXT_HEADER) == Some(&UDP),
        _ => false,
    }
}

/// The payload of the UDP datagram in a whole IP packet; `None` if it carries none, or only a part of one.
#[must_use]
pub fn udp_payload(packet: &[u8]) -> Option<&[u8]> {
    let ip = IpPacket::parse(packet).ok()?;
    let (protocol, transport, is_whole) = payload(&packet[..ip.total_len])?;
    let is_udp = protocol == UDP && is_whole && transport.len() >= UDP_HEADER_LEN;
    let len = usize::from(u16::from_be_bytes([*transport.get(4)?, *transport.get(5)?]));
    transport.get(UDP_HEADER_LEN..len).filter(|_| is_udp)
}

/// The TCP segment in a whole IP packet, header and payload; `None` if it carries none, or only a part of one.
#[must_use]
pub fn tcp_segment(packet: &[u8]) -> Option<&[u8]> {
    let ip = IpPacket::parse(packet).ok()?;
    let (protocol, transport, is_whole) = payload(&packet[..ip.total_len])?;
    (protocol == TCP && is_whole).then_some(transport)
}

/// The protocol, what follows the IP header, and whether it is no fragment. IPv6 extension headers are not followed: what has them is
/// none of what we look for.
fn payload(packet: &[u8]) -> Option<(u8, &[u8], bool)> {
    match packet.first()? >> 4 {
        4 => {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            let header = packet.get(..header_len.max(IPV4_HEADER_LEN_MIN))?;
            let fragment = u16::from_be_bytes([header[IPV4_FRAGMENT], header[IPV4_FRAGMENT + 1]]);
            Some((header[IPV4_PROTOCOL], &packet[header.len()..], fragment & IPV4_IS_FRAGMENT == 0))
        }
        6 => {
            let (header, rest) = packet.split_at_checked(IPV6_HEADER_LEN)?;
            Some((header[IPV6_NEXT_HEADER], rest, true))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, fragment: u16, transport: &[u8]) -> Vec<u8> {
        let len = 20 + transport.len() as u16;
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend(transport);
        packet
    }

    fn ipv6(next_header: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[5], packet[6]) = (0x60, transport.len() as u8, next_header);
        (packet[23], packet[39]) = (1, 2);
        packet.extend(transport);
        packet
    }

    const DATAGRAM: [u8; 11] = [0x13, 0xc4, 0x40, 0x00, 0, 11, 0, 0, b'r', b't', b'p'];

    #[test]
    fn a_datagram_gives_its_ports_and_its_payload() {
        let packet = ipv4(UDP, 0x4000, &DATAGRAM);
        assert!(is_udp(&packet));
        let tuple = FiveTuple::of(&packet).unwrap();
        assert_eq!(tuple.source, "10.1.0.7:5060".parse().unwrap());
        assert_eq!(tuple.destination, "10.2.0.9:16384".parse().unwrap());
        assert_eq!((tuple.protocol, udp_payload(&packet)), (UDP, Some(&b"rtp"[..])));
        let packet = ipv6(UDP, &DATAGRAM);
        assert!(is_udp(&packet));
        assert_eq!(FiveTuple::of(&packet).unwrap().source, "[::1]:5060".parse().unwrap());
        assert_eq!(udp_payload(&packet), Some(&b"rtp"[..]));
    }

    #[test]
    fn padding_behind_the_packet_is_no_payload() {
        let mut packet = ipv4(UDP, 0, &DATAGRAM);
        packet.extend([0; 9]);
        assert_eq!(udp_payload(&packet), Some(&b"rtp"[..]));
    }

    #[test]
    fn fragments_and_other_protocols_have_no_ports() {
        for packet in [ipv4(UDP, 0x2000, &DATAGRAM), ipv4(UDP, 3, &DATAGRAM), ipv4(1, 0, &DATAGRAM)] {
            assert_eq!(FiveTuple::of(&packet).unwrap().source.port(), 0);
            assert_eq!(udp_payload(&packet), None);
        }
        assert_eq!(FiveTuple::of(&ipv4(TCP, 0, &DATAGRAM)).unwrap().destination.port(), 0x4000);
        for packet in [ipv4(TCP, 0, &DATAGRAM), ipv6(TCP, &DATAGRAM), vec![0x45; 9], vec![]] {
            assert!(!is_udp(&packet));
        }
    }

    #[test]
    fn a_segment_is_what_stands_behind_the_header_of_ip() {
        assert_eq!(tcp_segment(&ipv4(TCP, 0, b"segment")), Some(&b"segment"[..]));
        assert_eq!(tcp_segment(&ipv6(TCP, b"segment")), Some(&b"segment"[..]));
        for other in [ipv4(UDP, 0, b"segment"), ipv4(TCP, 0x2000, b"segment"), vec![]] {
            assert_eq!(tcp_segment(&other), None);
        }
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_has_no_payload() {
        for whole in [ipv4(UDP, 0, &DATAGRAM), ipv6(UDP, &DATAGRAM)] {
            for len in 0..whole.len() {
                assert_eq!((FiveTuple::of(&whole[..len]), udp_payload(&whole[..len])), (None, None));
            }
        }
        for len in [0, 7, 12, u16::MAX] {
            let mut datagram = DATAGRAM;
            datagram[4..6].copy_from_slice(&len.to_be_bytes());
            assert_eq!(udp_payload(&ipv4(UDP, 0, &datagram)), None, "{len}");
        }
    }
}
