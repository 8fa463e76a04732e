//! Cutting and joining: what the device gives in one piece goes out as the kernel itself would have cut it, and what came in
//! piece by piece reaches the device as the kernel would have accepted it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::net::IpAddr;

use proptest::prelude::*;
use tieline_line::{
    counters::DropReason,
    cut::{CutError, SuperPacket},
    join::{Joiner, PARTS_MAX},
};
use tieline_sim::offload::{Content, Flow, cut};
use tieline_wire::{
    checksum::Sum,
    ip::IpPacket,
    vnet::{PartialChecksum, Segments, VNET_HEADER_LEN, VnetHeader},
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

/// What the device is given, packet by packet.
fn join(packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut packets = packets.to_vec();
    let mut joiner = Joiner::new(true);
    let mut written = Vec::new();
    let mut write = |parts: &[std::io::IoSlice<'_>]| {
        let header: [u8; VNET_HEADER_LEN] = parts[0][..].try_into().unwrap();
        written.push((
            VnetHeader::parse(&header).unwrap(),
            parts[1..].iter().flat_map(|part| part.to_vec()).collect(),
        ));
    };
    for packet in &mut packets {
        if let Err(packet) = joiner.push(packet) {
            joiner.flush(&mut write);
            joiner.push(packet).unwrap();
        }
    }
    joiner.flush(&mut write);
    assert_eq!(joiner.flush(|_| ()), None);
    written
}

fn pseudo_header(packet: &[u8], protocol: u8, len: usize) -> Sum {
    let address = |v4: usize, v6: usize| -> IpAddr {
        if packet[0] >> 4 == 4 {
            <[u8; 4]>::try_from(&packet[v4..v4 + 4]).unwrap().into()
        } else {
            <[u8; 16]>::try_from(&packet[v6..v6 + 16]).unwrap().into()
        }
    };
    Sum::of_pseudo_header(address(12, 8), address(16, 24), protocol, len)
}

/// Asserts what every host checks of a packet.
fn assert_is_right(packet: &[u8]) {
    let is_v4 = packet[0] >> 4 == 4;
    assert_eq!(IpPacket::parse(packet).unwrap().total_len, packet.len());
    let transport = if is_v4 { 20 } else { 40 };
    if is_v4 {
        assert_eq!(Sum::of(&packet[..20]).fold(), [0xff, 0xff], "header checksum");
    }
    let protocol = if is_v4 { packet[9] } else { packet[6] };
    let sum = pseudo_header(packet, protocol, packet.len() - transport) + Sum::of(&packet[transport..]);
    assert_eq!(sum.fold(), [0xff, 0xff], "transport checksum");
}

fn flow() -> impl Strategy<Value = Flow> {
    let options = (0..=10_usize, any::<u8>()).prop_map(|(words, octet)| vec![octet; words * 4]);
    (any::<bool>(), prop::bool::weighted(0.7), 0..2_u16, options, prop::sample::select(vec![0, 1, 3, 0xb8]))
        .prop_map(|(is_v4, is_tcp, port, options, traffic_class)| Flow {
            is_v4,
            is_tcp,
            port,
            options,
            traffic_class,
        })
}

fn content() -> impl Strategy<Value = Content> {
    let flags =
        prop::sample::select(vec![ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | CWR, ACK | SYN, ACK | 0x40]);
    let payload = (0..8000_usize, any::<u8>())
        .prop_map(|(len, seed)| (0..len).map(|n| (n as u8).wrapping_mul(31) ^ seed).collect());
    (flow(), any::<u32>(), any::<u16>(), flags, payload, 1..1400_u16).prop_map(
        |(flow, sequence, identification, flags, payload, size)| {
            let payload: Vec<u8> = payload;
            // As many segments as a device is given at most.
            let size = size.max(payload.len().div_ceil(PARTS_MAX) as u16);
            Content { flow, sequence, identification, flags, payload, size }
        },
    )
}

/// Something that happens to packets on their way.
#[derive(Clone, Debug)]
enum Harm {
    None,
    Swap(prop::sample::Index, prop::sample::Index),
    Lose(prop::sample::Index),
    Repeat(prop::sample::Index),
    Flip(prop::sample::Index, prop::sample::Index, u8),
}

fn harm() -> impl Strategy<Value = Harm> {
    use prop::sample::Index;
    prop_oneof![
        Just(Harm::None),
        any::<(Index, Index)>().prop_map(|(one, other)| Harm::Swap(one, other)),
        any::<Index>().prop_map(Harm::Lose),
        any::<Index>().prop_map(Harm::Repeat),
        (any::<Index>(), any::<Index>(), 1..=255_u8)
            .prop_map(|(packet, octet, bits)| Harm::Flip(packet, octet, bits)),
    ]
}

fn do_harm(packets: &mut Vec<Vec<u8>>, harm: &Harm) {
    let len = packets.len();
    match harm {
        Harm::None => {}
        Harm::Swap(one, other) => packets.swap(one.index(len), other.index(len)),
        Harm::Lose(index) => drop(packets.remove(index.index(len))),
        Harm::Repeat(index) => packets.push(packets[index.index(len)].clone()),
        Harm::Flip(packet, octet, bits) => {
            let packet = &mut packets[packet.index(len)];
            let octet = octet.index(packet.len());
            packet[octet] ^= bits;
        }
    }
}

proptest! {
    #[test]
    fn every_segment_is_right_and_together_they_carry_everything(content in content()) {
        let packets = content.cut();
        prop_assert_eq!(packets.len(), content.payload.len().div_ceil(content.size.into()).max(1));
        let headers = content.as_super_packet().0.header_len.into();
        let mut payload = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            assert_is_right(packet);
            prop_assert!(packet.len() <= headers + usize::from(content.size));
            payload.extend_from_slice(&packet[headers..]);
            if content.flow.is_tcp {
                let flags = packet[headers - content.flow.options.len() - 7];
                let is_last = index + 1 == packets.len();
                prop_assert_eq!(flags & (FIN | PSH), if is_last { content.flags & (FIN | PSH) } else { 0 });
                prop_assert_eq!(flags & CWR, if index == 0 { content.flags & CWR } else { 0 });
                let at = headers - content.flow.options.len() - 16;
                let sequence = u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
                let offset = index as u32 * u32::from(content.size);
                prop_assert_eq!(sequence, content.sequence.wrapping_add(offset));
            }
        }
        prop_assert_eq!(payload, content.payload);
    }

    #[test]
    fn joining_what_was_cut_gives_it_back_in_one_piece(content in content()) {
        prop_assume!(content.payload.len() > content.size.into());
        prop_assume!(!content.flow.is_tcp || content.flags & (CWR | SYN) == 0);
        let written = join(&content.cut());
        prop_assert_eq!(written, vec![content.as_super_packet()]);
    }

    #[test]
    fn whatever_comes_is_written_so_that_cutting_it_again_gives_the_same_packets_in_the_same_order(
        contents in prop::collection::vec(content(), 1..6),
        harms in prop::collection::vec(harm(), 0..8),
    ) {
        let mut packets: Vec<Vec<u8>> = contents.iter().flat_map(Content::cut).collect();
        for harm in &harms {
            if packets.len() > 1 {
                do_harm(&mut packets, harm);
            }
        }
        let mut again = Vec::new();
        for (header, packet) in join(&packets) {
            if header == VnetHeader::PLAIN {
                again.push(packet);
            } else {
                again.extend(cut(&header, &packet));
            }
        }
        prop_assert_eq!(again, packets);
    }

    #[test]
    fn garbage_is_cut_or_refused_and_never_panics(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        version in prop::sample::select(vec![0x45_u8, 0x60, 0x4f, 0]),
        header in any::<[u8; VNET_HEADER_LEN]>(),
        start in 0..100_u16,
    ) {
        let mut octets = octets;
        if let Some(first) = octets.first_mut() {
            *first = version;
        }
        let len = octets.len() as u16;
        if let Some(total) = octets.get_mut(2..4).filter(|_| version >> 4 == 4) {
            total.copy_from_slice(&len.to_be_bytes());
        }
        if let Some(payload) = octets.get_mut(4..6).filter(|_| version >> 4 == 6) {
            payload.copy_from_slice(&len.saturating_sub(40).to_be_bytes());
        }
        let Ok(mut header) = VnetHeader::parse(&header) else { return Ok(()) };
        header.checksum = header.checksum.map(|checksum| PartialChecksum { start, ..checksum });
        if let Ok(packet) = SuperPacket::parse(&header, &octets) {
            let mut out = vec![0; packet.len_max()];
            for index in 0..packet.count() {
                packet.write(index, &mut out);
            }
        }
        join(&[octets.clone(), octets]);
    }
}

fn two_segments() -> Content {
    let flow = Flow { is_v4: true, is_tcp: true, port: 80, options: vec![1; 12], traffic_class: 0 };
    Content {
        flow,
        sequence: u32::MAX - 5,
        identification: u16::MAX,
        flags: ACK,
        payload: vec![7; 30],
        size: 16,
    }
}

#[test]
fn one_packet_passes_as_it_is_and_a_missing_checksum_is_completed() {
    let right = two_segments().cut().remove(0);
    assert_eq!(cut(&VnetHeader::PLAIN, &right), std::slice::from_ref(&right));
    let mut partial = right.clone();
    let pseudo = pseudo_header(&partial, 6, partial.len() - 20).fold();
    partial[36..38].copy_from_slice(&pseudo);
    let header =
        VnetHeader { checksum: Some(PartialChecksum { start: 20, offset: 16 }), ..VnetHeader::PLAIN };
    assert_eq!(cut(&header, &partial), [right]);
}

#[test]
fn offload_headers_that_do_not_fit_their_packet_are_refused() {
    let (header, packet) = two_segments().as_super_packet();
    let parse =
        |header: VnetHeader, packet: &[u8]| SuperPacket::parse(&header, packet).map(|_| ()).unwrap_err();
    assert_eq!(parse(header, &packet[..60]), CutError::NotIp);
    assert_eq!(parse(VnetHeader { checksum: None, ..header }, &packet), CutError::Offload);
    for segments in [Segments::TcpV4(0), Segments::TcpV6(16)] {
        assert_eq!(parse(VnetHeader { segments: Some(segments), ..header }, &packet), CutError::Offload);
    }
    for (start, offset) in [(19, 16), (20, 65_535), (75, 0), (200, 16)] {
        let checksum = Some(PartialChecksum { start, offset });
        assert_eq!(parse(VnetHeader { checksum, ..header }, &packet), CutError::Offload, "{start} {offset}");
    }
}

#[test]
fn a_packet_that_is_none_and_an_offload_header_that_does_not_fit_have_counts_of_their_own() {
    let (header, packet) = two_segments().as_super_packet();
    let reason = |header: VnetHeader, packet: &[u8]| {
        SuperPacket::parse(&header, packet).map(|_| ()).map_err(DropReason::from)
    };
    assert_eq!(reason(header, &packet[..60]), Err(DropReason::NotIp));
    let unfit = VnetHeader { checksum: None, ..header };
    assert_eq!(reason(unfit, &packet), Err(DropReason::OffloadMismatch));
}

#[test]
fn a_segment_with_a_wrong_checksum_is_written_alone_and_the_others_joined() {
    let mut content = two_segments();
    content.payload = vec![7; 16 * 6];
    let mut packets = content.cut();
    packets[2][60] ^= 1;
    let written = join(&packets);
    let lens: Vec<usize> = written.iter().map(|(_, packet)| packet.len() - 52).collect();
    assert_eq!(lens, [32, 16, 48]);
    assert_eq!(written[1], (VnetHeader::PLAIN, packets[2].clone()));
}

#[test]
fn no_more_is_joined_than_one_packet_may_be_long() {
    let mut content = two_segments();
    (content.size, content.payload) = (1400, vec![7; 1400 * 46]);
    let mut packets = content.cut();
    content.sequence = content.sequence.wrapping_add(1400 * 46);
    content.identification = content.identification.wrapping_add(46);
    packets.extend(content.cut());
    let written = join(&packets);
    let lens: Vec<usize> = written.iter().map(|(_, packet)| packet.len()).collect();
    assert_eq!(lens, [52 + 46 * 1400, 52 + 46 * 1400]);
    content.size = 1;
    content.payload = vec![7; PARTS_MAX + 2];
    assert_eq!(join(&content.cut()).len(), 2, "no more parts than there is room for");
}

#[test]
fn a_packet_that_lies_about_its_length_is_written_as_it_is() {
    for is_v4 in [true, false] {
        let mut content = two_segments();
        (content.flow.is_v4, content.flow.is_tcp, content.payload) = (is_v4, false, vec![7; 64]);
        let mut packets = content.cut();
        packets[1][if is_v4 { 3 } else { 5 }] ^= 4;
        let lens: Vec<usize> = join(&packets).iter().map(|(_, packet)| packet.len()).collect();
        let headers = if is_v4 { 28 } else { 48 };
        assert_eq!(lens, [headers + 16, headers + 16, headers + 32]);
    }
}

#[test]
fn udp_is_not_joined_for_a_device_that_does_not_take_it() {
    let mut content = two_segments();
    content.flow.is_tcp = false;
    content.payload = vec![7; 64];
    assert_eq!(join(&content.cut()).len(), 1);
    let mut packets = content.cut();
    let mut joiner = Joiner::new(false);
    let [first, second, ..] = &mut packets[..] else { panic!("four packets") };
    assert!(joiner.push(first).is_ok());
    assert!(joiner.push(second).is_err());
}
