//! One transfer of files of an outbox: what becomes of each of them, and when it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use data_encoding::HEXLOWER;
use tieline_transfer::audit::{Direction, Entry, Event};
use tieline_transfer::journal::abandoned::AbandonedFile;
use tieline_transfer::moment::Moment;
use tieline_transfer::outbox::after::{After, dispose};
use tieline_transfer::outbox::tries::Next;
use tieline_transfer::receipt::{LineKeys, TransferId};
use tieline_transfer::{
    EntryReport, Fate, Fault, Journal, Obstacle, Order, Plan, Progress, RelativePath, SendError, SourceFault,
    StopReason, Turn, Work, send,
};
use tracing::{info, warn};

use super::OutgoingConfig;
use super::handle::Handle;
use super::queue::{Priority, Waiting};
use crate::files::notices::{self, Notice, Way};
use crate::files::turns::Turns;
use crate::streams::Streams;

/// After how long something is tried again that was cut, or that changed meanwhile.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(1);
/// After how long something is tried again that the far end could not store, such as on a full disk.
const RETRY_LATER: Duration = Duration::from_secs(30);
/// How the reason begins why a file is not tried any more that the far end did not refuse.
pub(super) const GIVEN_UP: &str = "given up";
/// Files of which it is remembered that they were told to have failed; more of them are told again.
const FAILED_TOLD_MAX: usize = 1024;
/// Refused files that are remembered by name.
const REFUSED_SHOWN: usize = 16;

/// What is left of a transfer.
pub(super) struct Ended {
    /// All of its files.
    pub(super) files: Vec<RelativePath>,
    /// Files to be looked at again, and after how long.
    pub(super) again: Vec<(RelativePath, Duration)>,
    /// Files that others went before: they are due still.
    pub(super) due: Vec<(RelativePath, Waiting)>,
    /// Why it did not begin, or was cut.
    pub(super) cut: Option<Cut>,
}

/// Why a transfer did not begin, or was cut.
pub(super) struct Cut {
    pub(super) reason: String,
    /// After how long another one may begin.
    pub(super) rest: Duration,
    /// The far end has as many transfers as it takes; when one of them ends it takes ours.
    pub(super) is_busy: bool,
}

/// One transfer of files that are due.
pub(super) struct Transfer {
    pub(super) config: Arc<OutgoingConfig>,
    pub(super) journal: Arc<Journal>,
    pub(super) keys: LineKeys,
    pub(super) handle: Arc<Handle>,
    pub(super) root: Arc<OwnedFd>,
    pub(super) turns: Turns,
    pub(super) id: TransferId,
    /// What is sent, all of one priority.
    pub(super) files: BTreeMap<RelativePath, Waiting>,
    pub(super) priority: Priority,
    pub(super) course: Course,
}

/// How far a transfer came.
#[derive(Default)]
pub(super) struct Course {
    settled: Mutex<BTreeSet<Box<[u8]>>>,
    /// The file whose data is being sent.
    current: Mutex<Option<RelativePath>>,
    again: Mutex<Vec<(RelativePath, Duration)>>,
}

impl Transfer {
    pub(super) async fn run(self: Arc<Self>, streams: Streams) -> Ended {
        let cut = self.clone().send(&streams).await.err();
        let settled = std::mem::take(&mut *lock(&self.course.settled));
        let mut again = std::mem::take(&mut *lock(&self.course.again));
        let left = self.files.iter().filter(|(path, _)| !settled.contains(path.as_bytes()));
        let left = left.map(|(path, file)| (path.clone(), *file));
        let due = if cut.is_some() {
            again.extend(left.map(|(path, _)| (path, RETRY_SOON)));
            Vec::new()
        } else {
            left.collect()
        };
        Ended { files: self.files.keys().cloned().collect(), again, due, cut }
    }

    async fn send(self: Arc<Self>, streams: &Streams) -> Result<(), Cut> {
        let folder = (!self.config.name.is_empty()).then(|| self.config.name.clone());
        let not_opened = |reason: String| Cut { reason, rest: RETRY_SOON, is_busy: false };
        let stream = streams.open_files(folder).await.map_err(|error| not_opened(error.to_string()))?;
        let files = self.files.iter().map(|(path, file)| (path.clone(), file.size)).collect();
        let plan = Plan::of_files(self.config.folder.clone(), files).with_carry(self.config.carry);
        let order = Order {
            plan,
            journal: Arc::clone(&self.journal),
            outbox: self.config.name.clone(),
            transfer: self.id,
            keys: self.keys.clone(),
        };
        match send(stream, order, self.clone()).await.map(|outcome| outcome.interruption) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => {
                let is_busy = matches!(error, SendError::Refused(StopReason::Busy { .. }));
                let is_full = matches!(error, SendError::Refused(StopReason::NoSpace { .. }));
                let rest = if is_full { RETRY_LATER } else { RETRY_SOON };
                Err(Cut { reason: error.to_string(), rest, is_busy })
            }
        }
    }

    fn on_delivered(&self, path: &RelativePath, size: u64) {
        self.handle.update(|status| {
            status.delivered_files += 1;
            status.delivered_bytes += size;
            status.trouble = None;
        });
        self.handle.failed_told().remove(path);
        self.handle.tries().forget(path);
        let teller = &self.config.teller;
        if self.config.after == After::Keep && !teller.wants(notices::Event::Delivered) {
            return;
        }
        let delivered = self.journal.delivered(&self.config.name, path).map_err(|error| error.to_string());
        let hash = delivered.as_ref().ok().copied().flatten().map(|file| HEXLOWER.encode(&file.hash));
        let done = delivered.and_then(|file| match file {
            Some(file) => dispose(self.root.as_fd(), path, &file.stamp, self.config.after)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        });
        if let Err(error) = done {
            warn!(%path, error, "a delivered file stays in the outbox");
        }
        teller.tell(&Notice { blake3: hash, ..self.notice(notices::Event::Delivered, path, size) });
    }

    fn notice(&self, event: notices::Event, path: &RelativePath, size: u64) -> Notice {
        let folder = self.config.folder.as_os_str().as_bytes();
        Notice {
            event,
            direction: Way::Sent,
            path: path.to_string(),
            file: Some([folder, b"/", path.as_bytes()].concat()),
            size: Some(size),
            blake3: None,
            reason: None,
            files: None,
        }
    }

    /// Tells that a file cannot be delivered, once for each version of it.
    fn tell_failed_once(&self, path: &RelativePath, report: &EntryReport) {
        let stamp = self.files.get(path).map(|file| file.stamp);
        let mut told = self.handle.failed_told();
        if told.get(path).copied() == stamp {
            return;
        }
        if let Some(stamp) = stamp {
            told.insert(path.clone(), stamp);
        }
        if told.len() > FAILED_TOLD_MAX {
            told.pop_first();
        }
        drop(told);
        self.tell_failed(path, report.size, report.fate.reason());
    }

    fn tell_failed(&self, path: &RelativePath, size: u64, reason: Option<String>) {
        let notice = self.notice(notices::Event::Failed, path, size);
        self.config.teller.tell(&Notice { reason, ..notice });
    }

    fn on_undelivered(&self, path: RelativePath, report: &EntryReport, now: Instant) {
        info!(outbox = self.config.name, "{report}");
        let after = match report.fate {
            Fate::Refused(Obstacle::NoSpace { .. })
            | Fate::Failed(Fault::Receiver(Obstacle::NoSpace { .. })) => RETRY_LATER,
            Fate::Refused(_) | Fate::Skipped(_) => {
                show_refused(&self.handle, report.to_string());
                self.tell_failed_once(&path, report);
                return self.give_up(&path, report, report.fate.reason());
            }
            // Noted and logged by whoever cancelled it.
            Fate::Failed(Fault::Source(SourceFault::Cancelled)) => return,
            Fate::Failed(Fault::Source(SourceFault::Changed)) => RETRY_SOON,
            Fate::Failed(fault) => match self.on_failed(&path, report, fault, now) {
                Some(after) => after,
                None => return,
            },
            Fate::Unconfirmed
            | Fate::NotSent
            | Fate::Delivered { .. }
            | Fate::AlreadyThere { .. }
            | Fate::Unchanged => RETRY_SOON,
        };
        self.handle.update(|status| status.trouble = Some(report.to_string()));
        lock(&self.course.again).push((path, after));
    }

    /// A try was in vain: returns after how long there is another one, if there is.
    fn on_failed(
        &self,
        path: &RelativePath,
        report: &EntryReport,
        fault: Fault,
        now: Instant,
    ) -> Option<Duration> {
        let pause = match fault {
            // Something changed at the same moment: nobody need hear of it unless it goes on.
            Fault::Receiver(Obstacle::HashMismatch | Obstacle::TooShort | Obstacle::OldVersion) => RETRY_SOON,
            Fault::Source(_) => {
                self.tell_failed_once(path, report);
                RETRY_SOON
            }
            Fault::Receiver(_) | Fault::Abandoned(_) | Fault::Verdict(_) => {
                self.tell_failed_once(path, report);
                RETRY_LATER
            }
        };
        let Some(Waiting { stamp, .. }) = self.files.get(path) else { return Some(pause) };
        match self.handle.tries().in_vain(path, *stamp, pause, now) {
            Next::Again(after) => Some(after),
            Next::GiveUp { tries } => {
                let reason = report.fate.reason().unwrap_or_default();
                let reason = format!("{GIVEN_UP} after {tries} tries: {reason}");
                warn!(outbox = self.config.name, %path, reason, "a file is not tried any more until it changes");
                show_refused(&self.handle, format!("{path}: {reason}"));
                self.tell_failed(path, report.size, Some(reason.clone()));
                self.give_up(path, report, Some(reason));
                None
            }
        }
    }

    /// The file is not tried any more, until it changes; both that and why is remembered and logged.
    fn give_up(&self, path: &RelativePath, report: &EntryReport, reason: Option<String>) {
        let Some(Waiting { stamp, .. }) = self.files.get(path) else { return };
        let number = self.files.range(..path.clone()).count() as u64;
        let now = Moment::from(SystemTime::now());
        let refused = Entry::of_report(report, now, Direction::Sent, self.id, number, None);
        let Some(entry) = refused.map(|entry| Entry { event: Event::GivenUp, ..entry }) else { return };
        let file = AbandonedFile { stamp: *stamp, reason };
        if let Err(error) = self.journal.abandon(&self.config.name, [(path, file, entry)]) {
            warn!(%path, %error, "a file that was given up will be offered again after a restart");
        }
    }
}

/// Adds a file to those that the far end refuses.
pub(super) fn show_refused(handle: &Handle, refused: String) {
    handle.update(|status| {
        status.refused.push(refused);
        let extra = status.refused.len().saturating_sub(REFUSED_SHOWN);
        status.refused.drain(..extra);
    });
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress for Transfer {
    fn turn(&self, name: &RelativePath) -> Turn {
        if self.handle.unwanted().contains(name) {
            Turn::Never
        } else if self.turns.is_turn_of(self.priority) {
            Turn::Now
        } else {
            Turn::Later
        }
    }

    fn file(&self, name: &RelativePath, _size: u64) {
        *lock(&self.course.current) = Some(name.clone());
        self.handle.update(|status| status.current = Some(name.to_string()));
    }

    fn held(&self, bytes: u64) {
        let current = lock(&self.course.current);
        let mut on_the_way = self.handle.on_the_way();
        if let Some(left) = current.as_ref().and_then(|path| on_the_way.get_mut(path)) {
            *left = left.saturating_sub(bytes);
        }
    }

    fn spent(&self, on: Work, time: Duration) {
        self.handle.effort.spent(Instant::now(), on, time);
    }

    fn moved(&self, bytes: u64) {
        self.handle.moved.fetch_add(bytes, Ordering::Relaxed);
        self.held(bytes);
    }

    fn settled(&self, report: &EntryReport) {
        lock(&self.course.settled).insert(report.name.clone());
        let Ok(path) = RelativePath::parse(&report.name) else { return };
        self.handle.end(&path);
        if report.fate.is_delivered() {
            self.on_delivered(&path, report.size);
        } else {
            self.on_undelivered(path, report, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use tieline_transfer::audit::Link;
    use tieline_transfer::outbox::Rules;
    use tieline_transfer::receipt::SigningKey;
    use tieline_transfer::{EntryKind, NameFault, Stamp};
    use tokio::sync::mpsc;

    use super::super::queue::PRIORITY_DEFAULT;
    use super::*;
    use crate::files::notices::Teller;
    use crate::files::turns::Place;

    const STAMP: Stamp = Stamp::from_bytes([7; 16]);

    fn path(name: &str) -> RelativePath {
        RelativePath::parse(name.as_bytes()).unwrap()
    }

    /// A transfer of two files, of which nothing is sent, and the place of its outbox.
    fn transfer() -> (Transfer, Place) {
        let folder = tempfile::tempdir().unwrap();
        let config = OutgoingConfig {
            name: "pair".into(),
            folder: folder.path().into(),
            rules: Rules::default(),
            rescan: Duration::from_mins(1),
            after: After::Keep,
            priority: PRIORITY_DEFAULT,
            carry: tieline_transfer::metadata::Carry::default(),
            teller: Teller::default(),
        };
        let place = Turns::places(1).next().unwrap();
        let waiting = Waiting { stamp: STAMP, size: 10, priority: PRIORITY_DEFAULT };
        let handle = Handle::new(&config, mpsc::channel(1).0);
        let files = BTreeMap::from(["a", "b"].map(|name| (path(name), waiting)));
        handle.on_the_way().extend(files.iter().map(|(path, file)| (path.clone(), file.size)));
        let transfer = Transfer {
            config: Arc::new(config),
            journal: Arc::new(Journal::in_memory().unwrap()),
            keys: LineKeys::new(SigningKey::from_line_secret(&[1; 32])),
            handle,
            root: Arc::new(std::fs::File::open(folder.path()).unwrap().into()),
            turns: place.turns().clone(),
            id: TransferId([3; 16]),
            files,
            priority: PRIORITY_DEFAULT,
            course: Course::default(),
        };
        (transfer, place)
    }

    fn report(name: &str, fate: Fate) -> EntryReport {
        EntryReport { name: name.as_bytes().into(), kind: EntryKind::File, size: 10, fate }
    }

    fn log(journal: &Journal) -> Vec<Link> {
        journal.kept_links(0).unwrap().iter().map(|kept| kept.link().unwrap()).collect()
    }

    #[test]
    fn a_file_that_the_far_end_refuses_is_given_up_and_logged_once() {
        let (transfer, _place) = transfer();
        let refused = report("b", Fate::Refused(NameFault::Dots.into()));
        for _ in 0..2 {
            transfer.settled(&refused);
        }
        let given_up = transfer.journal.abandoned("pair", &path("b")).unwrap().unwrap();
        assert_eq!((given_up.stamp, given_up.reason), (STAMP, refused.fate.reason()));
        let [link] = &log(&transfer.journal)[..] else { panic!("logged once") };
        assert_eq!((link.entry.event, link.entry.entry), (Event::GivenUp, 1));
        assert_eq!((link.entry.transfer, &*link.entry.path), (transfer.id, &b"b"[..]));
        assert!(transfer.handle.status().refused[0].contains("b: refused"));
        assert!(lock(&transfer.course.again).is_empty(), "it is not tried again");
    }

    #[test]
    fn what_may_come_right_by_itself_is_tried_for_ever() {
        let (transfer, _place) = transfer();
        let full = Obstacle::NoSpace { missing_bytes: 1 };
        for (fate, after) in [
            (Fate::Refused(full), RETRY_LATER),
            (Fate::Failed(Fault::Receiver(full)), RETRY_LATER),
            (Fate::Failed(Fault::Source(SourceFault::Changed)), RETRY_SOON),
            (Fate::Unconfirmed, RETRY_SOON),
            (Fate::NotSent, RETRY_SOON),
        ] {
            for hour in 0..100 {
                let now = Instant::now() + Duration::from_hours(hour);
                transfer.on_undelivered(path("a"), &report("a", fate), now);
                assert_eq!(lock(&transfer.course.again).pop(), Some((path("a"), after)), "{fate:?}");
            }
        }
        assert_eq!(transfer.journal.abandoned("pair", &path("a")).unwrap(), None);
    }

    #[test]
    fn what_somebody_has_to_see_to_is_given_up_in_the_end_and_logged_once() {
        for fate in [
            Fate::Failed(Fault::Receiver(Obstacle::InTheWay)),
            Fate::Failed(Fault::Receiver(Obstacle::Denied)),
            Fate::Failed(Fault::Receiver(Obstacle::HashMismatch)),
            Fate::Failed(Fault::Receiver(Obstacle::Io { errno: 5 })),
            Fate::Failed(Fault::Source(SourceFault::Unreadable { errno: 13 })),
        ] {
            let (transfer, _place) = transfer();
            let (mut now, mut tries) = (Instant::now(), 0);
            loop {
                transfer.on_undelivered(path("b"), &report("b", fate), now);
                tries += 1;
                match lock(&transfer.course.again).pop() {
                    Some((_, after)) => now += after,
                    None => break,
                }
            }
            assert!((5..20).contains(&tries), "{fate:?}: {tries}");
            let given_up = transfer.journal.abandoned("pair", &path("b")).unwrap().unwrap();
            let reason = given_up.reason.unwrap();
            assert!(reason.starts_with("given up after"), "{reason}");
            assert!(reason.ends_with(&fate.reason().unwrap()), "{reason}");
            assert!(transfer.handle.status().refused[0].starts_with("b: given up after"));
            let [link] = &log(&transfer.journal)[..] else { panic!("logged once") };
            assert_eq!((link.entry.event, link.entry.entry), (Event::GivenUp, 1));
        }
    }

    #[test]
    fn a_file_has_its_turn_unless_it_is_unwanted_or_another_goes_before() {
        let (transfer, place) = transfer();
        assert_eq!(transfer.turn(&path("a")), Turn::Now);
        place.claim(Some(PRIORITY_DEFAULT + 1));
        assert_eq!(transfer.turn(&path("a")), Turn::Later);
        place.claim(None);
        assert!(transfer.handle.unwant(&path("a")) && !transfer.handle.unwant(&path("c")));
        assert_eq!(
            ["a", "b", "c"].map(|name| transfer.turn(&path(name))),
            [Turn::Never, Turn::Now, Turn::Now]
        );
        transfer.settled(&report("a", Fate::Failed(Fault::Source(SourceFault::Cancelled))));
        assert_eq!(transfer.turn(&path("a")), Turn::Now, "another version of it may come");
        assert!(lock(&transfer.course.again).is_empty());
    }
}
