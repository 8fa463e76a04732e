//! One key in use at two places at once: told as exactly that, and the line does not flap.

use tieline_line::Event;
use tieline_sim::ends::{Ends, Kind, Side};

use crate::{MS, SECOND, alarms, moves, path};

/// A with B and, `later`, a second machine with B's key.
fn with_twin(seed: u64, kind: Kind, later: u32) -> Ends {
    let mut ends = Ends::new(seed, &path(15 * MS));
    for side in [Side::B, Side::Twin] {
        ends.setup(side).kind = kind;
        ends.setup(side).persistent_keepalive = (kind == Kind::WireGuard).then_some(25 * SECOND);
    }
    ends.start(Side::A);
    ends.start(Side::B);
    ends.advance(later * SECOND);
    ends.start(Side::Twin);
    ends
}

#[test]
fn two_tielines_with_one_key_are_the_alarm_within_seconds_and_one_of_them_keeps_the_line() {
    for later in [0, 1, 10, 60, 119, 121, 300] {
        let mut ends = with_twin(later.into(), Kind::Tieline, later);
        let begin = ends.elapsed();
        ends.advance(30 * SECOND);
        let told = alarms(&ends.take_events(Side::A));
        let first = told.first().map(|when| *when - begin);
        assert!(first.is_some_and(|first| first <= 10 * SECOND), "{first:?}, twin {later} s later");

        ends.set_traffic(Side::A, Some(50 * MS));
        for side in [Side::B, Side::Twin] {
            ends.take_received(side);
        }
        ends.advance(400 * SECOND);
        let events = ends.take_events(Side::A);
        assert_eq!(moves(&events), 0, "the line flaps, twin {later} s later: {events:?}");
        let reached = [Side::B, Side::Twin].map(|side| ends.take_received(side).len());
        assert_eq!(reached.iter().filter(|count| **count > 0).count(), 1, "{reached:?}");
        assert!(reached.iter().sum::<usize>() >= 400 * 20 - 2, "{reached:?}");
    }
}

#[test]
fn the_machine_that_has_the_line_is_told_that_its_key_is_in_use_twice() {
    let mut ends = with_twin(1, Kind::Tieline, 20);
    ends.advance(30 * SECOND);
    let told = [Side::B, Side::Twin]
        .map(|side| ends.take_events(side).iter().any(|(_, event)| matches!(event, Event::OurKeyInUseTwice)));
    assert!(told[0] || told[1]);
}

#[test]
fn the_other_machine_has_the_line_soon_after_the_one_that_had_it_is_gone() {
    let mut ends = with_twin(2, Kind::Tieline, 20);
    ends.advance(60 * SECOND);
    ends.set_traffic(Side::A, Some(50 * MS));
    ends.take_received(Side::B);
    ends.take_received(Side::Twin);
    ends.advance(SECOND);
    let holder = if ends.take_received(Side::B).is_empty() { Side::Twin } else { Side::B };
    let other = if holder == Side::B { Side::Twin } else { Side::B };
    ends.kill(holder);
    let took = ends.run_until(120 * SECOND, |ends| !ends.take_received(other).is_empty());
    assert!(took.is_some_and(|took| took <= 40 * SECOND), "{took:?}");
}

#[test]
fn the_machine_that_is_held_to_may_move_and_keeps_the_line() {
    let mut ends = with_twin(3, Kind::Tieline, 20);
    ends.advance(60 * SECOND);
    ends.set_traffic(Side::A, Some(50 * MS));
    ends.advance(SECOND);
    ends.take_received(Side::Twin);
    ends.take_received(Side::B);
    ends.advance(SECOND);
    let holder = if ends.take_received(Side::B).is_empty() { Side::Twin } else { Side::B };
    ends.roam(holder);
    ends.advance(300 * SECOND);
    let other = if holder == Side::B { Side::Twin } else { Side::B };
    assert!(ends.take_received(other).is_empty());
    assert!(ends.take_received(holder).len() >= 298 * 20);
}

#[test]
fn two_plain_wireguard_peers_with_one_key_are_the_alarm_and_one_of_them_keeps_the_line() {
    for later in [0, 1, 30, 100, 300] {
        let mut ends = with_twin(later.into(), Kind::WireGuard, later);
        for side in [Side::B, Side::Twin] {
            ends.set_traffic(side, Some(SECOND));
        }
        ends.set_traffic(Side::A, Some(SECOND));
        let begin = ends.elapsed();
        ends.advance(120 * SECOND);
        let told = alarms(&ends.take_events(Side::A));
        let first = told.first().map(|when| *when - begin);
        assert!(first.is_some_and(|first| first <= 60 * SECOND), "{first:?}, twin {later} s later");
        for side in [Side::B, Side::Twin] {
            ends.take_received(side);
        }
        ends.advance(400 * SECOND);
        let events = ends.take_events(Side::A);
        assert_eq!(moves(&events), 0, "the line flaps, twin {later} s later: {events:?}");
        let reached = [Side::B, Side::Twin].map(|side| ends.take_received(side).len());
        assert_eq!(reached.iter().filter(|count| **count > 0).count(), 1, "{reached:?}");
    }
}
