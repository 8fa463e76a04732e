//! What was asked for, in words.

use std::fmt::Display;
use std::str::FromStr;

/// Options of which each is followed by its value, but for `flags`, whose value is empty. `set` says whether there is one of that name.
///
/// # Errors
///
/// What is wrong with the arguments, or how they are used, in sentences.
pub fn parse<O: Default>(
    arguments: &[String],
    usage: &str,
    flags: &[&str],
    set: impl Fn(&mut O, &str, &str) -> Result<bool, String>,
) -> Result<O, String> {
    let mut options = O::default();
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        if name == "--help" {
            return Err(usage.into());
        }
        let value = if flags.contains(&name.as_str()) {
            ""
        } else {
            arguments.next().ok_or(format!("{name} needs a value, or is no option\n{usage}"))?
        };
        if !set(&mut options, name, value)? {
            return Err(format!("{name}: there is no such option\n{usage}"));
        }
    }
    Ok(options)
}

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

/// Those of `all` whose names follow an option with commas between them, in the order in which they are given.
///
/// # Errors
///
/// Which name is none.
pub fn list<T: Copy>(
    option: &str,
    value: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let find = |wanted: &str| all.iter().copied().find(|known| name(*known) == wanted);
    value.split(',').map(|wanted| find(wanted).ok_or(format!("{option}: there is no {wanted}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Options {
        rounds: u32,
        fast: bool,
    }

    fn parsed(arguments: &[&str]) -> Result<Options, String> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        parse(&arguments, "usage", &["--fast"], |options: &mut Options, name, value| {
            match name {
                "--rounds" => options.rounds = number(name, value, 3)?,
                "--fast" => options.fast = true,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    #[test]
    fn flags_have_no_value_and_all_else_has_one() {
        assert_eq!(parsed(&["--fast", "--rounds", "2"]), Ok(Options { rounds: 2, fast: true }));
        for arguments in [&["--rounds"][..], &["--rounds", "4"], &["--slow", "1"], &["--help"]] {
            assert!(parsed(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn names_are_found_in_their_order_and_unknown_ones_are_refused() {
        assert_eq!(list("--of", "b,a", &["a", "b"], |name| name), Ok(vec!["b", "a"]));
        assert!(list("--of", "a,c", &["a", "b"], |name| name).is_err());
    }
}
