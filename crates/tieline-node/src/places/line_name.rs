//! The name of a line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a line: 1 to 15 of `a-z`, `0-9` and `-`, a letter first.
///
/// It names files, a systemd unit and the network interface, and may be said on the telephone; the rules are the
/// strictest of these. 15 is what an interface name can hold (`IFNAMSIZ` with its NUL).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LineName(String);

/// Why a text is no [`LineName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineNameError {
    /// Nothing there.
    #[error("a line needs a name: 1 to 15 of a-z, 0-9 and -, a letter first")]
    Empty,
    /// Longer than an interface name can be.
    #[error("the name of a line has at most {max} characters (it also names the interface); this has {found}", max = LineName::BYTES_MAX)]
    TooLong {
        /// Characters found.
        found: usize,
    },
    /// The first character is no letter.
    #[error("the name of a line starts with a letter a-z, not with {0:?}")]
    FirstCharacter(char),
    /// A character that some use of the name does not allow.
    #[error("the name of a line is made of a-z, 0-9 and -; {0:?} is none of them")]
    Character(char),
}

impl LineName {
    /// Longest name, in bytes (all are ASCII).
    pub const BYTES_MAX: usize = 15;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes the name that is nearest to `text`: lower case, other characters as `-`, cut to length; `None` if nothing
    /// is left of it.
    #[must_use]
    pub fn nearest(text: &str) -> Option<Self> {
        let mut name = String::new();
        for character in text.chars() {
            let character = character.to_ascii_lowercase();
            let fits = is_allowed(character) && character != '-';
            if name.is_empty() && !character.is_ascii_lowercase() {
                continue;
            }
            if name.len() == Self::BYTES_MAX {
                break;
            }
            if fits {
                name.push(character);
            } else if !name.ends_with('-') {
                name.push('-');
            }
        }
        name.trim_end_matches('-').parse().ok()
    }
}

impl FromStr for LineName {
    type Err = LineNameError;

    fn from_str(text: &str) -> Result<Self, LineNameError> {
        let first = text.chars().next().ok_or(LineNameError::Empty)?;
        if let Some(other) = text.chars().find(|character| !is_allowed(*character)) {
            return Err(LineNameError::Character(other));
        }
        if !first.is_ascii_lowercase() {
            return Err(LineNameError::FirstCharacter(first));
        }
        if text.len() > Self::BYTES_MAX {
            return Err(LineNameError::TooLong { found: text.len() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LineName {
    type Error = LineNameError;

    fn try_from(text: String) -> Result<Self, LineNameError> {
        text.parse()
    }
}

impl From<LineName> for String {
    fn from(name: LineName) -> Self {
        name.0
    }
}

impl fmt::Display for LineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_kept_as_they_are() {
        for name in ["a", "berlin", "site-2", "abcdefghijklmno"] {
            assert_eq!(name.parse::<LineName>().expect(name).as_str(), name);
        }
    }

    #[test]
    fn every_bad_name_is_refused_with_its_reason() {
        let bad = [
            ("", LineNameError::Empty),
            ("abcdefghijklmnop", LineNameError::TooLong { found: 16 }),
            ("2berlin", LineNameError::FirstCharacter('2')),
            ("-berlin", LineNameError::FirstCharacter('-')),
            ("Berlin", LineNameError::Character('B')),
            ("ber lin", LineNameError::Character(' ')),
            ("../etc", LineNameError::Character('.')),
            ("a/b", LineNameError::Character('/')),
            ("münchen", LineNameError::Character('ü')),
            ("a\0", LineNameError::Character('\0')),
        ];
        for (name, reason) in bad {
            assert_eq!(name.parse::<LineName>(), Err(reason), "{name:?}");
        }
    }

    #[test]
    fn the_nearest_name_keeps_what_can_be_kept() {
        let nearest = |text| LineName::nearest(text).map(String::from);
        assert_eq!(nearest("Berlin").as_deref(), Some("berlin"));
        assert_eq!(nearest("wg0").as_deref(), Some("wg0"));
        assert_eq!(nearest("10 Downing. Street").as_deref(), Some("downing-street"));
        assert_eq!(nearest("an-office-with-a-long-name").as_deref(), Some("an-office-with"));
        assert_eq!(nearest("42"), None);
    }
}
