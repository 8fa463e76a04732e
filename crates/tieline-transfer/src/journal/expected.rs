//! On which day a file that is expected has last come, and has last been missed.

use rusqlite::{OptionalExtension, params};

use super::{Journal, Result};

pub(super) const TABLES: &str = "
CREATE TABLE expected (
    inbox TEXT NOT NULL,
    file TEXT NOT NULL,
    arrived INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    PRIMARY KEY (inbox, file)
) STRICT, WITHOUT ROWID;
";

/// Days by their numbers; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedDays {
    /// The last one on which it came.
    pub arrived: u32,
    /// The last one on which it had not come in time.
    pub missed: u32,
}

impl ExpectedDays {
    /// Whether it has been missed, and not come since.
    #[must_use]
    pub fn is_late(self) -> bool {
        self.missed > self.arrived
    }
}

impl Journal {
    /// What is known of an expected file.
    ///
    /// # Errors
    ///
    /// What the database said, as with every method here.
    pub fn expected_days(&self, inbox: &str, file: &str) -> Result<Option<ExpectedDays>> {
        self.with(|db| {
            db.prepare_cached("SELECT arrived, missed FROM expected WHERE inbox = ?1 AND file = ?2")?
                .query_row([inbox, file], |row| {
                    Ok(ExpectedDays { arrived: row.get(0)?, missed: row.get(1)? })
                })
                .optional()
        })
    }

    /// Remembers it. There is a row for each file that is configured, or was.
    ///
    /// # Errors
    ///
    /// What the database said.
    pub fn remember_expected(&self, inbox: &str, file: &str, days: ExpectedDays) -> Result<()> {
        self.with(|db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO expected (inbox, file, arrived, missed) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![inbox, file, days.arrived, days.missed])
            .map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_remembered_for_each_file_of_each_inbox() {
        let journal = Journal::in_memory().unwrap();
        let days = ExpectedDays { arrived: 3, missed: 4 };
        journal.remember_expected("in", "a", ExpectedDays::default()).unwrap();
        journal.remember_expected("in", "a", days).unwrap();
        assert_eq!(journal.expected_days("in", "a").unwrap(), Some(days));
        assert_eq!(journal.expected_days("in", "b").unwrap(), None);
        assert_eq!(journal.expected_days("other", "a").unwrap(), None);
        assert!(days.is_late() && !ExpectedDays { arrived: 4, missed: 4 }.is_late());
    }
}
