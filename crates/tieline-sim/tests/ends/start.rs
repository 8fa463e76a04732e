//! The first packet.

use std::time::Duration;

use tieline_sim::ends::{Ends, Side};
use tieline_sim::path::PathModel;

const MS: Duration = Duration::from_millis(1);

/// WireGuard needs one round trip before the first packet can leave, and the packet then takes its way: that is the least.
/// Both ends are up, the packet is there from the start and waits.
#[test]
fn the_first_packet_leaves_after_one_round_trip_and_arrives_half_a_one_later() {
    for delay in [0, 1, 15, 50, 150, 300] {
        let delay = delay * MS;
        for first in Side::BOTH {
            for sender in Side::BOTH {
                let mut ends = Ends::new(7, &PathModel { delay, ..PathModel::default() });
                ends.start(first);
                ends.start(first.far());
                let number = ends.send(sender);
                ends.advance(3 * delay + 50 * MS);
                let arrival = ends.arrival(number).expect("the first packet arrives");
                assert!(arrival <= 2 * delay + delay + 50 * MS, "{arrival:?} at a delay of {delay:?}");
            }
        }
    }
}
