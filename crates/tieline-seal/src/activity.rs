//! What the data halves tell control without a message: when they last sent and received, in atomics.
//!
//! The data halves only store. Control reads, and is the only one to arm timers. A stored moment is the time
//! since the epoch that all three share, so that it fits one word.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A moment that one thread stores and another reads; at first there is none.
#[derive(Debug, Default)]
pub(crate) struct AtomicMoment(AtomicU64);

/// The instant from which the moments of one line are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(pub(crate) Instant);

impl Epoch {
    /// Nanoseconds since the epoch plus one, since zero stands for "none"; good for 584 years.
    fn encode(self, moment: Instant) -> u64 {
        let elapsed = moment.saturating_duration_since(self.0).as_nanos();
        u64::try_from(elapsed).unwrap_or(u64::MAX - 1).saturating_add(1)
    }

    fn decode(self, stored: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_nanos(stored.checked_sub(1)?))
    }
}

impl AtomicMoment {
    pub(crate) fn load(&self, epoch: Epoch) -> Option<Instant> {
        epoch.decode(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NONE
    }

    pub(crate) fn store(&self, epoch: Epoch, moment: Instant) {
        self.0.store(epoch.encode(moment), Ordering::Relaxed);
    }

    /// Stores `moment` if there is none.
    pub(crate) fn store_if_none(&self, epoch: Epoch, moment: Instant) {
        if self.0.load(Ordering::Relaxed) == NONE {
            self.store(epoch, moment);
        }
    }

    pub(crate) fn clear(&self) {
        // Read first: most packets find nothing to clear, and a store would take the cache line from the
        // other thread.
        if self.0.load(Ordering::Relaxed) != NONE {
            self.0.store(NONE, Ordering::Relaxed);
        }
    }

    /// Takes the moment if it is not later than `limit`, so that the timer it stands for fires once.
    pub(crate) fn take_until(&self, epoch: Epoch, limit: Instant) -> bool {
        let stored = self.0.load(Ordering::Relaxed);
        stored != NONE
            && stored <= epoch.encode(limit)
            && limit >= epoch.0
            && self.0.compare_exchange(stored, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// What happened on a line, over all its sessions.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Since when a packet sent with content has had nothing authentic in return (paper §6.5: 15 s).
    pub(crate) unanswered_since: AtomicMoment,
    /// Since when a packet received with content has had nothing in return (paper §6.5: 10 s).
    pub(crate) unacknowledged_since: AtomicMoment,
    /// What Outbound counts.
    pub(crate) sent: OwnCacheLine<Traffic>,
    /// What Inbound counts.
    pub(crate) received: OwnCacheLine<Traffic>,
}

/// One direction of a line.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// When the last datagram was sealed or opened.
    pub(crate) last: AtomicMoment,
    datagrams: AtomicU64,
    /// Octets of all datagrams, with their headers.
    bytes: AtomicU64,
}

impl Traffic {
    pub(crate) fn note(&self, epoch: Epoch, now: Instant, length: usize) {
        self.last.store(epoch, now);
        self.datagrams.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }

    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Keeps what one thread writes apart from what another writes, so that they do not take the cache line from
/// each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct OwnCacheLine<T>(T);

impl<T> Deref for OwnCacheLine<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

const NONE: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> Epoch {
        Epoch(Instant::now())
    }

    #[test]
    fn a_moment_is_what_was_stored_to_the_nanosecond() {
        let (epoch, moment) = (epoch(), AtomicMoment::default());
        assert_eq!(moment.load(epoch), None);
        for elapsed in [0, 1, 999, 1_000_000_007] {
            let at = epoch.0 + Duration::from_nanos(elapsed);
            moment.store(epoch, at);
            assert_eq!(moment.load(epoch), Some(at));
        }
        moment.clear();
        assert_eq!(moment.load(epoch), None);
    }

    #[test]
    fn the_first_moment_stays_until_it_is_cleared() {
        let (epoch, moment) = (epoch(), AtomicMoment::default());
        moment.store_if_none(epoch, epoch.0);
        moment.store_if_none(epoch, epoch.0 + Duration::from_secs(1));
        assert_eq!(moment.load(epoch), Some(epoch.0));
    }

    #[test]
    fn a_due_moment_is_taken_once() {
        let (epoch, moment) = (epoch(), AtomicMoment::default());
        let at = epoch.0 + Duration::from_secs(3);
        assert!(!moment.take_until(epoch, at), "there is none");
        moment.store(epoch, at);
        assert!(!moment.take_until(epoch, at - Duration::from_nanos(1)), "it is not due");
        assert!(moment.take_until(epoch, at));
        assert!(!moment.take_until(epoch, at), "it was taken");
    }

    #[test]
    fn octets_add_up() {
        let (epoch, traffic) = (epoch(), OwnCacheLine::<Traffic>::default());
        traffic.note(epoch, epoch.0, 100);
        traffic.note(epoch, epoch.0 + Duration::from_secs(1), 48);
        assert_eq!(traffic.bytes(), 148);
        assert_eq!(traffic.last.load(epoch), Some(epoch.0 + Duration::from_secs(1)));
    }
}
