//! Sessions are replaced every two minutes, and nobody notices.

use std::time::Duration;

use tieline_line::Event;
use tieline_line::counters::DropReason;
use tieline_sim::ends::{Ends, Kind, Side};
use tieline_sim::path::{PathModel, Reordering};

use crate::{MS, SECOND, path};

fn sessions(events: &[(Duration, Event)]) -> usize {
    events.iter().filter(|(_, event)| matches!(event, Event::SessionReady)).count()
}

#[test]
fn no_packet_is_lost_when_sessions_are_replaced_under_steady_traffic() {
    let swapping = PathModel {
        jitter: 5 * MS,
        reordering: Some(Reordering { probability: 0.1, hold: 20 * MS }),
        ..path(15 * MS)
    };
    for model in [path(Duration::ZERO), path(15 * MS), path(150 * MS), swapping] {
        let mut ends = Ends::connected(1, &model);
        for side in Side::BOTH {
            ends.take_events(side);
            ends.set_traffic(side, Some(7 * MS));
        }
        ends.advance(370 * SECOND);
        for side in Side::BOTH {
            ends.set_traffic(side, None);
            assert!(sessions(&ends.take_events(side)) >= 3, "{side:?}");
        }
        ends.advance(SECOND);
        assert_eq!([ends.missing(Side::A), ends.missing(Side::B)], [0, 0], "{model:?}");
    }
}

#[test]
fn no_packet_is_lost_when_sessions_are_replaced_at_ten_thousand_packets_a_second_each_way() {
    let fast = Duration::from_micros(100);
    let cases = [Kind::Tieline, Kind::WireGuard].into_iter().flat_map(|far| [(far, Side::A), (far, Side::B)]);
    for (seed, (far, opens)) in cases.enumerate() {
        for delay in [Duration::ZERO, 15 * MS, 150 * MS] {
            let mut ends = Ends::new(seed as u64, &path(delay));
            ends.setup(Side::B).kind = far;
            ends.setup(Side::B).always_on = far == Kind::Tieline;
            ends.setup(opens.far()).dials = None;
            ends.start(opens.far());
            ends.start(opens);
            ends.advance(5 * SECOND);
            for _ in 0..3 {
                // The paper replaces a session at 120 s, when the next packet is sent.
                set_traffic(&mut ends, Some(7 * MS));
                run_until_age(&mut ends, |age| age >= 119 * SECOND);
                set_traffic(&mut ends, Some(fast));
                run_until_age(&mut ends, |age| age <= SECOND);
                ends.advance(SECOND);
            }
            set_traffic(&mut ends, None);
            ends.advance(SECOND);
            let missing = Side::BOTH.map(|side| ends.missing(side));
            assert_eq!(missing, [0, 0], "{far:?} as B, {opens:?} opens, {delay:?}, of {}", ends.sent());
            assert_eq!(drops_of_data(&ends), [], "{far:?} as B, {opens:?} opens, {delay:?}");
        }
    }
}

/// Why sealed packets were dropped at either end. An answer to a handshake that another has overtaken belongs to nothing.
fn drops_of_data(ends: &Ends) -> Vec<(Side, tieline_seal::DropReason)> {
    use tieline_seal::DropReason;
    let reasons = DropReason::ALL.iter().filter(|reason| **reason != DropReason::UnknownReceiver);
    let at_both = reasons.flat_map(|reason| Side::BOTH.map(|side| (side, *reason)));
    at_both.filter(|(side, reason)| ends.session_drops(*side, *reason) > 0).collect()
}

fn set_traffic(ends: &mut Ends, every: Option<Duration>) {
    Side::BOTH.into_iter().for_each(|side| ends.set_traffic(side, every));
}

fn run_until_age(ends: &mut Ends, wanted: impl Fn(Duration) -> bool) {
    let age = |ends: &Ends, side| ends.status(side).and_then(|status| Some(status.session?.age));
    let reached = ends
        .run_until(130 * SECOND, |ends| Side::BOTH.iter().all(|side| age(ends, *side).is_some_and(&wanted)));
    assert!(reached.is_some(), "no session of the age: {:?}", Side::BOTH.map(|side| age(ends, side)));
}

#[test]
fn an_idle_line_stays_up_for_hours_and_answers_at_once() {
    let mut ends = Ends::connected(2, &path(15 * MS));
    for side in Side::BOTH {
        ends.take_events(side);
    }
    ends.advance(3 * 3600 * SECOND);
    for side in Side::BOTH {
        let events = ends.take_events(side);
        assert!(
            !events.iter().any(|(_, event)| matches!(event, Event::SessionLost | Event::Reachability(_)))
        );
        assert!(sessions(&events) > 80);
        let number = ends.send(side);
        ends.advance(15 * MS);
        assert!(ends.arrival(number).is_some());
        assert_eq!(ends.drops(side, DropReason::ControlQueueFull), 0);
    }
}
