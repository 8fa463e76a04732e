//! The rate of a line is found and followed, on virtual time over bad paths.
#![expect(clippy::print_stdout, reason = "what each case has reached is for people")]

#[path = "rate/world.rs"]
mod world;

use std::time::Duration;

use tieline_line::rate::Config;
use tieline_sim::path::{Bottleneck, PathModel};

use world::{DATAGRAM_LEN, OVERHEAD, Offered, World};

const SECOND: Duration = Duration::from_secs(1);
const SEED: u64 = 7;

fn config() -> Config {
    Config { auto: true, ceiling: None, ceiling_in: None, overhead: OVERHEAD, datagram_len_max: DATAGRAM_LEN }
}

fn line(megabits: f64, delay_ms: u64, jitter_ms: u64, loss: f64) -> PathModel {
    let bits_per_second = (megabits * 1e6) as u64;
    PathModel {
        bottleneck: Some(Bottleneck { bits_per_second, queue_bytes_max: 256_000 }),
        delay: Duration::from_millis(delay_ms),
        jitter: Duration::from_millis(jitter_ms),
        loss,
        ..PathModel::default()
    }
}

fn world(model: PathModel) -> World {
    println!("seed {SEED}");
    let mut world = World::new(model, config(), SEED, 100e-6);
    world.offered = Offered { calls: 2, bulk: true, cross: 0 };
    world
}

/// How long after `from` a second began in which `bits` a second were delivered, if one did before `to`.
fn reached(world: &World, from: f64, to: f64, bits: f64) -> Option<f64> {
    let steps: Vec<_> = world.steps.iter().filter(|step| step.seconds > from && step.seconds <= to).collect();
    let mean =
        |steps: &[&world::Step]| steps.iter().map(|step| step.delivered).sum::<f64>() / steps.len() as f64;
    let windows: Vec<_> = steps.windows(10).collect();
    let index = windows.iter().position(|window| mean(window) >= bits)?;
    Some(steps[index].seconds - 0.1 - from)
}

fn mean(world: &World, from: f64, to: f64) -> f64 {
    let steps = world.steps.iter().filter(|step| step.seconds > from && step.seconds <= to);
    let (sum, count) = steps.fold((0.0, 0), |(sum, count), step| (sum + step.delivered, count + 1));
    sum / f64::from(count)
}

/// The delay of voice that `share` of the packets do not exceed, in ms.
fn voice(world: &World, from: f64, to: f64, share: f64) -> f64 {
    let since = |at: std::time::Instant| (at - world.start).as_secs_f64();
    let mut delays: Vec<_> = world
        .voice
        .iter()
        .filter(|(at, _)| since(*at) > from && since(*at) <= to)
        .map(|(_, delay)| delay.as_secs_f64() * 1e3)
        .collect();
    delays.sort_by(f64::total_cmp);
    delays[((delays.len() - 1) as f64 * share) as usize]
}

/// What a case has reached, for people; shares are of the line.
fn say(case: &str, figures: &[(&str, f64)]) {
    let figures: Vec<_> = figures.iter().map(|(name, figure)| format!("{name} {figure:.2}")).collect();
    println!("{case}: {}", figures.join(", "));
}

/// The goals for a line of which nothing is known and whose rate then halves and doubles again.
fn find_and_follow(megabits: f64, delay_ms: u64, jitter_ms: u64, voice_late_ms: Option<f64>) {
    let case = format!("{megabits} Mbit/s, {delay_ms} ms, jitter {jitter_ms} ms");
    follow(line(megabits, delay_ms, jitter_ms, 0.0), &case, voice_late_ms);
}

fn follow(model: PathModel, case: &str, voice_late_ms: Option<f64>) {
    let full = model.bottleneck.expect("a line has a rate").bits_per_second as f64;
    let best = (model.delay + model.jitter).as_secs_f64() * 1e3;
    let mut world = world(model);
    world.run(30 * SECOND);
    world.set_rate((full / 2.0) as u64);
    world.run(20 * SECOND);
    world.set_rate(full as u64);
    world.run(30 * SECOND);
    let found = reached(&world, 0.0, 30.0, 0.9 * full).expect("90 % of the line");
    let doubled = reached(&world, 50.0, 80.0, 0.9 * full).expect("90 % of the doubled line");
    let held = mean(&world, 10.0, 30.0) / full;
    let halved = mean(&world, 35.0, 50.0) / full * 2.0;
    let late = voice(&world, 31.0, 50.0, 0.99) - best;
    say(
        case,
        &[
            ("found after s", found),
            ("held", held),
            ("voice p99 above best ms", voice(&world, 10.0, 30.0, 0.99) - best),
            ("of the half", halved),
            ("voice p99 a second after it halved", late),
            ("doubled found after s", doubled),
            ("reports a second", world.reports as f64 / 80.0),
        ],
    );
    assert!(found <= 9.0 && doubled <= 14.0, "found after {found} s, doubled after {doubled} s");
    assert!(held >= 0.9 && halved >= 0.9, "held {held}, of the half {halved}");
    if let Some(most) = voice_late_ms {
        assert!(late <= most, "voice is {late} ms late");
    }
}

#[test]
fn fast_lines_are_found_and_followed_and_voice_is_on_time_a_second_after_they_halve() {
    for megabits in [20.0, 100.0] {
        for jitter in [0, 3] {
            find_and_follow(megabits, 10, jitter, Some(15.0));
        }
    }
    find_and_follow(5.0, 10, 0, Some(15.0));
    find_and_follow(5.0, 1, 3, Some(15.0));
    find_and_follow(20.0, 1, 0, Some(15.0));
}

#[test]
fn lines_around_the_world_are_found_and_followed() {
    for megabits in [5.0, 20.0, 100.0] {
        find_and_follow(megabits, 150, 0, None);
    }
    find_and_follow(20.0, 150, 3, None);
}

#[test]
fn slow_lines_are_found_and_followed() {
    find_and_follow(1.0, 1, 0, None);
    find_and_follow(1.0, 10, 3, None);
}

/// The queue is 2 ms long here: what does not fit is lost before anything is late.
#[test]
fn a_line_whose_queue_is_too_short_to_be_seen_is_found_and_followed() {
    let mut model = line(100.0, 10, 0, 0.0);
    model.bottleneck =
        model.bottleneck.map(|bottleneck| Bottleneck { queue_bytes_max: 25_000, ..bottleneck });
    follow(model, "a queue of 2 ms", Some(15.0));
}

#[test]
fn random_loss_does_not_slow_the_line() {
    for loss in [0.01, 0.05, 0.1] {
        let mut world = world(line(20.0, 10, 3, 0.0));
        world.run(15 * SECOND);
        let before = mean(&world, 5.0, 15.0) / 20e6;
        world.change(|model| model.loss = loss);
        world.run(30 * SECOND);
        let after = mean(&world, 16.0, 45.0) / 20e6 / (1.0 - loss);
        let mut lossy = self::world(line(20.0, 10, 3, loss));
        lossy.run(20 * SECOND);
        let found = mean(&lossy, 9.0, 20.0) / 20e6 / (1.0 - loss);
        say(&format!("loss {loss}"), &[("before", before), ("after", after), ("found with it", found)]);
        assert!(after >= before - 0.02 && found >= 0.9, "{before}, {after}, {found}");
    }
}

#[test]
fn what_others_send_is_left_to_them_and_taken_back() {
    let mut world = world(line(20.0, 10, 3, 0.0));
    world.run(10 * SECOND);
    world.offered.cross = 10_000_000;
    world.run(20 * SECOND);
    world.offered.cross = 0;
    world.run(20 * SECOND);
    let share = mean(&world, 12.0, 30.0) / 10e6;
    let late = voice(&world, 11.0, 30.0, 0.99) - 13.0;
    let back = reached(&world, 30.0, 50.0, 18e6).expect("all of the line");
    say("10 of 20 Mbit/s taken", &[("of the rest", share), ("voice p99 ms", late), ("back after s", back)]);
    assert!((0.85..1.1).contains(&share) && late <= 15.0 && back <= 15.0);
}

#[test]
fn a_cut_is_no_slow_line() {
    let mut world = world(line(20.0, 10, 3, 0.0));
    world.run(10 * SECOND);
    world.cut(true);
    world.run(5 * SECOND);
    assert!(world.near.bits_per_second(world.now) < Some(1_000_000), "sends into a cut");
    world.cut(false);
    world.run(5 * SECOND);
    let after = mean(&world, 15.5, 18.0) / 20e6;
    say("5 s cut", &[("half a second after it", after)]);
    assert!(after >= 0.85, "{after}");
}

#[test]
fn a_line_that_falls_to_a_hundredth_and_loses_all_reports_is_followed() {
    let mut world = world(line(100.0, 10, 0, 0.0));
    world.run(10 * SECOND);
    world.set_rate(1_000_000);
    world.run(15 * SECOND);
    let held = mean(&world, 20.0, 25.0) / 1e6;
    say("100 to 1 Mbit/s", &[("held", held), ("voice p99 ms", voice(&world, 20.0, 25.0, 0.99) - 10.0)]);
    assert!(held >= 0.85, "{held}");
}

#[test]
fn a_longer_route_is_no_queue_for_long() {
    let mut world = world(line(20.0, 10, 0, 0.0));
    world.run(10 * SECOND);
    world.change(|model| model.delay = Duration::from_millis(40));
    world.run(15 * SECOND);
    let (first, then) = (mean(&world, 10.0, 15.0) / 20e6, mean(&world, 17.0, 25.0) / 20e6);
    say("30 ms longer", &[("first 5 s", first), ("after 7 s", then)]);
    assert!(then >= 0.85, "{then}");
}

#[test]
fn an_idle_line_is_silent_and_keeps_its_rate() {
    let mut world = world(line(20.0, 10, 0, 0.0));
    world.run(10 * SECOND);
    world.offered = Offered { calls: 0, bulk: false, cross: 0 };
    world.run(2 * SECOND);
    let reports = world.reports;
    world.run(30 * SECOND);
    assert_eq!(world.reports, reports, "reports on an idle line");
    world.offered.bulk = true;
    world.run(3 * SECOND);
    let after = mean(&world, 42.0, 43.0) / 20e6;
    say("30 s idle", &[("first second after", after)]);
    assert!(after >= 0.9, "{after}");
}

#[test]
fn the_ceiling_holds() {
    let ceiling = Config { ceiling: Some(8_000_000), ..config() };
    let mut world = World::new(line(20.0, 10, 3, 0.0), ceiling, SEED, 0.0);
    world.run(20 * SECOND);
    assert!(world.steps.iter().all(|step| step.rate <= 8e6));
    assert!(mean(&world, 5.0, 20.0) >= 0.9 * 8e6);
}
