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
    let (mut tunnel, folder) = released("tunnel")?;
    tunnel.arg("--chacha20").arg(folder.join("chacha20")).arg("--floor").arg(folder.join("floor"));
    run(tunnel.args(options))
}

/// Measures the program beside others that carry files; `options` are those of `bench/files`.
///
/// # Errors
///
/// Which command failed.
pub(crate) fn files(options: &[&str]) -> Result<(), String> {
    run(released("files")?.0.args(options))
}

/// Measures calls beside a full line; `options` are those of `bench/voice`.
///
/// # Errors
///
/// Which command failed.
pub(crate) fn voice(options: &[&str]) -> Result<(), String> {
    run(released("voice")?.0.args(options))
}

/// Builds all of it, and prepares a benchmark that is told where the program is. Beside it is the folder of all benchmarks.
fn released(benchmark: &str) -> Result<(Command, PathBuf), String> {
    let [ours, theirs] = [root(), root().join("bench")].map(|folder| target_folder(&folder).join("release"));
    run(Command::new("cargo").args(["build", "--release", "--package", "tieline"]))?;
    run(cargo("build").args(["--release", "--bins"]))?;
    let mut command = Command::new(theirs.join(benchmark));
    command.arg("--tieline").arg(ours.join("tieline"));
    Ok((command, theirs))
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
