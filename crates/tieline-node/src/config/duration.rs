//! Lengths of time as people write them: `500ms`, `2s`, `5min`, `1h`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::excerpt::excerpt;
use super::mistake::Mistake;

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
/// Digits of the number; more are out of every range.
const DIGITS_MAX: usize = 9;

/// Reads a length of time out of `range`.
///
/// # Errors
///
/// [`Mistake::Duration`] or [`Mistake::DurationRange`].
pub(super) fn parse_duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Mistake> {
    let wrong = || Mistake::Duration(excerpt(text));
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    if number.is_empty() {
        return Err(wrong());
    }
    let number = if number.len() > DIGITS_MAX { None } else { number.parse::<u64>().ok() };
    number
        .map(|number| Duration::from_millis(number * unit))
        .filter(|found| range.contains(found))
        .ok_or_else(|| Mistake::DurationRange {
            found: excerpt(text),
            min: shown(*range.start()),
            max: shown(*range.end()),
        })
}

fn shown(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole =
        UNITS.into_iter().find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    whole.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

    #[test]
    fn lengths_of_time_are_read_with_their_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("2 s", 2_000),
            ("5min", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("0000024h", 86_400_000),
        ] {
            assert_eq!(parse_duration(text, DAY).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_or_out_of_range_is_refused() {
        for (text, code) in [
            ("", "duration"),
            ("2", "duration"),
            ("s", "duration"),
            ("2m", "duration"),
            ("-2s", "duration"),
            ("1.5s", "duration"),
            ("2s ", "duration"),
            ("25h", "duration-range"),
            ("9999999999h", "duration-range"),
            ("999999999999999999999999s", "duration-range"),
        ] {
            assert_eq!(parse_duration(text, DAY).unwrap_err().code(), code, "{text}");
        }
    }
}
