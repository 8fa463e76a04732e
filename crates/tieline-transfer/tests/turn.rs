//! Files whose turn it is not: given up where they are, or left for another transfer.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{BUFFER, Offices, noise, order};
use tieline_transfer::{
    Fate, Fault, Outcome, Plan, Progress, Received, RelativePath, SourceFault, Turn, receive, send,
};
use tokio::io::duplex;

/// More than the ways between the ends hold.
const LARGE: usize = 24 << 20;

/// Says of one file that it is not its turn, once so many octets have moved.
struct Steering {
    name: &'static str,
    turn: Turn,
    from: u64,
    moved: AtomicU64,
}

impl Progress for Steering {
    fn turn(&self, name: &RelativePath) -> Turn {
        let is_meant = name.as_bytes() == self.name.as_bytes();
        if is_meant && self.moved.load(Ordering::Relaxed) >= self.from { self.turn } else { Turn::Now }
    }

    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }
}

async fn steered(offices: &Offices, name: &'static str, turn: Turn, from: u64) -> (Outcome, Received) {
    let paths: Vec<PathBuf> = ["a", "b", "c"].map(|name| offices.out(name)).into();
    let order = order(Plan::scan(&paths, &()).unwrap());
    let (near, far) = duplex(BUFFER);
    let steering = Arc::new(Steering { name, turn, from, moved: AtomicU64::new(0) });
    let (sent, received) =
        tokio::join!(send(near, order, steering), receive(far, &offices.inbox, None, Arc::new(())));
    (sent.unwrap(), received.unwrap())
}

fn offices(large: usize) -> Offices {
    let offices = Offices::new();
    for (name, size) in [("a", 1000), ("b", large), ("c", 2000)] {
        offices.write(name, noise(size as u64, size));
    }
    offices
}

fn fates(outcome: &Outcome) -> Vec<Fate> {
    outcome.entries.iter().map(|entry| entry.fate).collect()
}

const THERE: Fate = Fate::Delivered { copy: 1 };
const CANCELLED: Fate = Fate::Failed(Fault::Source(SourceFault::Cancelled));

#[tokio::test]
async fn a_file_that_nobody_wants_any_more_is_never_offered() {
    for size in [3000, LARGE] {
        let offices = offices(size);
        let (sent, received) = steered(&offices, "b", Turn::Never, 0).await;
        assert_eq!(fates(&sent), [THERE, CANCELLED, THERE], "{size}");
        assert_eq!(received.totals.delivered.files, 2);
        assert!(received.totals.failed.files == 0, "it heard nothing of it");
        assert_eq!(offices.arrived().len(), 2);
    }
}

#[tokio::test]
async fn a_file_that_is_cancelled_on_its_way_leaves_nothing_behind_and_the_others_arrive() {
    let offices = offices(LARGE);
    let (sent, received) = steered(&offices, "b", Turn::Never, LARGE as u64 / 2).await;
    assert_eq!(fates(&sent), [THERE, CANCELLED, THERE]);
    assert_eq!((received.totals.delivered.files, received.totals.failed.files), (2, 1));
    assert_eq!(offices.arrived().len(), 2);
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_file_that_others_go_before_is_left_for_the_next_transfer() {
    for size in [3000, LARGE] {
        let offices = offices(size);
        let (sent, received) = steered(&offices, "b", Turn::Later, 0).await;
        assert_eq!(fates(&sent), [THERE, Fate::NotSent, THERE], "{size}");
        assert!(sent.interruption.is_none() && received.totals.failed.files == 0);
        let (sent, _) = steered(&offices, "b", Turn::Now, 0).await;
        assert!(sent.is_complete());
        assert_eq!(offices.arrived().len(), 3);
    }
}

#[tokio::test]
async fn a_large_file_that_was_asked_about_before_its_turn_was_gone_is_left_as_well() {
    let offices = offices(LARGE);
    let late = Turn::Later;
    // The question leaves before anything has moved, and the answer comes when `a` has.
    let (sent, _) = steered(&offices, "b", late, 1000).await;
    assert_eq!(fates(&sent), [THERE, Fate::NotSent, THERE]);
    offices.assert_nothing_unfinished();
}
