//! How many frames a second may go to all, to groups, and to hosts nobody knows. What is more is dropped: that many come from a loop, from a
//! program that has gone mad, or from somebody who wants to know what happens.

use std::time::{Duration, Instant};

use super::{Blocked, is_fresh};

/// What may come at once after a silence, as a part of the limit.
const BURST: Duration = Duration::from_millis(500);
/// An alarm is raised if as many are dropped within so long as may pass in that time.
const WINDOW: Duration = Duration::from_secs(1);
/// A storm is told of again after so long.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// A kind of frame that bridges send to every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StormKind {
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
    /// To a host that nobody has heard of.
    Unknown,
}

impl StormKind {
    const COUNT: usize = 3;

    /// As what it is counted.
    pub(super) fn blocked(self) -> Blocked {
        match self {
            Self::Broadcast => Blocked::BroadcastStorm,
            Self::Multicast => Blocked::MulticastStorm,
            Self::Unknown => Blocked::UnknownStorm,
        }
    }
}

/// The limits of one direction.
#[derive(Debug)]
pub(super) struct Storm {
    limit: u32,
    kinds: [Bucket; StormKind::COUNT],
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When the next frame would be in time, if none were let pass early.
    due: Instant,
    window: Instant,
    /// Frames dropped since then.
    dropped: u32,
    told: Option<Instant>,
}

impl Storm {
    /// Lets `limit` frames a second pass of each kind.
    pub(super) fn new(limit: u32, now: Instant) -> Self {
        let bucket = Bucket { due: now, window: now, dropped: 0, told: None };
        Self { limit: limit.max(1), kinds: [bucket; StormKind::COUNT] }
    }

    /// Whether `count` more frames may pass.
    pub(super) fn takes(&mut self, now: Instant, kind: StormKind, count: usize) -> bool {
        let bucket = &mut self.kinds[kind as usize];
        let due = bucket.due.max(now);
        if due.saturating_duration_since(now) < BURST {
            let each = Duration::from_secs(1) / self.limit;
            bucket.due = due + each * u32::try_from(count).unwrap_or(u32::MAX);
            return true;
        }
        if !is_fresh(now, bucket.window, WINDOW) {
            (bucket.window, bucket.dropped) = (now, 0);
        }
        bucket.dropped = bucket.dropped.saturating_add(1);
        false
    }

    /// Whether somebody must be told of what was dropped; once, and after a while again.
    pub(super) fn is_to_tell(&mut self, now: Instant, kind: StormKind) -> bool {
        let bucket = &mut self.kinds[kind as usize];
        let was_told = bucket.told.is_some_and(|told| is_fresh(now, told, TOLD_AGAIN));
        let is_storm = bucket.dropped >= self.limit && !was_told;
        if is_storm {
            bucket.told = Some(now);
        }
        is_storm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: StormKind = StormKind::Broadcast;

    /// How many of `rate` frames a second pass within so long, and when it is told.
    fn passed(storm: &mut Storm, from: Instant, rate: u32, seconds: u32) -> (u32, Vec<u32>) {
        let (mut passed, mut told) = (0, Vec::new());
        for number in 0..rate * seconds {
            let now = from + Duration::from_secs(1) * number / rate;
            if storm.takes(now, KIND, 1) {
                passed += 1;
            } else if storm.is_to_tell(now, KIND) {
                told.push(number / rate);
            }
        }
        (passed, told)
    }

    #[test]
    fn what_is_within_the_limit_passes_and_is_no_storm() {
        let now = Instant::now();
        let mut storm = Storm::new(100, now);
        assert_eq!(passed(&mut storm, now, 100, 10), (1000, vec![]));
    }

    #[test]
    fn a_storm_is_cut_to_the_limit_and_told_once_a_minute() {
        let now = Instant::now();
        let mut storm = Storm::new(100, now);
        let (passed, told) = passed(&mut storm, now, 10_000, 90);
        assert!((9000..9100).contains(&passed), "{passed}");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0] == 0 && (60..62).contains(&told[1]), "{told:?}");
    }

    #[test]
    fn each_kind_has_its_own_limit() {
        let now = Instant::now();
        let mut storm = Storm::new(10, now);
        while storm.takes(now, StormKind::Broadcast, 1) {}
        assert!(storm.takes(now, StormKind::Multicast, 1) && storm.takes(now, StormKind::Unknown, 1));
    }

    #[test]
    fn frames_that_come_in_one_piece_count_as_many() {
        let now = Instant::now();
        let mut storm = Storm::new(100, now);
        assert!(storm.takes(now, KIND, 45) && storm.takes(now, KIND, 45));
        assert!(!storm.takes(now, KIND, 1));
    }
}
