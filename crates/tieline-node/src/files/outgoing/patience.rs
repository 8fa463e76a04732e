//! Noticing that the files of an outbox wait for long, and noticing it once.

use std::time::Duration;

use tokio::time::Instant;

/// After how long somebody should know: longer than a line takes to come up again by itself, or a router to start.
pub(super) const WAITING_AFTER: Duration = Duration::from_mins(5);

/// For how long nothing has moved.
#[derive(Debug, Default)]
pub(super) struct Patience {
    since: Option<Instant>,
    moved: (u64, u64),
    is_told: bool,
}

impl Patience {
    /// Takes what has moved since the start (octets, and files that were delivered) and whether anything waits that may go. True if it is to be
    /// told now.
    pub(super) fn look(&mut self, now: Instant, moved: (u64, u64), is_waiting: bool) -> bool {
        let has_moved = std::mem::replace(&mut self.moved, moved) != moved;
        if !is_waiting || has_moved || self.since.is_none() {
            self.since = is_waiting.then_some(now);
            self.is_told = false;
            return false;
        }
        let is_long = self.since.is_some_and(|since| now >= since + WAITING_AFTER);
        is_long && !std::mem::replace(&mut self.is_told, true)
    }

    /// When it may have to be told.
    pub(super) fn next(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_told).map(|since| since + WAITING_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_until_something_moves_and_nothing_is_told_of_what_does_not_wait() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let minutes = |minutes: u64| start + Duration::from_mins(minutes);
        assert!(!patience.look(minutes(0), (0, 0), false));
        assert_eq!(patience.next(), None);
        assert!(!patience.look(minutes(60), (0, 0), true), "it waits from now on");
        assert_eq!(patience.next(), Some(minutes(65)));
        assert!(!patience.look(minutes(64), (0, 0), true));
        assert!(patience.look(minutes(65), (0, 0), true));
        assert_eq!(patience.next(), None);
        assert!(!patience.look(minutes(90), (0, 0), true), "told already");
        assert!(!patience.look(minutes(91), (5, 0), true), "it moved");
        assert!(patience.look(minutes(96), (5, 0), true), "and stands again");
        assert!(!patience.look(minutes(97), (5, 1), true));
        assert!(!patience.look(minutes(98), (5, 1), false), "it was paused");
        assert!(!patience.look(minutes(110), (5, 1), true));
    }
}
