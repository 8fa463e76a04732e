//! What the kernel hands over by a device with segmentation offload: an offload header and a packet of up to 64 KiB, which is cut into
//! those that the medium carries.
//!
//! What is accepted is cut into packets of the right lengths and numbers, within the room that was asked for, that together carry all
//! of it; their checksums are right if the kernel's part of them was.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_line::cut::SuperPacket;
use tieline_wire::checksum::Sum;
use tieline_wire::ip::IpPacket;
use tieline_wire::vnet::{PartialChecksum, Segments, VNET_HEADER_LEN, VnetHeader};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    header: [u8; VNET_HEADER_LEN],
    /// Whether the packet says how long it is, and holds the sum of its pseudo header.
    is_honest: bool,
    payload_len: u16,
    headers: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let Ok(header) = VnetHeader::parse(&input.header) else { return };
    assert_eq!(VnetHeader::parse(&header.to_octets()), Ok(header));
    let mut packet = input.headers.to_vec();
    packet.extend((0..input.payload_len).map(|number| (number ^ number >> 8) as u8));
    if input.is_honest {
        say_length(&mut packet);
        sum_pseudo_header(&header, &mut packet);
    }
    let Ok(whole) = SuperPacket::parse(&header, &packet) else { return };
    let start = usize::from(header.checksum.map_or(0, |checksum| checksum.start));
    let count = whole.count();
    let mut out = vec![0xa5; whole.len_max()];
    for index in (0..count).filter(|index| index.min(&(count - index)) < &LOOKED_AT) {
        let len = whole.write(index, &mut out);
        let part = &out[..len];
        let ip = IpPacket::parse(part).expect("a packet");
        assert_eq!(ip.total_len, len);
        assert_eq!((ip.source, ip.destination), (whole.ip().source, whole.ip().destination));
        let Some(segments) = header.segments else {
            assert!(header.checksum.is_some() || part == packet);
            assert_eq!((count, len), (1, packet.len()));
            continue;
        };
        let (protocol, size) = protocol_and_size(segments);
        if count > 1 {
            // A part is no longer than the first, which has all its size.
            let headers = whole.len_max() - size;
            let behind = &packet[headers + size * index..];
            assert_eq!(part[headers..], behind[..behind.len().min(size)]);
        }
        if protocol == TCP {
            let sequence =
                |packet: &[u8]| u32::from_be_bytes(packet[start + 4..][..4].try_into().expect("four octets"));
            assert_eq!(sequence(part), sequence(&packet).wrapping_add((size * index) as u32));
        }
        if ip.source.is_ipv4() {
            assert_eq!(Sum::of(&part[..usize::from(part[0] & 15) * 4]).fold(), RIGHT);
        }
        if input.is_honest {
            let pseudo = Sum::of_pseudo_header(ip.source, ip.destination, protocol, len - start);
            assert_eq!((pseudo + Sum::of(&part[start..])).fold(), RIGHT);
        }
    }
});

fn say_length(packet: &mut [u8]) {
    let len = packet.len();
    let (at, len) = match packet.first().map(|first| first >> 4) {
        Some(4) if len >= 20 => (2, len),
        Some(6) if len >= 40 => (4, len - 40),
        _ => return,
    };
    packet[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
}

/// As the kernel does before it hands a packet over that is to be cut.
fn sum_pseudo_header(header: &VnetHeader, packet: &mut [u8]) {
    let (Some(PartialChecksum { start, .. }), Some(segments)) = (header.checksum, header.segments) else {
        return;
    };
    let (protocol, _) = protocol_and_size(segments);
    let Ok(ip) = IpPacket::parse(packet) else { return };
    let (start, len) = (usize::from(start), packet.len());
    let at = start + if protocol == TCP { 16 } else { 6 };
    if let Some(checksum) = packet.get_mut(at..at + 2) {
        let pseudo = Sum::of_pseudo_header(ip.source, ip.destination, protocol, len - start);
        checksum.copy_from_slice(&pseudo.fold());
    }
}

fn protocol_and_size(segments: Segments) -> (u8, usize) {
    match segments {
        Segments::TcpV4(size) | Segments::TcpV6(size) => (TCP, size.into()),
        Segments::Udp(size) => (UDP, size.into()),
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const RIGHT: [u8; 2] = [0xff; 2];
/// Parts that are looked at from the front, and from the end: there can be 65,535.
const LOOKED_AT: usize = 16;
