//! Packets that follow one another in a flow become one packet for a device with segmentation offload.
//!
//! The inverse of [`crate::cut`]: joined are only packets that the kernel, cutting the result again, would make of it octet for octet,
//! and whose checksums are right, so that a joined packet is accepted exactly when each of its parts would have been. Everything else
//! goes to the device as it is. Nothing is copied: the parts stay where they were opened, and only the headers of the first
//! are changed. Nothing overtakes anything, since only a packet that follows directly is joined.

use std::io::IoSlice;

use tieline_wire::{
    checksum::Sum,
    ip::IpPacket,
    vnet::{PartialChecksum, Segments, VnetHeader},
};

/// Parts of one packet: more than 64 KiB have of full size.
pub const PARTS_MAX: usize = 64;
/// The longest packet that IP knows.
const TOTAL_LEN_MAX: usize = 65_535;

const IPV4_HEADER_LEN: usize = 20;
const IPV4_PROTOCOL: usize = 9;
const IPV6_HEADER_LEN: usize = 40;
const IPV6_NEXT_HEADER: usize = 6;
/// More fragments, or an offset: all but "don't fragment".
const FRAGMENT: u16 = 0xbfff;

const TCP: u8 = 6;
const TCP_HEADER_LEN_MIN: usize = 20;
const TCP_CHECKSUM: usize = 16;
const TCP_FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

const UDP: u8 = 17;
const UDP_HEADER_LEN: usize = 8;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// Joins packets; owned by the receiving thread.
#[derive(Debug)]
pub struct Joiner<'b> {
    /// What stands before the first packet and each of the others, on a device that takes frames.
    link: &'b [u8],
    /// The first packet and, if others may be joined to it, what is known of it.
    first: Option<(&'b mut [u8], Option<Shape>)>,
    /// The payloads of those that were joined to it.
    rest: [&'b [u8]; PARTS_MAX],
    joined: usize,
    total_len: usize,
    /// Whether nothing may be joined any more.
    is_closed: bool,
    joins_udp: bool,
}

/// Where the parts of a packet are that may be joined to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    is_v4: bool,
    protocol: u8,
    transport: usize,
    headers: usize,
    size: usize,
}

impl<'b> Joiner<'b> {
    /// Holds nothing. `joins_udp`: whether the device takes UDP datagrams joined (`TUN_F_USO4` and `TUN_F_USO6`).
    #[must_use]
    pub fn new(joins_udp: bool) -> Self {
        Self {
            link: &[],
            first: None,
            rest: [&[]; PARTS_MAX],
            joined: 0,
            total_len: 0,
            is_closed: false,
            joins_udp,
        }
    }

    /// Takes a packet of exactly its own length.
    ///
    /// # Errors
    ///
    /// Gives it back if it does not go with what is held: [`Self::flush`], then try again; an empty joiner takes everything.
    pub fn push(&mut self, packet: &'b mut [u8]) -> Result<(), &'b mut [u8]> {
        self.push_frame(&[], packet)
    }

    /// Takes what is behind the first headers, `link`, of a frame; only such with the same are joined.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn push_frame(&mut self, link: &'b [u8], packet: &'b mut [u8]) -> Result<(), &'b mut [u8]> {
        let shape = Shape::of(packet).filter(|shape| self.joins_udp || shape.protocol == TCP);
        let Some((first, first_shape)) = &self.first else {
            self.link = link;
            self.total_len = packet.len();
            self.is_closed = shape.is_none_or(|shape| shape.ends(packet));
            self.first = Some((packet, shape));
            return Ok(());
        };
        let (Some(shape), Some(first_shape)) = (shape, first_shape) else { return Err(packet) };
        let follows = !self.is_closed
            && self.link == link
            && self.joined < PARTS_MAX
            && self.total_len + shape.size <= TOTAL_LEN_MAX
            && shape.follows(packet, first_shape, first, self.joined + 1, self.total_len)
            && shape.is_right(packet)
            && (self.joined > 0 || first_shape.is_right(first));
        if !follows {
            return Err(packet);
        }
        self.is_closed = shape.size < first_shape.size || shape.ends(packet);
        if shape.ends(packet) && shape.protocol == TCP {
            let flags = packet[shape.transport + TCP_FLAGS] & (FIN | PSH);
            if let Some((first, _)) = &mut self.first {
                first[shape.transport + TCP_FLAGS] |= flags;
            }
        }
        let packet: &'b [u8] = packet;
        self.rest[self.joined] = &packet[shape.headers..];
        self.joined += 1;
        self.total_len += shape.size;
        Ok(())
    }

    /// How many packets are held, joined to one.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.joined
    }

    /// Hands what is held to `write`, the offload header first, and holds nothing any more; `None` if nothing was held.
    pub fn flush<R>(&mut self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> Option<R> {
        let (first, shape) = self.first.take()?;
        let header = match shape {
            Some(shape) if self.joined > 0 => shape.finish(first, self.total_len).behind(self.link.len()),
            _ => VnetHeader::PLAIN,
        };
        let header = header.to_octets();
        let mut parts = [IoSlice::new(&[]); PARTS_MAX + 3];
        let mut count = 0;
        let link = (!self.link.is_empty()).then_some(self.link);
        let rest = self.rest[..std::mem::take(&mut self.joined)].iter().copied();
        for part in [&header[..]].into_iter().chain(link).chain([&*first]).chain(rest) {
            parts[count] = IoSlice::new(part);
            count += 1;
        }
        Some(write(&parts[..count]))
    }
}

impl Shape {
    /// The shape of a packet that may be one of several: TCP that only carries data, or UDP, directly after IP without options.
    fn of(packet: &[u8]) -> Option<Self> {
        let (is_v4, protocol, transport) = match packet.first()? {
            0x45 if word(packet, 6)? & FRAGMENT == 0 => (true, *packet.get(IPV4_PROTOCOL)?, IPV4_HEADER_LEN),
            version if version >> 4 == 6 => (false, *packet.get(IPV6_NEXT_HEADER)?, IPV6_HEADER_LEN),
            _ => return None,
        };
        let header_len = match protocol {
            TCP => {
                let header = packet.get(transport..transport + TCP_HEADER_LEN_MIN)?;
                let flags = header[TCP_FLAGS];
                let carries_data = flags & ACK != 0 && flags & !(ACK | PSH | FIN | ECE) == 0;
                let header_len = usize::from(header[12] >> 4) * 4;
                Some(header_len).filter(|len| carries_data && *len >= TCP_HEADER_LEN_MIN)?
            }
            UDP => {
                let header = packet.get(transport..transport + UDP_HEADER_LEN)?;
                let is_whole = usize::from(word(header, UDP_LENGTH)?) == packet.len() - transport;
                // Without a checksum there is nothing that the kernel could complete.
                Some(UDP_HEADER_LEN).filter(|_| is_whole && header[UDP_CHECKSUM..] != [0, 0])?
            }
            _ => return None,
        };
        // What says another length of itself than it has would be changed by being joined.
        IpPacket::parse(packet).ok().filter(|ip| ip.total_len == packet.len())?;
        let headers = transport + header_len;
        let size = packet.len().checked_sub(headers).filter(|size| *size > 0)?;
        Some(Self { is_v4, protocol, transport, headers, size })
    }

    /// Whether a packet of this shape ends what it is joined to.
    fn ends(&self, packet: &[u8]) -> bool {
        self.protocol == TCP && packet[self.transport + TCP_FLAGS] & (FIN | PSH) != 0
    }

    /// Whether `packet` is what cutting would make of a larger `first` as its part number `index`, `offset` octets (of headers and
    /// payloads so far) behind.
    fn follows(&self, packet: &[u8], shape: &Self, first: &[u8], index: usize, total_len: usize) -> bool {
        let alike = |from: usize, to: usize| packet[from..to] == first[from..to];
        let transport_alike = |from: usize, to: usize| alike(self.transport + from, self.transport + to);
        if (self.is_v4, self.protocol, self.headers) != (shape.is_v4, shape.protocol, shape.headers)
            || self.size > shape.size
        {
            return false;
        }
        let ip_follows = if self.is_v4 {
            // All but length, identification and checksum.
            let identification = word(first, 4).map(|first| first.wrapping_add(index as u16));
            alike(0, 2) && alike(6, 10) && alike(12, 20) && word(packet, 4) == identification
        } else {
            alike(0, 4) && alike(6, 40)
        };
        if self.protocol == UDP {
            return ip_follows && transport_alike(0, 4);
        }
        let sequence = |packet: &[u8]| {
            let at = self.transport + 4;
            packet[at..].first_chunk().map(|octets| u32::from_be_bytes(*octets))
        };
        let expected = sequence(first).map(|first| first.wrapping_add((total_len - self.headers) as u32));
        // Flags may differ in those that end a run; the first has taken none yet, or nothing would be joined any more.
        let flags = [packet, first].map(|packet| packet[self.transport + TCP_FLAGS] & !(FIN | PSH));
        ip_follows
            && sequence(packet) == expected
            && flags[0] == flags[1]
            && transport_alike(0, 4)
            && transport_alike(8, TCP_FLAGS)
            && transport_alike(TCP_FLAGS + 1, TCP_CHECKSUM)
            && alike(self.transport + TCP_CHECKSUM + 2, self.headers)
    }

    /// Whether every checksum in the packet is right.
    fn is_right(&self, packet: &[u8]) -> bool {
        let is_right = |sum: Sum| sum.fold() == [0xff, 0xff];
        (!self.is_v4 || is_right(Sum::of(&packet[..IPV4_HEADER_LEN])))
            && self
                .pseudo_header(packet, packet.len() - self.transport)
                .is_some_and(|pseudo| is_right(pseudo + Sum::of(&packet[self.transport..])))
    }

    fn pseudo_header(&self, packet: &[u8], len: usize) -> Option<Sum> {
        let ip = IpPacket::parse(packet).ok()?;
        Some(Sum::of_pseudo_header(ip.source, ip.destination, self.protocol, len))
    }

    /// Makes the headers of the first packet those of the whole, with the checksum left to the kernel.
    fn finish(&self, first: &mut [u8], total_len: usize) -> VnetHeader {
        let len = total_len - self.transport;
        // Before the length says more than is here.
        let pseudo = self.pseudo_header(first, len).unwrap_or_default().fold();
        if self.is_v4 {
            put(first, 2, total_len as u16);
            put(first, 10, 0);
            let checksum = Sum::of(&first[..IPV4_HEADER_LEN]).checksum();
            first[10..12].copy_from_slice(&checksum);
        } else {
            put(first, 4, (total_len - IPV6_HEADER_LEN) as u16);
        }
        let size = self.size as u16;
        let (offset, segments) = match (self.protocol, self.is_v4) {
            (UDP, _) => {
                put(first, self.transport + UDP_LENGTH, len as u16);
                (UDP_CHECKSUM, Segments::Udp(size))
            }
            (_, true) => (TCP_CHECKSUM, Segments::TcpV4(size)),
            (_, false) => (TCP_CHECKSUM, Segments::TcpV6(size)),
        };
        first[self.transport + offset..][..2].copy_from_slice(&pseudo);
        VnetHeader {
            checksum: Some(PartialChecksum { start: self.transport as u16, offset: offset as u16 }),
            segments: Some(segments),
            header_len: self.headers as u16,
        }
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
}

fn put(packet: &mut [u8], at: usize, word: u16) {
    packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
}
