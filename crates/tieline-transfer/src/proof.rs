//! Whether what an end keeps of its transfers is sound: every receipt signed, every link of the log in its place, and both of the same.
//!
//! Groups of receipts are checked first, in their order, then the links of the log, then [`Proof::finish`]. One row is held at a time,
//! and sixteen octets for each receipt.
//!
//! What is found out: a receipt that was changed, made up or taken out, and a log that was changed, shortened at its beginning or mended
//! in the middle. What is not: a log whose last links were cut off together with the receipts that they name. Against that helps the mark
//! of the last link, see [`crate::audit`].

use std::collections::BTreeSet;

use crate::audit::{Break, Entry, EntryError, Event, Link, Mark, Verified, Verifier};
use crate::journal::accounts::{KeptGroup, KeptLink};
use crate::protocol::HASH_LEN;
use crate::receipt::{Arrival, Group, GroupError, Record, VerifyError, VerifyingKey};

/// Octets by which a receipt is found again.
const NAME_LEN: usize = 16;

/// Checks what is kept.
#[derive(Debug)]
pub struct Proof {
    keys: Vec<VerifyingKey>,
    verifier: Verifier,
    starts_whole: bool,
    groups: u64,
    receipts: u64,
    /// The number of the last receipt.
    last: Option<u64>,
    /// Receipts that no link has named yet.
    unnamed: BTreeSet<[u8; NAME_LEN]>,
    /// Groups of which no link has named a receipt yet.
    unnamed_groups: BTreeSet<[u8; HASH_LEN]>,
}

/// What a sound account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Groups of receipts.
    pub groups: u64,
    /// Receipts.
    pub receipts: u64,
    /// The log.
    pub log: Verified,
}

/// Where an account is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A group of receipts is none.
    #[error("the group of receipts that ends with number {last} was altered: {fault}")]
    Group {
        /// The number of its last receipt.
        last: u64,
        /// Why it is none.
        fault: GroupError,
    },
    /// A group of receipts is not what its signer signed.
    #[error("the group of receipts that ends with number {last}: {fault}")]
    Signature {
        /// The number of its last receipt.
        last: u64,
        /// Why it proves nothing.
        fault: VerifyError,
    },
    /// A group has another name than follows from its octets.
    #[error("the group of receipts that ends with number {last} was replaced: its name is that of another")]
    Name {
        /// The number of its last receipt.
        last: u64,
    },
    /// A group of somebody who has nothing to do with the line.
    #[error(
        "the group of receipts that ends with number {last} is by or for {key}, which is no end of this line"
    )]
    Stranger {
        /// The number of its last receipt.
        last: u64,
        /// Whose key it has.
        key: VerifyingKey,
    },
    /// Groups are missing.
    #[error("receipts before the group that ends with number {last} are gone")]
    Gap {
        /// The number of its last receipt.
        last: u64,
    },
    /// A link of the log is none.
    #[error("link {number} of the log was altered: {fault}")]
    Link {
        /// Its number.
        number: u64,
        /// Why it is none.
        fault: EntryError,
    },
    /// The chain is broken.
    #[error(transparent)]
    Log(#[from] Break),
    /// The log names a receipt that is not there.
    #[error("link {number} of the log names a receipt that is not there")]
    NoReceipt {
        /// The link.
        number: u64,
    },
    /// Groups of receipts are there that the log does not know.
    #[error("the log names no receipt of {0} groups: its end was cut off, or they were put in")]
    NotLogged(u64),
}

impl Proof {
    /// Begins with the signing keys of all ends that the line had, and with the place where the log begins.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>, log_start: Mark) -> Self {
        let (verifier, starts_whole) = (Verifier::new(log_start, None), log_start == Mark::START);
        let (unnamed, unnamed_groups) = (BTreeSet::new(), BTreeSet::new());
        Self { keys, verifier, starts_whole, groups: 0, receipts: 0, last: None, unnamed, unnamed_groups }
    }

    /// Checks the next group.
    ///
    /// # Errors
    ///
    /// `Group`, `Name`, `Stranger`, `Signature`, `Gap`.
    pub fn check_group(&mut self, kept: &KeptGroup) -> Result<(), Broken> {
        let last = kept.last;
        let group = Group::parse(&kept.octets).map_err(|fault| Broken::Group { last, fault })?;
        let digest = *blake3::hash(&kept.octets).as_bytes();
        if kept.digest != digest {
            return Err(Broken::Name { last });
        }
        if let Some(key) = [group.receiver(), group.sender()].into_iter().find(|key| !self.keys.contains(key))
        {
            return Err(Broken::Stranger { last, key });
        }
        group.verify(&group.receiver()).map_err(|fault| Broken::Signature { last, fault })?;
        let records = group.records().len() as u64;
        let before = self.last.or(self.starts_whole.then_some(0));
        if last.checked_sub(records).is_none_or(|found| before.is_some_and(|before| before != found)) {
            return Err(Broken::Gap { last });
        }
        self.unnamed.extend(group.records().iter().map(|record| name_of_record(&digest, record)));
        self.unnamed_groups.insert(digest);
        self.last = Some(last);
        self.groups += 1;
        self.receipts += records;
        Ok(())
    }

    /// Checks the next link of the log, after all groups.
    ///
    /// # Errors
    ///
    /// `Link`, `Log`, `NoReceipt`.
    pub fn check_link(&mut self, kept: &KeptLink) -> Result<(), Broken> {
        let number = kept.number;
        let link = kept.link().map_err(|fault| Broken::Link { number, fault })?;
        self.verifier.check(&link)?;
        let Some(group) = link.entry.receipt else { return Ok(()) };
        let name = name_of_entry(&group, &link.entry);
        if name.is_some_and(|name| self.unnamed.remove(&name)) {
            self.unnamed_groups.remove(&group);
            return Ok(());
        }
        Err(Broken::NoReceipt { number })
    }

    /// Says what was found, after the last link.
    ///
    /// # Errors
    ///
    /// `Log`, `NotLogged`.
    pub fn finish(self) -> Result<Sound, Broken> {
        let log = self.verifier.finish()?;
        // The links of old receipts are gone where the log has lost its beginning. And of a group that came just before a cut only
        // the first receipts may have had their verdict.
        if self.starts_whole && !self.unnamed_groups.is_empty() {
            return Err(Broken::NotLogged(self.unnamed_groups.len() as u64));
        }
        Ok(Sound { groups: self.groups, receipts: self.receipts, log })
    }
}

impl KeptLink {
    /// The link, not verified.
    ///
    /// # Errors
    ///
    /// [`EntryError`] if its octets are none.
    pub fn link(&self) -> Result<Link, EntryError> {
        let hash = |octets: &[u8]| {
            let len = EntryError::Field { field: "hash length", value: octets.len() as u64 };
            <[u8; HASH_LEN]>::try_from(octets).map_err(|_| len)
        };
        let (previous, hash) = (hash(&self.previous)?, hash(&self.hash)?);
        Ok(Link { number: self.number, previous, entry: Entry::parse(&self.entry)?, hash })
    }
}

fn name_of_record(group: &[u8; HASH_LEN], record: &Record) -> [u8; NAME_LEN] {
    let is_new = record.arrival == Arrival::Delivered;
    name(group, is_new, &record.transfer.0, [record.entry, record.size], &record.hash, &record.path)
}

/// None for an entry that no receipt says the same as.
fn name_of_entry(group: &[u8; HASH_LEN], entry: &Entry) -> Option<[u8; NAME_LEN]> {
    let is_new = match entry.event {
        Event::Delivered => true,
        Event::AlreadyThere => false,
        Event::Offered
        | Event::Refused
        | Event::GivenUp
        | Event::Failed
        | Event::Cancelled
        | Event::Removed => return None,
    };
    Some(name(group, is_new, &entry.transfer.0, [entry.entry, entry.size], &entry.hash?, &entry.path))
}

fn name(
    group: &[u8; HASH_LEN],
    is_new: bool,
    transfer: &[u8],
    numbers: [u64; 2],
    hash: &[u8; HASH_LEN],
    path: &[u8],
) -> [u8; NAME_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(group).update(&[u8::from(is_new)]).update(transfer);
    numbers.iter().for_each(|number| {
        hasher.update(&number.to_be_bytes());
    });
    hasher.update(hash).update(path);
    let mut name = [0; NAME_LEN];
    hasher.finalize_xof().fill(&mut name);
    name
}
