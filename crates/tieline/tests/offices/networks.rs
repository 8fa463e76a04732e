//! The networks of this machine come and go, and the routes into the line follow.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::end::LIMIT;
use crate::world::{self, Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new(
        "a_network_that_comes_to_an_office_leaves_the_line_and_returns_to_it_when_it_has_gone",
        follows_local_networks,
    )
    .with(&["ip"]),
    Test::new(
        "routes_into_the_line_outlive_the_address_that_is_their_source_and_the_device_going_down",
        routes_are_kept,
    )
    .with(&["ip"]),
    Test::new("a_route_into_the_line_that_somebody_else_made_is_left_alone_and_no_obstacle", foreign_route)
        .with(&["ip"]),
];

const OTHERS: &str = "10.1.0.0/24";

fn follows_local_networks() {
    let world = World::joined();
    assert!(route(&world, OTHERS).contains("berlin"), "{}", route(&world, OTHERS));

    ip(&world, &["address", "add", "10.1.0.77/24", "dev", "lo"]);
    let status = world.end_b.wait_for("the network refused", |status| is_among(status, "refused", OTHERS));
    assert!(status["far-end"]["refused"].to_string().contains("device lo"), "{status:#}");
    assert!(!route(&world, OTHERS).contains("berlin"), "{}", route(&world, OTHERS));
    world.end_a.wait_for("word of it", |status| is_among(status, "refuses-of-us", OTHERS));

    ip(&world, &["address", "del", "10.1.0.77/24", "dev", "lo"]);
    world.end_b.wait_for("the network accepted", |status| is_among(status, "accepted", OTHERS));
    assert!(route(&world, OTHERS).contains("berlin"), "{}", route(&world, OTHERS));
}

fn routes_are_kept() {
    let world = World::joined();
    let lan = ip(&world, &["-oneline", "-4", "address", "show", "to", "10.2.0.0/24"]);
    let words: Vec<&str> = lan.split_whitespace().collect();
    let [_, device, _, address, ..] = words[..] else { panic!("{lan}") };
    let source = format!("src {}", address.split('/').next().unwrap());
    wait_for_route(&world, "with the office's own address", |route| route.contains(&source));

    ip(&world, &["address", "del", address, "dev", device]);
    wait_for_route(&world, "without it", |route| route.contains("berlin") && !route.contains("src"));
    ip(&world, &["address", "add", address, "dev", device]);
    wait_for_route(&world, "with it again", |route| route.contains("berlin") && route.contains(&source));

    ip(&world, &["link", "set", "berlin", "down"]);
    assert!(!route(&world, OTHERS).contains("berlin"), "the kernel takes the routes along");
    ip(&world, &["link", "set", "berlin", "up"]);
    wait_for_route(&world, "when the device is up again", |route| route.contains("berlin"));
}

fn foreign_route() {
    let mut world = World::bare().made();
    world.end_b.start();
    ip(&world, &["route", "add", OTHERS, "dev", "berlin", "proto", "static"]);
    world.end_a.start();
    world.wait_until_joined();
    let status = world.end_b.status();
    assert!(is_among(&status, "accepted", OTHERS), "{status:#}");
    assert!(route(&world, OTHERS).contains("proto static"), "{}", route(&world, OTHERS));
}

fn wait_for_route(world: &World, what: &str, wanted: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !wanted(&route(world, OTHERS)) {
        let there = route(world, OTHERS);
        world.check(Instant::now() < deadline, &format!("no route {what}, but {there:?}"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_among(status: &Value, list: &str, network: &str) -> bool {
    status["far-end"][list].to_string().contains(network)
}

fn route(world: &World, network: &str) -> String {
    ip(world, &["route", "show", network])
}

/// Runs `ip` in the second office.
fn ip(world: &World, arguments: &[&str]) -> String {
    world::ip(world.b.gateway(), arguments)
}
