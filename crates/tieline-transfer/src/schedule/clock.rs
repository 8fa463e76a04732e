//! Days of the week and minutes of the day, as they are on the wall.

use std::fmt;
use std::str::FromStr;

use super::DAY;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A minute of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

/// A text that is not a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a time of day; write it as 18:00, from 00:00 to 23:59")]
pub struct TimeOfDayError;

/// Days from one to another, both included; at least one, at most all seven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: Weekday,
    last: Weekday,
}

impl Weekday {
    const ALL: [(Self, &str); 7] = [
        (Self::Monday, "Mo"),
        (Self::Tuesday, "Tu"),
        (Self::Wednesday, "We"),
        (Self::Thursday, "Th"),
        (Self::Friday, "Fr"),
        (Self::Saturday, "Sa"),
        (Self::Sunday, "Su"),
    ];

    /// Returns the day with these two letters, large or small.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, short)| short.eq_ignore_ascii_case(name)).map(|(day, _)| day)
    }

    /// Returns the number of the day, from 0 for Monday.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Returns the day with this number; after 6 the week begins again.
    #[must_use]
    pub fn of_number(number: u16) -> Self {
        Self::ALL[usize::from(number % 7)].0
    }

    pub(super) fn yesterday(self) -> Self {
        Self::of_number(self.number() + 6)
    }
}

impl fmt::Display for Weekday {
    /// Two letters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[usize::from(self.number())].1)
    }
}

impl TimeOfDay {
    /// Returns this minute of the day; after 1439 the day begins again.
    #[must_use]
    pub fn of_minute(minute: u16) -> Self {
        Self(minute % DAY)
    }

    /// Returns the minute of the day, from 0 to 1439.
    #[must_use]
    pub fn minute(self) -> u16 {
        self.0
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    /// Reads `HH:MM` or `H:MM`.
    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        read_minute(text).filter(|&minute| minute < DAY).map(Self).ok_or(TimeOfDayError)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.0).fmt(f)
    }
}

impl Days {
    /// Returns the days from `first` to `last`, over the end of the week if need be.
    #[must_use]
    pub fn new(first: Weekday, last: Weekday) -> Self {
        Self { first, last }
    }

    /// Whether `day` is one of them.
    #[must_use]
    pub fn contains(self, day: Weekday) -> bool {
        let since_first = |day: Weekday| (day.number() + 7 - self.first.number()) % 7;
        since_first(day) <= since_first(self.last)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        if self.last == self.first { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

/// A minute from 0 to [`DAY`] as `HH:MM`.
pub(super) struct Shown(pub(super) u16);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Reads a minute from `00:00` to `24:00`.
pub(super) fn read_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let are_digits = |digits: &str| digits.bytes().all(|octet| octet.is_ascii_digit());
    if !matches!(hour.len(), 1 | 2) || minute.len() != 2 || !are_digits(hour) || !are_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let sum = hour * 60 + minute;
    (minute < 60 && sum <= DAY).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read_and_others_are_refused() {
        for (text, minute) in [("00:00", 0), ("9:05", 545), ("18:00", 1080), ("23:59", 1439)] {
            assert_eq!(text.parse(), Ok(TimeOfDay(minute)), "{text}");
        }
        for text in [
            "",
            ":",
            "18",
            "18:0",
            "18:000",
            "118:00",
            "24:00",
            "25:00",
            "18:60",
            "+8:00",
            "18:+1",
            "１８:00",
        ] {
            assert_eq!(text.parse::<TimeOfDay>(), Err(TimeOfDayError), "{text}");
        }
    }

    #[test]
    fn days_go_from_the_first_to_the_last_over_the_end_of_the_week() {
        for (first, last, days) in [
            ("Mo", "Fr", "MoTuWeThFr"),
            ("Fr", "Mo", "MoFrSaSu"),
            ("Su", "Su", "Su"),
            ("Mo", "Su", "MoTuWeThFrSaSu"),
            ("Tu", "Mo", "MoTuWeThFrSaSu"),
        ] {
            let range = Days::new(Weekday::named(first).unwrap(), Weekday::named(last).unwrap());
            let found: String = (0..7)
                .map(Weekday::of_number)
                .filter(|day| range.contains(*day))
                .map(|day| day.to_string())
                .collect();
            assert_eq!(found, days);
        }
    }
}
