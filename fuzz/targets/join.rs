//! Packets that came over the line and follow one another are joined for a device with segmentation offload: whatever the far end sends, in
//! whatever order and state, the kernel gets what cuts into exactly these packets, in this order.
#![no_main]

use std::io::IoSlice;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_line::join::Joiner;
use tieline_sim::offload::{Content, Flow, cut};
use tieline_wire::vnet::{Segments, VNET_HEADER_LEN, VnetHeader};

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
        self.content().cut()
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

    fn content(&self) -> Content {
        let flow = Flow {
            is_v4: self.is_v4,
            is_tcp: self.is_tcp,
            port: self.port.into(),
            options: vec![1; usize::from(self.option_words % 11) * 4],
            traffic_class: self.traffic_class,
        };
        Content {
            flow,
            sequence: self.sequence,
            identification: self.identification,
            flags: self.flags,
            payload: (0..self.payload_len()).map(|number| number as u8).collect(),
            size: self.size(),
        }
    }
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
