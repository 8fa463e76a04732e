//! Both ends open a handshake at once, and datagrams of the handshake get lost or out of order.

use std::time::Duration;

use super::pair::*;
use crate::{Config, Role};

/// Two ends that both know where the other is.
fn mutual() -> Pair {
    Pair::of(config(KEY_A, KEY_B, Some(address_b())), config(KEY_B, KEY_A, Some(address_a())))
}

fn request_both(pair: &mut Pair) {
    for side in [Side::A, Side::B] {
        let now = pair.now_at(side);
        pair.end(side).control.request_session(now);
        pair.drain(side);
    }
}

fn role(pair: &mut Pair, side: Side) -> Role {
    let now = pair.now_at(side);
    pair.end(side).control.status(now).session.expect("there is a session").role
}

/// Both must seal under the same session: of one session one end is the initiator and the other the
/// responder.
fn assert_agreed(pair: &mut Pair) {
    pair.pass(Side::A, b"one way");
    pair.pass(Side::B, b"the other");
    pair.pass(Side::A, b"and back");
    assert_ne!(role(pair, Side::A), role(pair, Side::B));
}

#[test]
fn both_at_once_end_with_the_same_session() {
    let mut pair = mutual();
    request_both(&mut pair);
    assert_eq!(pair.wire.len(), 2, "the initiations cross");
    pair.settle();
    assert_agreed(&mut pair);
    let prevails = if public_key(KEY_A) < public_key(KEY_B) { Side::A } else { Side::B };
    assert_eq!(role(&mut pair, prevails), Role::Initiator);
    assert!(pair.a.drops().is_empty() && pair.b.drops().is_empty());
}

#[test]
fn both_at_once_agree_in_whatever_order_the_datagrams_arrive() {
    for seed in 0..500_u64 {
        let mut pair = mutual();
        request_both(&mut pair);
        let mut random = seed;
        let mut deliveries = 0;
        while !pair.wire.is_empty() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = (random >> 33) as usize % pair.wire.len();
            let flight = pair.wire.remove(pick).unwrap();
            pair.now += Duration::from_millis(random >> 60);
            let _ = pair.deliver(&flight);
            deliveries += 1;
            assert!(deliveries < 100, "seed {seed}");
        }
        for round in 0..3 {
            pair.pass(Side::A, b"one way");
            pair.pass(Side::B, b"the other");
            pair.advance(Duration::from_secs(round));
        }
        assert!(pair.a.received.is_empty() && pair.b.received.is_empty(), "seed {seed}");
    }
}

#[test]
fn both_at_once_again_and_again_while_the_path_is_cut() {
    let mut pair = mutual();
    pair.loses = Box::new(|_| true);
    for side in [Side::A, Side::B] {
        pair.end(side).control.set_pace(crate::Pace::Cut);
    }
    request_both(&mut pair);
    pair.advance(Duration::from_secs(60));
    pair.loses = Box::new(|_| false);
    pair.advance(Duration::from_millis(451));
    assert_agreed(&mut pair);
}

#[test]
fn a_line_that_began_with_both_at_once_goes_on_for_hours_without_loss() {
    let mut pair = mutual();
    request_both(&mut pair);
    pair.settle();
    for _ in 0..700 {
        pair.advance(Duration::from_secs(10));
        pair.pass(Side::A, b"one way");
        pair.pass(Side::B, b"the other");
    }
    assert!(pair.a.drops().is_empty() && pair.b.drops().is_empty());
}

/// Each end holds the session that the other initiated for its current one; it can come to that if datagrams
/// overtake each other.
#[test]
fn ends_that_disagree_lose_nothing_when_sessions_get_old() {
    let mut pair = mutual();
    request_both(&mut pair);
    while let Some(flight) = pair.wire.pop_front() {
        pair.now += Duration::from_millis(10);
        pair.deliver(&flight).unwrap();
    }
    let (a, b) = (pair.a.control.shared(), pair.b.control.shared());
    for (shared, wanted) in [(a, Role::Responder), (b, Role::Responder)] {
        let mut table = crate::table::Table::clone(&shared.table.load());
        if table.current.as_ref().is_some_and(|session| session.role != wanted) {
            let crossed = table.previous.remove(0);
            table.previous.extend(table.current.replace(crossed));
        }
        shared.table.store(std::sync::Arc::new(table));
    }
    assert_eq!(role(&mut pair, Side::A), role(&mut pair, Side::B), "they disagree");
    for _ in 0..100 {
        pair.advance(Duration::from_secs(5));
        pair.pass(Side::A, b"one way");
        pair.pass(Side::B, b"the other");
    }
    assert_agreed(&mut pair);
}

#[test]
fn the_loss_of_any_one_handshake_datagram_costs_one_repetition() {
    for lost in 0..3 {
        let mut pair = mutual();
        let mut seen = 0;
        pair.loses = Box::new(move |_| {
            seen += 1;
            seen - 1 == lost
        });
        pair.send(Side::A, b"x").unwrap_err();
        pair.settle();
        if lost == 2 {
            assert!(pair.a.has_session(pair.now_at(Side::A)), "the keepalive is not needed by A");
            assert!(!pair.b.has_session(pair.now_at(Side::B)), "but by B");
            pair.pass(Side::A, b"any packet does in its place");
        } else {
            assert!(!pair.a.has_session(pair.now_at(Side::A)));
            pair.advance(Duration::from_millis(5334));
        }
        assert_agreed(&mut pair);
    }
}

#[test]
fn a_responder_that_never_hears_the_first_packet_opens_its_own_handshake() {
    let mut pair = mutual();
    pair.loses = Box::new(|flight| flight.kind() == 4);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.loses = Box::new(|_| false);
    assert_eq!(pair.send(Side::B, b"y"), Err(crate::SealError::NoSession));
    pair.settle();
    assert_agreed(&mut pair);
}

#[test]
fn two_ends_that_are_always_on_find_each_other() {
    let always_on = |config: Config| Config { always_on: true, ..config };
    let mut pair = Pair::of(
        always_on(config(KEY_A, KEY_B, Some(address_b()))),
        always_on(config(KEY_B, KEY_A, Some(address_a()))),
    );
    pair.advance(Duration::from_millis(1));
    assert_agreed(&mut pair);
    pair.advance(Duration::from_secs(3600));
    assert_agreed(&mut pair);
}
