//! Unsafe code lives in one crate.

use super::{crates, read_toml, root};

const MAY_BE_UNSAFE: &str = "tieline-io";

#[test]
fn the_workspace_forbids_unsafe_code() {
    let manifest = read_toml(&root().join("Cargo.toml"));
    assert_eq!(manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}

#[test]
fn every_crate_but_one_takes_the_lints_of_the_workspace() {
    for (name, manifest) in crates() {
        let lints = &manifest.table["lints"];
        let is_inherited = lints.get("workspace").and_then(toml::Value::as_bool) == Some(true);
        assert_eq!(is_inherited, name != MAY_BE_UNSAFE, "{name}");
    }
}

#[test]
fn the_crate_with_unsafe_code_leaves_out_no_other_lint() {
    let workspace = read_toml(&root().join("Cargo.toml"));
    let io = &crates()[MAY_BE_UNSAFE];
    for tool in ["rust", "clippy"] {
        let lints = workspace["workspace"]["lints"][tool].as_table().expect("a table");
        for (lint, level) in lints.iter().filter(|(lint, _)| *lint != "unsafe_code") {
            assert_eq!(io.table["lints"][tool].get(lint), Some(level), "{lint} in {MAY_BE_UNSAFE}");
        }
    }
}
