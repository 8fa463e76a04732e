//! The paths that are to be looked at one by one, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::LOOKS_MAX;
use crate::path::RelativePath;

/// At most [`LOOKS_MAX`] paths, each once.
#[derive(Debug, Default)]
pub(super) struct Looks {
    planned: BTreeMap<RelativePath, Planned>,
    /// The same in the order of their times.
    order: BTreeSet<(u64, RelativePath)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    at: u64,
    /// Whether the path was renamed to this.
    pub(super) arrived: bool,
    /// Whether it is to be looked at once more after the settle time.
    pub(super) again: bool,
}

impl Looks {
    /// Plans a look at `path`; one that is planned already is brought forward if need be. False if there is no room.
    pub(super) fn plan(&mut self, path: RelativePath, at: u64, arrived: bool, again: bool) -> bool {
        let new = Planned { at, arrived, again };
        let planned = match self.planned.get(&path) {
            Some(old) => {
                let (arrived, again) = (old.arrived || arrived, old.again || again);
                self.order.remove(&(old.at, path.clone()));
                Planned { at: old.at.min(at), arrived, again }
            }
            None if self.planned.len() >= LOOKS_MAX => return false,
            None => new,
        };
        self.order.insert((planned.at, path.clone()));
        self.planned.insert(path, planned);
        true
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first one, if it is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(RelativePath, Planned)> {
        if self.next()? > now {
            return None;
        }
        let (_, path) = self.order.pop_first()?;
        let planned = self.planned.remove(&path)?;
        Some((path, planned))
    }
}
