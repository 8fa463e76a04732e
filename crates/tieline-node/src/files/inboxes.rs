//! Into which folder goes what the far end sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_transfer::Inbox;

/// The inboxes of a line: its own, and those of its pairs of folders by their names.
#[derive(Clone, Debug)]
pub struct Inboxes {
    own: Arc<Inbox>,
    pairs: Arc<BTreeMap<String, Arc<Inbox>>>,
}

impl Inboxes {
    /// Puts them together.
    #[must_use]
    pub fn new(own: Arc<Inbox>, pairs: BTreeMap<String, Arc<Inbox>>) -> Self {
        Self { own, pairs: Arc::new(pairs) }
    }

    /// The inbox for a transfer into `folder`, and the folder in it. The first name of a folder may be that of a pair; if no pair has it,
    /// it is a folder of the line's own inbox.
    #[must_use]
    pub fn choose<'f>(&self, folder: Option<&'f str>) -> (&Arc<Inbox>, Option<&'f str>) {
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
    use tieline_transfer::Journal;

    use super::*;

    #[test]
    fn a_pair_has_its_own_inbox_and_everything_else_goes_to_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(Journal::in_memory().unwrap());
        let open =
            |name: &str| Arc::new(Inbox::open(&dir.path().join(name), name, Arc::clone(&journal)).unwrap());
        let inboxes = Inboxes::new(open("own"), BTreeMap::from([("mail".to_owned(), open("of-pair"))]));
        for (folder, inbox, rest) in [
            (None, "own", None),
            (Some("mail"), "of-pair", None),
            (Some("mail/today"), "of-pair", Some("today")),
            (Some("mails"), "own", Some("mails")),
            (Some("today/mail"), "own", Some("today/mail")),
        ] {
            let (chosen, found) = inboxes.choose(folder);
            assert_eq!((chosen.path(), found), (&*dir.path().join(inbox), rest), "{folder:?}");
        }
    }
}
