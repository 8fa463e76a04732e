//! What the manifests of the workspace promise: which crate may know which, and why each foreign crate is there.

mod dependency_direction;
mod documented_dependencies;
mod unsafe_code;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// A crate of ours, as its manifest has it.
struct Manifest {
    table: Table,
}

/// In which of the three tables of a manifest a dependency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
    Build,
}

impl Manifest {
    /// All dependencies, also those for one platform only.
    fn dependencies(&self) -> Vec<(Kind, &str, &toml::Value)> {
        let kinds = [
            (Kind::Normal, "dependencies"),
            (Kind::Dev, "dev-dependencies"),
            (Kind::Build, "build-dependencies"),
        ];
        let platforms = self.table.get("target").and_then(|targets| targets.as_table());
        let platforms =
            platforms.into_iter().flat_map(|targets| targets.values().filter_map(|table| table.as_table()));
        let mut found = Vec::new();
        for table in std::iter::once(&self.table).chain(platforms) {
            for (kind, name) in kinds {
                let dependencies = table.get(name).and_then(|dependencies| dependencies.as_table());
                found.extend(
                    dependencies.into_iter().flatten().map(|(name, value)| (kind, name.as_str(), value)),
                );
            }
        }
        found
    }

    /// The names of the dependencies of one kind.
    fn names(&self, wanted: Kind) -> Vec<&str> {
        let dependencies = self.dependencies().into_iter();
        dependencies.filter(|(kind, _, _)| *kind == wanted).map(|(_, name, _)| name).collect()
    }
}

/// The crates of the workspace by name.
fn crates() -> BTreeMap<String, Manifest> {
    let folders =
        fs::read_dir(root().join("crates")).expect("the crates").map(|entry| entry.expect("a crate").path());
    let manifests: BTreeMap<String, Manifest> = folders
        .chain([root().join("xtask")])
        .map(|folder| {
            let table = read_toml(&folder.join("Cargo.toml"));
            let name = table["package"]["name"].as_str().expect("a name").to_owned();
            (name, Manifest { table })
        })
        .collect();
    assert!(manifests.len() > 8, "the crates were found: {:?}", manifests.keys());
    manifests
}

fn read_toml(file: &Path) -> Table {
    fs::read_to_string(file).expect("a manifest").parse().expect("TOML")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
