//! The system: two ends, each a process of the real program, with real traffic between the networks behind them, in the
//! live lab.
//!
//! Where the system allows no network namespaces, or a program that a test talks to is not installed, the test is listed as
//! ignored and the reason is printed. `cargo xtask soak` adds the long ones (`TIELINE_SOAK=1`).

#![allow(clippy::unwrap_used, reason = "these are tests, in a test program without the standard harness")]
#![allow(clippy::print_stdout, reason = "figures are for whoever reads the run")]

mod batch;
mod calls;
mod circuit;
mod configuration;
mod content;
mod discovery;
mod end;
mod files;
mod full_speed;
mod idle;
mod internet;
mod key_twice;
mod lan;
mod loss;
mod marks;
mod nat;
mod networks;
mod paths;
mod ports;
mod probe;
mod recovery;
mod rekey;
mod restore;
mod samba;
mod shaped;
mod strangers;
mod threads;
mod traffic;
mod wire_format;
mod wireguard;
mod world;

use std::collections::BTreeSet;

use libtest_mimic::{Arguments, Trial};
use tieline_sim::lab::Lab;
use world::Test;

fn main() {
    threads::run_end_if_asked();
    let arguments = Arguments::from_args();
    // Before anything starts a thread: a user namespace is entered by a whole process.
    let standing = Lab::prepare().and_then(|standing| Lab::supported().map(|()| standing));
    if let Err(obstacle) = &standing {
        eprintln!("the tests of this file are ignored: {obstacle}");
    }
    let tests = [
        traffic::TESTS,
        strangers::TESTS,
        recovery::TESTS,
        circuit::TESTS,
        ports::TESTS,
        discovery::TESTS,
        samba::TESTS,
        wireguard::TESTS,
        wire_format::TESTS,
        idle::TESTS,
        configuration::TESTS,
        restore::TESTS,
        key_twice::TESTS,
        marks::TESTS,
        nat::TESTS,
        networks::TESTS,
        paths::TESTS,
        loss::TESTS,
        full_speed::TESTS,
        rekey::TESTS,
        batch::TESTS,
        calls::TESTS,
        shaped::TESTS,
        files::TESTS,
        threads::TESTS,
        internet::TESTS,
        lan::TESTS,
    ];
    let soak = std::env::var_os("TIELINE_SOAK").is_some();
    let wanted = tests.iter().copied().flatten().filter(|test| soak || !test.is_soak);
    let mut missing = BTreeSet::new();
    let trials = wanted
        .map(|test: &Test| {
            let lacks: Vec<_> =
                test.programs.iter().filter(|program| !world::is_installed(program)).collect();
            missing.extend(lacks.iter().map(|program| format!("{}: {program} is not installed", test.name)));
            let run = test.run;
            let trial = Trial::test(test.name, move || {
                run();
                Ok(())
            });
            trial.with_ignored_flag(standing.is_err() || !lacks.is_empty())
        })
        .collect();
    for reason in missing {
        eprintln!("ignored: {reason}");
    }
    libtest_mimic::run(&arguments, trials).exit();
}
