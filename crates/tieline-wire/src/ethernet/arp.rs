//! ARP for IPv4 over Ethernet (RFC 826): who has an address, and who says that it has it.
//!
//! | 2: 1 | 2: 0800 | 1: 6 | 1: 4 | 2: operation | 6, 4: sender | 6, 4: target |

use std::net::Ipv4Addr;

use super::{EthernetFrame, MacAddress, ShortFrame};

/// Octets of an ARP packet.
pub const ARP_LEN: usize = 28;
const FIXED: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What an ARP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks; else it answers.
    pub is_request: bool,
    /// The card of the sender.
    pub sender: MacAddress,
    /// Its address; unspecified if it only wants to know whether somebody has the one it asks for (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// The address that is asked for, or of the one who is answered.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads the packet in a frame, if it is one of ARP for IPv4.
    #[must_use]
    pub fn parse(frame: &EthernetFrame<'_>) -> Option<Self> {
        let packet = frame.content.first_chunk::<ARP_LEN>()?;
        let operation = u16::from_be_bytes([packet[6], packet[7]]);
        let is_arp = frame.ethertype == EthernetFrame::ARP && packet[..6] == FIXED;
        if !is_arp || !matches!(operation, REQUEST | REPLY) {
            return None;
        }
        Some(Self {
            is_request: operation == REQUEST,
            sender: super::address(packet, 8),
            sender_ip: ip(packet, 14),
            target_ip: ip(packet, 24),
        })
    }

    /// The frame that answers the request in `frame`: `owner` has the address that it asks for.
    #[must_use]
    pub fn answer(&self, frame: &EthernetFrame<'_>, owner: MacAddress) -> Option<ShortFrame> {
        let mut packet = [0; ARP_LEN];
        packet[..6].copy_from_slice(&FIXED);
        packet[6..8].copy_from_slice(&REPLY.to_be_bytes());
        packet[8..14].copy_from_slice(&owner.0);
        packet[14..18].copy_from_slice(&self.target_ip.octets());
        packet[18..24].copy_from_slice(&self.sender.0);
        packet[24..28].copy_from_slice(&self.sender_ip.octets());
        ShortFrame::new(frame.link, self.sender, owner, &packet)
    }
}

fn ip(packet: &[u8; ARP_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has 10.0.0.9, says 10.0.0.7.
    const REQUEST_FRAME: [u8; 46] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x81, 0, 0, 5, 0x08, 6, 0, 1, 0x08, 0, 6, 4, 0,
        1, 2, 0, 0, 0, 0, 7, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
    ];
    const OWNER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_request_is_read_and_answered_in_its_vlan() {
        let frame = EthernetFrame::parse(&REQUEST_FRAME).unwrap();
        let arp = Arp::parse(&frame).unwrap();
        assert!(arp.is_request);
        assert_eq!((arp.sender_ip.octets(), arp.target_ip.octets()), ([10, 0, 0, 7], [10, 0, 0, 9]));
        let answer = arp.answer(&frame, OWNER).unwrap();
        let expected = [
            &[2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 9, 0x81, 0, 0, 5, 0x08, 6][..],
            &[0, 1, 0x08, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 2, 0, 0, 0, 0, 7, 10, 0, 0, 7],
            &[0; 14],
        ];
        assert_eq!(answer.octets(), expected.concat());
        let frame = EthernetFrame::parse(answer.octets()).unwrap();
        let read = Arp::parse(&frame).unwrap();
        assert_eq!((read.is_request, read.sender, read.sender_ip), (false, OWNER, arp.target_ip));
    }

    #[test]
    fn what_is_no_arp_for_ipv4_is_none() {
        for (at, octet) in [(17, 0), (19, 6), (21, 0xdd), (22, 8), (23, 16), (25, 3), (24, 1)] {
            let mut octets = REQUEST_FRAME;
            octets[at] = octet;
            assert_eq!(EthernetFrame::parse(&octets).ok().and_then(|frame| Arp::parse(&frame)), None, "{at}");
        }
        for len in 0..REQUEST_FRAME.len() {
            let frame = EthernetFrame::parse(&REQUEST_FRAME[..len]);
            assert_eq!(frame.ok().and_then(|frame| Arp::parse(&frame)), None);
        }
    }
}
