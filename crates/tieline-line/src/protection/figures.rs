//! What the threads of a line and its control share about protection: atomics, never a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tieline_wire::protected::StreamId;

use super::{ProtectorCounts, RestorerCounts};

/// What control decided, and what the threads count.
#[derive(Debug, Default)]
pub struct Figures {
    /// Random, so that the far end tells this process from the one before.
    process: u16,
    is_on: AtomicBool,
    sent: [Published<{ ProtectorCounts::COUNT }>; StreamId::LANES],
    received: Published<{ RestorerCounts::COUNT }>,
}

#[derive(Debug)]
struct Published<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Published<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Published<N> {
    fn store(&self, values: [u64; N]) {
        self.0.iter().zip(values).for_each(|(published, value)| published.store(value, Relaxed));
    }

    fn load(&self) -> [u64; N] {
        std::array::from_fn(|at| self.0[at].load(Relaxed))
    }
}

impl Figures {
    /// Nothing so far, in a process that drew `process`.
    #[must_use]
    pub fn new(process: u16) -> Self {
        Self { process, ..Self::default() }
    }

    /// In which stream a lane counts, the first being 0; none for more lanes than there may be.
    #[must_use]
    pub fn stream(&self, lane: usize) -> Option<StreamId> {
        (lane < StreamId::LANES).then(|| StreamId::of_lane(lane, self.process))
    }

    /// Whether repair packets are to be made.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Turns repair packets on or off.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Relaxed);
    }

    /// Says what the protector of `lane` has done so far.
    pub fn publish_sent(&self, lane: usize, counts: &ProtectorCounts) {
        if let Some(sent) = self.sent.get(lane) {
            sent.store(counts.values());
        }
    }

    /// What the protectors of all lanes have done so far.
    #[must_use]
    pub fn sent(&self) -> ProtectorCounts {
        let lanes = self.sent.iter().map(Published::load);
        ProtectorCounts::of(lanes.fold([0; _], |sum, lane| std::array::from_fn(|at| sum[at] + lane[at])))
    }

    /// Says what the restorer has done so far.
    pub fn publish_received(&self, counts: &RestorerCounts) {
        self.received.store(counts.values());
    }

    /// What the restorer has done so far.
    #[must_use]
    pub fn received(&self) -> RestorerCounts {
        RestorerCounts::of(self.received.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_read_where_it_was_published() {
        let figures = Figures::default();
        let received = RestorerCounts::of(std::array::from_fn(|at| at as u64));
        figures.publish_received(&received);
        assert_eq!(figures.received(), received);
        assert_eq!((received.received, received.repairs, received.contradictions), (0, 4, 9));
        for lane in 0..StreamId::LANES {
            figures.publish_sent(lane, &ProtectorCounts::of(std::array::from_fn(|at| at as u64 + 1)));
        }
        figures.publish_sent(StreamId::LANES, &ProtectorCounts::of([1000; _]));
        assert_eq!(figures.sent(), ProtectorCounts::of([4, 8, 12, 16, 20, 24]));
        assert_eq!(figures.sent().withheld, 24);
    }
}
