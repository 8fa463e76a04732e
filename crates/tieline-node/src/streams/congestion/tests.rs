//! The policies in real connections, on virtual time over the model of a path.
//!
//! Rates are of what the far end reads, beside what the wire could carry of it.

mod world;

use std::time::Duration;

use tieline_sim::path::{Bottleneck, PathModel};

use super::{Limits, Policy, Rate};
use crate::streams::lanes::LANES;
use world::{Congestion, World};

/// Of the octets on the wire, what heads of all layers leave.
const PAYLOAD: f64 = 0.93;
const MBIT: u64 = 1_000_000;
const ROUND_TRIP: Duration = Duration::from_millis(80);
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn fixed(mbit: u64) -> Policy {
    Policy::Fixed(Rate::from_bits_per_second(mbit * MBIT))
}

/// An access line with this much loss behind it.
fn line(mbit: u64, loss: f64) -> PathModel {
    PathModel { loss, ..PathModel::internet(mbit * MBIT, ROUND_TRIP / 2) }
}

/// A line of `mbit` that drops at once what is more, instead of letting it wait.
fn policer(mbit: u64) -> PathModel {
    let bottleneck = Bottleneck { bits_per_second: mbit * MBIT, queue_bytes_max: 4 * 1500 };
    PathModel { bottleneck: Some(bottleneck), ..line(mbit, 0.0) }
}

/// One connection that sends all the time, under `policy`.
fn alone(policy: Policy, model: &PathModel, seed: u64) -> (World, Limits) {
    let limits = Limits::default();
    limits.set_policy(policy);
    let mut world = World::new(model, ROUND_TRIP / 2, seed);
    world.add(Congestion::Ours(limits.clone()));
    (world, limits)
}

#[test]
fn loss_at_random_does_not_slow_a_policy_that_is_made_for_it() {
    // Shares of what the lossy line could deliver at best.
    let cases = [
        (Policy::Fair, 0.0, 0.99),
        (Policy::Fair, 0.01, 0.98),
        (Policy::Fair, 0.03, 0.95),
        (fixed(20), 0.0, 0.99),
        (fixed(20), 0.01, 0.98),
        (fixed(20), 0.05, 0.97),
        (fixed(20), 0.1, 0.97),
    ];
    for (policy, loss, share) in cases {
        for seed in SEEDS {
            let (mut world, _) = alone(policy, &line(20, loss), seed);
            world.run(seconds(3));
            let rate = world.measure(0, seconds(15)) / (20.0 * PAYLOAD * (1.0 - loss));
            assert!(rate >= share, "{policy:?}, {loss} lost, seed {seed}: {rate:.3} of the line");
        }
    }
}

#[test]
fn every_lane_is_read_in_its_turn_at_full_rate_where_a_tenth_is_lost() {
    let limits = Limits::default();
    limits.set_policy(fixed(100));
    let mut world = World::new(&line(100, 0.1), ROUND_TRIP / 2, 1);
    world.add_with_lanes(Congestion::Ours(limits), LANES);
    world.run(seconds(3));
    let rate = world.measure(0, seconds(10)) / (100.0 * PAYLOAD * 0.9);
    assert!(rate >= 0.94, "{rate:.3} of what the line can deliver");
}

#[test]
fn lanes_keep_little_back_on_a_slow_line() {
    let mut world = World::new(&line(1, 0.0), ROUND_TRIP / 2, 1);
    world.add_with_lanes(Congestion::Ours(Limits::default()), LANES);
    let rate = world.measure(0, seconds(5)) / PAYLOAD;
    assert!(rate >= 0.6, "{rate:.3} of the line in the first five seconds");
}

#[test]
fn begin_of_a_transfer_is_fast() {
    for policy in [Policy::Fair, fixed(20), Policy::Trickle] {
        let (mut world, _) = alone(policy, &line(20, 0.0), 1);
        let rate = world.measure(0, seconds(2)) / (20.0 * PAYLOAD);
        assert!(
            rate >= 0.6,
            "{policy:?}: {rate:.3} of the line in the first two seconds, handshake included"
        );
    }
}

#[test]
fn queue_that_a_call_meets_is_bounded() {
    for (policy, usual, most) in [(Policy::Fair, 8, 15), (fixed(20), 15, 30), (Policy::Trickle, 25, 35)] {
        let (mut world, _) = alone(policy, &line(20, 0.0), 1);
        world.run(seconds(3));
        world.calls.clear();
        let rate = world.measure(0, seconds(30)) / (20.0 * PAYLOAD);
        let (median, late) = (world.call_delay(0.5), world.call_delay(0.99));
        println!("{policy:?}: {rate:.3} of the line, call waits {median:?}, {late:?} at 99 %");
        assert!(median <= millis(usual), "{policy:?}: {median:?}");
        assert!(late <= millis(most), "{policy:?}: {late:?}");
        assert!(rate >= 0.95, "{policy:?}: {rate}");
    }
}

#[test]
fn fair_and_cubic_both_get_their_share() {
    for seed in SEEDS {
        let (mut world, _) = alone(Policy::Fair, &line(20, 0.0), seed);
        let cubic = world.add(Congestion::Cubic);
        world.run(seconds(20));
        world.begin_measurement();
        world.run(seconds(60));
        let (ours, theirs) = (world.rate(0), world.rate(cubic));
        println!("seed {seed}: fair {ours:.1}, CUBIC {theirs:.1} Mbit/s");
        let share = ours / (ours + theirs);
        assert!((0.2..=0.6).contains(&share), "seed {seed}: {share:.2} is ours");
    }
}

#[test]
fn two_fair_ones_share_and_the_second_gets_in() {
    let (mut world, _) = alone(Policy::Fair, &line(20, 0.0), 1);
    world.run(seconds(10));
    let second = world.add(Congestion::Ours(Limits::default()));
    world.run(seconds(30));
    world.begin_measurement();
    world.run(seconds(30));
    let share = world.rate(second) / (world.rate(0) + world.rate(second));
    assert!((0.25..=0.75).contains(&share), "the second has {share:.2}");
}

#[test]
fn trickle_leaves_the_line_to_who_comes_and_takes_it_back() {
    for (other, most) in [(Congestion::Cubic, 0.1), (Congestion::Ours(Limits::default()), 0.5)] {
        let (mut world, _) = alone(Policy::Trickle, &line(20, 0.0), 1);
        world.run(seconds(10));
        let theirs = world.add(other);
        world.run(seconds(10));
        world.begin_measurement();
        world.run(seconds(30));
        let share = world.rate(0) / (world.rate(0) + world.rate(theirs));
        println!("trickle has {share:.3}");
        assert!(share < most, "trickle has {share:.3}");
        world.stop(theirs);
        // QUIC has some of theirs to send yet.
        world.run(seconds(20));
        let rate = world.measure(0, seconds(5)) / (20.0 * PAYLOAD);
        assert!(rate > 0.9, "{rate:.3} of the line when the other has ended");
    }
}

#[test]
fn policer_is_filled_without_losing_much() {
    for (policy, share, wasted) in [(Policy::Fair, 0.9, 0.04), (fixed(20), 0.9, 0.04), (fixed(24), 0.9, 0.36)]
    {
        let (mut world, _) = alone(policy, &policer(20), 1);
        world.run(seconds(20));
        let rate = world.measure(0, seconds(20)) / (20.0 * PAYLOAD);
        let lost = world.dropped();
        println!("{policy:?}: {rate:.3} of the line, {lost:.3} dropped");
        assert!(rate >= share, "{policy:?}: {rate:.3} of the line");
        assert!(lost <= wasted, "{policy:?}: {lost:.3} dropped");
    }
}

#[test]
fn line_that_becomes_a_hundred_times_slower_is_used_and_not_flooded() {
    for policy in [Policy::Fair, fixed(100), Policy::Trickle] {
        let (mut world, _) = alone(policy, &line(100, 0.0), 1);
        world.run(seconds(3));
        world.set_model(&line(1, 0.0));
        world.run(seconds(10));
        let rate = world.measure(0, seconds(20)) / PAYLOAD;
        let lost = world.dropped();
        println!("{policy:?}: {rate:.3} of the line, {lost:.3} dropped");
        assert!(rate >= 0.8, "{policy:?}: {rate:.3} of the line");
        assert!(lost <= 0.1, "{policy:?}: {lost:.3} dropped");
        world.set_model(&line(100, 0.0));
        world.run(seconds(15));
        let rate = world.measure(0, seconds(2)) / (100.0 * PAYLOAD);
        assert!(rate >= 0.8, "{policy:?}: {rate:.3} of the line when it is fast again");
    }
}

#[test]
fn way_that_becomes_six_hundred_times_longer_is_filled_again() {
    let near = PathModel::internet(5 * MBIT, Duration::from_micros(500));
    for policy in [Policy::Fair, fixed(5)] {
        let limits = Limits::default();
        limits.set_policy(policy);
        let mut world = World::new(&near, Duration::from_micros(500), 1);
        world.add(Congestion::Ours(limits));
        world.run(seconds(3));
        world.set_model(&PathModel::internet(5 * MBIT, Duration::from_micros(599_500)));
        world.run(seconds(25));
        let rate = world.measure(0, seconds(10)) / (5.0 * PAYLOAD);
        assert!(rate >= 0.8, "{policy:?}: {rate:.3} of the line");
    }
}

#[test]
fn cut_is_over_soon_after_it_is_over() {
    for policy in [Policy::Fair, fixed(20), Policy::Trickle] {
        let (mut world, _) = alone(policy, &line(20, 0.0), 1);
        world.run(seconds(5));
        world.cut(true);
        world.run(seconds(10));
        world.cut(false);
        world.wake_up();
        world.run(seconds(2));
        let rate = world.measure(0, seconds(5)) / (20.0 * PAYLOAD);
        assert!(rate >= 0.8, "{policy:?}: {rate:.3} of the line");
    }
}

#[test]
fn connection_outlives_much_that_waits_for_a_reader_or_for_what_is_lost() {
    let (mut world, _) = alone(fixed(100), &line(100, 0.1), 1);
    world.run(seconds(5));
    let (mut world, _) = alone(Policy::Fair, &line(100, 0.0), 1);
    world.set_reading(0, false);
    world.run(seconds(3));
    world.set_reading(0, true);
    world.run(seconds(1));
    let rate = world.measure(0, seconds(2)) / (100.0 * PAYLOAD);
    assert!(rate >= 0.75, "{rate:.3} of the line when it is read again");
}

#[test]
fn idle_connection_remembers_the_line_and_starts_without_a_burst() {
    for policy in [Policy::Fair, fixed(20), Policy::Trickle] {
        let (mut world, _) = alone(policy, &line(20, 0.0), 1);
        world.run(seconds(5));
        world.stop(0);
        // QUIC has some to send yet.
        world.run(seconds(10));
        for _ in 0..120 {
            world.say_a_little(0);
            world.run(millis(500));
        }
        world.calls.clear();
        world.resume(0);
        let rate = world.measure(0, millis(1000)) / (20.0 * PAYLOAD);
        assert!(rate >= 0.85, "{policy:?}: {rate:.3} of the line in the first second");
        let late = world.call_delay(1.0);
        assert!(late <= millis(45), "{policy:?}: a call waits {late:?}");
    }
}

#[test]
fn cap_and_policy_count_while_it_sends() {
    for policy in [Policy::Fair, fixed(20), Policy::Trickle] {
        let (mut world, limits) = alone(policy, &line(20, 0.0), 1);
        world.run(seconds(3));
        limits.set_cap(Some(Rate::from_bits_per_second(5 * MBIT)));
        world.run(millis(200));
        let rate = world.measure(0, seconds(10)) / (5.0 * PAYLOAD);
        assert!((0.95..=1.01).contains(&rate), "{policy:?}: {rate:.3} of the cap");
        limits.set_cap(None);
        world.run(seconds(5));
        let rate = world.measure(0, seconds(3)) / (20.0 * PAYLOAD);
        assert!(rate >= 0.9, "{policy:?}: {rate:.3} of the line without the cap");
        limits.set_policy(fixed(10));
        world.run(millis(500));
        let rate = world.measure(0, seconds(5)) / (10.0 * PAYLOAD);
        assert!((0.95..=1.02).contains(&rate), "{policy:?}, then fixed: {rate:.3} of the rate");
        limits.set_policy(policy);
        world.run(seconds(5));
        let rate = world.measure(0, seconds(5)) / (20.0 * PAYLOAD);
        assert!(rate >= 0.9, "{policy:?} again: {rate:.3} of the line");
    }
}

#[test]
fn fixed_makes_up_for_what_is_lost_and_sends_no_more_than_a_quarter_above() {
    for (loss, at_least, at_most) in [(0.1, 0.97, 1.03), (0.22, 0.9, 0.985)] {
        let (mut world, _) = alone(fixed(10), &line(20, loss), 1);
        world.run(seconds(5));
        let rate = world.measure(0, seconds(20)) / (10.0 * PAYLOAD);
        assert!((at_least..=at_most).contains(&rate), "{loss} lost: {rate:.3} of the set rate");
    }
}
