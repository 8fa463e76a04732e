//! `docs/dependencies.md` argues for every foreign crate that we use, and for none that we do not.

use std::collections::BTreeSet;
use std::fs;

use super::{crates, read_toml, root};

#[test]
fn every_dependency_is_argued_for() {
    let (table, page) = (foreign_crates(), rows_of_the_page());
    let missing: Vec<_> = table.difference(&page).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no row for {missing:?}");
    let gone: Vec<_> = page.difference(&table).collect();
    assert!(gone.is_empty(), "docs/dependencies.md argues for {gone:?}, which nobody uses");
}

#[test]
fn every_dependency_of_the_table_is_used() {
    let crates = crates();
    let used: BTreeSet<&str> =
        crates.values().flat_map(|manifest| manifest.dependencies()).map(|(_, name, _)| name).collect();
    let unused: Vec<_> = foreign_crates().into_iter().filter(|name| !used.contains(name.as_str())).collect();
    assert!(unused.is_empty(), "no crate uses {unused:?} of the workspace table");
}

fn foreign_crates() -> BTreeSet<String> {
    let manifest = read_toml(&root().join("Cargo.toml"));
    let table = manifest["workspace"]["dependencies"].as_table().expect("the table");
    table.iter().filter(|(_, value)| value.get("path").is_none()).map(|(name, _)| name.clone()).collect()
}

/// The names in the first column: rows that start with a name in backquotes.
fn rows_of_the_page() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).expect("the page");
    let names = page.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` |"));
    let rows: Vec<(String, &str)> = names.map(|(name, reason)| (name.to_owned(), reason)).collect();
    for (name, reason) in &rows {
        assert!(reason.split_whitespace().count() > 6, "the row of {name} gives a reason");
    }
    rows.into_iter().map(|(name, _)| name).collect()
}
