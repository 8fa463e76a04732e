//! Both ends of packed calls on virtual time, over a path that loses, delays, reorders and repeats.

mod calls;
mod figures;
mod hostile;
mod pair;
mod properties;

use std::time::Duration;

use self::calls::{Identification, Office};
use self::pair::{Pair, Path};
use super::{CONTEXTS_MAX, OFFER_TIME_MAX};

/// 5 % of the bundles and of the answers are lost, a fifth comes up to 30 ms late, some come twice.
const BAD: Path = Path {
    loss: 0.05,
    delay: Duration::from_millis(20),
    late: 0.2,
    late_by: Duration::from_millis(30),
    twice: 0.01,
};
const GOOD: Path = Path { loss: 0.0, late: 0.0, twice: 0.0, ..BAD };

#[test]
fn a_million_packets_over_a_bad_path_arrive_as_they_were_or_not_at_all() {
    let mut office = Office::of_all_sorts(60, 1);
    let mut pair = Pair::new(BAD, 2);
    while pair.sent < 1_000_000 {
        pair.tick(&mut office);
    }
    pair.drain();
    println!("{pair}");
    assert_eq!((pair.wrong, pair.refused), (0, 0));
    assert_eq!(pair.identical, pair.sent - pair.lost + pair.repeated);
    // One packet in four of this office is of a kind that has to go whole now and then.
    assert!(pair.elided * 100 > pair.sent * 85, "{pair}");
}

#[test]
fn ordinary_calls_are_elided_but_for_their_start() {
    for identification in Identification::ALL {
        let mut office = Office::of_ordinary_calls(20, identification);
        let mut pair = Pair::new(GOOD, 3);
        (0..60_000).for_each(|_| pair.tick(&mut office));
        pair.drain();
        assert_eq!((pair.wrong, pair.refused, pair.identical), (0, 0, pair.sent));
        // Until the first reference is acknowledged, 20 ms there and 20 ms back.
        assert!(pair.sent - pair.elided <= 20 * 6, "{identification:?}: {pair}");
    }
}

#[test]
fn a_far_path_is_waited_for() {
    let delay = Duration::from_millis(400);
    let mut office = Office::of_ordinary_calls(30, Identification::Sequential);
    let mut pair = Pair::new(Path { delay, ..BAD }, 4);
    (0..60_000).for_each(|_| pair.tick(&mut office));
    pair.drain();
    assert_eq!((pair.wrong, pair.refused), (0, 0));
    assert!(pair.elided * 100 > pair.sent * 90, "{pair}");
}

#[test]
fn nothing_is_coded_while_no_answer_comes() {
    let mut office = Office::of_ordinary_calls(10, Identification::Sequential);
    let mut pair = Pair::new(GOOD, 5);
    pair.answers_lost = true;
    (0..10_000).for_each(|_| pair.tick(&mut office));
    assert_eq!(pair.elided, 0);
    pair.answers_lost = false;
    (0..OFFER_TIME_MAX.as_millis() + 200).for_each(|_| pair.tick(&mut office));
    let before = (pair.elided, pair.sent);
    (0..1_000).for_each(|_| pair.tick(&mut office));
    pair.drain();
    assert_eq!(pair.elided - before.0, pair.sent - before.1);
    assert_eq!((pair.wrong, pair.refused, pair.identical), (0, 0, pair.sent));
}

#[test]
fn a_path_that_is_silent_for_hours_and_comes_back_gives_nothing_wrong() {
    let mut office = Office::of_all_sorts(60, 6);
    let mut pair = Pair::new(BAD, 7);
    for round in 0..20 {
        (0..5_000).for_each(|_| pair.tick(&mut office));
        pair.path.loss = if round % 2 == 0 { 1.0 } else { BAD.loss };
        pair.pass(Duration::from_secs(900 * (round % 3)));
    }
    pair.drain();
    assert_eq!((pair.wrong, pair.refused), (0, 0));
}

#[test]
fn more_calls_than_there_are_contexts_only_cost_octets() {
    let mut office = Office::of_ordinary_calls(CONTEXTS_MAX * 2, Identification::Zero);
    let mut pair = Pair::new(GOOD, 8);
    (0..2_000).for_each(|_| pair.tick(&mut office));
    pair.drain();
    assert_eq!((pair.wrong, pair.refused, pair.identical), (0, 0, pair.sent));
}

#[test]
fn another_process_at_either_end_begins_anew_under_another_label() {
    let mut office = Office::of_all_sorts(20, 9);
    let mut pair = Pair::new(BAD, 10);
    for _ in 0..20 {
        (0..2_000).for_each(|_| pair.tick(&mut office));
        pair.restart();
    }
    pair.drain();
    assert_eq!((pair.wrong, pair.refused), (0, 0));
    assert!(pair.identical > 0 && pair.elided > 0);
}
