//! Either end starts anew, and clocks are wrong.

use std::time::Duration;

use super::pair::*;
use crate::{Config, DropReason, Event, SealError};

fn start_config(side: Side, always_on: bool) -> Config {
    let config = match side {
        Side::A => config(KEY_A, KEY_B, Some(address_b())),
        Side::B => config(KEY_B, KEY_A, Some(address_a())),
    };
    Config { always_on, ..config }
}

#[test]
fn an_end_that_starts_anew_is_there_again_at_once_whenever_it_does() {
    for side in [Side::A, Side::B] {
        for after in [Duration::from_millis(30), Duration::from_secs(2), Duration::from_secs(60)] {
            let mut pair = Pair::connected();
            pair.advance(after);
            pair.restart(side, start_config(side, true), 0x55);
            pair.advance(Duration::from_millis(1));
            let other = if side == Side::A { Side::B } else { Side::A };
            pair.pass(other, b"from the one that stayed");
            pair.pass(side, b"from the one that is new");
            pair.pass(other, b"and again");
        }
    }
}

#[test]
fn the_end_that_stayed_notices_by_itself_when_the_other_cannot_begin() {
    let mut pair = Pair::connected();
    pair.restart(Side::B, config(KEY_B, KEY_A, None), 0x55);
    pair.send(Side::A, b"lost").unwrap();
    pair.settle();
    assert_eq!(pair.b.drops(), [(DropReason::UnknownReceiver, 1)]);
    pair.advance(Duration::from_secs(15));
    pair.pass(Side::A, b"after 15 s without an answer");
}

#[test]
fn a_clock_that_went_back_is_refused_without_a_floor() {
    let mut pair = Pair::connected();
    pair.a.clock_error = -1000;
    pair.advance(Duration::from_secs(1));
    pair.restart(Side::A, start_config(Side::A, true), 0x55);
    pair.advance(Duration::from_secs(1));
    assert_eq!(pair.b.drops(), [(DropReason::StaleTimestamp, 1)]);
    assert!(!pair.a.has_session(pair.now_at(Side::A)));
}

#[test]
fn a_clock_that_went_back_is_no_harm_with_a_floor() {
    let mut pair = Pair::connected();
    let timestamp_floor = pair.a.control.status(pair.now_at(Side::A)).last_timestamp;
    assert!(timestamp_floor.is_some());
    pair.a.clock_error = -1000;
    pair.advance(Duration::from_secs(1));
    pair.restart(Side::A, Config { timestamp_floor, ..start_config(Side::A, true) }, 0x55);
    pair.advance(Duration::from_millis(1));
    pair.pass(Side::A, b"there again");
    assert!(pair.a.control.status(pair.now_at(Side::A)).last_timestamp > timestamp_floor);
}

#[test]
fn a_clock_that_steps_back_while_running_is_no_harm() {
    let mut pair = Pair::connected();
    for clock_error in [-3600, 0, -1_000_000, 3600, -3600] {
        pair.a.clock_error = clock_error;
        pair.advance(Duration::from_secs(6));
        pair.a.control.request_session(pair.now_at(Side::A));
        pair.settle();
        let age = pair.a.control.status(pair.now_at(Side::A)).session.unwrap().age;
        assert_eq!(age, Duration::ZERO, "clock wrong by {clock_error} s");
    }
    assert!(pair.b.drops().is_empty());
}

#[test]
fn a_recorded_initiation_brings_an_end_that_starts_anew_no_session() {
    let mut pair = Pair::new();
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    let initiation = pair.trace[0].1.clone();
    pair.restart(Side::B, config(KEY_B, KEY_A, None), 0x55);
    pair.deliver(&initiation).unwrap();
    assert_eq!(pair.send(Side::B, b"x"), Err(SealError::NoSession), "it was answered, but not confirmed");
    let events = pair.b.take_events();
    assert!(!events.iter().any(|event| matches!(event, Event::SessionReady { .. })), "{events:?}");
}

#[test]
fn the_same_seed_and_inputs_give_the_same_octets() {
    let run = || {
        let mut pair = Pair::new();
        pair.send(Side::A, b"x").unwrap_err();
        pair.advance(Duration::from_secs(200));
        pair.trace.into_iter().map(|(at, flight)| (at, flight.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
