//! Finding out what the far end is: the exchange of hellos on the associated channel.
//!
//! With every new session an end says hello until it is answered; a plain WireGuard peer drops the hello and never answers.
//! The hello also says whether its sender opens the second cipher suite ([`Announcement`]), which concerns one session; so the
//! answer must be about the session that was asked about.
//!
//! The hello names the instance, drawn at random when a process starts, so that a restart of the far end is noticed with
//! its first packet.
//!
//! ```text
//!            new session                     hello received
//!   Asking ───────────────▶ Asking   any ─────────────────────▶ Tieline
//!   Asking ── [`ATTEMPTS_MAX`] hellos, no answer, yet heard ──▶ IpOnly ── every [`ASK_AGAIN`], or what only a tieline says ──▶ Asking
//! ```
//!
//! Silence alone says nothing: a path that is cut just after a handshake must not make plain WireGuard of a tieline. A plain
//! WireGuard peer is heard in time, for it sends a keepalive 10 s after a hello, unless a handshake comes in between.

use std::time::{Duration, Instant};

use tieline_wire::associated::{self, Hello};
use tieline_wire::suite::Announcement;

/// Time to the second hello; doubled from one to the next, [`ATTEMPTS_MAX`] times at most.
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
    /// Hellos said, over all sessions since the last answer.
    attempts: u32,
    said: Option<Instant>,
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
            joins_pieces: true,
            carries_ecn: true,
            answers_mtu_probes: true,
            takes_paths: true,
            instance,
            certificate,
            announcement: None,
        };
        Self { ours, far_end: FarEnd::Unknown, asking: None }
    }

    /// A session was made: whoever is at its other end is asked who it is.
    pub fn on_session(&mut self, now: Instant) {
        // Where sessions change hands quickly, as when a key is in use twice, the hellos of all of them count.
        let attempts = self.asking.as_ref().map_or(0, |asking| asking.attempts);
        self.asking = Some(Asking { attempts, said: None, next: now });
    }

    /// Whether the far end's hello is of a version that we speak.
    #[must_use]
    pub fn understands(&self, hello: &Hello) -> bool {
        hello.common_version(self.ours.version_min, self.ours.version_max).is_some()
    }

    /// Takes a hello of the far end. If it wants an answer, [`Self::answer`] is due. `is_late` if it announces something
    /// about another session than the one that we ask about: the asking goes on then.
    pub fn handle_hello(&mut self, hello: Hello, is_late: bool) -> Heard {
        self.asking = self.asking.take().filter(|_| is_late).map(|asking| Asking { attempts: 0, ..asking });
        let understood = self.understands(&hello);
        // What it says about a session is no part of what the far end is.
        let hello = Hello { announcement: None, ..hello };
        if !understood {
            self.far_end = FarEnd::Incompatible(hello);
            return Heard::Incompatible;
        }
        let known = matches!(self.far_end, FarEnd::Tieline(known)
            if known.instance == hello.instance && known.certificate == hello.certificate);
        self.far_end = FarEnd::Tieline(hello);
        if known { Heard::Known } else { Heard::NewInstance }
    }

    /// The far end has said what only a tieline says. If it was taken for plain WireGuard, because all hellos or their answers were lost, it is
    /// asked again at once.
    pub fn on_tieline_heard(&mut self, now: Instant) {
        if self.far_end == FarEnd::IpOnly
            && let Some(asking) = &mut self.asking
            && asking.said.is_none()
        {
            asking.next = asking.next.min(now);
        }
    }

    /// Our hello as the answer to one that wanted it, with what there is to announce about the session it named.
    #[must_use]
    pub fn answer(&self, announcement: Option<Announcement>) -> Hello {
        Hello { answer_wanted: false, announcement, ..self.ours }
    }

    /// The hello that is due, if one is. After [`ATTEMPTS_MAX`] without an answer there is none if something else was
    /// heard since the last, at `heard`: the far end is plain WireGuard then. It carries `announcement`, about the newest
    /// session.
    pub fn poll_hello(
        &mut self,
        now: Instant,
        heard: Option<Instant>,
        announcement: Option<Announcement>,
    ) -> Option<Hello> {
        let asking = self.asking.as_mut().filter(|asking| now >= asking.next)?;
        if asking.attempts >= ATTEMPTS_MAX && asking.said.is_some_and(|said| heard > Some(said)) {
            self.far_end = FarEnd::IpOnly;
            *asking = Asking { attempts: 0, said: None, next: now + ASK_AGAIN };
            return None;
        }
        asking.next = now + RETRY_FIRST * (1 << asking.attempts.min(ATTEMPTS_MAX - 1));
        asking.attempts = asking.attempts.saturating_add(1);
        asking.said = Some(now);
        Some(Hello { announcement, ..self.ours })
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
    use tieline_wire::wireguard::SessionIndex;

    use super::*;

    fn hello(instance: u64) -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            answer_wanted: true,
            joins_pieces: true,
            carries_ecn: true,
            answers_mtu_probes: true,
            takes_paths: true,
            instance,
            certificate: [7; 32],
            announcement: None,
        }
    }

    fn asked(greeting: &mut Greeting, from: Instant, time: Duration) -> usize {
        let mut count = 0;
        while let Some(next) = greeting.poll_timeout().filter(|next| *next <= from + time) {
            count += usize::from(greeting.poll_hello(next, Some(next), None).is_some());
        }
        count
    }

    #[test]
    fn nobody_is_asked_before_there_is_a_session() {
        let mut greeting = Greeting::new(1, [0; 32]);
        assert_eq!(greeting.poll_timeout(), None);
        assert_eq!(greeting.poll_hello(Instant::now(), None, None), None);
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
    fn far_end_that_speaks_as_only_a_tieline_does_is_asked_again_at_once() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        asked(&mut greeting, now, Duration::from_secs(20));
        assert_eq!(greeting.far_end(), FarEnd::IpOnly);
        let later = now + Duration::from_secs(20);
        assert!(greeting.poll_timeout() > Some(later));
        greeting.on_tieline_heard(later);
        assert!(greeting.poll_hello(later, Some(later), None).is_some());
        // While it is asked, what it says hurries nothing.
        let next = greeting.poll_timeout();
        greeting.on_tieline_heard(later);
        assert_eq!(greeting.poll_timeout(), next);
        assert_eq!(greeting.handle_hello(hello(5), false), Heard::NewInstance);
        greeting.on_tieline_heard(later);
        assert_eq!(greeting.poll_timeout(), None);
    }

    #[test]
    fn far_end_that_is_not_heard_at_all_is_asked_on_and_taken_for_nothing() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let start = Instant::now();
        greeting.on_session(start);
        let mut said = Vec::new();
        while let Some(next) = greeting.poll_timeout().filter(|next| *next <= start + Duration::from_secs(60))
        {
            assert!(greeting.poll_hello(next, Some(start), None).is_some());
            said.push(next);
        }
        assert_eq!(greeting.far_end(), FarEnd::Unknown);
        let longest = said.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(longest, Some(RETRY_FIRST * (1 << (ATTEMPTS_MAX - 1))), "bounded");
    }

    #[test]
    fn sessions_that_follow_each_other_quickly_do_not_put_off_the_finding() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let start = Instant::now();
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            greeting.on_session(now);
            asked(&mut greeting, now, Duration::from_millis(900));
        }
        asked(&mut greeting, start, Duration::from_secs(20));
        assert_eq!(greeting.far_end(), FarEnd::IpOnly);
    }

    #[test]
    fn answer_ends_the_asking() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        assert!(greeting.poll_hello(now, None, None).unwrap().answer_wanted);
        assert_eq!(greeting.handle_hello(hello(5), false), Heard::NewInstance);
        assert_eq!(greeting.poll_timeout(), None);
        assert_eq!(greeting.far_end(), FarEnd::Tieline(hello(5)));
        assert!(!greeting.answer(None).answer_wanted);
    }

    #[test]
    fn hello_about_another_session_is_no_answer_but_tells_who_is_there() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        let announcement =
            Some(Announcement { announcer: SessionIndex(1), hearer: SessionIndex(2), aes: SessionIndex(3) });
        assert_eq!(greeting.poll_hello(now, None, announcement).unwrap().announcement, announcement);
        let late = Hello { announcement, ..hello(5) };
        assert_eq!(greeting.handle_hello(late, true), Heard::NewInstance);
        assert_eq!(greeting.far_end(), FarEnd::Tieline(hello(5)), "without what concerns one session");
        assert_eq!(greeting.poll_timeout(), Some(now + RETRY_FIRST), "at its usual pace");
        assert_eq!(greeting.handle_hello(late, false), Heard::Known);
        assert_eq!(greeting.poll_timeout(), None);
    }

    #[test]
    fn far_end_whose_hellos_all_come_late_is_never_taken_for_plain_wireguard() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let start = Instant::now();
        greeting.on_session(start);
        for _ in 0..50 {
            let now = greeting.poll_timeout().unwrap();
            assert!(greeting.poll_hello(now, Some(now), None).is_some());
            greeting.handle_hello(hello(5), true);
        }
        assert_eq!(greeting.far_end(), FarEnd::Tieline(hello(5)));
    }

    #[test]
    fn restart_of_the_far_end_is_a_new_instance() {
        let mut greeting = Greeting::new(1, [0; 32]);
        assert_eq!(greeting.handle_hello(hello(5), false), Heard::NewInstance);
        assert_eq!(greeting.handle_hello(hello(5), false), Heard::Known);
        assert_eq!(greeting.handle_hello(hello(6), false), Heard::NewInstance);
    }

    #[test]
    fn far_end_may_turn_from_wireguard_into_a_tieline() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let now = Instant::now();
        greeting.on_session(now);
        asked(&mut greeting, now, Duration::from_secs(20));
        assert_eq!(greeting.handle_hello(hello(5), false), Heard::NewInstance);
        assert_eq!(greeting.far_end(), FarEnd::Tieline(hello(5)));
    }

    #[test]
    fn version_without_a_common_one_is_told() {
        let mut greeting = Greeting::new(1, [0; 32]);
        let later = Hello { version_min: 2, version_max: 3, ..hello(5) };
        assert_eq!(greeting.handle_hello(later, false), Heard::Incompatible);
        assert_eq!(greeting.far_end(), FarEnd::Incompatible(later));
    }
}
