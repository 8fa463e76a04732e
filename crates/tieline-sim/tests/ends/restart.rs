//! kill -9 of an end, and its process started again.

use std::time::Duration;

use tieline_sim::ends::{Ends, Side};

use crate::{DELAYS, MS, SECOND, TICK, path, until_arrival};

/// After its process is started again a line must carry traffic in two round trips and this.
const RESTART: Duration = Duration::from_millis(100);

#[test]
fn after_kill_9_of_either_end_traffic_flows_in_two_round_trips_whoever_sends_first() {
    for delay in DELAYS {
        for killed in Side::BOTH {
            for sender in Side::BOTH {
                for (seed, (up, down)) in
                    [(0, 30), (0, 100), (3, 30), (3, 2000), (100, 30), (120, 100), (121, 5000), (30, 200_000)]
                        .into_iter()
                        .enumerate()
                {
                    let mut ends = Ends::connected(seed as u64, &path(delay));
                    ends.advance(up * SECOND);
                    ends.kill(killed);
                    ends.advance(down * MS);
                    ends.start(killed);
                    let took = until_arrival(&mut ends, sender, 20 * SECOND);
                    let bound = 4 * delay + RESTART;
                    assert!(
                        took.is_some_and(|took| took <= bound),
                        "{took:?} > {bound:?}: delay {delay:?}, {killed:?} killed after {up} s for {down} ms, {sender:?} sends"
                    );
                }
            }
        }
    }
}

#[test]
fn both_ends_restarted_at_once_find_each_other_in_two_round_trips() {
    for delay in DELAYS {
        for apart in [0, 1, 10, 30, 100] {
            for sender in Side::BOTH {
                let mut ends = Ends::connected(apart, &path(delay));
                ends.advance(50 * SECOND);
                ends.kill(Side::A);
                ends.kill(Side::B);
                ends.advance(SECOND);
                ends.start(Side::A);
                ends.advance(apart as u32 * MS);
                ends.start(Side::B);
                let took = until_arrival(&mut ends, sender, 20 * SECOND);
                let bound = 4 * delay + RESTART;
                assert!(
                    took.is_some_and(|took| took <= bound),
                    "{took:?} > {bound:?}: delay {delay:?}, started {apart} ms apart, {sender:?} sends"
                );
            }
        }
    }
}

#[test]
fn an_end_that_lost_its_memory_is_found_by_the_other() {
    for killed in Side::BOTH {
        let mut ends = Ends::connected(1, &path(15 * MS));
        ends.advance(20 * SECOND);
        ends.kill(killed);
        *ends.memory(killed) = Default::default();
        ends.start(killed);
        let took = until_arrival(&mut ends, killed.far(), 10 * SECOND);
        assert!(took.is_some_and(|took| took <= 60 * MS + RESTART), "{took:?}");
    }
}

/// A clock that went back by hours and a restart: what is remembered keeps the timestamps growing.
#[test]
fn a_clock_that_steps_back_by_hours_and_a_restart_cost_no_more_than_a_restart() {
    for side in Side::BOTH {
        for sender in Side::BOTH {
            for running in [true, false] {
                let mut ends = Ends::connected(2, &path(15 * MS));
                ends.advance(10 * SECOND);
                if running {
                    ends.set_clock_error(side, -5 * 3600);
                    ends.advance(130 * SECOND);
                }
                ends.kill(side);
                ends.set_clock_error(side, -5 * 3600);
                ends.advance(SECOND);
                ends.start(side);
                let took = until_arrival(&mut ends, sender, 10 * SECOND);
                assert!(took.is_some_and(|took| took <= 60 * MS + RESTART), "{took:?}: {side:?}, {sender:?}");
            }
        }
    }
}

/// Without its memory such an end is refused as a replay. The other end notices its silence (3 s), asks every 0.3 s, and is
/// answered: the line is up again in 3.5 s and two round trips.
#[test]
fn a_clock_that_stepped_back_without_memory_is_overcome_by_the_other_end() {
    for side in Side::BOTH {
        for sender in Side::BOTH {
            let mut ends = Ends::connected(3, &path(15 * MS));
            ends.advance(10 * SECOND);
            ends.kill(side);
            *ends.memory(side) = Default::default();
            ends.set_clock_error(side, -5 * 3600);
            ends.start(side);
            let took = until_arrival(&mut ends, sender, 10 * SECOND);
            assert!(took.is_some_and(|took| took <= 3500 * MS + 60 * MS), "{took:?}: {side:?}, {sender:?}");
        }
    }
}

#[test]
fn an_end_killed_while_its_initiations_were_out_is_not_refused_afterwards() {
    for side in Side::BOTH {
        for ahead in [0, 200, 500, 7200] {
            let mut ends = Ends::connected(4, &path(15 * MS));
            ends.advance(130 * SECOND);
            ends.set_clock_error(side, ahead);
            // Its initiations arrive and no answer comes back, so that no session has it written down.
            ends.cut_towards(side);
            ends.advance(40 * SECOND);
            ends.kill(side);
            ends.restore();
            ends.set_clock_error(side, 0);
            ends.advance(SECOND);
            ends.start(side);
            let took = until_arrival(&mut ends, side, 10 * SECOND);
            assert!(
                took.is_some_and(|took| took <= 60 * MS + RESTART),
                "{took:?}: {side:?}, clock {ahead} s ahead"
            );
        }
    }
}

#[test]
fn restarts_again_and_again_raise_no_alarm_and_lose_the_line_no_time() {
    let mut ends = Ends::connected(5, &path(15 * MS));
    for round in 0..40_u32 {
        let side = if round % 3 == 0 { Side::A } else { Side::B };
        ends.advance(round * 37 * MS);
        ends.restart(side);
        let took = until_arrival(&mut ends, side.far(), 10 * SECOND);
        assert!(took.is_some_and(|took| took <= 60 * MS + RESTART + TICK), "{took:?} in round {round}");
    }
    for side in Side::BOTH {
        assert_eq!(crate::alarms(&ends.take_events(side)), []);
    }
}
