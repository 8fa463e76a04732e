//! The replay window: which counters of a session were already accepted (RFC 6479).
//!
//! A ring of words that hold one bit for each counter. Moving on clears whole words instead of shifting bits, so one word more
//! than the window is kept: that in which the newest counter lies is only partly used.

/// Remembers which of the last [`ReplayWindow::LEN`] counters were accepted; every older one counts as a replay.
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
