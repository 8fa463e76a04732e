//! The timestamps of our own initiations: each greater than all before, whatever the wall clock does.

use std::time::SystemTime;

use tieline_wire::tai64n::Tai64N;

use crate::limits::TIMESTAMP_LEAP;

/// Gives out timestamps that only grow. A peer drops every other one as a replay.
pub(crate) struct OwnTimestamps {
    last: Option<Tai64N>,
    /// Whether `last` is of an earlier life, which may have sent greater ones that nobody wrote down.
    is_floor: bool,
}

impl OwnTimestamps {
    /// Starts above `floor`, the last one of an earlier life that was written down.
    pub(crate) fn above(floor: Option<Tai64N>) -> Self {
        Self { last: floor, is_floor: floor.is_some() }
    }

    pub(crate) fn take(&mut self, wall: SystemTime) -> Tai64N {
        let by_clock = Tai64N::from_wall(wall);
        let timestamp = match self.last {
            Some(last) if by_clock <= last && self.is_floor => leap(last),
            Some(last) if by_clock <= last => last.next(),
            _ => by_clock,
        };
        self.is_floor = false;
        self.last = Some(timestamp);
        timestamp
    }

    pub(crate) fn last(&self) -> Option<Tai64N> {
        self.last
    }
}

/// What is surely above all that was sent after `floor` by a clock that was ahead, had its process been killed then.
fn leap(floor: Tai64N) -> Tai64N {
    let leapt = floor.to_wall().and_then(|wall| wall.checked_add(TIMESTAMP_LEAP));
    leapt.map_or(floor, Tai64N::from_wall).max(floor.next())
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

    #[test]
    fn timestamps_leap_over_what_an_earlier_life_did_not_write_down_and_then_grow_by_steps() {
        let floor = UNIX_EPOCH + Duration::from_secs(2_000);
        let unwritten = Tai64N::from_wall(floor + TIMESTAMP_LEAP - Duration::from_secs(1));
        let mut timestamps = OwnTimestamps::above(Some(Tai64N::from_wall(floor)));
        let first = timestamps.take(UNIX_EPOCH);
        assert!(first > unwritten);
        assert_eq!(timestamps.take(UNIX_EPOCH), first.next());
        let later = floor + Duration::from_secs(1);
        let mut timestamps = OwnTimestamps::above(Some(Tai64N::from_wall(floor)));
        assert_eq!(timestamps.take(later), Tai64N::from_wall(later), "a clock that is right is followed");
    }

    #[test]
    fn the_greatest_floor_does_no_harm() {
        let greatest = Tai64N::from_bytes([0xff; Tai64N::LEN]);
        assert!(OwnTimestamps::above(Some(greatest)).take(UNIX_EPOCH) >= greatest);
    }
}
