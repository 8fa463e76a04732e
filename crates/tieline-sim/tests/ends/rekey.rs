//! Sessions are replaced every two minutes, and nobody notices.

use std::time::Duration;

use tieline_line::Event;
use tieline_line::counters::DropReason;
use tieline_sim::ends::{Ends, Side};
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
