//! Which folders of an inbox are mirrors, and what is taken out of them.

use rusqlite::{OptionalExtension, params};

use super::accounts::{Accounts, keep};
use super::{Journal, Result};
use crate::path::RelativePath;

pub(super) const TABLES: &str = "
CREATE TABLE mirror (
    inbox TEXT NOT NULL,
    path BLOB NOT NULL,
    PRIMARY KEY (inbox, path)
) STRICT, WITHOUT ROWID;
";

impl Journal {
    /// Whether the folder `path` of an inbox is a mirror.
    ///
    /// # Errors
    ///
    /// What the database said, as with every method here.
    pub fn is_mirror(&self, inbox: &str, path: &RelativePath) -> Result<bool> {
        self.with(|db| {
            let mut find = db.prepare_cached("SELECT 1 FROM mirror WHERE inbox = ?1 AND path = ?2")?;
            Ok(find.query_row(params![inbox, path.as_bytes()], |_| Ok(())).optional()?.is_some())
        })
    }

    /// The folder `path` of an inbox is a mirror from now on.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn make_mirror(&self, inbox: &str, path: &RelativePath) -> Result<()> {
        self.with(|db| {
            db.prepare_cached("INSERT OR IGNORE INTO mirror (inbox, path) VALUES (?1, ?2)")?
                .execute(params![inbox, path.as_bytes()])
                .map(drop)
        })
    }

    /// Notes that what arrived at these paths is about to be removed, and what is to be kept with that.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn remove_arrived<'a>(
        &self,
        inbox: &str,
        paths: impl IntoIterator<Item = &'a [u8]>,
        accounts: &Accounts,
    ) -> Result<()> {
        self.change(|db| {
            let mut remove = db.prepare_cached("DELETE FROM arrived WHERE inbox = ?1 AND path = ?2")?;
            for path in paths {
                remove.execute(params![inbox, path])?;
            }
            keep(db, accounts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_one_in_its_inbox_only() {
        let journal = Journal::in_memory().unwrap();
        let [one, other] = [b"a", b"b"].map(|path| RelativePath::parse(path).unwrap());
        for _ in 0..2 {
            journal.make_mirror("inbox", &one).unwrap();
        }
        for (inbox, path, expected) in
            [("inbox", &one, true), ("inbox", &other, false), ("other", &one, false)]
        {
            assert_eq!(journal.is_mirror(inbox, path).unwrap(), expected, "{inbox} {path}");
        }
    }
}
