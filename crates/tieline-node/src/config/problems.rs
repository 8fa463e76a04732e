//! All mistakes of a line's files at once, each with its place, printed as a compiler does.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::mistake::Mistake;

/// Mistakes reported of one file; a file with more is not a configuration with mistakes but another file.
pub const PROBLEMS_PER_FILE_MAX: usize = 64;

/// Where in a file: row and column from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The row.
    pub row: usize,
    /// The character in the row.
    pub column: usize,
}

/// One mistake and where it is.
#[derive(Debug)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in the file; `None` if it is about the file as a whole.
    pub place: Option<Place>,
    /// The key, as in `offer[1]` or `peer.address`; `None` if it is about no key.
    pub key: Option<String>,
    /// What is wrong.
    pub mistake: Mistake,
}

/// One or more mistakes, file by file in the order of their places.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

impl Place {
    /// Finds the place of the byte at `offset`; an offset behind the end, or inside a character, is the nearest place
    /// before it.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let row_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { row: before.matches('\n').count() + 1, column: before[row_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if let Some(Place { row, column }) = self.place {
            write!(formatter, "{row}:{column}:")?;
        }
        if let Some(key) = &self.key {
            write!(formatter, " {key}:")?;
        }
        write!(formatter, " {}", self.mistake)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Problem", 6)?;
        fields.serialize_field("file", &self.file.to_string_lossy())?;
        fields.serialize_field("row", &self.place.map(|place| place.row))?;
        fields.serialize_field("column", &self.place.map(|place| place.column))?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("code", self.mistake.code())?;
        fields.serialize_field("message", &self.mistake.to_string())?;
        fields.end()
    }
}

impl Problems {
    /// The one mistake that keeps a file from being read at all.
    #[must_use]
    pub fn of_file(file: &Path, mistake: Mistake) -> Self {
        Problem { file: file.into(), place: None, key: None, mistake }.into()
    }

    /// Iterates over the mistakes; there is at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Joins the mistakes of two files.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'p> IntoIterator for &'p Problems {
    type Item = &'p Problem;
    type IntoIter = std::slice::Iter<'p, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    /// One row each.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Collects the mistakes of one file; nothing stops at the first.
#[derive(Debug)]
pub(crate) struct Collector<'t> {
    file: &'t Path,
    text: &'t str,
    found: Vec<(Range<usize>, Problem)>,
    surplus: usize,
}

impl<'t> Collector<'t> {
    pub(crate) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, found: Vec::new(), surplus: 0 }
    }

    /// Notes a mistake at the bytes `span` of the text.
    pub(crate) fn add(&mut self, span: &Range<usize>, key: Option<String>, mistake: Mistake) {
        if self.found.len() == PROBLEMS_PER_FILE_MAX {
            self.surplus += 1;
            return;
        }
        let place = Some(Place::of(self.text, span.start));
        self.found.push((span.clone(), Problem { file: self.file.into(), place, key, mistake }));
    }

    /// Returns what was collected, in the order of the file; `None` if there was nothing.
    pub(crate) fn finish(mut self) -> Option<Problems> {
        if self.found.is_empty() {
            return None;
        }
        self.found.sort_by_key(|(span, _)| span.start);
        let mut problems: Vec<Problem> = self.found.into_iter().map(|(_, problem)| problem).collect();
        if self.surplus > 0 {
            let mistake = Mistake::More(self.surplus);
            problems.push(Problem { file: self.file.into(), place: None, key: None, mistake });
        }
        Some(Problems(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_rows_and_characters_from_one() {
        let text = "ab\nüc\n\nd";
        let place = |offset| Place::of(text, offset);
        assert_eq!(place(0), Place { row: 1, column: 1 });
        assert_eq!(place(2), Place { row: 1, column: 3 });
        assert_eq!(place(3), Place { row: 2, column: 1 });
        assert_eq!(place(4), Place { row: 2, column: 1 });
        assert_eq!(place(5), Place { row: 2, column: 2 });
        assert_eq!(place(8), Place { row: 4, column: 1 });
        assert_eq!(place(999), Place { row: 4, column: 2 });
        assert_eq!(Place::of("", 0), Place { row: 1, column: 1 });
    }

    #[test]
    fn problems_are_printed_in_the_order_of_the_file_as_a_compiler_does() {
        let mut collector = Collector::new(Path::new("/etc/tieline/berlin.toml"), "one\ntwo\n");
        collector.add(&(6..7), Some("mtu".into()), Mistake::Missing("write it"));
        collector.add(&(1..2), None, Mistake::NoPeer);
        let problems = collector.finish().expect("two problems");
        assert_eq!(
            problems.to_string(),
            "/etc/tieline/berlin.toml:1:2: no far end is known and no invitation is pending; write its `public-key` here, or pair anew with `tieline new`\n\
             /etc/tieline/berlin.toml:2:3: mtu: is missing; write it"
        );
    }

    #[test]
    fn a_problem_of_the_whole_file_has_no_place() {
        let problems = Problems::of_file(Path::new("/x.toml"), Mistake::NotAFile);
        assert_eq!(problems.to_string(), "/x.toml: is not a regular file");
    }

    #[test]
    fn problems_are_json_for_programs() {
        let mut collector = Collector::new(Path::new("/x.toml"), "mtu = 1\n");
        collector.add(&(6..7), Some("mtu".into()), Mistake::Missing("write it"));
        let json = serde_json::to_string(&collector.finish().expect("one")).expect("JSON");
        assert_eq!(
            json,
            r#"[{"file":"/x.toml","row":1,"column":7,"key":"mtu","code":"missing","message":"is missing; write it"}]"#
        );
    }

    #[test]
    fn a_file_full_of_mistakes_is_summed_up() {
        let mut collector = Collector::new(Path::new("/x.toml"), "");
        for _ in 0..PROBLEMS_PER_FILE_MAX + 7 {
            collector.add(&(0..0), None, Mistake::NulInPath);
        }
        let problems = collector.finish().expect("many");
        assert_eq!(problems.iter().count(), PROBLEMS_PER_FILE_MAX + 1);
        assert!(problems.to_string().ends_with("and 7 more mistakes; mend these first"));
    }
}
