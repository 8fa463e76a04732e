//! Reading a schedule, with the place of what is wrong in it.

use super::clock::{Days, Weekday, read_minute};
use super::rate::{Rate, RateError};
use super::{ENTRIES_MAX, Entry, Limit, Schedule, Window};
use crate::path::Escaped;

/// Characters that an error shows of what was written.
const SHOWN_MAX: usize = 24;

/// What is wrong with a schedule, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {fault}")]
pub struct ScheduleError {
    /// The first character of what is wrong, from 1.
    pub at: usize,
    /// What is wrong with it.
    pub fault: ScheduleFault,
}

/// What is wrong with a part of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleFault {
    /// Nothing stands where an entry should.
    #[error("an entry is expected, such as `22:00-06:00 full` or `else 30 %`")]
    NoEntry,
    /// More entries than [`ENTRIES_MAX`].
    #[error("a schedule has at most {ENTRIES_MAX} entries")]
    TooMany,
    /// Neither days nor a time nor `else`.
    #[error(
        "`{0}` is no day and no time; days are Mo Tu We Th Fr Sa Su, a time is 22:00-06:00, the rest is `else`"
    )]
    When(String),
    /// Not a span of time.
    #[error("`{0}` is not a time; write it as 22:00-06:00, up to 24:00")]
    Time(String),
    /// It ends where it begins.
    #[error("`{0}` ends where it begins; leave the time out if all of the day is meant")]
    EmptyTime(String),
    /// There is none.
    #[error("a limit is expected: full, off, a share such as 30 %, or a rate such as 2 Mbit/s")]
    NoLimit,
    /// Not a limit.
    #[error("`{0}` is not a limit; write full, off, a share such as 30 %, or a rate such as 2 Mbit/s")]
    Limit(String),
    /// Not a share.
    #[error("`{0}` is not a share; write it as 30 %, from 1 % to 100 %, or `off`")]
    Share(String),
    /// A rate that is none.
    #[error("`{written}` {error}")]
    Rate {
        /// What was written.
        written: String,
        /// What is wrong with it.
        error: RateError,
    },
    /// An entry that is never reached.
    #[error("nothing can follow `else`; put it last")]
    AfterElse,
}

pub(super) fn read(text: &str) -> Result<Schedule, ScheduleError> {
    let mut schedule = Schedule { entries: Vec::new(), otherwise: None };
    for (number, entry) in Part::of(text).split(',').enumerate() {
        let mut entry = entry.trim();
        if entry.text.is_empty() {
            return Err(entry.is(ScheduleFault::NoEntry));
        }
        if number == ENTRIES_MAX {
            return Err(entry.is(ScheduleFault::TooMany));
        }
        if schedule.otherwise.is_some() {
            return Err(entry.is(ScheduleFault::AfterElse));
        }
        if entry.first_word().text.eq_ignore_ascii_case("else") {
            entry.take_word();
            schedule.otherwise = Some(limit(entry)?);
        } else {
            let (days, window) = when(&mut entry)?;
            schedule.entries.push(Entry { days, window, limit: limit(entry)? });
        }
    }
    Ok(schedule)
}

/// Takes days, a time, or both.
fn when(entry: &mut Part<'_>) -> Result<(Option<Days>, Option<Window>), ScheduleError> {
    let days = days(entry.first_word());
    if days.is_some() {
        entry.take_word();
    }
    let word = entry.first_word();
    let window = if word.text.contains(':') { Some(window(word)?) } else { None };
    if window.is_some() {
        entry.take_word();
    }
    if days.is_none() && window.is_none() {
        return Err(word.is(ScheduleFault::When(word.shown())));
    }
    Ok((days, window))
}

fn days(word: Part<'_>) -> Option<Days> {
    let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
    Some(Days::new(Weekday::named(first)?, Weekday::named(last)?))
}

fn window(word: Part<'_>) -> Result<Window, ScheduleError> {
    let minutes =
        word.text.split_once('-').and_then(|(start, end)| Some((read_minute(start)?, read_minute(end)?)));
    match minutes {
        Some((start, end)) if start == end => Err(word.is(ScheduleFault::EmptyTime(word.shown()))),
        Some((start, end)) if start < super::DAY => Ok(Window { start, end }),
        _ => Err(word.is(ScheduleFault::Time(word.shown()))),
    }
}

fn limit(part: Part<'_>) -> Result<Limit, ScheduleError> {
    let text = part.text;
    if text.is_empty() {
        return Err(part.is(ScheduleFault::NoLimit));
    }
    if text.eq_ignore_ascii_case("full") {
        return Ok(Limit::Full);
    }
    if text.eq_ignore_ascii_case("off") {
        return Ok(Limit::Off);
    }
    if let Some(number) = text.strip_suffix('%') {
        let number = number.trim_end();
        let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
        let percent = number.parse().ok().filter(|percent| is_number && (1..=100).contains(percent));
        return percent.map(Limit::Share).ok_or_else(|| part.is(ScheduleFault::Share(part.shown())));
    }
    match text.parse::<Rate>() {
        Ok(rate) => Ok(Limit::Rate(rate)),
        Err(RateError::NotARate) => Err(part.is(ScheduleFault::Limit(part.shown()))),
        Err(error) => Err(part.is(ScheduleFault::Rate { written: part.shown(), error })),
    }
}

/// A part of the text that knows where it stands.
#[derive(Clone, Copy)]
struct Part<'t> {
    whole: &'t str,
    text: &'t str,
    /// In octets.
    start: usize,
}

impl<'t> Part<'t> {
    fn of(whole: &'t str) -> Self {
        Self { whole, text: whole, start: 0 }
    }

    fn split(self, separator: char) -> impl Iterator<Item = Self> {
        let mut start = self.start;
        self.text.split(separator).map(move |text| {
            let part = Self { text, start, ..self };
            start += text.len() + separator.len_utf8();
            part
        })
    }

    fn trim(self) -> Self {
        let text = self.text.trim_start();
        Self { text: text.trim_end(), start: self.start + self.text.len() - text.len(), ..self }
    }

    fn first_word(self) -> Self {
        Self { text: self.text.split(char::is_whitespace).next().unwrap_or(""), ..self }
    }

    fn take_word(&mut self) {
        let len = self.first_word().text.len();
        *self = Self { text: &self.text[len..], start: self.start + len, ..*self }.trim();
    }

    fn is(self, fault: ScheduleFault) -> ScheduleError {
        ScheduleError { at: self.whole[..self.start].chars().count() + 1, fault }
    }

    fn shown(self) -> String {
        let cut = self.text.char_indices().nth(SHOWN_MAX).map_or(self.text.len(), |(cut, _)| cut);
        Escaped(&self.text.as_bytes()[..cut]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_place_and_what_is_expected() {
        let many = vec!["Mo full"; ENTRIES_MAX + 1].join(", ");
        for (text, at, sentence) in [
            ("", 1, "an entry is expected"),
            ("22:00-06:00 full,", 18, "an entry is expected"),
            ("22:00-06:00 full, , else off", 19, "an entry is expected"),
            ("full", 1, "`full` is no day and no time"),
            ("50 %", 1, "`50` is no day and no time"),
            ("Montag full", 1, "`Montag` is no day"),
            ("Mo-Fx full", 1, "`Mo-Fx` is no day"),
            ("ü full, else off", 1, "`ü` is no day"),
            ("Mo 22:00 full", 4, "`22:00` is not a time"),
            ("Mo 22:00-24:01 full", 4, "`22:00-24:01` is not a time"),
            ("24:00-06:00 full", 1, "`24:00-06:00` is not a time"),
            ("22:00-22:00 full", 1, "ends where it begins"),
            ("Mo 22:00-06:00", 15, "a limit is expected"),
            ("else", 5, "a limit is expected"),
            ("Mo fast", 4, "`fast` is not a limit"),
            ("Mo Tu full", 4, "`Tu full` is not a limit"),
            ("Mo full 22:00-06:00", 4, "is not a limit"),
            ("Mo 0 %", 4, "`0 %` is not a share"),
            ("Mo 101 %", 4, "from 1 % to 100 %"),
            ("Mo +5 %", 4, "`+5 %` is not a share"),
            ("Mo 99999999999999999999 %", 4, "is not a share"),
            ("Mo 3 MB/s", 4, "1 MB/s is 8 Mbit/s"),
            ("Mo 1 bit/s", 4, "must be from 1 kbit/s to 10000 Gbit/s"),
            ("else off, Mo full", 11, "nothing can follow `else`"),
            ("else off, else full", 11, "nothing can follow `else`"),
            (&many, 289, "at most 32 entries"),
        ] {
            let error = Schedule::parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.to_string().contains(sentence), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_shows_little_of_a_long_text_and_no_control_characters() {
        let error = Schedule::parse(&format!("\u{1b}[2J{}", "x".repeat(1000))).unwrap_err().to_string();
        assert!(error.len() < 200 && !error.contains('\u{1b}'), "{error}");
    }
}
