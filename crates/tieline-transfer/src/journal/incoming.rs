//! Files that are partly here, and files that arrived.
//!
//! A partial file is of one version of one file: of the path at which it is to appear, and of the [`Stamp`] that its sender gives to a
//! version. Its row says how much of it is on the disk for certain; what the file has beyond that is worth nothing after a power cut.
//!
//! ```text
//!  begin ─▶ held 0 ─ hold ─▶ held n … ─ whole ─▶ whole, not yet under its name ─ arrive ─▶ (arrived)
//!              └──────────┴─ forget ─▶ (gone)         └ its name is taken: forget
//! ```

use rusqlite::{OptionalExtension, Row, params};

use super::accounts::{Accounts, keep};
use super::{Journal, Result, as_integer, as_number};
use crate::content::{CHAINING_VALUE_LEN, HASH_LEN, PIECE_LEN};
use crate::path::RelativePath;
use crate::stamp::Stamp;

/// Partial files of all inboxes of a line; the oldest gives way to a new one.
pub const PARTIALS_MAX: u64 = 1024;
/// Files with the same content that are looked at; if none is there any more, it is as if there never was one.
const SAME_MAX: u32 = 4;

pub(super) const TABLES: &str = "
CREATE TABLE partial (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox TEXT NOT NULL,
    path BLOB NOT NULL,
    stamp BLOB NOT NULL,
    size INTEGER NOT NULL,
    hash BLOB,
    UNIQUE (inbox, path)
) STRICT;
CREATE TABLE piece (
    partial INTEGER NOT NULL REFERENCES partial (id) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    chaining_values BLOB NOT NULL,
    PRIMARY KEY (partial, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE arrived (
    inbox TEXT NOT NULL,
    path BLOB NOT NULL,
    stamp BLOB NOT NULL,
    copy INTEGER NOT NULL,
    size INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (inbox, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX arrived_by_hash ON arrived (hash);
";

/// A file that is partly here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialFile {
    /// Its number, also the name that it has until it is whole.
    pub id: i64,
    /// Of which version of the file it is.
    pub stamp: Stamp,
    /// Octets of the whole file.
    pub size: u64,
    /// The chaining values of the pieces that are on the disk.
    pub pieces: Vec<[u8; CHAINING_VALUE_LEN]>,
    /// The hash of the content, if all of it is on the disk.
    pub hash: Option<[u8; HASH_LEN]>,
}

impl PartialFile {
    /// Octets that are on the disk.
    #[must_use]
    pub fn held(&self) -> u64 {
        if self.hash.is_some() { self.size } else { self.pieces.len() as u64 * PIECE_LEN }
    }
}

/// A file that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedFile {
    /// Which version of the file it was.
    pub stamp: Stamp,
    /// The number that its name got, see [`crate::path::copy_name`].
    pub copy: u32,
    /// Octets.
    pub size: u64,
    /// BLAKE3 of its content.
    pub hash: [u8; HASH_LEN],
}

impl Journal {
    /// The partial file for `path`, of whichever version.
    ///
    /// # Errors
    ///
    /// What the database said, as with every method here.
    pub fn partial(&self, inbox: &str, path: &RelativePath) -> Result<Option<PartialFile>> {
        self.with(|db| {
            let mut query = db
                .prepare_cached("SELECT id, stamp, size, hash FROM partial WHERE inbox = ?1 AND path = ?2")?;
            let Some(mut found) = query.query_row(params![inbox, path.as_bytes()], partial_of).optional()?
            else {
                return Ok(None);
            };
            let mut query = db.prepare_cached(
                "SELECT first, chaining_values FROM piece WHERE partial = ?1 ORDER BY first",
            )?;
            let mut rows = query.query([found.id])?;
            while let Some(row) = rows.next()? {
                let (first, values): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                // Whatever follows a gap is not held.
                if as_number(first) != found.pieces.len() as u64 {
                    break;
                }
                found.pieces.extend(values.as_chunks().0);
            }
            Ok(Some(found))
        })
    }

    /// Begins a partial file, in place of another version's.
    ///
    /// Returns its number, and those whose files are not wanted any more.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn begin_partial(
        &self,
        inbox: &str,
        path: &RelativePath,
        stamp: Stamp,
        size: u64,
    ) -> Result<(i64, Vec<i64>)> {
        self.change(|db| {
            let mut given_up: Vec<i64> = db
                .prepare_cached("DELETE FROM partial WHERE inbox = ?1 AND path = ?2 RETURNING id")?
                .query_map(params![inbox, path.as_bytes()], |row| row.get(0))?
                .collect::<std::result::Result<_, _>>()?;
            // Of this inbox only: the files of another are not ours to remove.
            given_up.extend(
                db.prepare_cached(
                    "DELETE FROM partial WHERE inbox = ?1 AND id NOT IN
                     (SELECT id FROM partial WHERE inbox = ?1 ORDER BY id DESC LIMIT ?2) RETURNING id",
                )?
                .query_map(params![inbox, as_integer(PARTIALS_MAX - 1)], |row| row.get::<_, i64>(0))?
                .collect::<std::result::Result<Vec<_>, _>>()?,
            );
            db.prepare_cached("INSERT INTO partial (inbox, path, stamp, size) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![inbox, path.as_bytes(), stamp.as_bytes(), as_integer(size)])?;
            Ok((db.last_insert_rowid(), given_up))
        })
    }

    /// Notes that the pieces from number `first` on, with these chaining values, are on the disk. Nothing for a partial file that was
    /// forgotten meanwhile.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn hold(&self, id: i64, first: u64, pieces: &[[u8; CHAINING_VALUE_LEN]]) -> Result<()> {
        self.with(|db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO piece (partial, first, chaining_values)
                 SELECT id, ?2, ?3 FROM partial WHERE id = ?1",
            )?
            .execute(params![id, as_integer(first), pieces.as_flattened()])?;
            Ok(())
        })
    }

    /// Notes that these partial files are whole and on the disk, with these hashes; now they may get their names.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn whole(&self, files: &[(i64, [u8; HASH_LEN])]) -> Result<()> {
        self.change(|db| {
            let mut update = db.prepare_cached("UPDATE partial SET hash = ?2 WHERE id = ?1")?;
            for (id, hash) in files {
                update.execute(params![id, hash])?;
            }
            Ok(())
        })
    }

    /// Notes that files are under their names for certain; the rows of those that were partial go. That files are not any more under
    /// the names of what is `gone`. And what is to be kept with it.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn arrive<'a>(
        &self,
        inbox: &str,
        files: impl IntoIterator<Item = (Option<i64>, &'a RelativePath, ArrivedFile)>,
        gone: impl IntoIterator<Item = &'a RelativePath>,
        accounts: &Accounts,
    ) -> Result<()> {
        self.change(|db| {
            let mut remove = db.prepare_cached("DELETE FROM arrived WHERE inbox = ?1 AND path = ?2")?;
            for path in gone {
                remove.execute(params![inbox, path.as_bytes()])?;
            }
            let mut forget = db.prepare_cached("DELETE FROM partial WHERE id = ?1")?;
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO arrived (inbox, path, stamp, copy, size, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (id, path, ArrivedFile { stamp, copy, size, hash }) in files {
                forget.execute([id])?;
                insert.execute(params![inbox, path.as_bytes(), stamp.as_bytes(), copy, as_integer(size), hash])?;
            }
            keep(db, accounts)
        })
    }

    /// Forgets a partial file whose file is removed, or about to be.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn forget_partial(&self, id: i64) -> Result<()> {
        self.with(|db| db.prepare_cached("DELETE FROM partial WHERE id = ?1")?.execute([id]).map(drop))
    }

    /// The numbers of all partial files of an inbox.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn partials(&self, inbox: &str) -> Result<Vec<i64>> {
        self.with(|db| {
            db.prepare_cached("SELECT id FROM partial WHERE inbox = ?1 ORDER BY id")?
                .query_map([inbox], |row| row.get(0))?
                .collect()
        })
    }

    /// What arrived last at `path`.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn arrived(&self, inbox: &str, path: &RelativePath) -> Result<Option<ArrivedFile>> {
        self.with(|db| {
            db.prepare_cached("SELECT stamp, copy, size, hash FROM arrived WHERE inbox = ?1 AND path = ?2")?
                .query_row(params![inbox, path.as_bytes()], |row| {
                    Ok(ArrivedFile {
                        stamp: Stamp::from_bytes(row.get(0)?),
                        copy: row.get(1)?,
                        size: as_number(row.get(2)?),
                        hash: row.get(3)?,
                    })
                })
                .optional()
        })
    }

    /// Under which paths, their copy numbers in them, files with this content arrived last; a few of them.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn arrived_with(&self, inbox: &str, hash: &[u8; HASH_LEN], size: u64) -> Result<Vec<RelativePath>> {
        self.with(|db| {
            let mut query = db.prepare_cached(
                // By itself SQLite prefers the primary key, and then looks at all that arrived.
                "SELECT path, copy FROM arrived INDEXED BY arrived_by_hash
                 WHERE hash = ?1 AND inbox = ?2 AND size = ?3 LIMIT ?4",
            )?;
            let mut rows = query.query(params![hash, inbox, as_integer(size), SAME_MAX])?;
            let mut paths = Vec::new();
            while let Some(row) = rows.next()? {
                let (path, copy): (Vec<u8>, u32) = (row.get(0)?, row.get(1)?);
                // Names were checked before they got there.
                paths.extend(RelativePath::parse(&path).ok().map(|path| path.copy(copy)));
            }
            Ok(paths)
        })
    }
}

fn partial_of(row: &Row<'_>) -> rusqlite::Result<PartialFile> {
    Ok(PartialFile {
        id: row.get(0)?,
        stamp: Stamp::from_bytes(row.get(1)?),
        size: as_number(row.get(2)?),
        pieces: Vec::new(),
        hash: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INBOX: &str = "inbox";
    const STAMP: Stamp = Stamp::from_bytes([1; 16]);
    const SIZE: u64 = 10 * PIECE_LEN;

    fn path(path: &str) -> RelativePath {
        RelativePath::parse(path.as_bytes()).unwrap()
    }

    fn pieces(first: u8, count: u8) -> Vec<[u8; CHAINING_VALUE_LEN]> {
        (first..first + count).map(|number| [number; CHAINING_VALUE_LEN]).collect()
    }

    #[test]
    fn what_is_held_grows_by_what_follows() {
        let journal = Journal::in_memory().unwrap();
        let (id, given_up) = journal.begin_partial(INBOX, &path("a"), STAMP, SIZE).unwrap();
        assert_eq!(given_up, [0; 0]);
        journal.hold(id, 0, &pieces(0, 2)).unwrap();
        journal.hold(id, 2, &pieces(2, 3)).unwrap();
        let found = journal.partial(INBOX, &path("a")).unwrap().unwrap();
        assert_eq!(found, PartialFile { id, stamp: STAMP, size: SIZE, pieces: pieces(0, 5), hash: None });
        assert_eq!(found.held(), 5 * PIECE_LEN);
        journal.hold(id, 7, &pieces(7, 1)).unwrap();
        assert_eq!(journal.partial(INBOX, &path("a")).unwrap().unwrap().pieces, pieces(0, 5), "a gap");
    }

    #[test]
    fn inboxes_and_paths_are_apart() {
        let journal = Journal::in_memory().unwrap();
        journal.begin_partial(INBOX, &path("a"), STAMP, SIZE).unwrap();
        assert_eq!(journal.partial("other", &path("a")).unwrap(), None);
        assert_eq!(journal.partial(INBOX, &path("b")).unwrap(), None);
        assert_eq!(journal.partials("other").unwrap(), [0; 0]);
    }

    #[test]
    fn another_version_takes_the_place_and_its_pieces_go() {
        let journal = Journal::in_memory().unwrap();
        let (old, _) = journal.begin_partial(INBOX, &path("a"), STAMP, SIZE).unwrap();
        journal.hold(old, 0, &pieces(0, 2)).unwrap();
        let newer = Stamp::from_bytes([2; 16]);
        let (new, given_up) = journal.begin_partial(INBOX, &path("a"), newer, 7).unwrap();
        assert_eq!(given_up, [old]);
        let found = journal.partial(INBOX, &path("a")).unwrap().unwrap();
        assert_eq!(found, PartialFile { id: new, stamp: newer, size: 7, pieces: Vec::new(), hash: None });
        journal.hold(old, 0, &pieces(0, 2)).unwrap();
        let rows: i64 =
            journal.with(|db| db.query_row("SELECT count(*) FROM piece", [], |row| row.get(0))).unwrap();
        assert_eq!(rows, 0, "what was forgotten holds nothing");
    }

    #[test]
    fn a_whole_file_is_held_to_its_end_and_arrives_once() {
        let journal = Journal::in_memory().unwrap();
        let (id, _) = journal.begin_partial(INBOX, &path("a"), STAMP, SIZE).unwrap();
        let hash = [9; HASH_LEN];
        journal.whole(&[(id, hash)]).unwrap();
        assert_eq!(journal.partial(INBOX, &path("a")).unwrap().unwrap().held(), SIZE);
        let arrived = ArrivedFile { stamp: STAMP, copy: 2, size: SIZE, hash };
        journal
            .arrive(
                INBOX,
                [(Some(id), &path("a"), arrived), (None, &path("b"), arrived)],
                [],
                &Accounts::default(),
            )
            .unwrap();
        assert_eq!(journal.partial(INBOX, &path("a")).unwrap(), None);
        for name in ["a", "b"] {
            assert_eq!(journal.arrived(INBOX, &path(name)).unwrap(), Some(arrived));
        }
        assert_eq!(journal.arrived("other", &path("a")).unwrap(), None);
        journal.arrive(INBOX, [], [&path("a")], &Accounts::default()).unwrap();
        assert_eq!(journal.arrived(INBOX, &path("a")).unwrap(), None, "gone");
    }

    #[test]
    fn the_oldest_partial_file_gives_way() {
        let journal = Journal::in_memory().unwrap();
        let ids: Vec<i64> = (0..=PARTIALS_MAX)
            .map(|number| journal.begin_partial(INBOX, &path(&number.to_string()), STAMP, SIZE).unwrap().0)
            .collect();
        assert_eq!(journal.partials(INBOX).unwrap(), ids[1..]);
        let (_, given_up) = journal.begin_partial(INBOX, &path("one more"), STAMP, SIZE).unwrap();
        assert_eq!(given_up, [ids[1]]);
    }
}
