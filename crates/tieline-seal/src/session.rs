//! A session: what one handshake agreed.
//!
//! Its keys are read by both packet threads at once; what they write is in atomics. A session that the peer
//! opened waits for its first packet. The packet thread confirms it, or control gives it up; one atomic word
//! decides who was first.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use aws_lc_rs::aead::LessSafeKey;
use tieline_wire::wireguard::SessionIndex;

use crate::activity::{AtomicMoment, OwnCacheLine};
use crate::limits::{
    AES_REKEY_AFTER_MESSAGES, REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES,
};
use crate::noise::{SessionKeys, aead_key};
use crate::suite::{Aes, Opening, Sealing, Suite};

/// Who opened the handshake of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

/// The two ends' sides of a handshake that is done.
pub(crate) struct Agreed {
    pub(crate) local_index: SessionIndex,
    /// The index in datagrams to us that are sealed with AES-256-GCM, if this end has that.
    pub(crate) aes_index: Option<SessionIndex>,
    pub(crate) remote_index: SessionIndex,
    pub(crate) role: Role,
    pub(crate) opened: Instant,
    pub(crate) with: SocketAddr,
}

/// What one handshake agreed. Everything but counters is fixed from birth.
pub(crate) struct Session {
    /// Counts the sessions of this line; unlike an index it never comes again.
    pub(crate) serial: u64,
    /// The index in datagrams to us.
    pub(crate) local_index: SessionIndex,
    /// The index in datagrams to the peer.
    pub(crate) remote_index: SessionIndex,
    pub(crate) role: Role,
    /// When message 1 was sent or received.
    pub(crate) opened: Instant,
    /// When message 2 was received or sent; the session's age counts from here.
    pub(crate) born: Instant,
    /// Where the peer was when the session was agreed.
    pub(crate) agreed_with: SocketAddr,
    sealing: LessSafeKey,
    opening: LessSafeKey,
    /// The second suite, if this end has it.
    pub(crate) aes: Option<Aes>,
    pub(crate) outbound: OwnCacheLine<OutboundState>,
    pub(crate) inbound: OwnCacheLine<InboundState>,
}

/// What only Outbound writes.
#[derive(Default)]
pub(crate) struct OutboundState {
    /// The counter of the next packet.
    pub(crate) counter: AtomicU64,
    pub(crate) last_sent: AtomicMoment,
}

/// What only Inbound writes, but for a retirement.
#[derive(Default)]
pub(crate) struct InboundState {
    pub(crate) last_received: AtomicMoment,
    /// Whether that was sealed with AES-256-GCM.
    last_was_aes: AtomicBool,
    confirmation: AtomicU8,
}

impl Session {
    pub(crate) fn new(serial: u64, agreed: Agreed, born: Instant, keys: &SessionKeys) -> Self {
        let Agreed { local_index, aes_index, remote_index, role, opened, with } = agreed;
        let session = Self {
            serial,
            local_index,
            remote_index,
            role,
            opened,
            born,
            agreed_with: with,
            sealing: aead_key(&keys.sealing),
            opening: aead_key(&keys.opening),
            aes: aes_index.map(|index| Aes::new(index, keys)),
            outbound: OwnCacheLine::default(),
            inbound: OwnCacheLine::default(),
        };
        if role == Role::Initiator {
            session.inbound.confirmation.store(CONFIRMED, Ordering::Release);
        }
        session
    }

    /// Whether packets may still be sealed and opened under it.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        !self.has_expired(now) && self.outbound.counter.load(Ordering::Relaxed) < REJECT_AFTER_MESSAGES
    }

    /// Whether its age forbids to seal or open anything more under it.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.born) >= REJECT_AFTER_TIME
    }

    /// With what packet number `counter` is sealed: the second suite once the peer has asked for it, and as long as
    /// its keys last.
    pub(crate) fn sealing(&self, counter: u64) -> Sealing<'_> {
        let aes = self.aes.as_ref().filter(|_| counter < Suite::Aes256Gcm.reject_after_messages());
        aes.and_then(Aes::sealing).unwrap_or(Sealing {
            suite: Suite::ChaCha20Poly1305,
            receiver: self.remote_index,
            key: &self.sealing,
        })
    }

    /// With what a datagram to `index` is opened; `None` if that names no part of this session.
    pub(crate) fn opening(&self, index: SessionIndex) -> Option<Opening<'_>> {
        if index == self.local_index {
            return Some(Opening { suite: Suite::ChaCha20Poly1305, key: &self.opening });
        }
        self.aes.as_ref().filter(|aes| aes.local_index == index).map(Aes::opening)
    }

    /// Packets after which it is replaced.
    pub(crate) fn rekey_after_messages(&self) -> u64 {
        let uses_aes = self.aes.as_ref().is_some_and(Aes::is_announced);
        if uses_aes { AES_REKEY_AFTER_MESSAGES } else { REKEY_AFTER_MESSAGES }
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.inbound.confirmation.load(Ordering::Acquire) == CONFIRMED
    }

    /// Notes that a packet opened; true if it was the first of a session in waiting, `Err` if control gave
    /// the session up meanwhile.
    pub(crate) fn confirm(&self) -> Result<bool, Retired> {
        match self.inbound.confirmation.compare_exchange(
            UNCONFIRMED,
            CONFIRMED,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => Ok(true),
            Err(CONFIRMED) => Ok(false),
            Err(_) => Err(Retired),
        }
    }

    /// Gives up a session in waiting; false if a packet has opened under it meanwhile.
    pub(crate) fn retire(&self) -> bool {
        self.inbound
            .confirmation
            .compare_exchange(UNCONFIRMED, RETIRED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl InboundState {
    /// Notes with what the last packet was sealed.
    pub(crate) fn note_suite(&self, suite: Suite) {
        self.last_was_aes.store(suite == Suite::Aes256Gcm, Ordering::Relaxed);
    }

    /// With what the last packet was sealed, if there was one.
    pub(crate) fn last_suite(&self) -> Option<Suite> {
        let suite = if self.last_was_aes.load(Ordering::Relaxed) {
            Suite::Aes256Gcm
        } else {
            Suite::ChaCha20Poly1305
        };
        (!self.last_received.is_none()).then_some(suite)
    }
}

/// The session was given up before its first packet.
pub(crate) struct Retired;

const UNCONFIRMED: u8 = 0;
const CONFIRMED: u8 = 1;
const RETIRED: u8 = 2;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// A session opened and agreed at these milliseconds.
    pub(crate) fn session(serial: u64, role: Role, opened: u64, born: u64) -> Arc<Session> {
        let epoch = epoch();
        let agreed = Agreed {
            local_index: SessionIndex(serial as u32),
            aes_index: Some(SessionIndex(2000 + serial as u32)),
            remote_index: SessionIndex(1000 + serial as u32),
            role,
            opened: epoch + Duration::from_millis(opened),
            with: "192.0.2.9:9".parse().unwrap(),
        };
        let keys = SessionKeys { sealing: [1; 32], opening: [2; 32] };
        Arc::new(Session::new(serial, agreed, epoch + Duration::from_millis(born), &keys))
    }

    fn epoch() -> Instant {
        use std::sync::OnceLock;
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        *EPOCH.get_or_init(Instant::now)
    }

    #[test]
    fn a_session_is_alive_until_its_age_or_its_counter_ends_it() {
        let session = session(1, Role::Initiator, 0, 0);
        let end = epoch() + REJECT_AFTER_TIME;
        assert!(session.is_alive(end - Duration::from_nanos(1)));
        assert!(!session.is_alive(end));
        session.outbound.counter.store(REJECT_AFTER_MESSAGES - 1, Ordering::Relaxed);
        assert!(session.is_alive(epoch()));
        session.outbound.counter.store(REJECT_AFTER_MESSAGES, Ordering::Relaxed);
        assert!(!session.is_alive(epoch()));
    }

    #[test]
    fn packets_are_sealed_with_aes_from_the_announcement_on_until_its_keys_are_used_up() {
        let session = session(1, Role::Initiator, 0, 0);
        let sealing = |counter| (session.sealing(counter).suite, session.sealing(counter).receiver);
        let first = (Suite::ChaCha20Poly1305, SessionIndex(1001));
        let second = (Suite::Aes256Gcm, SessionIndex(77));
        assert_eq!(sealing(0), first);
        assert_eq!(session.rekey_after_messages(), REKEY_AFTER_MESSAGES);
        session.aes.as_ref().unwrap().announce(SessionIndex(77));
        assert_eq!(sealing(0), second);
        assert_eq!(sealing((1 << 28) - 1), second);
        assert_eq!(sealing(1 << 28), first);
        assert_eq!(session.rekey_after_messages(), 1 << 27, "replaced in good time");
    }

    #[test]
    fn each_index_of_a_session_stands_for_one_suite() {
        let session = session(1, Role::Initiator, 0, 0);
        let suite = |index| session.opening(SessionIndex(index)).map(|opening| opening.suite);
        assert_eq!(suite(1), Some(Suite::ChaCha20Poly1305));
        assert_eq!(suite(2001), Some(Suite::Aes256Gcm));
        assert_eq!([suite(1001), suite(3)], [None, None]);
    }

    /// Every state of a confirmation with every event.
    #[test]
    fn a_session_in_waiting_is_confirmed_or_retired_but_never_both() {
        let waiting = session(1, Role::Responder, 0, 0);
        assert!(!waiting.is_confirmed());
        assert!(matches!(waiting.confirm(), Ok(true)));
        assert!(waiting.is_confirmed());
        assert!(matches!(waiting.confirm(), Ok(false)), "the first packet comes once");
        assert!(!waiting.retire(), "it is in use");
        assert!(waiting.is_confirmed());

        let retired = session(2, Role::Responder, 0, 0);
        assert!(retired.retire());
        assert!(!retired.retire());
        assert!(retired.confirm().is_err());
        assert!(!retired.is_confirmed());

        let opened_by_us = session(3, Role::Initiator, 0, 0);
        assert!(opened_by_us.is_confirmed(), "the answer was its proof");
        assert!(!opened_by_us.retire());
    }

    #[test]
    fn confirming_and_retiring_at_once_has_one_winner() {
        for serial in 0..200 {
            let session = session(serial, Role::Responder, 0, 0);
            let (confirmed, retired) = std::thread::scope(|scope| {
                let confirm = scope.spawn(|| session.confirm().is_ok());
                let retire = scope.spawn(|| session.retire());
                (confirm.join().unwrap(), retire.join().unwrap())
            });
            assert_ne!(confirmed, retired);
        }
    }
}
