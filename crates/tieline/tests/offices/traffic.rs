//! What a line is for: the networks behind its ends reach each other, and files go across.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::NamespaceThread;
use tieline_io::processor;
use tieline_io::sysctl::IpVersion;

use crate::end::{LIMIT, LINE};
use crate::probe::Probe;
use crate::world::{PORT, Test, World, random_file, same};

pub(crate) const TESTS: &[Test] = &[
    Test::new("two_commands_join_two_offices_whose_hosts_then_ping_each_other", two_commands).with(&["ping"]),
    Test::new("tcp_fills_most_of_the_line_in_both_directions", tcp_across).with(&["iperf3"]),
    Test::new("a_file_sent_each_way_arrives_identical", files_both_ways),
    Test::new("packets_from_a_network_that_is_not_offered_are_dropped_and_counted", network_not_offered),
];

fn two_commands() {
    let world = World::bare();
    let address = format!("{}:{PORT}", world.a.wan_address(IpVersion::V4).unwrap());
    let new = ["new", LINE, "--json", "--address", &address];
    let made =
        world.end_a.must(&[&new[..], &["--offer", "10.1.0.0/24", "--offer", "fd00:0:0:1::/64"]].concat());
    let made: Value = serde_json::from_str(&made).unwrap();
    // Both ends run in processes that outlive the commands; they go down whatever the test finds.
    let _a = TakenDown(&world.end_a);
    let offers = ["--offer", "10.2.0.0/24", "--offer", "fd00:0:0:2::/64"];
    let invitation = made["invitation"].as_str().unwrap();
    let _b = TakenDown(&world.end_b);
    let joined = world.end_b.must(&[&["join", invitation, "--json"][..], &offers[..]].concat());
    let joined: Value = serde_json::from_str(&joined).unwrap();
    assert_eq!(joined["status"]["state"], "up", "join says what it reached: {joined:#}");
    world.wait_until_joined();
    for version in [IpVersion::V4, IpVersion::V6] {
        for (from, to) in [(&world.a, &world.b), (&world.b, &world.a)] {
            let target = to.host_address(version).unwrap().to_string();
            let ping = from
                .host()
                .command("ping")
                .args(["-n", "-c", "3", "-i", "0.2", "-w", "10", &target])
                .output();
            world.check_output(&ping.unwrap());
        }
    }
    world.end_b.must(&["ping", LINE]);
    let suite = if processor::has_fast_aes() { "AES-256-GCM" } else { "ChaCha20-Poly1305" };
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("the best cipher of this machine", |status| {
            let cipher = &status["session"]["cipher"];
            cipher["out"] == suite && cipher["in"] == suite
        });
    }
}

/// An end in a process of its own, which does not go with its starter.
struct TakenDown<'w>(&'w crate::end::End);

impl Drop for TakenDown<'_> {
    fn drop(&mut self) {
        // It may never have come up: then the test has said so.
        self.0.run(&["down", LINE]);
    }
}

fn tcp_across() {
    let world = World::joined();
    let _server = Killed(
        world.b.host().command("iperf3").args(["-s", "-p", "5201"]).stdout(Stdio::null()).spawn().unwrap(),
    );
    let server = world.b.host_address(IpVersion::V4).unwrap().to_string();
    for direction in [&["-t", "3"][..], &["-t", "3", "-R"]] {
        let measured = iperf3(&world, world.a.host(), &server, direction);
        let rate = measured["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default();
        println!("iperf3 {direction:?}: {:.1} Mbit/s received over a path of 20 Mbit/s", rate / 1e6);
        // The modelled path lets 20 Mbit/s through. A line that loses or stalls is far below half of that.
        world.check(rate > 4e6, &format!("{rate} bit/s"));
        world.check(rate < 20e6, &format!("{rate} bit/s is more than the path lets through"));
    }
}

/// The client's report; the server needs a moment to listen.
pub(crate) fn iperf3(world: &World, from: &NamespaceThread, server: &str, options: &[&str]) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let client = from.command("iperf3").args(["-c", server, "-p", "5201", "-J"]).args(options);
        let output = client.output().unwrap();
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        let retry = Instant::now() < deadline;
        world.check(retry, &String::from_utf8_lossy(&output.stdout));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A program that is killed when the test is over.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn files_both_ways() {
    let world = World::joined();
    let tree = world.file("photos");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    random_file(&tree.join("deep/er/large"), 6_000_001);
    fs::write(tree.join("empty"), "").unwrap();
    for (from, to) in [(&world.end_a, &world.end_b), (&world.end_b, &world.end_a)] {
        from.must(&["send", "--wait", LINE, tree.to_str().unwrap(), "--to", "trip"]);
        let arrived = to.inbox().join("trip/photos");
        for file in ["deep/er/large", "empty"] {
            world.check(
                same(&tree.join(file), &arrived.join(file)),
                &format!("{file} arrived changed, or not at all"),
            );
        }
    }
}

fn network_not_offered() {
    let world = World::joined();
    // B's host takes an address that B does not offer, and its gateway forwards for it: NAT forgotten, say.
    let foreign: IpAddr = Ipv4Addr::new(10, 77, 0, 9).into();
    let added =
        world.b.host().command("ip").args(["address", "add", "10.77.0.9/32", "dev", "lo"]).output().unwrap();
    world.check_output(&added);
    let before = world.end_a.dropped("source-not-accepted");
    let target = (world.a.host(), world.a.host_address(IpVersion::V4).unwrap());
    let began = Instant::now();
    let probe = Probe::start((world.b.host(), foreign), target);
    world.end_a.wait_for("foreign packets counted", |status| {
        status["drops"]["source-not-accepted"].as_u64().unwrap_or(0) >= before + 10
    });
    world.check(probe.count_since(began) == 0, "a packet from a network that is not offered was let in");
    drop(probe);
    let allowed = Probe::start((world.b.host(), world.b.host_address(IpVersion::V4).unwrap()), target);
    world.check(allowed.first_since(began, LIMIT).is_some(), "what is offered does not get in either");
}
