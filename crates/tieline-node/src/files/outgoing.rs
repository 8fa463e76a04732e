//! An outbox being emptied: what is put into a folder goes to the far end, by itself and for as long as it takes.
//!
//! ```text
//!  watch ─ hints ─▶ outbox ─ looks ─▶ scan (a thread) ─ found ─▶ due ─▶ transfers (up to TRANSFERS_MAX at once)
//!                     ▲                                                    │ settled
//!                     └────────── again, after a while ◀───────────────────┴─▶ journal ─▶ moved, removed or kept
//! ```
//!
//! Nothing here is lost by a restart: the journal knows which versions of files were delivered, and everything else is found anew.

mod handle;
mod transfer;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tieline_transfer::outbox::after::{After, dispose};
use tieline_transfer::outbox::{Found, Hint, Look, Outbox, Rules, Scan, Sight, Verdict};
use tieline_transfer::receipt::LineKeys;
use tieline_transfer::{Journal, JournalError, RelativePath, Stamp};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

pub use self::handle::{Handle, OutgoingStatus};
use self::transfer::{Ended, RETRY_SOON, Transfer};
use super::watch::{News, Watch};
use crate::streams::Streams;

/// Transfers of one outbox at once, so that a small file need not wait for a large one; the far end takes four in all.
const TRANSFERS_MAX: usize = 2;
/// Files of one transfer. Those that come meanwhile go with the next.
const BATCH_MAX: usize = 4096;
/// Files that are due and not in a transfer yet; then nobody looks for more.
const DUE_MAX: usize = 2 * BATCH_MAX;
/// Sights on their way from a scan.
const SIGHTS_MAX: usize = 256;

/// What a folder pair is at its sending end.
#[derive(Clone, Debug)]
pub struct OutgoingConfig {
    /// The name of the pair: at the far end the inbox, or a folder of the line's own inbox. Empty: the line's own outbox and inbox.
    pub name: String,
    /// The outbox.
    pub folder: PathBuf,
    /// Which of its files are sent, and when.
    pub rules: Rules,
    /// How often all of it is looked at.
    pub rescan: Duration,
    /// What becomes of what was delivered.
    pub after: After,
}

/// Begins to empty an outbox; it ends with the runtime, or when the task is aborted.
#[must_use]
pub fn start(
    config: OutgoingConfig,
    streams: Streams,
    journal: Arc<Journal>,
    keys: LineKeys,
) -> (Arc<Handle>, tokio::task::JoinHandle<()>) {
    let handle = Handle::new(&config);
    let now = std::time::Instant::now();
    let outgoing = Outgoing {
        outbox: Outbox::new(config.rules.clone(), now),
        config: Arc::new(config),
        streams,
        journal,
        keys,
        handle: Arc::clone(&handle),
        root: None,
        due: BTreeMap::new(),
        again: BTreeMap::new(),
        transfers: JoinSet::new(),
        rest_until: None,
    };
    (handle, tokio::spawn(outgoing.run()))
}

struct Outgoing {
    config: Arc<OutgoingConfig>,
    streams: Streams,
    journal: Arc<Journal>,
    keys: LineKeys,
    handle: Arc<Handle>,
    outbox: Outbox,
    /// The folder, while it is there.
    root: Option<Arc<OwnedFd>>,
    /// Files that are due, with version and size.
    due: BTreeMap<RelativePath, (Stamp, u64)>,
    /// Files that are to be looked at again then.
    again: BTreeMap<Instant, Vec<RelativePath>>,
    transfers: JoinSet<Ended>,
    /// No transfer begins before.
    rest_until: Option<Instant>,
}

impl Outgoing {
    async fn run(mut self) {
        let config = Arc::clone(&self.config);
        let mut watch = Watch::new(config.folder.clone(), config.rules.clone(), config.rescan);
        let mut stopped = self.handle.stopped.subscribe();
        loop {
            self.look().await;
            let is_stopped = stopped.borrow_and_update().is_stopped();
            self.begin_transfers(is_stopped);
            self.show();
            let wake_at = self.wake_at();
            tokio::select! {
                news = watch.next() => self.on_news(news),
                Some(ended) = self.transfers.join_next() => self.on_ended(ended),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => self.on_time(),
                changed = stopped.changed() => {
                    if changed.is_ok() && stopped.borrow().is_stopped() {
                        self.transfers.abort_all();
                    }
                }
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let look = self.outbox.next_look().filter(|_| self.root.is_some() && self.due.len() < DUE_MAX);
        let again = self.again.keys().next().copied();
        look.map(Instant::from_std).into_iter().chain(again).chain(self.rest_until).min()
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::There(root) => {
                self.root = Some(Arc::new(root));
                self.outbox.handle_hint(std::time::Instant::now(), Hint::Everything);
                self.handle.update(|status| status.trouble = None);
            }
            News::Gone(error) => {
                warn!(folder = %self.config.folder.display(), %error, "the outbox is not there");
                self.root = None;
                self.handle
                    .update(|status| status.trouble = Some(format!("the outbox is not there: {error}")));
            }
            News::Hints(hints) => {
                let now = std::time::Instant::now();
                hints.into_iter().for_each(|hint| self.outbox.handle_hint(now, hint));
            }
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.rest_until = self.rest_until.filter(|until| *until > now);
        let later = self.again.split_off(&(now + Duration::from_nanos(1)));
        for path in std::mem::replace(&mut self.again, later).into_values().flatten() {
            self.outbox.retry(now.into_std(), path);
        }
    }

    fn on_ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let now = Instant::now();
        let Ok(Ended { files, again, cut }) = ended else {
            // Stopped by us, or by a panic that has been told: what was on the way is found anew.
            let files = std::mem::take(&mut *self.handle.on_the_way());
            self.again.entry(now + RETRY_SOON).or_default().extend(files.into_keys());
            return;
        };
        for path in &files {
            self.handle.on_the_way().remove(path);
        }
        for (path, after) in again {
            self.again.entry(now + after).or_default().push(path);
        }
        if let Some(reason) = cut {
            self.rest_until = Some(now + RETRY_SOON);
            self.handle.update(|status| status.trouble = Some(reason));
        }
    }

    /// Looks at whatever wants to be looked at, as long as there is room for what is found.
    async fn look(&mut self) {
        while let Some(root) = self.root.clone()
            && self.due.len() < DUE_MAX
            && let Some(look) = self.outbox.poll_look(std::time::Instant::now())
        {
            let is_everything = look == Look::Everything;
            let (sights, mut found) = mpsc::channel(SIGHTS_MAX);
            let rules = self.outbox.rules().clone();
            let scan = spawn_blocking(move || {
                let mut scan = Scan::new(root.as_fd(), &rules, look);
                for sight in &mut scan {
                    if sights.blocking_send(sight).is_err() {
                        break;
                    }
                }
                scan.is_complete()
            });
            while let Some(sight) = found.recv().await {
                match sight {
                    Sight::File(file) => self.on_found(&file),
                    Sight::Trouble(trouble) => info!(outbox = self.config.name, "{trouble}"),
                }
                if self.due.len() >= DUE_MAX {
                    break;
                }
            }
            // A scan that is not listened to any more ends.
            drop(found);
            let is_whole = self.due.len() < DUE_MAX;
            let is_complete = scan.await.unwrap_or(false) && is_whole;
            if is_everything {
                self.outbox.end_scan(std::time::Instant::now(), is_complete);
                self.forget(is_complete);
            }
            if !is_whole {
                self.outbox.handle_hint(std::time::Instant::now(), Hint::Everything);
            }
        }
    }

    /// After a look at everything: what was delivered is gone from here, so nothing of it need be known. Lost with a file that was not
    /// tidied away yet, it costs an offer.
    fn forget(&self, is_complete: bool) {
        if !is_complete || self.config.after == After::Keep || !self.handle.on_the_way().is_empty() {
            return;
        }
        if let Err(error) = self.journal.forget_delivered(&self.config.name) {
            warn!(%error, "the journal keeps what was delivered");
        }
    }

    fn on_found(&mut self, file: &Found) {
        let (journal, name) = (&self.journal, &self.config.name);
        let is_delivered = |path: &RelativePath, stamp: &Stamp| {
            Ok::<_, JournalError>(journal.delivered(name, path)?.is_some_and(|file| file.stamp == *stamp))
        };
        match self.outbox.handle_file(std::time::Instant::now(), file, is_delivered) {
            Ok(Verdict::Due) if !self.handle.on_the_way().contains_key(&file.path) => {
                self.due.insert(file.path.clone(), (file.stamp, file.size));
            }
            Ok(Verdict::Due) => {
                // Its former version is on the way; this one follows.
                self.again.entry(Instant::now() + RETRY_SOON).or_default().push(file.path.clone());
            }
            Ok(Verdict::Known) => {
                if self.config.after != After::Keep && is_delivered(&file.path, &file.stamp).unwrap_or(false)
                {
                    self.tidy(file);
                }
            }
            Ok(Verdict::Settling) => {}
            Ok(Verdict::Restless { since }) => {
                warn!(path = %file.path, hours = since.as_secs() / 3600, "a file of the outbox goes on changing and is not sent");
            }
            Ok(Verdict::NoRoom) => {
                warn!(path = %file.path, "the outbox has more files than can be kept track of");
            }
            Err(error) => warn!(%error, "a file of the outbox waits"),
        }
    }

    /// Does what a process did not come to that ended between the receipt and this.
    fn tidy(&self, file: &Found) {
        let Some(root) = &self.root else { return };
        if let Err(error) = dispose(root.as_fd(), &file.path, &file.stamp, self.config.after) {
            warn!(path = %file.path, %error, "a delivered file stays in the outbox");
        }
    }

    fn begin_transfers(&mut self, is_stopped: bool) {
        let is_resting = self.rest_until.is_some_and(|until| until > Instant::now());
        let Some(root) = self.root.clone() else { return };
        while !is_stopped && !is_resting && !self.due.is_empty() && self.transfers.len() < TRANSFERS_MAX {
            let mut files = Vec::new();
            while files.len() < BATCH_MAX
                && let Some((path, (_, size))) = self.due.pop_first()
            {
                self.handle.on_the_way().insert(path.clone(), size);
                files.push((path, size));
            }
            let (config, journal) = (Arc::clone(&self.config), Arc::clone(&self.journal));
            let (keys, handle, root) = (self.keys.clone(), Arc::clone(&self.handle), Arc::clone(&root));
            let transfer = Transfer::new(config, journal, keys, handle, root);
            self.transfers.spawn(transfer.run(self.streams.clone(), files));
        }
    }

    fn show(&self) {
        let files = self.due.len() as u64;
        let is_idle = self.transfers.is_empty();
        let bytes = self.due.values().map(|(_, size)| size).sum();
        self.handle.update(|status| {
            status.waiting_files = files;
            status.waiting_bytes = bytes;
            if is_idle {
                status.current = None;
            }
        });
    }
}
