//! The Ethernet of both offices as one: hosts that find each other, frames of full size, and what must not go across.

mod guarded;
mod restored;
mod site;

use std::time::Duration;

use serde_json::Value;
use tieline_io::sysctl::IpVersion;
use tieline_sim::path::{PathModel, Reordering};

use self::site::{Site, card, frame};
use crate::end::LINE;
use crate::traffic::{Killed, iperf3};
use crate::world::{DELAY, Test, World, ip, quiet};

pub(crate) const TESTS: &[Test] = &[
    Test::new("hosts_of_both_offices_ping_each_other_over_the_common_ethernet", hosts_ping)
        .with(&["ip", "ping", "iperf3"]),
    Test::new("one_lan_of_the_cookbook_works_as_written_and_on_a_slow_line", cookbook).with(&["ip", "ping"]),
    Test::new(
        "tagged_frames_of_full_size_pass_a_path_of_1400_octets_that_loses_and_reorders_and_nothing_is_left_behind",
        full_size,
    )
    .with(&["ip", "ping"]),
    Test::new("soak_the_common_ethernet_is_about_as_fast_as_routing", throughput).with(&["ip", "iperf3"]).soak(),
    guarded::OWN,
    guarded::ALLOWED,
    guarded::LOOP,
    guarded::STORM,
    restored::IN_A_BRIDGE,
    restored::WITH_A_BRIDGE_OF_ITS_OWN,
];

/// Two offices with a common Ethernet, in a world that is up.
struct Joined {
    sites: [Site; 2],
    world: World,
}

impl Joined {
    /// Over this path; `rows` are added to the configurations, before their tables and to `[lan]`.
    fn over(model: &PathModel, rows: &str, lan: &str) -> Self {
        Self::in_world(World::over(model), rows, lan)
    }

    fn in_world(world: World, rows: &str, lan: &str) -> Self {
        let world = world.made();
        let sites = [Site::new(&world.a, 1), Site::new(&world.b, 2)];
        for (end, site) in [&world.end_a, &world.end_b].into_iter().zip(&sites) {
            end.configure(rows);
            site.join(end, lan);
        }
        let world = world.up();
        for end in [&world.end_a, &world.end_b] {
            end.wait_for("the far end takes frames", |status| status["lan"]["far-end-takes"] == true);
        }
        Self { sites, world }
    }
}

fn hosts_ping() {
    let Joined { sites: [a, b], world } = Joined::over(&PathModel::internet(20_000_000, DELAY), "", "");
    for (from, to) in [(&a, &b), (&b, &a)] {
        for target in &to.addresses {
            world.check_output(&from.ping(target, &["-c", "3"]));
            world.check_output(&from.ping(target, &["-c", "3", "-M", "do", "-s", "1452"]));
        }
    }
    let _server = Killed(b.pc.command("iperf3").args(["-s", "-p", "5201"]).spawn().unwrap());
    let report = iperf3(&world, &a.pc, &b.addresses[0], &["-t", "3"]);
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
    println!("TCP over the common Ethernet: {:.1} Mbit/s over a path of 20 Mbit/s", rate / 1e6);
    world.check(rate > 8e6, &format!("{rate} bit/s of TCP"));
    let status =
        world.end_a.wait_for("hosts known", |status| status["lan"]["hosts-there"].as_u64() > Some(0));
    world.check(status["drops"]["piece-lost"].is_null(), "a piece was lost on a path that loses nothing");
    let before = status["lan"]["answered"].as_u64().unwrap();
    for target in &b.addresses {
        ip(&a.pc, &["neighbour", "flush", "dev", "eth0"]);
        world.check_output(&a.ping(target, &["-c", "1"]));
    }
    let answered = world.end_a.status()["lan"]["answered"].as_u64().unwrap();
    world.check(answered >= before + 2, "whose far hosts' addresses are known is asked over the line");
}

/// The configurations of the cookbook, as they are written there, on a slow line.
fn cookbook() {
    const COOKBOOK: &str = include_str!("../../../../docs/offices.md");
    let mut world = World::over(&PathModel::internet(2_000_000, DELAY));
    let address = world.reached[0].to_string();
    let new = ["new", LINE, "--no-up", "--json", "--bare", "--address", &address];
    let made: Value = serde_json::from_str(&world.end_a.must(&new)).unwrap();
    let invitation = made["invitation"].as_str().unwrap();
    world.end_b.must(&["join", invitation, "--no-up", "--bare"]);
    let sites = [Site::new(&world.a, 1), Site::new(&world.b, 2)];
    let section = COOKBOOK.split("\n## ").find(|section| section.starts_with("One LAN")).unwrap();
    let files: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
    for (end, file) in [&world.end_a, &world.end_b].into_iter().zip(&files) {
        let made = std::fs::read_to_string(end.config_file()).unwrap();
        let key = made.lines().find(|row| row.starts_with("public-key")).unwrap_or_default();
        let file = file.replace("office.example:51820", &address).replace("public-key = \"…\"", key);
        std::fs::write(end.config_file(), file).unwrap();
        end.configure("rate.out = \"2 Mbit/s\"");
    }
    assert_eq!(files.len(), 2);
    world.end_a.start();
    world.end_b.start();
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("the far end takes frames", |status| status["lan"]["far-end-takes"] == true);
    }
    let [a, b] = &sites;
    for target in &b.addresses {
        world.check_output(&a.ping(target, &["-c", "5", "-M", "do", "-s", "1452"]));
    }
    let flows = world.end_a.must(&["flows", LINE, "--json"]);
    world.check(flows.contains("10.9.0.2"), &format!("flows are told by what is in frames:\n{flows}"));
}

fn full_size() {
    const SENT: usize = 2000;
    let model = PathModel {
        mtu: Some(1400),
        delay: Duration::from_millis(5),
        loss: 0.01,
        reordering: Some(Reordering { probability: 0.05, hold: Duration::from_millis(3) }),
        ..PathModel::default()
    };
    let Joined { sites: [a, b], world } = Joined::over(&model, "mtu = 1320", "");
    for target in &b.addresses {
        let options: &[&str] = if target.contains(':') { &["-s", "1452"] } else { &["-s", "1472"] };
        world.check_output(&a.ping(target, &[&["-M", "do", "-c", "20"], options].concat()));
    }
    let ports = [a.port("raw0"), b.port("raw0")];
    // Both ends know where it is, in this VLAN.
    ports[1].send(&frame([0xff; 6], 9, 0x8100, &[&[0xa0, 0x2a, 0x88, 0xb6][..], &[0; 46]].concat()));
    ports[0].must_receive(|frame| frame[6..12] == card(9));
    let is_ours = |frame: &[u8]| frame[..14] == self::frame(card(9), 7, 0x8100, &[])[..];
    let mut arrived = 0;
    let mut count = |within| {
        while let Some(frame) = ports[1].receive(within, is_ours) {
            assert_eq!((frame.len(), &frame[14..18]), (1518, &[0xa0, 0x2a, 0x88, 0xb6][..]));
            assert!(frame[18..].iter().all(|octet| *octet == frame[18]), "changed on its way");
            arrived += 1;
        }
    };
    for number in 0..SENT {
        // A tag, a type for experiments, 1,500 octets of content.
        let content = [&[0xa0, 0x2a, 0x88, 0xb6][..], &[number as u8; 1500]].concat();
        ports[0].send(&frame(card(9), 7, 0x8100, &content));
        count(Duration::from_micros(300));
    }
    count(Duration::from_millis(500));
    println!("{arrived} of {SENT} tagged frames of 1,518 octets arrived over 1,400 with 1 % loss");
    world.check(arrived > SENT * 95 / 100, &format!("{arrived} of {SENT} frames arrived"));
    // Of a frame that lacks a half the other half is counted when its place is taken: nothing else is.
    let lost = world.end_b.dropped("piece-lost") as usize;
    world.check(lost <= SENT - arrived + 10, &format!("{lost} pieces lost of {} frames", SENT - arrived));
}

/// Medians of runs in turn, over a cable that is as fast as this machine.
fn throughput() {
    const RUNS: usize = 5;
    let _quiet = quiet();
    let Joined { sites: [a, b], world } = Joined::in_world(World::cabled(IpVersion::V4), "", "");
    let routed = world.b.host_address(IpVersion::V4).unwrap().to_string();
    let places = [(world.a.host(), world.b.host(), routed.as_str()), (&a.pc, &b.pc, b.addresses[0].as_str())];
    let _servers = places.map(|(_, server, _)| {
        Killed(
            server
                .command("iperf3")
                .args(["-s", "-p", "5201"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        )
    });
    let mut rates = [vec![], vec![]];
    for _ in 0..RUNS {
        for (rates, (from, _, to)) in rates.iter_mut().zip(places) {
            let report = iperf3(&world, from, to, &["-t", "2", "-C", "cubic"]);
            rates.push(report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap());
        }
    }
    let [routed, lan] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[RUNS / 2] / 1e6
    });
    println!(
        "TCP with CUBIC, medians of {RUNS}: routed {routed:.0} Mbit/s, common Ethernet {lan:.0} Mbit/s, {:.0} %",
        lan / routed * 100.0
    );
    world.check(lan > routed / 2.0, "the common Ethernet is much slower than routing");
}
