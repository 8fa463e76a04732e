//! An outbox as it is seen and steered from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tieline_transfer::outbox::tries::Tries;
use tieline_transfer::{RelativePath, Stamp, Work};
use tokio::sync::{mpsc, oneshot, watch};

use super::OutgoingConfig;
use super::cancel::{CancelError, CancelOrder, Cancelled};
use super::queue::Priority;
use crate::files::limit::{Effort, Limit};

/// What is going on in an outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OutgoingStatus {
    /// The name of the pair.
    pub name: String,
    /// The outbox.
    pub folder: PathBuf,
    /// Files that are due or on their way.
    pub waiting_files: u64,
    /// Octets of them that are not sent yet.
    pub waiting_bytes: u64,
    /// Octets of files that went into the stream since the start.
    pub moved_bytes: u64,
    /// Files delivered since the start, those that were there already among them.
    pub delivered_files: u64,
    /// Their octets.
    pub delivered_bytes: u64,
    /// The file that is being sent.
    #[serde(default)]
    pub current: Option<String>,
    /// What holds up what is being sent, if that is known.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Why it does not go on, or what went wrong last, in a sentence.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Files that the far end refuses, or that were tried in vain for too long, until they change; the last of them.
    pub refused: Vec<String>,
    /// Whether somebody has stopped it.
    pub is_paused: bool,
    /// Whether it is not to send at this time of day.
    #[serde(default)]
    pub is_off: bool,
    /// What goes first: its files before those of an outbox with a smaller one; 0 if the process is too old to say.
    #[serde(default)]
    pub priority: Priority,
    /// The files that are sent next, in order; not all of them.
    #[serde(default)]
    pub next: Vec<NextFile>,
}

/// A file that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NextFile {
    /// Its name below the outbox.
    pub name: String,
    /// Octets.
    pub size: u64,
    /// Whether it goes before all others.
    pub is_first: bool,
}

/// An outbox, seen and steered from elsewhere.
#[derive(Debug)]
pub struct Handle {
    status: Mutex<OutgoingStatus>,
    pub(super) moved: AtomicU64,
    pub(super) effort: Effort,
    /// Files in a transfer, and octets of each that are not sent yet.
    on_the_way: Mutex<BTreeMap<RelativePath, u64>>,
    /// Those among them that nobody wants any more.
    unwanted: Mutex<BTreeSet<RelativePath>>,
    pub(super) stopped: watch::Sender<Stopped>,
    orders: mpsc::Sender<CancelOrder>,
    /// Which versions of files were told to have failed.
    failed_told: Mutex<BTreeMap<RelativePath, Stamp>>,
    tries: Mutex<Tries>,
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stopped {
    by_somebody: bool,
    by_schedule: bool,
}

impl Stopped {
    pub(super) fn is_stopped(self) -> bool {
        self.by_somebody || self.by_schedule
    }
}

impl Handle {
    pub(super) fn new(config: &OutgoingConfig, orders: mpsc::Sender<CancelOrder>) -> Arc<Self> {
        let (name, folder, priority) = (config.name.clone(), config.folder.clone(), config.priority);
        let status = Mutex::new(OutgoingStatus { name, folder, priority, ..OutgoingStatus::default() });
        let (on_the_way, unwanted, stopped) = (Mutex::default(), Mutex::default(), watch::Sender::default());
        let (moved, failed_told, tries) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        let effort = Effort::new(Instant::now());
        Arc::new(Self { status, moved, effort, on_the_way, unwanted, stopped, orders, failed_told, tries })
    }

    /// What is going on.
    #[must_use]
    pub fn status(&self) -> OutgoingStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let on_the_way = self.on_the_way();
        status.waiting_files += on_the_way.len() as u64;
        status.waiting_bytes += on_the_way.values().sum::<u64>();
        status.moved_bytes = self.moved.load(Ordering::Relaxed);
        let stopped = *self.stopped.borrow();
        (status.is_paused, status.is_off) = (stopped.by_somebody, stopped.by_schedule);
        status
    }

    /// What holds up what is on the way; `stream` says why the stream takes no more.
    pub(in crate::files) fn limit(&self, stream: impl FnOnce() -> Option<Limit>) -> Option<Limit> {
        if self.on_the_way().is_empty() {
            return None;
        }
        match self.effort.most(Instant::now())? {
            Work::Disk => Some(Limit::Disk),
            Work::Processor => Some(Limit::Processor),
            Work::Answer => Some(Limit::FarEnd),
            Work::Stream => stream(),
        }
    }

    /// Stops sending, or lets it go on. What is under way is cut, and goes on where it was.
    pub fn set_paused(&self, is_paused: bool) {
        self.stopped.send_modify(|stopped| stopped.by_somebody = is_paused);
    }

    /// Gives up what waits or is under way under `paths`: it is not sent any more, until it changes.
    ///
    /// # Errors
    ///
    /// [`CancelError`]; nothing is given up then.
    pub async fn cancel(&self, paths: Vec<RelativePath>) -> Result<Cancelled, CancelError> {
        let (reply, done) = oneshot::channel();
        let order = CancelOrder { paths, reply };
        self.orders.send(order).await.map_err(|_| CancelError::GoingDown)?;
        done.await.map_err(|_| CancelError::GoingDown)?
    }

    /// The same, because of the time of day.
    pub(in crate::files) fn set_off(&self, is_off: bool) {
        self.stopped.send_modify(|stopped| stopped.by_schedule = is_off);
    }

    pub(super) fn on_the_way(&self) -> MutexGuard<'_, BTreeMap<RelativePath, u64>> {
        self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unwanted(&self) -> MutexGuard<'_, BTreeSet<RelativePath>> {
        self.unwanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed_told(&self) -> MutexGuard<'_, BTreeMap<RelativePath, Stamp>> {
        self.failed_told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a file given up that is on the way; false if it is not.
    pub(super) fn unwant(&self, path: &RelativePath) -> bool {
        // Held until it is noted: else it could end meanwhile, and be unwanted for ever.
        let on_the_way = self.on_the_way();
        let is_on_the_way = on_the_way.contains_key(path);
        if is_on_the_way {
            self.unwanted().insert(path.clone());
        }
        is_on_the_way
    }

    /// Takes a file off the way.
    pub(super) fn end(&self, path: &RelativePath) {
        self.on_the_way().remove(path);
        self.unwanted().remove(path);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut OutgoingStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
