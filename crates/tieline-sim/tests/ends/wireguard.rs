//! A far end that is plain WireGuard: it knows no labels, answers no hello and no probe.

use std::time::Duration;

use tieline_line::Event;
use tieline_line::greeting::{ATTEMPTS_MAX, FarEnd, RETRY_FIRST};
use tieline_line::liveness::Reachability;
use tieline_line::redial::{HELLO_REDIALS_MAX, TRY_EACH, UNANSWERED_MAX};
use tieline_seal::limits::KEEPALIVE_TIMEOUT;
use tieline_sim::ends::{Ends, Kind, Side};
use tieline_sim::path::PathModel;

use crate::{DELAYS, MS, SECOND, TICK, alarms, path, until_arrival};

fn with_wireguard(seed: u64, model: &PathModel) -> Ends {
    let mut ends = Ends::new(seed, model);
    ends.setup(Side::B).kind = Kind::WireGuard;
    ends.setup(Side::B).always_on = false;
    ends.start(Side::A);
    ends.start(Side::B);
    ends
}

#[test]
fn a_plain_wireguard_far_end_is_told_as_ip_only_and_traffic_flows() {
    let mut ends = with_wireguard(1, &path(15 * MS));
    for side in Side::BOTH {
        let took = until_arrival(&mut ends, side, 10 * SECOND);
        assert!(took.is_some_and(|took| took <= 30 * MS + 50 * MS + 15 * MS), "{took:?}");
    }
    ends.advance(60 * SECOND);
    assert_eq!(ends.far_end(Side::A), Some(FarEnd::IpOnly));
    let told = ends.take_events(Side::A).into_iter().filter(|(_, event)| matches!(event, Event::FarEnd(_)));
    let told: Vec<_> = told.collect();
    let [(when, Event::FarEnd(FarEnd::IpOnly))] = told[..] else { panic!("{told:?}") };
    // The last dialling for a hello, the hello after it, the keepalive that it calls for, and the hello that is not said any more.
    let hello_each = RETRY_FIRST * (1 << (ATTEMPTS_MAX - 1));
    let latest = UNANSWERED_MAX + TRY_EACH + hello_each + KEEPALIVE_TIMEOUT + hello_each;
    assert!(when <= latest, "{when:?}");
    assert_eq!(ends.reachability(Side::A), Some(Reachability::Unknown), "it answers no probes");
}

#[test]
fn a_plain_wireguard_far_end_without_any_traffic_is_told_as_well() {
    let mut ends = with_wireguard(2, &path(15 * MS));
    ends.advance(60 * SECOND);
    assert_eq!(ends.far_end(Side::A), Some(FarEnd::IpOnly));
}

#[test]
fn a_plain_wireguard_far_end_that_is_idle_is_recognised_then_left_in_peace_and_the_line_stays_up() {
    for (seed, delay) in DELAYS.into_iter().enumerate() {
        let mut ends = with_wireguard(seed as u64, &path(delay));
        ends.advance(60 * SECOND);
        assert_eq!(ends.far_end(Side::A), Some(FarEnd::IpOnly), "{delay:?}");
        let begin = ends.take_events(Side::A);
        assert!(dialled(&begin) <= HELLO_REDIALS_MAX as usize, "{delay:?}: {begin:?}");

        for minute in 1..=60 {
            ends.advance(60 * SECOND);
            assert!(
                ends.status(Side::A).is_some_and(|status| status.session.is_some()),
                "{delay:?}, {minute} min"
            );
        }
        // Nothing but new sessions in their time: whoever never becomes a tieline is sent no QUIC.
        let events = ends.take_events(Side::A);
        let others = events.iter().filter(|(_, event)| !matches!(event, Event::SessionReady));
        assert_eq!(others.count(), 0, "{delay:?}: {events:?}");
        assert!(events.len() <= 60 / 2, "{delay:?}: {} handshakes in an hour", events.len());
        for side in Side::BOTH {
            let took = until_arrival(&mut ends, side, SECOND);
            assert!(took.is_some_and(|took| took <= delay + TICK), "{delay:?}, {side:?}: {took:?}");
        }
    }
}

#[test]
fn sessions_with_plain_wireguard_are_replaced_without_loss() {
    let mut ends = with_wireguard(3, &path(15 * MS));
    ends.advance(SECOND);
    for side in Side::BOTH {
        ends.set_traffic(side, Some(20 * MS));
    }
    ends.advance(600 * SECOND);
    for side in Side::BOTH {
        ends.set_traffic(side, None);
    }
    ends.advance(SECOND);
    assert_eq!([ends.missing(Side::A), ends.missing(Side::B)], [0, 0]);
}

#[test]
fn a_tieline_in_the_place_of_plain_wireguard_is_recognised_and_the_other_way_round() {
    let mut ends = with_wireguard(4, &path(15 * MS));
    ends.advance(60 * SECOND);
    assert_eq!(ends.far_end(Side::A), Some(FarEnd::IpOnly));
    ends.kill(Side::B);
    ends.setup(Side::B).kind = Kind::Tieline;
    ends.start(Side::B);
    ends.advance(SECOND);
    assert!(matches!(ends.far_end(Side::A), Some(FarEnd::Tieline(_))));
    assert_eq!(ends.reachability(Side::A), Some(Reachability::Alive));

    ends.kill(Side::B);
    ends.setup(Side::B).kind = Kind::WireGuard;
    ends.setup(Side::B).always_on = true;
    ends.start(Side::B);
    ends.set_traffic(Side::B, Some(SECOND));
    ends.advance(90 * SECOND);
    assert_eq!(ends.far_end(Side::A), Some(FarEnd::IpOnly));
    assert_eq!(alarms(&ends.take_events(Side::A)), []);
}

#[test]
fn a_cut_does_not_make_plain_wireguard_of_a_tieline() {
    for age in [0, 1, 119, 120, 121] {
        let mut ends = Ends::connected(age, &path(15 * MS));
        ends.advance(age as u32 * SECOND);
        ends.cut();
        ends.advance(60 * SECOND);
        for side in Side::BOTH {
            assert!(matches!(ends.far_end(side), Some(FarEnd::Tieline(_))), "{side:?}, cut at {age} s");
        }
    }
}

fn dialled(events: &[(Duration, Event)]) -> usize {
    events.iter().filter(|(_, event)| matches!(event, Event::Dial)).count()
}
