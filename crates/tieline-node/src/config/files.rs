//! The folders whose files travel, and how much of the line they may take: `[[files]]` and `[transfer]`.
//!
//! Each `[[files]]` is a pair of folders, one at either end. Of a pair with an outbox here, the far end has the inbox, and the other way
//! round; both ways at once are possible.
//!
//! | key of `[[files]]` | default | range | why it is there |
//! |---|---|---|---|
//! | `name` | must be there | 1 to 32 letters, digits, `-`, `_` | the far end has a pair of the same name |
//! | `outbox`, `inbox` | one must be there | an absolute path, none inside another | from here to the far end, and from there to here |
//! | `after` | `"move"` | `"keep"`, `"move"` (to `sent/`), `"remove"` | what becomes of a file of the outbox once it is receipted |
//! | `settle` | `"2s"` | 0s to 1h | how long a file has to stay the same before it is sent |
//! | `rescan` | `"60s"` | 1s to 24h | how often the outbox is looked through, whatever the system notices |
//! | `ignore` | [of programs and editors] | at most 64 patterns | names of what is not whole, or not for others |
//! | `done-suffix` | `".done"` | 32 octets, `""` for none | `NAME.done` says that `NAME` is whole |
//! | `priority` | `5` | 1 to 9 | files of an outbox with a greater one go first; 10 is what is sent with `--first` |
//! | `links` | `"skip"` | `"text"`, `"skip"` | symbolic links, sent as the text that they are or not at all |
//! | `same-name` | `"keep-both"` | `"keep-both"`, `"newest"`, `"refuse"` | what happens to a file whose name is taken in the inbox |
//! | `owner` | `"none"` | `"none"`, `"name"`, `"number"` | whether files keep their owner, and how it is told; at both ends |
//! | `times`, `modes`, `xattrs` | `true`, `true`, `false` | | whether files keep their times, permissions, extended attributes |
//! | `expect` | `[]` | at most 32 of `{ name = PATTERN, by = "HH:MM" }` | an alarm if no such file has arrived by then |
//! | `on-delivered`, `on-failed`, `on-waiting` | none | a program with arguments, of at most 4096 octets | run when it happens, without a shell |
//! | `webhook` | none | `"http://…"` | told when it happens |
//!
//! | key of `[transfer]` | default | range | why it is there |
//! |---|---|---|---|
//! | `policy` | `"fair"` | `"fair"`, `"fixed"`, `"trickle"` | share the way, take what is paid for, or give way to all |
//! | `rate` | none; must be there for `"fixed"` | 1 kbit/s to 10000 Gbit/s | the rate of `fixed`, the most for the others |
//! | `schedule` | none | see [`schedule`](tieline_transfer::schedule) | limits by the time of day |
//!
//! [of programs and editors]: tieline_transfer::outbox::rules::IGNORE_DEFAULT

pub(super) mod typed;
mod words;
pub(super) mod written;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use tieline_transfer::SameName;
pub use tieline_transfer::metadata::Owner;
use tieline_transfer::outbox::{NamePattern, Rules, after::After};
use tieline_transfer::schedule::{Rate, Schedule, TimeOfDay};

use crate::files::outgoing::queue::Priority;

/// Pairs of folders of one line; each costs a watch and a place in every report.
pub const PAIRS_MAX: usize = 16;
/// Files that may be expected of one pair; each is an alarm of its own.
pub const EXPECTED_MAX: usize = 32;
/// What `priority` may be.
pub const PRIORITIES: RangeInclusive<u16> = 1..=9;
/// Octets of a hook's command: what fits into one row of a file that people read.
pub const COMMAND_LEN_MAX: usize = 4096;
/// Octets of a webhook's address, as common clients bound them.
pub const WEBHOOK_LEN_MAX: usize = 2048;

/// One pair of folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesConfig {
    /// What both ends call it.
    pub name: PairName,
    /// What leaves from here; this or `inbox` is there.
    pub outbox: Option<OutboxConfig>,
    /// What arrives here.
    pub inbox: Option<InboxConfig>,
    /// What files keep besides their content.
    pub metadata: Metadata,
    /// Files that somebody waits for.
    pub expect: Vec<Expected>,
    /// What is run when something happens.
    pub hooks: Hooks,
    /// Where to tell it by HTTP.
    pub webhook: Option<Uri>,
}

/// A folder whose files are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The folder; absolute.
    pub folder: PathBuf,
    /// Which files, and when they are whole.
    pub rules: Rules,
    /// Time between two scans of all of it.
    pub rescan: Duration,
    /// What becomes of a file once it is receipted.
    pub after: After,
    /// What goes first: files of an outbox with a greater one.
    pub priority: Priority,
}

/// A folder in which files arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxConfig {
    /// The folder; absolute.
    pub folder: PathBuf,
    /// What happens if a name is taken.
    pub same_name: SameName,
}

/// What files keep besides their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Who they belong to.
    pub owner: Owner,
    /// When they were changed.
    pub times: bool,
    /// Their permissions.
    pub modes: bool,
    /// Their extended attributes.
    pub xattrs: bool,
    /// Whether symbolic links are sent, and taken, as the text that they are.
    pub links: bool,
}

/// A file that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How it is named.
    pub name: NamePattern,
    /// When it has to be there, each day.
    pub by: TimeOfDay,
}

/// Commands that are run when something happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// A file was delivered.
    pub delivered: Option<Vec<String>>,
    /// A file was given up or refused.
    pub failed: Option<Vec<String>>,
    /// A file has to wait.
    pub waiting: Option<Vec<String>>,
}

/// How much of the line files may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferConfig {
    /// How they share the way with others.
    pub policy: Policy,
    /// The rate of [`Policy::Fixed`], the most for the others.
    pub rate: Option<Rate>,
    /// Limits by the time of day.
    pub schedule: Option<Schedule>,
}

/// How files share the way with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// As others do.
    Fair,
    /// They take the rate that the company pays for.
    Fixed,
    /// They give way to everything.
    Trickle,
}

/// The name of a pair of folders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairName(Box<str>);

/// A text that cannot name a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot name a pair of folders; use 1 to {} letters, digits, - and _", PairName::LEN_MAX)]
pub struct PairNameError;

impl PairName {
    /// Octets of a name.
    pub const LEN_MAX: usize = 32;

    /// Returns it as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PairName {
    type Err = PairNameError;

    /// Reads a name.
    fn from_str(text: &str) -> Result<Self, PairNameError> {
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let fits = (1..=Self::LEN_MAX).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(PairNameError) }
    }
}

impl fmt::Display for PairName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
