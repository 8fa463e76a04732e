//! What a line changes on the system it restores, however it ends.

use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::NamespaceThread;

use crate::end::LIMIT;
use crate::world::{Test, World};

pub(crate) const TESTS: &[Test] = &[Test::new(
    "links_addresses_routes_and_rules_are_as_before_after_down_after_kill_9_and_after_up_and_down_again",
    restored,
)
.with(&["ip"])];

/// Links, addresses, routes and rules of a network namespace.
#[derive(Debug, PartialEq)]
pub(crate) struct Picture(Vec<Value>);

impl Picture {
    /// Waits until the kernel has made all the addresses usable that it gives by itself.
    pub(crate) fn of(namespace: &NamespaceThread) -> Self {
        let deadline = Instant::now() + LIMIT;
        while ask(namespace, &["address"]).to_string().contains("\"tentative\"") {
            assert!(Instant::now() < deadline, "an address stays tentative");
            std::thread::sleep(Duration::from_millis(50));
        }
        let asked: [&[&str]; 7] = [
            &["link"],
            &["address"],
            &["-4", "route", "show", "table", "all"],
            &["-6", "route", "show", "table", "all"],
            &["-4", "rule"],
            &["-6", "rule"],
            &["neighbour", "show", "nud", "permanent"],
        ];
        Self(asked.iter().map(|arguments| ask(namespace, arguments)).collect())
    }

    fn text(&self) -> String {
        self.0.iter().map(Value::to_string).collect()
    }
}

fn ask(namespace: &NamespaceThread, arguments: &[&str]) -> Value {
    let output = namespace.command("ip").arg("-json").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = if output.stdout.is_empty() { "[]".into() } else { String::from_utf8(output.stdout).unwrap() };
    let mut value: Value = serde_json::from_str(&said).unwrap();
    for entry in value.as_array_mut().unwrap() {
        if let Some(fields) = entry.as_object_mut() {
            // The kernel counts it itself.
            fields.remove("expires");
        }
    }
    value
}

fn restored() {
    let mut world = World::bare().made();
    let before = Picture::of(world.b.gateway());
    world.end_a.start();

    world.end_b.start();
    world.wait_until_joined();
    let during = Picture::of(world.b.gateway());
    assert!(during.text().contains("10.1.0.0/24"), "the far end's network is routed: {during:?}");
    world.end_b.down();
    assert_eq!(Picture::of(world.b.gateway()), before, "after down");

    world.end_b.start();
    world.wait_until_joined();
    world.end_b.kill();
    assert_eq!(Picture::of(world.b.gateway()), before, "after kill -9");

    world.end_b.start();
    world.wait_until_joined();
    world.end_b.down();
    assert_eq!(Picture::of(world.b.gateway()), before, "after up over what kill -9 left, and down");
}
