//! What the receiving end signs of a group of files that was published, and what it logs of every entry that has come to its end.

use std::sync::{Arc, OnceLock};

use crate::audit::{Direction, Entry};
use crate::journal::accounts::Accounts;
use crate::links;
use crate::moment::Moment;
use crate::outcome::{EntryKind, EntryReport, Fate};
use crate::protocol::{FRAME_LEN_MAX, HASH_LEN, Verdict};
use crate::publish::{Content, Ready};
use crate::receipt::{
    Arrival, Group, HEADER_LEN, LineKeys, RECORDS_MAX, Record, SIGNATURE_LEN, TransferId, VerifyingKey,
};

/// Octets of records in one group, so that it fits a frame with its kind. One record does, with names as long as an inbox takes them.
const RECORDS_LEN_MAX: usize = FRAME_LEN_MAX - 1 - HEADER_LEN - SIGNATURE_LEN;
const _: () = assert!(crate::receipt::RECORD_LEN_MIN + 2 * crate::path::PATH_LEN_MAX <= RECORDS_LEN_MAX);

/// How a transfer is called by a sender that has not identified itself.
const NAMELESS: TransferId = TransferId([0; TransferId::LEN]);

/// Signs and logs for one transfer.
#[derive(Debug, Default)]
pub(crate) struct Signing {
    keys: Option<LineKeys>,
    terms: OnceLock<Terms>,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    transfer: TransferId,
    sender: VerifyingKey,
}

impl Signing {
    pub(crate) fn new(keys: Option<LineKeys>) -> Self {
        Self { keys, terms: OnceLock::new() }
    }

    /// Whether this end gives receipts to `sender`, whose key is right; then its own key.
    pub(crate) fn begin(&self, transfer: TransferId, sender: VerifyingKey) -> Option<VerifyingKey> {
        let keys = self.keys.as_ref().filter(|keys| keys.signing_key().is_some())?;
        // Nobody begins twice; if he did, the first would stand.
        let _ = self.terms.set(Terms { transfer, sender });
        Some(keys.own())
    }

    /// The keys of the line, if this end has any.
    pub(crate) fn keys(&self) -> Option<&LineKeys> {
        self.keys.as_ref()
    }

    /// Signs for those of `group` that are here, by their verdicts, and makes the entries of all for the log. The groups are in the order
    /// of the files.
    pub(crate) fn account(&self, group: &[Ready], verdicts: &[Verdict], now: Moment) -> Accounts {
        let mut accounts = Accounts::default();
        let mut records = Vec::new();
        let mut len = 0;
        for (ready, verdict) in group.iter().zip(verdicts) {
            let Some(record) = self.record(ready, *verdict, now) else { continue };
            if records.len() == RECORDS_MAX || len + record.len_max() > RECORDS_LEN_MAX {
                accounts.groups.extend(self.sign(std::mem::take(&mut records)));
                len = 0;
            }
            len += record.len_max();
            records.push(record);
        }
        accounts.groups.extend(self.sign(records));
        accounts.entries = group
            .iter()
            .zip(verdicts)
            .filter_map(|(ready, verdict)| {
                self.entry(ready.entry, &ready.report(*verdict), ready.content.hash(), now)
            })
            .collect();
        // The records are those of the entries that are here, in their order.
        let digests = accounts.groups.iter().flat_map(|group| {
            let digest = group.digest();
            group.records().iter().map(move |record| (record.entry, digest))
        });
        let mut entries = accounts.entries.iter_mut();
        for (number, digest) in digests {
            if let Some(entry) = entries.find(|entry| entry.entry == number) {
                entry.receipt = Some(digest);
            }
        }
        accounts
    }

    /// What the log says of an entry; see [`Entry::of_report`].
    pub(crate) fn entry(
        &self,
        entry: u64,
        report: &EntryReport,
        hash: Option<[u8; HASH_LEN]>,
        now: Moment,
    ) -> Option<Entry> {
        Entry::of_report(report, now, Direction::Received, self.transfer(), entry, hash)
    }

    /// The name of the transfer.
    pub(crate) fn transfer(&self) -> TransferId {
        self.terms.get().map_or(NAMELESS, |terms| terms.transfer)
    }

    fn record(&self, ready: &Ready, verdict: Verdict, delivered: Moment) -> Option<Record> {
        let Terms { transfer, .. } = *self.terms.get()?;
        let (arrival, copy) = match verdict {
            Verdict::Delivered { copy } => (Arrival::Delivered, copy),
            Verdict::AlreadyThere { copy } => (Arrival::AlreadyThere, copy),
            Verdict::Refused(_) | Verdict::Failed(_) | Verdict::Other(_) => return None,
        };
        let (size, hash, modified) = match &ready.content {
            Content::File { size, hash, modified, .. } | Content::Claim { size, hash, modified, .. } => {
                (*size, *hash, Moment::from(*modified))
            }
            Content::Link(link) => {
                (link.target.len() as u64, links::hash(&link.target), Moment::from(link.modified))
            }
            Content::Folder { .. } => return None,
        };
        let (path, final_name) = (&ready.offered, ready.offered.copy(copy));
        let [path, final_name] = [path.as_bytes(), final_name.as_bytes()].map(Box::from);
        Some(Record {
            arrival,
            transfer,
            entry: ready.entry,
            size,
            hash,
            modified,
            delivered,
            path,
            final_name,
        })
    }

    fn sign(&self, records: Vec<Record>) -> Option<Arc<Group>> {
        let Terms { sender, .. } = *self.terms.get()?;
        let key = self.keys.as_ref()?.signing_key()?;
        if records.is_empty() {
            return None;
        }
        Some(Arc::new(key.sign(sender, records).expect("paths of an inbox and their copies fit a receipt")))
    }
}

impl Ready {
    /// What is said of it with this verdict.
    pub(crate) fn report(&self, verdict: Verdict) -> EntryReport {
        let (kind, size) = match self.content {
            Content::File { size, .. } | Content::Claim { size, .. } => (EntryKind::File, size),
            Content::Link(ref link) => (EntryKind::File, link.target.len() as u64),
            Content::Folder { .. } => (EntryKind::Folder, 0),
        };
        EntryReport { name: self.offered.as_bytes().into(), kind, size, fate: Fate::from(verdict) }
    }
}

impl Content {
    fn hash(&self) -> Option<[u8; HASH_LEN]> {
        match self {
            Self::File { hash, .. } | Self::Claim { hash, .. } => Some(*hash),
            Self::Link(link) => Some(links::hash(&link.target)),
            Self::Folder { .. } => None,
        }
    }
}
