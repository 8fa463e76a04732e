//! Under load an end asks for cookies, and the honest peer gets through.

use std::net::SocketAddr;
use std::time::Duration;

use super::pair::*;
use crate::limits::{HANDSHAKES_PER_SECOND_MAX, TRANSMITS_MAX};
use crate::{DropReason, Transmit};

const COOKIE_REPLY: u8 = 3;

fn flooder() -> SocketAddr {
    "198.51.100.66:6666".parse().unwrap()
}

/// Well-made initiations of a stranger who knows B's public key.
fn flood(pair: &mut Pair, count: u32) -> Vec<Transmit> {
    let now = pair.now_at(Side::B);
    let mut stranger = End::new(config(66, KEY_B, Some(address_b())), flooder(), now, 0x66);
    stranger.control.request_session(now);
    let initiation = stranger.control.poll_transmit().unwrap();
    let mut answers = Vec::new();
    for _ in 0..count {
        pair.b.control.handle_datagram(now, flooder(), &initiation.bytes);
        answers.extend(std::iter::from_fn(|| pair.b.control.poll_transmit()));
    }
    answers
}

#[test]
fn below_the_limit_a_stranger_gets_no_answer_and_above_it_a_cookie() {
    let mut pair = Pair::new();
    assert_eq!(flood(&mut pair, HANDSHAKES_PER_SECOND_MAX), []);
    assert_eq!(pair.b.drops(), [(DropReason::UnknownPeer, HANDSHAKES_PER_SECOND_MAX.into())]);
    assert!(!pair.b.control.status(pair.now_at(Side::B)).is_under_load);
    let answers = flood(&mut pair, 1);
    assert!(pair.b.control.status(pair.now_at(Side::B)).is_under_load);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].to, answers[0].bytes[0]), (flooder(), COOKIE_REPLY));
    assert_eq!(pair.b.dropped(DropReason::CookieDemanded), 1);
}

#[test]
fn the_peer_gets_through_a_flood_with_a_cookie() {
    let mut pair = Pair::new();
    flood(&mut pair, HANDSHAKES_PER_SECOND_MAX + 10);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let kinds: Vec<_> = pair.trace.iter().map(|(_, flight)| flight.kind()).collect();
    assert_eq!(kinds, [1, COOKIE_REPLY]);
    assert!(pair.a.drops().is_empty(), "the cookie is taken");
    assert!(!pair.a.has_session(pair.now_at(Side::A)), "the next initiation waits for its time");
    pair.advance(Duration::from_millis(4_900));
    flood(&mut pair, HANDSHAKES_PER_SECOND_MAX + 10);
    pair.advance(Duration::from_millis(450));
    assert!(pair.b.control.status(pair.now_at(Side::B)).is_under_load);
    let retry = pair.trace.iter().rfind(|(_, flight)| flight.kind() == 1).unwrap();
    assert_ne!(retry.1.bytes[132..], [0; 16], "MAC2 is there");
    pair.pass(Side::A, b"through");
}

#[test]
fn a_cookie_is_good_only_from_its_address() {
    let mut pair = Pair::new();
    flood(&mut pair, HANDSHAKES_PER_SECOND_MAX + 10);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.a.address = "192.0.2.99:51820".parse().unwrap();
    pair.advance(Duration::from_millis(4_900));
    flood(&mut pair, HANDSHAKES_PER_SECOND_MAX + 10);
    let demanded = pair.b.dropped(DropReason::CookieDemanded);
    pair.advance(Duration::from_millis(450));
    assert_eq!(pair.b.dropped(DropReason::CookieDemanded), demanded + 1);
}

#[test]
fn a_responder_is_asked_for_a_cookie_too_and_shows_it_next_time() {
    let mut pair = Pair::new();
    pair.send(Side::A, b"x").unwrap_err();
    let initiation = pair.take();
    pair.deliver(&initiation).unwrap();
    let response = pair.take();
    // Somebody floods A while B's answer is under way.
    let now = pair.now_at(Side::A);
    let mut stranger = End::new(config(66, KEY_A, Some(address_a())), flooder(), now, 0x66);
    stranger.control.request_session(now);
    let flood = stranger.control.poll_transmit().unwrap();
    for _ in 0..HANDSHAKES_PER_SECOND_MAX {
        pair.a.control.handle_datagram(now, flooder(), &flood.bytes);
    }
    pair.deliver(&response).unwrap();
    let reply = pair.take();
    assert_eq!((reply.kind(), reply.to), (COOKIE_REPLY, address_b()));
    pair.deliver(&reply).unwrap();
    assert!(pair.b.drops().is_empty(), "B takes the cookie");
    pair.advance(Duration::from_millis(5_400));
    assert!(!pair.a.control.status(pair.now_at(Side::A)).is_under_load);
    let response = pair.trace.iter().rfind(|(_, flight)| flight.kind() == 2).unwrap();
    assert_ne!(response.1.bytes[76..], [0; 16], "MAC2 is there");
    pair.pass(Side::A, b"through");
}

#[test]
fn a_cookie_nobody_asked_for_is_dropped() {
    let mut pair = Pair::new();
    flood(&mut pair, HANDSHAKES_PER_SECOND_MAX + 10);
    pair.send(Side::A, b"x").unwrap_err();
    let initiation = pair.take();
    pair.deliver(&initiation).unwrap();
    let reply = pair.take();
    let mut forged = reply.clone();
    forged.bytes[40] ^= 1;
    pair.deliver(&forged).unwrap();
    let mut misdirected = reply.clone();
    misdirected.bytes[4] ^= 1;
    pair.deliver(&misdirected).unwrap();
    assert_eq!(pair.a.drops(), [(DropReason::BadCookie, 2)]);
    pair.deliver(&reply).unwrap();
    assert_eq!(pair.a.drops(), [(DropReason::BadCookie, 2)]);
    assert!(pair.wire.is_empty(), "a cookie is not answered");
}

#[test]
fn a_source_with_a_cookie_has_no_more_than_its_share() {
    let mut pair = Pair::new();
    let now = pair.now_at(Side::B);
    let mut stranger = End::new(config(66, KEY_B, Some(address_b())), flooder(), now, 0x66);
    stranger.control.request_session(now);
    let first = stranger.control.poll_transmit().unwrap();
    for _ in 0..=HANDSHAKES_PER_SECOND_MAX {
        pair.b.control.handle_datagram(now, flooder(), &first.bytes);
    }
    let cookie = std::iter::from_fn(|| pair.b.control.poll_transmit()).last().unwrap();
    stranger.control.handle_datagram(now, address_b(), &cookie.bytes);
    let later = now.after(Duration::from_secs(6));
    stranger.control.handle_timeout(later);
    let with_cookie = stranger.control.poll_transmit().unwrap();
    for _ in 0..HANDSHAKES_PER_SECOND_MAX {
        pair.b.control.handle_datagram(later, "203.0.113.5:5".parse().unwrap(), &first.bytes);
    }
    let unknown = pair.b.dropped(DropReason::UnknownPeer);
    for _ in 0..50 {
        pair.b.control.handle_datagram(later, flooder(), &with_cookie.bytes);
    }
    assert_eq!(pair.b.dropped(DropReason::UnknownPeer), unknown + 5, "five were looked at");
    assert_eq!(pair.b.dropped(DropReason::SourceRate), 45);
}

#[test]
fn cookies_that_nobody_fetches_do_not_pile_up() {
    let mut pair = Pair::new();
    let now = pair.now_at(Side::B);
    let mut stranger = End::new(config(66, KEY_B, Some(address_b())), flooder(), now, 0x66);
    stranger.control.request_session(now);
    let initiation = stranger.control.poll_transmit().unwrap();
    for _ in 0..1000 {
        pair.b.control.handle_datagram(now, flooder(), &initiation.bytes);
    }
    assert_eq!(std::iter::from_fn(|| pair.b.control.poll_transmit()).count(), TRANSMITS_MAX);
    let full = 1000 - u64::from(HANDSHAKES_PER_SECOND_MAX) - TRANSMITS_MAX as u64;
    assert_eq!(pair.b.dropped(DropReason::QueueFull), full);
}

#[test]
fn load_passes() {
    let mut pair = Pair::new();
    flood(&mut pair, 1000);
    pair.advance(Duration::from_secs(1));
    assert!(!pair.b.control.status(pair.now_at(Side::B)).is_under_load);
    pair.connect();
}
