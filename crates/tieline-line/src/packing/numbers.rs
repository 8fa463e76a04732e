//! Serial numbers of references, given out so that their lower 18 bits never mean two things at a time.

use std::time::Instant;

use tieline_wire::packed::Window;

use super::{NUMBER_TIME_MIN, REFERENCES_USED};

/// Numbers are given out by the block; of a block, it is known when it began.
const BLOCK: u32 = Window::BLOCK;
/// A reference is last used in the block after its own, which ends where the second after it begins. A number comes back after
/// [`Window::DISTINCT`]. Between the two are so many blocks.
const BLOCKS_REMEMBERED: usize = (Window::DISTINCT / BLOCK) as usize - 2;
const _: () = assert!(REFERENCES_USED <= BLOCK);

/// The serial numbers of one label.
#[derive(Debug)]
pub(super) struct Numbers {
    next: u32,
    began: Vec<Option<Instant>>,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self { next: 0, began: vec![None; BLOCKS_REMEMBERED] }
    }

    /// Among which references those of a bundle are that begins now.
    pub(super) fn window(&self) -> Window {
        Window::of(self.next)
    }

    /// The next number, if one may be given out now; the same again until [`Self::take`].
    pub(super) fn peek(&self, now: Instant) -> Option<u32> {
        let is_at_start = self.next.is_multiple_of(BLOCK);
        let may_begin = self.began[self.block()].is_none_or(|before| now >= before + NUMBER_TIME_MIN);
        (self.next < u32::MAX && (!is_at_start || may_begin)).then_some(self.next)
    }

    /// Gives out the number that [`Self::peek`] returned.
    pub(super) fn take(&mut self, now: Instant) {
        if self.next.is_multiple_of(BLOCK) {
            let block = self.block();
            self.began[block] = Some(now);
        }
        self.next += 1;
    }

    /// Whether the far end still has the reference of this number, if it ever had it.
    pub(super) fn is_kept(&self, serial: u32) -> bool {
        self.next - serial <= REFERENCES_USED
    }

    fn block(&self) -> usize {
        (self.next / BLOCK) as usize % BLOCKS_REMEMBERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_number_comes_back_only_long_after_its_last_use() {
        let start = Instant::now();
        let mut now = start;
        let mut numbers = Numbers::new();
        let mut issued = Vec::new();
        while issued.len() < 600_000 {
            match numbers.peek(now) {
                Some(serial) => {
                    assert_eq!(serial as usize, issued.len());
                    numbers.take(now);
                    issued.push(now);
                }
                None => now += Duration::from_secs(1),
            }
        }
        let count = Window::DISTINCT as usize;
        for (serial, again) in issued[count..].iter().enumerate() {
            // The last moment at which it is among those in use.
            let last_use = issued[serial + REFERENCES_USED as usize];
            assert!(*again >= last_use + NUMBER_TIME_MIN, "{serial}");
        }
        // More than a thousand in a second, for good.
        assert!(now - start < Duration::from_secs(450), "{:?}", now - start);
    }

    #[test]
    fn the_newest_are_kept() {
        let now = Instant::now();
        let mut numbers = Numbers::new();
        for _ in 0..REFERENCES_USED {
            numbers.take(now);
        }
        assert!(numbers.is_kept(0));
        numbers.take(now);
        assert!(!numbers.is_kept(0) && numbers.is_kept(1));
    }
}
