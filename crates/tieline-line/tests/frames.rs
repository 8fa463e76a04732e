//! Frames cut and joined: what the device in a bridge gives in one piece goes out as an Ethernet has it, and what came in frame by frame is
//! joined so that a kernel cuts it the same way again.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use proptest::prelude::*;
use tieline_line::{class::ServiceClass, join::Joiner, lan::super_frame::SuperFrame};
use tieline_sim::offload::{Content, Flow};
use tieline_wire::{
    checksum::Sum,
    ds::Dscp,
    ethernet::EthernetFrame,
    vnet::{PartialChecksum, VNET_HEADER_LEN, VnetHeader},
};

const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7];

/// Headers of a frame with so many tags, the outer one of this priority.
fn link(tags: usize, priority: u8, is_v4: bool) -> Vec<u8> {
    let tag = [0x81, 0, priority << 5, 5];
    let ethertype = if is_v4 { [0x08, 0] } else { [0x86, 0xdd] };
    [&ADDRESSES[..], &tag.repeat(tags), &ethertype].concat()
}

/// As the device in a bridge gives it: the link's headers, and what the header before it says of what is behind them.
fn framed(link: &[u8], content: &Content) -> (VnetHeader, Vec<u8>) {
    let (header, packet) = content.as_super_packet();
    (header.behind(link.len()), [link, &packet].concat())
}

fn cut(header: &VnetHeader, octets: &[u8]) -> Vec<Vec<u8>> {
    let frames = SuperFrame::parse(header, &EthernetFrame::parse(octets).unwrap()).unwrap();
    let cut = (0..frames.count()).map(|index| {
        let mut out = vec![0xa5; frames.len_max()];
        let len = frames.write(index, &mut out);
        out[..len].to_vec()
    });
    cut.collect()
}

fn join(frames: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut frames = frames.to_vec();
    let mut written = Vec::new();
    let mut write = |parts: &[std::io::IoSlice<'_>]| {
        let header: [u8; VNET_HEADER_LEN] = parts[0][..].try_into().unwrap();
        let octets = parts[1..].iter().flat_map(|part| part.to_vec()).collect();
        written.push((VnetHeader::parse(&header).unwrap(), octets));
    };
    let mut joiner = Joiner::new(true);
    for frame in &mut frames {
        let len = EthernetFrame::parse(frame).unwrap().link.len();
        let (link, packet) = frame.split_at_mut(len);
        if let Err(packet) = joiner.push_frame(link, packet) {
            joiner.flush(&mut write);
            joiner.push_frame(link, packet).unwrap();
        }
    }
    joiner.flush(&mut write);
    written
}

fn content() -> impl Strategy<Value = Content> {
    (any::<bool>(), any::<bool>(), 1..6000_usize, 200..1400_u16, any::<u32>()).prop_map(
        |(is_v4, is_tcp, len, size, sequence)| Content {
            flow: Flow { is_v4, is_tcp, port: 80, options: vec![], traffic_class: 0 },
            sequence,
            identification: 7,
            flags: 0x10,
            payload: (0..len).map(|number| number as u8).collect(),
            size,
        },
    )
}

proptest! {
    #[test]
    fn each_frame_has_the_headers_and_a_packet_as_a_routed_line_would_cut_it(content in content(), tags in 0..3_usize) {
        let link = link(tags, 0, content.flow.is_v4);
        let (header, octets) = framed(&link, &content);
        let packets = content.cut();
        let frames = cut(&header, &octets);
        prop_assert_eq!(frames.len(), packets.len());
        for (frame, packet) in frames.iter().zip(&packets) {
            prop_assert_eq!(frame, &[&link[..], packet].concat());
        }
    }

    #[test]
    fn frames_that_were_cut_are_joined_to_what_they_were(content in content(), tags in 0..3_usize) {
        prop_assume!(content.payload.len() > content.size.into());
        let link = link(tags, 3, content.flow.is_v4);
        let (header, octets) = framed(&link, &content);
        prop_assert_eq!(join(&cut(&header, &octets)), vec![(header, octets)]);
    }

    #[test]
    fn frames_of_different_hosts_or_vlans_are_not_joined(content in content()) {
        prop_assume!(content.payload.len() > content.size.into());
        let link = link(1, 0, content.flow.is_v4);
        let (header, octets) = framed(&link, &content);
        let mut frames = cut(&header, &octets);
        let count = frames.len();
        for (number, frame) in frames.iter_mut().enumerate() {
            frame[15] = number as u8;
        }
        prop_assert_eq!(join(&frames).len(), count);
    }
}

#[test]
fn a_padded_frame_and_one_of_another_protocol_go_as_they_are() {
    let mut padded = link(0, 0, true);
    padded.extend([0x45, 0, 0, 21, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9, 1]);
    padded.resize(60, 0);
    let other = [&ADDRESSES[..], &[0x88, 0xb6], &[7; 50]].concat();
    for frame in [padded, other] {
        assert_eq!(cut(&VnetHeader::PLAIN, &frame), std::slice::from_ref(&frame));
        assert_eq!(join(std::slice::from_ref(&frame)), [(VnetHeader::PLAIN, frame)]);
    }
}

#[test]
fn a_checksum_that_is_left_to_others_is_completed_wherever_it_is() {
    // Over 10 octets of a protocol that nobody here knows, behind 6 of its own.
    let mut frame =
        [&ADDRESSES[..], &[0x88, 0xb6], &[1, 2, 3, 4, 5, 6, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]].concat();
    let header = VnetHeader { checksum: Some(PartialChecksum { start: 20, offset: 0 }), ..VnetHeader::PLAIN };
    let sum = Sum::of(&frame[20..]).checksum();
    let cut = cut(&header, &frame);
    frame[20..22].copy_from_slice(&sum);
    assert_eq!(cut, [frame.clone()]);
    let short = EthernetFrame::parse(&frame).unwrap();
    for start in [0, 13, 29, 400] {
        let checksum = Some(PartialChecksum { start, offset: 0 });
        assert!(SuperFrame::parse(&VnetHeader { checksum, ..VnetHeader::PLAIN }, &short).is_err(), "{start}");
    }
}

#[test]
fn how_a_frame_is_served_is_said_by_its_packet_or_else_by_its_tag() {
    use ServiceClass::{Bulk, Control, Interactive, Standard, Voice};
    let class = |priority, ds| {
        let mut frame = link(1, priority, true);
        frame.extend([0x45, ds, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9]);
        let parsed = EthernetFrame::parse(&frame).unwrap();
        SuperFrame::parse(&VnetHeader::PLAIN, &parsed).unwrap().class()
    };
    let ef = Dscp::EF.value() << 2;
    assert_eq!((class(0, ef), class(1, ef)), (Voice, Voice));
    let by_tag: Vec<_> = (0..8).map(|priority| class(priority, 0)).collect();
    assert_eq!(by_tag, [Standard, Bulk, Interactive, Interactive, Interactive, Voice, Control, Control]);
}
