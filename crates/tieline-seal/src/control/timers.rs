//! What is due when (paper §6). Nothing is armed: each deadline follows from what is known, so none can be
//! forgotten or go off twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Control;
use crate::config::Event;
use crate::limits::{
    ACTIVITY_CHECK, KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_AFTER_TIME_RECEIVING,
    REKEY_TIMEOUT, UNANSWERED_TIMEOUT, ZERO_KEYS_AFTER_TIME,
};
use crate::session::{Role, Session};
use crate::table::Table;

/// Why control wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// An initiation is due (§6.4).
    Initiation,
    /// What we sent has had no answer (§6.5).
    Unanswered,
    /// What we received has had no answer (§6.5).
    Keepalive,
    /// The NAT on the way may forget us.
    PersistentKeepalive,
    /// The session dies of age (§6.2).
    Expiry,
    /// Keys that nobody needs are erased (§6.3).
    Erasure,
    /// The data halves may have done something, and keys may have become too old to open anything.
    ActivityCheck,
}

impl Control {
    /// Every timer and when it is due.
    fn deadlines(&self, now: Instant) -> [(Timer, Option<Instant>); 7] {
        let (epoch, activity) = (self.shared.epoch, &self.shared.activity);
        let table = self.shared.table.load();
        let after = |moment: Option<Instant>, wait: Duration| moment.map(|moment| moment + wait);
        let has_session = table.sessions().any(|session| session.is_alive(now));
        let expiry = after(table.current.as_ref().map(|session| session.born), REJECT_AFTER_TIME);
        let erasure = after(self.derived_at, ZERO_KEYS_AFTER_TIME);
        [
            (Timer::Initiation, self.attempts.due_at()),
            (Timer::Unanswered, after(activity.unanswered_since.load(epoch), UNANSWERED_TIMEOUT)),
            (Timer::Keepalive, after(activity.unacknowledged_since.load(epoch), KEEPALIVE_TIMEOUT)),
            (Timer::PersistentKeepalive, self.persistent_keepalive_at()),
            (Timer::Expiry, expiry.filter(|_| self.is_up)),
            (Timer::Erasure, earliest(erasure, self.attempts.erase_at())),
            (Timer::ActivityCheck, has_session.then(|| self.looked_at + ACTIVITY_CHECK)),
        ]
    }

    pub(super) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        self.deadlines(now).into_iter().filter_map(|(_, deadline)| deadline).min()
    }

    pub(super) fn fire_timers(&mut self, now: Instant) {
        for (timer, deadline) in self.deadlines(now) {
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.on_timer(now, timer);
            }
        }
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        let (epoch, activity) = (self.shared.epoch, &self.shared.activity);
        let since = |wait| now.checked_sub(wait).unwrap_or(epoch.0);
        match timer {
            // Sent after all rules were looked at, because another may ask for one too.
            Timer::Initiation | Timer::ActivityCheck => {}
            Timer::Unanswered => {
                if activity.unanswered_since.take_until(epoch, since(UNANSWERED_TIMEOUT)) {
                    self.want_session(now);
                }
            }
            Timer::Keepalive => {
                if activity.unacknowledged_since.take_until(epoch, since(KEEPALIVE_TIMEOUT)) {
                    self.ask_for_keepalive(now);
                }
            }
            Timer::PersistentKeepalive => {
                self.persistent_asked_at = Some(now);
                self.ask_for_keepalive(now);
            }
            Timer::Expiry => {
                self.is_up = false;
                self.tell(Event::SessionLost);
                if self.always_on {
                    self.want_session(now);
                }
            }
            Timer::Erasure => self.erase_old_keys(now),
        }
    }

    fn ask_for_keepalive(&mut self, now: Instant) {
        let has_session =
            self.shared.table.load().sealing().is_some_and(|(session, _)| session.is_alive(now));
        if has_session {
            self.tell(Event::SendKeepalive);
        } else {
            self.want_session(now);
        }
    }

    /// The interval after the last sign of life in either direction.
    fn persistent_keepalive_at(&self) -> Option<Instant> {
        let (epoch, activity) = (self.shared.epoch, &self.shared.activity);
        let signs = [
            activity.sent.last.load(epoch),
            activity.received.last.load(epoch),
            self.attempts.last_sent_at(),
            self.persistent_asked_at,
        ];
        let last = signs.into_iter().flatten().max().unwrap_or(epoch.0);
        let is_possible = self.shared.table.load().address.is_some();
        self.persistent_keepalive.filter(|_| is_possible).map(|interval| last + interval)
    }

    fn erase_old_keys(&mut self, now: Instant) {
        self.attempts.erase_old(now);
        let is_due =
            self.derived_at.is_some_and(|at| now.saturating_duration_since(at) >= ZERO_KEYS_AFTER_TIME);
        if !is_due {
            return;
        }
        self.derived_at = None;
        self.change_table(|table| {
            *table = Table { address: table.address, prevails: table.prevails, ..Table::default() };
        });
    }

    /// Replaces the session if what the data halves did makes that due (§6.2). Each packet counts once: a
    /// session under which nothing passes any more asks for nothing.
    pub(super) fn rekey_if_due(&mut self, now: Instant) {
        let table = self.shared.table.load_full();
        let by_sending = table.current.as_ref().and_then(|session| self.sent_when_due(session));
        let due_at = by_sending.max(self.received_when_due(&table));
        if due_at > self.rekey_asked_by {
            self.rekey_asked_by = due_at;
            self.want_session(now);
        }
    }

    /// When a packet was last sent, if that makes the session due.
    fn sent_when_due(&self, session: &Session) -> Option<Instant> {
        let sent_at = session.outbound.last_sent.load(self.shared.epoch)?;
        let is_old = session.role == Role::Initiator
            && sent_at.saturating_duration_since(session.born) >= REKEY_AFTER_TIME;
        let is_used_up = session.outbound.counter.load(Ordering::Relaxed) > session.rekey_after_messages();
        (is_old || is_used_up).then_some(sent_at)
    }

    /// When a packet was last received, if that makes the session due. The initiator of whatever session the
    /// peer still uses replaces it before it dies.
    fn received_when_due(&self, table: &Table) -> Option<Instant> {
        let newest = table.current.as_ref().map(|session| session.born);
        let due_by = |session: &Arc<Session>| {
            let received_at = session.inbound.last_received.load(self.shared.epoch)?;
            // Packets on the way when a session was replaced do not count as use.
            let is_in_use =
                newest.is_none_or(|newest| newest <= session.born || received_at > newest + REKEY_TIMEOUT);
            let is_old = received_at.saturating_duration_since(session.born) >= REKEY_AFTER_TIME_RECEIVING;
            (session.role == Role::Initiator && is_in_use && is_old).then_some(received_at)
        };
        table.current.iter().chain(&table.previous).filter_map(due_by).max()
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
