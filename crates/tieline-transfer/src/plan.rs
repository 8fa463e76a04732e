//! What is going to be sent: the first pass over the named files and trees.
//!
//! It finds the totals for an honest progress and names at once what will not travel. Entries come in one order whatever the file
//! system says: a folder before what is in it, names by their octets.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::beneath;
use crate::content::PIECE_LEN;
use crate::holes::room_of;
use crate::metadata::Carry;
use crate::mirror::MirrorRules;
use crate::outcome::{EntryKind, EntryReport, Fate, Fault, Progress, Skip};
use crate::path::{NameFault, RelativePath};
use crate::protocol::{ENTRIES_MAX, FileTime};
use crate::source::{self, SourceFault};

/// How often the first pass reports, in entries.
const REPORT_EVERY: usize = 256;

/// Files and folders to be sent, in order, and what was found that is not.
#[derive(Debug, Default)]
pub struct Plan {
    /// The folders that hold what was named; opened when needed, as there may be more of them than files may be open.
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) set_aside: Vec<EntryReport>,
    /// What is sent of the files beyond their content.
    pub(crate) carry: Carry,
    /// Whether it is a mirror's, and then how that is kept.
    pub(crate) mirror: Option<MirrorRules>,
    files: u64,
    bytes: u64,
}

/// One file or folder to be sent.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Which of the plan's roots it is below.
    pub(crate) root: usize,
    pub(crate) path: RelativePath,
    pub(crate) kind: PlannedKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum PlannedKind {
    File { size: u64 },
    Folder { mode: u32, modified: FileTime },
}

/// Why nothing is sent at all.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No path was named.
    #[error("nothing to send: name at least one file or folder")]
    Nothing,
    /// Two of the named paths would have one name at the far end.
    #[error("{} and {} would both arrive as `{name}`; send them one after the other, or rename one", first.display(), second.display())]
    SameName {
        /// The name.
        name: RelativePath,
        /// The one named first.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The name cannot be sent.
    #[error("{} cannot be sent: {fault}", path.display())]
    Name {
        /// As it was given.
        path: PathBuf,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// The path has no name, and its real one cannot be found.
    #[error("{} cannot be sent: {source}", path.display())]
    Unnamed {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder to be mirrored cannot be looked at.
    #[error("{}: {fault}", path.display())]
    Folder {
        /// As it was given.
        path: PathBuf,
        /// Why.
        fault: SourceFault,
    },
    /// More than one transfer may have.
    #[error("more than {ENTRIES_MAX} files and folders; send them in parts")]
    TooMany,
}

impl Plan {
    /// Looks through `paths` and all folders below them. Reads names and sizes only, and blocks while it does.
    ///
    /// A path is sent under its last component. What cannot be sent, or not be read, is kept to be reported and does not stop
    /// the rest.
    ///
    /// # Errors
    ///
    /// See [`PlanError`]; nothing has been sent then.
    pub fn scan(paths: &[PathBuf], progress: &dyn Progress) -> Result<Self, PlanError> {
        Self::scan_with(paths, Carry::default(), progress)
    }

    /// The same, with more of the files than their content.
    ///
    /// # Errors
    ///
    /// See [`PlanError`]; nothing has been sent then.
    pub fn scan_with(paths: &[PathBuf], carry: Carry, progress: &dyn Progress) -> Result<Self, PlanError> {
        let named = paths.iter().map(|path| name_of(path)).collect::<Result<Vec<_>, _>>()?;
        if named.is_empty() {
            return Err(PlanError::Nothing);
        }
        refuse_same_names(&named)?;
        let mut plan = Self { carry, ..Self::default() };
        for Named { path, name, .. } in named {
            plan.scan_root(&path, name, progress)?;
        }
        progress.scanned(plan.files, plan.bytes);
        Ok(plan)
    }

    /// Everything below `folder`, of which the folder of the transfer is to be a mirror, kept by `rules`. Else as [`Self::scan`].
    ///
    /// # Errors
    ///
    /// `Folder`, `TooMany`.
    pub fn mirror(folder: &Path, rules: MirrorRules, progress: &dyn Progress) -> Result<Self, PlanError> {
        let unreadable = |fault| PlanError::Folder { path: folder.into(), fault };
        let root = open_root(folder).map_err(unreadable)?;
        let top = list(root.as_fd(), None).map_err(unreadable)?;
        let mut plan = Self { roots: vec![folder.into()], mirror: Some(rules), ..Self::default() };
        plan.walk(root.as_fd(), top, progress)?;
        progress.scanned(plan.files, plan.bytes);
        Ok(plan)
    }

    /// Exactly these files below `root`, with their sizes as far as is known.
    #[must_use]
    pub fn of_files(root: PathBuf, files: Vec<(RelativePath, u64)>) -> Self {
        let bytes = files.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        let count = files.len() as u64;
        let entries =
            files.into_iter().map(|(path, size)| Entry { root: 0, path, kind: PlannedKind::File { size } });
        let (roots, entries) = (vec![root], entries.collect());
        Self { roots, entries, files: count, bytes, ..Self::default() }
    }

    /// The same plan, with more of the files than their content.
    #[must_use]
    pub fn with_carry(self, carry: Carry) -> Self {
        Self { carry, ..self }
    }

    /// Files to be sent.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Folders to be sent.
    #[must_use]
    pub fn folders(&self) -> u64 {
        self.entries.len() as u64 - self.files
    }

    /// Octets of all files to be sent, as far as is known before they are read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much room the files take, without holes; looks at the large ones once more, and so blocks.
    pub(crate) fn room(&self) -> u64 {
        let mut held: Option<(usize, Option<OwnedFd>)> = None;
        let room = self.entries.iter().map(|Entry { root, path, kind }| match *kind {
            PlannedKind::Folder { .. } => 0,
            PlannedKind::File { size } if size <= PIECE_LEN => size,
            PlannedKind::File { size } => {
                if held.as_ref().is_none_or(|(number, _)| number != root) {
                    held = Some((*root, open_root(&self.roots[*root]).ok()));
                }
                let folder = held.as_ref().and_then(|(_, folder)| folder.as_ref());
                let stat = folder
                    .and_then(|folder| fstat(beneath::open(folder.as_fd(), path, OFlags::PATH).ok()?).ok());
                stat.and_then(|stat| room_of(&stat)).unwrap_or(size).min(size)
            }
        });
        room.fold(0, u64::saturating_add)
    }

    /// What will not be sent, and why.
    #[must_use]
    pub fn set_aside(&self) -> &[EntryReport] {
        &self.set_aside
    }

    fn scan_root(
        &mut self,
        path: &Path,
        name: RelativePath,
        progress: &dyn Progress,
    ) -> Result<(), PlanError> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let root = match open_root(parent) {
            Ok(root) => root,
            Err(fault) => {
                self.fail(name.as_bytes(), EntryKind::Other, fault);
                return Ok(());
            }
        };
        let stat = statat(&root, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).map_err(SourceFault::from);
        self.roots.push(parent.into());
        let stat = stat.map(|stat| Seen::of(&stat));
        self.walk(root.as_fd(), vec![Found { name: name.as_bytes().into(), stat }], progress)
    }

    /// Walks one root in order, without recursion; [`RelativePath`] bounds the depth.
    fn walk(
        &mut self,
        root: BorrowedFd<'_>,
        top: Vec<Found>,
        progress: &dyn Progress,
    ) -> Result<(), PlanError> {
        let mut levels: Vec<(Option<RelativePath>, std::vec::IntoIter<Found>)> =
            vec![(None, top.into_iter())];
        while let Some((folder, rest)) = levels.last_mut() {
            let Some(found) = rest.next() else {
                levels.pop();
                continue;
            };
            if (self.entries.len() + self.set_aside.len()) as u64 >= ENTRIES_MAX {
                return Err(PlanError::TooMany);
            }
            if let Some((path, below)) = self.visit(root, folder.as_ref(), &found) {
                levels.push((Some(path), below.into_iter()));
            }
            if self.entries.len().is_multiple_of(REPORT_EVERY) {
                progress.scanned(self.files, self.bytes);
            }
        }
        Ok(())
    }

    /// Notes one finding; returns what is below it if it is a folder.
    fn visit(
        &mut self,
        root: BorrowedFd<'_>,
        folder: Option<&RelativePath>,
        found: &Found,
    ) -> Option<(RelativePath, Vec<Found>)> {
        let path = match folder {
            Some(folder) => folder.child(&found.name),
            None => RelativePath::parse(&found.name),
        };
        let path = match path {
            Ok(path) => path,
            Err(fault) => {
                let shown = folder.map_or_else(Vec::new, |folder| [folder.as_bytes(), b"/"].concat());
                self.skip(&[&shown[..], &found.name].concat(), fault.into());
                return None;
            }
        };
        let seen = match found.stat {
            Ok(seen) => seen,
            Err(fault) => {
                self.fail(path.as_bytes(), EntryKind::Other, fault);
                return None;
            }
        };
        let is_left_out = seen.file_type == FileType::Symlink && !self.carry.links;
        match seen.file_type {
            FileType::RegularFile | FileType::Symlink if !is_left_out => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(seen.size);
                self.add(path, PlannedKind::File { size: seen.size });
                None
            }
            FileType::Directory => match list(root, Some(&path)) {
                Ok(below) => {
                    self.add(path.clone(), PlannedKind::Folder { mode: seen.mode, modified: seen.modified });
                    Some((path, below))
                }
                Err(fault) => {
                    self.fail(path.as_bytes(), EntryKind::Folder, fault);
                    None
                }
            },
            other => {
                self.skip(path.as_bytes(), skip_of(other));
                None
            }
        }
    }

    fn add(&mut self, path: RelativePath, kind: PlannedKind) {
        self.entries.push(Entry { root: self.roots.len() - 1, path, kind });
    }

    fn skip(&mut self, name: &[u8], skip: Skip) {
        let (kind, size, fate) = (EntryKind::Other, 0, Fate::Skipped(skip));
        self.set_aside.push(EntryReport { name: name.into(), kind, size, fate });
    }

    fn fail(&mut self, name: &[u8], kind: EntryKind, fault: SourceFault) {
        let (size, fate) = (0, Fate::Failed(Fault::Source(fault)));
        self.set_aside.push(EntryReport { name: name.into(), kind, size, fate });
    }
}

/// A path as it was given, where it really is, and the name it is sent under.
struct Named {
    given: PathBuf,
    path: PathBuf,
    name: RelativePath,
}

/// Something in a folder, or why it cannot be looked at.
struct Found {
    name: Box<[u8]>,
    stat: Result<Seen, SourceFault>,
}

#[derive(Clone, Copy)]
struct Seen {
    file_type: FileType,
    mode: u32,
    size: u64,
    modified: FileTime,
}

impl Seen {
    fn of(stat: &Stat) -> Self {
        Self {
            file_type: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: source::modified(stat),
        }
    }
}

fn name_of(given: &Path) -> Result<Named, PlanError> {
    // `.` and `..` have a name only once it is known where they are.
    let path = match given.file_name() {
        Some(_) => given.to_path_buf(),
        None => {
            fs::canonicalize(given).map_err(|source| PlanError::Unnamed { path: given.into(), source })?
        }
    };
    let name = path.file_name().map_or(&[][..], OsStrExt::as_bytes);
    match RelativePath::parse(name) {
        Ok(name) => Ok(Named { given: given.into(), path, name }),
        Err(fault) => Err(PlanError::Name { path: given.into(), fault }),
    }
}

fn refuse_same_names(named: &[Named]) -> Result<(), PlanError> {
    let mut by_name: Vec<&Named> = named.iter().collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    match by_name.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(PlanError::SameName {
            name: pair[0].name.clone(),
            first: pair[0].given.clone(),
            second: pair[1].given.clone(),
        }),
        None => Ok(()),
    }
}

/// Opens the folder that holds something that was named; links on the user's own way there are followed.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, SourceFault> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What is in a folder, in the order of the octets of the names.
fn list(root: BorrowedFd<'_>, path: Option<&RelativePath>) -> Result<Vec<Found>, SourceFault> {
    let folder = beneath::open_folder(root, path)?;
    let mut names = names_in(folder.as_fd())?;
    names.sort_unstable();
    let stat_of = |name: &[u8]| {
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Seen::of(&stat))
    };
    Ok(names
        .into_iter()
        .map(|name| {
            let stat = stat_of(&name);
            Found { name, stat }
        })
        .collect())
}

fn names_in(folder: BorrowedFd<'_>) -> Result<Vec<Box<[u8]>>, SourceFault> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.into());
        }
    }
    Ok(names)
}

pub(crate) fn skip_of(file_type: FileType) -> Skip {
    match file_type {
        FileType::Symlink => Skip::Link,
        FileType::Fifo => Skip::Pipe,
        FileType::Socket => Skip::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => Skip::Device,
        FileType::RegularFile | FileType::Directory | FileType::Unknown => Skip::Unknown,
    }
}
