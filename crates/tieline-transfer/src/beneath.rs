//! Opening and creating below a held folder, never outside it.
//!
//! Whoever may write in the inbox may swap any of its folders for a symbolic link at any moment, so a path is never
//! checked first and used later: it is resolved by the kernel in one step that refuses links and `..`
//! (`openat2`, Linux 5.6), or, where that is missing or forbidden, one component after the other, each opened without
//! following links from the folder opened before it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat};
use rustix::io::{Errno, Result};

use crate::path::RelativePath;

/// How a folder is opened to be searched, written to and synced.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(ALWAYS);
const ALWAYS: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);

/// Opens what `path` names below `root`, with `flags` and without following a link.
///
/// # Errors
///
/// `LOOP` for a symbolic link in any place, else as `open(2)`.
pub(crate) fn open(root: BorrowedFd<'_>, path: &RelativePath, flags: OFlags) -> Result<OwnedFd> {
    // With NOFOLLOW a link in the last place would not be an error but opened, or "not a directory".
    let flags = flags.difference(OFlags::NOFOLLOW) | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path.as_bytes(), flags, Mode::empty(), resolve) {
        // No such call, a filter that forbids it, or a race that the kernel would not settle.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => walk(root, path, flags | OFlags::NOFOLLOW),
        opened => opened,
    }
}

/// Opens a folder below `root`, or `root` itself.
///
/// # Errors
///
/// `LOOP` for a symbolic link, `NOTDIR` for anything else that is no folder, else as `open(2)`.
pub(crate) fn open_folder(root: BorrowedFd<'_>, path: Option<&RelativePath>) -> Result<OwnedFd> {
    match path {
        None => openat(root, ".", FOLDER, Mode::empty()),
        Some(path) => open(root, path, FOLDER),
    }
}

/// Opens the folder `name` in `folder`, on the same mount.
///
/// # Errors
///
/// `LOOP` or `NOTDIR` for what is no folder, `XDEV` for a mount point. `NOSYS` or `PERM` where the kernel cannot be asked to stay on a
/// mount: nothing else tells a folder from the same one mounted elsewhere.
pub(crate) fn open_child(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(folder, name, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty(), resolve)
}

/// Opens the folder `path` below `root` and creates what is missing of it: the last one with `mode`, others with `0755`.
///
/// Each folder in which one was created is handed to `changed`, to be synced.
///
/// # Errors
///
/// As [`open_folder`] and `mkdir(2)`.
pub(crate) fn make_folder(
    root: BorrowedFd<'_>,
    path: Option<&RelativePath>,
    mode: Mode,
    changed: &mut dyn FnMut(OwnedFd),
) -> Result<OwnedFd> {
    match (open_folder(root, path), path) {
        (Err(Errno::NOENT), Some(path)) => make_missing(root, path, mode, changed),
        (folder, _) => folder,
    }
}

fn make_missing(
    root: BorrowedFd<'_>,
    path: &RelativePath,
    mode: Mode,
    changed: &mut dyn FnMut(OwnedFd),
) -> Result<OwnedFd> {
    let mut folder = open_folder(root, None)?;
    let depth = path.depth();
    for (number, component) in path.components().enumerate() {
        let mode = if number + 1 == depth { mode } else { Mode::from_raw_mode(0o755) };
        let created = match mkdirat(&folder, component, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let below = step(folder.as_fd(), component, FOLDER)?;
        let above = std::mem::replace(&mut folder, below);
        if created {
            changed(above);
        }
    }
    Ok(folder)
}

/// What [`open`] does where there is no `openat2`; `flags` have to hold `NOFOLLOW`.
fn walk(root: BorrowedFd<'_>, path: &RelativePath, flags: OFlags) -> Result<OwnedFd> {
    let (folder, name) = path.split_last();
    let mut at = openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | ALWAYS, Mode::empty())?;
    for component in folder.iter().flat_map(RelativePath::components) {
        at = step(at.as_fd(), component, OFlags::PATH | OFlags::DIRECTORY | ALWAYS)?;
    }
    step(at.as_fd(), name, flags)
}

/// Opens one component without following it, and says `LOOP` where it is a link.
fn step(at: BorrowedFd<'_>, component: &[u8], flags: OFlags) -> Result<OwnedFd> {
    match openat(at, component, flags, Mode::empty()) {
        // With O_DIRECTORY the kernel says "not a directory" of links too.
        Err(Errno::NOTDIR) if is_link(at, component) => Err(Errno::LOOP),
        opened => opened,
    }
}

fn is_link(at: BorrowedFd<'_>, component: &[u8]) -> bool {
    statat(at, component, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    type Opener = fn(BorrowedFd<'_>, &RelativePath, OFlags) -> Result<OwnedFd>;
    const WAYS: [(&str, Opener); 2] =
        [("openat2 or walk", open), ("walk", |root, path, flags| walk(root, path, flags | ALWAYS))];

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("inbox/a/b")).unwrap();
        fs::write(dir.path().join("inbox/a/b/file"), b"x").unwrap();
        fs::write(dir.path().join("secret"), b"secret").unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(dir.path().join("elsewhere/file"), b"y").unwrap();
        let inbox = fs::File::open(dir.path().join("inbox")).unwrap();
        (dir, inbox.into())
    }

    fn path(path: &str) -> RelativePath {
        RelativePath::parse(path.as_bytes()).unwrap()
    }

    #[test]
    fn files_and_folders_below_are_opened_either_way() {
        let (_dir, inbox) = root();
        for (way, open) in WAYS {
            assert!(open(inbox.as_fd(), &path("a/b/file"), OFlags::RDONLY).is_ok(), "{way}");
            assert!(open(inbox.as_fd(), &path("a/b"), FOLDER).is_ok(), "{way}");
            assert_eq!(
                open(inbox.as_fd(), &path("a/c/file"), OFlags::RDONLY).unwrap_err(),
                Errno::NOENT,
                "{way}"
            );
            assert_eq!(open(inbox.as_fd(), &path("a/b/file"), FOLDER).unwrap_err(), Errno::NOTDIR, "{way}");
        }
    }

    #[test]
    fn no_link_is_followed_either_way_wherever_it_leads() {
        let (dir, inbox) = root();
        let at = dir.path().join("inbox");
        symlink(dir.path().join("elsewhere"), at.join("out")).unwrap();
        symlink("../elsewhere", at.join("up")).unwrap();
        symlink("a", at.join("in")).unwrap();
        symlink("../secret", at.join("a/link")).unwrap();
        symlink("/proc/self/root", at.join("magic")).unwrap();
        for (way, open) in WAYS {
            for name in ["out/file", "up/file", "in/b/file", "a/link", "magic/etc", "out"] {
                let opened = open(inbox.as_fd(), &path(name), OFlags::RDONLY);
                assert_eq!(opened.unwrap_err(), Errno::LOOP, "{way}: {name}");
            }
            assert_eq!(open(inbox.as_fd(), &path("out"), FOLDER).unwrap_err(), Errno::LOOP, "{way}");
        }
        for make in [make_folder, make_missing_too] {
            let made = make(inbox.as_fd(), Some(&path("out/new")), Mode::RWXU, &mut |_| ());
            assert_eq!(made.err(), Some(Errno::LOOP));
        }
        assert!(!dir.path().join("elsewhere/new").exists());
    }

    #[test]
    fn missing_folders_are_made_and_every_changed_one_is_named() {
        let (dir, inbox) = root();
        let mut changed = 0;
        let mut make = |name: Option<&RelativePath>| {
            make_folder(inbox.as_fd(), name, Mode::RWXU, &mut |_| changed += 1).unwrap();
        };
        make(Some(&path("a/x/y")));
        make(Some(&path("a/x/y")));
        make(None);
        assert_eq!(changed, 2, "a has got x, x has got y");
        assert!(dir.path().join("inbox/a/x/y").is_dir());
    }

    #[test]
    fn a_file_where_a_folder_is_needed_is_in_the_way() {
        let (_dir, inbox) = root();
        let made = make_folder(inbox.as_fd(), Some(&path("a/b/file/new")), Mode::RWXU, &mut |_| ());
        assert_eq!(made.err(), Some(Errno::NOTDIR));
    }

    fn make_missing_too(
        root: BorrowedFd<'_>,
        path: Option<&RelativePath>,
        mode: Mode,
        changed: &mut dyn FnMut(OwnedFd),
    ) -> Result<OwnedFd> {
        make_missing(root, path.unwrap(), mode, changed)
    }
}
