//! An end that waits for its joiner: who gets in, and who does not.

use std::net::SocketAddr;
use std::time::Duration;

use super::pair::*;
use crate::limits::{CANDIDATES_MAX, HANDSHAKES_PER_SECOND_MAX};
use crate::{Config, DropReason, Event, Peer, PresharedKey, SealError};

const SECRET: u8 = 0x5e;
const KEY_THIRD: u8 = 3;

fn third() -> SocketAddr {
    "198.51.100.3:333".parse().unwrap()
}

/// A joins B by the invitation.
fn invitation() -> Pair {
    Pair::of(joining(KEY_A, KEY_B, SECRET, address_b()), inviting(KEY_B, SECRET))
}

/// Another end, whose datagrams the test carries to B by hand.
fn another(pair: &Pair, config: Config) -> End {
    End::new(config, third(), pair.now_at(Side::B), 0x33)
}

/// Opens a handshake at `end` and returns the initiation.
fn initiation_of(pair: &Pair, end: &mut End) -> Flight {
    let now = pair.now_at(Side::B);
    end.control.request_session(now);
    end.control.handle_timeout(now);
    let transmit = end.control.poll_transmit().expect("an initiation is due");
    Flight { from: end.address, to: transmit.to, bytes: transmit.bytes }
}

fn paired(events: &[Event]) -> Option<(crate::PublicKey, PresharedKey)> {
    let mut pairings = events.iter().filter_map(|event| match event {
        Event::Paired { public_key, preshared_key } => Some((*public_key, preshared_key.clone())),
        _ => None,
    });
    let first = pairings.next();
    assert_eq!(pairings.next(), None, "an end is paired once");
    first
}

#[test]
fn a_joiner_with_the_secret_becomes_the_peer() {
    let mut pair = invitation();
    assert_eq!(pair.b.control.status(pair.now_at(Side::B)).peer, None);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let events = pair.b.take_events();
    assert_eq!(paired(&events), Some((public_key(KEY_A), secret(SECRET).preshared_key())));
    let paired_at = events.iter().position(|event| matches!(event, Event::Paired { .. }));
    let ready_at = events.iter().position(|event| matches!(event, Event::SessionReady { .. }));
    assert!(paired_at < ready_at, "the pair is known before the session is used");
    assert_eq!(pair.b.control.status(pair.now_at(Side::B)).peer, Some(public_key(KEY_A)));
    pair.pass(Side::A, b"joined");
    pair.pass(Side::B, b"welcome");
    assert!(pair.b.drops().is_empty());
}

#[test]
fn the_pair_goes_on_as_one_that_always_was() {
    let mut pair = invitation();
    pair.connect();
    for _ in 0..60 {
        pair.advance(Duration::from_secs(10));
        pair.pass(Side::A, b"one way");
        pair.pass(Side::B, b"the other");
    }
    pair.advance(Duration::from_secs(1));
    let plain = Config {
        peer: Peer::Known {
            public_key: public_key(KEY_B),
            preshared_key: secret(SECRET).preshared_key(),
            proof: None,
        },
        ..config(KEY_A, KEY_B, Some(address_b()))
    };
    pair.restart(Side::A, plain, 0x55);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.pass(Side::A, b"without the invitation");
    assert_eq!(pair.trace.iter().filter(|(_, flight)| flight.bytes[0] == 2).count(), 6);
}

#[test]
fn the_proof_is_shown_until_the_first_packet_of_the_peer() {
    let mut pair = invitation();
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.advance(Duration::from_secs(6));
    let mac2_of_next = |pair: &mut Pair| {
        pair.a.control.request_session(pair.now_at(Side::A));
        pair.settle();
        let initiation = pair.trace.iter().rfind(|(_, flight)| flight.kind() == 1).unwrap();
        initiation.1.bytes[132..].to_vec()
    };
    assert_ne!(mac2_of_next(&mut pair), [0; 16], "nothing has come from B yet");
    pair.pass(Side::B, b"settled");
    pair.advance(Duration::from_secs(6));
    assert_eq!(mac2_of_next(&mut pair), [0; 16]);
}

#[test]
fn a_wrong_secret_gets_no_answer() {
    let mut pair = Pair::of(joining(KEY_A, KEY_B, 0x11, address_b()), inviting(KEY_B, SECRET));
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(Duration::from_secs(4));
    assert_eq!(pair.trace.len(), 1);
    assert_eq!(pair.b.drops(), [(DropReason::NoProof, 1)]);
    assert!(pair.b.take_events().is_empty());
}

#[test]
fn a_plain_wireguard_peer_gets_no_answer_while_a_joiner_is_awaited() {
    let mut pair = Pair::of(config(KEY_A, KEY_B, Some(address_b())), inviting(KEY_B, SECRET));
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    assert_eq!(pair.b.drops(), [(DropReason::NoProof, 1)]);
    assert_eq!(pair.trace.len(), 1);
}

#[test]
fn a_proof_without_the_preshared_key_does_not_pair() {
    // It saw the proof key somehow, but not the secret itself.
    let half = Config {
        peer: Peer::Known {
            public_key: public_key(KEY_B),
            preshared_key: PresharedKey::ZERO,
            proof: Some(secret(SECRET)),
        },
        ..config(KEY_A, KEY_B, Some(address_b()))
    };
    let mut pair = Pair::of(half, inviting(KEY_B, SECRET));
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(Duration::from_secs(4));
    assert_eq!(pair.a.drops(), [(DropReason::NotAuthentic, 1)], "B's answer does not open");
    assert_eq!(paired(&pair.b.take_events()), None);
    assert_eq!(pair.b.control.status(pair.now_at(Side::B)).peer, None);
}

#[test]
fn an_answer_alone_does_not_pair() {
    let mut pair = invitation();
    pair.a.keeps_alive = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    assert_eq!(paired(&pair.b.take_events()), None);
    assert_eq!(pair.send(Side::B, b"x"), Err(SealError::NoSession));
    pair.pass(Side::A, b"the first packet does");
    assert!(paired(&pair.b.take_events()).is_some());
}

#[test]
fn pairing_needs_no_notice() {
    let mut pair = invitation();
    pair.b.hears_notices = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.advance(Duration::from_secs(1));
    assert!(paired(&pair.b.take_events()).is_some());
}

#[test]
fn a_second_joiner_with_the_secret_finds_the_invitation_spent() {
    let mut pair = invitation();
    pair.connect();
    pair.advance(Duration::from_secs(10));
    let mut second = another(&pair, joining(KEY_THIRD, KEY_B, SECRET, address_b()));
    let initiation = initiation_of(&pair, &mut second);
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::SpentInvitation, 1)]);
    assert!(pair.wire.is_empty() && pair.b.take_events().is_empty());
    pair.pass(Side::B, b"the first joiner remains");
}

#[test]
fn a_stranger_after_the_pairing_is_unknown() {
    let mut pair = invitation();
    pair.connect();
    let mut stranger = another(&pair, config(KEY_THIRD, KEY_B, Some(address_b())));
    let initiation = initiation_of(&pair, &mut stranger);
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::UnknownPeer, 1)]);
}

#[test]
fn one_candidate_is_awaited_for_5_s_before_another_may_try() {
    let mut pair = invitation();
    pair.a.keeps_alive = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let mut second = another(&pair, joining(KEY_THIRD, KEY_B, SECRET, address_b()));
    let initiation = initiation_of(&pair, &mut second);
    pair.now += Duration::from_secs(5) - Duration::from_nanos(1);
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::AnotherCandidate, 1)]);
    pair.now += Duration::from_nanos(1);
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.wire.len(), 1, "it is answered now");
    let response = pair.take();
    second.control.handle_datagram(pair.now_at(Side::B), address_b(), &response.bytes);

    // The first candidate's session is void from that moment.
    pair.send(Side::A, b"x").unwrap();
    pair.settle();
    assert_eq!(pair.b.dropped(DropReason::UnknownReceiver), 1);
    assert!(pair.b.received.is_empty());
    let first_packet = second.seal(pair.now_at(Side::B), b"mine").unwrap();
    pair.deliver(&first_packet).unwrap();
    assert_eq!(paired(&pair.b.take_events()).map(|(key, _)| key), Some(public_key(KEY_THIRD)));
}

#[test]
fn a_candidate_whose_first_packet_is_in_is_not_displaced() {
    let mut pair = invitation();
    pair.b.hears_notices = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let mut second = another(&pair, joining(KEY_THIRD, KEY_B, SECRET, address_b()));
    let initiation = initiation_of(&pair, &mut second);
    pair.now += Duration::from_secs(6);
    pair.deliver(&initiation).unwrap();
    assert_eq!(paired(&pair.b.take_events()).map(|(key, _)| key), Some(public_key(KEY_A)));
    assert_eq!(pair.b.drops(), [(DropReason::SpentInvitation, 1)]);
}

#[test]
fn a_session_that_was_given_up_opens_nothing_though_the_packet_thread_still_sees_it() {
    let mut pair = invitation();
    pair.a.keeps_alive = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let waiting = pair.b.control.shared().table.load().next[0].clone();
    assert!(waiting.retire());
    let packet = pair.a.seal(pair.now_at(Side::A), b"too late").unwrap();
    assert_eq!(pair.deliver(&packet), Err(DropReason::UnknownReceiver));
    assert!(pair.b.received.is_empty());
    assert_eq!(paired(&pair.b.take_events()), None);
}

#[test]
fn an_end_with_our_own_key_cannot_join() {
    let mut pair = Pair::of(joining(KEY_B, KEY_B, SECRET, address_b()), inviting(KEY_B, SECRET));
    pair.send(Side::A, b"I am you").unwrap_err();
    pair.settle();
    assert_eq!(pair.b.drops(), [(DropReason::UnknownPeer, 1)]);
}

#[test]
fn a_replayed_initiation_displaces_nobody() {
    let mut pair = invitation();
    pair.a.keeps_alive = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let recorded = pair.trace[0].1.clone();

    // A joins anew with another key; the recording of the first try comes in between and after.
    pair.now += Duration::from_secs(6);
    let mut second = another(&pair, joining(KEY_THIRD, KEY_B, SECRET, address_b()));
    let initiation = initiation_of(&pair, &mut second);
    pair.deliver(&recorded).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::StaleTimestamp, 1)], "the same candidate");
    pair.deliver(&initiation).unwrap();
    let response = pair.take();
    second.control.handle_datagram(pair.now_at(Side::B), address_b(), &response.bytes);
    pair.now += Duration::from_secs(6);
    pair.deliver(&recorded).unwrap();
    assert_eq!(pair.b.drops(), [(DropReason::StaleTimestamp, 2)], "another candidate, long silent");
    let first_packet = second.seal(pair.now_at(Side::B), b"mine").unwrap();
    pair.deliver(&first_packet).unwrap();
    assert_eq!(paired(&pair.b.take_events()).map(|(key, _)| key), Some(public_key(KEY_THIRD)));
}

#[test]
fn a_recording_replayed_to_an_end_that_started_anew_does_not_keep_the_joiner_out() {
    let mut pair = invitation();
    pair.loses = Box::new(|flight| flight.kind() == 2);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let recorded = pair.trace[0].1.clone();
    pair.restart(Side::B, inviting(KEY_B, SECRET), 0x55);
    pair.loses = Box::new(|_| false);
    pair.deliver(&recorded).unwrap();
    pair.wire.clear();
    pair.advance(Duration::from_millis(5400));
    assert_eq!(paired(&pair.b.take_events()).map(|(key, _)| key), Some(public_key(KEY_A)));
}

#[test]
fn a_lost_first_packet_delays_the_pairing_but_does_not_break_it() {
    for lost in 0..3 {
        let mut pair = invitation();
        let mut seen = 0;
        pair.loses = Box::new(move |_| {
            seen += 1;
            seen - 1 == lost
        });
        pair.send(Side::A, b"x").unwrap_err();
        pair.advance(Duration::from_millis(5400));
        if lost == 2 {
            pair.send(Side::A, b"y").unwrap();
            pair.settle();
        }
        assert!(paired(&pair.b.take_events()).is_some(), "datagram {lost} lost");
    }
}

#[test]
fn keys_that_come_with_the_secret_are_bounded_in_number() {
    let mut pair = Pair::of(config(KEY_A, KEY_B, None), inviting(KEY_B, SECRET));
    for key in 0..=CANDIDATES_MAX {
        pair.now += Duration::from_secs(6);
        let mut joiner = another(&pair, joining(100 + key as u8, KEY_B, SECRET, address_b()));
        let initiation = initiation_of(&pair, &mut joiner);
        pair.deliver(&initiation).unwrap();
        let answered = pair.wire.drain(..).count();
        assert_eq!(answered, usize::from(key < CANDIDATES_MAX), "key {key}");
    }
    assert_eq!(pair.b.drops(), [(DropReason::AnotherCandidate, 1)]);
}

#[test]
fn a_joiner_gets_through_a_flood_by_its_proof_and_others_get_no_cookie() {
    let mut pair = invitation();
    let mut stranger = another(&pair, config(KEY_THIRD, KEY_B, Some(address_b())));
    let flood = initiation_of(&pair, &mut stranger);
    for _ in 0..2 * HANDSHAKES_PER_SECOND_MAX {
        pair.deliver(&flood).unwrap();
    }
    assert!(pair.wire.is_empty());
    assert!(pair.b.control.status(pair.now_at(Side::B)).is_under_load);
    assert_eq!(pair.b.drops(), [(DropReason::NoProof, 2 * u64::from(HANDSHAKES_PER_SECOND_MAX))]);
    pair.connect();
}

#[test]
fn a_joiner_that_was_given_a_cookie_shows_it_in_place_of_the_proof() {
    let mut pair = invitation();
    pair.connect();
    pair.advance(Duration::from_secs(1));
    // It starts anew and does not know yet that the pairing is done, while somebody floods the peer.
    pair.restart(Side::A, joining(KEY_A, KEY_B, SECRET, address_b()), 0x55);
    let mut stranger = another(&pair, config(KEY_THIRD, KEY_B, Some(address_b())));
    let flood = initiation_of(&pair, &mut stranger);
    let flood_now = |pair: &mut Pair| {
        for _ in 0..=HANDSHAKES_PER_SECOND_MAX {
            pair.deliver(&flood).unwrap();
        }
        pair.wire.clear();
    };
    flood_now(&mut pair);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    assert_eq!(pair.trace.last().unwrap().1.kind(), 3, "the proof is no cookie");
    pair.advance(Duration::from_millis(4_900));
    flood_now(&mut pair);
    pair.advance(Duration::from_millis(450));
    assert!(pair.b.control.status(pair.now_at(Side::B)).is_under_load);
    pair.pass(Side::A, b"through");
}

#[test]
fn an_end_that_waits_for_its_joiner_opens_no_handshake() {
    let mut pair = Pair::of(
        config(KEY_A, KEY_B, None),
        Config { address: Some(address_a()), always_on: true, ..inviting(KEY_B, SECRET) },
    );
    pair.send(Side::B, b"x").unwrap_err();
    pair.advance(Duration::from_secs(100));
    assert!(pair.trace.is_empty());
}
