//! The files of an outbox that are due, in the order in which they go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tieline_transfer::{RelativePath, Stamp};

/// What goes first: a file with a greater one before all others, of this outbox and of the line's other ones.
pub type Priority = u8;
/// That of a pair of folders unless configured, and of the line's own outbox.
pub const PRIORITY_DEFAULT: Priority = 5;
/// That of what is sent with `--first`: above all that can be configured.
pub const PRIORITY_FIRST: Priority = 10;

/// A file that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) stamp: Stamp,
    pub(super) size: u64,
    pub(super) priority: Priority,
}

/// Files that are due: by their priority, and then by their names.
#[derive(Debug, Default)]
pub(super) struct Queue {
    files: BTreeMap<RelativePath, Waiting>,
    order: BTreeSet<(Reverse<Priority>, RelativePath)>,
}

impl Queue {
    /// Puts a file in, in the place of what was in under its name.
    pub(super) fn insert(&mut self, path: RelativePath, file: Waiting) {
        self.remove(&path);
        self.order.insert((Reverse(file.priority), path.clone()));
        self.files.insert(path, file);
    }

    pub(super) fn remove(&mut self, path: &RelativePath) {
        if let Some(file) = self.files.remove(path) {
            self.order.remove(&(Reverse(file.priority), path.clone()));
        }
    }

    /// Takes the next files, all of one priority and at most `max`.
    pub(super) fn take(&mut self, max: usize) -> Vec<(RelativePath, Waiting)> {
        let Some(priority) = self.priority() else { return Vec::new() };
        let mut taken = Vec::new();
        while taken.len() < max
            && self.priority() == Some(priority)
            && let Some((_, path)) = self.order.pop_first()
        {
            taken.extend(self.files.remove(&path).map(|file| (path, file)));
        }
        taken
    }

    /// That of the next file.
    pub(super) fn priority(&self) -> Option<Priority> {
        self.order.first().map(|(priority, _)| priority.0)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Octets of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// Those that go next, in order.
    pub(super) fn next(&self, max: usize) -> impl Iterator<Item = (&RelativePath, &Waiting)> {
        self.order.iter().take(max).filter_map(|(_, path)| self.files.get_key_value(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &mut Queue, name: &str, priority: Priority) {
        let path = RelativePath::parse(name.as_bytes()).unwrap();
        queue.insert(path, Waiting { stamp: Stamp::from_bytes([1; 16]), size: 10, priority });
    }

    fn names(files: &[(RelativePath, Waiting)]) -> Vec<String> {
        files.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn a_file_of_greater_priority_goes_first_and_never_with_others() {
        let mut queue = Queue::default();
        for (name, priority) in [("b", 5), ("a", 5), ("z", PRIORITY_FIRST), ("y", PRIORITY_FIRST), ("c", 1)] {
            put(&mut queue, name, priority);
        }
        assert_eq!((queue.priority(), queue.bytes()), (Some(PRIORITY_FIRST), 50));
        assert_eq!(queue.next(3).map(|(path, _)| path.to_string()).collect::<Vec<_>>(), ["y", "z", "a"]);
        assert_eq!(names(&queue.take(9)), ["y", "z"]);
        assert_eq!(names(&queue.take(1)), ["a"]);
        assert_eq!(names(&queue.take(9)), ["b"]);
        assert_eq!(names(&queue.take(9)), ["c"]);
        assert!(queue.take(9).is_empty());
    }

    #[test]
    fn a_file_is_in_once_whatever_its_priority_was() {
        let mut queue = Queue::default();
        put(&mut queue, "a", 5);
        put(&mut queue, "a", 7);
        assert_eq!((queue.len(), queue.priority()), (1, Some(7)));
        queue.remove(&RelativePath::parse(b"a").unwrap());
        assert_eq!((queue.len(), queue.priority()), (0, None));
    }
}
