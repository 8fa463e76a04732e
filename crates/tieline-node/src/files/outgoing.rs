//! An outbox being emptied: what is put into a folder goes to the far end, by itself and for as long as it takes.
//!
//! ```text
//!  watch ─ hints ─▶ outbox ─ looks ─▶ scan (a thread) ─ found ─▶ due ─▶ transfers (up to TRANSFERS_MAX at once)
//!                     ▲                                                    │ settled
//!                     └────────── again, after a while ◀───────────────────┴─▶ journal ─▶ moved, removed or kept
//! ```
//!
//! Nothing here is lost by a restart: the journal knows which versions of files were delivered, and everything else is found anew.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_transfer::outbox::after::{After, dispose};
use tieline_transfer::outbox::{Found, Hint, Look, Outbox, Rules, Scan, Sight, Verdict};
use tieline_transfer::receipt::{LineKeys, TransferId};
use tieline_transfer::{
    EntryReport, Fate, Fault, Journal, JournalError, Obstacle, Order, Plan, Progress, RelativePath, Stamp,
    send,
};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

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
/// After how long something is tried again that was cut, or that changed meanwhile.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// After how long something is tried again that the far end could not store, such as on a full disk.
const RETRY_LATER: Duration = Duration::from_secs(30);

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
    /// Why it does not go on, or what went wrong last, in a sentence.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Files that the far end refuses for good, until they change; the last of them.
    pub refused: Vec<String>,
    /// Whether somebody has stopped it.
    pub is_paused: bool,
    /// Whether it is not to send at this time of day.
    #[serde(default)]
    pub is_off: bool,
}

/// Refused files that are remembered by name.
const REFUSED_SHOWN: usize = 16;

/// An outbox, seen and steered from elsewhere.
#[derive(Debug)]
pub struct Handle {
    status: Mutex<OutgoingStatus>,
    moved: AtomicU64,
    /// Files in a transfer, and octets of each that are not sent yet.
    on_the_way: Mutex<BTreeMap<RelativePath, u64>>,
    stopped: tokio::sync::watch::Sender<Stopped>,
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Stopped {
    by_somebody: bool,
    by_schedule: bool,
}

impl Stopped {
    fn is_stopped(self) -> bool {
        self.by_somebody || self.by_schedule
    }
}

impl Handle {
    fn new(config: &OutgoingConfig) -> Arc<Self> {
        let (name, folder) = (config.name.clone(), config.folder.clone());
        let status = Mutex::new(OutgoingStatus { name, folder, ..OutgoingStatus::default() });
        let (on_the_way, stopped) = (Mutex::default(), tokio::sync::watch::Sender::default());
        Arc::new(Self { status, moved: AtomicU64::new(0), on_the_way, stopped })
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

    /// Stops sending, or lets it go on. What is under way is cut, and goes on where it was.
    pub fn set_paused(&self, is_paused: bool) {
        self.stopped.send_modify(|stopped| stopped.by_somebody = is_paused);
    }

    /// The same, because of the time of day.
    pub(super) fn set_off(&self, is_off: bool) {
        self.stopped.send_modify(|stopped| stopped.by_schedule = is_off);
    }

    fn on_the_way(&self) -> MutexGuard<'_, BTreeMap<RelativePath, u64>> {
        self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut OutgoingStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
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

/// What is left of a transfer: files that it did not settle, and after how long to try them again.
struct Ended {
    files: Vec<RelativePath>,
    again: Vec<(RelativePath, Duration)>,
    /// It did not begin, or was cut, for this reason.
    cut: Option<String>,
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
            let transfer = Transfer {
                config: Arc::clone(&self.config),
                journal: Arc::clone(&self.journal),
                keys: self.keys.clone(),
                handle: Arc::clone(&self.handle),
                root: Arc::clone(&root),
                again: Mutex::default(),
                settled: Mutex::default(),
                current: Mutex::default(),
            };
            self.transfers.spawn(Arc::new(transfer).run(self.streams.clone(), files));
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

/// One transfer of files that are due.
struct Transfer {
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
    async fn run(self: Arc<Self>, streams: Streams, files: Vec<(RelativePath, u64)>) -> Ended {
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
