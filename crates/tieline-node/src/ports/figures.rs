//! What became of a port: counts, and what is in the way now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Characters of a sentence of the far end that are kept and shown.
const TROUBLE_LEN_MAX: usize = 300;

/// Why a connection, or a datagram of a UDP port, went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The far end was not there.
    LineDown,
    /// As many are open as may be.
    TooMany,
    /// The far end said no.
    FarEndRefused,
    /// The service could not be reached, from the end that knows where it is.
    NotReached,
    /// A datagram that would have had to wait behind too many.
    QueueFull,
    /// Whoever is behind it took nothing, as too many others.
    Stalled,
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::LineDown,
        Self::TooMany,
        Self::FarEndRefused,
        Self::NotReached,
        Self::QueueFull,
        Self::Stalled,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::LineDown => "line-down",
            Self::TooMany => "too-many",
            Self::FarEndRefused => "far-end-refused",
            Self::NotReached => "not-reached",
            Self::QueueFull => "queue-full",
            Self::Stalled => "stalled",
        }
    }
}

/// The counts of one port.
#[derive(Debug, Default)]
pub(super) struct Figures {
    opened: AtomicU64,
    closed: AtomicU64,
    broken: AtomicU64,
    octets_out: AtomicU64,
    octets_in: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    /// Why the last one was refused; none once one was not.
    trouble: Mutex<Option<String>>,
}

/// A connection that counts as open.
#[derive(Debug)]
pub(super) struct OpenConnection<'f>(&'f Figures);

impl Figures {
    /// A connection is open from now on until what is returned is dropped.
    pub(super) fn on_opened(&self) -> OpenConnection<'_> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self)
    }

    /// The service was reached: nothing is in the way.
    pub(super) fn on_reached(&self, name: &str) {
        if self.lock().take().is_some() {
            tracing::info!(name, "the port's service is reached again");
        }
    }

    /// Something was refused. The first one is told, and every one for which `sentence` is another; those between are only counted.
    pub(super) fn on_refused(&self, name: &str, reason: Reason, sentence: &str) {
        self.count(reason);
        let sentence: String =
            sentence.chars().filter(|character| !character.is_control()).take(TROUBLE_LEN_MAX).collect();
        let mut trouble = self.lock();
        if trouble.as_ref() == Some(&sentence) {
            tracing::debug!(name, reason = reason.as_str(), "a port was refused");
        } else {
            tracing::info!(name, reason = reason.as_str(), %sentence, "a port was refused");
            *trouble = Some(sentence);
        }
    }

    /// A datagram was dropped, which is nothing to tell.
    pub(super) fn count(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// Octets went to the far end.
    pub(super) fn on_out(&self, octets: usize) {
        self.octets_out.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Octets came from the far end.
    pub(super) fn on_in(&self, octets: usize) {
        self.octets_in.fetch_add(octets as u64, Ordering::Relaxed);
    }

    pub(super) fn open(&self) -> u64 {
        let closed = self.closed.load(Ordering::Relaxed);
        self.total().saturating_sub(closed)
    }

    pub(super) fn total(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    pub(super) fn octets_out(&self) -> u64 {
        self.octets_out.load(Ordering::Relaxed)
    }

    pub(super) fn octets_in(&self) -> u64 {
        self.octets_in.load(Ordering::Relaxed)
    }

    /// What was refused, by reason; only reasons that occurred.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
        let count = |reason: Reason| self.refused[reason as usize].load(Ordering::Relaxed);
        let counts = Reason::ALL.into_iter().map(|reason| (reason.as_str().to_owned(), count(reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_while_they_are_open_and_for_ever() {
        let figures = Figures::default();
        let one = figures.on_opened();
        let other = figures.on_opened();
        assert_eq!((figures.open(), figures.total()), (2, 2));
        drop((one, other));
        assert_eq!((figures.open(), figures.total()), (0, 2));
    }

    #[test]
    fn refusals_are_counted_by_reason_and_the_last_is_told_until_one_is_reached() {
        let figures = Figures::default();
        figures.on_refused("a", Reason::LineDown, "down");
        figures.on_refused("a", Reason::LineDown, "down");
        figures.on_refused("a", Reason::FarEndRefused, "no\u{1b}[2J such port");
        assert_eq!(
            figures.refused(),
            BTreeMap::from([("line-down".into(), 2), ("far-end-refused".into(), 1)])
        );
        assert_eq!(figures.trouble().unwrap(), "no[2J such port");
        figures.on_reached("a");
        assert_eq!(figures.trouble(), None);
    }

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
