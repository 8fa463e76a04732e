//! Handshakes on a path where a round trip takes longer than initiations are apart: several are under way at once.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::pair::*;
use crate::limits::{
    ACTIVITY_CHECK, CUT_RETRY_JITTER_MAX, CUT_RETRY_TIMEOUT, NEXT_SESSIONS_MAX, PENDING_INITIATIONS_MAX,
    PREVIOUS_SESSIONS_MAX, REJECT_AFTER_TIME, REKEY_TIMEOUT,
};
use crate::{DropReason, Event, Pace};

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const DATA: u8 = 4;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn nothing_sealed_after_a_cut_is_lost_at_any_round_trip_though_both_ends_tried_all_the_time() {
    for delay in [0, 40, 100, 149, 151, 200, 300, 420, 599].map(|delay| delay * MS) {
        for phase in 0..5 {
            // With the session from before the cut and without it.
            for length in [20 * SECOND, 200 * SECOND] {
                let mut path = Slow::connected(delay);
                path.cut_for(length, phase * 70 * MS);
                for _ in 0..800 {
                    path.send(Side::A);
                    path.send(Side::B);
                    path.advance(5 * MS);
                }
                path.advance(2 * SECOND);
                let place = format!("delay {delay:?}, phase {phase}, cut for {length:?}");
                assert!(path.sent.len() > 1000, "{place}: the line is up");
                assert!(path.missing().is_empty(), "{place}: {:?}", path.missing());
                path.assert_agreed(&place);
            }
        }
    }
}

#[test]
fn one_end_that_tries_makes_one_session_however_many_initiations_are_under_way() {
    for delay in [10, 200, 400, 599].map(|delay| delay * MS) {
        let mut path = Slow::new(Pair::new(), delay);
        path.pair.a.control.set_pace(Pace::Cut);
        path.pair.a.control.request_session(path.pair.now_at(Side::A));
        path.advance(10 * SECOND);
        let round_trip_retries =
            2 * delay.as_millis() / (CUT_RETRY_TIMEOUT + CUT_RETRY_JITTER_MAX).as_millis();
        assert!(path.pair.times_of(Side::A, INITIATION).len() as u128 > round_trip_retries);
        for side in [Side::A, Side::B] {
            assert_eq!(sessions_ready(&path.pair.end(side).take_events()), 1, "delay {delay:?}, {side:?}");
        }
    }
}

#[test]
fn the_answer_to_each_pending_initiation_is_good_and_ends_the_attempt() {
    for chosen in 0..PENDING_INITIATIONS_MAX {
        let mut pair = Pair::new();
        let sent = initiations_of_a_cut(&mut pair);
        pair.deliver(&sent[chosen]).unwrap();
        pair.settle();
        pair.pass(Side::A, b"there");
        pair.pass(Side::B, b"and back");
        assert!(pair.a.drops().is_empty() && pair.b.drops().is_empty());

        for later in &sent[chosen + 1..] {
            pair.now += CUT_RETRY_TIMEOUT;
            pair.deliver(later).unwrap();
            pair.settle();
            pair.pass(Side::A, b"under the same session");
            pair.pass(Side::B, b"as ever");
        }
        let late = (PENDING_INITIATIONS_MAX - 1 - chosen) as u64;
        assert_eq!(pair.a.dropped(DropReason::UnknownReceiver), late, "late answers");
        assert!(pair.b.drops().is_empty());
        assert_eq!(sessions_ready(&pair.a.take_events()), 1);
    }
}

#[test]
fn the_session_of_each_initiation_waits_for_its_first_packet_though_others_came_after_it() {
    for chosen in 0..NEXT_SESSIONS_MAX {
        let mut pair = Pair::new();
        pair.a.keeps_alive = false;
        let initiations = initiations_of_a_cut(&mut pair);
        let mut responses = Vec::new();
        for initiation in &initiations {
            pair.deliver(initiation).unwrap();
            responses.push(pair.take());
            pair.now += CUT_RETRY_TIMEOUT;
        }
        pair.deliver(&responses[chosen]).unwrap();
        pair.pass(Side::A, b"there");
        pair.pass(Side::B, b"and back");
        assert!(pair.a.drops().is_empty() && pair.b.drops().is_empty(), "{chosen}");
    }
}

/// A plain WireGuard peer holds one session in waiting: that of our newest initiation.
#[test]
fn at_the_pace_of_the_paper_answers_to_later_initiations_remain_welcome() {
    let mut pair = Pair::new();
    pair.loses = Box::new(|flight| flight.kind() == INITIATION);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(6 * SECOND);
    let initiations: Vec<_> = pair.trace.drain(..).map(|(_, flight)| flight).collect();
    assert_eq!(initiations.len(), 2);
    pair.loses = Box::new(|flight| flight.kind() == DATA);
    pair.deliver(&initiations[0]).unwrap();
    pair.now += REKEY_TIMEOUT;
    pair.deliver(&initiations[1]).unwrap();
    pair.settle();
    pair.loses = Box::new(|_| false);
    let newest = pair.trace.iter().rfind(|(_, flight)| flight.kind() == RESPONSE).unwrap().1.clone();
    let packet = pair.a.seal(pair.now_at(Side::A), b"under the newest").unwrap();
    assert_eq!(packet.bytes[4..8], newest.bytes[4..8], "it names the session of the newest answer");
    pair.deliver(&packet).unwrap();
    pair.pass(Side::B, b"and back");
}

#[test]
fn an_answer_that_comes_after_the_peers_own_session_is_in_use_changes_nothing() {
    let mut pair = Pair::of(config(KEY_A, KEY_B, Some(address_b())), config(KEY_B, KEY_A, Some(address_a())));
    pair.send(Side::A, b"x").unwrap_err();
    let initiation = pair.take();
    pair.deliver(&initiation).unwrap();
    let late = pair.take();
    // It is as if B had started anew: it opens a handshake, and what it had answered is gone.
    pair.restart(Side::B, config(KEY_B, KEY_A, Some(address_a())), 0x55);
    pair.send(Side::B, b"x").unwrap_err();
    pair.settle();
    pair.pass(Side::B, b"under B's session");
    assert_eq!(pair.deliver(&late), Ok(()), "its MAC1 is right");
    assert_eq!(pair.a.drops(), [(DropReason::UnknownReceiver, 1)]);
    pair.pass(Side::A, b"under B's session too");
    pair.pass(Side::B, b"still");
}

#[test]
fn a_packet_that_several_sessions_overtook_still_opens() {
    for overtaken_by in 1..=PREVIOUS_SESSIONS_MAX {
        let mut pair = Pair::connected();
        let late = pair.b.seal(pair.now_at(Side::B), b"late").unwrap();
        for _ in 0..overtaken_by {
            pair.advance(6 * SECOND);
            pair.a.control.request_session(pair.now_at(Side::A));
            pair.settle();
            pair.pass(Side::A, b"under a new session");
        }
        pair.deliver(&late).unwrap();
        assert_eq!(pair.a.received.pop().as_deref(), Some(&b"late"[..]));
        assert_eq!(pair.deliver(&late), Err(DropReason::Replayed), "once");
    }
}

#[test]
fn keys_of_sessions_that_were_replaced_or_never_used_are_forgotten_when_they_are_too_old() {
    let mut pair = Pair::connected();
    pair.advance(10 * SECOND);
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    pair.advance(10 * SECOND);
    pair.loses = Box::new(|flight| flight.kind() != INITIATION);
    pair.a.control.request_session(pair.now_at(Side::A));
    pair.settle();
    pair.loses = Box::new(|_| true);
    let held =
        |pair: &Pair| [&pair.a, &pair.b].map(|end| end.control.shared().table.load().sessions().count());
    assert_eq!(held(&pair), [2, 3], "both have a previous one, B one in waiting");
    pair.advance_to(REJECT_AFTER_TIME + ACTIVITY_CHECK);
    assert_eq!(held(&pair), [1, 2]);
    pair.advance_to(REJECT_AFTER_TIME + ACTIVITY_CHECK + 20 * SECOND);
    assert_eq!(held(&pair), [1, 1]);
}

fn sessions_ready(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::SessionReady { .. })).count()
}

/// As many initiations as A keeps, sent at the pace of a cut and on nobody's wire.
fn initiations_of_a_cut(pair: &mut Pair) -> Vec<Flight> {
    pair.a.control.set_pace(Pace::Cut);
    pair.loses = Box::new(|_| true);
    pair.send(Side::A, b"x").unwrap_err();
    pair.advance(1150 * MS);
    pair.a.control.set_pace(Pace::Paper);
    pair.loses = Box::new(|_| false);
    let sent: Vec<_> = pair.trace.drain(..).map(|(_, flight)| flight).collect();
    assert_eq!(sent.len(), PENDING_INITIATIONS_MAX);
    sent
}

/// A pair whose datagrams take their time and keep their order.
struct Slow {
    pair: Pair,
    delay: Duration,
    is_cut: bool,
    under_way: VecDeque<(Instant, Flight)>,
    /// The packets that were sealed, and those that came out, of both ends.
    sent: BTreeSet<Vec<u8>>,
    received: BTreeSet<Vec<u8>>,
}

impl Slow {
    fn new(pair: Pair, delay: Duration) -> Self {
        let (under_way, sent, received) = Default::default();
        Self { pair, delay, is_cut: false, under_way, sent, received }
    }

    fn connected(delay: Duration) -> Self {
        let mut pair =
            Pair::of(config(KEY_A, KEY_B, Some(address_b())), config(KEY_B, KEY_A, Some(address_a())));
        pair.connect();
        Self::new(pair, delay)
    }

    /// Cuts the path while both ends try at the pace of a cut, B so much later than A.
    fn cut_for(&mut self, length: Duration, b_later: Duration) {
        self.is_cut = true;
        self.try_hard(Side::A);
        self.advance(b_later);
        self.try_hard(Side::B);
        self.advance(length);
        self.is_cut = false;
    }

    fn try_hard(&mut self, side: Side) {
        let now = self.pair.now_at(side);
        let control = &mut self.pair.end(side).control;
        control.set_pace(Pace::Cut);
        control.request_session(now);
    }

    /// Seals a packet if there is a session.
    fn send(&mut self, side: Side) {
        let mut packet = format!("{side:?} at {:?}", self.pair.now - self.pair.start).into_bytes();
        packet.resize(32, b' ');
        if self.pair.send(side, &packet).is_ok() {
            self.sent.insert(packet);
        }
    }

    fn missing(&self) -> Vec<String> {
        self.sent
            .difference(&self.received)
            .map(|packet| String::from_utf8_lossy(packet).into_owned())
            .collect()
    }

    fn advance(&mut self, time: Duration) {
        let end = self.pair.now + time;
        loop {
            self.launch();
            let timers = [Side::A, Side::B].map(|side| {
                let now = self.pair.now_at(side);
                self.pair.end(side).control.poll_timeout(now)
            });
            let arrival = self.under_way.front().map(|(at, _)| *at);
            let next = timers.into_iter().chain([arrival]).flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.pair.now = self.pair.now.max(next);
            self.deliver_due();
            self.fire_due();
        }
        self.pair.now = end;
    }

    fn launch(&mut self) {
        for side in [Side::A, Side::B] {
            self.pair.drain(side);
        }
        let arrival = self.pair.now + self.delay;
        let launched = self.pair.wire.drain(..).filter(|_| !self.is_cut);
        self.under_way.extend(launched.map(|flight| (arrival, flight)));
    }

    fn deliver_due(&mut self) {
        while let Some((_, flight)) = self.under_way.pop_front_if(|(at, _)| *at <= self.pair.now) {
            // Late answers are dropped; that no packet is, shows in what is missing.
            let _ = self.pair.deliver(&flight);
        }
        for side in [Side::A, Side::B] {
            self.received.extend(self.pair.end(side).received.drain(..));
        }
    }

    fn fire_due(&mut self) {
        for side in [Side::A, Side::B] {
            let now = self.pair.now_at(side);
            if self.pair.end(side).control.poll_timeout(now).is_some_and(|due| due <= now.monotonic) {
                self.pair.end(side).control.handle_timeout(now);
            }
        }
    }

    /// Of one session one end is the initiator and the other the responder.
    fn assert_agreed(&mut self, place: &str) {
        let roles = [Side::A, Side::B].map(|side| {
            let now = self.pair.now_at(side);
            self.pair.end(side).control.status(now).session.map(|session| session.role)
        });
        assert!(roles[0].is_some() && roles[1].is_some() && roles[0] != roles[1], "{place}: {roles:?}");
    }
}
