//! Dependencies point down only. Which crate may use which of ours, and what it must know nothing of.

use super::{Kind, crates};

/// What a crate may use of ours in what is built for users; its tests may use more, see [`FOR_TESTS`].
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("tieline-wire", &[], "formats know nothing but octets"),
    ("tieline-seal", &["tieline-wire"], "the session knows neither channels nor queues, nor the system"),
    (
        "tieline-line",
        &["tieline-seal", "tieline-wire"],
        "a line is a value; it runs in a test as it does in an office",
    ),
    ("tieline-transfer", &[], "files need a stream and a folder, and do not ask whose stream it is"),
    ("tieline-io", &[], "the system is the same whatever is spoken over it"),
    (
        "tieline-node",
        &["tieline-io", "tieline-line", "tieline-seal", "tieline-transfer", "tieline-wire"],
        "a running end joins all of them, and does not know that its network could be a model",
    ),
    (
        "tieline-sim",
        &["tieline-io", "tieline-line", "tieline-seal", "tieline-wire"],
        "the model of the internet knows lines and the system, and runs no node",
    ),
    (
        "tieline",
        &["tieline-io", "tieline-node", "tieline-seal", "tieline-sim", "tieline-transfer", "tieline-wire"],
        "the program may use whatever it shows; the line itself it reaches through the node",
    ),
    ("xtask", &[], "it is built before anything else is"),
];

/// Crates of ours that only tests of others may use as well.
const FOR_TESTS: &[&str] = &["tieline-sim"];

/// What a crate must do without, in what is built for users.
const FORBIDDEN: &[(&[&str], &[&str], &str)] = &[
    (
        &["tieline-wire", "tieline-seal", "tieline-line"],
        &["tokio", "rustix", "libc", "socket2", "quinn-udp", "rtnetlink", "noq", "axum", "hyper"],
        "the core does no IO: time, datagrams and randomness are arguments",
    ),
    (
        &["tieline-wire", "tieline-seal", "tieline-line"],
        &["tracing"],
        "the packet path logs nothing; counters and events say what happened",
    ),
    (
        &["tieline-io"],
        &["snow", "aws-lc-rs", "noq", "rustls", "serde_json", "blake3"],
        "the crate with the system calls knows no protocol",
    ),
    (
        &["tieline-transfer"],
        &["socket2", "quinn-udp", "noq", "rustls", "rtnetlink"],
        "files know nothing of sockets",
    ),
    (
        &["tieline-node", "tieline-sim", "tieline", "tieline-transfer"],
        &["libc"],
        "system calls are made in tieline-io, or safely by rustix",
    ),
];

#[test]
fn every_crate_has_its_place() {
    let known: Vec<&str> = ALLOWED.iter().map(|(name, _, _)| *name).collect();
    for name in crates().keys() {
        assert!(known.contains(&name.as_str()), "say in ALLOWED what {name} may use, and why");
    }
}

#[test]
fn dependencies_point_down_only() {
    let crates = crates();
    for (name, allowed, reason) in ALLOWED {
        let Some(manifest) = crates.get(*name) else { panic!("there is no crate {name}") };
        for (kind, used, _) in manifest.dependencies() {
            let is_for_tests = kind == Kind::Dev && FOR_TESTS.contains(&used);
            let is_ours = crates.contains_key(used);
            assert!(
                !is_ours || allowed.contains(&used) || is_for_tests,
                "{name} must not depend on {used} ({kind:?}): {reason}"
            );
        }
    }
}

#[test]
fn nobody_depends_on_the_program_and_only_the_program_on_a_node() {
    for (name, manifest) in crates() {
        for (_, used, _) in manifest.dependencies() {
            assert!(!["tieline", "xtask"].contains(&used), "{name} depends on {used}, which is at the top");
            assert!(used != "tieline-node" || name == "tieline", "{name} depends on tieline-node");
        }
    }
}

#[test]
fn no_crate_uses_what_it_must_know_nothing_of() {
    let crates = crates();
    for (names, forbidden, reason) in FORBIDDEN {
        for name in *names {
            let used = crates[*name].names(Kind::Normal);
            let wrong: Vec<_> = used.iter().filter(|used| forbidden.contains(used)).collect();
            assert!(wrong.is_empty(), "{name} uses {wrong:?}: {reason}");
        }
    }
}

#[test]
fn every_dependency_comes_from_the_workspace_table() {
    for (name, manifest) in crates() {
        for (kind, used, value) in manifest.dependencies() {
            let is_inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            assert!(is_inherited, "{name} names a version or path of {used} ({kind:?}) of its own");
        }
    }
}
