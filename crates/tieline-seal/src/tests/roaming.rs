//! Where the peer is: where its authentic datagrams come from.

use std::net::SocketAddr;
use std::time::Duration;

use super::pair::*;
use crate::{Config, DropReason, Event, Notice, SealError};

fn elsewhere() -> SocketAddr {
    "198.51.100.7:4242".parse().unwrap()
}

#[test]
fn an_authentic_packet_from_elsewhere_moves_the_peer() {
    let mut pair = Pair::connected();
    pair.a.address = elsewhere();
    pair.pass(Side::A, b"I have moved");
    assert_eq!(pair.b.take_events(), [Event::PeerMoved { from: Some(address_a()), to: elsewhere() }]);
    assert_eq!(pair.b.control.status(pair.now_at(Side::B)).address, Some(elsewhere()));
    pair.pass(Side::B, b"found you");
}

#[test]
fn a_keepalive_from_elsewhere_moves_the_peer_too() {
    let mut pair = Pair::connected();
    pair.a.address = elsewhere();
    pair.send(Side::A, b"").unwrap();
    pair.settle();
    pair.pass(Side::B, b"found you");
}

#[test]
fn a_move_that_control_did_not_hear_of_is_told_again() {
    let mut pair = Pair::connected();
    pair.a.address = elsewhere();
    pair.b.hears_notices = false;
    pair.pass(Side::A, b"I have moved");
    pair.b.hears_notices = true;
    pair.pass(Side::A, b"again at once");
    assert!(pair.b.take_events().is_empty(), "not with every packet");
    pair.advance(Duration::from_millis(100));
    pair.pass(Side::A, b"again later");
    assert_eq!(pair.b.take_events(), [Event::PeerMoved { from: Some(address_a()), to: elsewhere() }]);
}

#[test]
fn a_peer_with_several_addresses_moves_by_none_and_its_second_copies_are_no_replays() {
    let mut pair = Pair::connected();
    pair.b.control.set_roaming(false);
    pair.a.address = elsewhere();
    pair.pass(Side::A, b"by another path");
    assert!(pair.b.take_events().is_empty());
    assert_eq!(pair.b.control.address(), Some(address_a()));
    let mut copy = pair.trace.last().unwrap().1.clone();
    copy.from = address_a();
    assert_eq!(pair.deliver(&copy), Err(DropReason::SecondCopy));
    let drops = pair.b.control.drops();
    assert_eq!((drops.of(DropReason::SecondCopy), drops.of(DropReason::Replayed)), (1, 0));
    pair.b.control.set_roaming(true);
    assert_eq!(pair.deliver(&copy), Err(DropReason::Replayed));
    pair.pass(Side::A, b"I have moved");
    assert_eq!(pair.b.take_events(), [Event::PeerMoved { from: Some(address_a()), to: elsewhere() }]);
}

#[test]
fn nothing_that_is_not_authentic_or_a_replay_moves_the_peer() {
    let mut pair = Pair::connected();
    pair.pass(Side::A, b"x");
    let mut replay = pair.trace.last().unwrap().1.clone();
    replay.from = elsewhere();
    assert_eq!(pair.deliver(&replay), Err(DropReason::Replayed));
    let mut forged = pair.a.seal(pair.now_at(Side::A), b"x").unwrap();
    forged.from = elsewhere();
    forged.bytes[20] ^= 1;
    assert_eq!(pair.deliver(&forged), Err(DropReason::NotAuthentic));
    assert!(pair.b.take_events().is_empty());
    pair.pass(Side::B, b"still there");
}

#[test]
fn an_initiation_is_answered_where_it_came_from_but_moves_the_peer_only_with_its_first_packet() {
    let mut pair = Pair::connected();
    pair.a.address = elsewhere();
    pair.advance(Duration::from_secs(6));
    pair.a.keeps_alive = false;
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    let response = pair.trace.last().unwrap().1.clone();
    assert_eq!((response.kind(), response.to), (2, elsewhere()));
    assert_eq!(
        pair.b.take_events(),
        [Event::HandshakeFrom { address: elsewhere(), known_address: Some(address_a()) }]
    );
    assert_eq!(pair.b.control.status(pair.now_at(Side::B)).address, Some(address_a()));
    pair.pass(Side::A, b"first packet");
    assert_eq!(
        pair.b.take_events(),
        [
            Event::PeerMoved { from: Some(address_a()), to: elsewhere() },
            Event::SessionReady { initiator: false, address: elsewhere() }
        ]
    );
    pair.pass(Side::B, b"found you");
}

#[test]
fn the_first_packet_of_a_session_is_answered_where_the_session_was_agreed_before_control_knows() {
    let mut pair = Pair::connected();
    pair.a.address = elsewhere();
    pair.b.hears_notices = false;
    pair.advance(Duration::from_secs(6));
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    let sealed = pair.b.seal(pair.now_at(Side::B), b"x").unwrap();
    assert_eq!(sealed.to, elsewhere());
}

#[test]
fn a_response_from_elsewhere_moves_the_peer() {
    let mut pair = Pair::new();
    pair.b.address = elsewhere();
    pair.send(Side::A, b"x").unwrap_err();
    let initiation = pair.take();
    pair.b.open(pair.now_at(Side::B), &initiation).unwrap();
    pair.settle();
    assert_eq!(pair.a.take_events()[0], Event::PeerMoved { from: Some(address_b()), to: elsewhere() });
    pair.pass(Side::A, b"found you");
}

#[test]
fn an_address_that_was_set_is_used_at_once() {
    let mut pair = Pair::connected();
    pair.a.control.set_address(elsewhere());
    assert_eq!(pair.a.seal(pair.now_at(Side::A), b"x").unwrap().to, elsewhere());
}

#[test]
fn a_session_without_an_address_does_not_seal() {
    let mut pair = Pair::of(config(KEY_A, KEY_B, Some(address_b())), config(KEY_B, KEY_A, None));
    assert_eq!(pair.send(Side::B, b"x"), Err(SealError::NoSession));
    pair.advance(Duration::from_secs(30));
    assert!(pair.trace.is_empty(), "B cannot open a handshake");
    pair.connect();
    pair.pass(Side::B, b"now it knows");
}

#[test]
fn while_an_address_is_held_initiations_from_others_are_dropped() {
    let mut pair = Pair::connected();
    pair.b.control.hold_address(Some(address_a()));
    pair.advance(Duration::from_secs(6));
    // The thief has the key; its clock is ahead.
    let thief_config = Config { private_key: private_key(KEY_A), ..config(KEY_A, KEY_B, Some(address_b())) };
    let now = pair.now_at(Side::B).after(Duration::from_secs(100));
    let mut thief = End::new(thief_config, elsewhere(), now, 0x77);
    thief.control.request_session(now);
    let transmit = thief.control.poll_transmit().unwrap();
    let initiation = Flight { from: elsewhere(), to: address_b(), bytes: transmit.bytes };
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::HeldAddress, 1)]);
    assert!(pair.wire.is_empty() && pair.b.take_events().is_empty());
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    assert_eq!(pair.b.drops(), [(DropReason::HeldAddress, 1)], "the thief's timestamp does not count");
    pair.pass(Side::A, b"the one that is held goes on");

    pair.b.control.hold_address(None);
    pair.advance(Duration::from_secs(1));
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.wire.len(), 1, "not held, it is answered");
}

#[test]
fn every_accepted_initiation_is_told_with_its_source() {
    let mut pair = Pair::connected();
    for address in [address_a(), elsewhere(), address_a()] {
        pair.a.address = address;
        pair.advance(Duration::from_secs(6));
        pair.a.control.request_session(pair.now_at(Side::A));
        pair.settle();
    }
    let sources: Vec<_> = pair
        .b
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::HandshakeFrom { address, .. } => Some(address),
            _ => None,
        })
        .collect();
    assert_eq!(sources, [address_a(), elsewhere(), address_a()]);
}

#[test]
fn a_notice_without_a_session_moves_nobody() {
    let mut pair = Pair::new();
    let now = pair.now_at(Side::A);
    pair.a.control.handle_notice(now, Notice::Moved { from: elsewhere() });
    assert_eq!(pair.a.control.status(now).address, Some(address_b()));
}

#[test]
fn a_packet_under_an_older_session_opens_and_does_not_move_the_peer() {
    let mut pair = Pair::connected();
    pair.advance(Duration::from_secs(6));
    pair.send(Side::A, b"older").unwrap();
    let mut older = pair.take();
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    pair.pass(Side::A, b"newest");
    pair.b.take_events();
    older.from = elsewhere();
    pair.deliver(&older).unwrap();
    assert_eq!(pair.b.received.pop().as_deref(), Some(&b"older"[..]));
    assert_eq!(pair.b.take_events(), []);
    assert_eq!(pair.b.control.status(pair.now_at(Side::B)).address, Some(address_a()));
}

#[test]
fn the_machine_at_the_held_address_may_move_and_the_hold_goes_with_it() {
    let mut pair = Pair::connected();
    pair.b.control.hold_address(Some(address_a()));
    pair.a.address = elsewhere();
    pair.pass(Side::A, b"from elsewhere");
    pair.pass(Side::B, b"found you");
    pair.advance(Duration::from_secs(6));
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    let age = pair.b.control.status(pair.now_at(Side::B)).session.unwrap().age;
    assert_eq!(age, Duration::ZERO, "its next handshake is taken");
    assert!(pair.b.drops().is_empty());
}
