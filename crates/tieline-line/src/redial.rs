//! When the far end is to be looked for elsewhere: its address is not known, or it does not answer there.
//!
//! Silence alone is no reason, since a plain WireGuard peer may have nothing to say; an initiation that nobody answers is. To a tieline
//! that falls silent initiations are sent by then ([`crate::liveness`]). An address that was looked up and an end
//! that has moved do not fight: as long as the far end answers, it is where its authentic datagrams come from.

use std::time::{Duration, Instant};

/// How long initiations go unanswered before another address is tried.
pub const UNANSWERED_MAX: Duration = Duration::from_secs(5);
/// How long each address is tried.
pub const TRY_EACH: Duration = Duration::from_secs(6);

/// The dialling of one line, as far as it is a matter of time.
#[derive(Debug)]
pub struct Redial {
    not_before: Instant,
}

impl Redial {
    /// Nothing was dialled so far.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { not_before: now }
    }

    /// When the next address is to be dialled; `None` while there is no need.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant, session: &tieline_seal::Status) -> Option<Instant> {
        session.peer?;
        if session.address.is_none() {
            return Some(self.not_before);
        }
        let unanswered = session.attempt?.age;
        let due = now + UNANSWERED_MAX.saturating_sub(unanswered);
        Some(due.max(self.not_before))
    }

    /// Whether the next address is to be dialled now; if so, it is given [`TRY_EACH`].
    pub fn handle_timeout(&mut self, now: Instant, session: &tieline_seal::Status) -> bool {
        let is_due = self.poll_timeout(now, session).is_some_and(|due| due <= now);
        if is_due {
            self.not_before = now + TRY_EACH;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use tieline_seal::{AttemptStatus, PublicKey, Status};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(unanswered: Option<Duration>) -> Status {
        Status {
            peer: Some(PublicKey::from_bytes([1; 32])),
            address: Some(([192, 0, 2, 1], 51820).into()),
            session: None,
            last_handshake: None,
            attempt: unanswered.map(|age| AttemptStatus { initiations: 1, age }),
            last_timestamp: None,
            is_under_load: false,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    #[test]
    fn nothing_is_dialled_while_the_far_end_answers_however_silent_it_is() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        assert_eq!(redial.poll_timeout(now + 600 * SECOND, &status(None)), None);
        assert!(!redial.handle_timeout(now + 600 * SECOND, &status(None)));
    }

    #[test]
    fn initiations_without_an_answer_have_the_next_address_dialled_and_then_the_next() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        assert_eq!(redial.poll_timeout(now, &status(Some(2 * SECOND))), Some(now + 3 * SECOND));
        assert!(!redial.handle_timeout(now, &status(Some(2 * SECOND))));
        assert!(redial.handle_timeout(now, &status(Some(5 * SECOND))));
        assert_eq!(redial.poll_timeout(now, &status(Some(5 * SECOND))), Some(now + TRY_EACH));
        assert!(redial.handle_timeout(now + TRY_EACH, &status(Some(11 * SECOND))));
    }

    #[test]
    fn without_an_address_the_first_is_dialled_at_once_but_nobody_before_the_pairing() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let nowhere = Status { address: None, ..status(None) };
        assert!(!redial.handle_timeout(now, &Status { peer: None, ..nowhere.clone() }));
        assert!(redial.handle_timeout(now, &nowhere));
        assert!(!redial.handle_timeout(now, &nowhere), "it is being tried");
    }
}
