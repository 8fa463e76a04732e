//! As much of an IP packet as the lab's internet must know: addresses, ports, and how to change them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::path::Carried;

const TCP: u8 = 6;
const UDP: u8 = 17;

const V4_HEADER: usize = 20;
const V4_LENGTH: Range<usize> = 2..4;
const V4_FRAGMENT: Range<usize> = 6..8;
/// "More fragments" and the fragment offset; "don't fragment" is not among them.
const V4_FRAGMENT_MASK: u16 = 0x3fff;
const V4_PROTOCOL: usize = 9;
const V4_CHECKSUM: usize = 10;
const V4_SOURCE: Range<usize> = 12..16;
const V4_DESTINATION: Range<usize> = 16..20;

const V6_HEADER: usize = 40;
const V6_LENGTH: Range<usize> = 4..6;
const V6_NEXT_HEADER: usize = 6;
const V6_SOURCE: Range<usize> = 8..24;
const V6_DESTINATION: Range<usize> = 24..40;

const UDP_HEADER: usize = 8;
const UDP_CHECKSUM: usize = 6;
const TCP_HEADER: usize = 20;
const TCP_DATA_OFFSET: usize = 12;
const TCP_CHECKSUM: usize = 16;

/// Octets of an IPv6 address.
const ADDRESS_BYTES_MAX: usize = 16;

/// An IP packet.
#[derive(Clone, Debug)]
pub(super) struct IpPacket {
    buffer: Vec<u8>,
    layout: Layout,
}

/// Where things are; every range lies within the buffer.
#[derive(Clone, Debug)]
struct Layout {
    length: usize,
    is_v4: bool,
    transport: Option<Transport>,
}

#[derive(Clone, Debug)]
struct Transport {
    offset: usize,
    checksum: usize,
    payload: usize,
    is_udp: bool,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

impl IpPacket {
    /// Takes an IP packet, or gives the buffer back if it holds none. Octets behind the packet stay where they are.
    pub(super) fn parse(buffer: Vec<u8>) -> Result<Self, Vec<u8>> {
        match Layout::of(&buffer) {
            Some(layout) => Ok(Self { buffer, layout }),
            None => Err(buffer),
        }
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.buffer[..self.layout.length]
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    pub(super) fn address(&self, end: End) -> IpAddr {
        let octets = &self.buffer[self.address_range(end)];
        match <[u8; 4]>::try_from(octets) {
            Ok(v4) => IpAddr::from(v4),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets).expect("an address has 4 or 16 octets")),
        }
    }

    /// The address and port, if it is an unfragmented UDP or TCP packet.
    pub(super) fn socket_address(&self, end: End) -> Option<SocketAddr> {
        let port = &self.buffer[self.port_range(end)?];
        Some(SocketAddr::new(self.address(end), u16::from_be_bytes([port[0], port[1]])))
    }

    /// Puts another address and port in, with all checksums right if they were. Does nothing if it has no ports or another
    /// version of IP.
    pub(super) fn set_socket_address(&mut self, end: End, to: SocketAddr) {
        let Some(port_range) = self.port_range(end) else { return };
        let address_range = self.address_range(end);
        match to.ip() {
            IpAddr::V4(ip) if self.layout.is_v4 => self.replace(address_range, &ip.octets()),
            IpAddr::V6(ip) if !self.layout.is_v4 => self.replace(address_range, &ip.octets()),
            _ => return,
        }
        self.replace(port_range, &to.port().to_be_bytes());
    }

    fn address_range(&self, end: End) -> Range<usize> {
        match (self.layout.is_v4, end) {
            (true, End::Source) => V4_SOURCE,
            (true, End::Destination) => V4_DESTINATION,
            (false, End::Source) => V6_SOURCE,
            (false, End::Destination) => V6_DESTINATION,
        }
    }

    fn port_range(&self, end: End) -> Option<Range<usize>> {
        let offset = self.layout.transport.as_ref()?.offset;
        Some(match end {
            End::Source => offset..offset + 2,
            End::Destination => offset + 2..offset + 4,
        })
    }

    /// Replaces whole 16-bit words, with all checksums that cover them.
    fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        let mut old = [0; ADDRESS_BYTES_MAX];
        let old = &mut old[..range.len()];
        old.copy_from_slice(&self.buffer[range.clone()]);
        self.carry(range.start, old, with);
        self.buffer[range].copy_from_slice(with);
    }

    /// Carries a change of the words from `begin` on into the checksums that cover them.
    fn carry(&mut self, begin: usize, old: &[u8], new: &[u8]) {
        if self.layout.is_v4 && begin < V4_HEADER {
            self.carry_into(V4_CHECKSUM, old, new);
        }
        let Some(Transport { checksum, is_udp, .. }) = self.layout.transport else { return };
        // UDP over IPv4 may go without: zero says so (RFC 768), and then all ones say zero.
        if is_udp && self.layout.is_v4 && word(&self.buffer[checksum..]) == 0 {
            return;
        }
        self.carry_into(checksum, old, new);
        if is_udp && word(&self.buffer[checksum..]) == 0 {
            self.buffer[checksum..checksum + 2].fill(0xff);
        }
    }

    /// "HC' = ~(~HC + ~m + m')" (RFC 1624 §3), for each word m and the m' that replaces it.
    fn carry_into(&mut self, checksum: usize, old: &[u8], new: &[u8]) {
        let mut sum = u32::from(!word(&self.buffer[checksum..]));
        for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
            sum += u32::from(!word(old)) + u32::from(word(new));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        self.buffer[checksum..checksum + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }

    /// What corruption may hit: the payload, so that the packet still finds its way.
    fn corruptible(&self) -> Range<usize> {
        let header = if self.layout.is_v4 { V4_HEADER } else { V6_HEADER };
        let begin = self.layout.transport.as_ref().map_or(header, |transport| transport.payload);
        begin.min(self.layout.length)..self.layout.length
    }
}

impl Carried for IpPacket {
    fn octet_count(&self) -> usize {
        self.layout.length
    }

    fn bit_count(&self) -> usize {
        self.corruptible().len() * 8
    }

    /// Flips a bit of the payload and sets the checksum right. A kernel drops what its checksum betrays, and that would be
    /// loss; what is to be seen is the damage that gets through, as from a router with bad memory.
    fn flip_bit(&mut self, bit: usize) {
        let place = self.corruptible().start + bit / 8;
        let origin = self.layout.transport.as_ref().map_or(0, |transport| transport.offset);
        let begin = place - (place - origin) % 2;
        // A checksum takes the last octet of an odd payload as if a zero followed.
        let low = if begin + 1 < self.layout.length { self.buffer[begin + 1] } else { 0 };
        let old = [self.buffer[begin], low];
        let mut new = old;
        new[place - begin] ^= 1 << (bit % 8);
        self.carry(begin, &old, &new);
        self.buffer[place] = new[place - begin];
    }
}

impl Layout {
    fn of(octets: &[u8]) -> Option<Self> {
        match octets.first()? >> 4 {
            4 => Self::of_v4(octets),
            6 => Self::of_v6(octets),
            _ => None,
        }
    }

    fn of_v4(octets: &[u8]) -> Option<Self> {
        let header = usize::from(octets.first()? & 0x0f) * 4;
        let length = usize::from(word(octets.get(V4_LENGTH)?));
        if header < V4_HEADER || length < header || length > octets.len() {
            return None;
        }
        let is_fragment = word(&octets[V4_FRAGMENT]) & V4_FRAGMENT_MASK != 0;
        let transport =
            (!is_fragment).then(|| Transport::of(octets[V4_PROTOCOL], &octets[..length], header)).flatten();
        Some(Self { length, is_v4: true, transport })
    }

    fn of_v6(octets: &[u8]) -> Option<Self> {
        let length = V6_HEADER + usize::from(word(octets.get(V6_LENGTH)?));
        if length > octets.len() {
            return None;
        }
        let transport = Transport::of(octets[V6_NEXT_HEADER], &octets[..length], V6_HEADER);
        Some(Self { length, is_v4: false, transport })
    }
}

impl Transport {
    fn of(protocol: u8, packet: &[u8], offset: usize) -> Option<Self> {
        let left = packet.len() - offset;
        match protocol {
            UDP if left >= UDP_HEADER => Some(Self {
                offset,
                checksum: offset + UDP_CHECKSUM,
                payload: offset + UDP_HEADER,
                is_udp: true,
            }),
            TCP if left >= TCP_HEADER => {
                let header = usize::from(packet[offset + TCP_DATA_OFFSET] >> 4) * 4;
                let payload = offset + header.clamp(TCP_HEADER, left);
                Some(Self { offset, checksum: offset + TCP_CHECKSUM, payload, is_udp: false })
            }
            _ => None,
        }
    }
}

fn word(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[0], octets[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A UDP packet with right checksums and something else behind it.
    fn udp(source: &str, destination: &str, payload: &[u8]) -> IpPacket {
        let (source, destination) = (at(source), at(destination));
        let length = u16::try_from(UDP_HEADER + payload.len()).unwrap();
        let mut octets = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0];
                header[V4_LENGTH].copy_from_slice(&(length + 20).to_be_bytes());
                header.extend(from.octets().into_iter().chain(to.octets()));
                let checksum = checksum(&[&header]);
                header[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
                header
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, UDP, 64];
                header[V6_LENGTH].copy_from_slice(&length.to_be_bytes());
                header.extend(from.octets().into_iter().chain(to.octets()));
                header
            }
            _ => panic!("one version of IP"),
        };
        let header = octets.len();
        octets.extend([source.port(), destination.port(), length, 0].into_iter().flat_map(u16::to_be_bytes));
        octets.extend(payload);
        let covered = transport_sum(&octets, header);
        octets[header + UDP_CHECKSUM..header + UDP_CHECKSUM + 2].copy_from_slice(&covered.to_be_bytes());
        octets.extend([0xa5; 7]);
        IpPacket::parse(octets).unwrap()
    }

    fn checksum(parts: &[&[u8]]) -> u16 {
        let octets = parts.concat();
        let mut sum: u32 = octets
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// The checksum of everything from `header` on, with the pseudo-header; zero if it is right already.
    fn transport_sum(octets: &[u8], header: usize) -> u16 {
        let addresses = if header == V4_HEADER { &octets[12..20] } else { &octets[8..40] };
        let length = u16::try_from(octets.len() - header).unwrap().to_be_bytes();
        checksum(&[
            addresses,
            &[0, octets[if header == V4_HEADER { V4_PROTOCOL } else { V6_NEXT_HEADER }]],
            &length,
            &octets[header..],
        ])
    }

    fn assert_checksums(packet: &IpPacket) {
        let octets = packet.octets();
        if packet.layout.is_v4 {
            assert_eq!(checksum(&[&octets[..V4_HEADER]]), 0, "IP header");
        }
        let header = packet.layout.transport.as_ref().unwrap().offset;
        assert_eq!(transport_sum(octets, header), 0, "transport");
    }

    const PAIRS: [[&str; 4]; 2] = [
        ["198.51.100.1:1000", "203.0.113.1:51820", "192.0.2.7:65535", "192.0.2.8:1"],
        ["[2001:db8:1::1]:1000", "[2001:db8:2::1]:51820", "[2001:db8::7]:65535", "[2001:db8::8]:1"],
    ];

    #[test]
    fn addresses_and_ports_are_read_and_replaced_with_right_checksums() {
        for [source, destination, other_source, other_destination] in PAIRS {
            let mut packet = udp(source, destination, b"odd length!");
            assert_checksums(&packet);
            assert_eq!(packet.socket_address(End::Source), Some(at(source)));
            assert_eq!(packet.socket_address(End::Destination), Some(at(destination)));
            packet.set_socket_address(End::Source, at(other_source));
            packet.set_socket_address(End::Destination, at(other_destination));
            assert_eq!(packet.socket_address(End::Source), Some(at(other_source)));
            assert_eq!(packet.socket_address(End::Destination), Some(at(other_destination)));
            assert_checksums(&packet);
        }
    }

    #[test]
    fn any_bit_of_the_payload_flips_alone_and_leaves_the_checksum_right() {
        for [source, destination, ..] in PAIRS {
            for payload in [b"odd".as_slice(), b"even"] {
                let before = udp(source, destination, payload);
                assert_eq!(before.bit_count(), payload.len() * 8);
                for bit in 0..before.bit_count() {
                    let mut after = before.clone();
                    after.flip_bit(bit);
                    assert_checksums(&after);
                    let from = before.octets().len() - payload.len();
                    let changed = before.octets()[from..].iter().zip(&after.octets()[from..]);
                    assert_eq!(changed.map(|(old, new)| (old ^ new).count_ones()).sum::<u32>(), 1);
                    assert_eq!(after.buffer[after.layout.length..], [0xa5; 7]);
                }
            }
        }
    }

    #[test]
    fn a_udp_packet_without_checksum_stays_without() {
        let mut packet = udp(PAIRS[0][0], PAIRS[0][1], b"data");
        packet.buffer[V4_HEADER + UDP_CHECKSUM..V4_HEADER + UDP_CHECKSUM + 2].fill(0);
        packet.set_socket_address(End::Source, at(PAIRS[0][2]));
        packet.flip_bit(0);
        assert_eq!(packet.buffer[V4_HEADER + UDP_CHECKSUM..V4_HEADER + UDP_CHECKSUM + 2], [0, 0]);
        assert_eq!(checksum(&[&packet.octets()[..V4_HEADER]]), 0);
    }

    #[test]
    fn what_is_no_ip_packet_is_given_back() {
        let whole = udp(PAIRS[0][0], PAIRS[0][1], b"data").octets().to_vec();
        let mut long = whole.clone();
        long[V4_LENGTH].copy_from_slice(&[0xff, 0xff]);
        let mut short_header = whole.clone();
        short_header[0] = 0x44;
        for bad in [
            vec![],
            vec![0x45],
            vec![0; 60],
            whole[..whole.len() - 1].to_vec(),
            long,
            short_header,
            vec![0x60; 30],
        ] {
            assert_eq!(IpPacket::parse(bad.clone()).unwrap_err(), bad);
        }
    }

    #[test]
    fn a_fragment_has_no_ports() {
        let mut octets = udp(PAIRS[0][0], PAIRS[0][1], b"data").octets().to_vec();
        octets[V4_FRAGMENT].copy_from_slice(&[0x20, 0]);
        let packet = IpPacket::parse(octets).unwrap();
        assert_eq!(packet.socket_address(End::Source), None);
    }
}
