//! A line whose rate is known, filled with TCP: what goes first, and what `flows` says of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::sysctl::IpVersion;
use tieline_sim::path::PathModel;

use crate::end::LINE;
use crate::probe::Probe;
use crate::traffic::{Killed, iperf3};
use crate::world::{DELAY, Test, World, median, quiet};

pub(crate) const TESTS: &[Test] = &[
    Test::new("what_sends_little_does_not_wait_behind_a_full_line_whose_rate_is_known", sparse_flow)
        .with(&["iperf3", "ip"]),
    Test::new("a_test_tells_what_the_line_carries_and_that_calls_are_good_meanwhile", line_test),
    Test::new("long_packets_pass_a_slow_line_in_pieces_and_arrive_whole", pieces).with(&["iperf3", "ip"]),
];

/// The median of how long packets of a flow that sends little take beside TCP, without a rate and with it.
fn sparse_flow() {
    let _quiet = quiet();
    let [unshaped, shaped] = [None, Some("rate.out = \"20 Mbit/s\"")].map(|rate| {
        let world = World::over(&PathModel::internet(20_000_000, DELAY)).made();
        world.use_cubic();
        for end in [&world.end_a, &world.end_b] {
            rate.iter().for_each(|row| end.configure(row));
        }
        let world = world.up();
        let _server = Killed(world.b.host().command("iperf3").args(["-s", "-p", "5201"]).spawn().unwrap());
        let server = world.b.host_address(IpVersion::V4).unwrap();
        let places =
            [&world.a, &world.b].map(|office| (office.host(), office.host_address(IpVersion::V4).unwrap()));
        let probe = Probe::start(places[0], places[1]);
        let began = Instant::now();
        let report = iperf3(&world, world.a.host(), &server.to_string(), &["-t", "6"]);
        // TCP has found the queue by then.
        let delays = probe.delays_since(began + Duration::from_secs(2));
        let rate_of_tcp = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
        world.check(rate_of_tcp > 8e6, &format!("{rate_of_tcp} bit/s of TCP"));
        if rate.is_some() {
            let flows: Value = serde_json::from_str(&world.end_a.must(&["flows", LINE, "--json"])).unwrap();
            let rows = flows["flows"].as_array().unwrap();
            let tcp = rows
                .iter()
                .find(|row| row["protocol"] == "tcp" && row["bytes"].as_u64().unwrap() > 1_000_000);
            assert_eq!(tcp.map(|row| &row["class"]), Some(&"standard".into()), "{flows:#}");
        }
        median(delays)
    });
    println!("beside TCP over 20 Mbit/s a packet takes {unshaped:?}, {shaped:?} where the rate is known");
    let waits = [unshaped, shaped].map(|delay| delay.saturating_sub(DELAY));
    assert!(waits[1] < waits[0] / 2, "{waits:?}");
}

fn line_test() {
    let _quiet = quiet();
    let world = World::over(&PathModel::internet(20_000_000, DELAY)).made();
    for end in [&world.end_a, &world.end_b] {
        end.configure("rate.out = \"20 Mbit/s\"");
    }
    let world = world.up();
    let report: Value =
        serde_json::from_str(&world.end_a.must(&["test", LINE, "--json", "--seconds", "4"])).unwrap();
    let phases = report["phases"].as_array().unwrap();
    world.check(phases.len() == 3 && report["refused"] == serde_json::json!([]), &format!("{report:#}"));
    for phase in phases {
        let number = |pointer: &str| phase.pointer(pointer).and_then(Value::as_f64).unwrap();
        world.check(number("/round-trip/min-seconds") >= 2.0 * DELAY.as_secs_f64(), &format!("{phase:#}"));
        world.check(number("/out/mos") > 4.0 && number("/inwards/mos") > 4.0, &format!("{phase:#}"));
        if phase["load"] == "none" {
            world.check(phase["bits-per-second"].is_null(), &format!("{phase:#}"));
        } else {
            world.check((8e6..19.4e6).contains(&number("/bits-per-second")), &format!("{phase:#}"));
        }
    }
}

fn pieces() {
    let world = World::over(&PathModel::internet(1_000_000, DELAY)).made();
    world.use_cubic();
    for end in [&world.end_a, &world.end_b] {
        end.configure("rate.out = \"1 Mbit/s\"");
    }
    let world = world.up();
    let _server = Killed(world.b.host().command("iperf3").args(["-s", "-p", "5201"]).spawn().unwrap());
    let server = world.b.host_address(IpVersion::V4).unwrap().to_string();
    let report = iperf3(&world, world.a.host(), &server, &["-t", "4"]);
    let received = report["end"]["sum_received"]["bytes"].as_u64().unwrap();
    world.check(received > 100_000, &format!("{received} octets"));
    // Each long packet is two pieces at least.
    let status = world.end_a.status();
    let labelled = status["traffic"]["labelled-packets-out"].as_u64();
    world.check(labelled.is_some_and(|pieces| pieces > 150), &format!("{labelled:?} pieces"));
}
