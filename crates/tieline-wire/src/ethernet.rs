//! An Ethernet frame without its checksum (IEEE 802.3 §3.1.1), as it crosses a pseudowire (RFC 4448), with up to two VLAN tags
//! (IEEE 802.1Q §9.6).
//!
//! | 6: destination | 6: source | 0, 4 or 8: tags | 2: EtherType, or length | content |
//!
//! A tag is | 16: 8100 or 88a8 | 3: priority | 1: drop eligible | 12: VLAN |. Tags are kept as they are; a third one is content.

pub mod arp;
pub mod content;
pub mod neighbour;
pub mod probe;

use std::fmt;

use crate::ParseError;

/// Octets of a frame up to its content, without tags.
pub const HEADER_LEN: usize = 14;
/// Octets of a tag.
pub const TAG_LEN: usize = 4;
/// Tags that are looked behind.
pub const TAGS_MAX: usize = 2;
/// Octets before the content of a frame, at most.
pub const LINK_LEN_MAX: usize = HEADER_LEN + TAGS_MAX * TAG_LEN;

const ETHERTYPE: usize = 12;
const TAGGED: [u16; 2] = [0x8100, 0x88a8];
/// Below this, the two octets are a length, and the content is of LLC (IEEE 802.3 §3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;

/// The address of a network card.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it stands for many stations.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether frames to it must not leave their link: spanning tree and what else is between neighbours (IEEE 802.1Q §8.6.3), and the
    /// same of one maker's switches, which send it to addresses of their own.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        match self.0 {
            [0x01, 0x80, 0xc2, 0, 0, last] => last < 0x10,
            [0x01, 0x00, 0x0c, 0xcc, 0xcc, last] => matches!(last, 0xcc | 0xcd),
            _ => false,
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The VLANs of a frame, by its tags; which of them are there is part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlans([Option<u16>; TAGS_MAX]);

impl Vlans {
    /// A number that all frames of these VLANs have in common, and no others.
    #[must_use]
    pub fn number(self) -> u32 {
        let [outer, inner] = self.0.map(|tag| tag.map_or(0, |vlan| u32::from(vlan) + 1));
        outer << 16 | inner
    }
}

/// A frame, split where its content begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetFrame<'f> {
    /// To whom.
    pub destination: MacAddress,
    /// From whom.
    pub source: MacAddress,
    /// What the content is; below `0600` its length.
    pub ethertype: u16,
    /// Everything before the content: addresses, tags, EtherType.
    pub link: &'f [u8],
    /// The content, with padding if there is any.
    pub content: &'f [u8],
}

impl<'f> EthernetFrame<'f> {
    /// EtherType of IPv4.
    pub const IPV4: u16 = 0x0800;
    /// EtherType of ARP.
    pub const ARP: u16 = 0x0806;
    /// EtherType of IPv6.
    pub const IPV6: u16 = 0x86dd;

    /// Reads the headers of the frame in `bytes`.
    ///
    /// # Errors
    ///
    /// `Truncated` if it ends within its headers; `Field` if its source is a group, which sends nothing.
    pub fn parse(bytes: &'f [u8]) -> Result<Self, ParseError> {
        let mut at = ETHERTYPE;
        let mut ethertype = word(bytes, at)?;
        while TAGGED.contains(&ethertype) && at < ETHERTYPE + TAGS_MAX * TAG_LEN {
            at += TAG_LEN;
            ethertype = word(bytes, at)?;
        }
        let (link, content) = bytes.split_at(at + 2);
        let frame =
            Self { destination: address(link, 0), source: address(link, 6), ethertype, link, content };
        if frame.source.is_group() {
            return Err(ParseError::Field { field: "source", value: frame.source.0[0].into() });
        }
        Ok(frame)
    }

    /// The VLANs it is in.
    #[must_use]
    pub fn vlans(&self) -> Vlans {
        Vlans(std::array::from_fn(|tag| Some(self.tag(tag)? & 0x0fff)))
    }

    /// Its priority, 0 to 7, by the outer tag; none without a tag.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        Some((self.tag(0)? >> 13) as u8)
    }

    /// Whether the content is that of an IP packet.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        matches!(self.ethertype, Self::IPV4 | Self::IPV6)
    }

    /// Whether the content is of LLC, without an EtherType.
    #[must_use]
    pub fn is_llc(&self) -> bool {
        self.ethertype < ETHERTYPE_MIN
    }

    fn tag(&self, tag: usize) -> Option<u16> {
        let has_tag = self.link.len() >= HEADER_LEN + (tag + 1) * TAG_LEN;
        has_tag.then(|| word(self.link, HEADER_LEN + tag * TAG_LEN).ok()).flatten()
    }
}

/// A frame of ours: at most the longest that is answered with, and zeros behind it up to the least length of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortFrame {
    octets: [u8; Self::LEN_MAX],
    len: usize,
}

impl ShortFrame {
    /// Octets of the longest.
    pub const LEN_MAX: usize = 128;
    /// Octets of the shortest frame of Ethernet, without its checksum.
    const LEN_MIN: usize = 60;

    /// `content` behind the headers of `link`, to `destination` and from `source`. `None` if it is too long.
    pub(crate) fn new(
        link: &[u8],
        destination: MacAddress,
        source: MacAddress,
        content: &[u8],
    ) -> Option<Self> {
        let len = link.len() + content.len();
        let mut octets = [0; Self::LEN_MAX];
        octets.get_mut(..link.len())?.copy_from_slice(link);
        octets.get_mut(..6)?.copy_from_slice(&destination.0);
        octets.get_mut(6..12)?.copy_from_slice(&source.0);
        octets.get_mut(link.len()..len)?.copy_from_slice(content);
        Some(Self { octets, len: len.max(Self::LEN_MIN) })
    }

    /// The frame.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

fn address(bytes: &[u8], at: usize) -> MacAddress {
    let mut octets = [0; 6];
    octets.copy_from_slice(&bytes[at..at + 6]);
    MacAddress(octets)
}

fn word(bytes: &[u8], at: usize) -> Result<u16, ParseError> {
    let found = bytes.len();
    let octets = bytes.get(at..at + 2).ok_or(ParseError::Truncated { needed: at + 2, found })?;
    Ok(u16::from_be_bytes([octets[0], octets[1]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: [u8; 12] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7];

    fn frame(rest: &[u8]) -> Vec<u8> {
        [&HEADERS, rest].concat()
    }

    #[test]
    fn a_frame_is_split_before_its_content() {
        let octets = frame(&[0x08, 0, 0x45, 1, 2]);
        let parsed = EthernetFrame::parse(&octets).unwrap();
        assert_eq!((parsed.destination, parsed.source.0), (MacAddress::BROADCAST, [2, 0, 0, 0, 0, 7]));
        assert_eq!((parsed.ethertype, parsed.content), (EthernetFrame::IPV4, &[0x45, 1, 2][..]));
        assert!(parsed.is_ip() && !parsed.is_llc());
        assert_eq!((parsed.vlans(), parsed.priority()), (Vlans::default(), None));
    }

    #[test]
    fn one_tag_and_two_are_looked_behind_and_a_third_is_content() {
        let one = frame(&[0x81, 0, 0xa0, 5, 0x86, 0xdd, 9]);
        let parsed = EthernetFrame::parse(&one).unwrap();
        assert_eq!((parsed.vlans(), parsed.priority()), (Vlans([Some(5), None]), Some(5)));
        assert_eq!((parsed.link.len(), parsed.content), (18, &[9][..]));
        let two = frame(&[0x88, 0xa8, 0xe0, 5, 0x81, 0, 0x6f, 0xff, 0x08, 6]);
        let parsed = EthernetFrame::parse(&two).unwrap();
        assert_eq!((parsed.vlans(), parsed.priority()), (Vlans([Some(5), Some(0xfff)]), Some(7)));
        assert_eq!((parsed.link.len(), parsed.ethertype), (LINK_LEN_MAX, EthernetFrame::ARP));
        let three = frame(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 7, 0x08, 0]);
        let parsed = EthernetFrame::parse(&three).unwrap();
        assert_eq!((parsed.ethertype, parsed.content.len()), (0x8100, 4));
    }

    #[test]
    fn a_length_is_no_type() {
        let octets = frame(&[0, 38, 0x42, 0x42, 3]);
        let parsed = EthernetFrame::parse(&octets).unwrap();
        assert!(parsed.is_llc() && !parsed.is_ip());
    }

    #[test]
    fn what_is_cut_short_or_comes_from_a_group_is_refused() {
        let whole = frame(&[0x81, 0, 0, 5, 0x08, 0]);
        for len in 0..whole.len() {
            assert!(EthernetFrame::parse(&whole[..len]).is_err(), "{len}");
        }
        let mut group = whole;
        group[6] = 1;
        assert_eq!(EthernetFrame::parse(&group), Err(ParseError::Field { field: "source", value: 1 }));
    }

    #[test]
    fn addresses_that_stay_on_their_link_are_known() {
        for last in 0..0x10 {
            assert!(MacAddress([1, 0x80, 0xc2, 0, 0, last]).is_reserved());
        }
        assert!(MacAddress([1, 0, 0x0c, 0xcc, 0xcc, 0xcd]).is_reserved());
        for other in [[1, 0x80, 0xc2, 0, 0, 0x10], [1, 0, 0x5e, 0, 0, 1], [0xff; 6]] {
            assert!(!MacAddress(other).is_reserved());
        }
    }

    #[test]
    fn a_short_frame_is_filled_up_and_has_a_bound() {
        let source = MacAddress([2, 0, 0, 0, 0, 9]);
        let link = frame(&[0x08, 6]);
        let short = ShortFrame::new(&link, source, source, &[1; 28]).unwrap();
        assert_eq!((short.octets().len(), short.octets()[59]), (60, 0));
        assert_eq!(short.octets()[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 9]);
        assert_eq!(ShortFrame::new(&link, source, source, &[0; 115]), None);
    }

    proptest! {
        #[test]
        fn headers_and_content_are_the_frame(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frame) = EthernetFrame::parse(&octets) {
                prop_assert_eq!(&[frame.link, frame.content].concat(), &octets);
                prop_assert!((HEADER_LEN..=LINK_LEN_MAX).contains(&frame.link.len()));
            }
        }
    }
}
