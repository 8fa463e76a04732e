//! What the line changes on an office's Ethernet it restores, however it ends.

use super::site::{BRIDGE, Site};
use crate::end::LINE;
use crate::restore::Picture;
use crate::world::{Test, World, ip};

pub(super) const IN_A_BRIDGE: Test =
    Test::new("the_bridge_of_an_office_is_as_before_after_down_and_after_kill_9", in_a_bridge).with(&["ip"]);
pub(super) const WITH_A_BRIDGE_OF_ITS_OWN: Test = Test::new(
    "a_device_for_which_a_bridge_is_made_is_as_before_after_down_and_after_kill_9_and_up_and_down",
    with_a_bridge_of_its_own,
)
.with(&["ip"]);

fn in_a_bridge() {
    let mut world = World::bare().made();
    let site = Site::new(&world.b, 2);
    let before = Picture::of(&site.gateway);
    site.join(&world.end_b, "");
    world.end_b.start();
    let ports = ip(&site.gateway, &["link", "show", "master", BRIDGE]);
    assert!(ports.contains("berlin-lan"), "{ports}");
    world.end_b.down();
    assert_eq!(Picture::of(&site.gateway), before, "after down");
    world.end_b.start();
    world.end_b.kill();
    assert_eq!(Picture::of(&site.gateway), before, "after kill -9");
}

fn with_a_bridge_of_its_own() {
    let mut world = World::bare().made();
    let site = Site::new(&world.b, 2);
    let gateway = &site.gateway;
    ip(gateway, &["link", "set", "pc0", "nomaster"]);
    let used = ip(gateway, &["address", "add", "10.9.0.254/24", "dev", "pc0"]);
    assert_eq!(used, "");
    world.end_b.append("[lan]\ninterface = \"pc0\"");
    let refused = world.end_b.run(&["up", LINE, "--foreground"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("`pc0` has the address 10.9.0.254"), "{said}");
    ip(gateway, &["address", "flush", "dev", "pc0", "scope", "global"]);
    for state in ["up", "down"] {
        ip(gateway, &["link", "set", "pc0", state]);
        let before = Picture::of(gateway);
        world.end_b.start();
        let during = ip(gateway, &["link", "show", "master", "berlin-br"]);
        assert!(during.contains("pc0") && during.contains("berlin-lan"), "{during}");
        world.end_b.down();
        assert_eq!(Picture::of(gateway), before, "after down, {state}");
        world.end_b.start();
        world.end_b.kill();
        world.end_b.start();
        world.end_b.down();
        assert_eq!(Picture::of(gateway), before, "after kill -9, up and down, {state}");
    }
}
