//! Into which folder goes what the far end sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::incoming::Incoming;

/// The inboxes of a line: its own, and those of its pairs of folders by their names.
#[derive(Clone, Debug)]
pub struct Inboxes {
    own: Arc<Incoming>,
    pairs: Arc<BTreeMap<String, Arc<Incoming>>>,
}

impl Inboxes {
    /// Puts them together.
    #[must_use]
    pub fn new(own: Arc<Incoming>, pairs: BTreeMap<String, Arc<Incoming>>) -> Self {
        Self { own, pairs: Arc::new(pairs) }
    }

    /// All of them, the line's own first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Incoming>> {
        std::iter::once(&self.own).chain(self.pairs.values())
    }

    /// The inbox for a transfer into `folder`, and the folder in it. The first name of a folder may be that of a pair; if no pair has it,
    /// it is a folder of the line's own inbox.
    #[must_use]
    pub fn choose<'f>(&self, folder: Option<&'f str>) -> (&Arc<Incoming>, Option<&'f str>) {
        let Some(folder) = folder else { return (&self.own, None) };
        let (first, rest) = match folder.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (folder, None),
        };
        match self.pairs.get(first) {
            Some(inbox) => (inbox, rest),
            None => (&self.own, Some(folder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tieline_transfer::{Inbox, Journal};

    use super::super::notices::Teller;
    use super::*;

    #[test]
    fn a_pair_has_its_own_inbox_and_everything_else_goes_to_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(Journal::in_memory().unwrap());
        let open = |name: &str| {
            let inbox = Inbox::open(&dir.path().join(name), name, Arc::clone(&journal)).unwrap();
            Incoming::new(name, Arc::new(inbox), Arc::clone(&journal), &[], Teller::default())
        };
        let inboxes = Inboxes::new(open("own"), BTreeMap::from([("mail".to_owned(), open("of-pair"))]));
        for (folder, inbox, rest) in [
            (None, "own", None),
            (Some("mail"), "of-pair", None),
            (Some("mail/today"), "of-pair", Some("today")),
            (Some("mails"), "own", Some("mails")),
            (Some("today/mail"), "own", Some("today/mail")),
        ] {
            let (chosen, found) = inboxes.choose(folder);
            assert_eq!((chosen.inbox().path(), found), (&*dir.path().join(inbox), rest), "{folder:?}");
        }
    }
}
