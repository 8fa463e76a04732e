//! What was asked for, in words.

use std::fmt::Display;
use std::str::FromStr;

/// The number that follows an option, from 1 to `max`.
///
/// # Errors
///
/// What is wrong with it, in a sentence.
pub fn number<T>(name: &str, value: &str, max: T) -> Result<T, String>
where
    T: FromStr<Err: Display> + PartialOrd + From<u8> + Display,
{
    let number: T = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
    if number >= 1.into() && number <= max { Ok(number) } else { Err(format!("{name} {value}: 1 to {max}")) }
}
