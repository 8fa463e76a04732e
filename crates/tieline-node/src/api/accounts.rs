//! Receipts and the audit log over the local API, a page at a time: transfers go on between two pages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tieline_transfer::{
    Journal, JournalError,
    audit::{Direction, Entry, Mark},
    journal::accounts::{Accounts, Extent, KeptGroup, KeptLink},
    protocol::HASH_LEN,
    receipt::{Group, LineKeys},
};

/// What a check of receipts and log begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccountsStart {
    /// The signing keys of all ends that the line had, in hexadecimal.
    pub signing_keys: Vec<String>,
    /// The number of the link after which the kept part of the log begins.
    pub log_number: u64,
    /// Its hash.
    pub log_hash: [u8; HASH_LEN],
    /// The number of the last link; what comes after it is newer than this answer.
    pub last_link: u64,
    /// The number of the last receipt.
    pub last_receipt: u64,
}

/// Receipts, and entries of a log, of a transfer that was made by another process than the line's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct OtherAccounts {
    /// Groups of receipts; their numbers do not matter.
    pub groups: Vec<KeptGroup>,
    /// Links of the log of that process, whose entries are taken over.
    pub links: Vec<KeptLink>,
}

impl AccountsStart {
    /// Reads it from the journal.
    ///
    /// # Errors
    ///
    /// What the journal said.
    pub fn of(journal: &Journal) -> Result<Self, JournalError> {
        let signing_keys = journal.known_keys()?.iter().map(ToString::to_string).collect();
        let Extent { log_start: Mark { number, hash }, last_link, last_receipt } = journal.extent()?;
        Ok(Self { signing_keys, log_number: number, log_hash: hash, last_link, last_receipt })
    }

    /// The place where the log begins.
    #[must_use]
    pub fn log_start(&self) -> Mark {
        Mark { number: self.log_number, hash: self.log_hash }
    }
}

impl OtherAccounts {
    /// Keeps them in the journal of the line, after a look at each: only what the far end signed for this end, and what was sent.
    ///
    /// # Errors
    ///
    /// A sentence for people.
    pub fn keep(self, keys: &LineKeys, journal: &Journal) -> Result<(), String> {
        let far_end = keys.far_end().ok_or("the far end's signing key is not known")?;
        let mut accounts = Accounts::default();
        for kept in self.groups {
            let group = Group::parse(&kept.octets).map_err(|error| error.to_string())?;
            group.verify(&far_end).map_err(|error| error.to_string())?;
            if group.sender() != keys.own() {
                return Err("these receipts are for somebody else".into());
            }
            accounts.groups.push(Arc::new(group));
        }
        for kept in self.links {
            let entry = Entry::parse(&kept.entry).map_err(|error| error.to_string())?;
            if entry.direction != Direction::Sent {
                return Err("an entry of the log about something that was not sent".into());
            }
            accounts.entries.push(entry);
        }
        journal.account(&accounts).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tieline_transfer::{
        moment::Moment,
        receipt::{Arrival, Record, SigningKey, TransferId},
    };

    use super::*;

    fn group(who: u8, whom: u8) -> KeptGroup {
        let key = |seed| SigningKey::from_line_secret(&[seed; 32]);
        let moment = Moment::new(1, 2).unwrap();
        let record = Record {
            arrival: Arrival::Delivered,
            transfer: TransferId([1; 16]),
            entry: 0,
            size: 1,
            hash: [2; 32],
            modified: moment,
            delivered: moment,
            path: (*b"a").into(),
            final_name: (*b"a").into(),
        };
        let mut octets = Vec::new();
        let group = key(who).sign(key(whom).public(), vec![record]).unwrap();
        group.emit(&mut octets);
        KeptGroup { last: 7, digest: group.digest().to_vec(), octets }
    }

    #[test]
    fn only_what_the_far_end_signed_for_this_end_is_kept() {
        let journal = Journal::in_memory().unwrap();
        let keys = LineKeys::new(SigningKey::from_line_secret(&[1; 32]));
        let keep = |group| OtherAccounts { groups: vec![group], links: vec![] }.keep(&keys, &journal);
        assert!(keep(group(2, 1)).unwrap_err().contains("not known"));
        keys.learn(SigningKey::from_line_secret(&[2; 32]).public()).unwrap();
        for (who, whom) in [(3, 1), (2, 3), (1, 2)] {
            assert!(keep(group(who, whom)).is_err(), "{who} for {whom}");
        }
        assert_eq!(journal.kept_groups(0).unwrap(), []);
        keep(group(2, 1)).unwrap();
        assert_eq!(journal.kept_groups(0).unwrap().len(), 1);
    }
}
