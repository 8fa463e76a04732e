//! The lab live: real packets between namespaces, as root or rootless.
//!
//! Where the system allows no namespaces, every test here is listed as ignored, and the reason is printed.

#![allow(clippy::unwrap_used, reason = "these are tests, in a test program without the standard harness")]

mod calls;
mod internet;
mod world;

use libtest_mimic::{Arguments, Trial};
use tieline_sim::lab::Lab;

fn main() {
    let arguments = Arguments::from_args();
    // Before anything starts a thread: a user namespace is entered by a whole process.
    let obstacle = Lab::prepare().and_then(|_| Lab::supported()).err();
    if let Some(obstacle) = &obstacle {
        eprintln!("the tests of this file are ignored: {obstacle}");
    }
    let trials = internet::TESTS.iter().chain(calls::TESTS).map(|(name, test)| {
        Trial::ignorable_test(*name, || Ok(test())).with_ignored_flag(obstacle.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
