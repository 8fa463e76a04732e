//! Which names of an outbox count, and how long a file has to be left alone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::pattern::NamePattern;
use crate::path::{COMPONENT_LEN_MAX, RelativePath};

/// Where files are moved to after they were delivered; at the top of the outbox, this name is ours.
pub const SENT_FOLDER: &str = "sent";

/// Patterns of names that are ignored; each name is compared with all of them.
pub const IGNORE_MAX: usize = 64;

/// How long a file has to stay the same, unless configured: programs that write in portions are seldom silent for longer.
pub const SETTLE_DEFAULT: Duration = Duration::from_secs(2);

/// What programs call files that are not whole yet, and editors their own: vi, Emacs, browsers, LibreOffice and Microsoft Office.
pub const IGNORE_DEFAULT: [&str; 7] = [".*.sw?", "*~", "*.part", "*.tmp", "*.crdownload", ".~lock.*#", "~$*"];

/// What marks a file as done, unless configured.
pub const DONE_SUFFIX_DEFAULT: &str = ".done";

/// How the files of an outbox are told from what is not to be sent, and when they are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a file has to stay the same.
    pub settle: Duration,
    /// Names of files and folders that are not sent.
    pub ignore: Vec<NamePattern>,
    /// `NAME` with this behind it says that `NAME` is whole; `None`: nothing does.
    pub done_suffix: Option<DoneSuffix>,
    /// Whether symbolic links are sent, as text.
    pub links: bool,
}

/// The ending of a marker: a part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneSuffix(Box<str>);

/// A text that cannot be the ending of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot be the ending of a name; write one such as .done, of at most {} octets without `/`",
    DoneSuffix::LEN_MAX
)]
pub struct DoneSuffixError;

impl Rules {
    /// Whether a path is not to be sent: because of a name in it, or because it is in the folder of what was sent.
    #[must_use]
    pub fn ignores(&self, path: &RelativePath) -> bool {
        path.components().enumerate().any(|(depth, name)| self.ignores_name(name, depth == 0))
    }

    /// Whether a name is not to be sent, and nothing below it.
    #[must_use]
    pub fn ignores_name(&self, name: &[u8], is_at_top: bool) -> bool {
        (is_at_top && name == SENT_FOLDER.as_bytes())
            || self.ignore.iter().any(|pattern| pattern.matches(name))
    }

    /// Returns the path that `path` says is whole, if it is a marker by its name.
    #[must_use]
    pub fn marked_by(&self, path: &RelativePath) -> Option<RelativePath> {
        let (_, name) = path.split_last();
        let marked_len = self.name_marked_by(name)?.len();
        let len = path.as_bytes().len() - (name.len() - marked_len);
        RelativePath::parse(&path.as_bytes()[..len]).ok()
    }

    /// Returns the path of the marker that would say that `path` is whole, if there can be one.
    #[must_use]
    pub fn marker_of(&self, path: &RelativePath) -> Option<RelativePath> {
        let suffix = self.done_suffix.as_ref()?;
        RelativePath::parse(&[path.as_bytes(), suffix.as_bytes()].concat()).ok()
    }

    /// Returns the name that `name` says is whole, if it is a marker.
    pub(super) fn name_marked_by<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let suffix = self.done_suffix.as_ref()?;
        name.strip_suffix(suffix.as_bytes()).filter(|marked| !marked.is_empty())
    }
}

impl Default for Rules {
    fn default() -> Self {
        let pattern = |text: &str| text.parse().expect("a pattern, as its test says");
        Self {
            settle: SETTLE_DEFAULT,
            ignore: IGNORE_DEFAULT.into_iter().map(pattern).collect(),
            done_suffix: Some(DONE_SUFFIX_DEFAULT.parse().expect("an ending, as its test says")),
            links: false,
        }
    }
}

impl DoneSuffix {
    /// Octets of an ending: leaves most of a name to the file.
    pub const LEN_MAX: usize = 32;

    /// Its octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for DoneSuffix {
    type Err = DoneSuffixError;

    /// Reads an ending.
    fn from_str(text: &str) -> Result<Self, DoneSuffixError> {
        const { assert!(Self::LEN_MAX < COMPONENT_LEN_MAX) };
        let is_wrong = |character: char| character == '/' || character.is_control();
        if text.is_empty() || text.len() > Self::LEN_MAX || text.contains(is_wrong) {
            return Err(DoneSuffixError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for DoneSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_of_programs_and_what_was_sent_are_ignored() {
        let rules = Rules::default();
        for (name, ignored) in [
            ("report.pdf", false),
            (".report.pdf.swp", true),
            ("report.pdf~", true),
            ("report.pdf.part", true),
            ("report.tmp", true),
            ("report.pdf.crdownload", true),
            (".~lock.report.odt#", true),
            ("~$report.docx", true),
            ("a/b/report.tmp", true),
            ("old.tmp/report.pdf", true),
            ("sent", true),
            ("sent/report.pdf", true),
            ("a/sent/report.pdf", false),
            ("sent2", false),
        ] {
            assert_eq!(rules.ignores(&path(name)), ignored, "{name}");
        }
    }

    #[test]
    fn a_marker_has_the_name_of_what_it_marks() {
        let rules = Rules::default();
        for (marker, marked) in [
            ("a.csv.done", Some("a.csv")),
            ("x/a.done", Some("x/a")),
            (".done", None),
            ("x/.done", None),
            ("done", None),
        ] {
            assert_eq!(rules.marked_by(&path(marker)), marked.map(path), "{marker}");
        }
        assert_eq!(rules.marker_of(&path("x/a")), Some(path("x/a.done")));
        assert_eq!(rules.marker_of(&path(&"x".repeat(255))), None);
        let none = Rules { done_suffix: None, ..rules };
        assert_eq!(none.marked_by(&path("a.done")), None);
        assert_eq!(none.marker_of(&path("a")), None);
    }

    #[test]
    fn what_cannot_end_a_name_is_no_suffix() {
        for text in ["", "/done", ".do\nne", &"x".repeat(33)] {
            assert_eq!(text.parse::<DoneSuffix>(), Err(DoneSuffixError), "{text:?}");
        }
    }
}
