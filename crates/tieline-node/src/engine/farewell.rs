//! The far end's goodbye, and for how long it holds.
//!
//! A goodbye may come late, when the far end is back already; it must not be taken for one of the instance that is there now. It
//! does not name its instance, but it is sealed under that instance's session, and nobody seals under an older session once it has
//! used the newest. Under which one it came shows in when the newest was heard:
//!
//! | the newest session | the goodbye |
//! |---|---|
//! | was agreed after the goodbye arrived | is late |
//! | was heard, the last time before the goodbye arrived | came under an older one: is late |
//! | was not heard yet | holds: the far end may have left before it used the session |
//! | was heard when the goodbye arrived, or since | holds |
//!
//! The last row is not certain: where there is much traffic, the newest session is heard also just after a goodbye that is late. That
//! one is taken for true, and does not hold for long.
//!
//! One that holds does so until a session is agreed, or the newest is heard so much later that no packet was only overtaken.

use std::time::{Duration, Instant};

/// By how much later than a goodbye what was sent before it may arrive.
const OVERTAKEN_MAX: Duration = Duration::from_secs(2);

/// What is known of the newest session.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewestSession {
    /// When it was agreed.
    pub(super) agreed: Instant,
    /// When a packet was last opened under it.
    pub(super) heard: Option<Instant>,
}

/// Whether the far end said goodbye.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    arrived: Option<Instant>,
}

impl Farewell {
    /// Takes a goodbye that arrived at `arrived`. Returns whether it holds.
    pub(super) fn on_goodbye(&mut self, arrived: Instant, newest: Option<NewestSession>) -> bool {
        let is_late = newest.is_some_and(|newest| {
            newest.agreed > arrived || newest.heard.is_some_and(|heard| heard < arrived)
        });
        if !is_late {
            self.arrived = Some(arrived);
        }
        !is_late
    }

    /// A session was agreed: the far end is there.
    pub(super) fn on_session(&mut self) {
        self.arrived = None;
    }

    /// Whether a goodbye holds.
    pub(super) fn holds(&self, newest: Option<NewestSession>) -> bool {
        let heard = newest.and_then(|newest| newest.heard);
        self.arrived.is_some_and(|arrived| heard.is_none_or(|heard| heard <= arrived + OVERTAKEN_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn goodbye_under_the_newest_session_holds_until_that_is_heard_again_or_another_is_agreed() {
        let agreed = Instant::now();
        let arrived = agreed + 10 * SECOND;
        let heard_at = |heard| Some(NewestSession { agreed, heard: Some(heard) });
        let mut farewell = Farewell::default();
        assert!(!farewell.holds(heard_at(arrived)), "nobody said goodbye");
        assert!(farewell.on_goodbye(arrived, heard_at(arrived)));
        assert!(farewell.holds(heard_at(arrived)) && farewell.holds(None));
        assert!(farewell.holds(heard_at(arrived + SECOND)), "a packet that was overtaken");
        assert!(!farewell.holds(heard_at(arrived + 3 * SECOND)), "it is there");
        farewell.on_session();
        assert!(!farewell.holds(heard_at(arrived)));
    }

    #[test]
    fn goodbye_of_an_instance_that_was_replaced_is_late() {
        let agreed = Instant::now();
        let arrived = agreed + 10 * SECOND;
        for newest in [
            NewestSession { agreed, heard: Some(arrived - SECOND) },
            NewestSession { agreed: arrived + SECOND, heard: None },
            NewestSession { agreed: arrived + SECOND, heard: Some(arrived + SECOND) },
        ] {
            let mut farewell = Farewell::default();
            assert!(!farewell.on_goodbye(arrived, Some(newest)), "{newest:?}");
            assert!(!farewell.holds(Some(newest)));
        }
    }

    #[test]
    fn goodbye_before_the_far_end_used_the_newest_session_holds() {
        let agreed = Instant::now();
        let newest = Some(NewestSession { agreed, heard: None });
        let mut farewell = Farewell::default();
        assert!(farewell.on_goodbye(agreed + SECOND, newest) && farewell.holds(newest));
        assert!(farewell.on_goodbye(agreed + SECOND, None), "the session has expired");
    }
}
