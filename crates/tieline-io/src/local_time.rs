//! What the clock on the wall says, for whoever configures times of day.

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// A minute of a day, in the time zone of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// A number of the day: greater than those of all days before it, and never 0.
    pub day: u32,
    /// From 0 for Monday to 6.
    pub weekday: u8,
    /// Of the day, below 1,440.
    pub minute: u16,
    /// Of the minute, up to 60.
    pub second: u8,
}

impl LocalTime {
    /// Returns the local time at `now`; none for a time that no calendar has.
    #[must_use]
    pub fn at(now: SystemTime) -> Option<Self> {
        let seconds = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let seconds = libc::time_t::try_from(seconds).ok()?;
        let mut broken_down = MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: both pointers are valid for the call, and `tm` is a structure of numbers and one pointer, which nobody follows here.
        let result = unsafe { libc::localtime_r(&raw const seconds, broken_down.as_mut_ptr()) };
        if result.is_null() {
            return None;
        }
        // SAFETY: it was zeroed, which every field may be, and then filled.
        let tm = unsafe { broken_down.assume_init() };
        let number = |value: libc::c_int| u16::try_from(value).ok();
        // The C library begins with Sunday.
        let weekday = (number(tm.tm_wday)? + 6) % 7;
        let minute = number(tm.tm_hour)? * 60 + number(tm.tm_min)?;
        // Days of a year are counted from 0, years from 1900.
        let day = u32::from(number(tm.tm_year)?) * 366 + u32::from(number(tm.tm_yday)?) + 1;
        Some(Self {
            day,
            weekday: weekday.try_into().ok()?,
            minute,
            second: number(tm.tm_sec)?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_what_the_system_says() {
        for seconds in [0, 951_782_400, 1_795_862_124, 1_806_500_000] {
            let said = Command::new("date")
                .args(["-d", &format!("@{seconds}"), "+%u %H %M %S %Y %j"])
                .output()
                .unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            let fields: Vec<u16> = said.split_whitespace().map(|field| field.parse().unwrap()).collect();
            let local = LocalTime::at(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            let expected = LocalTime {
                day: u32::from(fields[4] - 1900) * 366 + u32::from(fields[5]),
                weekday: u8::try_from(fields[0] - 1).unwrap(),
                minute: fields[1] * 60 + fields[2],
                second: u8::try_from(fields[3]).unwrap(),
            };
            assert_eq!(local, expected, "{seconds}");
        }
    }

    #[test]
    fn a_time_before_all_calendars_is_none() {
        assert_eq!(LocalTime::at(UNIX_EPOCH - Duration::from_secs(1)), None);
    }
}
