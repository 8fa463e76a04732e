//! The receiving end: an inbox on a simulated disk, and everything it ever said to be there.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tieline_transfer::{Inbox, Journal};

use crate::sim::{Careless, SimDisk, is_power_cut};
use crate::support::{Watcher, receiver_keys};
use crate::{alone, open_journal};

pub(crate) const INBOX: &str = "in";

pub(crate) struct Receiver {
    pub(crate) disk: SimDisk,
    journal_path: PathBuf,
    journal: Option<Arc<Journal>>,
    inbox: Option<Arc<Inbox>>,
    /// Final names below its folder of what it called delivered.
    pub(crate) said: BTreeSet<Vec<u8>>,
}

impl Receiver {
    pub(crate) fn new(dir: &Path, seed: u64) -> Self {
        let journal_path = dir.join("received.journal");
        let journal = Some(open_journal(&journal_path));
        let disk = SimDisk::new(seed, Careless::Nothing);
        Self { disk, journal_path, journal, inbox: None, said: BTreeSet::new() }
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        self.journal.as_ref().unwrap()
    }

    /// Its inbox, opened if it is not; none if the disk does not let it.
    pub(crate) fn inbox(&mut self) -> Option<Arc<Inbox>> {
        if self.inbox.is_none() {
            let (disk, journal) = (Box::new(self.disk.clone()), Arc::clone(self.journal()));
            let open = || Inbox::on(disk, Path::new("simulated"), INBOX, journal);
            self.inbox = match catch_unwind(AssertUnwindSafe(open)) {
                Ok(opened) => opened.ok().map(|inbox| Arc::new(inbox.with_keys(receiver_keys()))),
                Err(panic) => {
                    expect_power_cut(panic);
                    None
                }
            };
        }
        self.inbox.clone()
    }

    /// Takes down what it said.
    pub(crate) fn note(&mut self, watcher: &Watcher) {
        let settled = std::mem::take(&mut *watcher.settled.lock().unwrap());
        self.said.extend(settled.iter().filter_map(|entry| entry.final_name()));
    }

    /// What is left when the process ends, taken up by a new one; `power_cut`: and when the power goes.
    pub(crate) fn restart(&mut self, power_cut: bool) {
        if let Some(inbox) = self.inbox.take() {
            alone(inbox);
        }
        alone(self.journal.take().unwrap());
        self.journal = Some(open_journal(&self.journal_path));
        if power_cut {
            self.disk.power_cycle();
        } else {
            self.disk.restart();
        }
    }
}

pub(crate) fn expect_power_cut(panic: Box<dyn Any + Send>) {
    if !is_power_cut(&*panic) {
        resume_unwind(panic);
    }
}
