//! Which sequence numbers have been seen: 16 bits on the wire, 32 here.

/// How far behind the newest a number may be and still be told from a copy.
pub(super) const SEEN: u32 = 2048;

const WORD: u32 = u64::BITS;

/// Whether a number is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Copy,
    /// Too far behind to tell.
    Behind,
}

/// The last [`SEEN`] numbers up to the newest.
pub(super) struct SequenceWindow {
    newest: u32,
    /// One bit for each number, at its place modulo [`SEEN`].
    seen: [u64; (SEEN / WORD) as usize],
}

impl SequenceWindow {
    /// A window in which nothing has been seen, and whose newest number is the one before `first`.
    pub(super) fn before(first: u16) -> Self {
        // Far from zero, so that what is behind the first is so as a number too.
        Self { newest: (u32::from(first) + (1 << 20)).wrapping_sub(1), seen: [0; (SEEN / WORD) as usize] }
    }

    /// The number of which `sequence` is the low half: the one that is nearest to the newest.
    pub(super) fn extend(&self, sequence: u16) -> u32 {
        let distance = sequence.wrapping_sub(self.newest as u16).cast_signed();
        self.newest.wrapping_add_signed(distance.into())
    }

    /// Makes `number` the newest if it is ahead; says by how much it was.
    pub(super) fn advance(&mut self, number: u32) -> u32 {
        let ahead = number.wrapping_sub(self.newest);
        if ahead > u32::MAX / 2 {
            return 0;
        }
        for passed in 1..=ahead.min(SEEN) {
            let (word, bit) = place(number.wrapping_sub(ahead.min(SEEN) - passed));
            self.seen[word] &= !bit;
        }
        self.newest = number;
        ahead
    }

    /// Whether `number` is too far behind to tell whether it is new.
    pub(super) fn is_behind(&self, number: u32) -> bool {
        let behind = self.newest.wrapping_sub(number);
        (SEEN..=u32::MAX / 2).contains(&behind)
    }

    /// Takes `number`, which is not ahead of the newest, as seen, and says whether it was not.
    pub(super) fn take(&mut self, number: u32) -> Verdict {
        if self.newest.wrapping_sub(number) >= SEEN {
            return Verdict::Behind;
        }
        let (word, bit) = place(number);
        if self.seen[word] & bit != 0 {
            return Verdict::Copy;
        }
        self.seen[word] |= bit;
        Verdict::New
    }
}

fn place(number: u32) -> (usize, u64) {
    let at = number % SEEN;
    ((at / WORD) as usize, 1 << (at % WORD))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_number_is_one_ahead() {
        for first in [0, 1, 0x7fff, 0xffff] {
            let mut window = SequenceWindow::before(first);
            let number = window.extend(first);
            assert_eq!((window.advance(number), window.take(number)), (1, Verdict::New));
            assert_eq!(window.take(number), Verdict::Copy);
            assert_eq!(window.take(number.wrapping_sub(SEEN - 1)), Verdict::New);
            assert_eq!(window.take(number.wrapping_sub(SEEN)), Verdict::Behind);
        }
    }

    proptest! {
        /// Against a plain set that forgets nothing.
        #[test]
        fn a_number_is_new_once(start: u16, steps in proptest::collection::vec(-3000_i32..3000, 1..300)) {
            let mut window = SequenceWindow::before(start);
            let mut newest = i64::from(start) - 1;
            let mut seen = BTreeSet::new();
            for step in steps {
                let number = newest + i64::from(step);
                let extended = window.extend((number & 0xffff) as u16);
                let ahead = window.advance(extended);
                prop_assert_eq!(i64::from(ahead), (number - newest).max(0));
                newest = newest.max(number);
                let expected = match (newest - number >= i64::from(SEEN), seen.insert(number)) {
                    (true, _) => Verdict::Behind,
                    (false, true) => Verdict::New,
                    (false, false) => Verdict::Copy,
                };
                if expected == Verdict::Behind { seen.remove(&number); }
                prop_assert_eq!(window.take(extended), expected);
            }
        }
    }
}
