//! `cargo xtask bench`: builds the benchmarks, which are a workspace of their own in `bench`, and the released program, and runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{root, run};

/// Runs the benchmarks of the packet path's parts; `options` are those of divan, such as a name to filter by.
///
/// # Errors
///
/// Which command failed.
pub(crate) fn micro(options: &[&str]) -> Result<(), String> {
    run(cargo("bench").arg("--benches").arg("--").args(options))
}

/// Measures the program beside other tunnels; `options` are those of `bench/tunnel`.
///
/// # Errors
///
/// Which command failed.
pub(crate) fn tunnel(options: &[&str]) -> Result<(), String> {
    run(Command::new("cargo").args(["build", "--release", "--package", "tieline"]))?;
    run(cargo("build").args(["--release", "--bins"]))?;
    let released = |target: PathBuf, program: &str| target.join("release").join(program);
    let bench = root().join("bench");
    let tieline = released(target_folder(&root()), "tieline");
    let floor = released(target_folder(&bench), "floor");
    run(Command::new(released(target_folder(&bench), "tunnel"))
        .arg("--tieline")
        .arg(tieline)
        .arg("--floor")
        .arg(floor)
        .args(options))
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args([command, "--locked", "--manifest-path", "bench/Cargo.toml"]);
    cargo
}

/// Where cargo puts what it builds of the workspace in `folder`.
fn target_folder(folder: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root().join(target),
        None => folder.join("target"),
    }
}
