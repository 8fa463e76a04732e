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
