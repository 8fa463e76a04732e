//! Which files of an outbox are due to be sent, and when to look again.
//!
//! An [`Outbox`] sees no folder and no clock. It is told what was found ([`scan`] finds it) and what a watch noticed, each with the
//! time, and says of every file whether it is due, and what it wants to have looked at next.
//!
//! # The life of a file
//!
//! ```text
//!            seen for the first time, or changed
//!                          │
//!        the journal knows this version ──── yes ──► known: never due again
//!                          │ no                        ▲       │ changed
//!                          ▼                           │       ▼
//!   settling: same for the settle time, ───────────► due    settling
//!   renamed in, or marked as done                  (once)
//! ```
//!
//! - A file settles by being the same (device, inode, size, modification and change time) at two looks, the settle time apart. So
//!   a file that was there before the start is due as well, and no clock but our own is trusted.
//! - A file that is renamed into the folder was written elsewhere and is complete: it is due at once. So is one with a marker
//!   beside it that is no older than its last change.
//! - A file that changes after it was due settles again and is due again, as another version. What was due and could not be sent
//!   is given back with [`Outbox::retry`].
//! - The watch's hints make it fast, the regular scan makes it right: whatever a hint said, the file is looked at.
//!
//! # Limits
//!
//! Of a file only sixteen octets of its name's hash and eight of its version's are kept, in all less than 100 octets. The paths of
//! at most [`LOOKS_MAX`] files are kept, to be looked at one by one; what is more is found by a scan of everything, after
//! which there is a rest as long as the scan took.

pub mod after;
mod looks;
mod names;
pub mod pattern;
pub mod rules;
pub mod scan;
pub mod tries;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::path::RelativePath;
use crate::stamp::Stamp;
use looks::Looks;
pub use pattern::{NamePattern, PatternError};
pub use rules::{DoneSuffix, Rules};
pub use scan::{FileKind, Found, Scan, Sight, Trouble};

/// Files that are kept track of; at 100 octets each, 100 MB. Later ones wait until others are gone.
pub const FILES_MAX: usize = 1_000_000;

/// Paths kept to be looked at one by one; at the greatest length of a path, 8 MiB.
pub const LOOKS_MAX: usize = 1024;

/// How long a file may go on changing before somebody should know.
pub const RESTLESS_AFTER: Duration = Duration::from_hours(24);

/// Octets of a path's hash: no two paths of one folder have the same, not even by ill will.
const KEY_LEN: usize = 16;

/// What a watch noticed. It need not be true: it says where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A file was made, written to or closed.
    Changed(RelativePath),
    /// A file or folder was renamed to this, complete.
    Arrived(RelativePath),
    /// A folder was made; what is put into it at once may go unnoticed.
    Folder(RelativePath),
    /// It is time for a regular scan, or hints were lost.
    Everything,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// One path, and what is below it if it is a folder.
    At {
        /// The path.
        path: RelativePath,
        /// Whether it was renamed to this, so that what is found is complete.
        arrived: bool,
    },
    /// All of it; [`Outbox::end_scan`] has to follow.
    Everything,
}

/// What is to be done about a file that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be sent: said once for each version.
    Due,
    /// It was said to be due before, or the journal knows it.
    Known,
    /// It may still be written to.
    Settling,
    /// It has been written to for so long that somebody should know.
    Restless {
        /// How long it has not been the same for the settle time.
        since: Duration,
    },
    /// [`FILES_MAX`] others are kept track of.
    NoRoom,
}

/// What is known of the files of one outbox.
#[derive(Debug)]
pub struct Outbox {
    rules: Rules,
    /// Times are kept as nanoseconds since then.
    epoch: Instant,
    files: BTreeMap<[u8; KEY_LEN], File>,
    looks: Looks,
    /// When a scan of everything is wanted.
    everything_at: Option<u64>,
    /// The scan under way, from its beginning.
    scanning_since: Option<u64>,
    rest_until: u64,
    /// Counts scans of everything.
    round: u32,
}

#[derive(Debug)]
struct File {
    version: u64,
    unchanged_since: u64,
    restless_since: u64,
    /// The last scan that found it.
    round: u32,
    is_settling: bool,
}

impl Outbox {
    /// Returns an outbox of which nothing is known yet; everything is to be looked at.
    #[must_use]
    pub fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            epoch: now,
            files: BTreeMap::new(),
            looks: Looks::default(),
            everything_at: Some(0),
            scanning_since: None,
            rest_until: 0,
            round: 0,
        }
    }

    /// The rules by which its files are found.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How many files it keeps track of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it keeps track of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Takes what a watch noticed.
    pub fn handle_hint(&mut self, now: Instant, hint: Hint) {
        let at = self.nanoseconds(now);
        match hint {
            Hint::Changed(path) => self.plan_hinted(path, at, false, false),
            Hint::Arrived(path) => self.plan_hinted(path, at, true, false),
            Hint::Folder(path) => self.plan_hinted(path, at, false, true),
            Hint::Everything => self.plan_everything(at),
        }
    }

    /// Takes a file that a look found, and says what is to be done about it.
    ///
    /// `is_known` says whether the journal has this version of the file, sent or waiting to be; it is asked once for each version.
    ///
    /// # Errors
    ///
    /// That of `is_known`; it is asked again at the next look.
    pub fn handle_file<E>(
        &mut self,
        now: Instant,
        found: &Found,
        is_known: impl FnOnce(&RelativePath, &Stamp) -> Result<bool, E>,
    ) -> Result<Verdict, E> {
        let (now, key, version) = (self.nanoseconds(now), key_of(&found.path), version_of(&found.stamp));
        let (is_full, round) = (self.files.len() >= FILES_MAX, self.round);
        let before = self.files.get_mut(&key);
        if before.is_none() && is_full {
            return Ok(Verdict::NoRoom);
        }
        let file = match before {
            Some(file) if file.version == version => {
                file.round = round;
                if !file.is_settling {
                    return Ok(Verdict::Known);
                }
                file
            }
            before => {
                let restless_since =
                    before.as_ref().filter(|file| file.is_settling).map_or(now, |file| file.restless_since);
                let is_settling = !is_known(&found.path, &found.stamp)?;
                let file = File { version, unchanged_since: now, restless_since, round, is_settling };
                let file = match before {
                    Some(before) => {
                        *before = file;
                        before
                    }
                    None => self.files.entry(key).or_insert(file),
                };
                if !is_settling {
                    return Ok(Verdict::Known);
                }
                file
            }
        };
        let settled_at = file.unchanged_since.saturating_add(nanoseconds(self.rules.settle));
        if found.is_complete || now >= settled_at {
            file.is_settling = false;
            return Ok(Verdict::Due);
        }
        let since = Duration::from_nanos(now - file.restless_since);
        self.plan(found.path.clone(), settled_at, false, false);
        Ok(if since < RESTLESS_AFTER { Verdict::Settling } else { Verdict::Restless { since } })
    }

    /// Takes back a file that was due and could not be sent as it was: it settles anew.
    pub fn retry(&mut self, now: Instant, path: RelativePath) {
        self.files.remove(&key_of(&path));
        let at = self.nanoseconds(now);
        self.plan(path, at, false, false);
    }

    /// Says what is to be looked at now, if anything; to be asked until it is nothing.
    pub fn poll_look(&mut self, now: Instant) -> Option<Look> {
        if let Some(look) = self.poll_path(now) {
            return Some(look);
        }
        let now = self.nanoseconds(now);
        if self.next_scan()? > now {
            return None;
        }
        self.everything_at = None;
        self.scanning_since = Some(now);
        self.round = self.round.wrapping_add(1);
        Some(Look::Everything)
    }

    /// Says which single path is to be looked at now, if any; for whoever has no room for all that is there.
    pub fn poll_path(&mut self, now: Instant) -> Option<Look> {
        let now = self.nanoseconds(now);
        let (path, planned) = self.looks.take_due(now)?;
        if planned.again {
            self.plan(path.clone(), now.saturating_add(nanoseconds(self.rules.settle)), false, false);
        }
        Some(Look::At { path, arrived: planned.arrived })
    }

    /// Returns when [`Self::poll_path`] has something to say.
    #[must_use]
    pub fn next_path(&self) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(self.looks.next()?))
    }

    /// Returns when [`Self::poll_look`] has something to say; `None`: not before something is handed in.
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        let next = self.looks.next().into_iter().chain(self.next_scan()).min()?;
        self.epoch.checked_add(Duration::from_nanos(next))
    }

    /// Ends the scan that [`Look::Everything`] began; after one that `is_complete`, what it did not find is forgotten.
    pub fn end_scan(&mut self, now: Instant, is_complete: bool) {
        let now = self.nanoseconds(now);
        let Some(since) = self.scanning_since.take() else { return };
        self.rest_until = now.saturating_add(now.saturating_sub(since));
        if is_complete {
            let round = self.round;
            self.files.retain(|_, file| file.round == round);
        }
    }

    fn next_scan(&self) -> Option<u64> {
        match self.scanning_since {
            Some(_) => None,
            None => self.everything_at.map(|at| at.max(self.rest_until)),
        }
    }

    fn plan_hinted(&mut self, path: RelativePath, at: u64, arrived: bool, again: bool) {
        if self.rules.ignores(&path) {
            return;
        }
        match self.rules.marked_by(&path) {
            // The marker has arrived, not what it marks.
            Some(marked) => self.plan(marked, at, false, false),
            None => self.plan(path, at, arrived, again),
        }
    }

    fn plan(&mut self, path: RelativePath, at: u64, arrived: bool, again: bool) {
        if !self.looks.plan(path, at, arrived, again) {
            self.plan_everything(at);
        }
    }

    fn plan_everything(&mut self, at: u64) {
        self.everything_at = Some(self.everything_at.map_or(at, |planned| planned.min(at)));
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.epoch))
    }
}

/// Nanoseconds fill 64 bits in 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn key_of(path: &RelativePath) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..KEY_LEN]);
    key
}

/// A part of the stamp: two versions of one file have the same by a chance of one in 2^64.
fn version_of(stamp: &Stamp) -> u64 {
    let octets = stamp.as_bytes().first_chunk().expect("a stamp is longer");
    u64::from_be_bytes(*octets)
}

#[cfg(test)]
mod tests;
