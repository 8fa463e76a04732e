//! What calls were like, by the hour: sums of what intervals of streams were like.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use super::stream::Interval;
use crate::emodel::Rating;

/// Hours that are kept: a week.
pub const HOURS_MAX: usize = 168;

const HOUR_SECONDS: u64 = 3600;

/// One hour in which there were calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hour {
    /// Hours since the Unix epoch.
    pub number: u64,
    /// Streams that began.
    pub streams: u64,
    /// Packets that were sent, by their numbers.
    pub expected: u64,
    /// Those that did not arrive.
    pub lost: u64,
    /// Those that came too late to be played.
    pub late: u64,
    /// The largest jitter of an interval.
    pub jitter_max: Duration,
    /// Intervals that were rated, and the sum of their scores.
    intervals: u64,
    mos_sum: f64,
    /// The worst of them.
    pub worst: Option<Rating>,
}

impl Hour {
    /// The mean score of all intervals of all streams.
    #[must_use]
    pub fn mos(&self) -> Option<f64> {
        (self.intervals > 0).then(|| self.mos_sum / self.intervals as f64)
    }
}

/// The hours, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Hours {
    kept: VecDeque<Hour>,
}

impl Hours {
    pub(super) fn on_stream(&mut self, wall: SystemTime) {
        self.of(wall).streams += 1;
    }

    pub(super) fn on_interval(&mut self, wall: SystemTime, interval: &Interval) {
        let Interval { tally, jitter, rating } = interval;
        let hour = self.of(wall);
        hour.expected += tally.expected;
        hour.lost += tally.lost();
        hour.late += tally.late;
        hour.jitter_max = hour.jitter_max.max(*jitter);
        hour.intervals += 1;
        hour.mos_sum += rating.mos();
        hour.worst = Some(hour.worst.filter(|worst| worst < rating).unwrap_or(*rating));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Hour> {
        self.kept.iter()
    }

    /// A clock that steps back finds the hour again that it had left.
    fn of(&mut self, wall: SystemTime) -> &mut Hour {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = since.as_secs() / HOUR_SECONDS;
        let index = self.kept.partition_point(|hour| hour.number < number);
        if self.kept.get(index).is_some_and(|hour| hour.number == number) {
            return &mut self.kept[index];
        }
        // Of a week that is full the oldest goes.
        let index = if self.kept.len() == HOURS_MAX {
            self.kept.pop_front();
            index.saturating_sub(1)
        } else {
            index
        };
        self.kept.insert(index, Hour::new(number));
        &mut self.kept[index]
    }
}

impl Hour {
    fn new(number: u64) -> Self {
        Self {
            number,
            streams: 0,
            expected: 0,
            lost: 0,
            late: 0,
            jitter_max: Duration::ZERO,
            intervals: 0,
            mos_sum: 0.0,
            worst: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sequence::Tally, *};
    use crate::emodel::{Conditions, Impairment};

    fn at(hour: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hour * HOUR_SECONDS + 59)
    }

    fn interval(lost: u64) -> Interval {
        let tally = Tally { expected: 250, received: 250 - lost, ..Tally::default() };
        let conditions = Conditions {
            delay: Duration::from_millis(100),
            loss: tally.loss(),
            burst_ratio: 1.0,
            impairment: Impairment::G711,
        };
        Interval { tally, jitter: Duration::from_millis(lost), rating: Rating::of(&conditions) }
    }

    #[test]
    fn an_hour_sums_its_intervals_up() {
        let mut hours = Hours::default();
        hours.on_stream(at(400_000));
        hours.on_interval(at(400_000), &interval(0));
        hours.on_interval(at(400_000), &interval(25));
        hours.on_interval(at(400_001), &interval(0));
        let kept: Vec<_> = hours.iter().copied().collect();
        assert_eq!(kept.len(), 2);
        let hour = kept[0];
        assert_eq!((hour.streams, hour.expected, hour.lost), (1, 500, 25));
        assert_eq!(hour.jitter_max, Duration::from_millis(25));
        assert_eq!(hour.worst, Some(interval(25).rating));
        let mean = (interval(0).rating.mos() + interval(25).rating.mos()) / 2.0;
        assert!((hour.mos().unwrap() - mean).abs() < 1e-9);
        assert_eq!(Hour::new(1).mos(), None);
    }

    #[test]
    fn a_week_is_kept_and_a_clock_that_steps_makes_no_disorder() {
        let mut hours = Hours::default();
        for hour in (1000..1300).chain([1290, 10, 1299, 5000]) {
            hours.on_stream(at(hour));
        }
        let numbers: Vec<_> = hours.iter().map(|hour| hour.number).collect();
        assert_eq!(numbers.len(), HOURS_MAX);
        assert!(numbers.is_sorted());
        assert_eq!(numbers.last(), Some(&5000));
        let twice = hours.iter().filter(|hour| hour.streams == 2).map(|hour| hour.number);
        assert_eq!(twice.collect::<Vec<_>>(), [1290, 1299]);
    }
}
