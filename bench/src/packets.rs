//! Packets as the kernel hands them to a device with segmentation offload.

use tieline_line::cut::SuperPacket;
use tieline_wire::{
    checksum::Sum,
    vnet::{PartialChecksum, Segments, VnetHeader},
};

/// The largest packet of the line: what WireGuard leaves of 1,500 octets over IPv6.
pub const MTU: usize = 1420;
/// IPv4 and TCP with the time stamp option, as Linux sends them.
const HEADERS_LEN: usize = IPV4_HEADER_LEN + TCP_HEADER_LEN;
const IPV4_HEADER_LEN: usize = 20;
const TCP_HEADER_LEN: usize = 32;
/// Octets of payload in each segment.
const SIZE: usize = MTU - HEADERS_LEN;
/// Segments in 64 KiB.
pub const SEGMENTS: usize = 47;

const SOURCE: [u8; 4] = [10, 1, 0, 2];
const DESTINATION: [u8; 4] = [10, 2, 0, 2];
const TCP: u8 = 6;
const ACK: u8 = 0x10;

/// 47 full segments of a TCP stream in one packet, from 10.1.0.2 to 10.2.0.2, with the header that stands before it.
#[must_use]
pub fn super_packet() -> (VnetHeader, Vec<u8>) {
    let total_len = HEADERS_LEN + SEGMENTS * SIZE;
    let mut packet = vec![0x45, 0];
    packet.extend(octets(total_len));
    packet.extend([0x12, 0x34, 0x40, 0, 64, TCP, 0, 0]);
    packet.extend([SOURCE, DESTINATION].concat());
    let checksum = Sum::of(&packet).checksum();
    packet[10..12].copy_from_slice(&checksum);
    // Ports, sequence number, acknowledgement number, length and flags, window, checksum and urgent pointer.
    packet.extend([0xc0, 0, 0x14, 0x51, 1, 2, 3, 4, 5, 6, 7, 8, (TCP_HEADER_LEN as u8 / 4) << 4, ACK]);
    packet.extend([1, 0]);
    packet.extend(
        Sum::of_pseudo_header(SOURCE.into(), DESTINATION.into(), TCP, total_len - IPV4_HEADER_LEN).fold(),
    );
    packet.extend([0, 0]);
    // Two fillers and the time stamps.
    packet.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend((0..SEGMENTS * SIZE).map(|place| (place % 251) as u8));
    let header = VnetHeader {
        checksum: Some(PartialChecksum { start: IPV4_HEADER_LEN as u16, offset: 16 }),
        segments: Some(Segments::TcpV4(SIZE as u16)),
        header_len: HEADERS_LEN as u16,
    };
    (header, packet)
}

/// The same, cut: 47 packets of [`MTU`] octets.
///
/// # Panics
///
/// If the product cannot cut it.
#[must_use]
pub fn segments() -> Vec<Vec<u8>> {
    let (header, packet) = super_packet();
    let whole = SuperPacket::parse(&header, &packet).expect("a good packet");
    let mut out = vec![0; whole.len_max()];
    let cut = |index| {
        let len = whole.write(index, &mut out);
        out[..len].to_vec()
    };
    (0..whole.count()).map(cut).collect()
}

fn octets(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}
