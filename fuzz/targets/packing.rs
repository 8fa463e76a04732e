//! The receiving end of packed calls, in the middle of honest calls: whatever a bundle is, it becomes no more than its bound, and
//! what the sending end packs afterwards still arrives as it was.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_line::packing::{Bundle, HEADERS_LEN_MAX, Packer, Unpacker};
use tieline_wire::label::Label;
use tieline_wire::packed::ENTRIES_MAX;

const MTU: usize = 1420;
const STEPS_MAX: usize = 64;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A packet of any octets goes, perhaps to be lost.
    Packet {
        octets: &'a [u8],
        is_lost: bool,
    },
    /// The one before goes on as a call does, with some octets changed.
    Next {
        changes: Vec<(u8, u8)>,
        is_lost: bool,
    },
    /// Something that nobody packed arrives at another receiving end.
    Bundle(&'a [u8]),
    Answer,
    Wait(u16),
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut now = Instant::now();
    let label = Label::FIRST_GIVEN_OUT;
    let (mut packer, mut unpacker) = (Packer::new(label, MTU), Unpacker::new(label, MTU));
    let mut other = Unpacker::new(label, MTU);
    let mut last = call();
    for step in steps.into_iter().take(STEPS_MAX) {
        match step {
            Step::Packet { octets, is_lost } => {
                send(now, octets, is_lost, &mut packer, &mut unpacker);
                last = octets.to_vec();
            }
            Step::Next { changes, is_lost } => {
                if last.len() > 36 {
                    last[31] = last[31].wrapping_add(1);
                    last[35] = last[35].wrapping_add(160);
                }
                for (at, mask) in changes {
                    if let Some(octet) = last.get_mut(usize::from(at)) {
                        *octet ^= mask;
                    }
                }
                send(now, &last, is_lost, &mut packer, &mut unpacker);
            }
            Step::Bundle(bundle) => {
                let mut out = [0; MTU];
                let mut entries = other.open(bundle);
                let mut octets = 0;
                while let Some(result) = entries.next(now, &mut out) {
                    octets += result.unwrap_or(0);
                }
                assert!(octets <= bundle.len() + ENTRIES_MAX * HEADERS_LEN_MAX);
            }
            Step::Answer => {
                if let Some(feedback) = unpacker.poll_feedback(now) {
                    packer.handle_feedback(&feedback);
                }
            }
            Step::Wait(milliseconds) => now += Duration::from_millis(milliseconds.into()),
        }
    }
});

fn send(now: Instant, packet: &[u8], is_lost: bool, packer: &mut Packer, unpacker: &mut Unpacker) {
    let mut room = [0; MTU];
    let mut bundle = Bundle::new(&mut room);
    if !packer.push(now, packet, &mut bundle) || is_lost {
        return;
    }
    let len = bundle.len();
    let mut out = [0; MTU];
    let mut entries = unpacker.open(&room[..len]);
    let restored = entries.next(now, &mut out).expect("an entry").expect("our own");
    assert_eq!(out[..restored], *packet);
    assert!(entries.next(now, &mut out).is_none());
}

/// A packet of a call, without checksums of UDP.
fn call() -> Vec<u8> {
    let mut packet = vec![0x45, 0xb8, 0, 60, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
    packet.extend([0x40, 0, 0x40, 2, 0, 40, 0, 0, 0x80, 18, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]);
    packet.resize(60, 0x55);
    let checksum = tieline_wire::checksum::Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&checksum);
    packet
}
