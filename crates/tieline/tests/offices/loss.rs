//! A path that loses and reorders: TCP through the line, beside TCP on the bare path.

use std::process::Stdio;
use std::time::Duration;

use tieline_io::namespace::NamespaceThread;
use tieline_io::sysctl::IpVersion;
use tieline_sim::lab::office::WAN_DEVICE;
use tieline_sim::path::{PathModel, Reordering};

use crate::traffic::{Killed, iperf3};
use crate::world::{Test, World, use_cubic_towards};

pub(crate) const TESTS: &[Test] = &[Test::new(
    "soak_tcp_through_the_line_is_as_fast_as_on_the_bare_path_where_one_packet_in_twenty_is_lost",
    beside_the_bare_path,
)
.with(&["iperf3", "ip"])
.soak()];

/// Of the bare path's rate, as the issue of the packet path has it. Of these ten hundredths, five and a half are the octets that
/// each packet has less room for.
const SHARE_MIN: f64 = 0.9;
/// The line and the bare path take turns, so that neither has the machine at its better times.
const ROUNDS: usize = 5;
/// One stream's rate is chance at such a loss: a timeout more or less.
const STREAMS: &str = "8";
const SECONDS: &str = "12";

fn beside_the_bare_path() {
    let model = PathModel {
        loss: 0.05,
        reordering: Some(Reordering { probability: 0.02, hold: Duration::from_millis(4) }),
        jitter: Duration::from_millis(1),
        ..PathModel::internet(100_000_000, Duration::from_millis(10))
    };
    let world = World::over(&model).made().up();
    let bare = world.b.wan_address(IpVersion::V4).unwrap().to_string();
    let through = world.b.host_address(IpVersion::V4).unwrap().to_string();
    // CUBIC takes every loss for congestion, on both ways alike.
    world.use_cubic();
    let of_a = world.a.wan_address(IpVersion::V4).unwrap();
    for (office, other) in [(&world.a, world.b.wan_address(IpVersion::V4).unwrap()), (&world.b, of_a)] {
        use_cubic_towards(office.gateway(), other, &["dev", WAN_DEVICE]);
    }
    let serve = |namespace: &NamespaceThread| {
        Killed(namespace.command("iperf3").args(["-s"]).stdout(Stdio::null()).spawn().unwrap())
    };
    let _servers = [serve(world.b.gateway()), serve(world.b.host())];
    let (mut of_path, mut of_line) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_path.push(rate(&world, world.a.gateway(), &bare));
        of_line.push(rate(&world, world.a.host(), &through));
    }
    println!("Mbit/s on the bare path {of_path:.1?}, through the line {of_line:.1?}");
    let share = median(of_line) / median(of_path);
    println!("medians: {share:.3} of the bare path");
    world.check(share >= SHARE_MIN, &format!("{share} of the bare path"));
}

/// What arrives of some streams together, in Mbit/s. An ordinary transfer: CUBIC from the first packet on, because the route says so.
/// iperf3's own option comes after the connection is made, and where that began with BBR, its pacing stays.
fn rate(world: &World, from: &NamespaceThread, server: &str) -> f64 {
    let measured = iperf3(world, from, server, &["-P", STREAMS, "-t", SECONDS, "-O", "1"]);
    for end in ["sender_tcp_congestion", "receiver_tcp_congestion"] {
        assert_eq!(measured["end"][end], "cubic", "{end}");
    }
    measured["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default() / 1e6
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
