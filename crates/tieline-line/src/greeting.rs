//! Finding out what the far end is: the exchange of hellos on the associated channel.
//!
//! With every new session an end says hello until it is answered; a plain WireGuard peer drops the hello and never answers.
//! The hello names the instance, drawn at random when a process starts, so that a restart of the far end is noticed with
//! its first packet.
//!
//! ```text
//!            new session                     hello received
//!   Asking ───────────────▶ Asking   any ─────────────────────▶ Tieline
//!   Asking ── no answer to [`ATTEMPTS_MAX`] hellos ──▶ IpOnly ── every [`ASK_AGAIN`] ──▶ Asking
//! ```

use std::time::{Duration, Instant};

use tieline_wire::associated::{self, Hello};

/// Time to the second hello; doubled from one to the next.
pub const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Hellos without an answer after which the far end counts as plain WireGuard.
pub const ATTEMPTS_MAX: u32 = 6;
/// A far end that is plain WireGuard is asked again after this long: it may have been replaced.
pub const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the far end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarEnd {
    /// Not known yet.
    Unknown,
    /// A tieline, and which instance of it.
    Tieline(Hello),
    /// It answers no hello: a WireGuard peer that carries IP and nothing else.
    IpOnly,
    /// A tieline that speaks no version that we speak.
    Incompatible(Hello),
}

/// What a received hello was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Of an instance that was not known: the first, or the far end was restarted.
    NewInstance,
    /// Of the instance that is known already.
    Known,
    /// Of a tieline that we have no version in common with.
    Incompatible,
}

/// The greeting of one line.
#[derive(Debug)]
pub struct Greeting {
    ours: Hello,
    far_end: FarEnd,
    asking: Option<Asking>,
}

#[derive(Debug)]
struct Asking {
    attempts: u32,
    next: Instant,
}

impl Greeting {
    /// A greeting by the instance that `instance` and `certificate` name.
    #[must_use]
    pub fn new(instance: u64, certificate: [u8; 32]) -> Self {
        let ours = Hello {
            version_min: associated::VERSION,
            version_max: associated::VERSION,
            answer_wanted: true,
            instance,
            certificate,
        };
        Self { ours, far_end: FarEnd::Unknown, asking: None }
    }

    /// A session was made: whoever is at its other end is asked who it is.
    pub fn on_session(&mut self, now: Instant) {
        self.asking = Some(Asking { attempts: 0, next: now });
    }

    /// Takes a hello of the far end. If it wants an answer, [`Self::answer`] is due.
    pub fn handle_hello(&mut self, hello: Hello) -> Heard {
        self.asking = None;
        if hello.common_version(self.ours.version_min, self.ours.version_max).is_none() {
            self.far_end = FarEnd::Incompatible(hello);
            return Heard::Incompatible;
        }
        let known = matches!(self.far_end, FarEnd::Tieline(known)
            if known.instance == hello.instance && known.certificate == hello.certificate);
        self.far_end = FarEnd::Tieline(hello);
        if known { Heard::Known } else { Heard::NewInstance }
    }

    /// Our hello as the answer to one that wanted it.
    #[must_use]
    pub fn answer(&self) -> Hello {
        Hello { answer_wanted: false, ..self.ours }
    }

    /// The hello that is due, if one is; gives up after [`ATTEMPTS_MAX`].
    pub fn poll_hello(&mut self, now: Instant) -> Option<Hello> {
        let asking = self.asking.as_mut().filter(|asking| now >= asking.next)?;
        if asking.attempts == ATTEMPTS_MAX {
            self.far_end = FarEnd::IpOnly;
            *asking = Asking { attempts: 0, next: now + ASK_AGAIN };
            return None;
        }
        asking.next = now + RETRY_FIRST * (1 << asking.attempts);
        asking.attempts += 1;
        Some(self.ours)
    }

    /// When to call [`Self::poll_hello`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asking.as_ref().map(|asking| asking.next)
    }

    /// What the far end is, as far as is known.
    #[must_use]
    pub fn far_end(&self) -> FarEnd {
        self.far_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(instance: u64) -> Hello {
        Hello { version_min: 1, version_max: 1, answer_wanted: true, instance, certificate: [7; 32] }
    }

    fn asked(greeting: &mut Greeting, from: Instant, time: Duration) -> usize {
        let mut count = 0;
        while let Some(next) = greeting.poll_timeout().filter(|next| *next <= from + time) {
            count += usize::from(greeting.poll_hello(next).is_some());
        }
        count
    }

    #[test]
    fn nobody_is_asked_before_there_is_a_session() {
        let mut greeting = Greeting::new(1, [0; 32]);
        assert_eq!(greeting.poll_timeout(), None);
        assert_eq!(greeting.poll_hello(Instant::now()), None);
        assert_eq!(greeting.far_end(), FarEnd::Unknown);
    }

    #[test]
    fn far_end_that_never_answers_is_ip_only_and_asked_again_later() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        assert_eq!(asked(&mut greeting, now, Duration::from_secs(20)), ATTEMPTS_MAX as usize);
        assert_eq!(greeting.far_end(), FarEnd::IpOnly);
        assert_eq!(asked(&mut greeting, now, Duration::from_secs(76)), 2);
    }

    #[test]
    fn answer_ends_the_asking() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        assert!(greeting.poll_hello(now).unwrap().answer_wanted);
        assert_eq!(greeting.handle_hello(hello(5)), Heard::NewInstance);
        assert_eq!(greeting.poll_timeout(), None);
        assert_eq!(greeting.far_end(), FarEnd::Tieline(hello(5)));
        assert!(!greeting.answer().answer_wanted);
    }

    #[test]
    fn restart_of_the_far_end_is_a_new_instance() {
        let mut greeting = Greeting::new(1, [0; 32]);
        assert_eq!(greeting.handle_hello(hello(5)), Heard::NewInstance);
        assert_eq!(greeting.handle_hello(hello(5)), Heard::Known);
        assert_eq!(greeting.handle_hello(hello(6)), Heard::NewInstance);
    }

    #[test]
    fn far_end_may_turn_from_wireguard_into_a_tieline() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        asked(&mut greeting, now, Duration::from_secs(20));
        assert_eq!(greeting.handle_hello(hello(5)), Heard::NewInstance);
        assert_eq!(greeting.far_end(), FarEnd::Tieline(hello(5)));
    }

    #[test]
    fn version_without_a_common_one_is_told() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let later = Hello { version_min: 2, version_max: 3, ..hello(5) };
        assert_eq!(greeting.handle_hello(later), Heard::Incompatible);
        assert_eq!(greeting.far_end(), FarEnd::Incompatible(later));
    }
}
