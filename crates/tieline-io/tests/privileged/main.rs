//! What takes privileges, tried in namespaces of our own: as root, or rootless through a user namespace.
//!
//! Where the system forbids both, every test here is listed as ignored, and the reason is printed.

#![allow(clippy::unwrap_used, reason = "these are tests, in a test program without the standard harness")]

mod confinement;
mod harness;
mod namespaces;
mod network;
mod policy;

use libtest_mimic::{Arguments, Trial};

fn main() {
    harness::run_probe_if_asked(confinement::PROBES);
    let arguments = Arguments::from_args();
    // Before anything starts a thread: a user namespace is entered by a whole process.
    let obstacle = harness::enter().err();
    if let Some(obstacle) = &obstacle {
        eprintln!("the tests of this file are ignored: {obstacle}");
    }
    let in_process =
        network::TESTS.iter().chain(policy::TESTS).chain(namespaces::TESTS).map(|(name, test)| {
            let run = || {
                test();
                Ok(())
            };
            Trial::test(*name, run)
        });
    let in_child =
        confinement::PROBES.iter().map(|(name, _)| Trial::ignorable_test(*name, || harness::run_probe(name)));
    let trials = in_process.chain(in_child).map(|trial| trial.with_ignored_flag(obstacle.is_some()));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
