//! A session, and the table of those that an end holds.
//!
//! ```text
//!            handshake as initiator                    as responder
//!                     │                                     │
//!                     ▼        first packet opens           ▼
//!   previous ◄──── current ◄────────────────────────────── next ──► superseded
//! ```
//!
//! A responder must not seal under a new session before a packet has opened under it, for only that shows that the initiator
//! was no replay (paper §6.3). Until then it is `next`. The packet thread confirms it with one atomic store, and from that moment it
//! is the one to seal with; control moves it to `current` afterwards, at leisure.
//!
//! Two departures from the paper, both needed by tieline and invisible to others: an unconfirmed `next` that is followed by another
//! stays for a while as `superseded`, because the answers to initiations sent 400 ms apart may cross on a path of long delay; and if the initiations
//! of both ends cross and both handshakes complete, that of the end with the smaller public key prevails, so that both seal under the same session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::LessSafeKey;
use tieline_wire::wireguard::SessionIndex;

use crate::activity::{Activity, AtomicMoment, Epoch, OwnCacheLine};
use crate::drops::DropCounters;
use crate::limits::{REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME};
use crate::noise::{SessionKeys, aead_key};

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
    pub(crate) sealing: LessSafeKey,
    pub(crate) opening: LessSafeKey,
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
    confirmation: AtomicU8,
}

impl Session {
    pub(crate) fn new(serial: u64, agreed: Agreed, born: Instant, keys: &SessionKeys) -> Self {
        let Agreed { local_index, remote_index, role, opened, with } = agreed;
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
        now.saturating_duration_since(self.born) < REJECT_AFTER_TIME
            && self.outbound.counter.load(Ordering::Relaxed) < REJECT_AFTER_MESSAGES
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.inbound.confirmation.load(Ordering::Acquire) == CONFIRMED
    }

    /// Notes that a packet opened; true if it was the first of a session in waiting, `Err` if control gave the session up meanwhile.
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

/// The session was given up before its first packet.
pub(crate) struct Retired;

/// The sessions of a line, and where its peer is. Control replaces it whole; the packet threads read it.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) previous: Option<Arc<Session>>,
    pub(crate) current: Option<Arc<Session>>,
    pub(crate) next: Option<Arc<Session>>,
    pub(crate) superseded: Option<Arc<Session>>,
    pub(crate) address: Option<SocketAddr>,
    /// Whether our public key is smaller than the peer's.
    pub(crate) prevails: bool,
}

impl Table {
    /// All sessions, those first that packets are likely to name.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        [&self.current, &self.next, &self.previous, &self.superseded].into_iter().flatten()
    }

    pub(crate) fn find(&self, local_index: SessionIndex) -> Option<&Arc<Session>> {
        self.sessions().find(|session| session.local_index == local_index)
    }

    /// The session to seal with, and where its datagrams go.
    pub(crate) fn sealing(&self) -> Option<(&Arc<Session>, Option<SocketAddr>)> {
        match self.confirmed_in_waiting() {
            Some(session) if self.takes_over(session) => Some((session, Some(session.agreed_with))),
            _ => self.current.as_ref().map(|session| (session, self.address)),
        }
    }

    /// The newest session in waiting under which a packet has opened.
    pub(crate) fn confirmed_in_waiting(&self) -> Option<&Arc<Session>> {
        [&self.next, &self.superseded].into_iter().flatten().find(|session| session.is_confirmed())
    }

    /// Whether `session` is to replace `current`.
    pub(crate) fn takes_over(&self, session: &Session) -> bool {
        let Some(current) = &self.current else { return true };
        if session.role != current.role && have_crossed(session, current) {
            return (session.role == Role::Initiator) == self.prevails;
        }
        session.born >= current.born
    }

    /// Makes `session` the current one, or, if it may not take over, the previous one, so that it opens at least.
    pub(crate) fn settle(&mut self, session: Arc<Session>) {
        for waiting in [&mut self.next, &mut self.superseded] {
            if waiting.as_ref().is_some_and(|waiting| waiting.serial == session.serial) {
                *waiting = None;
            }
        }
        if self.takes_over(&session) {
            self.previous = self.current.replace(session);
        } else {
            self.previous = Some(session);
        }
    }
}

/// Whether two sessions, one opened by each end, come from initiations that crossed on the way: the peer's came in while ours was out.
///
/// A mere nearness in time would not do: a peer that restarts just after a handshake opens another, and that must be taken.
fn have_crossed(one: &Session, other: &Session) -> bool {
    let (ours, theirs) = if one.role == Role::Initiator { (one, other) } else { (other, one) };
    (ours.opened..=ours.born).contains(&theirs.born)
}

/// What control and the data halves of a line share.
pub(crate) struct Shared {
    pub(crate) epoch: Epoch,
    pub(crate) table: ArcSwap<Table>,
    pub(crate) activity: Activity,
    pub(crate) drops: DropCounters,
}

const UNCONFIRMED: u8 = 0;
const CONFIRMED: u8 = 1;
const RETIRED: u8 = 2;
