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
/// After how many diallings, while it is not known what the far end is, a hello without an answer is no reason for more. Plain WireGuard
/// answers no hello, but is heard after 10 s, unless a handshake keeps it from that: so there are few.
pub const HELLO_REDIALS_MAX: u32 = 2;

/// What is known of the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarSide {
    /// Whether there is one to look for: who is invited comes by itself.
    pub has_key: bool,
    /// Whether datagrams to it have anywhere to go.
    pub has_address: bool,
    /// Since when an initiation has no answer.
    pub initiation: Option<Instant>,
    /// Since when there is the session that hellos are said in.
    pub session: Option<Instant>,
    /// When it was heard last.
    pub heard: Option<Instant>,
    /// Whether it has shown what it is: then the time of hellos is over.
    pub is_known: bool,
}

/// The dialling of one line, as far as it is a matter of time.
#[derive(Debug)]
pub struct Redial {
    not_before: Instant,
    /// What was heard last when the next address was dialled.
    heard_before: Option<Option<Instant>>,
    /// How often one was dialled before it was known what the far end is.
    hello_redials: u32,
}

impl Redial {
    /// Nothing was dialled so far.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { not_before: now, heard_before: None, hello_redials: 0 }
    }

    /// When the next address is to be dialled; `None` while there is no need.
    #[must_use]
    pub fn poll_timeout(&self, far: &FarSide) -> Option<Instant> {
        match self.standing(far) {
            Standing::Answers => None,
            Standing::Unanswered(since) => Some(self.not_before.max(since + UNANSWERED_MAX)),
            Standing::Nowhere => Some(self.not_before),
        }
    }

    /// Whether the next address is to be dialled now; if so, it is given [`TRY_EACH`].
    pub fn handle_timeout(&mut self, now: Instant, far: &FarSide) -> bool {
        let is_due = self.poll_timeout(far).is_some_and(|due| due <= now);
        if is_due {
            self.not_before = now + TRY_EACH;
            self.heard_before = Some(far.heard);
            self.hello_redials += u32::from(!far.is_known);
        }
        is_due
    }

    /// Whether an address, which takes its time to be looked up, is still welcome: the far end has not been heard since it was asked
    /// for, or does not answer.
    #[must_use]
    pub fn is_welcome(&self, now: Instant, far: &FarSide) -> bool {
        let is_missed = match self.standing(far) {
            Standing::Answers => false,
            Standing::Unanswered(since) => since + UNANSWERED_MAX <= now,
            Standing::Nowhere => true,
        };
        is_missed || self.heard_before == Some(far.heard)
    }

    fn standing(&self, far: &FarSide) -> Standing {
        if !far.has_key {
            return Standing::Answers;
        }
        if !far.has_address {
            return Standing::Nowhere;
        }
        let says_hello = !far.is_known && self.hello_redials < HELLO_REDIALS_MAX;
        let hello = far
            .session
            .filter(|_| says_hello)
            .map(|session| far.heard.map_or(session, |heard| heard.max(session)));
        far.initiation.into_iter().chain(hello).min().map_or(Standing::Answers, Standing::Unanswered)
    }
}

/// Whether the far end answers at the address it has.
enum Standing {
    /// It answers, or nothing was asked.
    Answers,
    /// A question has no answer since then.
    Unanswered(Instant),
    /// It has no address.
    Nowhere,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// It is known, has an address, and was asked nothing.
    const CONTENT: FarSide = FarSide {
        has_key: true,
        has_address: true,
        initiation: None,
        session: None,
        heard: None,
        is_known: true,
    };

    #[test]
    fn nothing_is_dialled_while_the_far_end_answers_however_silent_it_is() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let silent = FarSide { session: Some(now), heard: Some(now), ..CONTENT };
        assert_eq!(redial.poll_timeout(&silent), None);
        assert!(!redial.handle_timeout(now + 600 * SECOND, &silent));
        assert!(!redial.is_welcome(now + 600 * SECOND, &silent));
    }

    #[test]
    fn questions_without_an_answer_have_the_next_address_dialled_and_then_the_next() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let asked = FarSide { initiation: Some(now + SECOND), ..CONTENT };
        assert_eq!(redial.poll_timeout(&asked), Some(now + 6 * SECOND));
        assert!(!redial.handle_timeout(now + 5 * SECOND, &asked));
        assert!(!redial.is_welcome(now + 5 * SECOND, &asked) && redial.is_welcome(now + 6 * SECOND, &asked));
        assert!(redial.handle_timeout(now + 6 * SECOND, &asked));
        assert_eq!(redial.poll_timeout(&asked), Some(now + 6 * SECOND + TRY_EACH));
        assert!(redial.handle_timeout(now + 12 * SECOND, &asked));
    }

    #[test]
    fn without_an_address_the_first_is_dialled_at_once() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let nowhere = FarSide { has_address: false, ..CONTENT };
        assert!(redial.is_welcome(now, &nowhere));
        assert!(redial.handle_timeout(now, &nowhere));
        assert!(!redial.handle_timeout(now, &nowhere), "it is being tried");
    }

    #[test]
    fn nobody_is_looked_for_before_the_invitation_is_taken_up() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let invited = FarSide { has_key: false, has_address: false, is_known: false, ..CONTENT };
        assert!(!redial.handle_timeout(now + 600 * SECOND, &invited));
    }

    #[test]
    fn a_hello_without_an_answer_has_two_addresses_dialled_and_no_more() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let greeted = FarSide { session: Some(now), heard: Some(now + SECOND), is_known: false, ..CONTENT };
        assert!(!redial.handle_timeout(now + 5 * SECOND, &greeted), "it was heard a second later");
        assert!(redial.handle_timeout(now + 6 * SECOND, &greeted));
        assert!(redial.handle_timeout(now + 12 * SECOND, &greeted));
        assert_eq!(redial.poll_timeout(&greeted), None);
        let asked = FarSide { initiation: Some(now + 20 * SECOND), ..greeted };
        assert!(
            redial.handle_timeout(now + 25 * SECOND, &asked),
            "an initiation without an answer still does"
        );
    }

    #[test]
    fn an_address_that_was_looked_up_is_welcome_until_the_far_end_is_heard() {
        let now = Instant::now();
        let mut redial = Redial::new(now);
        let asked = FarSide { initiation: Some(now), heard: Some(now), ..CONTENT };
        assert!(redial.handle_timeout(now + 5 * SECOND, &asked));
        let silent = FarSide { initiation: None, ..asked };
        assert!(redial.is_welcome(now + 6 * SECOND, &silent));
        assert!(!redial.is_welcome(now + 6 * SECOND, &FarSide { heard: Some(now + 6 * SECOND), ..silent }));
    }
}
