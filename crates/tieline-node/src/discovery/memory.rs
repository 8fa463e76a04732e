//! What this end has said of late, so that it is not taken for a host's word when it comes back another way: by a bridge between the
//! offices, or by another relay.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How long something may be on its way round.
const KEPT: Duration = Duration::from_secs(3);
/// Things that are remembered: more than the rates let through in that time.
const REMEMBERED_MAX: usize = 1024;

/// Hashes of what was said.
#[derive(Debug, Default)]
pub(super) struct Memory {
    hasher: RandomState,
    said: VecDeque<(u64, Instant)>,
}

impl Memory {
    /// This end says `payload` now.
    pub(super) fn on_said(&mut self, payload: &[u8], now: Instant) {
        if self.said.len() == REMEMBERED_MAX {
            self.said.pop_front();
        }
        self.said.push_back((self.hasher.hash_one(payload), now));
    }

    /// Whether it has said `payload` of late.
    pub(super) fn has_said(&mut self, payload: &[u8], now: Instant) -> bool {
        while self.said.pop_front_if(|(_, when)| *when + KEPT <= now).is_some() {}
        let hash = self.hasher.hash_one(payload);
        self.said.iter().any(|(said, _)| *said == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_known_for_a_while() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.on_said(b"a", now);
        assert!(memory.has_said(b"a", now) && !memory.has_said(b"b", now));
        assert!(memory.has_said(b"a", now + Duration::from_secs(2)));
        assert!(!memory.has_said(b"a", now + Duration::from_secs(3)));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for number in 0..2 * REMEMBERED_MAX {
            memory.on_said(&number.to_be_bytes(), now);
        }
        assert_eq!(memory.said.len(), REMEMBERED_MAX);
        assert!(!memory.has_said(&0_usize.to_be_bytes(), now));
    }
}
