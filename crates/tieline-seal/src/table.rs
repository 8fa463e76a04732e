//! The sessions that an end holds, and which of them it seals under.
//!
//! ```text
//!            handshake as initiator                    as responder
//!                     │                                     │
//!                     ▼        first packet opens           ▼
//!   previous ◄──── current ◄────────────────────────────── next
//! ```
//!
//! A responder must not seal under a new session before a packet has opened under it, for only that shows
//! that the initiator was no replay (paper §6.3). Until then it is `next`. The packet thread confirms it with
//! one atomic store, and from that moment it is the one to seal with; control moves it to `current`
//! afterwards, at leisure.
//!
//! Three departures from the paper, all needed by tieline and invisible to others:
//!
//! - There are as many `next` sessions as an initiator keeps initiations, for it takes the first answer that
//!   comes, and on a path of long delay others may be under way by then. So whichever it takes is still here.
//! - There are several `previous` sessions, so that a session that the peer left stays open for what it had
//!   sealed and was overtaken on the way, though two handshakes ended in quick succession.
//! - If the initiations of both ends cross and both handshakes complete, that of the end with the smaller
//!   public key prevails, so that both seal under the same session.
//!
//! All that is needed for no packet to be lost is that the peer still opens what we seal; that both seal
//! under the same session is for tidiness.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use arc_swap::ArcSwap;
use tieline_wire::wireguard::SessionIndex;

use crate::activity::{Activity, Epoch};
use crate::drops::DropCounters;
use crate::limits::{NEXT_SESSIONS_MAX, PREVIOUS_SESSIONS_MAX};
use crate::session::{Role, Session};
use crate::suite::Opening;

/// The sessions of a line, and where its peer is. Control replaces it whole; the packet threads read it.
#[derive(Clone, Default)]
pub(crate) struct Table {
    /// Those that only open, the one replaced last first; at most [`PREVIOUS_SESSIONS_MAX`].
    pub(crate) previous: Vec<Arc<Session>>,
    pub(crate) current: Option<Arc<Session>>,
    /// Those in waiting, newest first; at most [`NEXT_SESSIONS_MAX`].
    pub(crate) next: Vec<Arc<Session>>,
    pub(crate) address: Option<SocketAddr>,
    /// Whether our public key is smaller than the peer's.
    pub(crate) prevails: bool,
}

impl Table {
    /// As many sessions as there can be.
    pub(crate) const SESSIONS_MAX: usize = PREVIOUS_SESSIONS_MAX + 1 + NEXT_SESSIONS_MAX;

    /// All sessions, those first that packets are likely to name.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.current.iter().chain(&self.next).chain(&self.previous)
    }

    /// The session that `local_index` names, and with what its datagrams are opened.
    pub(crate) fn find(&self, local_index: SessionIndex) -> Option<(&Arc<Session>, Opening<'_>)> {
        self.sessions().find_map(|session| Some((session, session.opening(local_index)?)))
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
        self.next.iter().find(|session| session.is_confirmed())
    }

    /// Whether `session` is to replace `current`.
    pub(crate) fn takes_over(&self, session: &Session) -> bool {
        let Some(current) = &self.current else { return true };
        if session.role != current.role && have_crossed(session, current) {
            return (session.role == Role::Initiator) == self.prevails;
        }
        session.born >= current.born
    }

    /// Makes `session` the current one, or, if it may not take over, a previous one, so that it opens at
    /// least.
    pub(crate) fn settle(&mut self, session: Arc<Session>) {
        self.next.retain(|waiting| waiting.serial != session.serial);
        let replaced = if self.takes_over(&session) { self.current.replace(session) } else { Some(session) };
        if let Some(replaced) = replaced {
            push_front(&mut self.previous, replaced, PREVIOUS_SESSIONS_MAX);
        }
    }

    /// The session that has waited longest, if there is no room for another.
    pub(crate) fn oldest_if_full(&self) -> Option<&Arc<Session>> {
        self.next.get(NEXT_SESSIONS_MAX - 1)
    }

    /// Lets `session` wait for its first packet; the one that has waited longest makes room.
    pub(crate) fn add_next(&mut self, session: Arc<Session>) {
        push_front(&mut self.next, session, NEXT_SESSIONS_MAX);
    }

    /// Whether there is a session besides the current one that is too old to open anything.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.next.iter().chain(&self.previous).any(|session| session.has_expired(now))
    }

    /// Forgets the keys that can open nothing any more. A session that is confirmed this moment stays, for
    /// control has to hear of it.
    pub(crate) fn forget_expired(&mut self, now: Instant) {
        self.previous.retain(|session| !session.has_expired(now));
        self.next.retain(|session| !session.has_expired(now) || !session.retire());
    }
}

fn push_front(sessions: &mut Vec<Arc<Session>>, session: Arc<Session>, sessions_max: usize) {
    sessions.insert(0, session);
    sessions.truncate(sessions_max);
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
    /// Whether packets that come from elsewhere show that the peer has moved.
    pub(crate) is_roaming: AtomicBool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::REJECT_AFTER_TIME;
    use crate::session::tests::session;

    /// Of the previous ones, the current one and those in waiting.
    fn serials(table: &Table) -> (Vec<u64>, Option<u64>, Vec<u64>) {
        let of = |sessions: &[Arc<Session>]| sessions.iter().map(|session| session.serial).collect();
        (of(&table.previous), table.current.as_ref().map(|session| session.serial), of(&table.next))
    }

    #[test]
    fn the_first_session_becomes_current() {
        let mut table = Table::default();
        assert!(table.sealing().is_none());
        table.settle(session(1, Role::Initiator, 0, 10));
        assert_eq!(serials(&table), (vec![], Some(1), vec![]));
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
                assert_eq!(serials(&table), (vec![2, 1], Some(3), vec![]), "{roles:?}, prevails {prevails}");
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
                assert_eq!(serials(&table), (vec![previous], Some(current), vec![]), "prevails {prevails}");
            }
        }
    }

    #[test]
    fn a_session_that_waits_is_sealed_with_once_it_is_confirmed() {
        let mut table = Table { address: Some("192.0.2.1:1".parse().unwrap()), ..Table::default() };
        table.settle(session(1, Role::Initiator, 0, 10));
        let waiting = session(2, Role::Responder, 20, 20);
        table.add_next(Arc::clone(&waiting));
        let sealing = |table: &Table| table.sealing().map(|(session, to)| (session.serial, to)).unwrap();
        assert_eq!(sealing(&table), (1, table.address));
        assert!(waiting.confirm().is_ok());
        assert_eq!(sealing(&table), (2, Some("192.0.2.9:9".parse().unwrap())), "where it was agreed");
        table.settle(waiting);
        assert_eq!(serials(&table), (vec![1], Some(2), vec![]));
        assert_eq!(sealing(&table), (2, table.address));
    }

    #[test]
    fn each_session_in_waiting_can_be_confirmed_whatever_came_after_it() {
        for confirmed in 1..=4 {
            let mut table = Table::default();
            for serial in 1..=4 {
                table.add_next(session(serial, Role::Responder, serial, serial));
            }
            assert!(table.confirmed_in_waiting().is_none());
            let chosen = Arc::clone(table.next.iter().find(|session| session.serial == confirmed).unwrap());
            assert!(chosen.confirm().is_ok());
            assert_eq!(table.sealing().map(|(session, _)| session.serial), Some(confirmed));
            table.settle(chosen);
            let others = (1..=4).rev().filter(|serial| *serial != confirmed).collect();
            assert_eq!(serials(&table), (vec![], Some(confirmed), others), "the others go on waiting");
        }
    }

    #[test]
    fn the_session_that_has_waited_longest_makes_room_and_so_does_the_one_replaced_longest_ago() {
        let mut table = Table::default();
        for serial in 1..=10 {
            let is_full = serial > NEXT_SESSIONS_MAX as u64;
            let oldest = table.oldest_if_full().map(|session| session.serial);
            assert_eq!(oldest, is_full.then(|| serial - NEXT_SESSIONS_MAX as u64));
            table.add_next(session(serial, Role::Responder, serial, serial));
        }
        assert_eq!(serials(&table), (vec![], None, vec![10, 9, 8, 7]));
        for serial in 11..=20 {
            table.settle(session(serial, Role::Initiator, serial, serial));
        }
        assert_eq!(serials(&table), (vec![19, 18, 17, 16], Some(20), vec![10, 9, 8, 7]));
        assert_eq!(table.sessions().count(), Table::SESSIONS_MAX);
    }

    #[test]
    fn keys_that_are_too_old_to_open_anything_are_forgotten_but_not_a_session_that_control_must_hear_of() {
        let mut table = Table::default();
        for serial in 1..=3 {
            table.settle(session(serial, Role::Initiator, serial, serial));
        }
        for serial in 4..=7 {
            table.add_next(session(serial, Role::Responder, serial, serial));
        }
        let (unconfirmed, confirmed) = (Arc::clone(&table.next[3]), Arc::clone(&table.next[2]));
        assert!(confirmed.confirm().is_ok());
        let end_of = |session: &Session| session.born + REJECT_AFTER_TIME;
        let now = end_of(&confirmed);
        assert!(!table.has_expired(end_of(&table.previous[1]) - Duration::from_nanos(1)));
        assert!(table.has_expired(end_of(&table.previous[1])));
        table.forget_expired(now);
        assert_eq!(serials(&table), (vec![], Some(3), vec![7, 6, 5]));
        assert!(unconfirmed.confirm().is_err(), "the packet thread may still see it");
    }

    #[test]
    fn a_session_is_found_by_its_index_in_every_place() {
        let mut table = Table::default();
        for serial in 1..=5 {
            table.settle(session(serial, Role::Initiator, serial, serial));
        }
        for serial in 6..=9 {
            table.add_next(session(serial, Role::Responder, serial, serial));
        }
        for index in 1..=9 {
            for index_of_suite in [index, 2000 + index] {
                let found = table.find(SessionIndex(index_of_suite)).map(|(session, _)| session.serial);
                assert_eq!(found, Some(index.into()));
            }
        }
        assert!(table.find(SessionIndex(10)).is_none());
    }
}
