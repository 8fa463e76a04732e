//! One transfer of files of an outbox: what becomes of each of them, and when it is tried again.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tieline_transfer::outbox::after::{After, dispose};
use tieline_transfer::receipt::{LineKeys, TransferId};
use tieline_transfer::{
    EntryReport, Fate, Fault, Journal, Obstacle, Order, Plan, Progress, RelativePath, send,
};
use tracing::{info, warn};

use super::OutgoingConfig;
use super::handle::Handle;
use crate::streams::Streams;

/// After how long something is tried again that was cut, or that changed meanwhile.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(1);
/// After how long something is tried again that the far end could not store, such as on a full disk.
const RETRY_LATER: Duration = Duration::from_secs(30);
/// Refused files that are remembered by name.
const REFUSED_SHOWN: usize = 16;

/// What is left of a transfer: files that it did not settle, and after how long to try them again.
pub(super) struct Ended {
    pub(super) files: Vec<RelativePath>,
    pub(super) again: Vec<(RelativePath, Duration)>,
    /// It did not begin, or was cut, for this reason.
    pub(super) cut: Option<String>,
}

/// One transfer of files that are due.
pub(super) struct Transfer {
    config: Arc<OutgoingConfig>,
    journal: Arc<Journal>,
    keys: LineKeys,
    handle: Arc<Handle>,
    root: Arc<OwnedFd>,
    settled: Mutex<BTreeSet<Box<[u8]>>>,
    /// The file whose data is being sent.
    current: Mutex<Option<RelativePath>>,
    again: Mutex<Vec<(RelativePath, Duration)>>,
}

impl Transfer {
    pub(super) fn new(
        config: Arc<OutgoingConfig>,
        journal: Arc<Journal>,
        keys: LineKeys,
        handle: Arc<Handle>,
        root: Arc<OwnedFd>,
    ) -> Arc<Self> {
        let (settled, current, again) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { config, journal, keys, handle, root, settled, current, again })
    }

    pub(super) async fn run(self: Arc<Self>, streams: Streams, files: Vec<(RelativePath, u64)>) -> Ended {
        let paths: Vec<RelativePath> = files.iter().map(|(path, _)| path.clone()).collect();
        let cut = self.clone().send(&streams, files).await.err();
        let settled = std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner));
        let mut again = std::mem::take(&mut *self.again.lock().unwrap_or_else(PoisonError::into_inner));
        let left = paths.iter().filter(|path| !settled.contains(path.as_bytes()));
        again.extend(left.map(|path| (path.clone(), RETRY_SOON)));
        Ended { files: paths, again, cut }
    }

    async fn send(self: Arc<Self>, streams: &Streams, files: Vec<(RelativePath, u64)>) -> Result<(), String> {
        let folder = (!self.config.name.is_empty()).then(|| self.config.name.clone());
        let stream = streams.open_files(folder).await.map_err(|error| error.to_string())?;
        let plan = Plan::of_files(self.config.folder.clone(), files);
        let order = Order {
            plan,
            journal: Arc::clone(&self.journal),
            outbox: self.config.name.clone(),
            transfer: TransferId::random().map_err(|error| error.to_string())?,
            keys: self.keys.clone(),
        };
        let outcome = send(stream, order, self.clone()).await.map_err(|error| error.to_string())?;
        match outcome.interruption {
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        }
    }

    fn on_delivered(&self, path: &RelativePath, size: u64) {
        self.handle.update(|status| {
            status.delivered_files += 1;
            status.delivered_bytes += size;
            status.trouble = None;
        });
        if self.config.after == After::Keep {
            return;
        }
        let delivered = self.journal.delivered(&self.config.name, path);
        let done = delivered.map_err(|error| error.to_string()).and_then(|file| match file {
            Some(file) => dispose(self.root.as_fd(), path, &file.stamp, self.config.after)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        });
        if let Err(error) = done {
            warn!(%path, error, "a delivered file stays in the outbox");
        }
    }

    fn on_undelivered(&self, path: RelativePath, report: &EntryReport) {
        info!(outbox = self.config.name, "{report}");
        let after = match report.fate {
            Fate::Refused(Obstacle::NoSpace { .. }) => RETRY_LATER,
            Fate::Refused(_) | Fate::Skipped(_) => {
                self.handle.update(|status| {
                    status.refused.push(report.to_string());
                    let extra = status.refused.len().saturating_sub(REFUSED_SHOWN);
                    status.refused.drain(..extra);
                });
                return;
            }
            Fate::Failed(Fault::Source(_)) => RETRY_SOON,
            Fate::Failed(Fault::Receiver(Obstacle::HashMismatch | Obstacle::TooShort)) => RETRY_SOON,
            Fate::Failed(_) => RETRY_LATER,
            Fate::Unconfirmed | Fate::NotSent | Fate::Delivered { .. } | Fate::AlreadyThere { .. } => {
                RETRY_SOON
            }
        };
        self.handle.update(|status| status.trouble = Some(report.to_string()));
        self.again.lock().unwrap_or_else(PoisonError::into_inner).push((path, after));
    }
}

impl Progress for Transfer {
    fn file(&self, name: &RelativePath, _size: u64) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.clone());
        self.handle.update(|status| status.current = Some(name.to_string()));
    }

    fn held(&self, bytes: u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut on_the_way = self.handle.on_the_way();
        if let Some(left) = current.as_ref().and_then(|path| on_the_way.get_mut(path)) {
            *left = left.saturating_sub(bytes);
        }
    }

    fn moved(&self, bytes: u64) {
        self.handle.moved.fetch_add(bytes, Ordering::Relaxed);
        self.held(bytes);
    }

    fn settled(&self, report: &EntryReport) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(report.name.clone());
        let Ok(path) = RelativePath::parse(&report.name) else { return };
        self.handle.on_the_way().remove(&path);
        if report.fate.is_delivered() {
            self.on_delivered(&path, report.size);
        } else {
            self.on_undelivered(path, report);
        }
    }
}
