//! Walking an outbox: what is there, one file after the other, so that a million of them never sit in memory together.
//!
//! A [`Scan`] goes below a held folder and follows no link. It keeps the names of the folders on its way and nothing else. What it cannot
//! read, or what cannot be sent, it reports as [`Trouble`] and goes on. It blocks while it reads, a folder or a file at a time.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;

use super::names::Names;
use super::rules::Rules;
use super::{FILES_MAX, Look};
use crate::beneath;
use crate::outcome::Skip;
use crate::path::{Escaped, NameFault, RelativePath};
use crate::plan::skip_of;
use crate::stamp::Stamp;

/// Names that one scan looks at: of files that can be kept track of, as many folders, markers and files that are not sent.
pub const NAMES_MAX: usize = 2 * FILES_MAX;

/// Something that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Below the outbox.
    pub path: RelativePath,
    /// What it is.
    pub kind: FileKind,
    /// In octets.
    pub size: u64,
    /// Its version.
    pub stamp: Stamp,
    /// Whether it is known to be whole: it was renamed in, or has a marker.
    pub is_complete: bool,
}

/// What can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A symbolic link, as text.
    Link,
}

/// What a scan came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A file.
    File(Found),
    /// Something that somebody should know.
    Trouble(Trouble),
}

/// Why something in an outbox will not be sent, or will not arrive as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be looked at.
    Unreadable {
        /// The path; `None` for the outbox itself.
        path: Option<RelativePath>,
        /// Linux error number.
        errno: i32,
    },
    /// It is of a kind, or has a name, that is not sent.
    Skipped {
        /// The path as octets.
        name: Box<[u8]>,
        /// Why.
        skip: Skip,
    },
    /// A marker beside which there is no file.
    LonelyMarker {
        /// The marker.
        path: RelativePath,
    },
    /// Some file systems would not tell them apart; both are sent.
    Twins {
        /// The first by the order of octets.
        one: RelativePath,
        /// The other.
        other: RelativePath,
    },
    /// There are more names than [`NAMES_MAX`].
    TooMany,
}

/// A walk through an outbox or a part of it.
#[derive(Debug)]
pub struct Scan<'a> {
    root: BorrowedFd<'a>,
    rules: &'a Rules,
    /// Where it begins, until it has begun.
    start: Option<Start>,
    levels: Vec<Level>,
    /// Whether everything below was renamed in.
    arrived: bool,
    names_left: usize,
    is_complete: bool,
}

#[derive(Debug)]
enum Start {
    Everything,
    At(RelativePath),
}

/// A folder on the way: first its files, then its twins, then its folders.
#[derive(Debug)]
struct Level {
    folder: Option<RelativePath>,
    /// While its files are being looked at.
    fd: Option<OwnedFd>,
    names: Names,
    next: usize,
    twins: std::vec::IntoIter<(u32, u32)>,
    folders: Vec<u32>,
}

impl<'a> Scan<'a> {
    /// Returns a scan of what `look` says, below `root`.
    #[must_use]
    pub fn new(root: BorrowedFd<'a>, rules: &'a Rules, look: Look) -> Self {
        let (start, arrived) = match look {
            Look::Everything => (Start::Everything, false),
            Look::At { path, arrived } => (Start::At(path), arrived),
        };
        Self {
            root,
            rules,
            start: Some(start),
            levels: Vec::new(),
            arrived,
            names_left: NAMES_MAX,
            is_complete: true,
        }
    }

    /// Whether nothing was left out, as far as it has gone: what it did not find is not there, or not to be read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn start(&mut self, start: Start) -> Option<Sight> {
        match start {
            Start::Everything => {
                let trouble = self.enter(None);
                self.is_complete = trouble.is_none();
                trouble
            }
            Start::At(path) => self.visit_one(path),
        }
    }

    /// Looks at one path; if it is gone again, there is nothing to be said of it.
    fn visit_one(&mut self, path: RelativePath) -> Option<Sight> {
        let (folder, name) = path.split_last();
        let folder = beneath::open_folder(self.root, folder.as_ref()).ok()?;
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.enter(Some(path));
        }
        let is_marked = is_marked(folder.as_fd(), self.rules, name, &stat);
        judge(self.rules, path, &stat, self.arrived || is_marked)
    }

    /// Reads the names of a folder, to be visited next.
    fn enter(&mut self, folder: Option<RelativePath>) -> Option<Sight> {
        let is_top = folder.is_none();
        let opened = beneath::open_folder(self.root, folder.as_ref()).and_then(|fd| {
            let is_wanted = |name: &[u8]| !self.rules.ignores_name(name, is_top);
            let (names, is_whole) = Names::read(fd.as_fd(), self.names_left, is_wanted)?;
            Ok((fd, names, is_whole))
        });
        let (fd, names, is_whole) = match opened {
            Ok(opened) => opened,
            // Gone, or another thing in the meantime: the next look sees what it is.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !is_top => return None,
            Err(errno) => return Some(unreadable(folder, errno)),
        };
        self.names_left -= names.len();
        let twins = names.twins().into_iter();
        self.levels.push(Level { folder, fd: Some(fd), names, next: 0, twins, folders: Vec::new() });
        if is_whole {
            return None;
        }
        self.is_complete = false;
        Some(Sight::Trouble(Trouble::TooMany))
    }
}

impl Iterator for Scan<'_> {
    type Item = Sight;

    fn next(&mut self) -> Option<Sight> {
        if let Some(start) = self.start.take()
            && let Some(sight) = self.start(start)
        {
            return Some(sight);
        }
        while let Some(level) = self.levels.last_mut() {
            let sight = match level.step(self.rules, self.arrived) {
                Step::Sight(sight) => sight,
                Step::Enter(folder) => self.enter(Some(folder)),
                Step::Leave => {
                    self.levels.pop();
                    None
                }
            };
            if sight.is_some() {
                return sight;
            }
        }
        None
    }
}

enum Step {
    Sight(Option<Sight>),
    Enter(RelativePath),
    Leave,
}

impl Level {
    fn step(&mut self, rules: &Rules, arrived: bool) -> Step {
        if self.next < self.names.len() {
            let index = self.next;
            self.next += 1;
            return Step::Sight(self.visit(index, rules, arrived));
        }
        self.fd = None;
        if let Some((one, other)) = self.twins.next() {
            let pair = self.path(one as usize).ok().zip(self.path(other as usize).ok());
            return Step::Sight(pair.map(|(one, other)| Sight::Trouble(Trouble::Twins { one, other })));
        }
        match self.folders.pop() {
            // It was a path when the folder was visited.
            Some(index) => self.path(index as usize).map_or(Step::Sight(None), Step::Enter),
            None => Step::Leave,
        }
    }

    fn visit(&mut self, index: usize, rules: &Rules, arrived: bool) -> Option<Sight> {
        let path = match self.path(index) {
            Ok(path) => path,
            // A transfer the other way, with its unfinished files.
            Err(NameFault::Reserved) => return None,
            Err(fault) => return Some(self.skipped(index, fault)),
        };
        let name = self.names.name(index);
        let folder = self.fd.as_ref()?.as_fd();
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return None,
            Err(errno) => return Some(unreadable(Some(path), errno)),
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            self.folders.push(u32::try_from(index).ok()?);
            return None;
        }
        match rules.name_marked_by(name) {
            Some(marked) if file_type == FileType::RegularFile => {
                let is_lonely = !self.names.contains(marked);
                return is_lonely.then_some(Sight::Trouble(Trouble::LonelyMarker { path }));
            }
            _ => {}
        }
        let may_be_marked = rules
            .done_suffix
            .as_ref()
            .is_some_and(|suffix| self.names.contains(&[name, suffix.as_bytes()].concat()));
        let is_complete = arrived || (may_be_marked && is_marked(folder, rules, name, &stat));
        judge(rules, path, &stat, is_complete)
    }

    fn path(&self, index: usize) -> Result<RelativePath, NameFault> {
        let name = self.names.name(index);
        match &self.folder {
            Some(folder) => folder.child(name),
            None => RelativePath::parse(name),
        }
    }

    fn skipped(&self, index: usize, fault: NameFault) -> Sight {
        let above = self.folder.as_ref().map_or_else(Vec::new, |folder| [folder.as_bytes(), b"/"].concat());
        let name = [&above, self.names.name(index)].concat().into();
        Sight::Trouble(Trouble::Skipped { name, skip: fault.into() })
    }
}

/// Whether a marker says that the file is whole. One that is older than the file's last change was about another version.
fn is_marked(folder: BorrowedFd<'_>, rules: &Rules, name: &[u8], file: &Stat) -> bool {
    let Some(suffix) = &rules.done_suffix else { return false };
    let marker = [name, suffix.as_bytes()].concat();
    statat(folder, marker, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|marker| {
        FileType::from_raw_mode(marker.st_mode) == FileType::RegularFile
            && (marker.st_ctime, marker.st_ctime_nsec) >= (file.st_ctime, file.st_ctime_nsec)
    })
}

/// What is to be said of something that is not a folder.
fn judge(rules: &Rules, path: RelativePath, stat: &Stat, is_complete: bool) -> Option<Sight> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Symlink if rules.links => FileKind::Link,
        other => {
            let name = path.as_bytes().into();
            return Some(Sight::Trouble(Trouble::Skipped { name, skip: skip_of(other) }));
        }
    };
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    Some(Sight::File(Found { path, kind, size, stamp: Stamp::of(stat), is_complete }))
}

fn unreadable(path: Option<RelativePath>, errno: Errno) -> Sight {
    Sight::Trouble(Trouble::Unreadable { path, errno: errno.raw_os_error() })
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, errno } => {
                let error = io::Error::from_raw_os_error(*errno);
                match path {
                    Some(path) => write!(f, "`{path}` cannot be read: {error}"),
                    None => write!(f, "the outbox cannot be read: {error}"),
                }
            }
            Self::Skipped { name, skip } => write!(f, "`{}` is not sent: {skip}", Escaped(name)),
            Self::LonelyMarker { path } => {
                write!(
                    f,
                    "`{path}` marks a file that is not there; remove it, or give it another name to have it sent"
                )
            }
            Self::Twins { one, other } => write!(
                f,
                "`{one}` and `{other}` are one name where case and ways to write accents do not count; rename one"
            ),
            Self::TooMany => write!(f, "more than {NAMES_MAX} names; what is behind them is not sent"),
        }
    }
}
