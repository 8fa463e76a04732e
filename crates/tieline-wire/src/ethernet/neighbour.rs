//! Neighbour discovery of IPv6 (RFC 4861 §4.3, §4.4): who has an address, and who says that it has it.
//!
//! | 40: IPv6, hop limit 255 | 1: type 135 or 136 | 1: 0 | 2: checksum | 4: flags | 16: target | options |

use std::net::Ipv6Addr;

use super::{EthernetFrame, MacAddress, ShortFrame, content::Upper};
use crate::{checksum::Sum, ip::IpPacket};

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const HOP_LIMIT: usize = 7;
const FLAGS: usize = 4;
const TARGET: usize = 8;
const OPTIONS: usize = 24;
const FROM_ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// An option of one unit of 8 octets: type, length, card.
const LINK_OPTION_LEN: usize = 8;
/// Options of a message that are looked at.
const OPTIONS_MAX: usize = 8;

/// What a message of neighbour discovery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Whether it asks; else it answers.
    pub is_solicitation: bool,
    /// The address it comes from; unspecified if it only wants to know whether somebody has the one it asks for.
    pub source_ip: Ipv6Addr,
    /// The address that is asked for, or that is answered for.
    pub target: Ipv6Addr,
    /// The card of who asks, or of who has the address; none if the message does not say.
    pub card: Option<MacAddress>,
    /// Of an answer: whether who has the address is a router.
    pub is_router: bool,
}

impl Neighbour {
    /// Reads the message in a frame, if it is one with a right checksum.
    #[must_use]
    pub fn parse(frame: &EthernetFrame<'_>) -> Option<Self> {
        if frame.ethertype != EthernetFrame::IPV6 {
            return None;
        }
        let ip = IpPacket::parse(frame.content).ok()?;
        let packet = frame.content.get(..ip.total_len)?;
        let (std::net::IpAddr::V6(source_ip), 255) = (ip.source, *packet.get(HOP_LIMIT)?) else {
            return None;
        };
        let Upper::Whole { protocol: ICMPV6, octets } = Upper::of(packet)? else { return None };
        let is_solicitation = match octets {
            [SOLICITATION, 0, ..] => true,
            [ADVERTISEMENT, 0, ..] => false,
            _ => return None,
        };
        let target = Ipv6Addr::from(*octets.get(TARGET..OPTIONS)?.first_chunk::<16>()?);
        let sum = Sum::of_pseudo_header(ip.source, ip.destination, ICMPV6, octets.len()) + Sum::of(octets);
        if sum.fold() != [0xff; 2] {
            return None;
        }
        let wanted = if is_solicitation { SOURCE_LINK_ADDRESS } else { TARGET_LINK_ADDRESS };
        let card = option(&octets[OPTIONS..], wanted);
        let is_router = octets[FLAGS] & FROM_ROUTER != 0;
        Some(Self { is_solicitation, source_ip, target, card, is_router })
    }

    /// The frame that answers the solicitation in `frame`: `owner` has the address that it asks for, and is a router or none. It does not
    /// override what its reader knows (RFC 4861 §7.2.8). `None` if nobody is there who could be answered.
    #[must_use]
    pub fn answer(
        &self,
        frame: &EthernetFrame<'_>,
        owner: MacAddress,
        is_router: bool,
    ) -> Option<ShortFrame> {
        const LEN: usize = OPTIONS + LINK_OPTION_LEN;
        let asks = self.card.filter(|_| !self.source_ip.is_unspecified())?;
        let mut packet = [0; 40 + LEN];
        packet[0] = 0x60;
        packet[5] = LEN as u8;
        (packet[6], packet[HOP_LIMIT]) = (ICMPV6, 255);
        packet[8..24].copy_from_slice(&self.target.octets());
        packet[24..40].copy_from_slice(&self.source_ip.octets());
        let message = &mut packet[40..];
        message[0] = ADVERTISEMENT;
        message[FLAGS] = SOLICITED | if is_router { FROM_ROUTER } else { 0 };
        message[TARGET..OPTIONS].copy_from_slice(&self.target.octets());
        message[OPTIONS..OPTIONS + 2].copy_from_slice(&[TARGET_LINK_ADDRESS, 1]);
        message[OPTIONS + 2..].copy_from_slice(&owner.0);
        let pseudo = Sum::of_pseudo_header(self.target.into(), self.source_ip.into(), ICMPV6, LEN);
        let checksum = (pseudo + Sum::of(message)).checksum();
        message[2..4].copy_from_slice(&checksum);
        ShortFrame::new(frame.link, asks, owner, &packet)
    }
}

/// The card in the option of this type.
fn option(mut options: &[u8], wanted: u8) -> Option<MacAddress> {
    for _ in 0..OPTIONS_MAX {
        let len = usize::from(*options.get(1)?) * 8;
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if option[0] == wanted && len == LINK_OPTION_LEN {
            return Some(super::address(option, 2));
        }
        options = &options[len..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);
    const OWNER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    /// Who has fd00::9, says `source`, with or without its card.
    fn solicitation(source: Ipv6Addr, card: Option<MacAddress>) -> Vec<u8> {
        let target: Ipv6Addr = "fd00::9".parse().unwrap();
        let group: Ipv6Addr = "ff02::1:ff00:9".parse().unwrap();
        let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        if let Some(card) = card {
            message.extend([SOURCE_LINK_ADDRESS, 1]);
            message.extend(card.0);
        }
        let pseudo = Sum::of_pseudo_header(source.into(), group.into(), ICMPV6, message.len());
        let checksum = (pseudo + Sum::of(&message)).checksum();
        message[2..4].copy_from_slice(&checksum);
        let mut frame = [&[0x33, 0x33, 0xff, 0, 0, 9][..], &ASKS.0, &[0x86, 0xdd]].concat();
        frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
        frame.extend(source.octets());
        frame.extend(group.octets());
        frame.extend(message);
        frame
    }

    fn read(octets: &[u8]) -> Option<Neighbour> {
        EthernetFrame::parse(octets).ok().and_then(|frame| Neighbour::parse(&frame))
    }

    #[test]
    fn a_solicitation_is_read_and_answered() {
        let octets = solicitation("fd00::7".parse().unwrap(), Some(ASKS));
        let frame = EthernetFrame::parse(&octets).unwrap();
        let asked = Neighbour::parse(&frame).unwrap();
        assert!(asked.is_solicitation);
        assert_eq!((asked.card, asked.target), (Some(ASKS), "fd00::9".parse().unwrap()));
        for is_router in [false, true] {
            let answer = asked.answer(&frame, OWNER, is_router).unwrap();
            assert_eq!(answer.octets().len(), 86);
            let answered = read(answer.octets()).expect("its checksum is right");
            let expected = Neighbour {
                is_solicitation: false,
                source_ip: asked.target,
                target: asked.target,
                card: Some(OWNER),
                is_router,
            };
            assert_eq!(answered, expected);
            assert_eq!(EthernetFrame::parse(answer.octets()).unwrap().destination, ASKS);
        }
    }

    #[test]
    fn who_only_looks_for_another_with_its_address_is_not_answered() {
        let octets = solicitation(Ipv6Addr::UNSPECIFIED, None);
        let frame = EthernetFrame::parse(&octets).unwrap();
        assert_eq!(Neighbour::parse(&frame).unwrap().answer(&frame, OWNER, false), None);
    }

    #[test]
    fn what_is_damaged_or_came_through_a_router_is_none() {
        let whole = solicitation("fd00::7".parse().unwrap(), Some(ASKS));
        assert!(read(&whole).is_some());
        for (at, octet) in [(21, 254), (54, 133), (55, 1), (80, 9), (20, 17)] {
            let mut damaged = whole.clone();
            damaged[at] = octet;
            assert_eq!(read(&damaged), None, "{at}");
        }
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None);
        }
    }

    #[test]
    fn options_without_length_end_the_search() {
        assert_eq!(option(&[9, 0, 0, 0, 0, 0, 0, 0], 1), None);
        assert_eq!(option(&[9, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 7], 1), Some(ASKS));
        assert_eq!(option(&[1, 2, 0, 0, 0, 0, 0, 0], 1), None);
    }
}
