//! The outboxes of both ends over a bad path: whatever it does, files arrive whole.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tieline_sim::path::{Bottleneck, Bursts, PathModel, Reordering};

use crate::end::{End, LINE};
use crate::world::{A, B, DELAY, Test, World, random_file, same};

pub(crate) const TESTS: &[Test] = &[
    Test::new("case_33_files_arrive_whole_over_every_kind_of_bad_path", every_kind_of_bad_path),
    Test::new("case_33_a_file_goes_on_after_an_outage_and_a_change_of_address_in_its_middle", outage),
    Test::new("case_34_files_go_both_ways_at_once_over_a_full_line", both_ways),
];

/// How long a file may take: many times what the slowest path needs.
const PATIENCE: Duration = Duration::from_secs(90);
const RATE: u64 = 20_000_000;
const MS: Duration = Duration::from_millis(1);

fn every_kind_of_bad_path() {
    let good = PathModel::internet(RATE, DELAY);
    let with = |change: fn(&mut PathModel)| {
        let mut model = good.clone();
        change(&mut model);
        model
    };
    let world = World::over(&good).made().up();
    for (name, octets, model) in [
        ("loss of a fifth", 200_000, with(|model| model.loss = 0.2)),
        ("bursts", 500_000, with(|model| model.bursts = Some(Bursts::of(5.0, 0.05)))),
        ("repeated", 500_000, with(|model| model.duplication = 0.2)),
        ("corrupt", 500_000, with(|model| model.corruption = 0.05)),
        (
            "reordered",
            500_000,
            with(|model| model.reordering = Some(Reordering { probability: 0.1, hold: 30 * MS })),
        ),
        ("black hole", 500_000, with(|model| model.mtu = Some(1300))),
        ("six hundred ms", 200_000, with(|model| model.delay = 300 * MS)),
        ("policer", 500_000, narrow(RATE, 12_000)),
        ("queue of six seconds", 500_000, narrow(2_000_000, 1_500_000)),
        ("slow", 100_000, PathModel::internet(1_000_000, DELAY)),
        ("fast again", 2_000_000, good.clone()),
    ] {
        world.lab.set_path(A, B, &model).unwrap();
        let began = Instant::now();
        send(&world, &world.end_a, name, octets);
        wait_for(&world, &world.end_b, &[name]);
        println!("{name}: {octets} octets in {:.1} s", began.elapsed().as_secs_f64());
    }
    world.lab.set_direction(A, B, &PathModel::internet(RATE, DELAY)).unwrap();
    world.lab.set_direction(B, A, &PathModel::internet(300_000, DELAY)).unwrap();
    send(&world, &world.end_a, "asymmetric", 2_000_000);
    wait_for(&world, &world.end_b, &["asymmetric"]);
}

/// A path with a queue of its own length.
fn narrow(bits_per_second: u64, queue_bytes_max: usize) -> PathModel {
    let bottleneck = Some(Bottleneck { bits_per_second, queue_bytes_max });
    PathModel { bottleneck, delay: DELAY, ..PathModel::default() }
}

fn outage() {
    let world = World::over(&PathModel::internet(RATE, DELAY)).made().up();
    let octets = 12_000_000;
    send(&world, &world.end_a, "large", octets);
    let partial = world.end_b.inbox().join(".tieline-partial");
    let has_begun = || {
        let parts = fs::read_dir(&partial).into_iter().flatten().flatten();
        parts.filter_map(|part| part.metadata().ok()).any(|part| part.len() > 2_000_000)
    };
    let deadline = Instant::now() + PATIENCE;
    while !has_begun() {
        world.check(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(10 * MS);
    }
    world.lab.cut(B).unwrap();
    std::thread::sleep(Duration::from_secs(10));
    let elsewhere: IpAddr = "198.51.100.77".parse().unwrap();
    world.lab.readdress(B, elsewhere).unwrap();
    world.lab.restore(B).unwrap();
    wait_for(&world, &world.end_b, &["large"]);
}

fn both_ways() {
    let world = World::over(&PathModel::internet(RATE, DELAY)).made().up();
    for (end, name) in [(&world.end_a, "from a"), (&world.end_b, "from b")] {
        send(&world, end, name, 6_000_000);
        send(&world, end, &format!("small {name}"), 1000);
    }
    wait_for(&world, &world.end_b, &["from a", "small from a"]);
    wait_for(&world, &world.end_a, &["from b", "small from b"]);
}

/// Puts a file into the outbox of an end, whole at once; its like stays to be compared.
fn send(world: &World, end: &End, name: &str, octets: u64) {
    let kept = world.file(name);
    random_file(&kept, octets);
    let outbox = end.config_dir().join(LINE).join("outbox");
    let copy = world.file("copy");
    fs::copy(kept, &copy).unwrap();
    fs::rename(copy, outbox.join(name)).unwrap();
}

fn wait_for(world: &World, end: &End, names: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    let arrived = |name: &&str| end.inbox().join(name).exists();
    while !names.iter().all(arrived) {
        world.check(Instant::now() < deadline, &format!("not all of {names:?} arrive"));
        std::thread::sleep(20 * MS);
    }
    for name in names {
        let there: &Path = &end.inbox().join(name);
        world.check(same(&world.file(name), there), &format!("{name} is not what was sent"));
    }
}
