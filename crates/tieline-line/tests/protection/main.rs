//! Protection of voice from end to end on virtual time: many calls, a path that loses packets at random or in bursts, and what the phones
//! hear. What fails prints its seed. The table of `docs/decisions/voice-protection.md` is what `every_scheme_is_compared` prints with
//! `--nocapture`.

mod calls;

use std::time::Duration;

use calls::{Case, Outcome, Scheme};
use tieline_sim::path::{Bursts, PathModel, Reordering};

const SEEDS: [u64; 2] = [7, 11];

#[test]
fn two_per_cent_of_random_loss_are_not_heard() {
    for calls in [1, 5, 10, 50] {
        for seed in SEEDS {
            let outcome = run(calls, random(0.02), Scheme::Repair, seed);
            assert!(outcome.lost_or_later_than(millis(20)) <= 1.0, "{calls} calls, seed {seed}: {outcome}");
            assert!(outcome.factor() <= 2.0, "{calls} calls, seed {seed}: {outcome}");
        }
    }
}

#[test]
fn bursts_of_five_are_not_heard_with_ten_calls() {
    for calls in [10, 50] {
        for seed in SEEDS {
            let outcome = run(calls, bursts(0.01, 5.0), Scheme::Repair, seed);
            assert!(outcome.lost_or_later_than(millis(60)) <= 3.0, "{calls} calls, seed {seed}: {outcome}");
            assert!(outcome.factor() <= 1.6, "{calls} calls, seed {seed}: {outcome}");
        }
    }
}

#[test]
fn packets_of_any_size_are_restored_within_twice_the_octets() {
    for packet_len in [45, 60, 100, 1000] {
        for calls in [1, 10] {
            let case = Case { packet_len, packets: 5000, ..case(calls, random(0.02), Scheme::Repair, 5) };
            let outcome = case.run();
            assert!(outcome.lost_or_later_than(millis(60)) <= 1.0, "{case:?}: {outcome}");
            assert!(outcome.factor() <= 2.0, "{case:?}: {outcome}");
        }
    }
}

#[test]
fn no_packet_comes_twice_or_altered_on_any_path() {
    for seed in 0..20 {
        let path = PathModel {
            jitter: millis(seed % 5 * 4),
            loss: 0.01 * (seed % 4) as f64,
            bursts: (seed % 3 == 0).then(|| Bursts::of(6.0, 0.03)),
            reordering: (seed % 2 == 0).then_some(Reordering { probability: 0.1, hold: millis(60) }),
            duplication: 0.1,
            ..base()
        };
        let calls = [1, 3, 10, 30][seed as usize % 4];
        let case = Case { packets: 3000, ..case(calls, path, Scheme::Repair, seed) };
        let outcome = case.run();
        assert_eq!((outcome.twice, outcome.altered), (0, 0), "{case:?}");
        assert!(outcome.lost * 25 <= outcome.packets, "{case:?}: {outcome}");
    }
}

#[test]
fn every_scheme_is_compared() {
    for (name, path) in [("2 % random", random(0.02)), ("1 % in bursts of 5", bursts(0.01, 5.0))] {
        for calls in [1, 5, 10, 50] {
            let mut lost = Vec::new();
            for scheme in [Scheme::None, Scheme::Copy(20), Scheme::Copy(60), Scheme::Repair] {
                let outcome = run(calls, path.clone(), scheme, SEEDS[0]);
                println!("{name:18} {calls:2} calls {scheme:?}: {outcome}");
                assert_eq!((outcome.twice, outcome.altered), (0, 0));
                lost.push(outcome.lost);
            }
            // Fewer are lost with repair packets than without protection, and than with copies where there are some calls.
            assert!(lost[3] * 4 < lost[0], "{name}, {calls} calls: {lost:?}");
        }
    }
}

fn run(calls: u32, path: PathModel, scheme: Scheme, seed: u64) -> Outcome {
    case(calls, path, scheme, seed).run()
}

fn case(calls: u32, path: PathModel, scheme: Scheme, seed: u64) -> Case {
    Case { calls, path, scheme, packets: 15_000, packet_len: 200, seed }
}

fn random(loss: f64) -> PathModel {
    PathModel { loss, ..base() }
}

fn bursts(loss: f64, length: f64) -> PathModel {
    PathModel { bursts: Some(Bursts::of(length, loss)), ..base() }
}

fn base() -> PathModel {
    PathModel { delay: millis(10), ..PathModel::default() }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
