//! What the far end's reports say, from one to the next, and what follows from it.

use std::time::Instant;

use tieline_wire::{protected::StreamId, protection_report::ProtectionReport};

use super::demand::Demand;

/// What became of the packets of one lane between two reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Since {
    /// Packets that should have arrived.
    expected: u32,
    /// Those of them that did not.
    lost: u32,
    /// Those that were made again.
    restored: u32,
}

/// Keeps the account of what the far end reports, and decides from it whether voice needs repair packets.
#[derive(Debug, Default)]
pub struct Reports {
    demand: Demand,
    /// The last one of each lane.
    last: [Option<ProtectionReport>; StreamId::LANES],
    lost: u64,
    restored: u64,
}

impl Reports {
    /// Takes a report of the far end.
    pub fn handle_report(&mut self, now: Instant, report: ProtectionReport) {
        if let Some(since) = self.since_last(report) {
            self.lost += u64::from(since.lost);
            self.restored += u64::from(since.restored);
            self.demand.handle_loss(now, since.expected, since.lost);
        }
    }

    /// Whether repair packets are to be made.
    pub fn is_on(&mut self, now: Instant) -> bool {
        self.demand.is_on(now)
    }

    /// Loss of the last ten seconds in thousandths, as it was when something was last asked or told; none if nothing is known.
    #[must_use]
    pub fn loss_per_mille(&self) -> Option<u64> {
        self.demand.loss_per_mille()
    }

    /// Packets that did not arrive, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Packets that were made again, since the start.
    #[must_use]
    pub fn restored(&self) -> u64 {
        self.restored
    }

    /// What a report says beyond the one before; none if it is older than that.
    fn since_last(&mut self, report: ProtectionReport) -> Option<Since> {
        let last = &mut self.last[report.stream.lane()];
        let zero = ProtectionReport { stream: report.stream, expected: 0, received: 0, restored: 0 };
        let before = last.filter(|last| last.stream == report.stream).unwrap_or(zero);
        let expected = report.expected.wrapping_sub(before.expected);
        if expected > u32::MAX / 2 {
            return None;
        }
        *last = Some(report);
        // Those that came late may make it negative (RFC 3550 §A.3).
        let lost = expected.wrapping_sub(report.received.wrapping_sub(before.received));
        Some(Since {
            expected,
            lost: u32::try_from(lost.cast_signed()).unwrap_or(0).min(expected),
            restored: report.restored.wrapping_sub(before.restored).min(expected),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(expected: u32, received: u32, restored: u32) -> ProtectionReport {
        ProtectionReport { stream: StreamId::of(5), expected, received, restored }
    }

    #[test]
    fn what_is_said_twice_or_late_is_counted_once() {
        let mut reports = Reports::default();
        let first = Since { expected: 10, lost: 2, restored: 1 };
        assert_eq!(reports.since_last(report(10, 8, 1)), Some(first));
        assert_eq!(reports.since_last(report(10, 8, 1)), Some(Since::default()));
        let third = Since { expected: 20, lost: 5, restored: 5 };
        assert_eq!(reports.since_last(report(30, 23, 6)), Some(third));
        assert_eq!(reports.since_last(report(20, 15, 3)), None);
    }

    #[test]
    fn packets_that_came_late_were_not_lost() {
        let mut reports = Reports::default();
        reports.since_last(report(10, 8, 0)).unwrap();
        let since = reports.since_last(report(15, 15, 0)).unwrap();
        assert_eq!(since, Since { expected: 5, lost: 0, restored: 0 });
    }

    #[test]
    fn counts_wrap_around_and_never_say_more_than_was_expected() {
        let mut reports = Reports::default();
        reports.since_last(report(u32::MAX / 3, u32::MAX / 3, 0)).unwrap();
        reports.since_last(report(u32::MAX / 3 * 2, u32::MAX / 3 * 2, 0)).unwrap();
        reports.since_last(report(u32::MAX, u32::MAX, 0)).unwrap();
        let since = reports.since_last(report(9, 4, u32::MAX)).unwrap();
        assert_eq!(since, Since { expected: 10, lost: 5, restored: 10 });
    }

    #[test]
    fn each_stream_is_counted_by_itself() {
        let mut reports = Reports::default();
        reports.since_last(report(10, 8, 0)).unwrap();
        let restarted = ProtectionReport { stream: StreamId::of(6), ..report(3, 3, 0) };
        let lane = ProtectionReport { stream: StreamId::of_lane(2, 5), ..report(7, 7, 0) };
        assert_eq!(reports.since_last(lane).map(|since| since.expected), Some(7));
        assert_eq!(reports.since_last(restarted).map(|since| since.expected), Some(3));
    }

    #[test]
    fn loss_turns_it_on_and_is_counted() {
        let now = Instant::now();
        let mut reports = Reports::default();
        reports.handle_report(now, report(100, 100, 0));
        assert!(!reports.is_on(now));
        reports.handle_report(now, report(200, 195, 3));
        assert!(reports.is_on(now));
        assert_eq!((reports.lost(), reports.restored(), reports.loss_per_mille()), (5, 3, Some(25)));
    }
}
