//! Files of an outbox that are not sent any more, until they change: somebody cancelled them, or the far end refuses them for good.
//!
//! What is kept is about files that are there: of a file that is gone its row goes as well, with the next scan.

use rusqlite::{OptionalExtension, params};

use super::accounts::{Accounts, keep};
use super::{Journal, Result};
use crate::audit::Entry;
use crate::path::RelativePath;
use crate::stamp::Stamp;

/// Rows that are looked at in one go, so that others get their turn.
const PAGE: u32 = 1024;

pub(super) const TABLES: &str = "
CREATE TABLE abandoned (
    outbox TEXT NOT NULL,
    path BLOB NOT NULL,
    stamp BLOB NOT NULL,
    reason TEXT,
    PRIMARY KEY (outbox, path)
) STRICT, WITHOUT ROWID;
";

/// A file that is not sent any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbandonedFile {
    /// Which version of the file; another one is sent.
    pub stamp: Stamp,
    /// Why the far end refuses it; none if somebody cancelled it.
    pub reason: Option<String>,
}

impl Journal {
    /// Notes that files of an outbox are not sent any more, each with what the log says of it. Returns which of them are new; of one that
    /// was noted before nothing is logged again.
    ///
    /// # Errors
    ///
    /// What the database said, as with every method here.
    pub fn abandon<'a>(
        &self,
        outbox: &str,
        files: impl IntoIterator<Item = (&'a RelativePath, AbandonedFile, Entry)>,
    ) -> Result<Vec<bool>> {
        self.change(|db| {
            let mut insert = db.prepare_cached(
                "INSERT INTO abandoned (outbox, path, stamp, reason) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (outbox, path) DO UPDATE SET stamp = excluded.stamp, reason = excluded.reason
                 WHERE stamp != excluded.stamp OR (reason IS NULL) != (excluded.reason IS NULL)",
            )?;
            let (mut new, mut entries) = (Vec::new(), Vec::new());
            for (path, AbandonedFile { stamp, reason }, entry) in files {
                let row = params![outbox, path.as_bytes(), stamp.as_bytes(), reason];
                let is_new = insert.execute(row)? > 0;
                new.push(is_new);
                entries.extend(is_new.then_some(entry));
            }
            keep(db, &Accounts { groups: Vec::new(), entries })?;
            Ok(new)
        })
    }

    /// Whether a version of `path` is not sent any more, and which.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn abandoned(&self, outbox: &str, path: &RelativePath) -> Result<Option<AbandonedFile>> {
        self.with(|db| {
            db.prepare_cached("SELECT stamp, reason FROM abandoned WHERE outbox = ?1 AND path = ?2")?
                .query_row(params![outbox, path.as_bytes()], |row| {
                    Ok(AbandonedFile { stamp: Stamp::from_bytes(row.get(0)?), reason: row.get(1)? })
                })
                .optional()
        })
    }

    /// Forgets those files of an outbox that are not there any more.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn forget_abandoned(&self, outbox: &str, is_there: impl Fn(&RelativePath) -> bool) -> Result<()> {
        let mut after: Vec<u8> = Vec::new();
        loop {
            let page: Vec<Vec<u8>> = self.with(|db| {
                db.prepare_cached(
                    "SELECT path FROM abandoned WHERE outbox = ?1 AND path > ?2 ORDER BY path LIMIT ?3",
                )?
                .query_map(params![outbox, after, PAGE], |row| row.get(0))?
                .collect()
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(last);
            let is_gone = |path: &&Vec<u8>| !RelativePath::parse(path).is_ok_and(|path| is_there(&path));
            let gone: Vec<_> = page.iter().filter(is_gone).collect();
            if gone.is_empty() {
                continue;
            }
            self.change(|db| {
                let mut forget =
                    db.prepare_cached("DELETE FROM abandoned WHERE outbox = ?1 AND path = ?2")?;
                gone.into_iter().try_for_each(|path| forget.execute(params![outbox, path]).map(drop))
            })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Direction, Event};
    use crate::moment::Moment;
    use crate::receipt::TransferId;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text.as_bytes()).unwrap()
    }

    fn entry(event: Event) -> Entry {
        let (at, transfer) = (Moment::new(1, 2).unwrap(), TransferId::NONE);
        let (direction, path) = (Direction::Sent, (*b"a").into());
        Entry {
            at,
            event,
            direction,
            transfer,
            entry: 0,
            path,
            size: 1,
            hash: None,
            reason: None,
            receipt: None,
        }
    }

    fn note(journal: &Journal, name: &str, stamp: u8, reason: Option<&str>) -> bool {
        let file =
            AbandonedFile { stamp: Stamp::from_bytes([stamp; 16]), reason: reason.map(ToOwned::to_owned) };
        let event = if reason.is_some() { Event::GivenUp } else { Event::Cancelled };
        journal.abandon("out", [(&path(name), file, entry(event))]).unwrap()[0]
    }

    #[test]
    fn a_version_is_noted_and_logged_once_and_another_one_anew() {
        let journal = Journal::in_memory().unwrap();
        assert!(note(&journal, "a", 1, Some("its name")));
        assert!(!note(&journal, "a", 1, Some("its name, said otherwise")));
        assert!(note(&journal, "a", 1, None), "cancelled after it was given up");
        assert!(!note(&journal, "a", 1, None));
        assert!(note(&journal, "a", 2, None), "it changed");
        let found = journal.abandoned("out", &path("a")).unwrap();
        assert_eq!(found, Some(AbandonedFile { stamp: Stamp::from_bytes([2; 16]), reason: None }));
        assert_eq!(journal.abandoned("other", &path("a")).unwrap(), None);
        assert_eq!(journal.kept_links(0).unwrap().len(), 3);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_nothing_else() {
        let journal = Journal::in_memory().unwrap();
        let names: Vec<String> = (0..2 * PAGE + 7).map(|number| format!("{number}")).collect();
        for name in &names {
            note(&journal, name, 1, None);
        }
        let is_even = |path: &RelativePath| path.to_string().parse::<u32>().unwrap().is_multiple_of(2);
        journal.forget_abandoned("other", |_| false).unwrap();
        journal.forget_abandoned("out", is_even).unwrap();
        for name in &names {
            let is_known = journal.abandoned("out", &path(name)).unwrap().is_some();
            assert_eq!(is_known, is_even(&path(name)), "{name}");
        }
    }
}
