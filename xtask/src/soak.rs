//! `cargo xtask soak`: the tests of the system that take too long for every day, with the program as it is released.

use std::process::Command;

use crate::run;

/// Runs the tests whose names contain `filter`, one after the other, and shows what they measure.
///
/// # Errors
///
/// If one fails, or cargo does.
pub(crate) fn soak(filter: &str) -> Result<(), String> {
    run(Command::new("cargo")
        .args(["test", "--release", "--package", "tieline", "--test", "offices", "--"])
        .args(["--nocapture", "--test-threads=1", filter])
        .env("TIELINE_SOAK", "1"))
}

/// Runs the test of a folder with very many files at its full size.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn many_files() -> Result<(), String> {
    run(Command::new("cargo")
        .args(["test", "--release", "--package", "tieline-transfer", "--test", "cases", "case_29"])
        .env("TIELINE_SOAK", "1"))
}
