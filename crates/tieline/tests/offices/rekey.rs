//! A session is replaced while datagrams and streams go both ways, by the real clock: every datagram arrives, and once.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::sysctl::IpVersion;

use crate::content::{Load, Numbered, Place, Streams};
use crate::wireguard::{Dials, PROGRAMS, Pair};
use crate::world::{Test, World, unexpected_drops};

pub(crate) const TESTS: &[Test] = &[
    Test::new("soak_no_packet_is_lost_when_two_tielines_replace_their_session_under_load", between_tielines)
        .with(&["ip"])
        .soak(),
    Test::new("soak_no_packet_is_lost_when_we_replace_the_session_with_wireguard_go_under_load", || {
        with_wireguard_go(Dials::Us);
    })
    .with(PROGRAMS)
    .soak(),
    Test::new("soak_no_packet_is_lost_when_wireguard_go_replaces_the_session_with_us_under_load", || {
        with_wireguard_go(Dials::Them);
    })
    .with(PROGRAMS)
    .soak(),
];

/// Longer than a session is used without being replaced (120 s), and after that in what is left of the time in which it would be
/// accepted (180 s).
const REPLACED_WITHIN: Duration = Duration::from_secs(150);
/// For packets under the old session, and for whatever comes of the change.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Octets of a stream under way at most. Together with the datagrams they have room in a socket that nobody reads for a while.
const UNDER_WAY_MAX: u64 = 16 << 10;

fn between_tielines() {
    let world = World::cabled(IpVersion::V4).made().up();
    let before = [&world.end_a, &world.end_b].map(|end| (end, end.status()));
    across_a_rekey(&world, "tieline");
    for (end, before) in before {
        let dropped = unexpected_drops(&before, &end.status());
        world.check(dropped.is_empty(), &format!("dropped: {dropped:?}"));
    }
}

fn with_wireguard_go(dials: Dials) {
    let pair = Pair::over(World::cabled(IpVersion::V4), dials, true).up();
    pair.check_traffic(&pair.probes(), Instant::now());
    let before = pair.world.end_a.status();
    across_a_rekey(&pair.world, &format!("wireguard-go, dials {dials:?}"));
    let dropped = unexpected_drops(&before, &pair.world.end_a.status());
    pair.check(dropped.is_empty(), &format!("dropped: {dropped:?}"));
}

fn across_a_rekey(world: &World, what: &str) {
    let places = |version| -> [Place<'_>; 2] {
        [&world.a, &world.b].map(|office| (office.host(), office.host_address(version).unwrap()))
    };
    let ([a4, b4], [a6, b6]) = (places(IpVersion::V4), places(IpVersion::V6));
    let streams = Streams::start(a6, b6, Load { octets: None, under_way_max: Some(UNDER_WAY_MAX) });
    let datagrams = [Numbered::start(a4, b4), Numbered::start(b4, a4)];
    let before = Cell::new(age(&world.end_a.status()));
    world.end_a.wait_longer_for(REPLACED_WITHIN, "a new session", |status| {
        // A look once a second takes nothing from the traffic.
        std::thread::sleep(Duration::from_secs(1));
        let now = age(status);
        now < before.replace(now)
    });
    std::thread::sleep(AFTERWARDS);
    let octets = streams.end();
    let found = datagrams.map(Numbered::finish);
    println!(
        "rekey, {what}: {:?} datagrams from A and B, streams of {octets:?} octets",
        found.each_ref().map(|(sent, _)| sent)
    );
    for (sent, missing) in found {
        let some = &missing[..missing.len().min(20)];
        assert!(
            missing.is_empty(),
            "of {sent} datagrams {} are missing: {some:?}\n{:#}\n{}",
            missing.len(),
            world.end_a.status(),
            kernel_drops(world)
        );
    }
}

/// What the kernels' own tables say of packets in all namespaces, to tell a line that loses from a machine that does.
fn kernel_drops(world: &World) -> String {
    let namespaces = [&world.a, &world.b].map(|office| [office.gateway(), office.host()]);
    let tables = namespaces.as_flattened().iter().map(|namespace| {
        let tables = ["dev", "snmp"].map(|name| format!("/proc/thread-self/net/{name}"));
        let read = move || tables.map(|table| fs::read_to_string(table).unwrap_or_default());
        format!("{}:\n{}", namespace.name(), namespace.run(read).concat())
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn age(status: &Value) -> u64 {
    status["session"]["age-seconds"].as_u64().expect("there is a session all the time")
}
