//! What the system noticed since it was last asked for, one entry for each path.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, EventHandler};
use tieline_transfer::RelativePath;
use tieline_transfer::outbox::{Hint, Rules};
use tokio::sync::Notify;

use super::HINTS_MAX;

/// Filled by the thread that listens to the system, emptied by the task that waits.
#[derive(Debug, Default)]
pub(super) struct Pending {
    noted: Mutex<Noted>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Noted {
    paths: BTreeMap<RelativePath, Note>,
    is_everything: bool,
    is_root_touched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Written,
    /// Its mode, its times, its owner.
    Touched,
    FolderMade,
    Arrived,
}

impl Pending {
    /// Waits until there is something to take.
    pub(super) async fn something(&self) {
        while self.noted().is_empty() {
            self.wake.notified().await;
        }
    }

    /// Takes all hints, and whether something happened to the folder itself.
    pub(super) fn take(&self) -> (Vec<Hint>, bool) {
        let noted = std::mem::take(&mut *self.noted());
        let hints = match noted.is_everything {
            true => vec![Hint::Everything],
            false => noted.paths.into_iter().map(|(path, note)| note.into_hint(path)).collect(),
        };
        (hints, noted.is_root_touched)
    }

    fn change(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.noted());
        self.wake.notify_one();
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Whatever was noted is whole, also if a thread panicked elsewhere.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.is_everything && !self.is_root_touched
    }

    fn note(&mut self, path: RelativePath, note: Note) {
        if self.is_everything {
            return;
        }
        let is_full = self.paths.len() >= HINTS_MAX;
        match self.paths.get_mut(&path) {
            // To touch what has arrived is usual; to write to it is to begin anew.
            Some(noted) if note != Note::Touched => *noted = note,
            Some(_) => {}
            None if is_full => self.note_everything(),
            None => drop(self.paths.insert(path, note)),
        }
    }

    fn note_everything(&mut self) {
        self.paths.clear();
        self.is_everything = true;
    }
}

impl Note {
    fn into_hint(self, path: RelativePath) -> Hint {
        match self {
            Self::Written | Self::Touched => Hint::Changed(path),
            Self::FolderMade => Hint::Folder(path),
            Self::Arrived => Hint::Arrived(path),
        }
    }
}

/// Turns what the system says into notes.
pub(super) struct Noting {
    folder: Box<Path>,
    rules: Arc<Rules>,
    pending: Arc<Pending>,
}

impl Noting {
    pub(super) fn new(folder: &Path, rules: Arc<Rules>, pending: Arc<Pending>) -> Self {
        Self { folder: folder.into(), rules, pending }
    }
}

impl EventHandler for Noting {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // The queue ran over, or a new folder cannot be watched.
            Ok(_) | Err(_) => return self.pending.change(Noted::note_everything),
        };
        for path in &event.paths {
            if **path == *self.folder {
                if is_about_leaving(event.kind) {
                    self.pending.change(|noted| noted.is_root_touched = true);
                }
                continue;
            }
            let below = path.strip_prefix(&self.folder).map(|below| below.as_os_str().as_bytes());
            // What has no name that can be sent is reported by the next scan.
            let below = below.ok().and_then(|below| RelativePath::parse(below).ok());
            if let (Some(path), Some(note)) = (below, note_of(event.kind))
                && !self.rules.ignores(&path)
            {
                self.pending.change(|noted| noted.note(path, note));
            }
        }
    }
}

fn is_about_leaving(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

fn note_of(kind: EventKind) -> Option<Note> {
    match kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Note::Arrived),
        // The old name, or both names after each of them alone.
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => None,
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Note::Touched),
        EventKind::Create(CreateKind::Folder) => Some(Note::FolderMade),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Note::Written),
        EventKind::Access(_) => None,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
            Some(Note::Written)
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag, MetadataKind, RemoveKind};

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const TOUCHED: EventKind = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    const ARRIVED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const LEFT: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    const BOTH: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
    const FOLDER: EventKind = EventKind::Create(CreateKind::Folder);
    const MADE: EventKind = EventKind::Create(CreateKind::File);
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::Any);
    const READ: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    #[test]
    fn each_event_becomes_the_hint_that_fits_it() {
        let a = || RelativePath::parse(b"a").unwrap();
        for (kinds, hint) in [
            (&[MADE, WRITTEN, CLOSED][..], Some(Hint::Changed(a()))),
            (&[CLOSED], Some(Hint::Changed(a()))),
            (&[TOUCHED], Some(Hint::Changed(a()))),
            (&[ARRIVED, BOTH], Some(Hint::Arrived(a()))),
            (&[ARRIVED, TOUCHED], Some(Hint::Arrived(a()))),
            (&[ARRIVED, WRITTEN], Some(Hint::Changed(a()))),
            (&[WRITTEN, ARRIVED], Some(Hint::Arrived(a()))),
            (&[FOLDER], Some(Hint::Folder(a()))),
            (&[REMOVED, LEFT, BOTH, READ], None),
        ] {
            let (mut noting, pending) = noting();
            for kind in kinds {
                noting.handle_event(Ok(Event::new(*kind).add_path("/out/a".into())));
            }
            assert_eq!(pending.take(), (hint.into_iter().collect(), false), "{kinds:?}");
        }
    }

    #[test]
    fn only_names_below_the_folder_that_can_be_sent_count() {
        let (mut noting, pending) = noting();
        for path in ["/out", "/outside", "/out/a.tmp", "/out/sent/a", "/out/a\nb", "/out/.tieline-partial/1"]
        {
            noting.handle_event(Ok(Event::new(WRITTEN).add_path(path.into())));
        }
        assert_eq!(pending.take(), (vec![], false));
    }

    #[test]
    fn the_end_of_the_folder_itself_is_noticed() {
        for kind in [REMOVED, LEFT] {
            let (mut noting, pending) = noting();
            noting.handle_event(Ok(Event::new(kind).add_path("/out".into())));
            assert_eq!(pending.take(), (vec![], true), "{kind:?}");
        }
    }

    #[test]
    fn what_the_system_lost_is_found_by_looking_at_everything() {
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        for event in [Ok(lost), Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch))] {
            let (mut noting, pending) = noting();
            noting.handle_event(Ok(Event::new(WRITTEN).add_path("/out/a".into())));
            noting.handle_event(event);
            noting.handle_event(Ok(Event::new(WRITTEN).add_path("/out/b".into())));
            assert_eq!(pending.take(), (vec![Hint::Everything], false));
        }
    }

    #[test]
    fn more_paths_than_are_kept_become_everything() {
        let (mut noting, pending) = noting();
        let mut write = |number: usize| {
            noting.handle_event(Ok(Event::new(WRITTEN).add_path(format!("/out/{number}").into())));
        };
        (0..HINTS_MAX).for_each(&mut write);
        write(0);
        assert_eq!(pending.take().0.len(), HINTS_MAX);
        (0..=HINTS_MAX).for_each(&mut write);
        assert_eq!(pending.take().0, [Hint::Everything]);
    }

    fn noting() -> (Noting, Arc<Pending>) {
        let pending = Arc::new(Pending::default());
        (Noting::new(Path::new("/out"), Arc::new(Rules::default()), pending.clone()), pending)
    }
}
