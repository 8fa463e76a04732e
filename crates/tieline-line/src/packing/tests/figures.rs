//! How many calls a line carries.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tieline_wire::{
    label::{Label, LabelStackEntry},
    wireguard::{TAG_LEN, TransportHeader},
};

use super::calls::{Call, Codec, G711, G729, OPUS};
use super::pair::MTU;
use crate::packing::{Bundle, Packer, Unpacker};

/// Ethernet, IPv4, UDP, and what seals and labels.
const AROUND: usize = 18 + 20 + 8 + TransportHeader::LEN + LabelStackEntry::LEN + TAG_LEN;

#[test]
fn a_megabit_carries_as_many_calls_as_it_should() {
    println!("packed  G.711 160  Opus 60  G.729 20   calls in 1 Mbit/s");
    for (packed, goals) in
        [(1, [0.0; 3]), (4, [13.5, 29.5, 55.0]), (8, [13.5, 30.0, 60.0]), (20, [0.0, 30.0, 60.0])]
    {
        let calls = [G711, OPUS, G729].map(|codec| calls_per_megabit(codec, packed));
        println!("{packed:6}  {:9.1}  {:7.1}  {:8.1}", calls[0], calls[1], calls[2]);
        assert!(
            calls.iter().zip(goals).all(|(calls, goal)| *calls >= goal),
            "{packed}: {calls:?}, {goals:?}"
        );
    }
}

/// Of ten minutes of so many calls in one bundle each 20 ms, references and their renewal included. A bundle is not longer than the line's
/// packets.
fn calls_per_megabit(codec: Codec, packed: u16) -> f64 {
    let (label, mut now) = (Label::FIRST_GIVEN_OUT, Instant::now());
    let (mut packer, mut unpacker) = (Packer::new(label, MTU), Unpacker::new(label, MTU));
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let mut calls: Vec<Call> = (0..packed).map(|number| Call::with(codec, number)).collect();
    let mut octets = 0;
    let rounds = 30_000;
    for _ in 0..rounds {
        let packets: Vec<Vec<u8>> =
            calls.iter_mut().map(|call| call.next_packet(&mut rng, &mut 0).unwrap()).collect();
        let mut rest = &packets[..];
        while !rest.is_empty() {
            let mut buffer = [0; MTU];
            let mut bundle = Bundle::new(&mut buffer);
            while let Some((packet, others)) = rest.split_first()
                && packer.push(now, packet, &mut bundle)
            {
                rest = others;
            }
            let len = bundle.len();
            octets += AROUND + len;
            let mut entries = unpacker.open(&buffer[..len]);
            while let Some(result) = entries.next(now, &mut [0; MTU]) {
                assert!(result.is_ok());
            }
        }
        now += Duration::from_millis(20);
        if let Some(feedback) = unpacker.poll_feedback(now) {
            packer.handle_feedback(&feedback);
        }
    }
    let seconds = f64::from(rounds) * 0.02;
    1e6 * f64::from(packed) * seconds / (octets as f64 * 8.0)
}
