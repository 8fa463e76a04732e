//! An inbox as it is seen from elsewhere: what has arrived, what is in the way, and what is expected and has not come.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tieline_transfer::{
    EntryKind, EntryReport, Escaped, Fate, Fault, Inbox, Journal, Obstacle, Progress, ReceiveError,
    RelativePath, StopReason,
};
use tracing::{info, warn};

use super::expected::{Expectations, Late};
use super::notices::{Event, Notice, Teller, Way};
use crate::config::files::Expected;

/// How long a full disk is told of: the far end tries it again every half minute, unless it wants nothing more.
const FULL_FOR: Duration = Duration::from_mins(2);

/// What is going on in an inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IncomingStatus {
    /// The name of the pair; the line's own inbox has none.
    pub name: String,
    /// The inbox.
    pub folder: PathBuf,
    /// Files that arrived since the start.
    pub received_files: u64,
    /// Their octets.
    pub received_bytes: u64,
    /// The file that is coming in.
    pub current: Option<String>,
    /// Why files cannot be taken, in a sentence.
    pub trouble: Option<String>,
    /// Files that have not come in time.
    pub late: Vec<Late>,
}

/// An inbox at work.
#[derive(Debug)]
pub struct Incoming {
    inbox: Arc<Inbox>,
    journal: Arc<Journal>,
    teller: Teller,
    status: Mutex<IncomingStatus>,
    expectations: Mutex<Expectations>,
    full: Mutex<Option<Full>>,
}

/// A full disk, as it was last met.
#[derive(Clone, Debug)]
struct Full {
    at: Instant,
    words: String,
}

impl Incoming {
    /// The inbox of the pair `name`, into which files are expected, and who is told of them.
    #[must_use]
    pub fn new(
        name: &str,
        inbox: Arc<Inbox>,
        journal: Arc<Journal>,
        expected: &[Expected],
        teller: Teller,
    ) -> Arc<Self> {
        let expectations = Expectations::load(name, expected, &journal, SystemTime::now());
        let (name, folder) = (name.to_owned(), inbox.path().to_owned());
        let status = Mutex::new(IncomingStatus { name, folder, ..IncomingStatus::default() });
        let (expectations, full) = (Mutex::new(expectations), Mutex::default());
        Arc::new(Self { inbox, journal, teller, status, expectations, full })
    }

    /// The folder and what is known of it.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// What is going on.
    #[must_use]
    pub fn status(&self) -> IncomingStatus {
        let late = self.expectations().late();
        let trouble = self.full().clone().filter(|full| full.at.elapsed() < FULL_FOR).map(|full| full.words);
        IncomingStatus { late, trouble, ..self.with(|status| status.clone()) }
    }

    /// Whether anything is expected.
    #[must_use]
    pub fn expects(&self) -> bool {
        !self.expectations().is_empty()
    }

    /// Watches a transfer into `folder` of this inbox.
    #[must_use]
    pub fn receiving(self: &Arc<Self>, folder: Option<&str>) -> Arc<dyn Progress> {
        Arc::new(Receiving { incoming: Arc::clone(self), folder: folder.map(ToOwned::to_owned) })
    }

    /// A transfer did not begin.
    pub fn on_refused(&self, error: &ReceiveError) {
        if let ReceiveError::Refused(StopReason::NoSpace { missing_bytes }) = error {
            self.is_full(*missing_bytes);
        }
    }

    /// Tells of what was expected by now and has not come.
    pub fn check_expected(&self) {
        let now = SystemTime::now();
        let missing = self.expectations().check(now, &self.journal);
        for late in missing {
            let reason = late.to_string();
            warn!(inbox = self.with(|status| status.name.clone()), "{reason}");
            self.teller.tell(&Notice {
                event: Event::Expected,
                direction: Way::Received,
                path: late.name,
                file: None,
                size: None,
                blake3: None,
                reason: Some(reason),
                files: None,
            });
        }
    }

    fn is_full(&self, missing_bytes: u64) {
        let trouble = match missing_bytes {
            0 => "its disk is full; files go on when there is room".to_owned(),
            missing => {
                format!("its disk is full: {missing} octets are missing; files go on when there is room")
            }
        };
        let full = Full { at: Instant::now(), words: trouble.clone() };
        let before = self.full().replace(full);
        if before.is_none_or(|before| before.at.elapsed() >= FULL_FOR) {
            warn!(inbox = %self.inbox.path().display(), "{trouble}");
        }
    }

    fn on_arrived(&self, report: &EntryReport, folder: Option<&str>) {
        let is_new = matches!(report.fate, Fate::Delivered { .. });
        *self.full() = None;
        if is_new {
            self.with(|status| {
                status.received_files += 1;
                status.received_bytes += report.size;
            });
        }
        let name = report.name.rsplit(|octet| *octet == b'/').next().unwrap_or_default();
        for pattern in self.expectations().on_arrived(name, SystemTime::now(), &self.journal) {
            info!(inbox = self.with(|status| status.name.clone()), pattern, "what was late has come");
        }
        let Some(name) = report.final_name().filter(|_| is_new) else { return };
        let below = folder.map_or_else(|| name.clone(), |folder| [folder.as_bytes(), b"/", &name].concat());
        let file = [self.inbox.path().as_os_str().as_bytes(), b"/", &below].concat();
        self.teller.tell(&Notice {
            event: Event::Delivered,
            direction: Way::Received,
            path: Escaped(&below).to_string(),
            file: Some(file),
            size: Some(report.size),
            blake3: None,
            reason: None,
            files: None,
        });
    }

    fn full(&self) -> MutexGuard<'_, Option<Full>> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expectations(&self) -> MutexGuard<'_, Expectations> {
        self.expectations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut IncomingStatus) -> T) -> T {
        act(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One transfer into an inbox, as it is watched.
struct Receiving {
    incoming: Arc<Incoming>,
    folder: Option<String>,
}

impl Progress for Receiving {
    fn file(&self, name: &RelativePath, _size: u64) {
        self.incoming.with(|status| status.current = Some(name.to_string()));
    }

    fn settled(&self, report: &EntryReport) {
        if report.kind != EntryKind::File {
            return;
        }
        match report.fate {
            Fate::Delivered { .. } | Fate::AlreadyThere { .. } => {
                self.incoming.on_arrived(report, self.folder.as_deref());
            }
            Fate::Refused(Obstacle::NoSpace { missing_bytes })
            | Fate::Failed(Fault::Receiver(Obstacle::NoSpace { missing_bytes })) => {
                self.incoming.is_full(missing_bytes);
            }
            _ => {}
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.incoming.with(|status| status.current = None);
    }
}
