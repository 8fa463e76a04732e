//! What was delivered of an outbox, and how the first part of what is under way hashed.
//!
//! Which files there are is looked up on the disk each time; the journal knows which versions of them are settled. Of a version that is
//! being sent it keeps the chaining values of what was read, so that nothing of it is read again to go on with it.

use rusqlite::{OptionalExtension, params};

use super::accounts::{Accounts, keep};
use super::{Journal, Result, as_integer, as_number};
use crate::content::{CHAINING_VALUE_LEN, HASH_LEN};
use crate::path::RelativePath;
use crate::stamp::Stamp;

/// Versions whose chaining values are kept; the oldest go first, and are read again if they are needed.
pub const VERSIONS_MAX: u64 = 1024;
/// Files of one size among which the same content is looked for.
const SAME_SIZE_MAX: u32 = 64;

pub(super) const TABLES: &str = "
CREATE TABLE delivered (
    outbox TEXT NOT NULL,
    path BLOB NOT NULL,
    stamp BLOB NOT NULL,
    size INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (outbox, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE version (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE version_piece (
    version INTEGER NOT NULL REFERENCES version (number) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    chaining_values BLOB NOT NULL,
    PRIMARY KEY (version, first)
) STRICT, WITHOUT ROWID;
";

/// Finds what was delivered by its size; layout 2 has it not.
pub(super) const SIZE_INDEX: &str = "CREATE INDEX delivered_by_size ON delivered (outbox, size, hash);";

/// A file that is at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveredFile {
    /// Which version of the file it was.
    pub stamp: Stamp,
    /// Octets.
    pub size: u64,
    /// BLAKE3 of its content.
    pub hash: [u8; HASH_LEN],
}

impl Journal {
    /// Notes that files are at the far end; what was known of the content of these versions goes. And what is to be kept with it.
    ///
    /// # Errors
    ///
    /// What the database said, as with every method here.
    pub fn deliver<'a>(
        &self,
        outbox: &str,
        files: impl IntoIterator<Item = (&'a RelativePath, DeliveredFile)>,
        accounts: &Accounts,
    ) -> Result<()> {
        self.change(|db| {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO delivered (outbox, path, stamp, size, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let mut forget = db.prepare_cached("DELETE FROM version WHERE stamp = ?1")?;
            for (path, DeliveredFile { stamp, size, hash }) in files {
                insert.execute(params![outbox, path.as_bytes(), stamp.as_bytes(), as_integer(size), hash])?;
                forget.execute([stamp.as_bytes()])?;
            }
            keep(db, accounts)
        })
    }

    /// What was delivered last of `path`.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn delivered(&self, outbox: &str, path: &RelativePath) -> Result<Option<DeliveredFile>> {
        self.with(|db| {
            db.prepare_cached("SELECT stamp, size, hash FROM delivered WHERE outbox = ?1 AND path = ?2")?
                .query_row(params![outbox, path.as_bytes()], |row| {
                    Ok(DeliveredFile {
                        stamp: Stamp::from_bytes(row.get(0)?),
                        size: as_number(row.get(1)?),
                        hash: row.get(2)?,
                    })
                })
                .optional()
        })
    }

    /// The contents of files of that size that were delivered; a few of them.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn delivered_of_size(&self, outbox: &str, size: u64) -> Result<Vec<[u8; HASH_LEN]>> {
        self.with(|db| {
            // By itself SQLite prefers the primary key, and then looks at all that was delivered.
            let mut query = db.prepare_cached(
                "SELECT hash FROM delivered INDEXED BY delivered_by_size
                 WHERE outbox = ?1 AND size = ?2 LIMIT ?3",
            )?;
            query.query_map(params![outbox, as_integer(size), SAME_SIZE_MAX], |row| row.get(0))?.collect()
        })
    }

    /// Forgets what was delivered of an outbox in which nothing of it is left.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn forget_delivered(&self, outbox: &str) -> Result<()> {
        self.with(|db| {
            db.prepare_cached("DELETE FROM delivered WHERE outbox = ?1")?.execute([outbox]).map(drop)
        })
    }

    /// The chaining values that are known of the first pieces of a version.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn known_pieces(&self, stamp: Stamp) -> Result<Vec<[u8; CHAINING_VALUE_LEN]>> {
        self.with(|db| {
            let mut known = Vec::new();
            let mut query = db.prepare_cached(
                "SELECT first, chaining_values FROM version_piece
                 WHERE version = (SELECT number FROM version WHERE stamp = ?1) ORDER BY first",
            )?;
            let mut rows = query.query([stamp.as_bytes()])?;
            while let Some(row) = rows.next()? {
                let (first, values): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                // Rows may overlap where sending began anew; whatever follows a gap is of no use.
                let Some(skipped) = (known.len() as u64).checked_sub(as_number(first)) else { break };
                let values = values.as_chunks().0;
                known.extend(values.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)));
            }
            Ok(known)
        })
    }

    /// Notes the chaining values of the pieces from number `first` on of a version that is being read.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn know_pieces(&self, stamp: Stamp, first: u64, pieces: &[[u8; CHAINING_VALUE_LEN]]) -> Result<()> {
        self.change(|db| {
            let number = version(db, stamp)?;
            db.prepare_cached(
                "INSERT OR REPLACE INTO version_piece (version, first, chaining_values) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![number, as_integer(first), pieces.as_flattened()])?;
            Ok(())
        })
    }
}

/// The number of a version; a new one may cost the oldest its place.
fn version(db: &rusqlite::Connection, stamp: Stamp) -> rusqlite::Result<i64> {
    let mut find = db.prepare_cached("SELECT number FROM version WHERE stamp = ?1")?;
    if let Some(number) = find.query_row([stamp.as_bytes()], |row| row.get(0)).optional()? {
        return Ok(number);
    }
    db.prepare_cached("INSERT INTO version (stamp) VALUES (?1)")?.execute([stamp.as_bytes()])?;
    let number = db.last_insert_rowid();
    db.prepare_cached(
        "DELETE FROM version WHERE number NOT IN (SELECT number FROM version ORDER BY number DESC LIMIT ?1)",
    )?
    .execute([as_integer(VERSIONS_MAX)])?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp::from_bytes([1; 16]);
    const HASH: [u8; HASH_LEN] = [7; HASH_LEN];

    fn pieces(first: u8, count: u8) -> Vec<[u8; CHAINING_VALUE_LEN]> {
        (first..first + count).map(|number| [number; CHAINING_VALUE_LEN]).collect()
    }

    #[test]
    fn what_was_read_of_a_version_is_known_in_one_piece() {
        let journal = Journal::in_memory().unwrap();
        assert_eq!(journal.known_pieces(STAMP).unwrap(), pieces(0, 0));
        journal.know_pieces(STAMP, 0, &pieces(0, 3)).unwrap();
        journal.know_pieces(STAMP, 3, &pieces(3, 2)).unwrap();
        // Sending went on from the second piece, because the far end held no more.
        journal.know_pieces(STAMP, 1, &pieces(1, 3)).unwrap();
        journal.know_pieces(STAMP, 6, &pieces(6, 1)).unwrap();
        assert_eq!(journal.known_pieces(STAMP).unwrap(), pieces(0, 5));
        assert_eq!(journal.known_pieces(Stamp::from_bytes([2; 16])).unwrap(), pieces(0, 0));
    }

    #[test]
    fn what_is_delivered_is_known_by_its_name_and_no_more_by_its_content() {
        let journal = Journal::in_memory().unwrap();
        let path = RelativePath::parse(b"a").unwrap();
        journal.know_pieces(STAMP, 0, &pieces(0, 3)).unwrap();
        let file = DeliveredFile { stamp: STAMP, size: 5, hash: HASH };
        journal.deliver("out", [(&path, file)], &Accounts::default()).unwrap();
        assert_eq!(journal.delivered("out", &path).unwrap(), Some(file));
        assert_eq!(journal.delivered("other", &path).unwrap(), None);
        assert_eq!(journal.known_pieces(STAMP).unwrap(), pieces(0, 0));
        journal.deliver("other", [(&path, file)], &Accounts::default()).unwrap();
        journal.forget_delivered("out").unwrap();
        assert_eq!(journal.delivered("other", &path).unwrap(), Some(file));
        assert_eq!(journal.delivered("out", &path).unwrap(), None);
    }

    #[test]
    fn the_oldest_version_is_forgotten_with_its_pieces() {
        let journal = Journal::in_memory().unwrap();
        let stamp = |number: u64| Stamp::from_bytes(u128::from(number).to_be_bytes());
        for number in 0..=VERSIONS_MAX {
            journal.know_pieces(stamp(number), 0, &pieces(0, 1)).unwrap();
        }
        assert_eq!(journal.known_pieces(stamp(0)).unwrap(), pieces(0, 0));
        assert_eq!(journal.known_pieces(stamp(1)).unwrap(), pieces(0, 1));
        let rows: i64 = journal
            .with(|db| db.query_row("SELECT count(*) FROM version_piece", [], |row| row.get(0)))
            .unwrap();
        assert_eq!(as_number(rows), VERSIONS_MAX);
    }
}
