//! Whose files go first among the outboxes of a line.
//!
//! Each outbox says which priority it has something to send of. While any says a greater one than a file has, that file is not begun; what
//! is under way is ended.

use std::sync::Arc;

use tokio::sync::watch;

use super::outgoing::queue::Priority;

/// What the outboxes of a line claim; clones are the same.
#[derive(Clone, Debug)]
pub struct Turns(Arc<watch::Sender<Vec<Option<Priority>>>>);

/// The place of one outbox among them.
#[derive(Debug)]
pub struct Place {
    turns: Turns,
    index: usize,
}

impl Turns {
    /// The places of so many outboxes.
    pub fn places(outboxes: usize) -> impl Iterator<Item = Place> {
        let turns = Self(Arc::new(watch::Sender::new(vec![None; outboxes])));
        (0..outboxes).map(move |index| Place { turns: turns.clone(), index })
    }

    /// Whether a file of this priority may be begun.
    #[must_use]
    pub fn is_turn_of(&self, priority: Priority) -> bool {
        self.0.borrow().iter().max().copied().flatten().is_none_or(|greatest| greatest <= priority)
    }
}

impl Place {
    /// What all outboxes claim.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Says of which priority there is something to send; `None` if there is nothing, or it cannot be sent at present.
    pub fn claim(&self, priority: Option<Priority>) {
        self.turns
            .0
            .send_if_modified(|claims| std::mem::replace(&mut claims[self.index], priority) != priority);
    }

    /// Sees every change of what is claimed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Vec<Option<Priority>>> {
        self.turns.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_turn_of_whoever_claims_the_most() {
        let places: Vec<Place> = Turns::places(2).collect();
        let turns = places[0].turns();
        assert!(turns.is_turn_of(0), "nobody has anything");
        places[0].claim(Some(5));
        assert!(turns.is_turn_of(5) && !turns.is_turn_of(4));
        places[1].claim(Some(7));
        assert!(turns.is_turn_of(7) && !turns.is_turn_of(5));
        places[1].claim(None);
        assert!(turns.is_turn_of(5));
    }

    #[test]
    fn only_a_change_is_seen() {
        let [one, _other] = &Turns::places(2).collect::<Vec<_>>()[..] else { panic!("two places") };
        let mut changes = one.changes();
        one.claim(Some(5));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        one.claim(Some(5));
        assert!(!changes.has_changed().unwrap());
    }
}
