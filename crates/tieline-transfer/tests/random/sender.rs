//! The sending end: its outbox on a real disk, and the order in which the service goes through it, on a clock of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use tieline_transfer::audit::{Direction, Entry, Event};
use tieline_transfer::journal::abandoned::AbandonedFile;
use tieline_transfer::moment::Moment;
use tieline_transfer::outbox::after::{After, dispose};
use tieline_transfer::outbox::tries::{Next, Tries};
use tieline_transfer::outbox::{Found, Hint, Look, Outbox, Rules, Scan, Sight, Verdict};
use tieline_transfer::receipt::TransferId;
use tieline_transfer::{
    EntryReport, Fate, Fault, Journal, JournalError, Obstacle, Order, Plan, Progress, RelativePath, Stamp,
};

use crate::support::order_into;
use crate::{alone, open_journal};

pub(crate) const OUTBOX: &str = "out";
/// After how long something is tried again that was cut, and what the far end could not store.
const RETRY_SOON: Duration = Duration::from_secs(1);
const RETRY_LATER: Duration = Duration::from_secs(30);

pub(crate) struct Sender {
    pub(crate) folder: PathBuf,
    journal_path: PathBuf,
    journal: Option<Arc<Journal>>,
    root: Arc<File>,
    pub(crate) after: After,
    now: Instant,
    outbox: Outbox,
    due: BTreeMap<RelativePath, (u64, Stamp)>,
    again: BTreeMap<RelativePath, Instant>,
    transfers: u64,
    tries: Arc<Mutex<Tries>>,
}

impl Sender {
    pub(crate) fn new(dir: &Path, after: After) -> Self {
        let (folder, journal_path) = (dir.join(OUTBOX), dir.join("sent.journal"));
        fs::create_dir(&folder).unwrap();
        let (root, journal) = (Arc::new(File::open(&folder).unwrap()), Some(open_journal(&journal_path)));
        let now = Instant::now();
        let outbox = Outbox::new(Rules::default(), now);
        let (due, again) = (BTreeMap::new(), BTreeMap::new());
        let (transfers, tries) = (0, Arc::default());
        Self { folder, journal_path, journal, root, after, now, outbox, due, again, transfers, tries }
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        self.journal.as_ref().unwrap()
    }

    /// What is left when the process ends, taken up by a new one.
    pub(crate) fn restart(&mut self) {
        alone(self.journal.take().unwrap());
        self.journal = Some(open_journal(&self.journal_path));
        self.outbox = Outbox::new(self.outbox.rules().clone(), self.now);
        (self.due, self.again) = (BTreeMap::new(), BTreeMap::new());
        self.tries = Arc::default();
    }

    pub(crate) fn hint(&mut self, hint: Hint) {
        self.outbox.handle_hint(self.now, hint);
    }

    /// Lets time pass, looks at what there is to look at, and says how many files are due.
    pub(crate) fn wait(&mut self, time: Duration) -> usize {
        self.now += time;
        let now = self.now;
        let (outbox, now_due) = (&mut self.outbox, &mut self.again);
        now_due.retain(|path, at| {
            let is_later = *at > now;
            if !is_later {
                outbox.retry(now, path.clone());
            }
            is_later
        });
        while let Some(look) = self.outbox.poll_look(self.now) {
            self.look(look);
        }
        self.due.len()
    }

    /// Whether files wait until it is their time.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.again.is_empty()
    }

    fn look(&mut self, look: Look) {
        let is_everything = look == Look::Everything;
        let (root, rules) = (Arc::clone(&self.root), self.outbox.rules().clone());
        let mut scan = Scan::new(root.as_fd(), &rules, look);
        for sight in &mut scan {
            if let Sight::File(found) = sight {
                self.on_found(&found);
            }
        }
        if is_everything {
            self.outbox.end_scan(self.now, scan.is_complete());
            if scan.is_complete() && self.after != After::Keep {
                self.journal().forget_delivered(OUTBOX).unwrap();
            }
        }
    }

    fn on_found(&mut self, found: &Found) {
        let journal = Arc::clone(self.journal());
        let is_delivered = |path: &RelativePath, stamp: &Stamp| {
            Ok::<_, JournalError>(journal.delivered(OUTBOX, path)?.is_some_and(|file| file.stamp == *stamp))
        };
        let is_known = |path: &RelativePath, stamp: &Stamp| {
            let given_up = journal.abandoned(OUTBOX, path)?;
            Ok::<_, JournalError>(
                given_up.is_some_and(|file| file.stamp == *stamp) || is_delivered(path, stamp)?,
            )
        };
        match self.outbox.handle_file(self.now, found, is_known).unwrap() {
            Verdict::Due => drop(self.due.insert(found.path.clone(), (found.size, found.stamp))),
            Verdict::Known if is_delivered(&found.path, &found.stamp).unwrap() => {
                tidy(&self.root, &found.path, &found.stamp, self.after);
            }
            Verdict::Known | Verdict::Settling | Verdict::Restless { .. } => {}
            Verdict::NoRoom => panic!("there is room"),
        }
    }

    /// A transfer of what is due.
    pub(crate) fn begin(&mut self) -> (Order, Arc<Transfer>) {
        let files: Vec<_> = std::mem::take(&mut self.due).into_iter().collect();
        let stamps = files.iter().map(|(path, (_, stamp))| (path.clone(), *stamp)).collect();
        let paths = files.iter().map(|(path, _)| path.clone()).collect();
        let files = files.into_iter().map(|(path, (size, _))| (path, size)).collect();
        self.transfers += 1;
        let mut order = order_into(Plan::of_files(self.folder.clone(), files), Arc::clone(self.journal()));
        order.outbox = OUTBOX.into();
        order.transfer = TransferId(u128::from(self.transfers).to_be_bytes());
        let (root, journal) = (Arc::clone(&self.root), Arc::clone(self.journal()));
        let transfer = Transfer {
            id: order.transfer,
            paths,
            root,
            journal,
            after: self.after,
            now: self.now,
            tries: Arc::clone(&self.tries),
            stamps,
            settled: Mutex::default(),
        };
        (order, Arc::new(transfer))
    }

    /// Has what the transfer did not settle tried again.
    pub(crate) fn end(&mut self, transfer: &Transfer) {
        let settled = std::mem::take(&mut *transfer.settled.lock().unwrap());
        for path in &transfer.paths {
            let again = settled.get(path).copied().unwrap_or(Some(RETRY_SOON));
            self.again.extend(again.map(|after| (path.clone(), self.now + after)));
        }
    }
}

/// One transfer, and after how long each file that it settled is to be tried again.
pub(crate) struct Transfer {
    pub(crate) id: TransferId,
    pub(crate) paths: Vec<RelativePath>,
    root: Arc<File>,
    journal: Arc<Journal>,
    after: After,
    now: Instant,
    tries: Arc<Mutex<Tries>>,
    stamps: BTreeMap<RelativePath, Stamp>,
    settled: Mutex<BTreeMap<RelativePath, Option<Duration>>>,
}

impl Progress for Transfer {
    fn settled(&self, report: &EntryReport) {
        let path = RelativePath::parse(&report.name).unwrap();
        let again = match report.fate {
            Fate::Delivered { .. } | Fate::AlreadyThere { .. } => {
                if let Some(file) = self.journal.delivered(OUTBOX, &path).unwrap() {
                    tidy(&self.root, &path, &file.stamp, self.after);
                }
                None
            }
            Fate::Refused(Obstacle::NoSpace { .. }) => Some(RETRY_LATER),
            // Nobody there moves it away. So it is given up in the end, until the file is another one.
            Fate::Failed(Fault::Receiver(Obstacle::InTheWay)) => self.in_vain(&path, report),
            Fate::Refused(_) | Fate::Skipped(_) | Fate::Unchanged => None,
            Fate::Failed(Fault::Source(_)) => Some(RETRY_SOON),
            Fate::Failed(_) => Some(RETRY_LATER),
            Fate::Unconfirmed | Fate::NotSent => Some(RETRY_SOON),
        };
        self.settled.lock().unwrap().insert(path, again);
    }
}

impl Transfer {
    /// A try was in vain: there is another one, or an end of it.
    fn in_vain(&self, path: &RelativePath, report: &EntryReport) -> Option<Duration> {
        let stamp = self.stamps[path];
        match self.tries.lock().unwrap().in_vain(path, stamp, RETRY_LATER, self.now) {
            Next::Again(after) => Some(after),
            Next::GiveUp { .. } => {
                let (now, reason) = (Moment::from(SystemTime::now()), report.fate.reason());
                let number = self.paths.iter().position(|one| one == path).unwrap() as u64;
                let entry = Entry::of_report(report, now, Direction::Sent, self.id, number, None).unwrap();
                let entry = Entry { event: Event::GivenUp, ..entry };
                let file = AbandonedFile { stamp, reason };
                self.journal.abandon(OUTBOX, [(path, file, entry)]).unwrap();
                None
            }
        }
    }
}

fn tidy(root: &File, path: &RelativePath, stamp: &Stamp, after: After) {
    match dispose(root.as_fd(), path, stamp, after) {
        // A file that was sent stands where a folder of what was sent is needed.
        Ok(()) | Err(Errno::NOTDIR) => {}
        Err(errno) => panic!("`{path}` stays in the outbox: {errno}"),
    }
}
