//! What the data halves tell control.
//!
//! A notice is a hint to look now. The truth is in atomics that control reads once a second anyway, so a
//! notice that gets lost in a full queue costs time, never correctness. A move is repeated by the next
//! packet.

use std::net::SocketAddr;
use std::time::Instant;

use crate::limits::NOTICE_INTERVAL;

/// A hint from a data half, to be given to [`crate::Control::handle_notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first packet opened under a session in waiting; it came from this address.
    Confirmed {
        /// Where the packet came from.
        from: SocketAddr,
    },
    /// An authentic packet came from another address than the one we send to.
    Moved {
        /// Where the packet came from.
        from: SocketAddr,
    },
    /// The session has reached an age or count at which it is to be replaced.
    RekeyDue,
}

/// Keeps a data half from repeating a notice about the same subject with every packet.
#[derive(Debug)]
pub(crate) struct NoticePace<Subject> {
    last: Option<(Subject, Instant)>,
}

impl<Subject: Copy + PartialEq> NoticePace<Subject> {
    pub(crate) const fn new() -> Self {
        Self { last: None }
    }

    /// Whether the notice about `subject` may be given at `now`; if so, it counts as given.
    pub(crate) fn may_tell(&mut self, subject: Subject, now: Instant) -> bool {
        let is_told = self
            .last
            .is_some_and(|(last, at)| last == subject && now.saturating_duration_since(at) < NOTICE_INTERVAL);
        if !is_told {
            self.last = Some((subject, now));
        }
        !is_told
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_same_notice_is_not_repeated_before_its_time_and_another_is_given_at_once() {
        let (mut pace, now) = (NoticePace::new(), Instant::now());
        assert!(pace.may_tell(1, now));
        assert!(!pace.may_tell(1, now + NOTICE_INTERVAL - Duration::from_nanos(1)));
        assert!(pace.may_tell(1, now + NOTICE_INTERVAL));
        assert!(pace.may_tell(2, now + NOTICE_INTERVAL));
        assert!(pace.may_tell(1, now + NOTICE_INTERVAL), "there is one subject at a time");
    }
}
