//! The sending end's look at receipts: whether the far end signed them, and whether they are about what was sent.
//!
//! One group is open at a time: it came, and the verdicts that it is about have not all come yet. So whatever the far end signs, no more
//! than one frame of it is held here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ledger::Version;
use crate::moment::Moment;
use crate::path::RelativePath;
use crate::protocol::{KeyFault, Verdict, Violation};
use crate::receipt::{Arrival, Group, LineKeys, Record, TransferId, VerifyingKey};

/// Holds what the receiver signs against what it was sent.
#[derive(Debug)]
pub(crate) struct Checking {
    keys: LineKeys,
    transfer: TransferId,
    is_identified: bool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    group: Arc<Group>,
    /// Entries whose verdict has not come, and where in the group their records are.
    left: BTreeMap<u64, usize>,
}

impl Checking {
    pub(crate) fn new(keys: LineKeys, transfer: TransferId) -> Self {
        Self { keys, transfer, is_identified: false, open: None }
    }

    /// The receiver says with which key it signs. False if it has said so before.
    ///
    /// # Errors
    ///
    /// `Key` if that is not the far end's.
    pub(crate) fn on_identify(&mut self, key: VerifyingKey) -> Result<bool, Violation> {
        self.keys.learn(key).map_err(KeyFault::from)?;
        Ok(!std::mem::replace(&mut self.is_identified, true))
    }

    /// Whether the receiver has to give a receipt for every file.
    pub(crate) fn is_owed_receipts(&self) -> bool {
        self.keys.far_end().is_some()
    }

    /// Takes a group of receipts.
    ///
    /// # Errors
    ///
    /// `Group`, `Unproved`, `OtherSender`; `Receipt` if the verdicts of the last group have not all come, or if two receipts of this one
    /// are about the same entry. `NoReceipt` has no place here.
    pub(crate) fn on_receipt(&mut self, far_end: VerifyingKey, octets: &[u8]) -> Result<(), Violation> {
        self.finish()?;
        let group = Group::parse(octets)?;
        group.verify(&far_end)?;
        if group.sender() != self.keys.own() {
            return Err(Violation::OtherSender(group.sender()));
        }
        let mut left = BTreeMap::new();
        for (index, record) in group.records().iter().enumerate() {
            if left.insert(record.entry, index).is_some() {
                return Err(Violation::Receipt(record.entry));
            }
        }
        self.open = Some(Open { group: Arc::new(group), left });
        Ok(())
    }

    /// The key with which the far end signs, once it is known.
    pub(crate) fn far_end(&self) -> Option<VerifyingKey> {
        self.keys.far_end()
    }

    /// Finds the receipt for a file of which the receiver says that it is there, and returns its group; none where none is owed.
    ///
    /// # Errors
    ///
    /// `NoReceipt`; `Receipt` if it does not say what was sent and what the verdict says.
    pub(crate) fn on_delivered(
        &mut self,
        entry: u64,
        path: &RelativePath,
        version: &Version,
        verdict: Verdict,
    ) -> Result<Option<Arc<Group>>, Violation> {
        if !self.is_owed_receipts() {
            return Ok(None);
        }
        let open = self.open.as_mut().ok_or(Violation::NoReceipt(entry))?;
        let index = open.left.remove(&entry).ok_or(Violation::NoReceipt(entry))?;
        let record = &open.group.records()[index];
        if !is_about(record, self.transfer, path, version, verdict) {
            return Err(Violation::Receipt(entry));
        }
        Ok(Some(Arc::clone(&open.group)))
    }

    /// Checks that no receipt is left without its verdict.
    ///
    /// # Errors
    ///
    /// `Receipt` for one that is.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        let left = self.open.as_ref().and_then(|open| open.left.keys().next());
        left.map_or(Ok(()), |entry| Err(Violation::Receipt(*entry)))
    }
}

/// Whether the record says that this version of a file is there as the verdict says. When it was delivered is the receiver's to say.
fn is_about(
    record: &Record,
    transfer: TransferId,
    path: &RelativePath,
    version: &Version,
    verdict: Verdict,
) -> bool {
    let (arrival, copy) = match verdict {
        Verdict::Delivered { copy } => (Arrival::Delivered, copy),
        Verdict::AlreadyThere { copy } => (Arrival::AlreadyThere, copy),
        Verdict::Refused(_) | Verdict::Failed(_) | Verdict::Other(_) => return false,
    };
    record.arrival == arrival
        && record.transfer == transfer
        && (record.size, record.hash) == (version.size, version.hash)
        && record.modified == Moment::from(version.modified)
        && *record.path == *path.as_bytes()
        && *record.final_name == *path.copy(copy).as_bytes()
}
