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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn timestamps_follow_the_clock() {
        let mut timestamps = OwnTimestamps::above(None);
        assert_eq!(timestamps.last(), None);
        let wall = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(timestamps.take(wall), Tai64N::from_wall(wall));
        assert_eq!(timestamps.last(), Some(Tai64N::from_wall(wall)));
    }

    #[test]
    fn timestamps_grow_though_the_clock_stands_still_or_goes_back() {
        let mut timestamps = OwnTimestamps::above(None);
        let walls =
            [1_000, 1_000, 1_000, 500, 0, 1_001, 400].map(|secs| UNIX_EPOCH + Duration::from_secs(secs));
        let taken = walls.map(|wall| timestamps.take(wall));
        assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "{taken:?}");
        assert_eq!(taken[5], Tai64N::from_wall(walls[5]), "the clock is followed again once it is ahead");
    }

    #[test]
    fn timestamps_are_above_the_floor() {
        let floor = Tai64N::from_wall(UNIX_EPOCH + Duration::from_secs(2_000));
        let mut timestamps = OwnTimestamps::above(Some(floor));
        assert_eq!(timestamps.last(), Some(floor));
        assert!(timestamps.take(UNIX_EPOCH + Duration::from_secs(1_000)) > floor);
    }
}
