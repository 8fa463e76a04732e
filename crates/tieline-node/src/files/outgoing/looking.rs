//! What is found in an outbox, and what is made of it.

use std::os::fd::AsFd;

use tieline_transfer::journal::abandoned::AbandonedFile;
use tieline_transfer::outbox::after::{After, dispose, is_there};
use tieline_transfer::outbox::{Found, Hint, Look, Scan, Sight, Verdict};
use tieline_transfer::spool::Mark;
use tieline_transfer::{JournalError, RelativePath, Stamp};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use super::cancel::remove_copy;
use super::queue::{PRIORITY_FIRST, Waiting};
use super::transfer::{GIVEN_UP, RETRY_SOON, show_refused};
use super::{BATCH_MAX, Outgoing};

/// Files that are due and not in a transfer yet; then nobody looks for more, but for what goes first.
const DUE_MAX: usize = 2 * BATCH_MAX;
/// The same with what goes first.
const DUE_WITH_FIRST_MAX: usize = 2 * DUE_MAX;
/// Sights on their way from a scan.
const SIGHTS_MAX: usize = 256;

impl Outgoing {
    /// When there is something to look at.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let is_full = self.due.len() >= DUE_MAX;
        let look = if is_full { self.outbox.next_path() } else { self.outbox.next_look() };
        look.filter(|_| self.root.is_some()).map(Instant::from_std)
    }

    /// Looks at whatever wants to be looked at, as long as there is room for what is found.
    pub(super) async fn look(&mut self) {
        while let Some(root) = self.root.clone()
            && let Some(look) = self.poll_look()
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
            let mut is_whole = true;
            while let Some(sight) = found.recv().await {
                match sight {
                    Sight::File(file) => is_whole = self.on_found(&file),
                    Sight::Trouble(trouble) => info!(outbox = self.config.name, "{trouble}"),
                }
                if !is_whole {
                    break;
                }
            }
            // A scan that is not listened to any more ends.
            drop(found);
            let is_complete = scan.await.unwrap_or(false) && is_whole;
            if is_everything {
                self.outbox.end_scan(std::time::Instant::now(), is_complete);
                if is_complete {
                    self.forget().await;
                }
            }
            if !is_whole {
                self.outbox.handle_hint(std::time::Instant::now(), Hint::Everything);
            }
        }
    }

    fn poll_look(&mut self) -> Option<Look> {
        let now = std::time::Instant::now();
        if self.due.len() < DUE_MAX { self.outbox.poll_look(now) } else { self.outbox.poll_path(now) }
    }

    /// After a look at everything: what was delivered is gone from here, so nothing of it need be known. Lost with a file that was not
    /// tidied away yet, it costs an offer. What was given up is known for as long as it is there.
    async fn forget(&self) {
        let is_idle = self.config.after != After::Keep && self.handle.on_the_way().is_empty();
        let forgotten = if is_idle { self.journal.forget_delivered(&self.config.name) } else { Ok(()) };
        if let Err(error) = forgotten {
            warn!(%error, "the journal keeps what was delivered");
        }
        let Some(root) = self.root.clone() else { return };
        let (journal, config) = (self.journal.clone(), self.config.clone());
        let forget = move || journal.forget_abandoned(&config.name, |path| is_there(root.as_fd(), path));
        if let Ok(Err(error)) = spawn_blocking(forget).await {
            warn!(%error, "the journal keeps what was given up");
        }
    }

    /// Takes a file that was found; false if there is no room for it.
    fn on_found(&mut self, file: &Found) -> bool {
        let (journal, name) = (&self.journal, &self.config.name);
        let is_delivered = |path: &RelativePath, stamp: &Stamp| {
            Ok::<_, JournalError>(journal.delivered(name, path)?.is_some_and(|file| file.stamp == *stamp))
        };
        let mut abandoned = None;
        let is_known = |path: &RelativePath, stamp: &Stamp| {
            abandoned = journal.abandoned(name, path)?.filter(|file| file.stamp == *stamp);
            Ok::<_, JournalError>(abandoned.is_some() || is_delivered(path, stamp)?)
        };
        let verdict = self.outbox.handle_file(std::time::Instant::now(), file, is_known);
        match (verdict, abandoned) {
            (Ok(Verdict::Due), _) => return self.on_due(file),
            (Ok(Verdict::Known), Some(abandoned)) => self.on_abandoned(file, abandoned),
            (Ok(Verdict::Known), None) => {
                if self.config.after != After::Keep && is_delivered(&file.path, &file.stamp).unwrap_or(false)
                {
                    self.tidy(file);
                }
            }
            (Ok(Verdict::Settling), _) => {}
            (Ok(Verdict::Restless { since }), _) => {
                warn!(path = %file.path, hours = since.as_secs() / 3600, "a file of the outbox goes on changing and is not sent");
            }
            (Ok(Verdict::NoRoom), _) => {
                warn!(path = %file.path, "the outbox has more files than can be kept track of");
            }
            (Err(error), _) => warn!(%error, "a file of the outbox waits"),
        }
        true
    }

    fn on_due(&mut self, file: &Found) -> bool {
        let (stamp, size) = (file.stamp, file.size);
        let priority = if self.is_first(&file.path) { PRIORITY_FIRST } else { self.config.priority };
        let room = if priority == PRIORITY_FIRST { DUE_WITH_FIRST_MAX } else { DUE_MAX };
        let has_room = self.due.len() < room;
        if has_room && !self.handle.on_the_way().contains_key(&file.path) {
            self.due.insert(file.path.clone(), Waiting { stamp, size, priority });
        } else {
            // There is no room, or its former version is on the way; this one follows.
            self.again.entry(Instant::now() + RETRY_SOON).or_default().push(file.path.clone());
        }
        has_room
    }

    /// Whether somebody wants it to go first. Only the line's own outbox holds what was sent by a command.
    fn is_first(&self, path: &RelativePath) -> bool {
        let root = self.root.as_ref().filter(|_| self.config.name.is_empty());
        root.and_then(|root| Mark::of(root.as_fd(), path)).is_some_and(|mark| mark.is_first)
    }

    /// Learns of a file that was given up before this process began.
    fn on_abandoned(&self, file: &Found, abandoned: AbandonedFile) {
        match (abandoned.reason, &self.root) {
            (Some(reason), _) if reason.starts_with(GIVEN_UP) => {
                show_refused(&self.handle, format!("{}: {reason}", file.path));
            }
            (Some(reason), _) => show_refused(&self.handle, format!("{}: refused: {reason}", file.path)),
            (None, Some(root)) => {
                remove_copy(root, &file.path, &file.stamp);
            }
            (None, None) => {}
        }
    }

    /// Does what a process did not come to that ended between the receipt and this.
    fn tidy(&self, file: &Found) {
        let Some(root) = &self.root else { return };
        if let Err(error) = dispose(root.as_fd(), &file.path, &file.stamp, self.config.after) {
            warn!(path = %file.path, %error, "a delivered file stays in the outbox");
        }
    }
}
