//! Two whole ends on virtual time: how soon the line is there, and how soon it is there again.

mod cut;
mod drops;
mod key_twice;
mod pairing;
mod rekey;
mod restart;
mod roam;
mod second_suite;
mod start;
mod wireguard;

use std::time::Duration;

use tieline_line::Event;
use tieline_sim::ends::{Ends, Side};
use tieline_sim::path::PathModel;

/// A millisecond.
pub const MS: Duration = Duration::from_millis(1);
/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

/// How often there is a packet to send where traffic is steady.
pub const TICK: Duration = Duration::from_millis(5);

/// One-way delays to try: a cable, a city, a country, an ocean.
pub const DELAYS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(15), Duration::from_millis(75)];

/// A path of this one-way delay and nothing else.
pub fn path(delay: Duration) -> PathModel {
    PathModel { delay, ..PathModel::default() }
}

/// Sends steadily from `side` from now on and returns how long it takes until one of these packets arrives.
pub fn until_arrival(ends: &mut Ends, side: Side, patience: Duration) -> Option<Duration> {
    let begin = ends.elapsed();
    ends.take_received(side.far());
    ends.take_received(Side::Twin);
    let first = ends.sent();
    ends.set_traffic(side, Some(TICK));
    let arrived = ends.run_until(patience, |ends| {
        (first..ends.sent()).any(|number| ends.arrival(number).is_some_and(|at| at >= begin))
    });
    ends.set_traffic(side, None);
    arrived
}

/// Whether one key in two places was reported.
pub fn alarms(events: &[(Duration, Event)]) -> Vec<Duration> {
    let is_alarm = |event: &Event| matches!(event, Event::KeyInUseTwice(_));
    events.iter().filter(|(_, event)| is_alarm(event)).map(|(when, _)| *when).collect()
}

/// How often the far end was followed to another address.
pub fn moves(events: &[(Duration, Event)]) -> usize {
    events.iter().filter(|(_, event)| matches!(event, Event::PeerMoved { .. })).count()
}
