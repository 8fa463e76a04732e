//! A large changed file is compared by a thread of its own, while the one that reads goes on with other files.
//!
//! One file at a time: what was found of it waits to be taken before the next one begins, so that it is held once.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as sync_mpsc;

use tokio::sync::mpsc;

use super::Answer;
use crate::comparing::Compared;
use crate::content::ContentHasher;
use crate::delta::{Operations, Signature, SumRequest};
use crate::sender::Job;
use crate::source::{Source, SourceFault};
use crate::stamp::Stamp;
use crate::summing::{Sums, SumsContent};

/// Files from here on are compared apart: those below take less time than a few round trips.
pub(super) const APART_LEN_MIN: u64 = 16 << 20;

/// A file to be compared.
pub(super) struct Task {
    pub(super) index: usize,
    pub(super) from: u64,
    pub(super) stamp: Stamp,
    pub(super) root: Arc<OwnedFd>,
    pub(super) compared: Option<Box<(Compared, SumRequest)>>,
    /// Taken into use only when it is their turn, so that no more of them come than may be held.
    pub(super) sums: Sums,
}

/// What was found of a file.
#[derive(Debug)]
pub(crate) struct Done {
    pub(super) index: usize,
    pub(super) from: u64,
    pub(super) found: Result<Found, SourceFault>,
}

/// What the first sums show, or all of them.
#[derive(Debug)]
pub(super) enum Found {
    First(Box<Compared>),
    All(Operations, Box<ContentHasher>),
}

/// Compares files until there are no more, or until the transfer has ended.
pub(super) fn compare_all(
    job: &Job,
    tasks: &sync_mpsc::Receiver<Task>,
    answers: &mpsc::WeakSender<Answer>,
    has_ended: &AtomicBool,
) {
    let is_gone = || has_ended.load(Ordering::Relaxed);
    while let Ok(Task { index, from, stamp, root, compared, sums }) = tasks.recv() {
        let source = Source::open(root, &job.plan.entries[index].path)
            .and_then(|source| if source.stamp == stamp { Ok(source) } else { Err(SourceFault::Changed) });
        let content = sums.into_content();
        let found = source.and_then(|mut source| find(&mut source, compared, content, &is_gone));
        // Whoever would take it may have gone.
        let Some(answers) = answers.upgrade() else { return };
        if answers.blocking_send(Answer::Compared(Done { index, from, found })).is_err() {
            return;
        }
    }
}

/// Finds what of a file its old version has. Blocks on the disk; ends soon when `is_gone`.
pub(super) fn find(
    source: &mut Source<'_>,
    compared: Option<Box<(Compared, SumRequest)>>,
    sums: SumsContent,
    is_gone: &dyn Fn() -> bool,
) -> Result<Found, SourceFault> {
    let all = |(operations, hasher)| Found::All(operations, Box::new(hasher));
    match (compared, sums) {
        (None, SumsContent::First(signature)) => {
            Compared::of(source, &signature, is_gone).map(|compared| Found::First(Box::new(compared)))
        }
        (Some(compared), SumsContent::Wanted(octets)) => {
            let (compared, request) = *compared;
            let signature = Signature::parse(request, octets).expect("their length was checked");
            compared.refine(source, &signature, is_gone).map(all)
        }
        (Some(compared), _) => Ok(all(compared.0.into_operations())),
        // Sums that were asked for are kept with what was found before.
        (None, _) => Err(SourceFault::Changed),
    }
}

/// Ends the comparing thread with the reading one, however that ends.
pub(super) struct Leaving<'e>(pub(super) &'e AtomicBool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
