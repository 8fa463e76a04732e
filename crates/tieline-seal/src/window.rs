//! The replay window: which counters of a session were already accepted (RFC 6479).
//!
//! A ring of words that hold one bit for each counter. Moving on clears whole words instead of shifting bits,
//! so one word more than the window is kept: that in which the newest counter lies is only partly used.

/// Remembers which of the last [`ReplayWindow::LEN`] counters were accepted; every older one counts as a
/// replay.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    words: [u64; WORDS],
    /// The counter after the greatest one accepted.
    next: u64,
}

impl ReplayWindow {
    /// How far behind the greatest counter accepted another may arrive.
    pub const LEN: u64 = 8192;

    /// A window that has accepted nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; WORDS], next: 0 }
    }

    /// Whether `counter` could be accepted; cheap, to be asked before a packet is opened.
    #[must_use]
    pub fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        self.next - counter <= Self::LEN && self.words[word_of(counter)] & bit_of(counter) == 0
    }

    /// Accepts the counter of a packet that was found authentic; false if it is a replay or too old to tell.
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.is_fresh(counter) {
            return false;
        }
        if counter >= self.next {
            self.advance_to(counter);
        }
        self.words[word_of(counter)] |= bit_of(counter);
        true
    }

    /// Clears the words between the one of the greatest counter so far and that of `counter`.
    fn advance_to(&mut self, counter: u64) {
        let newest = self.next.saturating_sub(1) / WORD_BITS;
        let steps = (counter / WORD_BITS - newest).min(WORDS as u64);
        for step in 1..=steps {
            self.words[((newest + step) % WORDS as u64) as usize] = 0;
        }
        self.next = counter.saturating_add(1);
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

fn word_of(counter: u64) -> usize {
    (counter / WORD_BITS % WORDS as u64) as usize
}

fn bit_of(counter: u64) -> u64 {
    1 << (counter % WORD_BITS)
}

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = (ReplayWindow::LEN / WORD_BITS) as usize + 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::limits::REJECT_AFTER_MESSAGES;

    #[test]
    fn each_counter_is_accepted_once() {
        let mut window = ReplayWindow::new();
        for counter in [0, 1, 2, 63, 64, 65, 8191, 8192, 3] {
            assert!(window.is_fresh(counter), "{counter}");
            assert!(window.accept(counter), "{counter}");
            assert!(!window.is_fresh(counter), "{counter}");
            assert!(!window.accept(counter), "{counter}");
        }
    }

    #[test]
    fn the_window_reaches_exactly_its_length_back() {
        for newest in [ReplayWindow::LEN, 100_000, 100_031, 100_032, 100_063] {
            let mut window = ReplayWindow::new();
            assert!(window.accept(newest));
            assert!(window.accept(newest + 1 - ReplayWindow::LEN), "the oldest inside, newest {newest}");
            assert!(!window.accept(newest - ReplayWindow::LEN), "one too old, newest {newest}");
        }
    }

    #[test]
    fn a_leap_over_the_whole_window_forgets_nothing_it_should_know() {
        let mut window = ReplayWindow::new();
        for counter in 0..10_000 {
            assert!(window.accept(counter));
        }
        assert!(window.accept(1 << 40));
        assert!(!window.accept(9_999), "all before the leap is too old now");
        for counter in (1 << 40) + 1 - ReplayWindow::LEN..1 << 40 {
            assert!(window.accept(counter), "nothing after the leap was seen");
        }
    }

    #[test]
    fn the_last_counters_of_all_do_not_overflow() {
        let mut window = ReplayWindow::new();
        for counter in [REJECT_AFTER_MESSAGES - 1, REJECT_AFTER_MESSAGES, u64::MAX - 1, u64::MAX] {
            assert!(window.accept(counter), "{counter}");
        }
        assert!(!window.accept(REJECT_AFTER_MESSAGES));
    }

    #[test]
    fn a_window_is_about_a_kibibyte() {
        assert_eq!(size_of::<ReplayWindow>(), 8192 / 8 + 8 + 8);
    }

    /// What the window stands for: all that was accepted, and how far back it tells.
    #[derive(Default)]
    struct Model {
        accepted: BTreeSet<u64>,
    }

    impl Model {
        fn accept(&mut self, counter: u64) -> bool {
            let newest = self.accepted.last().copied().unwrap_or(0);
            newest.saturating_sub(counter) < ReplayWindow::LEN && self.accepted.insert(counter)
        }
    }

    /// A move relative to the newest counter: near it, around the far edge of the window, or a leap.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let edge = ReplayWindow::LEN as i64;
        let step = prop_oneof![
            6 => -70_i64..70,
            3 => -edge - 70..-edge + 70,
            2 => -edge..0,
            1 => 0..2 * edge,
            1 => edge - 70..edge + 70,
        ];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(start in 0..200_000_u64, steps in steps()) {
            let (mut window, mut model) = (ReplayWindow::new(), Model::default());
            let mut newest = start;
            for step in steps {
                let counter = newest.saturating_add_signed(step);
                let fresh = window.is_fresh(counter);
                let accepted = window.accept(counter);
                prop_assert_eq!(fresh, accepted);
                prop_assert_eq!(accepted, model.accept(counter), "counter {}, newest {}", counter, newest);
                newest = newest.max(counter);
            }
        }
    }
}
