//! An end's machine gets another address, or its NAT forgets it.

use tieline_line::Event;
use tieline_sim::ends::{Ends, Side};
use tieline_sim::nat::NatConfig;
use tieline_sim::path::PathModel;

use crate::{DELAYS, MS, SECOND, alarms, path, until_arrival};

#[test]
fn an_end_that_moved_is_reached_one_round_trip_after_it_next_sends() {
    for delay in DELAYS {
        for roaming in Side::BOTH {
            for age in [3, 118, 119, 120] {
                let mut ends = Ends::connected(age, &path(delay));
                ends.advance(age as u32 * SECOND + 300 * MS);
                ends.roam(roaming);
                ends.send(roaming);
                let took = until_arrival(&mut ends, roaming.far(), 20 * SECOND);
                let bound = 2 * delay + crate::TICK;
                assert!(
                    took.is_some_and(|took| took <= bound),
                    "{took:?} > {bound:?}: {roaming:?} at {age} s"
                );
            }
        }
    }
}

#[test]
fn an_end_that_moved_and_sends_nothing_itself_is_reached_within_a_second_and_a_round_trip() {
    for delay in DELAYS {
        for roaming in Side::BOTH {
            let mut ends = Ends::connected(11, &path(delay));
            ends.advance(10 * SECOND);
            ends.roam(roaming);
            let took = until_arrival(&mut ends, roaming.far(), 20 * SECOND);
            let bound = 2 * delay + SECOND + crate::TICK;
            assert!(took.is_some_and(|took| took <= bound), "{took:?} > {bound:?}: {roaming:?}");
        }
    }
}

#[test]
fn both_ends_moved_at_once_are_found_by_their_names() {
    let mut ends = Ends::connected(12, &path(15 * MS));
    ends.advance(10 * SECOND);
    ends.roam(Side::A);
    ends.roam(Side::B);
    let took = until_arrival(&mut ends, Side::A, 30 * SECOND);
    assert!(took.is_some_and(|took| took <= 12 * SECOND), "{took:?}");
}

#[test]
fn moving_to_and_fro_raises_no_alarm_and_is_followed_each_time() {
    for roaming in Side::BOTH {
        let mut ends = Ends::connected(13, &path(15 * MS));
        let (home, away) = (roaming.home(), "198.51.100.200:4000".parse().unwrap());
        for round in 0..60 {
            ends.set_address(roaming, if round % 2 == 0 { away } else { home });
            ends.advance((round * 331) % 9000 * MS);
            let took = until_arrival(&mut ends, roaming.far(), 10 * SECOND);
            assert!(took.is_some_and(|took| took <= SECOND + 30 * MS), "{took:?} in round {round}");
        }
        assert_eq!(alarms(&ends.take_events(roaming.far())), []);
    }
}

fn behind_nat(model: &PathModel) -> Ends {
    let mut ends = Ends::new(14, model);
    ends.setup(Side::A).dials = None;
    ends.set_nat(Side::B, NatConfig::common([203, 0, 113, 77].into()));
    ends.start(Side::A);
    ends.start(Side::B);
    ends
}

#[test]
fn an_end_behind_a_nat_is_reached_and_its_binding_kept_by_the_probes() {
    let mut ends = behind_nat(&path(15 * MS));
    let took = until_arrival(&mut ends, Side::A, 10 * SECOND);
    assert!(took.is_some_and(|took| took <= 60 * MS + 50 * MS), "{took:?}");
    ends.advance(1000 * SECOND);
    let events = ends.take_events(Side::A);
    let moves =
        events.iter().filter(|(_, event)| matches!(event, Event::PeerMoved { from: Some(_), .. })).count();
    assert_eq!(moves, 0, "the binding was never lost");
    let took = until_arrival(&mut ends, Side::A, 10 * SECOND);
    assert!(took.is_some_and(|took| took <= 20 * MS), "{took:?}");
}

#[test]
fn a_nat_that_forgets_costs_as_much_as_a_move() {
    let mut ends = behind_nat(&path(15 * MS));
    for round in 0..20 {
        ends.advance((5000 + round * 137) * MS);
        ends.forget_nat(Side::B);
        let took = until_arrival(&mut ends, Side::A, 10 * SECOND);
        assert!(took.is_some_and(|took| took <= SECOND + 30 * MS), "{took:?} in round {round}");
    }
    assert_eq!(alarms(&ends.take_events(Side::A)), []);
}

#[test]
fn a_plain_wireguard_far_end_is_reached_where_it_last_sent_from() {
    let mut ends = Ends::new(15, &path(15 * MS));
    ends.setup(Side::B).kind = tieline_sim::ends::Kind::WireGuard;
    ends.setup(Side::B).persistent_keepalive = Some(25 * SECOND);
    ends.start(Side::A);
    ends.start(Side::B);
    for _ in 0..5 {
        ends.advance(40 * SECOND);
        ends.roam(Side::B);
        ends.send(Side::B);
        ends.advance(15 * MS);
        let took = until_arrival(&mut ends, Side::A, 10 * SECOND);
        assert!(took.is_some_and(|took| took <= 30 * MS), "{took:?}");
    }
    assert_eq!(alarms(&ends.take_events(Side::A)), []);
}
