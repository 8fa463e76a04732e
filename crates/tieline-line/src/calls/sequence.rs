//! What arrived of a numbered stream, and what did not (RFC 3550 §6.4.1 and Appendix A.1, A.3).
//!
//! A window of `WINDOW` numbers remembers which of them arrived, so that what was overtaken is not lost, and what comes twice counts
//! once. When a number leaves the window it is settled whether it could be played; so bursts of loss are counted as they were sent, not as
//! they arrived.

/// Numbers that are remembered: 1.3 s of packets of 20 ms.
pub(super) const WINDOW: u16 = 64;
/// The largest jump ahead that is loss (RFC 3550 A.1); beyond it the sender began anew.
const DROPOUT_MAX: u16 = 3000;

/// Counts that only grow; what came in a while is the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that were sent, by their numbers.
    pub expected: u64,
    /// Those that arrived, each counted once.
    pub received: u64,
    /// Those of them that came too late to be played.
    pub late: u64,
    /// Packets that came once more.
    pub duplicates: u64,
    /// Packets that others had overtaken.
    pub reordered: u64,
    /// Numbers whose fate is settled.
    pub settled: u64,
    /// Those of them that could not be played: lost or late.
    pub missed: u64,
    /// Bursts that these came in.
    pub bursts: u64,
}

impl Tally {
    /// Packets that did not arrive.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// The share of packets that were lost or late, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        share(self.lost() + self.late, self.expected)
    }

    /// BurstR of G.107: the mean length of bursts over what it were if the same loss was random; 1 without loss.
    #[must_use]
    pub fn burst_ratio(&self) -> f64 {
        if self.bursts == 0 {
            return 1.0;
        }
        let mean = self.missed as f64 / self.bursts as f64;
        (mean * (1.0 - share(self.missed, self.settled))).max(1.0)
    }

    /// What came since it was `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let received = self.received - earlier.received;
        Self {
            // What is late from before makes up for what is missing now, but is not more than was sent.
            expected: (self.expected - earlier.expected).max(received),
            received,
            late: self.late - earlier.late,
            duplicates: self.duplicates - earlier.duplicates,
            reordered: self.reordered - earlier.reordered,
            settled: self.settled - earlier.settled,
            missed: self.missed - earlier.missed,
            bursts: self.bursts - earlier.bursts,
        }
    }
}

/// A part of a whole, 0 to 1; 0 of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What a packet is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The one that was due.
    Next,
    /// A later one than was due: some are missing.
    Ahead,
    /// One that others had overtaken.
    Overtaken,
    /// One that was there already, or is too old to say.
    Stale,
    /// The sender counts from another number now.
    Restarted,
}

/// The numbers of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    newest: u16,
    /// Bit n: whether number `newest - n` arrived.
    arrived: u64,
    /// Bit n: whether it arrived in time.
    played: u64,
    /// How many of the window's numbers were sent since the beginning.
    filled: u16,
    /// Whether the last settled number was missed.
    in_burst: bool,
    /// The number that would show that the sender began anew (RFC 3550 A.1: two in a row).
    restart: Option<u16>,
    pub(super) tally: Tally,
}

impl Sequence {
    pub(super) fn new(first: u16) -> Self {
        Self::after(Tally::default(), first)
    }

    /// Of a sender that began anew: what it sent before stays counted.
    pub(super) fn after(tally: Tally, first: u16) -> Self {
        let mut sequence =
            Self { newest: 0, arrived: 0, played: 0, filled: 0, in_burst: false, restart: None, tally };
        sequence.begin(first);
        sequence
    }

    /// Takes the number of a packet. [`Self::on_late`] says of the same packet that it was of no use.
    pub(super) fn handle(&mut self, number: u16) -> Arrival {
        let ahead = number.wrapping_sub(self.newest);
        let behind = self.newest.wrapping_sub(number);
        if ahead != 0 && ahead < DROPOUT_MAX {
            self.restart = None;
            self.advance(ahead);
            self.receive(0);
            return if ahead == 1 { Arrival::Next } else { Arrival::Ahead };
        }
        if behind < WINDOW {
            return self.handle_old(behind);
        }
        if self.restart == Some(number) {
            self.settle_all();
            // The one before it was the first.
            self.begin(number.wrapping_sub(1));
            self.advance(1);
            self.receive(0);
            return Arrival::Restarted;
        }
        self.restart = Some(number.wrapping_add(1));
        Arrival::Stale
    }

    fn handle_old(&mut self, behind: u16) -> Arrival {
        if behind >= self.filled {
            return Arrival::Stale;
        }
        if self.arrived & 1 << behind != 0 {
            self.tally.duplicates += 1;
            return Arrival::Stale;
        }
        self.tally.reordered += 1;
        self.receive(behind);
        Arrival::Overtaken
    }

    /// The packet whose number was handled last, and was `behind` the newest by so much, came too late to be played.
    pub(super) fn on_late(&mut self, number: u16) {
        let behind = self.newest.wrapping_sub(number);
        if behind < WINDOW && self.played & 1 << behind != 0 {
            self.played &= !(1 << behind);
            self.tally.late += 1;
        }
    }

    /// Settles all that is in the window: nothing more comes.
    pub(super) fn settle_all(&mut self) {
        for behind in (0..self.filled).rev() {
            self.settle(self.played & 1 << behind != 0);
        }
        self.filled = 0;
    }

    fn begin(&mut self, first: u16) {
        (self.newest, self.arrived, self.played, self.filled) = (first, 0, 0, 1);
        self.restart = None;
        self.tally.expected += 1;
        self.receive(0);
    }

    fn receive(&mut self, behind: u16) {
        self.arrived |= 1 << behind;
        self.played |= 1 << behind;
        self.tally.received += 1;
    }

    /// Moves the window on; what leaves it is settled.
    fn advance(&mut self, by: u16) {
        self.tally.expected += u64::from(by);
        for _ in 0..by.min(WINDOW) {
            if self.filled == WINDOW {
                self.settle(self.played >> (WINDOW - 1) != 0);
            } else {
                self.filled += 1;
            }
            self.arrived <<= 1;
            self.played <<= 1;
        }
        for _ in WINDOW..by {
            self.settle(false);
        }
        self.newest = self.newest.wrapping_add(by);
    }

    fn settle(&mut self, was_played: bool) {
        self.tally.settled += 1;
        if !was_played {
            self.tally.missed += 1;
            self.tally.bursts += u64::from(!self.in_burst);
        }
        self.in_burst = !was_played;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(numbers: &[u16]) -> Sequence {
        let mut sequence = Sequence::new(numbers[0]);
        for number in &numbers[1..] {
            sequence.handle(*number);
        }
        sequence
    }

    #[test]
    fn a_whole_stream_lacks_nothing_across_the_wrap() {
        let numbers: Vec<u16> = (0..300).map(|n| 65400u16.wrapping_add(n)).collect();
        let mut sequence = after(&numbers);
        sequence.settle_all();
        let tally = sequence.tally;
        assert_eq!((tally.expected, tally.received, tally.settled, tally.missed), (300, 300, 300, 0));
        assert_eq!((tally.loss(), tally.burst_ratio()), (0.0, 1.0));
    }

    #[test]
    fn what_is_missing_is_lost_and_what_was_overtaken_is_not() {
        let mut sequence = after(&[1, 2, 4]);
        assert_eq!(sequence.tally.lost(), 1);
        assert_eq!(sequence.handle(3), Arrival::Overtaken);
        assert_eq!((sequence.tally.lost(), sequence.tally.reordered), (0, 1));
        assert_eq!(sequence.handle(8), Arrival::Ahead);
        assert_eq!(sequence.tally.lost(), 3);
    }

    #[test]
    fn what_comes_twice_counts_once() {
        let mut sequence = after(&[1, 2, 3]);
        for number in [3, 1] {
            assert_eq!(sequence.handle(number), Arrival::Stale);
        }
        let tally = sequence.tally;
        assert_eq!((tally.expected, tally.received, tally.duplicates), (3, 3, 2));
    }

    #[test]
    fn what_was_sent_before_the_first_that_came_is_nobodys_loss() {
        let mut sequence = after(&[10, 11]);
        assert_eq!(sequence.handle(9), Arrival::Stale);
        assert_eq!((sequence.tally.expected, sequence.tally.received), (2, 2));
    }

    #[test]
    fn two_in_a_row_from_elsewhere_are_a_new_beginning() {
        let mut sequence = after(&[1, 2, 3]);
        assert_eq!(sequence.handle(40000), Arrival::Stale);
        assert_eq!(sequence.handle(4), Arrival::Next);
        assert_eq!(sequence.handle(40000), Arrival::Stale);
        assert_eq!(sequence.handle(40001), Arrival::Restarted);
        assert_eq!(sequence.handle(40002), Arrival::Next);
        let tally = sequence.tally;
        assert_eq!((tally.expected, tally.received, tally.settled), (7, 7, 4));
    }

    #[test]
    fn late_is_missed_but_not_lost() {
        let mut sequence = after(&[1, 2, 3]);
        sequence.on_late(2);
        sequence.on_late(2);
        sequence.settle_all();
        let tally = sequence.tally;
        assert_eq!((tally.lost(), tally.late, tally.missed, tally.bursts), (0, 1, 1, 1));
    }

    #[test]
    fn bursts_are_told_from_random_loss() {
        // Of 1000 numbers, 50 are missing: one in twenty, or ten at a time.
        let tally = |is_missing: &dyn Fn(u16) -> bool| {
            let numbers: Vec<u16> = (0..=1000).filter(|n| !is_missing(*n)).collect();
            let mut sequence = after(&numbers);
            sequence.settle_all();
            sequence.tally
        };
        let single = tally(&|n| n % 20 == 10);
        let burst = tally(&|n| (100..=109).contains(&(n % 200)));
        assert_eq!((single.missed, single.bursts, single.burst_ratio()), (50, 50, 1.0));
        assert_eq!((burst.missed, burst.bursts), (50, 5));
        assert!((burst.burst_ratio() - 9.5).abs() < 0.01);
    }

    #[test]
    fn a_long_cut_is_one_burst() {
        let mut sequence = after(&[1, 2, 500, 501]);
        sequence.settle_all();
        let tally = sequence.tally;
        assert_eq!((tally.lost(), tally.missed, tally.bursts, tally.settled), (497, 497, 1, 501));
    }

    proptest! {
        /// Against a plain list: whatever loss, order and repetition within the window, counts are as they should be.
        #[test]
        fn counts_agree_with_a_plain_list(
            first in any::<u16>(),
            fates in prop::collection::vec((0u8..10, 0usize..20), 2..400),
        ) {
            // 0 and 1: lost; 2: comes twice; others come once; each may be held back by some places.
            let mut arrivals = Vec::new();
            for (n, (fate, held)) in fates.iter().enumerate() {
                let copies = [0, 0, 2].get(usize::from(*fate)).copied().unwrap_or(1);
                arrivals.extend((0..copies).map(|copy| (n + held * usize::from(copy == 0), n)));
            }
            arrivals.sort();
            prop_assume!(!arrivals.is_empty());
            let least = arrivals[0].1;
            let arrivals: Vec<_> = arrivals.into_iter().map(|(_, n)| n).filter(|n| *n >= least).collect();
            let mut sequence = Sequence::new(first.wrapping_add(least as u16));
            for n in &arrivals[1..] {
                sequence.handle(first.wrapping_add(*n as u16));
            }
            sequence.settle_all();
            let mut unique = arrivals.clone();
            unique.sort();
            unique.dedup();
            let expected = unique.last().unwrap() - least + 1;
            let tally = sequence.tally;
            prop_assert_eq!(tally.expected, expected as u64);
            prop_assert_eq!(tally.received, unique.len() as u64);
            prop_assert_eq!(tally.duplicates, (arrivals.len() - unique.len()) as u64);
            prop_assert_eq!((tally.settled, tally.missed), (tally.expected, tally.lost()));
        }

        #[test]
        fn no_order_of_numbers_upsets_it(numbers in prop::collection::vec(any::<u16>(), 1..300)) {
            let mut sequence = after(&numbers);
            sequence.settle_all();
            let tally = sequence.tally;
            prop_assert!(tally.received <= tally.expected && tally.missed <= tally.settled);
            prop_assert!(tally.settled <= tally.expected && tally.bursts <= tally.missed);
        }
    }
}
