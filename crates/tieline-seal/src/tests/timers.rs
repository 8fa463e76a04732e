//! The timers and limits of the paper's §6, to the nanosecond.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::pair::*;
use crate::limits::{
    REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER_MAX,
};
use crate::{Config, DropReason, Event, Pace, Role, SealError};

const INITIATION: u8 = 1;
const DATA: u8 = 4;
const INSTANT: Duration = Duration::from_nanos(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Whether `side` opened a handshake since the trace was cleared.
fn initiations(pair: &Pair, side: Side) -> usize {
    pair.times_of(side, INITIATION).len()
}

#[test]
fn the_initiator_replaces_a_session_when_it_sends_after_120_s() {
    let mut pair = Pair::connected();
    pair.advance_to(secs(120) - INSTANT);
    pair.pass(Side::A, b"just in time");
    assert_eq!(initiations(&pair, Side::A), 0);
    pair.advance_to(secs(120));
    assert_eq!(initiations(&pair, Side::A), 0, "without a packet there is no reason yet");
    pair.pass(Side::A, b"that asks for another");
    assert_eq!(pair.times_of(Side::A, INITIATION), [secs(120)]);
    let session = pair.a.control.status(pair.now_at(Side::A)).session.unwrap();
    assert_eq!((session.age, session.role), (Duration::ZERO, Role::Initiator));
    pair.pass(Side::A, b"under the new one");
    pair.pass(Side::B, b"both ways");
}

#[test]
fn the_responder_leaves_replacing_to_the_initiator() {
    let mut pair = Pair::connected();
    pair.a.keeps_alive = false;
    pair.advance_to(secs(130));
    pair.pass(Side::B, b"old but alive");
    pair.advance_to(secs(130) + millis(1));
    assert_eq!(initiations(&pair, Side::A) + initiations(&pair, Side::B), 0);
}

#[test]
fn no_packet_is_lost_while_a_session_is_replaced() {
    let mut pair = Pair::connected();
    pair.advance_to(secs(121));
    let late_a = pair.a.seal(pair.now_at(Side::A), b"sealed before, arrives after (a)").unwrap();
    let late_b = pair.b.seal(pair.now_at(Side::B), b"sealed before, arrives after (b)").unwrap();
    pair.drain(Side::A);
    pair.settle();
    assert_eq!(initiations(&pair, Side::A), 1);
    pair.deliver(&late_a).unwrap();
    pair.deliver(&late_b).unwrap();
    assert_eq!(pair.b.received, [b"sealed before, arrives after (a)"]);
    assert_eq!(pair.a.received, [b"sealed before, arrives after (b)"]);
    assert!(pair.a.drops().is_empty() && pair.b.drops().is_empty());
}

#[test]
fn the_initiator_replaces_a_session_when_it_receives_after_165_s() {
    let mut pair = Pair::connected();
    pair.a.keeps_alive = false;
    pair.advance_to(secs(165) - INSTANT);
    pair.pass(Side::B, b"just in time");
    assert_eq!(initiations(&pair, Side::A), 0);
    pair.advance_to(secs(165));
    pair.pass(Side::B, b"that asks for another");
    assert_eq!(pair.times_of(Side::A, INITIATION), [secs(165)]);
    pair.advance(secs(14));
    assert_eq!(initiations(&pair, Side::A), 1, "the session before, now the previous one, asks for none");
}

#[test]
fn a_lost_notice_delays_a_replacement_by_a_second_at_most() {
    let mut pair = Pair::connected();
    pair.a.hears_notices = false;
    pair.advance_to(secs(120) + millis(500));
    pair.send(Side::A, b"due").unwrap();
    pair.settle();
    assert_eq!(initiations(&pair, Side::A), 0);
    pair.advance(secs(1));
    assert_eq!(initiations(&pair, Side::A), 1);
}

#[test]
fn a_lost_notice_of_the_first_packet_keeps_the_responder_from_nothing() {
    let mut pair = Pair::new();
    pair.b.hears_notices = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.pass(Side::B, b"sealed though control does not know yet");
    assert_eq!(pair.b.take_events().last(), Some(&Event::PeerMoved { from: None, to: address_a() }));
    pair.advance(secs(1));
    let ready = Event::SessionReady { initiator: false, address: address_a() };
    assert_eq!(pair.b.take_events(), [ready]);
}

#[test]
fn a_session_neither_seals_nor_opens_after_180_s() {
    let mut pair = Pair::connected();
    pair.a.keeps_alive = false;
    pair.b.keeps_alive = false;
    pair.advance_to(secs(180) - INSTANT);
    let last = pair.b.seal(pair.now_at(Side::B), b"last").unwrap();
    assert!(pair.b.has_session(pair.now_at(Side::B)));
    assert!(pair.b.take_events().is_empty());
    pair.advance_to(secs(180));
    assert_eq!(pair.b.seal(pair.now_at(Side::B), b"too late").unwrap_err(), SealError::Exhausted);
    assert!(!pair.b.has_session(pair.now_at(Side::B)));
    assert_eq!(pair.deliver(&last), Err(DropReason::ExpiredSession));
    assert_eq!(pair.a.dropped(DropReason::ExpiredSession), 1);
    assert_eq!(pair.a.take_events(), [Event::SessionLost]);
    assert_eq!(pair.b.take_events(), [Event::SessionLost]);
    assert_eq!(pair.a.control.status(pair.now_at(Side::A)).session, None);
}

#[test]
fn everything_ephemeral_is_erased_after_540_s() {
    let mut pair = Pair::connected();
    pair.b.keeps_alive = false;
    let datagram = pair.a.seal(pair.now_at(Side::A), b"sealed in time").unwrap();
    pair.drain(Side::A);
    pair.wire.clear();
    pair.loses = Box::new(|_| true);
    pair.advance_to(secs(540) - INSTANT);
    assert_eq!(pair.deliver(&datagram), Err(DropReason::ExpiredSession));
    pair.advance_to(secs(540));
    assert_eq!(pair.deliver(&datagram), Err(DropReason::UnknownReceiver), "the session is gone");
    let now = pair.now_at(Side::B);
    assert_eq!(pair.b.control.poll_timeout(now), None, "nothing is left to do");
    assert_eq!(pair.b.seal(now, b"x").unwrap_err(), SealError::NoSession);
}

#[test]
fn initiations_without_an_answer_are_erased_too() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|flight| flight.kind() == INITIATION);
    pair.send(Side::A, b"x").unwrap_err();
    let times = |pair: &Pair| pair.times_of(Side::A, INITIATION);
    pair.advance(secs(100));
    let last = *times(&pair).last().unwrap();
    assert!(pair.a.control.poll_timeout(pair.now_at(Side::A)).is_some());
    pair.advance_to(last + secs(540));
    assert_eq!(pair.a.control.poll_timeout(pair.now_at(Side::A)), None);
}

#[test]
fn who_receives_and_says_nothing_sends_a_keepalive_after_10_s() {
    let mut pair = Pair::connected();
    pair.advance_to(secs(3));
    pair.pass(Side::A, b"heard?");
    pair.advance_to(secs(5));
    pair.pass(Side::A, b"still there?");
    pair.advance_to(secs(13) - INSTANT);
    assert_eq!(pair.times_of(Side::B, DATA), []);
    pair.advance_to(secs(13));
    assert_eq!(pair.times_of(Side::B, DATA), [secs(13)]);
    pair.advance_to(secs(60));
    assert_eq!(pair.times_of(Side::B, DATA), [secs(13)], "a keepalive is not answered by another");
    assert_eq!(initiations(&pair, Side::A), 0);
}

#[test]
fn who_answers_with_a_packet_sends_no_keepalive() {
    let mut pair = Pair::connected();
    pair.pass(Side::A, b"heard?");
    pair.advance(secs(9));
    pair.pass(Side::B, b"yes");
    pair.a.keeps_alive = false;
    pair.advance(secs(8));
    assert_eq!(pair.times_of(Side::B, DATA), [secs(9)]);
}

#[test]
fn who_hears_nothing_for_15_s_after_sending_opens_a_handshake() {
    let mut pair = Pair::connected();
    pair.b.keeps_alive = false;
    pair.advance_to(secs(10));
    pair.pass(Side::A, b"one");
    pair.advance_to(secs(20));
    pair.pass(Side::A, b"the first counts, not the last");
    pair.advance_to(secs(25) - INSTANT);
    assert_eq!(initiations(&pair, Side::A), 0);
    pair.advance_to(secs(25));
    assert_eq!(pair.times_of(Side::A, INITIATION), [secs(25)]);
}

#[test]
fn any_authentic_packet_counts_as_an_answer_and_a_keepalive_asks_for_none() {
    let mut pair = Pair::connected();
    pair.advance_to(secs(10));
    pair.pass(Side::A, b"x");
    pair.advance_to(secs(100));
    assert_eq!(initiations(&pair, Side::A), 0, "B's keepalive after 10 s is the answer");
    assert_eq!(initiations(&pair, Side::B), 0, "B's keepalive wants none");
}

#[test]
fn initiations_are_repeated_every_5_s_and_a_little_for_90_s() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(secs(600));
    let times = pair.times_of(Side::A, INITIATION);
    assert_eq!(times[0], Duration::ZERO);
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let most = REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX;
    assert!(gaps.iter().all(|gap| (REKEY_TIMEOUT..=most).contains(gap)), "{gaps:?}");
    assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]), "there is jitter");
    assert!(*times.last().unwrap() < REKEY_ATTEMPT_TIME);
    assert!((17..=18).contains(&times.len()), "{} initiations", times.len());
    assert_eq!(pair.a.take_events(), [Event::GaveUp { still_trying: false }]);
    assert_eq!(pair.a.control.status(pair.now_at(Side::A)).attempt, None);
}

#[test]
fn each_initiation_is_another_one() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(secs(20));
    let mut unique: Vec<_> = pair.trace.iter().map(|(_, flight)| &flight.bytes).collect();
    let count = unique.len();
    unique.sort();
    unique.dedup();
    assert_eq!((count, unique.len()), (4, 4));
}

#[test]
fn a_new_request_after_giving_up_begins_anew() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(secs(200));
    pair.loses = Box::new(|_| false);
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    pair.pass(Side::A, b"there again");
}

#[test]
fn whoever_goes_on_sending_is_not_given_up() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|_| true);
    for _ in 0..200 {
        pair.send(Side::A, b"x").unwrap_err();
        pair.advance(secs(1));
    }
    assert_eq!(pair.a.take_events(), [Event::GaveUp { still_trying: true }], "but it is said");
    let late = pair.times_of(Side::A, INITIATION).into_iter().filter(|at| *at > REKEY_ATTEMPT_TIME);
    assert!(late.count() > 15);
    let attempt = pair.a.control.status(pair.now_at(Side::A)).attempt.unwrap();
    assert_eq!(attempt.age, secs(200));
    assert_eq!(attempt.initiations as usize, initiations(&pair, Side::A));
}

#[test]
fn an_old_session_whose_peer_is_gone_is_given_up_like_any_other() {
    let mut pair = Pair::connected();
    pair.advance_to(secs(121));
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"the last one, which nobody hears").unwrap();
    pair.advance_to(secs(1000));
    let times = pair.times_of(Side::A, INITIATION);
    assert_eq!(times[0], secs(121));
    // Silence asks once more after 15 s; from then it is 90 s.
    let last = *times.last().unwrap();
    assert!((secs(121 + 15 + 84)..secs(121 + 15 + 90)).contains(&last), "{last:?}");
    let events = pair.a.take_events();
    assert_eq!(events.last(), Some(&Event::GaveUp { still_trying: false }), "{events:?}");
}

#[test]
fn an_end_that_is_always_on_begins_by_itself_and_never_stops() {
    let always_on = Config { always_on: true, ..config(KEY_A, KEY_B, Some(address_b())) };
    let mut pair = Pair::of(always_on, config(KEY_B, KEY_A, None));
    pair.loses = Box::new(|_| true);
    pair.advance(secs(1000));
    assert_eq!(pair.a.take_events(), [Event::GaveUp { still_trying: true }]);
    let times = pair.times_of(Side::A, INITIATION);
    assert_eq!(times[0], Duration::ZERO);
    assert!((187..=200).contains(&times.len()), "{} initiations", times.len());
    pair.loses = Box::new(|_| false);
    pair.advance(secs(6));
    assert!(pair.a.has_session(pair.now_at(Side::A)));
}

#[test]
fn an_end_that_is_always_on_gets_a_new_session_when_the_old_one_dies() {
    let always_on = Config { always_on: true, ..config(KEY_A, KEY_B, Some(address_b())) };
    let mut pair = Pair::of(always_on, config(KEY_B, KEY_A, None));
    pair.advance(secs(179));
    assert_eq!(initiations(&pair, Side::A), 1);
    pair.advance(secs(1));
    assert_eq!(initiations(&pair, Side::A), 2);
    assert!(pair.a.has_session(pair.now_at(Side::A)));
}

#[test]
fn an_end_that_is_always_on_waits_for_an_address() {
    let always_on = Config { always_on: true, ..config(KEY_A, KEY_B, None) };
    let mut pair = Pair::of(always_on, config(KEY_B, KEY_A, None));
    pair.advance(secs(100));
    assert_eq!(pair.trace.len(), 0);
    assert!(pair.a.take_events().is_empty(), "it cannot give up what it could not try");
    pair.a.control.set_address(address_b());
    pair.advance(millis(1));
    assert!(pair.a.has_session(pair.now_at(Side::A)));
}

#[test]
fn persistent_keepalives_fill_every_silence_and_bring_the_line_up() {
    let persistent =
        Config { persistent_keepalive: Some(secs(25)), ..config(KEY_A, KEY_B, Some(address_b())) };
    let mut pair = Pair::of(persistent, config(KEY_B, KEY_A, None));
    pair.advance(millis(1));
    assert!(pair.a.has_session(pair.now_at(Side::A)));
    pair.advance_to(secs(110));
    assert_eq!(pair.times_of(Side::A, DATA), [0, 25, 50, 75, 100].map(secs));
    pair.pass(Side::B, b"a packet in either direction is a sign of life, and is answered after 10 s");
    pair.advance_to(secs(144));
    assert_eq!(
        pair.times_of(Side::A, DATA)[5..],
        [secs(120), secs(120)],
        "one keepalive, one for the new session"
    );
    pair.advance_to(secs(1000));
    assert!(pair.a.has_session(pair.now_at(Side::A)), "the line stays up");
    assert!(!pair.a.take_events().contains(&Event::SessionLost));
}

#[test]
fn a_persistent_keepalive_that_is_not_sent_is_asked_for_once_in_its_interval() {
    let persistent =
        Config { persistent_keepalive: Some(secs(25)), ..config(KEY_A, KEY_B, Some(address_b())) };
    let mut pair = Pair::of(persistent, config(KEY_B, KEY_A, None));
    pair.advance(millis(1));
    pair.a.keeps_alive = false;
    pair.a.events.clear();
    pair.advance_to(secs(110));
    assert_eq!(pair.a.take_events(), [const { Event::SendKeepalive }; 4]);
}

#[test]
fn persistent_keepalives_go_on_asking_after_giving_up() {
    let persistent =
        Config { persistent_keepalive: Some(secs(25)), ..config(KEY_A, KEY_B, Some(address_b())) };
    let mut pair = Pair::of(persistent, config(KEY_B, KEY_A, None));
    pair.loses = Box::new(|_| true);
    pair.advance(secs(500));
    pair.loses = Box::new(|_| false);
    pair.advance(secs(30));
    assert!(pair.a.has_session(pair.now_at(Side::A)));
}

#[test]
fn a_session_is_replaced_after_its_messages_by_either_end() {
    for side in [Side::A, Side::B] {
        let mut pair = Pair::connected();
        pair.advance(secs(10));
        set_counter(&mut pair, side, REKEY_AFTER_MESSAGES - 1);
        pair.pass(side, b"the last one");
        pair.advance(millis(1));
        assert_eq!(initiations(&pair, side), 0, "{side:?}");
        pair.pass(side, b"one more");
        assert_eq!(initiations(&pair, side), 1, "{side:?}");
        let now = pair.now_at(side);
        let session = pair.end(side).control.status(now).session.unwrap();
        assert!(session.packets_sent < 3, "{side:?} counts anew");
        pair.pass(Side::A, b"and packets pass");
        pair.pass(Side::B, b"both ways");
    }
}

#[test]
fn no_counter_is_used_at_or_beyond_the_limit() {
    let mut pair = Pair::connected();
    set_counter(&mut pair, Side::A, REJECT_AFTER_MESSAGES - 1);
    pair.loses = Box::new(|flight| flight.kind() != DATA);
    pair.pass(Side::A, b"the very last");
    assert_eq!(pair.send(Side::A, b"x"), Err(SealError::Exhausted));
    assert_eq!(pair.send(Side::A, b"x"), Err(SealError::Exhausted));
    assert!(!pair.a.has_session(pair.now_at(Side::A)));
}

#[test]
fn a_counter_beyond_the_limit_is_refused_before_it_is_opened() {
    let mut pair = Pair::connected();
    let mut datagram = pair.a.seal(pair.now_at(Side::A), b"x").unwrap();
    datagram.bytes[8..16].copy_from_slice(&REJECT_AFTER_MESSAGES.to_le_bytes());
    assert_eq!(pair.deliver(&datagram), Err(DropReason::ExhaustedSession));
    datagram.bytes[8..16].copy_from_slice(&(REJECT_AFTER_MESSAGES - 1).to_le_bytes());
    assert_eq!(pair.deliver(&datagram), Err(DropReason::NotAuthentic));
}

#[test]
fn control_looks_every_second_while_there_is_a_session_and_sleeps_otherwise() {
    let mut pair = Pair::new();
    assert_eq!(pair.a.control.poll_timeout(pair.now_at(Side::A)), None);
    pair.connect();
    pair.a.control.handle_timeout(pair.now_at(Side::A));
    assert_eq!(pair.a.control.poll_timeout(pair.now_at(Side::A)), Some(pair.now + secs(1)));
}

#[test]
fn a_cut_path_is_tried_every_300_ms_and_the_paper_kept_otherwise() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(secs(1));
    pair.a.control.set_pace(Pace::Cut);
    pair.advance(secs(9));
    let times = pair.times_of(Side::A, INITIATION);
    assert!(times[1] <= secs(1), "what was due later is due at once: {times:?}");
    let gaps: Vec<_> = times[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (millis(300)..=millis(350)).contains(gap)), "{gaps:?}");
    assert!(gaps.len() >= 24);

    pair.a.control.set_pace(Pace::Paper);
    pair.trace.clear();
    pair.advance(secs(20));
    let times = pair.times_of(Side::A, INITIATION);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= REKEY_TIMEOUT), "{times:?}");
    assert!((3..=4).contains(&times.len()), "{times:?}");
}

fn set_counter(pair: &mut Pair, side: Side, counter: u64) {
    let shared = pair.end(side).control.shared();
    let table = shared.table.load();
    let session = table.current.as_ref().expect("there is a session");
    session.outbound.counter.store(counter, Ordering::Relaxed);
}
