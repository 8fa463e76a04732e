//! What the data halves tell control without a message: when they last sent and received, in atomics.
//!
//! The data halves only store. Control reads, and is the only one to arm timers. A stored moment is the time since the epoch
//! that all three share, so that it fits one word.

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
        // Read first: most packets find nothing to clear, and a store would take the cache line from the other thread.
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
    /// The last packet sealed.
    pub(crate) last_sent: AtomicMoment,
    /// The last packet opened.
    pub(crate) last_received: AtomicMoment,
    /// Octets of all datagrams sealed, with their headers.
    pub(crate) sent_bytes: AtomicU64,
    /// Octets of all datagrams opened, with their headers.
    pub(crate) received_bytes: AtomicU64,
}

const NONE: u64 = 0;
