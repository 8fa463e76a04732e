//! What in a frame belongs to its own office: messages of DHCP (RFC 2131), of DHCPv6 (RFC 8415) and of routers (RFC 4861 §4.2).
//!
//! A message that hides behind a chain of headers which ends outside its fragment is taken for the worst that it may be (RFC 7113 §2).

use std::net::{IpAddr, Ipv4Addr};

use super::EthernetFrame;
use crate::{ip::IpPacket, transport::UDP};

const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;
const DHCP_PORTS: [u16; 2] = [67, 68];
const DHCP_SERVER: u16 = 67;
const DHCPV6_PORTS: [u16; 2] = [546, 547];
const DHCPV6_SERVER: u16 = 547;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Headers between IPv6 and what it carries that are walked through; honest packets have one or two.
const HEADERS_MAX: usize = 8;

const BOOTP_REPLY: u8 = 2;
const BOOTP_FIXED_LEN: usize = 236;
const DHCP_COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTION_PAD: u8 = 0;
const OPTION_END: u8 = 255;
const OPTION_SERVER: u8 = 54;

/// What a frame carries that belongs to its own office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// DHCP; of a server's answer, who it says it is.
    Dhcp {
        /// The server that speaks, if one does.
        server: Option<Ipv4Addr>,
    },
    /// DHCPv6.
    Dhcpv6 {
        /// Whether a server speaks.
        is_server: bool,
    },
    /// A router says that it is one.
    RouterAdvertisement,
}

impl Own {
    /// What `frame` carries of that kind; mostly nothing.
    #[must_use]
    pub fn of(frame: &EthernetFrame<'_>) -> Option<Self> {
        if !frame.is_ip() {
            return None;
        }
        let ip = IpPacket::parse(frame.content).ok()?;
        let packet = frame.content.get(..ip.total_len)?;
        match Upper::of(packet)? {
            Upper::Whole { protocol: UDP, octets } => Self::of_udp(&ip, octets),
            Upper::Whole { protocol: ICMPV6, octets } if ip.source.is_ipv6() => {
                (octets.first() == Some(&ROUTER_ADVERTISEMENT)).then_some(Self::RouterAdvertisement)
            }
            Upper::Hidden => Some(Self::RouterAdvertisement),
            Upper::Whole { .. } => None,
        }
    }

    fn of_udp(ip: &IpPacket, datagram: &[u8]) -> Option<Self> {
        let [a, b, c, d, ..] = datagram else { return None };
        let ports = [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])];
        let is_of = |both: [u16; 2]| ports.iter().any(|port| both.contains(port));
        match ip.source {
            IpAddr::V4(source) if is_of(DHCP_PORTS) => {
                let message = datagram.get(8..).unwrap_or_default();
                let is_server = ports[0] == DHCP_SERVER && message.first() == Some(&BOOTP_REPLY);
                Some(Self::Dhcp { server: is_server.then(|| server_of(message).unwrap_or(source)) })
            }
            IpAddr::V6(_) if is_of(DHCPV6_PORTS) => {
                Some(Self::Dhcpv6 { is_server: ports[0] == DHCPV6_SERVER })
            }
            _ => None,
        }
    }
}

/// Who the server of a message of DHCP says it is (RFC 2132 §9.7).
fn server_of(message: &[u8]) -> Option<Ipv4Addr> {
    let (cookie, mut options) = message.get(BOOTP_FIXED_LEN..)?.split_first_chunk::<4>()?;
    if *cookie != DHCP_COOKIE {
        return None;
    }
    loop {
        options = match options {
            [OPTION_PAD, rest @ ..] => rest,
            [OPTION_END, ..] | [] | [_] => return None,
            [OPTION_SERVER, 4, a, b, c, d, ..] => return Some(Ipv4Addr::new(*a, *b, *c, *d)),
            [_, len, rest @ ..] => rest.get(usize::from(*len)..)?,
        };
    }
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upper<'p> {
    /// Its beginning is here.
    Whole {
        /// Its number.
        protocol: u8,
        /// From its header on, to the end of the packet.
        octets: &'p [u8],
    },
    /// The headers before it do not end in this packet, though it is where they begin.
    Hidden,
}

impl<'p> Upper<'p> {
    /// Looks behind all headers of the whole packet `packet`; nothing of a fragment that is not the first.
    pub(super) fn of(packet: &'p [u8]) -> Option<Self> {
        if packet.first()? >> 4 == 4 {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            let offset = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            let octets = packet.get(header_len..).filter(|_| offset == 0)?;
            return Some(Self::Whole { protocol: *packet.get(9)?, octets });
        }
        let (header, mut octets) = packet.split_first_chunk::<40>()?;
        let mut protocol = header[6];
        for _ in 0..HEADERS_MAX {
            let units = match protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => octets.get(1).map(|len| usize::from(*len) + 1),
                FRAGMENT => {
                    let field = octets.get(2..4).map(|field| u16::from_be_bytes([field[0], field[1]]));
                    if field.is_some_and(|field| field >> 3 != 0) {
                        return None;
                    }
                    Some(1)
                }
                AUTHENTICATION => octets.get(1).map(|len| (usize::from(*len) + 2).div_ceil(2)),
                _ if octets.is_empty() => return Some(Self::Hidden),
                _ => return Some(Self::Whole { protocol, octets }),
            };
            let behind = units.and_then(|units| octets.get(units * 8..));
            let (Some(next), Some(behind)) = (octets.first(), behind) else { return Some(Self::Hidden) };
            (protocol, octets) = (*next, behind);
        }
        Some(Self::Hidden)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ethertype: u16, packet: &[u8]) -> Option<Own> {
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 7], &ethertype.to_be_bytes(), packet].concat();
        Own::of(&EthernetFrame::parse(&frame).unwrap())
    }

    fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let len = (20 + transport.len()) as u16;
        let [high, low] = len.to_be_bytes();
        let header = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 1, 0, 1, 255, 255, 255, 255];
        [&header[..], transport].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 255];
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend(rest);
        packet
    }

    fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let len = (8 + payload.len()) as u16;
        [&source.to_be_bytes()[..], &destination.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
    }

    fn offer() -> Vec<u8> {
        let mut message = vec![0; BOOTP_FIXED_LEN];
        message[0] = BOOTP_REPLY;
        message.extend(DHCP_COOKIE);
        message.extend([53, 1, 2, OPTION_PAD, OPTION_SERVER, 4, 10, 1, 0, 9, OPTION_END]);
        message
    }

    #[test]
    fn dhcp_is_known_and_a_server_names_itself() {
        let discover = ipv4(UDP, &udp(68, 67, &[1]));
        assert_eq!(of(0x0800, &discover), Some(Own::Dhcp { server: None }));
        let named = ipv4(UDP, &udp(67, 68, &offer()));
        assert_eq!(of(0x0800, &named), Some(Own::Dhcp { server: Some([10, 1, 0, 9].into()) }));
        let unnamed = ipv4(UDP, &udp(67, 68, &[BOOTP_REPLY]));
        assert_eq!(of(0x0800, &unnamed), Some(Own::Dhcp { server: Some([10, 1, 0, 1].into()) }));
        assert_eq!(of(0x0800, &ipv4(UDP, &udp(5060, 5060, &[]))), None);
        assert_eq!(of(0x0800, &ipv4(6, &udp(67, 68, &[]))), None);
    }

    #[test]
    fn dhcpv6_is_known() {
        assert_eq!(of(0x86dd, &ipv6(UDP, &udp(546, 547, &[]))), Some(Own::Dhcpv6 { is_server: false }));
        assert_eq!(of(0x86dd, &ipv6(UDP, &udp(547, 546, &[]))), Some(Own::Dhcpv6 { is_server: true }));
        assert_eq!(of(0x86dd, &ipv6(UDP, &udp(53, 5353, &[]))), None);
    }

    #[test]
    fn a_router_does_not_hide_behind_other_headers_or_in_fragments() {
        let advertisement = [ROUTER_ADVERTISEMENT, 0, 0, 0];
        assert_eq!(of(0x86dd, &ipv6(ICMPV6, &advertisement)), Some(Own::RouterAdvertisement));
        assert_eq!(of(0x86dd, &ipv6(ICMPV6, &[135, 0])), None);
        let behind = |next: u8, header: [u8; 8]| ipv6(next, &[&header[..], &advertisement].concat());
        for packet in [
            behind(DESTINATION, [ICMPV6, 0, 0, 0, 0, 0, 0, 0]),
            behind(HOP_BY_HOP, [ICMPV6, 0, 0, 0, 0, 0, 0, 0]),
            behind(FRAGMENT, [ICMPV6, 0, 0, 1, 0, 0, 0, 9]),
            // Its headers end in a later fragment.
            ipv6(FRAGMENT, &[DESTINATION, 0, 0, 1, 0, 0, 0, 9, ICMPV6, 4, 0, 0, 0, 0, 0, 0]),
            ipv6(FRAGMENT, &[ICMPV6, 0, 0, 1, 0, 0, 0, 9]),
        ] {
            assert_eq!(of(0x86dd, &packet), Some(Own::RouterAdvertisement));
        }
        let later = ipv6(FRAGMENT, &[ICMPV6, 0, 0, 8, 0, 0, 0, 9, ROUTER_ADVERTISEMENT]);
        assert_eq!(of(0x86dd, &later), None);
        let endless = ipv6(DESTINATION, &[DESTINATION, 0, 0, 0, 0, 0, 0, 0].repeat(20));
        assert_eq!(of(0x86dd, &endless), Some(Own::RouterAdvertisement));
    }

    proptest! {
        #[test]
        fn no_packet_panics(ethertype in prop_oneof![Just(0x0800_u16), Just(0x86dd)], packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            of(ethertype, &packet);
        }
    }
}
