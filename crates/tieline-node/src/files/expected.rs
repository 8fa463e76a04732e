//! Files that somebody waits for: "by 18:00", each day.
//!
//! A day counts by its number, and what is told of a day is told once, whatever the clock does in between: an hour that comes twice, an
//! hour that does not come, a clock that is put back. It is remembered over restarts. Whoever begins to expect a file after its time is told
//! from the next day on.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tieline_io::local_time::LocalTime;
use tieline_transfer::Journal;
use tieline_transfer::journal::expected::ExpectedDays;
use tracing::warn;

use crate::config::files::Expected;

/// A file that has not come in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// The pattern of its name.
    pub name: String,
    /// When it should have been there, such as `18:00`.
    pub by: String,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was expected by {} and has not come", self.name, self.by)
    }
}

/// What is expected in one inbox.
#[derive(Debug)]
pub(super) struct Expectations {
    inbox: String,
    files: Vec<Expectation>,
}

#[derive(Debug)]
struct Expectation {
    expected: Expected,
    days: ExpectedDays,
}

impl Expectations {
    /// What is expected, and what is known of it from before.
    pub(super) fn load(inbox: &str, expected: &[Expected], journal: &Journal, now: SystemTime) -> Self {
        let files = expected.iter().map(|expected| {
            let known = journal.expected_days(inbox, &key(expected));
            let known =
                known.inspect_err(|error| warn!(%error, "what is expected begins anew")).ok().flatten();
            let days = known.unwrap_or_else(|| {
                let begun_late = LocalTime::at(now).filter(|now| now.minute >= expected.by.minute());
                let days = ExpectedDays { arrived: begun_late.map_or(0, |now| now.day), missed: 0 };
                remember(journal, inbox, expected, days);
                days
            });
            Expectation { expected: expected.clone(), days }
        });
        Self { inbox: inbox.to_owned(), files: files.collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What has not come by now and was not told of yet.
    pub(super) fn check(&mut self, now: SystemTime, journal: &Journal) -> Vec<Late> {
        let Some(now) = LocalTime::at(now) else { return Vec::new() };
        let mut missing = Vec::new();
        for Expectation { expected, days } in &mut self.files {
            days.arrived = believable(days.arrived, now.day);
            days.missed = believable(days.missed, now.day);
            if now.minute < expected.by.minute() || days.arrived >= now.day || days.missed >= now.day {
                continue;
            }
            days.missed = now.day;
            remember(journal, &self.inbox, expected, *days);
            missing.push(late(expected));
        }
        missing
    }

    /// Notes that a file of this name has come. Returns the patterns of those that were late.
    pub(super) fn on_arrived(&mut self, name: &[u8], now: SystemTime, journal: &Journal) -> Vec<String> {
        let Some(now) = LocalTime::at(now) else { return Vec::new() };
        let mut late = Vec::new();
        for Expectation { expected, days } in &mut self.files {
            if !expected.name.matches(name) {
                continue;
            }
            if days.is_late() {
                late.push(expected.name.to_string());
            }
            // With a clock that was put back it has come on the day that was missed as well.
            let arrived = now.day.max(believable(days.missed, now.day));
            if std::mem::replace(&mut days.arrived, arrived) != arrived {
                remember(journal, &self.inbox, expected, *days);
            }
        }
        late
    }

    /// What is late.
    pub(super) fn late(&self) -> Vec<Late> {
        self.files.iter().filter(|file| file.days.is_late()).map(|file| late(&file.expected)).collect()
    }
}

/// A day, unless it is so far ahead that the clock must have been wrong when it was noted.
fn believable(day: u32, today: u32) -> u32 {
    if day > today + 1 { 0 } else { day }
}

fn key(expected: &Expected) -> String {
    format!("{} {}", expected.by, expected.name)
}

fn late(expected: &Expected) -> Late {
    Late { name: expected.name.to_string(), by: expected.by.to_string() }
}

fn remember(journal: &Journal, inbox: &str, expected: &Expected, days: ExpectedDays) {
    if let Err(error) = journal.remember_expected(inbox, &key(expected), days) {
        warn!(%error, "what is expected is not remembered, and may be told of again after a restart");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const HOUR: u64 = 3600;

    /// A local time of a day: found by looking for it, in whatever time zone the machine is.
    fn at(day: u64, hour: u16) -> SystemTime {
        let start = 1_800_000_000 / 86400 * 86400 + day * 86400;
        let times = (0..48).map(|half| UNIX_EPOCH + Duration::from_secs(start + half * HOUR / 2));
        let noon = LocalTime::at(UNIX_EPOCH + Duration::from_secs(start + 12 * HOUR)).unwrap().day;
        let is_it = |time: &SystemTime| {
            LocalTime::at(*time).is_some_and(|local| local.day == noon && local.minute / 60 == hour)
        };
        (0..96)
            .map(|half| UNIX_EPOCH + Duration::from_secs(start - 24 * HOUR + half * HOUR / 2))
            .chain(times)
            .find(is_it)
            .unwrap()
    }

    fn expect_by_18() -> Vec<Expected> {
        vec![Expected { name: "pay*.csv".parse().unwrap(), by: "18:00".parse().unwrap() }]
    }

    fn check(expectations: &mut Expectations, journal: &Journal, day: u64, hour: u16) -> usize {
        expectations.check(at(day, hour), journal).len()
    }

    #[test]
    fn what_does_not_come_is_told_once_a_day_and_is_late_until_it_comes() {
        let journal = Journal::in_memory().unwrap();
        let mut files = Expectations::load("p", &expect_by_18(), &journal, at(0, 9));
        let hours = [9, 17, 18, 19, 23];
        assert_eq!(hours.map(|hour| check(&mut files, &journal, 0, hour)), [0, 0, 1, 0, 0]);
        assert_eq!(files.late()[0].to_string(), "`pay*.csv` was expected by 18:00 and has not come");
        assert_eq!(files.on_arrived(b"other.csv", at(1, 8), &journal), [""; 0]);
        assert_eq!(check(&mut files, &journal, 1, 9), 0);
        assert_eq!(files.late().len(), 1, "since yesterday");
        assert_eq!(files.on_arrived(b"pay-1.csv", at(1, 10), &journal), ["pay*.csv"]);
        assert_eq!((files.late().len(), check(&mut files, &journal, 1, 19)), (0, 0));
        assert_eq!(check(&mut files, &journal, 2, 19), 1, "each day one has to come");
    }

    #[test]
    fn a_restart_and_a_clock_that_is_put_back_tell_nothing_twice() {
        let journal = Journal::in_memory().unwrap();
        let mut files = Expectations::load("p", &expect_by_18(), &journal, at(5, 9));
        assert_eq!(check(&mut files, &journal, 5, 18), 1);
        let mut again = Expectations::load("p", &expect_by_18(), &journal, at(5, 20));
        assert_eq!((check(&mut again, &journal, 5, 20), again.late().len()), (0, 1));
        for (day, hour) in [(5, 17), (5, 18), (4, 19)] {
            assert_eq!(check(&mut again, &journal, day, hour), 0, "{day} {hour}");
        }
        again.on_arrived(b"pay.csv", at(4, 20), &journal);
        assert!(again.late().is_empty());
        let mut third = Expectations::load("p", &expect_by_18(), &journal, at(5, 21));
        assert_eq!((check(&mut third, &journal, 5, 21), third.late().len()), (0, 0));
    }

    #[test]
    fn a_clock_that_was_years_ahead_silences_nothing() {
        let journal = Journal::in_memory().unwrap();
        let mut files = Expectations::load("p", &expect_by_18(), &journal, at(900, 9));
        assert_eq!(check(&mut files, &journal, 900, 18), 1);
        assert_eq!(check(&mut files, &journal, 3, 18), 1);
    }

    #[test]
    fn who_begins_to_expect_a_file_after_its_time_is_told_from_the_next_day_on() {
        let journal = Journal::in_memory().unwrap();
        let mut files = Expectations::load("p", &expect_by_18(), &journal, at(0, 20));
        assert_eq!(check(&mut files, &journal, 0, 21), 0);
        assert_eq!(check(&mut files, &journal, 1, 18), 1);
    }
}
