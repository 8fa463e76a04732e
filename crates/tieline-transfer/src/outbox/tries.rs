//! How often a file was tried in vain, and when that is enough.
//!
//! What may come right by itself is tried for as long as it takes: a cut line, a full disk, a file that is still written to. What somebody has
//! to see to, such as a file at the far end where a folder is needed, is tried less and less often, and given up after an hour.
//! So every file comes to an end: it is delivered, refused or given up. A restart begins to count anew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::path::RelativePath;
use crate::stamp::Stamp;

/// For how long a file is tried in vain. Longer than it takes somebody to read the notice and to act.
const TRIED_FOR: Duration = Duration::from_hours(1);
/// And how often at least: an hour of a line that is cut says nothing.
const TRIES_MIN: u32 = 5;
/// The longest pause between two tries; each one is twice as long as that before.
const PAUSE_MAX: Duration = Duration::from_mins(10);
/// Files of which tries are counted; of more of them they are counted anew.
const FILES_MAX: usize = 4096;

/// What follows a try in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another one, after a while.
    Again(Duration),
    /// Nothing: it was tried so often.
    GiveUp {
        /// How often.
        tries: u32,
    },
}

/// The tries in vain of an outbox.
#[derive(Debug, Default)]
pub struct Tries(BTreeMap<RelativePath, Tried>);

#[derive(Debug)]
struct Tried {
    stamp: Stamp,
    since: Instant,
    tries: u32,
}

impl Tries {
    /// Counts one more for this version of a file; `pause` is that after the first one.
    #[must_use]
    pub fn in_vain(&mut self, path: &RelativePath, stamp: Stamp, pause: Duration, now: Instant) -> Next {
        let tried = self.0.entry(path.clone()).or_insert(Tried { stamp, since: now, tries: 0 });
        if tried.stamp != stamp {
            *tried = Tried { stamp, since: now, tries: 0 };
        }
        tried.tries += 1;
        let tries = tried.tries;
        if tries >= TRIES_MIN && now.duration_since(tried.since) >= TRIED_FOR {
            self.0.remove(path);
            return Next::GiveUp { tries };
        }
        if self.0.len() > FILES_MAX {
            self.0.pop_first();
        }
        let doubled = 1_u32.checked_shl(tries - 1).and_then(|times| pause.checked_mul(times));
        Next::Again(doubled.unwrap_or(PAUSE_MAX).min(PAUSE_MAX))
    }

    /// A file has come to its end.
    pub fn forget(&mut self, path: &RelativePath) {
        self.0.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn path(name: &str) -> RelativePath {
        RelativePath::parse(name.as_bytes()).unwrap()
    }

    fn stamp(of: u8) -> Stamp {
        Stamp::from_bytes([of; 16])
    }

    /// Tries until it is given up; returns how often, and for how long.
    fn tries_until_given_up(tries: &mut Tries, pause: Duration, mut now: Instant) -> (u32, Duration) {
        let start = now;
        loop {
            match tries.in_vain(&path("a"), stamp(1), pause, now) {
                Next::Again(pause) => now += pause,
                Next::GiveUp { tries } => return (tries, now - start),
            }
        }
    }

    #[test]
    fn a_file_is_tried_less_and_less_often_and_given_up_after_an_hour() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for (pause, often) in [(SECOND, 16), (30 * SECOND, 11), (PAUSE_MAX, 7)] {
            let (tries, time) = tries_until_given_up(&mut tries, pause, now);
            assert_eq!(tries, often, "{pause:?}");
            assert!(time >= TRIED_FOR && time < TRIED_FOR + PAUSE_MAX, "{time:?}");
        }
    }

    #[test]
    fn it_is_tried_some_times_however_long_the_line_was_cut() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for number in 1..TRIES_MIN {
            let later = now + number * 2 * TRIED_FOR;
            assert!(matches!(tries.in_vain(&path("a"), stamp(1), SECOND, later), Next::Again(_)));
        }
        let last = tries.in_vain(&path("a"), stamp(1), SECOND, now + 99 * TRIED_FOR);
        assert_eq!(last, Next::GiveUp { tries: TRIES_MIN });
    }

    #[test]
    fn another_version_or_another_file_is_counted_by_itself() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        let late = now + 2 * TRIED_FOR;
        for number in 0..9 {
            let name = if number % 2 == 0 { "a" } else { "b" };
            let next = tries.in_vain(&path(name), stamp(number / 2), SECOND, late);
            assert_eq!(next, Next::Again(SECOND), "{number}");
        }
        tries.forget(&path("a"));
        assert_eq!(tries.in_vain(&path("a"), stamp(4), SECOND, late), Next::Again(SECOND));
    }

    #[test]
    fn files_that_are_counted_are_bounded() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for number in 0..FILES_MAX + 99 {
            let _ = tries.in_vain(&path(&number.to_string()), stamp(1), SECOND, now);
        }
        assert_eq!(tries.0.len(), FILES_MAX);
    }
}
