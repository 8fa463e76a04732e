//! Why a datagram was dropped, and how many were.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why a datagram was dropped without an answer (under load: without any but a cookie).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in counters and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// Fewer octets than its type has.
    TooShort => "too-short",
    /// More octets than its type has.
    TooLong => "too-long",
    /// None of the four message types.
    UnknownType => "unknown-type",
    /// MAC1 is wrong: the sender does not know our public key.
    BadMac1 => "bad-mac1",
    /// The receiver index names no session or handshake of ours.
    UnknownReceiver => "unknown-receiver",
    /// The counter was accepted before, or is too old to tell.
    Replayed => "replayed",
    /// The counter was accepted before, as it may be while the peer sends by several paths.
    SecondCopy => "second-copy",
    /// The tag is wrong.
    NotAuthentic => "not-authentic",
    /// The session is older than `REJECT_AFTER_TIME`.
    ExpiredSession => "expired-session",
    /// The counter is beyond `REJECT_AFTER_MESSAGES`.
    ExhaustedSession => "exhausted-session",
    /// The initiation is not newer than one accepted before: a replay, or the peer's clock went back.
    StaleTimestamp => "stale-timestamp",
    /// A well-made initiation of a key that is not the peer's.
    UnknownPeer => "unknown-peer",
    /// We wait for a joiner, and this initiation does not prove the invitation.
    NoProof => "no-proof",
    /// The initiation proves an invitation that is used up.
    SpentInvitation => "spent-invitation",
    /// The initiation proves the invitation, but another key is being paired.
    AnotherCandidate => "another-candidate",
    /// Initiations of the peer follow each other faster than every 20 ms.
    InitiationFlood => "initiation-flood",
    /// An initiation of the peer from another address than the one that is held.
    HeldAddress => "held-address",
    /// Under load, and without a valid MAC2: a cookie was sent.
    CookieDemanded => "cookie-demanded",
    /// Under load, and the source asks for more handshakes than its share.
    SourceRate => "source-rate",
    /// A cookie reply to nothing we sent, or not sealed by the peer.
    BadCookie => "bad-cookie",
    /// A queue of control is full.
    QueueFull => "queue-full",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::error::Error for DropReason {}

/// Counts dropped datagrams by reason. Clones share the counts; any thread may read them.
#[derive(Clone, Debug)]
pub struct DropCounters(Arc<[AtomicU64]>);

impl DropCounters {
    pub(crate) fn new() -> Self {
        Self(DropReason::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn count(&self, reason: DropReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// All counts, in the order of [`DropReason::ALL`].
    pub fn snapshot(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_counter() {
        let counters = DropCounters::new();
        for (number, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            for _ in 0..=number {
                counters.count(*reason);
            }
        }
        let expected: Vec<_> = DropReason::ALL.iter().copied().zip(1..).collect();
        assert_eq!(counters.snapshot().collect::<Vec<_>>(), expected);
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn clones_share_their_counts_between_threads() {
        let counters = DropCounters::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let counters = counters.clone();
                scope.spawn(move || (0..1000).for_each(|_| counters.count(DropReason::Replayed)));
            }
        });
        assert_eq!(counters.of(DropReason::Replayed), 4000);
    }
}
