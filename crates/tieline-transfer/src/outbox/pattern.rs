//! Patterns for names: `*` is any number of characters, `?` is one, letters match large and small.
//!
//! A pattern is about one name, of a file or a folder, wherever it is. Matching takes at most the product of both lengths
//! in steps.

use std::fmt;
use std::str::FromStr;

use crate::path::COMPONENT_LEN_MAX;

/// Octets of a pattern: as long as the longest name.
pub const PATTERN_LEN_MAX: usize = COMPONENT_LEN_MAX;

/// A pattern for names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern(Box<str>);

/// A text that is not a pattern for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing.
    #[error("is empty and would match nothing")]
    Empty,
    /// Longer than [`PATTERN_LEN_MAX`].
    #[error("is longer than {PATTERN_LEN_MAX} octets, and so than any name")]
    TooLong,
    /// It has a slash or a control character, which no name has.
    #[error("has {0:?}, which no name has; a pattern is for the name of a file or folder, wherever it is")]
    NotInNames(char),
    /// It is written as for a shell.
    #[error("has `{0}`, which stands for nothing here; `?` is one character, `*` is any number of them")]
    Bracket(char),
}

impl NamePattern {
    /// Returns it as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of `name` matches.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut at, mut in_name) = (0, 0);
        // What follows the last `*`, and how much of the name that `*` leaves to it.
        let mut star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, in_name));
                }
                Some(b'?') => {
                    at += 1;
                    in_name += character_len(&name[in_name..]);
                }
                Some(octet) if octet.eq_ignore_ascii_case(&name[in_name]) => {
                    at += 1;
                    in_name += 1;
                }
                _ => {
                    let Some((after, taken)) = star else { return false };
                    in_name = taken + character_len(&name[taken..]);
                    at = after;
                    star = Some((after, in_name));
                }
            }
        }
        pattern[at..].iter().all(|&octet| octet == b'*')
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    /// Reads a pattern.
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let not_in_names = |character: &char| *character == '/' || character.is_ascii_control();
        match text.chars().find(not_in_names) {
            Some(character) => Err(PatternError::NotInNames(character)),
            None if text.is_empty() => Err(PatternError::Empty),
            None if text.len() > PATTERN_LEN_MAX => Err(PatternError::TooLong),
            None => match text.chars().find(|character| matches!(character, '[' | ']' | '{' | '}' | '\\')) {
                Some(bracket) => Err(PatternError::Bracket(bracket)),
                None => Ok(Self(text.into())),
            },
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Octets of the first character; of what is not UTF-8, one.
fn character_len(octets: &[u8]) -> usize {
    let chunk = octets.utf8_chunks().next();
    chunk.and_then(|chunk| chunk.valid().chars().next()).map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_match_as_people_expect() {
        for (pattern, name, matches) in [
            ("*.tmp", "a.tmp", true),
            ("*.tmp", "a.TMP", true),
            ("*.tmp", ".tmp", true),
            ("*.tmp", "a.tmp2", false),
            ("*~", "letter.txt~", true),
            ("*~", "~letter.txt", false),
            (".*.sw?", ".report.swp", true),
            (".*.sw?", "report.swp", false),
            (".*.sw?", ".report.swap", false),
            ("payroll*.csv", "payroll.csv", true),
            ("payroll*.csv", "payroll-2026-11.csv.csv", true),
            ("payroll*.csv", "payroll.csv.gz", false),
            ("*", "anything", true),
            ("**", "", true),
            ("?", "ü", true),
            ("?", "üü", false),
            ("*?", "ü", true),
            ("*??", "ü", false),
            ("b?ro*", "büro.txt", true),
            ("*a*b*c", "xxaxxbxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name.as_bytes()), matches, "{pattern} {name}");
        }
        assert!("a?b".parse::<NamePattern>().unwrap().matches(b"a\xffb"));
    }

    #[test]
    fn what_is_no_pattern_for_names_is_refused() {
        let long = "x".repeat(PATTERN_LEN_MAX + 1);
        for (text, error) in [
            ("", PatternError::Empty),
            (&long, PatternError::TooLong),
            ("a/b", PatternError::NotInNames('/')),
            ("a\n", PatternError::NotInNames('\n')),
            ("*.[ch]", PatternError::Bracket('[')),
            ("*.{c,h}", PatternError::Bracket('{')),
        ] {
            assert_eq!(text.parse::<NamePattern>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_worst_pattern_is_matched_in_few_steps() {
        let pattern: NamePattern = "*a".repeat(127).parse().unwrap();
        assert!(!pattern.matches(&[&[b'a'; 254][..], b"b"].concat()));
    }

    proptest! {
        #[test]
        fn a_name_matches_as_in_the_simple_definition(pattern in "[ab*?]{1,8}", name in "[abAü]{0,8}") {
            let name: Vec<char> = name.chars().collect();
            let simple = matches_simply(&pattern.chars().collect::<Vec<_>>(), &name);
            let octets: String = name.iter().collect();
            prop_assert_eq!(pattern.parse::<NamePattern>().unwrap().matches(octets.as_bytes()), simple);
        }
    }

    fn matches_simply(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            (['*', rest @ ..], name) => (0..=name.len()).any(|taken| matches_simply(rest, &name[taken..])),
            (['?', rest @ ..], [_, name @ ..]) => matches_simply(rest, name),
            ([one, rest @ ..], [other, name @ ..]) => {
                one.eq_ignore_ascii_case(other) && matches_simply(rest, name)
            }
            (_, []) => false,
        }
    }
}
