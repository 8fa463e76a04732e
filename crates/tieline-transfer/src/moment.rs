//! A moment on a wall clock, and how it is written.
//!
//! The clock is that of the end which noted the moment. It may be wrong, and nothing is decided by it. As text it is RFC 3339 in
//! UTC with nine digits behind the second, so that rows sort by it and no digit of a file's time is lost.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::FileTime;

const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The first second of the year 0000 and the last one of 9999: RFC 3339 has no others.
const RFC_3339: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// Seconds and nanoseconds since 1970, UTC without leap seconds, as Linux counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    seconds: i64,
    nanoseconds: u32,
}

impl Moment {
    /// Returns the moment, none if `nanoseconds` is 10^9 or more. Seconds are negative before 1970; nanoseconds always count forward.
    #[must_use]
    pub const fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        if nanoseconds < NANOSECONDS_PER_SECOND { Some(Self { seconds, nanoseconds }) } else { None }
    }

    /// Reads a date as `2026-11-28`, and returns its first moment in UTC; none if it is no date.
    #[must_use]
    pub fn of_date(text: &str) -> Option<Self> {
        let [year, month, day] = text.split('-').collect::<Vec<_>>().try_into().ok()?;
        let number = |text: &str, len| {
            let is_number = text.len() == len && text.bytes().all(|octet| octet.is_ascii_digit());
            text.parse().ok().filter(|_: &i64| is_number)
        };
        let date = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        let days = days_before(date);
        (civil_date(days) == date).then_some(Self { seconds: days * SECONDS_PER_DAY, nanoseconds: 0 })
    }

    /// The whole seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// The rest, below 10^9.
    #[must_use]
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self { seconds: signed(since.as_secs()), nanoseconds: since.subsec_nanos() },
            Err(before) => {
                let before = before.duration();
                match before.subsec_nanos() {
                    0 => Self { seconds: -signed(before.as_secs()), nanoseconds: 0 },
                    back => Self {
                        seconds: -signed(before.as_secs()) - 1,
                        nanoseconds: NANOSECONDS_PER_SECOND - back,
                    },
                }
            }
        }
    }
}

impl From<FileTime> for Moment {
    fn from(time: FileTime) -> Self {
        Self { seconds: time.seconds, nanoseconds: time.nanoseconds.min(NANOSECONDS_PER_SECOND - 1) }
    }
}

impl fmt::Display for Moment {
    /// `2026-11-28T09:30:00.000000000Z`. A moment outside the years 0 to 9999 is written as its distance from 1970.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, nanoseconds } = *self;
        if !RFC_3339.contains(&seconds) {
            return write!(f, "1970-01-01T00:00:00Z{seconds:+}s{nanoseconds:+}ns");
        }
        let (year, month, day) = civil_date(seconds.div_euclid(SECONDS_PER_DAY));
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
    }
}

/// Year, month and day in the Gregorian calendar, `days` after 1970-01-01.
///
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil_date(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    const DAYS_FROM_0000_03_01_TO_1970: i64 = 719_468;
    // A year that starts in March has its leap day at its end.
    let days = days + DAYS_FROM_0000_03_01_TO_1970;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * era + year_of_era + i64::from(month <= 2), month, day)
}

/// The reverse of [`civil_date`], for dates that there are. Source: the same, `days_from_civil`.
fn days_before((year, month, day): (i64, i64, i64)) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_date_from_year_0_to_9999_is_the_one_a_calendar_shows() {
        let mut days = RFC_3339.start() / SECONDS_PER_DAY;
        for year in 0..=9999 {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if is_leap { 29 } else { 28 };
            for (month, len) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                for day in 1..=len {
                    assert_eq!(civil_date(days), (year, month, day));
                    assert_eq!(days_before((year, month, day)), days);
                    days += 1;
                }
            }
        }
        assert_eq!(days * SECONDS_PER_DAY, RFC_3339.end() + 1);
    }

    #[test]
    fn moments_are_written_as_rfc_3339_or_as_their_distance() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (1_795_858_200, 123_456_789, "2026-11-28T09:30:00.123456789Z"),
            (951_827_696, 1, "2000-02-29T12:34:56.000000001Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (-62_167_219_200, 0, "0000-01-01T00:00:00.000000000Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59.000000000Z"),
            (253_402_300_800, 5, "1970-01-01T00:00:00Z+253402300800s+5ns"),
            (-62_167_219_201, 0, "1970-01-01T00:00:00Z-62167219201s+0ns"),
            (i64::MAX, 999_999_999, "1970-01-01T00:00:00Z+9223372036854775807s+999999999ns"),
            (i64::MIN, 0, "1970-01-01T00:00:00Z-9223372036854775808s+0ns"),
        ] {
            assert_eq!(Moment::new(seconds, nanoseconds).unwrap().to_string(), text);
        }
    }

    #[test]
    fn dates_are_read_and_what_is_none_is_not() {
        let shown = |text| Moment::of_date(text).map(|moment| moment.to_string());
        assert_eq!(shown("2026-11-28").as_deref(), Some("2026-11-28T00:00:00.000000000Z"));
        assert_eq!(shown("2000-02-29").as_deref(), Some("2000-02-29T00:00:00.000000000Z"));
        for text in [
            "",
            "2026",
            "2026-11-31",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "26-11-28",
            "2026-11-2x",
            "+026-11-28",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn a_second_has_no_more_than_its_nanoseconds() {
        assert_eq!(Moment::new(0, 1_000_000_000), None);
        assert_eq!(Moment::new(0, u32::MAX), None);
        assert_eq!(Moment::new(7, 999_999_999).map(Moment::nanoseconds), Some(999_999_999));
    }

    #[test]
    fn a_clock_before_1970_counts_forward_inside_its_second() {
        let moment = |seconds, nanoseconds| Moment { seconds, nanoseconds };
        for (time, expected) in [
            (UNIX_EPOCH + Duration::new(7, 5), moment(7, 5)),
            (UNIX_EPOCH, moment(0, 0)),
            (UNIX_EPOCH - Duration::new(0, 1), moment(-1, 999_999_999)),
            (UNIX_EPOCH - Duration::new(3, 0), moment(-3, 0)),
            (UNIX_EPOCH - Duration::new(3, 400_000_000), moment(-4, 600_000_000)),
        ] {
            assert_eq!(Moment::from(time), expected);
        }
    }
}
