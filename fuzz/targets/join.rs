//! Packets that came over the line and follow one another are joined for a device with segmentation offload: whatever the far end sends, in
//! whatever order and state, the kernel gets what cuts into exactly these packets, in this order.
#![no_main]

use std::io::IoSlice;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_line::cut::SuperPacket;
use tieline_line::join::Joiner;
use tieline_wire::checksum::Sum;
use tieline_wire::ip::IpPacket;
use tieline_wire::vnet::{PartialChecksum, Segments, VNET_HEADER_LEN, VnetHeader};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    joins_udp: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// The packets that a stream of TCP or a run of datagrams comes in.
    Run(Run),
    /// The run before goes on where it stopped.
    Continue {
        payload_len: u16,
        flags: u8,
    },
    /// Any octets.
    Octets(&'a [u8]),
    Swap(u8, u8),
    Lose(u8),
    Repeat(u8),
    Flip {
        which: u8,
        at: u16,
        mask: u8,
    },
    /// Cuts a packet short.
    Cut {
        which: u8,
        len: u16,
    },
}

#[derive(Arbitrary, Clone, Debug)]
struct Run {
    is_v4: bool,
    is_tcp: bool,
    port: u8,
    traffic_class: u8,
    option_words: u8,
    sequence: u32,
    identification: u16,
    flags: u8,
    payload_len: u16,
    size: u16,
}

fuzz_target!(|input: Input<'_>| {
    let packets = packets(input.steps);
    let mut again: Vec<Vec<u8>> = Vec::new();
    let mut lent = packets.clone();
    let mut joiner = Joiner::new(input.joins_udp);
    for packet in &mut lent {
        if let Err(packet) = joiner.push(packet) {
            joiner.flush(|parts| cut_again(parts, &mut again));
            joiner.push(packet).expect("an empty joiner takes everything");
        }
    }
    joiner.flush(|parts| cut_again(parts, &mut again));
    assert!(joiner.flush(|_| ()).is_none(), "something is left");
    assert_eq!(again, packets);
});

/// What the kernel does with what it is given.
fn cut_again(parts: &[IoSlice<'_>], again: &mut Vec<Vec<u8>>) {
    let header: [u8; VNET_HEADER_LEN] = parts[0][..].try_into().expect("the header first");
    let header = VnetHeader::parse(&header).expect("our own");
    let packet: Vec<u8> = parts[1..].iter().flat_map(|part| part.to_vec()).collect();
    if header == VnetHeader::PLAIN {
        again.push(packet);
    } else {
        assert_eq!(parts[1].len(), usize::from(header.header_len) + size_of(header));
        again.extend(cut(&header, &packet));
    }
}

fn packets(steps: Vec<Step<'_>>) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut last: Option<Run> = None;
    for step in steps.into_iter().take(STEPS_MAX) {
        let pick = |which: u8| usize::from(which) % packets.len().max(1);
        match step {
            Step::Run(run) => {
                packets.extend(run.packets());
                last = Some(run);
            }
            Step::Continue { payload_len, flags } => {
                let Some(run) = &mut last else { continue };
                run.goes_on(payload_len, flags);
                packets.extend(run.packets());
            }
            Step::Octets(octets) => packets.push(octets.to_vec()),
            _ if packets.is_empty() => {}
            Step::Swap(one, other) => {
                let (one, other) = (pick(one), pick(other));
                packets.swap(one, other);
            }
            Step::Lose(which) => drop(packets.remove(pick(which))),
            Step::Repeat(which) => packets.push(packets[pick(which)].clone()),
            Step::Flip { which, at, mask } => {
                let which = pick(which);
                let packet = &mut packets[which];
                let at = usize::from(at) % packet.len().max(1);
                if let Some(octet) = packet.get_mut(at) {
                    *octet ^= mask;
                }
            }
            Step::Cut { which, len } => {
                let which = pick(which);
                packets[which].truncate(len.into());
            }
        }
        packets.truncate(PACKETS_MAX);
    }
    packets
}

impl Run {
    fn packets(&self) -> Vec<Vec<u8>> {
        let (header, packet) = self.as_super_packet();
        cut(&header, &packet)
    }

    fn goes_on(&mut self, payload_len: u16, flags: u8) {
        let (sent, size) = (self.payload_len(), self.size());
        self.sequence = self.sequence.wrapping_add(sent.into());
        self.identification = self.identification.wrapping_add(sent.div_ceil(size).max(1));
        (self.payload_len, self.flags) = (payload_len, flags);
    }

    fn payload_len(&self) -> u16 {
        self.payload_len % PAYLOAD_LEN_MAX
    }

    /// Octets of payload in a packet: few enough for more packets than are joined, and not for many more.
    fn size(&self) -> u16 {
        self.size.max(self.payload_len() / 80).max(1)
    }

    /// As the kernel hands it over: one set of headers, and a checksum of the pseudo header only.
    fn as_super_packet(&self) -> (VnetHeader, Vec<u8>) {
        let (protocol, checksum_at) = if self.is_tcp { (6, 16) } else { (17, 6) };
        let mut transport = vec![0x12, 0x34, 0x56, self.port];
        let options = usize::from(self.option_words % 11) * 4;
        if self.is_tcp {
            transport.extend(self.sequence.to_be_bytes());
            transport.extend([0, 0, 0x77, 0x77, ((20 + options) * 4) as u8, self.flags, 1, 2, 0, 0, 0, 0]);
            transport.extend(std::iter::repeat_n(1, options));
        } else {
            transport.extend((8 + self.payload_len()).to_be_bytes());
            transport.extend([0, 0]);
        }
        let transport_header_len = transport.len();
        transport.extend((0..self.payload_len()).map(|number| number as u8));
        let mut packet = Vec::new();
        if self.is_v4 {
            packet.extend([0x45, self.traffic_class]);
            packet.extend(((20 + transport.len()) as u16).to_be_bytes());
            packet.extend(self.identification.to_be_bytes());
            packet.extend([0x40, 0, 64, protocol, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9]);
            let checksum = Sum::of(&packet).checksum();
            packet[10..12].copy_from_slice(&checksum);
        } else {
            packet.extend([0x60 | self.traffic_class >> 4, self.traffic_class << 4, 0x0a, 0xbc]);
            packet.extend((transport.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend([[0xfd; 16], [0xfe; 16]].concat());
        }
        let start = packet.len();
        packet.extend(&transport);
        let ip = IpPacket::parse(&packet).expect("a packet");
        let pseudo = Sum::of_pseudo_header(ip.source, ip.destination, protocol, transport.len());
        packet[start + checksum_at..][..2].copy_from_slice(&pseudo.fold());
        let segments = match (self.is_tcp, self.is_v4) {
            (true, true) => Segments::TcpV4(self.size()),
            (true, false) => Segments::TcpV6(self.size()),
            (false, _) => Segments::Udp(self.size()),
        };
        let header = VnetHeader {
            checksum: Some(PartialChecksum { start: start as u16, offset: checksum_at as u16 }),
            segments: Some(segments),
            header_len: (start + transport_header_len) as u16,
        };
        (header, packet)
    }
}

fn cut(header: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let packet = SuperPacket::parse(header, packet).expect("our own");
    let mut out = vec![0xa5; packet.len_max()];
    let part = |index| {
        let len = packet.write(index, &mut out);
        out[..len].to_vec()
    };
    (0..packet.count()).map(part).collect()
}

fn size_of(header: VnetHeader) -> usize {
    match header.segments {
        Some(Segments::TcpV4(size) | Segments::TcpV6(size) | Segments::Udp(size)) => size.into(),
        None => 0,
    }
}

const STEPS_MAX: usize = 32;
const PACKETS_MAX: usize = 256;
/// A run that goes on is soon more than fits one packet of 64 KiB.
const PAYLOAD_LEN_MAX: u16 = 8_000;
