//! An outbox being emptied: what is put into a folder goes to the far end, by itself and for as long as it takes.
//!
//! ```text
//!  watch ─ hints ─▶ outbox ─ looks ─▶ scan (a thread) ─ found ─▶ due ─▶ transfers (up to TRANSFERS_MAX at once)
//!                     ▲                                                    │ settled
//!                     └────────── again, after a while ◀───────────────────┴─▶ journal ─▶ moved, removed or kept
//! ```
//!
//! Nothing here is lost by a restart: the journal knows which versions of files were delivered, and everything else is found anew.

pub mod cancel;
mod handle;
mod looking;
mod patience;
pub mod queue;
mod transfer;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tieline_transfer::metadata::Carry;
use tieline_transfer::outbox::after::After;
use tieline_transfer::outbox::{Hint, Outbox, Rules};
use tieline_transfer::receipt::{LineKeys, TransferId};
use tieline_transfer::{Journal, RelativePath};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use self::cancel::{CancelError, CancelOrder, ORDERS_MAX, cancel};
pub use self::handle::{Handle, NextFile, OutgoingStatus};
use self::patience::Patience;
use self::queue::{PRIORITY_FIRST, Priority, Queue};
use self::transfer::{Course, Cut, Ended, RETRY_SOON, Transfer};
use super::notices::{Event, Notice, Teller, Way};
use super::turns::Place;
use super::watch::{News, Watch};
use crate::streams::Streams;

/// Transfers of one outbox at once, so that a small file need not wait for a large one; the far end takes four in all.
const TRANSFERS_MAX: usize = 2;
/// Files of one transfer. Those that come meanwhile go with the next.
const BATCH_MAX: usize = 4096;
/// Files that are shown as the next ones.
const NEXT_SHOWN: usize = 16;

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
    /// What goes first.
    pub priority: Priority,
    /// What is sent of its files beyond their content.
    pub carry: Carry,
    /// Who is told what becomes of its files.
    pub teller: Teller,
}

/// Begins to empty an outbox; it ends with the runtime, or when the task is aborted.
#[must_use]
pub fn start(
    config: OutgoingConfig,
    streams: Streams,
    journal: Arc<Journal>,
    keys: LineKeys,
    place: Place,
) -> (Arc<Handle>, tokio::task::JoinHandle<()>) {
    let (orders, orders_out) = mpsc::channel(ORDERS_MAX);
    let handle = Handle::new(&config, orders);
    let now = std::time::Instant::now();
    let outgoing = Outgoing {
        outbox: Outbox::new(config.rules.clone(), now),
        config: Arc::new(config),
        streams,
        journal,
        keys,
        handle: Arc::clone(&handle),
        place,
        root: None,
        due: Queue::default(),
        again: BTreeMap::new(),
        transfers: JoinSet::new(),
        sending: BTreeMap::new(),
        rest: None,
        patience: Patience::default(),
    };
    (handle, tokio::spawn(outgoing.run(orders_out)))
}

struct Outgoing {
    config: Arc<OutgoingConfig>,
    streams: Streams,
    journal: Arc<Journal>,
    keys: LineKeys,
    handle: Arc<Handle>,
    place: Place,
    outbox: Outbox,
    /// The folder, while it is there.
    root: Option<Arc<OwnedFd>>,
    due: Queue,
    /// Files that are to be looked at again then.
    again: BTreeMap<Instant, Vec<RelativePath>>,
    transfers: JoinSet<Ended>,
    /// Their priorities.
    sending: BTreeMap<Id, Priority>,
    rest: Option<Rest>,
    patience: Patience,
}

/// No transfer begins for a while.
struct Rest {
    until: Instant,
    /// For the far end to have room: then no other outbox takes it from us.
    is_busy: bool,
}

impl Outgoing {
    async fn run(mut self, mut orders: mpsc::Receiver<CancelOrder>) {
        let config = Arc::clone(&self.config);
        let mut watch = Watch::new(config.folder.clone(), config.rules.clone(), config.rescan);
        let mut stopped = self.handle.stopped.subscribe();
        let mut claims = self.place.changes();
        loop {
            self.look().await;
            let is_stopped = stopped.borrow_and_update().is_stopped();
            self.claim(is_stopped);
            claims.mark_unchanged();
            self.begin_transfers(is_stopped);
            self.show();
            self.be_patient(is_stopped);
            let wake_at = self.wake_at();
            tokio::select! {
                news = watch.next() => self.on_news(news),
                Some(ended) = self.transfers.join_next_with_id() => self.on_ended(ended),
                Some(order) = orders.recv() => self.on_cancel(order).await,
                // Those of this outbox are made above; whoever waits for their turn looks again.
                _ = claims.changed() => {}
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
        let again = self.again.keys().next().copied();
        self.next_look()
            .into_iter()
            .chain(again)
            .chain(self.rest.as_ref().map(|rest| rest.until))
            .chain(self.patience.next())
            .min()
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
        self.rest = self.rest.take().filter(|rest| rest.until > now);
        let later = self.again.split_off(&(now + Duration::from_nanos(1)));
        for path in std::mem::replace(&mut self.again, later).into_values().flatten() {
            self.outbox.retry(now.into_std(), path);
        }
    }

    fn on_ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let now = Instant::now();
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        self.sending.remove(&id);
        let Ok((_, Ended { files, again, due, cut })) = ended else {
            // Stopped by us, or by a panic that has been told: what was on the way is found anew.
            let files = std::mem::take(&mut *self.handle.on_the_way());
            self.handle.unwanted().clear();
            self.again.entry(now + RETRY_SOON).or_default().extend(files.into_keys());
            return;
        };
        for (path, file) in due {
            // One that was cancelled meanwhile is not.
            if !self.handle.unwanted().contains(&path) {
                self.due.insert(path, file);
            }
        }
        files.iter().for_each(|path| self.handle.end(path));
        for (path, after) in again {
            self.again.entry(now + after).or_default().push(path);
        }
        if let Some(Cut { reason, rest, is_busy }) = cut {
            self.rest = Some(Rest { until: now + rest, is_busy });
            self.handle.update(|status| status.trouble = Some(reason));
        }
    }

    async fn on_cancel(&mut self, order: CancelOrder) {
        let CancelOrder { paths, reply } = order;
        let Some(root) = self.root.clone() else {
            let _ = reply.send(Err(CancelError::Gone));
            return;
        };
        let (journal, config) = (Arc::clone(&self.journal), Arc::clone(&self.config));
        let cancelled = spawn_blocking(move || cancel(&root, &config.name, &journal, &paths)).await;
        let done = cancelled.unwrap_or(Err(CancelError::GoingDown)).map(|(done, paths)| {
            for path in paths {
                self.due.remove(&path);
                if !self.handle.unwant(&path) {
                    // It may be settling; at the next look it is known.
                    self.outbox.retry(std::time::Instant::now(), path);
                }
            }
            done
        });
        // Whoever asked may be gone.
        let _ = reply.send(done);
    }

    /// Says of which priority there is something to send.
    fn claim(&self, is_stopped: bool) {
        let can_send =
            !is_stopped && self.root.is_some() && self.rest.as_ref().is_none_or(|rest| rest.is_busy);
        let due = self.due.priority().filter(|_| can_send);
        self.place.claim(due.max(self.sending.values().max().copied()));
    }

    fn begin_transfers(&mut self, is_stopped: bool) {
        let Some(root) = self.root.clone() else { return };
        while !is_stopped
            && self.rest.is_none()
            && let Some(priority) = self.due.priority()
            && self.place.turns().is_turn_of(priority)
            && self.has_slot(priority)
        {
            let id = match TransferId::random() {
                Ok(id) => id,
                Err(error) => return warn!(%error, "no transfer begins"),
            };
            let files: BTreeMap<_, _> = self.due.take(BATCH_MAX).into_iter().collect();
            let sizes = files.iter().map(|(path, file)| (path.clone(), file.size));
            self.handle.on_the_way().extend(sizes);
            let transfer = Transfer {
                config: Arc::clone(&self.config),
                journal: Arc::clone(&self.journal),
                keys: self.keys.clone(),
                handle: Arc::clone(&self.handle),
                root: Arc::clone(&root),
                turns: self.place.turns().clone(),
                id,
                files,
                priority,
                course: Course::default(),
            };
            let task = self.transfers.spawn(Arc::new(transfer).run(self.streams.clone()));
            self.sending.insert(task.id(), priority);
        }
    }

    /// Whether one more transfer may begin. What goes before all that is under way need not wait for the end of a large file.
    fn has_slot(&self, priority: Priority) -> bool {
        let goes_before = self.sending.values().all(|sending| priority > *sending);
        self.transfers.len() < TRANSFERS_MAX + usize::from(goes_before)
    }

    /// Tells when files have waited for long: once, not each time they are tried.
    fn be_patient(&mut self, is_stopped: bool) {
        let OutgoingStatus { waiting_files, moved_bytes, delivered_files, trouble, .. } =
            self.handle.status();
        let files = waiting_files.max(self.again.values().map(|paths| paths.len() as u64).sum());
        let is_waiting = !is_stopped && files > 0;
        if !self.patience.look(Instant::now(), (moved_bytes, delivered_files), is_waiting) {
            return;
        }
        let (first, on_the_way) = (self.due.next(1).next().map(|(path, _)| path), self.handle.on_the_way());
        let again = self.again.values().flatten();
        let path = first.or(on_the_way.keys().next()).into_iter().chain(again).next();
        let reason = trouble.unwrap_or_else(|| "nothing moves".to_owned());
        warn!(outbox = self.config.name, files, reason, "files have waited for long");
        self.config.teller.tell(&Notice {
            event: Event::Waiting,
            direction: Way::Sent,
            path: path.map(ToString::to_string).unwrap_or_default(),
            file: None,
            size: None,
            blake3: None,
            reason: Some(reason),
            files: Some(files),
        });
    }

    fn show(&self) {
        let (files, bytes) = (self.due.len() as u64, self.due.bytes());
        let next = self.due.next(NEXT_SHOWN).map(|(path, file)| NextFile {
            name: path.to_string(),
            size: file.size,
            is_first: file.priority == PRIORITY_FIRST,
        });
        let next = next.collect();
        let is_idle = self.transfers.is_empty();
        self.handle.update(|status| {
            (status.waiting_files, status.waiting_bytes, status.next) = (files, bytes, next);
            if is_idle {
                status.current = None;
            }
        });
    }
}
