//! How much of the line files may take, by the day of the week and the time of day.
//!
//! Written as entries with commas between them. The first entry whose time it is counts, and where there is none files may
//! take all of the line:
//!
//! ```text
//! 22:00-06:00 full, else 30 %
//! Mo-Fr 08:00-18:00 2 Mbit/s, Sa-Su full, else 50 %
//! 12:00-13:00 off
//! ```
//!
//! | part | written as |
//! |---|---|
//! | days | `Mo`, `Tu`, `We`, `Th`, `Fr`, `Sa`, `Su`, or from one to another: `Mo-Fr`, `Fr-Mo` |
//! | time | `HH:MM-HH:MM`, the end not included, `24:00` the end of the day; past midnight it belongs to the day on which it begins |
//! | limit | `full`, `off`, a share such as `30 %`, or a rate such as `2.5 Mbit/s` |
//! | `else` | instead of days and time, in the last entry |
//!
//! Only the time on the wall counts, and the caller says what it is. Where the clocks are put forward, an hour of the
//! schedule does not happen; where they are put back, one happens twice.

mod clock;
mod rate;
mod reading;

use std::fmt;
use std::time::Duration;

pub use clock::{Days, TimeOfDay, TimeOfDayError, Weekday};
pub use rate::{Rate, RateError};
pub use reading::{ScheduleError, ScheduleFault};

/// Entries of a schedule: one for each quarter of an hour of a working day, which nobody writes.
pub const ENTRIES_MAX: usize = 32;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Minutes of a week, after which a schedule repeats itself.
const WEEK: u16 = 7 * DAY;

/// How much of the line files may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All of it.
    Full,
    /// A part of it in percent, from 1 to 100.
    Share(u8),
    /// So much.
    Rate(Rate),
    /// Nothing: what is under way waits.
    Off,
}

/// Which limit counts when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    entries: Vec<Entry>,
    otherwise: Option<Limit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    days: Option<Days>,
    window: Option<Window>,
    limit: Limit,
}

/// Minutes of a day from `start` up to `end`, which may be on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: u16,
    /// Up to [`DAY`].
    end: u16,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    ///
    /// What is wrong with it first from the left, with the place and with what is expected there.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        reading::read(text)
    }

    /// Returns the limits that it has, of whatever time.
    pub fn limits(&self) -> impl Iterator<Item = Limit> {
        self.entries.iter().map(|entry| entry.limit).chain(self.otherwise)
    }

    /// Returns the limit at a local time.
    #[must_use]
    pub fn limit_at(&self, day: Weekday, time: TimeOfDay) -> Limit {
        self.entries
            .iter()
            .find(|entry| entry.holds_at(day, time))
            .map(|entry| entry.limit)
            .or(self.otherwise)
            .unwrap_or(Limit::Full)
    }

    /// Returns how long the limit of this minute stays the same, from the beginning of the minute; `None` is for ever.
    ///
    /// The clock on the wall may be put forward or back meanwhile, so whoever waits looks again once an hour.
    #[must_use]
    pub fn next_change(&self, day: Weekday, time: TimeOfDay) -> Option<Duration> {
        let now = self.limit_at(day, time);
        let start = day.number() * DAY + time.minute();
        let after = (1..WEEK).find(|after| {
            let then = (start + after) % WEEK;
            self.limit_at(Weekday::of_number(then / DAY), TimeOfDay::of_minute(then % DAY)) != now
        })?;
        Some(Duration::from_mins(after.into()))
    }
}

impl Entry {
    fn holds_at(&self, day: Weekday, time: TimeOfDay) -> bool {
        let holds_on = |day| self.days.is_none_or(|days| days.contains(day));
        let minute = time.minute();
        match self.window {
            None => holds_on(day),
            Some(Window { start, end }) if start < end => holds_on(day) && (start..end).contains(&minute),
            Some(Window { start, end }) => {
                (minute >= start && holds_on(day)) || (minute < end && holds_on(day.yesterday()))
            }
        }
    }
}

impl fmt::Display for Schedule {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for Entry { days, window, limit } in &self.entries {
            f.write_str(gap)?;
            gap = ", ";
            if let Some(days) = days {
                write!(f, "{days} ")?;
            }
            if let Some(Window { start, end }) = window {
                write!(f, "{}-{} ", clock::Shown(*start), clock::Shown(*end))?;
            }
            limit.fmt(f)?;
        }
        match self.otherwise {
            Some(limit) => write!(f, "{gap}else {limit}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Share(percent) => write!(f, "{percent} %"),
            Self::Rate(rate) => rate.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NIGHT: &str = "22:00-06:00 full, else 30 %";
    const OFFICE: &str = "Mo-Fr 08:00-18:00 2 Mbit/s, Sa-Su full, else 50 %";
    const LUNCH: &str = "12:00-13:00 off";
    const FRIDAY_NIGHT: &str = "Fr 22:00-06:00 off, Sa-Su 05:00-07:00 10 %";

    #[test]
    fn the_first_entry_whose_time_it_is_counts() {
        for (schedule, when, limit) in [
            (NIGHT, "Mo 22:00", "full"),
            (NIGHT, "Mo 21:59", "30 %"),
            (NIGHT, "Tu 00:00", "full"),
            (NIGHT, "Tu 05:59", "full"),
            (NIGHT, "Tu 06:00", "30 %"),
            (OFFICE, "Mo 07:59", "50 %"),
            (OFFICE, "Mo 08:00", "2 Mbit/s"),
            (OFFICE, "Fr 17:59", "2 Mbit/s"),
            (OFFICE, "Fr 18:00", "50 %"),
            (OFFICE, "Sa 00:00", "full"),
            (OFFICE, "Su 23:59", "full"),
            (OFFICE, "Mo 00:00", "50 %"),
            (LUNCH, "We 11:59", "full"),
            (LUNCH, "We 12:00", "off"),
            (LUNCH, "We 13:00", "full"),
            (FRIDAY_NIGHT, "Fr 05:59", "full"),
            (FRIDAY_NIGHT, "Fr 22:00", "off"),
            (FRIDAY_NIGHT, "Sa 05:59", "off"),
            (FRIDAY_NIGHT, "Sa 06:00", "10 %"),
            (FRIDAY_NIGHT, "Su 05:00", "10 %"),
            ("Sa-Mo 10 %", "Su 12:00", "10 %"),
            ("Sa-Mo 10 %", "Mo 12:00", "10 %"),
            ("Sa-Mo 10 %", "Tu 12:00", "full"),
            ("Su 23:00-01:00 off", "Mo 00:59", "off"),
            ("else off", "We 03:00", "off"),
        ] {
            let (day, time) = at(when);
            let found = parse(schedule).limit_at(day, time).to_string();
            assert_eq!(found, limit, "{schedule} at {when}");
        }
    }

    #[test]
    fn the_next_change_is_where_the_limit_becomes_another() {
        for (schedule, when, minutes) in [
            (NIGHT, "Mo 21:59", Some(1)),
            (NIGHT, "Mo 22:00", Some(8 * 60)),
            (NIGHT, "Su 23:00", Some(7 * 60)),
            (OFFICE, "Fr 18:00", Some(6 * 60)),
            (OFFICE, "Sa 00:00", Some(48 * 60)),
            (LUNCH, "We 13:00", Some(23 * 60)),
            ("Mo 00:00-00:01 off", "Mo 00:01", Some(7 * 24 * 60 - 1)),
            ("Mo-We full, Th-Su full", "Mo 00:00", None),
            ("else 30 %", "Mo 00:00", None),
        ] {
            let (day, time) = at(when);
            let found = parse(schedule).next_change(day, time);
            assert_eq!(found, minutes.map(Duration::from_mins), "{schedule} at {when}");
        }
    }

    #[test]
    fn what_is_shown_is_what_was_meant() {
        for (written, shown) in [
            (NIGHT, NIGHT),
            (OFFICE, OFFICE),
            (LUNCH, LUNCH),
            (" mo-FR  8:00-18:00   2000kbit/s ,ELSE 5%", "Mo-Fr 08:00-18:00 2 Mbit/s, else 5 %"),
            ("Mo 00:00-24:00 2.5 Mbit/s", "Mo 00:00-24:00 2500 kbit/s"),
        ] {
            assert_eq!(parse(written).to_string(), shown);
        }
    }

    fn limits() -> impl Strategy<Value = Limit> {
        prop_oneof![
            Just(Limit::Full),
            Just(Limit::Off),
            (1..=100_u8).prop_map(Limit::Share),
            (Rate::MIN.bits_per_second()..=Rate::MAX.bits_per_second())
                .prop_map(|rate| Limit::Rate(Rate::new(rate).unwrap())),
        ]
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let day = (0..7_u16).prop_map(Weekday::of_number);
        let days = proptest::option::of((day.clone(), day).prop_map(|(from, to)| Days::new(from, to)));
        let window = (0..DAY, 0..=DAY).prop_filter("a time", |(start, end)| start != end);
        let window = proptest::option::of(window.prop_map(|(start, end)| Window { start, end }));
        (days, window, limits())
            .prop_map(|(days, window, limit)| Entry { days, window, limit })
            .prop_filter("a when", |entry| entry.days.is_some() || entry.window.is_some())
    }

    proptest! {
        #[test]
        fn every_schedule_is_read_back_as_it_was(
            entries in proptest::collection::vec(entries(), 1..ENTRIES_MAX),
            otherwise in proptest::option::of(limits()),
        ) {
            let schedule = Schedule { entries, otherwise };
            prop_assert_eq!(Schedule::parse(&schedule.to_string()), Ok(schedule));
        }

        #[test]
        fn the_limit_is_the_same_until_the_next_change(
            entries in proptest::collection::vec(entries(), 1..4),
            start in 0..WEEK,
        ) {
            let schedule = Schedule { entries, otherwise: None };
            let limit = |minute: u16| {
                let minute = minute % WEEK;
                schedule.limit_at(Weekday::of_number(minute / DAY), TimeOfDay::of_minute(minute % DAY))
            };
            let change = schedule.next_change(Weekday::of_number(start / DAY), TimeOfDay::of_minute(start % DAY));
            let after = change.map_or(WEEK, |change| u16::try_from(change.as_secs() / 60).unwrap());
            prop_assert!((0..after).all(|after| limit(start + after) == limit(start)));
            prop_assert!(change.is_none() || limit(start + after) != limit(start));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,40}|([MoTuFrelsfuof0-9:%,\\- ]|bit/s){0,30}") {
            if let Ok(schedule) = Schedule::parse(&text) {
                prop_assert_eq!(Schedule::parse(&schedule.to_string()), Ok(schedule));
            }
        }
    }

    fn parse(text: &str) -> Schedule {
        Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn at(when: &str) -> (Weekday, TimeOfDay) {
        let (day, time) = when.split_once(' ').unwrap();
        (Weekday::named(day).unwrap(), time.parse().unwrap())
    }
}
