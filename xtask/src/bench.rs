//! `cargo xtask bench`: builds the benchmarks, which are a workspace of their own in `bench`, and the released program, and runs them.

use std::fs;
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
    let [ours, theirs] = [root(), root().join("bench")].map(|folder| target_folder(&folder).join("release"));
    let (tieline, chacha20) = (ours.join("tieline"), ours.join("tieline-chacha20"));
    // The same with a processor that is no good at AES; then the one that people get.
    build_tieline(&[("TIELINE_BENCH_WITHOUT_FAST_AES", "1")])?;
    fs::copy(&tieline, &chacha20).map_err(|error| format!("{}: {error}", chacha20.display()))?;
    build_tieline(&[])?;
    run(cargo("build").args(["--release", "--bins"]))?;
    let mut tunnel = Command::new(theirs.join("tunnel"));
    tunnel.arg("--tieline").arg(tieline).arg("--tieline-chacha20").arg(chacha20);
    run(tunnel.arg("--floor").arg(theirs.join("floor")).args(options))
}

fn build_tieline(variables: &[(&str, &str)]) -> Result<(), String> {
    let mut build = Command::new("cargo");
    run(build.args(["build", "--release", "--package", "tieline"]).envs(variables.iter().copied()))
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
