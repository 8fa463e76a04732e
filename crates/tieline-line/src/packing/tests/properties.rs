//! Any packets in any order: what comes out is what went in.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tieline_wire::label::Label;

use super::calls::{Call, Identification};
use super::pair::MTU;
use crate::packing::{Bundle, Packer, Unpacker};

#[derive(Clone, Debug)]
enum Step {
    /// A call goes on; some octets of the packet are changed.
    Packet {
        call: usize,
        changes: Vec<(usize, u8)>,
    },
    Octets(Vec<u8>),
    /// What waits is sealed; it arrives in the place of this one among those under way, or never.
    Seal {
        place: Option<usize>,
    },
    /// So many of those under way arrive.
    Arrive {
        count: usize,
    },
    Answer,
    Wait {
        milliseconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let changes = prop_oneof![
        8 => Just(Vec::new()),
        1 => prop::collection::vec((0..80_usize, any::<u8>()), 1..4),
    ];
    prop_oneof![
        12 => (0..3_usize, changes).prop_map(|(call, changes)| Step::Packet { call, changes }),
        1 => prop::collection::vec(any::<u8>(), 20..60).prop_map(Step::Octets),
        6 => prop::option::weighted(0.9, 0..4_usize).prop_map(|place| Step::Seal { place }),
        6 => (1..4_usize).prop_map(|count| Step::Arrive { count }),
        4 => Just(Step::Answer),
        2 => prop_oneof![0..50_u64, 0..400_000_u64].prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

proptest! {
    #[test]
    fn what_comes_out_went_in(steps in prop::collection::vec(step(), 1..400)) {
        let (label, mut now) = (Label::FIRST_GIVEN_OUT, Instant::now());
        let (mut packer, mut unpacker) = (Packer::new(label, MTU), Unpacker::new(label, MTU));
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        let mut calls: Vec<Call> = [Identification::Sequential, Identification::Random, Identification::None]
            .into_iter()
            .zip(0..)
            .map(|(identification, number)| Call::ordinary(number, identification))
            .collect();
        let mut waiting: Vec<Vec<u8>> = Vec::new();
        let mut under_way: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
        for step in steps {
            match step {
                Step::Packet { call, changes } => {
                    let mut packet = calls[call].next_packet(&mut rng, &mut 0).unwrap();
                    for (at, mask) in changes {
                        let at = at % packet.len();
                        packet[at] ^= mask;
                    }
                    waiting.extend(is_whole(&packet).then_some(packet));
                }
                Step::Octets(octets) => waiting.extend(is_whole(&octets).then_some(octets)),
                Step::Seal { place } => {
                    let mut buffer = [0; MTU];
                    let mut bundle = Bundle::new(&mut buffer);
                    let fits = |packet: &&Vec<u8>| packer.push(now, packet, &mut bundle);
                    let count = waiting.iter().take_while(fits).count();
                    let len = bundle.len();
                    let packets = waiting.drain(..count).collect();
                    if let Some(place) = place && count > 0 {
                        under_way.insert(place.min(under_way.len()), (buffer[..len].to_vec(), packets));
                    }
                }
                Step::Arrive { count } => {
                    for (bundle, packets) in under_way.drain(..count.min(under_way.len())) {
                        let mut out = [0x5a; MTU];
                        let mut packets = packets.iter();
                        let mut entries = unpacker.open(&bundle);
                        while let Some(result) = entries.next(now, &mut out) {
                            let len = result.expect("against a reference that was acknowledged");
                            prop_assert_eq!(&out[..len], &packets.next().unwrap()[..]);
                        }
                        prop_assert_eq!(packets.len(), 0);
                    }
                }
                Step::Answer => {
                    if let Some(feedback) = unpacker.poll_feedback(now) {
                        packer.handle_feedback(&feedback);
                    }
                }
                Step::Wait { milliseconds } => now += Duration::from_millis(milliseconds),
            }
        }
    }
}

/// The line's own check of what it seals.
fn is_whole(packet: &[u8]) -> bool {
    tieline_wire::ip::IpPacket::parse(packet).is_ok_and(|ip| ip.total_len == packet.len())
}
