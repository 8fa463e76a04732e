//! Packets as the kernel hands them to a device with segmentation offload: several in one, with the header that says how they are to be cut.
//!
//! For tests of cutting and joining. What a stranger may send instead is up to the test.

use tieline_line::cut::SuperPacket;
use tieline_wire::checksum::Sum;
use tieline_wire::ip::IpPacket;
use tieline_wire::vnet::{PartialChecksum, Segments, VnetHeader};

const TCP: u8 = 6;
const TCP_HEADER_WORDS: usize = 5;
const TCP_CHECKSUM: usize = 16;
const UDP: u8 = 17;
const UDP_HEADER_LEN: usize = 8;
const UDP_CHECKSUM: usize = 6;
const IPV4_HEADER_LEN: usize = 20;
const IPV4_CHECKSUM: usize = 10;

/// What a flow's packets have in common.
#[derive(Clone, Debug)]
pub struct Flow {
    /// IPv4 or IPv6.
    pub is_v4: bool,
    /// TCP or UDP.
    pub is_tcp: bool,
    /// The destination's.
    pub port: u16,
    /// Of TCP, in whole words, 10 at most.
    pub options: Vec<u8>,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

/// One packet, or several in one.
#[derive(Clone, Debug)]
pub struct Content {
    /// What they belong to.
    pub flow: Flow,
    /// Of TCP, in the first.
    pub sequence: u32,
    /// Of IPv4, in the first.
    pub identification: u16,
    /// Of TCP, of all together.
    pub flags: u8,
    /// Of all together.
    pub payload: Vec<u8>,
    /// Octets of payload in each segment.
    pub size: u16,
}

impl Content {
    /// As the kernel hands it over: one set of headers, and a checksum of the pseudo header only.
    ///
    /// # Panics
    ///
    /// If it is longer than an IP packet can be.
    #[must_use]
    pub fn as_super_packet(&self) -> (VnetHeader, Vec<u8>) {
        let header = self.transport_header();
        let len = header.len() + self.payload.len();
        let mut packet = self.ip_header(len);
        let start = packet.len();
        packet.extend(&header);
        packet.extend(&self.payload);
        let ip = IpPacket::parse(&packet).expect("an IP packet of this length");
        let pseudo = Sum::of_pseudo_header(ip.source, ip.destination, self.protocol(), len).fold();
        let offset = if self.flow.is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        packet[start + offset..][..2].copy_from_slice(&pseudo);
        let segments = match (self.flow.is_tcp, self.flow.is_v4) {
            (true, true) => Segments::TcpV4(self.size),
            (true, false) => Segments::TcpV6(self.size),
            (false, _) => Segments::Udp(self.size),
        };
        let header = VnetHeader {
            checksum: Some(PartialChecksum { start: start as u16, offset: offset as u16 }),
            segments: Some(segments),
            header_len: (start + header.len()) as u16,
        };
        (header, packet)
    }

    /// The packets that it is to be cut into, by the product.
    ///
    /// # Panics
    ///
    /// As [`Self::as_super_packet`] and [`cut`].
    #[must_use]
    pub fn cut(&self) -> Vec<Vec<u8>> {
        let (header, packet) = self.as_super_packet();
        cut(&header, &packet)
    }

    fn protocol(&self) -> u8 {
        if self.flow.is_tcp { TCP } else { UDP }
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = vec![0x12, 0x34];
        header.extend(self.flow.port.to_be_bytes());
        if self.flow.is_tcp {
            let words = TCP_HEADER_WORDS + self.flow.options.len() / 4;
            header.extend(self.sequence.to_be_bytes());
            header.extend([0, 0, 0x77, 0x77]);
            header.extend([(words as u8) << 4, self.flags, 1, 2, 0, 0, 0, 0]);
            header.extend(&self.flow.options);
        } else {
            header.extend(((UDP_HEADER_LEN + self.payload.len()) as u16).to_be_bytes());
            header.extend([0, 0]);
        }
        header
    }

    fn ip_header(&self, len: usize) -> Vec<u8> {
        let traffic_class = self.flow.traffic_class;
        let mut header = Vec::new();
        if self.flow.is_v4 {
            header.extend([0x45, traffic_class]);
            header.extend(((IPV4_HEADER_LEN + len) as u16).to_be_bytes());
            header.extend(self.identification.to_be_bytes());
            header.extend([0x40, 0, 64, self.protocol(), 0, 0, 10, 1, 0, 7, 10, 2, 0, 9]);
            let checksum = Sum::of(&header).checksum();
            header[IPV4_CHECKSUM..][..2].copy_from_slice(&checksum);
        } else {
            header.extend([0x60 | traffic_class >> 4, traffic_class << 4, 0x0a, 0xbc]);
            header.extend((len as u16).to_be_bytes());
            header.extend([self.protocol(), 64]);
            header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 7]);
            header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 9]);
        }
        header
    }
}

/// Cuts as the sending thread does, into a buffer that held something else.
///
/// # Panics
///
/// If the product does not take it, or writes more than it said.
#[must_use]
pub fn cut(header: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let packet = SuperPacket::parse(header, packet).expect("a header that fits its packet");
    let mut out = vec![0xa5; packet.len_max()];
    let part = |index| {
        let len = packet.write(index, &mut out);
        out[..len].to_vec()
    };
    (0..packet.count()).map(part).collect()
}
