//! What becomes of a file of an outbox when the far end has it.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, RenameFlags, fsync, mkdirat, renameat_with, statat, unlinkat};
use rustix::io::{Errno, Result};

use super::rules::SENT_FOLDER;
use crate::beneath;
use crate::path::{COPIES_MAX, RelativePath};
use crate::stamp::Stamp;

/// What becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// It stays where it is.
    Keep,
    /// It is moved into the folder `sent` of the outbox, under its own path there.
    #[default]
    Move,
    /// It is removed, with folders that are empty then.
    Remove,
}

/// Whether there is something under this name below `root`.
#[must_use]
pub fn is_there(root: BorrowedFd<'_>, path: &RelativePath) -> bool {
    let (parent, name) = path.split_last();
    beneath::open_folder(root, parent.as_ref())
        .is_ok_and(|folder| statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

/// Does with the file `path` of the outbox `root` what is to be done `after` its version `stamp` was delivered. A file that is another
/// version by now, or gone, is left alone.
///
/// # Errors
///
/// What the system said; the file is where it was then.
pub fn dispose(root: BorrowedFd<'_>, path: &RelativePath, stamp: &Stamp, after: After) -> Result<()> {
    if after == After::Keep {
        return Ok(());
    }
    let (parent, name) = path.split_last();
    let folder = match beneath::open_folder(root, parent.as_ref()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        folder => folder?,
    };
    match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if Stamp::of(&stat) == *stamp => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    match after {
        After::Keep => {}
        After::Move => move_to_sent(root, path)?,
        After::Remove => {
            unlinkat(&folder, name, AtFlags::empty())?;
            fsync(&folder)?;
            if let Some(parent) = parent {
                remove_empty(root, parent);
            }
        }
    }
    Ok(())
}

fn move_to_sent(root: BorrowedFd<'_>, path: &RelativePath) -> Result<()> {
    let sent = RelativePath::parse(SENT_FOLDER.as_bytes()).expect("a name");
    let target = sent.join(path).map_err(|_| Errno::NAMETOOLONG)?;
    let (folder, _) = target.split_last();
    let mut changed = Vec::new();
    let into = match mkdirat(root, SENT_FOLDER, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {
            let mode = Mode::from_raw_mode(0o755);
            beneath::make_folder(root, folder.as_ref(), mode, &mut |folder| changed.push(folder))?
        }
        Err(errno) => return Err(errno),
    };
    let (from, name) = path.split_last();
    let from = beneath::open_folder(root, from.as_ref())?;
    for copy in 1..=COPIES_MAX {
        let numbered = target.copy(copy);
        let (_, new_name) = numbered.split_last();
        match renameat_with(&from, name, &into, new_name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                fsync(&into)?;
                fsync(&from)?;
                return changed.iter().try_for_each(fsync);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

/// Removes the folder and those above it, as far as they are empty.
fn remove_empty(root: BorrowedFd<'_>, folder: RelativePath) {
    let mut folder = Some(folder);
    while let Some(path) = folder {
        let (parent, name) = path.split_last();
        let Ok(above) = beneath::open_folder(root, parent.as_ref()) else { return };
        if unlinkat(&above, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
        folder = parent;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::*;

    fn outbox() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "content").unwrap();
        let root = File::open(dir.path()).unwrap();
        (dir, root)
    }

    fn path(path: &str) -> RelativePath {
        RelativePath::parse(path.as_bytes()).unwrap()
    }

    fn stamp(root: &File, path: &str) -> Stamp {
        Stamp::of(&statat(root, path, AtFlags::empty()).unwrap())
    }

    fn is_empty(path: &Path) -> bool {
        fs::read_dir(path).unwrap().next().is_none()
    }

    #[test]
    fn a_kept_file_stays() {
        let (dir, root) = outbox();
        let stamp = stamp(&root, "a/b/file");
        dispose(root.as_fd(), &path("a/b/file"), &stamp, After::Keep).unwrap();
        assert!(dir.path().join("a/b/file").exists());
    }

    #[test]
    fn a_removed_file_goes_with_its_empty_folders() {
        let (dir, root) = outbox();
        fs::write(dir.path().join("other"), "").unwrap();
        dispose(root.as_fd(), &path("a/b/file"), &stamp(&root, "a/b/file"), After::Remove).unwrap();
        assert!(!dir.path().join("a").exists());
        dispose(root.as_fd(), &path("other"), &stamp(&root, "other"), After::Remove).unwrap();
        assert!(is_empty(dir.path()), "the outbox itself stays");
    }

    #[test]
    fn a_moved_file_keeps_its_path_and_never_replaces_another() {
        let (dir, root) = outbox();
        for number in ["", " (2)", " (3)"] {
            fs::write(dir.path().join("a/b/file"), number).unwrap();
            dispose(root.as_fd(), &path("a/b/file"), &stamp(&root, "a/b/file"), After::Move).unwrap();
            let moved = dir.path().join(format!("sent/a/b/file{number}"));
            assert_eq!(fs::read_to_string(moved).unwrap(), number);
        }
        assert!(is_empty(&dir.path().join("a/b")));
    }

    #[test]
    fn another_version_or_nothing_is_left_alone() {
        let (dir, root) = outbox();
        let before = stamp(&root, "a/b/file");
        fs::write(dir.path().join("a/b/file"), "something else").unwrap();
        for after in [After::Move, After::Remove] {
            dispose(root.as_fd(), &path("a/b/file"), &before, after).unwrap();
            dispose(root.as_fd(), &path("a/b/gone"), &before, after).unwrap();
            dispose(root.as_fd(), &path("nowhere/gone"), &before, after).unwrap();
        }
        assert_eq!(fs::read_to_string(dir.path().join("a/b/file")).unwrap(), "something else");
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_of_what_was_sent_is_not_followed() {
        let (dir, root) = outbox();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(SENT_FOLDER)).unwrap();
        let moved = dispose(root.as_fd(), &path("a/b/file"), &stamp(&root, "a/b/file"), After::Move);
        assert_eq!(moved, Err(Errno::LOOP));
        assert!(is_empty(elsewhere.path()));
        assert!(dir.path().join("a/b/file").exists());
    }
}
