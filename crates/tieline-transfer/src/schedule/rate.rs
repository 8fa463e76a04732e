//! Rates as people write them: `2.5 Mbit/s`.

use std::fmt;
use std::str::FromStr;

/// Digits after the point; a thousandth of a bit has no meaning, and the number must stay exact.
const FRACTION_DIGITS_MAX: usize = 9;
/// Digits before the point; more are out of range in every unit.
const WHOLE_DIGITS_MAX: usize = 14;

/// The units, largest first, in bits per second.
const UNITS: [(&str, u64); 4] =
    [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];

/// A rate of data, from [`Rate::MIN`] to [`Rate::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// A text that is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not a number with a unit.
    #[error("is not a rate; write a number and bit/s, kbit/s, Mbit/s or Gbit/s, such as 50 Mbit/s")]
    NotARate,
    /// Octets per second, which nobody sells lines in.
    #[error("counts bytes; rates are in bits: 1 MB/s is 8 Mbit/s")]
    Bytes,
    /// Too little to be of use, or too much to be true.
    #[error("must be from {} to {}", Rate::MIN, Rate::MAX)]
    OutOfRange,
}

impl Rate {
    /// The least: with less, one full packet would take more than ten seconds.
    pub const MIN: Self = Self(1_000);
    /// The most: ten times what any network interface has.
    pub const MAX: Self = Self(10_000_000_000_000);

    /// Returns the rate, if it is one from [`Self::MIN`] to [`Self::MAX`].
    #[must_use]
    pub fn new(bits_per_second: u64) -> Option<Self> {
        let rate = Self(bits_per_second);
        (Self::MIN..=Self::MAX).contains(&rate).then_some(rate)
    }

    /// Returns its bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// Reads a number, which may have a point, and a unit; a space may be between them.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let number_len = text.find(|character| !is_number(character)).ok_or(RateError::NotARate)?;
        let (number, unit) = text.split_at(number_len);
        let unit = unit.trim_start_matches(' ');
        let bits = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, bits)) => *bits,
            None if !number.is_empty() && is_byte_unit(unit) => return Err(RateError::Bytes),
            None => return Err(RateError::NotARate),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return Err(RateError::NotARate);
        }
        let whole = whole.trim_start_matches('0');
        if whole.len() > WHOLE_DIGITS_MAX || fraction.len() > FRACTION_DIGITS_MAX {
            return Err(RateError::OutOfRange);
        }
        let digits = |digits: &str| digits.bytes().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        // At most 14 + 9 digits times 10^9: below 2^128.
        let scale = 10_u128.pow(u32::try_from(fraction.len()).expect("at most 9"));
        let rate = (digits(whole) * scale + digits(fraction)) * u128::from(bits) / scale;
        u64::try_from(rate).ok().and_then(Self::new).ok_or(RateError::OutOfRange)
    }
}

fn is_byte_unit(unit: &str) -> bool {
    ["B/s", "byte/s", "bytes/s"].iter().any(|bytes| {
        let prefix = unit.len().checked_sub(bytes.len()).and_then(|len| unit.split_at_checked(len));
        prefix.is_some_and(|(prefix, rest)| prefix.len() <= 2 && rest.eq_ignore_ascii_case(bytes))
    })
}

impl fmt::Display for Rate {
    /// In the largest unit of which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, bits) = UNITS
            .into_iter()
            .find(|(_, bits)| self.0.is_multiple_of(*bits))
            .expect("every rate is a number of bits");
        write!(f, "{} {unit}", self.0 / bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, bits_per_second) in [
            ("50 Mbit/s", 50_000_000),
            ("50Mbit/s", 50_000_000),
            ("2.5 mbit/s", 2_500_000),
            ("0.064 Mbit/s", 64_000),
            ("9600 bit/s", 9_600),
            ("10000 Gbit/s", 10_000_000_000_000),
            ("1.0009 kbit/s", 1_000),
            ("000000000000000001 Mbit/s", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bits_per_second)), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_its_reason() {
        for (text, error) in [
            ("", RateError::NotARate),
            ("50", RateError::NotARate),
            ("Mbit/s", RateError::NotARate),
            ("fast", RateError::NotARate),
            ("-5 Mbit/s", RateError::NotARate),
            ("1.2.3 Mbit/s", RateError::NotARate),
            (".5 Mbit/s", RateError::NotARate),
            ("5. Mbit/s", RateError::NotARate),
            ("5 Mbit", RateError::NotARate),
            ("5 Mbit/s ", RateError::NotARate),
            ("5 MB/s", RateError::Bytes),
            ("5 MiB/s", RateError::Bytes),
            ("5 bytes/s", RateError::Bytes),
            ("0 Mbit/s", RateError::OutOfRange),
            ("999 bit/s", RateError::OutOfRange),
            ("10001 Gbit/s", RateError::OutOfRange),
            ("99999999999999 bit/s", RateError::OutOfRange),
            ("1.0000000001 Mbit/s", RateError::OutOfRange),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_rate_is_read_back_as_it_was(rate in Rate::MIN.0..=Rate::MAX.0, unit in 0..=9_u32) {
            let rate = Rate::new(rate / 10_u64.pow(unit) * 10_u64.pow(unit)).unwrap_or(Rate::MIN);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
