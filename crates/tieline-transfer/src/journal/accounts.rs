//! Receipts and the audit log: what is kept beside the facts, in the commit of the fact.
//!
//! Receipts are kept as the groups that were signed, octet by octet, and the links of the log as they are hashed, so that whoever
//! checks them checks what is kept and not what was made of it. The newest [`RECEIPTS_MAX`] receipts and [`LINKS_MAX`] links stay; what is
//! older goes, and where the log begins then is noted. The signing keys of both ends stay for ever, also those of a line that was paired
//! anew.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Journal, Result, as_integer, as_number};
use crate::audit::{Chain, Entry, Link, Mark};
use crate::receipt::{Group, KEY_LEN, VerifyingKey};

/// Receipts that are kept, as many as one transfer may have files; some 200 MB with names as people give them.
pub const RECEIPTS_MAX: u64 = 1_000_000;
/// Links of the log that are kept. No more than receipts, so that every link finds its receipt.
pub const LINKS_MAX: u64 = RECEIPTS_MAX;
/// Octets from which on a page is full; it ends after the row that fills it.
pub const PAGE_LEN: usize = 256 * 1024;
/// Rows of a page.
pub const PAGE_ROWS_MAX: u64 = 1024;

pub(super) const TABLES: &str = "
CREATE TABLE receipt_group (
    last INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    octets BLOB NOT NULL
) STRICT;
CREATE TABLE signing_key (
    line_key BLOB PRIMARY KEY,
    key BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_link (
    number INTEGER PRIMARY KEY,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL,
    entry BLOB NOT NULL
) STRICT;
CREATE TABLE audit_start (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    number INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
";

/// What is to be kept with a fact.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Receipts for it. A group that is kept already is not kept twice.
    pub groups: Vec<Arc<Group>>,
    /// What the log says of it.
    pub entries: Vec<Entry>,
}

/// How far receipts and log reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The link after which the kept part of the log begins.
    pub log_start: Mark,
    /// The number of its last link, 0 without any.
    pub last_link: u64,
    /// The number of the last receipt, 0 without any.
    pub last_receipt: u64,
}

/// A group of receipts as it is kept: not looked at, and perhaps not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGroup {
    /// The number of its last receipt, counted from 1 over all groups.
    pub last: u64,
    /// Its name, see [`Group::digest`].
    #[serde(with = "base64")]
    pub digest: Vec<u8>,
    /// Its octets.
    #[serde(with = "base64")]
    pub octets: Vec<u8>,
}

/// A link of the log as it is kept: not looked at, and perhaps not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLink {
    /// Its number.
    pub number: u64,
    /// The hash of the link before it.
    #[serde(with = "base64")]
    pub previous: Vec<u8>,
    /// Its own hash.
    #[serde(with = "base64")]
    pub hash: Vec<u8>,
    /// The octets of its entry.
    #[serde(with = "base64")]
    pub entry: Vec<u8>,
}

impl Journal {
    /// Keeps what belongs to a fact that is kept elsewhere.
    ///
    /// # Errors
    ///
    /// What the database said, as with every method here.
    pub fn account(&self, accounts: &Accounts) -> Result<()> {
        self.change(|db| keep(db, accounts))
    }

    /// The groups of receipts after that whose last receipt has number `after`, as many as fit a page; none after the last.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn kept_groups(&self, after: u64) -> Result<Vec<KeptGroup>> {
        self.with(|db| {
            let mut query = db.prepare_cached(
                "SELECT last, digest, octets FROM receipt_group WHERE last > ?1 ORDER BY last LIMIT ?2",
            )?;
            let rows = query.query_map(params![as_integer(after), as_integer(PAGE_ROWS_MAX)], |row| {
                Ok(KeptGroup { last: as_number(row.get(0)?), digest: row.get(1)?, octets: row.get(2)? })
            })?;
            page(rows, |group| group.octets.len())
        })
    }

    /// The links of the log after number `after`, as many as fit a page; none after the last.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn kept_links(&self, after: u64) -> Result<Vec<KeptLink>> {
        self.with(|db| {
            let mut query = db.prepare_cached(
                "SELECT number, previous, hash, entry FROM audit_link WHERE number > ?1 ORDER BY number LIMIT ?2",
            )?;
            let rows = query.query_map(params![as_integer(after), as_integer(PAGE_ROWS_MAX)], |row| {
                let (number, previous) = (as_number(row.get(0)?), row.get(1)?);
                Ok(KeptLink { number, previous, hash: row.get(2)?, entry: row.get(3)? })
            })?;
            page(rows, |link| link.entry.len())
        })
    }

    /// How far receipts and log reach, both at the same moment.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn extent(&self) -> Result<Extent> {
        self.with(|db| {
            let mut query = db.prepare_cached("SELECT number, hash FROM audit_start")?;
            let log_start = query.query_row([], mark_of).optional()?.unwrap_or(Mark::START);
            let number = |sql| db.prepare_cached(sql)?.query_row([], |row| row.get(0)).map(as_number);
            let last_link = number("SELECT coalesce(max(number), 0) FROM audit_link")?;
            let last_receipt = number("SELECT coalesce(max(last), 0) FROM receipt_group")?;
            Ok(Extent { log_start, last_link, last_receipt })
        })
    }

    /// Notes that the end with the line key `line_key` signs with `signing_key`, unless another one is known. Returns which one it is.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn know_key(&self, line_key: &[u8; KEY_LEN], signing_key: &VerifyingKey) -> Result<VerifyingKey> {
        if let Some(known) = self.known_key(line_key)? {
            return Ok(known);
        }
        self.with(|db| {
            db.prepare_cached("INSERT OR IGNORE INTO signing_key (line_key, key) VALUES (?1, ?2)")?
                .execute(params![line_key, signing_key.as_bytes()])
        })?;
        Ok(*signing_key)
    }

    /// With which key the end with the line key `line_key` signs, if that is known.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn known_key(&self, line_key: &[u8; KEY_LEN]) -> Result<Option<VerifyingKey>> {
        let octets: Option<[u8; KEY_LEN]> = self.with(|db| {
            db.prepare_cached("SELECT key FROM signing_key WHERE line_key = ?1")?
                .query_row([line_key], |row| row.get(0))
                .optional()
        })?;
        Ok(octets.and_then(|octets| VerifyingKey::from_bytes(octets).ok()))
    }

    /// The signing keys of all ends that this line had.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn known_keys(&self) -> Result<Vec<VerifyingKey>> {
        let octets: Vec<[u8; KEY_LEN]> = self.with(|db| {
            db.prepare_cached("SELECT key FROM signing_key ORDER BY key")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        Ok(octets.into_iter().filter_map(|octets| VerifyingKey::from_bytes(octets).ok()).collect())
    }
}

/// Keeps `accounts` as a part of a change.
pub(super) fn keep(db: &Connection, accounts: &Accounts) -> rusqlite::Result<()> {
    if !accounts.groups.is_empty() {
        keep_groups(db, &accounts.groups)?;
    }
    if !accounts.entries.is_empty() {
        append_entries(db, &accounts.entries)?;
    }
    Ok(())
}

fn keep_groups(db: &Connection, groups: &[Arc<Group>]) -> rusqlite::Result<()> {
    let newest = "SELECT coalesce(max(last), 0) FROM receipt_group";
    let mut last = as_number(db.prepare_cached(newest)?.query_row([], |row| row.get(0))?);
    let mut insert = db.prepare_cached(
        "INSERT INTO receipt_group (last, digest, octets) VALUES (?1, ?2, ?3) ON CONFLICT (digest) DO NOTHING",
    )?;
    for group in groups {
        let mut octets = Vec::new();
        group.emit(&mut octets);
        let next = last.saturating_add(group.records().len() as u64);
        if insert.execute(params![as_integer(next), blake3::hash(&octets).as_bytes(), octets])? > 0 {
            last = next;
        }
    }
    db.prepare_cached("DELETE FROM receipt_group WHERE last <= ?1")?
        .execute([as_integer(last.saturating_sub(RECEIPTS_MAX))])?;
    Ok(())
}

fn append_entries(db: &Connection, entries: &[Entry]) -> rusqlite::Result<()> {
    let newest = "SELECT number, hash FROM audit_link ORDER BY number DESC LIMIT 1";
    let last = db.prepare_cached(newest)?.query_row([], mark_of).optional()?;
    let mut chain = Chain::new(last.unwrap_or(Mark::START));
    let mut insert =
        db.prepare_cached("INSERT INTO audit_link (number, previous, hash, entry) VALUES (?1, ?2, ?3, ?4)")?;
    for entry in entries {
        let Link { number, previous, entry, hash } = chain.append(entry.clone());
        let mut octets = Vec::new();
        entry.emit(&mut octets);
        insert.execute(params![as_integer(number), previous, hash, octets])?;
    }
    forget_links(db, chain.last().number.saturating_sub(LINKS_MAX))
}

/// Forgets the links up to number `gone`, and notes where the log begins now.
fn forget_links(db: &Connection, gone: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO audit_start (only, number, hash) SELECT 1, number, hash FROM audit_link WHERE number = ?1",
    )?
    .execute([as_integer(gone)])?;
    db.prepare_cached("DELETE FROM audit_link WHERE number <= ?1")?.execute([as_integer(gone)])?;
    Ok(())
}

fn mark_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Mark> {
    Ok(Mark { number: as_number(row.get(0)?), hash: row.get(1)? })
}

/// The first of `rows`, until they have so many octets.
fn page<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    len_of: impl Fn(&T) -> usize,
) -> rusqlite::Result<Vec<T>> {
    let (mut page, mut len) = (Vec::new(), 0);
    for row in rows {
        let row = row?;
        len += len_of(&row);
        page.push(row);
        if len >= PAGE_LEN {
            break;
        }
    }
    Ok(page)
}

/// Octets in JSON.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Direction, Event, verify};
    use crate::moment::Moment;
    use crate::receipt::{Arrival, Record, SigningKey, TransferId};

    fn accounts(first: u64, count: u64) -> Accounts {
        let records: Vec<Record> = (first..first + count).map(record).collect();
        let key = |seed| SigningKey::from_line_secret(&[seed; 32]);
        let group = key(1).sign(key(2).public(), records).unwrap();
        let entries = (first..first + count).map(|number| entry(number, group.digest())).collect();
        Accounts { groups: vec![Arc::new(group)], entries }
    }

    fn record(number: u64) -> Record {
        let (modified, delivered) = (Moment::new(1, 2).unwrap(), Moment::new(3, 4).unwrap());
        let path: Box<[u8]> = number.to_string().into_bytes().into();
        let (transfer, hash, final_name) = (TransferId([5; 16]), [6; 32], path.clone());
        let arrival = Arrival::Delivered;
        Record { arrival, transfer, entry: number, size: 7, hash, modified, delivered, path, final_name }
    }

    fn entry(number: u64, receipt: [u8; 32]) -> Entry {
        Entry {
            at: Moment::new(3, 4).unwrap(),
            event: Event::Delivered,
            direction: Direction::Received,
            transfer: TransferId([5; 16]),
            entry: number,
            path: number.to_string().into_bytes().into(),
            size: 7,
            hash: Some([6; 32]),
            reason: None,
            receipt: Some(receipt),
        }
    }

    fn links(journal: &Journal) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        loop {
            let page = journal.kept_links(links.last().map_or(0, |link| link.number)).unwrap();
            if page.is_empty() {
                return links;
            }
            links.extend(page.iter().map(|kept| kept.link().unwrap()));
        }
    }

    #[test]
    fn the_chain_and_the_receipts_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let kept = [accounts(0, 3), accounts(3, 2)];
        for accounts in &kept {
            Journal::open(&path).unwrap().account(accounts).unwrap();
        }
        let journal = Journal::open(&path).unwrap();
        let groups = journal.kept_groups(0).unwrap();
        assert_eq!(groups.iter().map(|group| group.last).collect::<Vec<_>>(), [3, 5]);
        for (group, accounts) in groups.iter().zip(&kept) {
            assert_eq!(Group::parse(&group.octets).unwrap(), *accounts.groups[0]);
            assert_eq!(group.digest, accounts.groups[0].digest());
        }
        assert_eq!(journal.kept_groups(3).unwrap().len(), 1);
        let verified = verify(Mark::START, links(&journal), None).unwrap();
        assert_eq!((verified.links, verified.last.number), (5, 5));
        assert_eq!(journal.extent().unwrap().log_start, Mark::START);
    }

    #[test]
    fn a_group_is_kept_once_however_often_it_is_told() {
        let journal = Journal::in_memory().unwrap();
        let Accounts { groups, entries } = accounts(0, 2);
        for entry in entries {
            journal.account(&Accounts { groups: groups.clone(), entries: vec![entry] }).unwrap();
        }
        assert_eq!(journal.kept_groups(0).unwrap().len(), 1);
        journal.account(&accounts(2, 1)).unwrap();
        assert_eq!(journal.kept_groups(2).unwrap()[0].last, 3);
        assert_eq!(links(&journal).len(), 3);
    }

    #[test]
    fn a_log_that_lost_its_beginning_says_where_it_begins() {
        let journal = Journal::in_memory().unwrap();
        journal.account(&accounts(0, 9)).unwrap();
        let all = links(&journal);
        journal.change(|db| forget_links(db, 4)).unwrap();
        assert_eq!(journal.extent().unwrap().log_start, all[3].mark());
        assert_eq!(links(&journal), all[4..]);
        assert_eq!(verify(journal.extent().unwrap().log_start, links(&journal), None).unwrap().links, 5);
        journal.account(&accounts(9, 1)).unwrap();
        assert_eq!(journal.extent().unwrap().log_start, all[3].mark());
        assert_eq!(links(&journal).last().map(|link| link.number), Some(10));
    }

    #[test]
    fn the_oldest_receipts_give_way() {
        let journal = Journal::in_memory().unwrap();
        journal.account(&accounts(0, 2)).unwrap();
        // As if all but the first two were between.
        journal
            .change(|db| {
                db.execute("UPDATE receipt_group SET last = ?1", [as_integer(RECEIPTS_MAX)]).map(drop)
            })
            .unwrap();
        journal.account(&accounts(2, 1)).unwrap();
        assert_eq!(journal.kept_groups(0).unwrap().len(), 2);
        journal
            .change(|db| {
                db.execute("UPDATE receipt_group SET last = 1 WHERE last = ?1", [as_integer(RECEIPTS_MAX)])
                    .map(drop)
            })
            .unwrap();
        journal.account(&accounts(3, 1)).unwrap();
        let left: Vec<u64> = journal.kept_groups(0).unwrap().iter().map(|group| group.last).collect();
        assert_eq!(left, [RECEIPTS_MAX + 1, RECEIPTS_MAX + 2]);
    }

    #[test]
    fn long_accounts_come_in_pages() {
        let journal = Journal::in_memory().unwrap();
        for number in 0..3 {
            journal.account(&accounts(number * 1024, 1024)).unwrap();
        }
        let page = journal.kept_groups(0).unwrap();
        assert!(page.len() == 3 || page.iter().map(|group| group.octets.len()).sum::<usize>() >= PAGE_LEN);
        assert_eq!(links(&journal).len(), 3 * 1024);
        assert!(journal.kept_links(0).unwrap().len() <= 1024);
    }

    #[test]
    fn an_end_has_the_signing_key_that_it_showed_first() {
        let journal = Journal::in_memory().unwrap();
        let [one, other] = [1, 2].map(|seed| SigningKey::from_line_secret(&[seed; 32]).public());
        assert_eq!(journal.known_key(&[7; 32]).unwrap(), None);
        assert_eq!(journal.know_key(&[7; 32], &one).unwrap(), one);
        assert_eq!(journal.know_key(&[7; 32], &other).unwrap(), one);
        assert_eq!(journal.known_key(&[7; 32]).unwrap(), Some(one));
        assert_eq!(journal.know_key(&[8; 32], &other).unwrap(), other, "the line was paired anew");
        let mut both = vec![one, other];
        both.sort_unstable();
        assert_eq!(journal.known_keys().unwrap(), both);
    }
}
