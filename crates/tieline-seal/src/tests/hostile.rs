//! What strangers, thieves of recordings and a bad path can send. Nothing of it is answered, and nothing of
//! it does harm.

use std::time::Duration;

use proptest::prelude::*;
use tieline_wire::wireguard::{HandshakeInitiation, HandshakeResponse};

use super::pair::*;
use crate::{Config, DropReason, Peer, PresharedKey, stamp_mac1};

/// Sends a packet on each way and takes the four datagrams of a new line: initiation, response, keepalive,
/// packet.
fn recorded() -> (Pair, [Flight; 4]) {
    let mut pair = Pair::new();
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.pass(Side::A, b"a packet with content");
    let flights: Vec<_> = pair.trace.iter().map(|(_, flight)| flight.clone()).collect();
    let flights = flights.try_into().expect("the handshake, the keepalive, the packet");
    pair.a.events.clear();
    pair.b.events.clear();
    (pair, flights)
}

/// With the MAC1 that fits, as anybody can make it who knows the receiver's public key.
fn with_right_mac1(mut datagram: Vec<u8>, receiver: u8) -> Vec<u8> {
    stamp_mac1(&mut datagram, &public_key(receiver));
    datagram
}

fn assert_silent(pair: &mut Pair) {
    pair.drain(Side::A);
    pair.drain(Side::B);
    assert!(pair.wire.is_empty(), "no answer: {:?}", pair.wire);
    assert!(pair.a.take_events().is_empty());
    assert!(pair.b.take_events().is_empty());
}

#[test]
fn a_replay_of_every_message_is_dropped_by_reason_without_an_answer() {
    let (mut pair, [initiation, response, keepalive, packet]) = recorded();
    pair.advance(Duration::from_secs(1));
    for flight in [&initiation, &response, &keepalive, &packet] {
        let _ = pair.deliver(flight);
    }
    assert_silent(&mut pair);
    assert_eq!(pair.a.drops(), [(DropReason::UnknownReceiver, 1)], "the response");
    assert_eq!(pair.b.drops(), [(DropReason::Replayed, 2), (DropReason::StaleTimestamp, 1)]);
    assert!(pair.a.received.is_empty() && pair.b.received.is_empty());
    pair.pass(Side::A, b"the line is as it was");
    pair.pass(Side::B, b"both ways");
}

#[test]
fn every_changed_bit_is_noticed() {
    let (mut pair, [initiation, response, _, packet]) = recorded();
    let fresh = pair.a.seal(pair.now_at(Side::A), b"not yet delivered").unwrap();
    for flight in [&initiation, &response, &packet, &fresh] {
        for bit in 0..flight.bytes.len() * 8 {
            let mut changed = flight.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            // Slowly, for MAC1 does not cover MAC2: such a message counts towards load.
            pair.now += Duration::from_millis(30);
            let _ = pair.deliver(&changed);
            assert!(pair.a.received.is_empty() && pair.b.received.is_empty(), "bit {bit}");
        }
    }
    assert_silent(&mut pair);
    pair.deliver(&fresh).unwrap();
    assert_eq!(pair.b.received, [b"not yet delivered"]);
}

#[test]
fn every_other_length_is_noticed() {
    let (mut pair, [initiation, response, _, packet]) = recorded();
    let count = |pair: &Pair| {
        let ends = [&pair.a, &pair.b];
        ends.map(|end| end.drops().iter().map(|(_, count)| count).sum::<u64>()).iter().sum::<u64>()
    };
    let mut sent = 0;
    for flight in [&initiation, &response, &packet] {
        for length in (0..flight.bytes.len()).chain([flight.bytes.len() + 1, 1500]) {
            let mut changed = flight.clone();
            changed.bytes.resize(length, 0);
            pair.deliver(&changed).unwrap_err();
            sent += 1;
            assert_eq!(count(&pair), sent, "each drop is counted once");
        }
    }
    assert_silent(&mut pair);
}

#[test]
fn who_does_not_know_our_public_key_is_dropped_at_the_door() {
    let (mut pair, [mut initiation, mut response, ..]) = recorded();
    initiation.bytes[HandshakeInitiation::MAC1] ^= 1;
    response.bytes[HandshakeResponse::MAC1] ^= 1;
    assert_eq!(pair.deliver(&initiation), Err(DropReason::BadMac1));
    assert_eq!(pair.deliver(&response), Err(DropReason::BadMac1));
    assert_silent(&mut pair);
}

#[test]
fn control_checks_mac1_itself() {
    let (mut pair, [mut initiation, ..]) = recorded();
    initiation.bytes[HandshakeInitiation::MAC1] ^= 1;
    let now = pair.now_at(Side::B);
    pair.b.control.handle_datagram(now, address_a(), &initiation.bytes);
    assert_eq!(pair.b.drops(), [(DropReason::BadMac1, 1)]);
}

#[test]
fn control_has_no_use_for_packets() {
    let (mut pair, [_, _, _, packet]) = recorded();
    let now = pair.now_at(Side::B);
    pair.b.control.handle_datagram(now, address_a(), &packet.bytes);
    pair.b.control.handle_datagram(now, address_a(), &[]);
    assert_eq!(pair.b.drops(), [(DropReason::TooShort, 1), (DropReason::UnknownType, 1)]);
}

#[test]
fn an_end_with_another_key_gets_no_answer() {
    let mut pair = Pair::of(config(3, KEY_B, Some(address_b())), config(KEY_B, KEY_A, None));
    pair.send(Side::A, b"let me in").unwrap_err();
    pair.settle();
    assert_eq!(pair.trace.len(), 1, "the initiation");
    assert_eq!(pair.b.drops(), [(DropReason::UnknownPeer, 1)]);
    assert!(pair.b.take_events().is_empty());
}

#[test]
fn an_end_with_our_own_key_gets_no_answer() {
    let mut pair = Pair::of(config(KEY_B, KEY_B, Some(address_b())), config(KEY_B, KEY_A, None));
    pair.send(Side::A, b"I am you").unwrap_err();
    pair.settle();
    assert_eq!(pair.b.drops(), [(DropReason::UnknownPeer, 1)]);
}

#[test]
fn ends_with_different_preshared_keys_have_no_session() {
    let other = Peer::Known {
        public_key: public_key(KEY_A),
        preshared_key: PresharedKey::from_bytes([8; 32]),
        proof: None,
    };
    let b = Config { peer: other, ..config(KEY_B, KEY_A, None) };
    let mut pair = Pair::of(config(KEY_A, KEY_B, Some(address_b())), b);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(Duration::from_secs(4));
    assert_eq!(pair.a.drops(), [(DropReason::NotAuthentic, 1)]);
    assert!(!pair.a.has_session(pair.now_at(Side::A)));
    assert!(!pair.b.has_session(pair.now_at(Side::B)));
}

#[test]
fn ends_without_a_preshared_key_have_one() {
    let with_zero = |own, peer, address| Config {
        peer: Peer::Known { public_key: public_key(peer), preshared_key: PresharedKey::ZERO, proof: None },
        ..config(own, peer, address)
    };
    let mut pair = Pair::of(with_zero(KEY_A, KEY_B, Some(address_b())), with_zero(KEY_B, KEY_A, None));
    pair.connect();
    pair.pass(Side::B, b"x");
}

#[test]
fn a_forged_answer_does_not_end_the_handshake() {
    let mut pair = Pair::new();
    pair.send(Side::A, b"x").unwrap_err();
    let initiation = pair.take();
    pair.deliver(&initiation).unwrap();
    let response = pair.take();
    for octet in [12, 40, 50] {
        let mut forged = response.clone();
        forged.bytes[octet] ^= 1;
        forged.bytes = with_right_mac1(forged.bytes, KEY_A);
        pair.deliver(&forged).unwrap();
    }
    let mut misdirected = response.clone();
    misdirected.bytes[8] ^= 1;
    misdirected.bytes = with_right_mac1(misdirected.bytes, KEY_A);
    pair.deliver(&misdirected).unwrap();
    assert_eq!(pair.a.drops(), [(DropReason::UnknownReceiver, 1), (DropReason::NotAuthentic, 3)]);
    pair.deliver(&response).unwrap();
    pair.settle();
    pair.pass(Side::A, b"there");
}

#[test]
fn ephemeral_keys_of_low_order_are_refused() {
    let (mut pair, [mut initiation, ..]) = recorded();
    pair.advance(Duration::from_secs(1));
    initiation.bytes[8..40].fill(0);
    initiation.bytes = with_right_mac1(initiation.bytes, KEY_B);
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::NotAuthentic, 1)]);
    assert_silent(&mut pair);
}

#[test]
fn a_peer_key_of_low_order_sends_nothing() {
    let peer = Peer::Known {
        public_key: crate::PublicKey::from_bytes([0; 32]),
        preshared_key: PresharedKey::ZERO,
        proof: None,
    };
    let a = Config { peer, ..config(KEY_A, KEY_B, Some(address_b())) };
    let mut pair = Pair::of(a, config(KEY_B, KEY_A, None));
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(Duration::from_secs(20));
    assert!(pair.trace.is_empty());
}

#[test]
fn initiations_of_the_peer_are_taken_every_20_ms_at_most() {
    let mut pair = Pair::new();
    let mut initiations = Vec::new();
    pair.a.control.set_pace(crate::Pace::Cut);
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(Duration::from_millis(1400));
    initiations.extend(pair.trace.drain(..).map(|(_, flight)| flight));
    pair.deliver(&initiations[0]).unwrap();
    pair.now += Duration::from_millis(20) - Duration::from_nanos(1);
    pair.deliver(&initiations[1]).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::InitiationFlood, 1)]);
    pair.now += Duration::from_nanos(1);
    pair.deliver(&initiations[2]).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::InitiationFlood, 1)], "20 ms are enough");
    assert_eq!(pair.trace.len(), 2, "two answers");
}

#[test]
fn an_older_initiation_that_arrives_late_is_stale() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(Duration::from_secs(6));
    let initiations: Vec<_> = pair.trace.drain(..).map(|(_, flight)| flight).collect();
    pair.deliver(&initiations[1]).unwrap();
    pair.advance(Duration::from_millis(50));
    pair.deliver(&initiations[0]).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::StaleTimestamp, 1)]);
}

#[test]
fn packets_may_overtake_each_other_within_the_window() {
    let mut pair = Pair::connected();
    let now = pair.now_at(Side::A);
    let flights: Vec<_> =
        (0..9000_u32).map(|number| pair.a.seal(now, &number.to_le_bytes()).unwrap()).collect();
    pair.deliver(&flights[8191]).unwrap();
    for flight in flights[..8191].iter().rev() {
        pair.deliver(flight).unwrap();
    }
    assert_eq!(pair.b.received.len(), 8192);
    pair.deliver(&flights[8999]).unwrap();
    assert_eq!(pair.deliver(&flights[100]), Err(DropReason::Replayed));
}

#[test]
fn a_session_that_is_not_ours_is_unknown() {
    let (mut pair, [_, _, _, mut packet]) = recorded();
    packet.bytes[4] ^= 1;
    assert_eq!(pair.deliver(&packet), Err(DropReason::UnknownReceiver));
}

#[test]
fn a_room_too_small_for_the_seal_is_an_error() {
    let mut pair = Pair::connected();
    let now = pair.now;
    for length in [0, 16, 31, 65_528] {
        let error = pair.a.outbound.seal(now, &mut vec![0; length]).unwrap_err();
        assert_eq!(error, crate::SealError::Length { length });
    }
    pair.a.outbound.seal(now, &mut vec![0; 65_527]).unwrap();
}

proptest! {
    #[test]
    fn octets_at_random_are_dropped_without_an_answer(
        kind in 0_u8..6,
        length in prop::sample::select(vec![4_usize, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1500]),
        filling in prop::collection::vec(any::<u8>(), 1500),
        right_mac1 in any::<bool>(),
        straight_to_control in any::<bool>(),
    ) {
        let mut pair = Pair::connected();
        let mut bytes = filling[..length].to_vec();
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        if right_mac1 {
            bytes = with_right_mac1(bytes, KEY_B);
        }
        if straight_to_control {
            let now = pair.now_at(Side::B);
            pair.b.control.handle_datagram(now, address_a(), &bytes);
        } else {
            let _ = pair.deliver(&Flight { from: address_a(), to: address_b(), bytes });
        }
        prop_assert_eq!(pair.b.drops().iter().map(|(_, count)| count).sum::<u64>(), 1);
        assert_silent(&mut pair);
    }
}
