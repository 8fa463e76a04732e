//! Older files at the receiving end, of which parts are taken instead of being sent.
//!
//! Which one that is, is a guess: the file under the same name, or one that is known to have the same content. It may be changed by
//! anybody at any time. So nothing is believed of it: what is made from it has to have the hash that its sender says, and a file that was
//! not what it was taken for is not used again.

use std::io;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::assembly::Reply;
use crate::delta::{Signature, SumRequest};
use crate::disk::PublishedFile;
use crate::inbox::Inbox;
use crate::path::RelativePath;
use crate::protocol::{ASKED_MAX, ASKED_SMALL_MAX, SUMS_OPEN_MAX};

/// Files that wait to be summed: one for each question.
pub(crate) const SUM_JOBS_MAX: usize = ASKED_MAX + ASKED_SMALL_MAX;
/// Octets of a message of sums.
const SUMS_LEN: usize = 32 * 1024;

/// A file of the inbox, as it was when it was found.
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    path: RelativePath,
    pub(crate) len: u64,
}

impl Basis {
    /// Finds the file at `path` below the inbox; none if there is none that can be read, or if it is not to be trusted.
    pub(crate) fn find(inbox: &Inbox, path: RelativePath) -> Option<Self> {
        if inbox.distrusts(&path) {
            return None;
        }
        let len = published(inbox, &path).ok()??.size();
        Some(Self { path, len })
    }

    /// Opens it, if it still has that length.
    pub(crate) fn open(&self, inbox: &Inbox) -> io::Result<Box<dyn PublishedFile>> {
        let file = published(inbox, &self.path)?.filter(|file| file.size() == self.len);
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Notes that it was not what it was taken for.
    pub(crate) fn distrust(&self, inbox: &Inbox) {
        tracing::warn!(path = %self.path, "an older file changed while a new one was made from it");
        inbox.distrust(&self.path);
    }
}

fn published(inbox: &Inbox, path: &RelativePath) -> rustix::io::Result<Option<Box<dyn PublishedFile>>> {
    let (folder, name) = path.split_last();
    inbox.disk().open_folder(folder.as_ref())?.published(name)
}

/// A question that is answered with sums.
#[derive(Debug)]
pub(crate) struct SumJob {
    pub(crate) entry: u64,
    /// From where data is wanted, which is said after the sums.
    pub(crate) from: u64,
    pub(crate) basis: Basis,
    pub(crate) request: SumRequest,
    /// The sender does not know the request.
    pub(crate) is_first: bool,
}

impl SumJob {
    /// Octets of the answer.
    pub(crate) fn octets(&self) -> usize {
        self.request.sums_len() + if self.is_first { self.request.emitted_len() } else { 0 }
    }

    fn sums(&self, inbox: &Inbox) -> io::Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(self.octets());
        if self.is_first {
            self.request.emit(&mut octets);
        }
        let signature = Signature::of(self.request.clone(), &mut self.basis.open(inbox)?)?;
        octets.extend(signature.sums());
        Ok(octets)
    }
}

/// What there may still be of sums that the sender made no use of yet.
#[derive(Debug)]
pub(crate) struct SumsOpen(Semaphore);

impl SumsOpen {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(SUMS_OPEN_MAX))
    }

    /// The sender made use of so many octets.
    pub(crate) fn give(&self, octets: usize) {
        self.0.add_permits(octets);
    }

    /// No use will be made of any more.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Waits for room; false if none will come.
    fn take(&self, octets: usize) -> bool {
        let octets = u32::try_from(octets).expect("sums are shorter than their limit");
        // Nobody else waits, so this is first in turn.
        Handle::current().block_on(self.0.acquire_many(octets)).map(|permit| permit.forget()).is_ok()
    }
}

/// Answers questions with sums, in order, until nobody asks more. Blocks on the disk, and while the sender makes no use of them.
pub(crate) fn sum_all(
    inbox: &Inbox,
    mut jobs: mpsc::Receiver<SumJob>,
    replies: &mpsc::Sender<Reply>,
    open: &SumsOpen,
) {
    while let Some(job) = jobs.blocking_recv() {
        if !open.take(job.octets()) {
            return;
        }
        let (entry, from) = (job.entry, job.from);
        let sums = job.sums(inbox).unwrap_or_else(|error| {
            tracing::debug!(path = %job.basis.path, %error, "an older file cannot be summed, the new one is sent whole");
            Vec::new()
        });
        // Nobody listens any more when the transfer was cut.
        for octets in sums.chunks(SUMS_LEN) {
            let _ = replies.blocking_send(Reply::Sums { entry, octets: octets.into() });
        }
        let _ = replies.blocking_send(Reply::Go { entry, from });
    }
}
