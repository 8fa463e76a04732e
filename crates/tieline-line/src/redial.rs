//! When the far end is to be looked for elsewhere: its address is not known, or what it was asked there has no answer.
//!
//! Silence alone is no reason, since a plain WireGuard peer may have nothing to say. An initiation without an answer is, and to a
//! tieline that falls silent initiations are sent ([`crate::liveness`]); so is, a few times until it has said what it is, a hello without one. An
//! address that was looked up and an end that has moved do not fight: as long as the far end answers, it is where its authentic
//! datagrams come from.

use std::time::{Duration, Instant};

/// How long questions go unanswered before another address is tried.
pub const UNANSWERED_MAX: Duration = Duration::from_secs(5);
/// How long each address is tried.
pub const TRY_EACH: Duration = Duration::from_secs(6);

/// What is known of the far end at the address it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It answers, or nothing was asked.
    Answers,
    /// A question has no answer since then.
    Unanswered(Instant),
    /// It has no address.
    Nowhere,
}

/// The dialling of one line, as far as it is a matter of time.
#[derive(Debug)]
pub struct Redial {
    not_before: Instant,
}

impl Standing {
    /// Whether another address would be welcome.
    #[must_use]
    pub fn is_missed(self, now: Instant) -> bool {
        self.missed_at().is_some_and(|at| at.is_none_or(|at| at <= now))
    }

    /// From when on; the inner `None`: always.
    fn missed_at(self) -> Option<Option<Instant>> {
        match self {
            Self::Answers => None,
            Self::Unanswered(since) => Some(Some(since + UNANSWERED_MAX)),
            Self::Nowhere => Some(None),
        }
    }
}

impl Redial {
    /// Nothing was dialled so far.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { not_before: now }
    }

    /// When the next address is to be dialled; `None` while there is no need.
    #[must_use]
    pub fn poll_timeout(&self, standing: Standing) -> Option<Instant> {
        let missed_at = standing.missed_at()?;
        Some(missed_at.map_or(self.not_before, |at| at.max(self.not_before)))
    }

    /// Whether the next address is to be dialled now; if so, it is given [`TRY_EACH`].
    pub fn handle_timeout(&mut self, now: Instant, standing: Standing) -> bool {
        let is_due = self.poll_timeout(standing).is_some_and(|due| due <= now);
        if is_due {
            self.not_before = now + TRY_EACH;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_dialled_while_the_far_end_answers_however_silent_it_is() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        assert_eq!(redial.poll_timeout(Standing::Answers), None);
        assert!(!redial.handle_timeout(now + 600 * SECOND, Standing::Answers));
        assert!(!Standing::Answers.is_missed(now + 600 * SECOND));
    }

    #[test]
    fn questions_without_an_answer_have_the_next_address_dialled_and_then_the_next() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let standing = Standing::Unanswered(now + SECOND);
        assert_eq!(redial.poll_timeout(standing), Some(now + 6 * SECOND));
        assert!(!redial.handle_timeout(now + 5 * SECOND, standing));
        assert!(!standing.is_missed(now + 5 * SECOND) && standing.is_missed(now + 6 * SECOND));
        assert!(redial.handle_timeout(now + 6 * SECOND, standing));
        assert_eq!(redial.poll_timeout(standing), Some(now + 6 * SECOND + TRY_EACH));
        assert!(redial.handle_timeout(now + 12 * SECOND, standing));
    }

    #[test]
    fn without_an_address_the_first_is_dialled_at_once() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        assert!(redial.handle_timeout(now, Standing::Nowhere));
        assert!(!redial.handle_timeout(now, Standing::Nowhere), "it is being tried");
        assert!(Standing::Nowhere.is_missed(now));
    }
}
