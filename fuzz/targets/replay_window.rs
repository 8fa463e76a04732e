//! The replay window against a plain set of all counters ever accepted.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_seal::ReplayWindow;

#[derive(Arbitrary, Debug)]
enum Step {
    Ahead(u16),
    Behind(u16),
    At(u64),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut window = ReplayWindow::new();
    let mut accepted = BTreeSet::<u64>::new();
    for step in steps {
        let greatest = accepted.last().copied();
        let base = greatest.unwrap_or(0);
        let counter = match step {
            Step::Ahead(by) => base.saturating_add(by.into()),
            Step::Behind(by) => base.saturating_sub(by.into()),
            Step::At(counter) => counter.min(COUNTER_MAX),
        };
        let counter = counter.min(COUNTER_MAX);
        let is_in_reach = greatest.is_none_or(|greatest| counter + ReplayWindow::LEN > greatest);
        let expected = is_in_reach && !accepted.contains(&counter);
        assert_eq!(window.is_fresh(counter), expected, "{counter} after {greatest:?}");
        assert_eq!(window.accept(counter), expected);
        assert!(!window.is_fresh(counter));
        if expected {
            accepted.insert(counter);
        }
    }
});

/// No session goes beyond it.
const COUNTER_MAX: u64 = tieline_seal::limits::REJECT_AFTER_MESSAGES;
