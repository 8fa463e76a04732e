//! The timestamps of our own initiations: each greater than all before, whatever the wall clock does.

use std::time::SystemTime;

use tieline_wire::tai64n::Tai64N;

/// Gives out timestamps that only grow. A peer drops every other one as a replay.
pub(crate) struct OwnTimestamps {
    last: Option<Tai64N>,
}

impl OwnTimestamps {
    /// Starts above `floor`, the last one of an earlier life.
    pub(crate) fn above(floor: Option<Tai64N>) -> Self {
        Self { last: floor }
    }

    pub(crate) fn take(&mut self, wall: SystemTime) -> Tai64N {
        let by_clock = Tai64N::from_wall(wall);
        let timestamp = match self.last {
            Some(last) if by_clock <= last => last.next(),
            _ => by_clock,
        };
        self.last = Some(timestamp);
        timestamp
    }

    pub(crate) fn last(&self) -> Option<Tai64N> {
        self.last
    }
}
