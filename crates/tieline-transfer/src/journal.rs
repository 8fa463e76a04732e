//! What both ends of a line have to remember of files across cut lines, restarts and power cuts.
//!
//! One SQLite database for a line, in write-ahead mode and with every commit on the disk (`synchronous = FULL`): what was committed is
//! there after a power cut, and what was not is not. It says nothing of which the files themselves are not the proof: where it is lost,
//! what was under way begins anew, and what is there already is found by its content.
//!
//! | part | remembers |
//! |---|---|
//! | [`abandoned`] | what is not sent any more |
//! | [`accounts`] | receipts, the audit log, the signing keys |
//! | [`expected`] | when what is expected has come |
//! | [`incoming`] | files that are partly here, files that arrived |
//! | [`mirrors`] | which folders of an inbox are mirrors |
//! | [`outgoing`] | what is to be sent, what was delivered |
//!
//! Owned by one process at a time; its threads take turns.

pub mod abandoned;
pub mod accounts;
pub mod expected;
pub mod incoming;
pub mod mirrors;
pub mod outgoing;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// The layout of the tables; a later one is not touched.
const LAYOUT: i64 = 6;
/// The tables that each layout has more than the one before.
const TABLES: [&[&str]; LAYOUT as usize] = [
    &[incoming::TABLES, outgoing::TABLES],
    &[accounts::TABLES],
    &[outgoing::SIZE_INDEX],
    &[abandoned::TABLES],
    &[expected::TABLES],
    &[mirrors::TABLES],
];

/// The journal of one line.
#[derive(Debug)]
pub struct Journal(Mutex<Connection>);

/// Why the journal cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Its file cannot be made.
    #[error("the journal of transfers {} cannot be opened: {source}", path.display())]
    File {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another version of tieline made it.
    #[error("the journal of transfers {} has layout {found}, and this version of tieline knows {LAYOUT}; update tieline, or move the file away: transfers under way then begin anew", path.display())]
    Layout {
        /// The journal.
        path: PathBuf,
        /// What it has.
        found: i64,
    },
    /// What SQLite said.
    #[error("the journal of transfers: {0}")]
    Database(#[from] rusqlite::Error),
}

impl JournalError {
    /// Whether there is no room for it on its disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Database(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }
}

/// What a call of the journal returns.
pub type Result<T> = std::result::Result<T, JournalError>;

impl Journal {
    /// Opens the journal at `path`, readable by its owner only, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`JournalError`]. A file that is no database is an error as well, and is left as it is.
    pub fn open(path: &Path) -> Result<Self> {
        // SQLite would make it readable for everybody.
        let made: io::Result<File> =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|source| JournalError::File { path: path.into(), source })?;
        Self::prepare(Connection::open(path)?, path)
    }

    /// A journal that ends with the process, for transfers that need not be remembered longer.
    ///
    /// # Errors
    ///
    /// [`JournalError::Database`].
    pub fn in_memory() -> Result<Self> {
        Self::prepare(Connection::open_in_memory()?, Path::new(":memory:"))
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // The process that has it keeps others out at its first look, not at its first write.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        let changes = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = changes.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let missing = usize::try_from(found).ok().and_then(|found| TABLES.get(found..));
        let missing = missing.ok_or(JournalError::Layout { path: path.into(), found })?;
        missing.iter().copied().flatten().try_for_each(|tables| changes.execute_batch(tables))?;
        changes.pragma_update(None, "user_version", LAYOUT)?;
        changes.commit()?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Reads, or changes one thing.
    fn with<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        Ok(act(&self.connection())?)
    }

    /// Changes several things at once: all of them or none.
    fn change<T>(&self, act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let changes = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let made = act(&changes)?;
        changes.commit()?;
        Ok(made)
    }

    /// Leaves room for so many more pages, to see what comes of a full disk.
    #[cfg(test)]
    pub(crate) fn limit_room(&self, more_pages: i64) {
        self.with(|db| {
            let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
            db.pragma_update(None, "max_page_count", pages + more_pages)
        })
        .unwrap();
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A thread that panicked has left no transaction behind: it was rolled back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SQLite has no unsigned numbers; sizes above its largest are refused long before.
fn as_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn as_number(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_journal_is_made_for_its_owner_only_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        drop(Journal::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Journal::open(&path).is_ok());
    }

    #[test]
    fn every_commit_is_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("journal")).unwrap();
        let pragma = |name: &str| {
            journal
                .with(|db| db.pragma_query_value(None, name, |row| row.get::<_, String>(0)))
                .unwrap_or_default()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        let synchronous: i64 =
            journal.with(|db| db.pragma_query_value(None, "synchronous", |row| row.get(0))).unwrap();
        assert_eq!(synchronous, 2, "FULL");
    }

    #[test]
    fn case_4_a_second_owner_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let _first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Database(_))));
    }

    #[test]
    fn case_3_a_journal_of_another_layout_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let database = Connection::open(&path).unwrap();
        database.pragma_update(None, "user_version", 7).unwrap();
        drop(database);
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Layout { found: 7, .. }), "{error}");
    }

    #[test]
    fn a_journal_of_an_older_layout_gets_what_it_lacks_and_keeps_what_it_has() {
        for layout in 1..LAYOUT {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            let database = Connection::open(&path).unwrap();
            for tables in TABLES[..usize::try_from(layout).unwrap()].iter().copied().flatten() {
                database.execute_batch(tables).unwrap();
            }
            database.execute("INSERT INTO version (stamp) VALUES (x'01')", []).unwrap();
            database.pragma_update(None, "user_version", layout).unwrap();
            drop(database);
            for _ in 0..2 {
                let journal = Journal::open(&path).unwrap();
                assert_eq!(journal.kept_groups(0).unwrap(), []);
                let name = crate::RelativePath::parse(b"a").unwrap();
                assert_eq!(journal.abandoned("", &name).unwrap(), None);
                let kept = journal
                    .with(|db| db.query_row("SELECT count(*) FROM version", [], |row| row.get::<_, i64>(0)));
                assert_eq!(kept.unwrap(), 1, "layout {layout}");
            }
        }
    }

    #[test]
    fn case_10_a_file_that_is_no_database_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::write(&path, "not a database, but long enough to be read as the head of one".repeat(99)).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Database(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_change_that_fails_leaves_nothing() {
        let journal = Journal::in_memory().unwrap();
        let failed: Result<()> = journal.change(|db| {
            db.execute("INSERT INTO partial (inbox, path, stamp, size) VALUES ('', x'00', x'00', 0)", [])?;
            Err(rusqlite::Error::InvalidQuery)
        });
        assert!(failed.is_err());
        assert_eq!(
            journal
                .with(|db| db.query_row("SELECT count(*) FROM partial", [], |row| row.get::<_, i64>(0)))
                .unwrap(),
            0
        );
    }
}
