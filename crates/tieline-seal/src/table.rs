//! The sessions that an end holds, and which of them it seals under.
//!
//! ```text
//!            handshake as initiator                    as responder
//!                     │                                     │
//!                     ▼        first packet opens           ▼
//!   previous ◄──── current ◄────────────────────────────── next ──► superseded
//! ```
//!
//! A responder must not seal under a new session before a packet has opened under it, for only that shows
//! that the initiator was no replay (paper §6.3). Until then it is `next`. The packet thread confirms it with
//! one atomic store, and from that moment it is the one to seal with; control moves it to `current`
//! afterwards, at leisure.
//!
//! Two departures from the paper, both needed by tieline and invisible to others: an unconfirmed `next` that
//! is followed by another stays for a while as `superseded`, because the answers to initiations sent 300 ms
//! apart may cross on a path of long delay; and if the initiations of both ends cross and both handshakes
//! complete, that of the end with the smaller public key prevails, so that both seal under the same session.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tieline_wire::wireguard::SessionIndex;

use crate::activity::{Activity, Epoch};
use crate::drops::DropCounters;
use crate::session::{Role, Session};

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

    /// Makes `session` the current one, or, if it may not take over, the previous one, so that it opens at
    /// least.
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

/// Whether two sessions, one opened by each end, come from initiations that crossed on the way: the peer's
/// came in while ours was out.
///
/// A mere nearness in time would not do: a peer that restarts just after a handshake opens another, and that
/// must be taken.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::session;

    fn serials(table: &Table) -> [Option<u64>; 4] {
        [&table.previous, &table.current, &table.next, &table.superseded]
            .map(|session| session.as_ref().map(|session| session.serial))
    }

    #[test]
    fn the_first_session_becomes_current() {
        let mut table = Table::default();
        assert!(table.sealing().is_none());
        table.settle(session(1, Role::Initiator, 0, 10));
        assert_eq!(serials(&table), [None, Some(1), None, None]);
    }

    #[test]
    fn a_newer_session_makes_the_current_one_previous_whoever_opened_it() {
        for roles in [
            [Role::Initiator, Role::Initiator],
            [Role::Initiator, Role::Responder],
            [Role::Responder, Role::Initiator],
            [Role::Responder, Role::Responder],
        ] {
            for prevails in [false, true] {
                let mut table = Table { prevails, ..Table::default() };
                table.settle(session(1, roles[0], 0, 10));
                table.settle(session(2, roles[1], 11, 20));
                table.settle(session(3, roles[1], 21, 30));
                assert_eq!(serials(&table), [Some(2), Some(3), None, None], "{roles:?}, prevails {prevails}");
            }
        }
    }

    #[test]
    fn of_two_sessions_that_crossed_that_of_the_end_that_prevails_is_current_in_either_order() {
        // Ours was out from 0 to 30; the peer's came in at 10.
        let ours = session(1, Role::Initiator, 0, 30);
        let theirs = session(2, Role::Responder, 10, 10);
        for order in [[&ours, &theirs], [&theirs, &ours]] {
            for (prevails, current, previous) in [(true, 1, 2), (false, 2, 1)] {
                let mut table = Table { prevails, ..Table::default() };
                for session in order {
                    table.settle(Arc::clone(session));
                }
                assert_eq!(
                    serials(&table),
                    [Some(previous), Some(current), None, None],
                    "prevails {prevails}"
                );
            }
        }
    }

    #[test]
    fn a_session_that_waits_is_sealed_with_once_it_is_confirmed() {
        let mut table = Table { address: Some("192.0.2.1:1".parse().unwrap()), ..Table::default() };
        table.settle(session(1, Role::Initiator, 0, 10));
        let waiting = session(2, Role::Responder, 20, 20);
        table.next = Some(Arc::clone(&waiting));
        let sealing = |table: &Table| table.sealing().map(|(session, to)| (session.serial, to)).unwrap();
        assert_eq!(sealing(&table), (1, table.address));
        assert!(waiting.confirm().is_ok());
        assert_eq!(sealing(&table), (2, Some("192.0.2.9:9".parse().unwrap())), "where it was agreed");
        table.settle(waiting);
        assert_eq!(serials(&table), [Some(1), Some(2), None, None]);
        assert_eq!(sealing(&table), (2, table.address));
    }

    #[test]
    fn a_session_that_was_superseded_can_still_be_confirmed() {
        let (older, newer) = (session(1, Role::Responder, 10, 10), session(2, Role::Responder, 20, 20));
        let mut table = Table { next: Some(newer), superseded: Some(Arc::clone(&older)), ..Table::default() };
        assert!(table.confirmed_in_waiting().is_none());
        assert!(older.confirm().is_ok());
        assert_eq!(table.confirmed_in_waiting().map(|session| session.serial), Some(1));
        table.settle(older);
        assert_eq!(serials(&table), [None, Some(1), Some(2), None], "the newer one goes on waiting");
    }

    #[test]
    fn a_session_is_found_by_its_index_in_every_place() {
        let table = Table {
            previous: Some(session(1, Role::Initiator, 0, 0)),
            current: Some(session(2, Role::Initiator, 0, 0)),
            next: Some(session(3, Role::Responder, 0, 0)),
            superseded: Some(session(4, Role::Responder, 0, 0)),
            ..Table::default()
        };
        for index in 1..=4 {
            assert_eq!(table.find(SessionIndex(index)).map(|found| found.serial), Some(index.into()));
        }
        assert!(table.find(SessionIndex(5)).is_none());
    }
}
