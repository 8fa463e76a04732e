//! What people do to the outbox, and the plain model of it: which content has which name, and which ones it had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tieline_transfer::RelativePath;
use tieline_transfer::content::{HASH_LEN, PIECE_LEN};
use tieline_transfer::outbox::Hint;
use tieline_transfer::path::DEPTH_MAX;

use crate::sim::Random;
use crate::support::noise;

pub(crate) type Hash = [u8; HASH_LEN];
pub(crate) type Name = String;

/// Names that become files, and folders where others need them.
const NAMES: [&str; 8] = ["a", "b.txt", "c.tar.gz", "d", "d/a", "d/e/f", "g/h", "g/i"];
const FOLDERS: [&str; 4] = ["d", "d/e", "g", "k"];
const PIECE: usize = PIECE_LEN as usize;

/// The octets of a file.
#[derive(Clone, Default)]
pub(crate) struct Content(Arc<Vec<u8>>);

impl Content {
    fn new(octets: Vec<u8>) -> Self {
        Self(Arc::new(octets))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

/// What somebody does to the outbox.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes a file, or writes it anew.
    Put(Name, Content),
    /// Writes a file elsewhere and renames it in.
    Bring(Name, Content),
    /// Writes more at its end.
    Append(Name, Content),
    /// Writes something else into its middle.
    Edit(Name, u64, Content),
    /// Cuts it off, or makes it longer without writing.
    Resize(Name, usize),
    Rename(Name, Name),
    RenameFolder(Name, Name),
    Remove(Name),
}

impl Act {
    pub(crate) fn any(random: &mut Random, model: &Model) -> Self {
        let name = any_name(random, model);
        match random.below(15) {
            0..5 => Self::Put(name, any_content(random, model)),
            5..8 => Self::Bring(name, any_content(random, model)),
            8 => Self::Append(name, any_content(random, model)),
            9 => Self::Resize(name, usize::try_from(random.below(6000)).unwrap()),
            10 | 11 => Self::Rename(name, any_name(random, model)),
            12 => {
                let [from, to] = [(); 2].map(|()| pick(random, &FOLDERS));
                Self::RenameFolder(from.into(), to.into())
            }
            13 => Self::Edit(name, random.below(1 << 40), Content::new(noise(random.below(1 << 40), 300))),
            _ => Self::Remove(name),
        }
    }
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap()]
}

fn any_name(random: &mut Random, model: &Model) -> Name {
    // One that the far end does not take: below its folder it is too deep.
    if random.below(30) == 0 { model.deep.clone() } else { pick(random, &NAMES).into() }
}

fn any_content(random: &mut Random, model: &Model) -> Content {
    if random.below(4) == 0
        && let Some(known) = model.contents.values().nth(usize::try_from(random.below(8)).unwrap())
    {
        return known.clone();
    }
    let len = match random.below(12) {
        0 => 0,
        1 => 1,
        2..9 => usize::try_from(random.below(20_000)).unwrap(),
        9 => 200_000,
        _ if model.has_large => PIECE * usize::try_from(random.below(6)).unwrap() + 5,
        _ => 4096,
    };
    Content::new(noise(random.below(1 << 40), len))
}

/// The plain model.
pub(crate) struct Model {
    folder: PathBuf,
    elsewhere: PathBuf,
    deep: Name,
    has_large: bool,
    /// What stands in the outbox, or did until tieline took it away.
    pub(crate) present: BTreeMap<Name, Hash>,
    /// Everything that ever had the name.
    pub(crate) history: BTreeMap<Name, BTreeSet<Hash>>,
    /// What tieline took away.
    pub(crate) taken: Vec<(Name, Hash)>,
    pub(crate) contents: BTreeMap<Hash, Content>,
}

impl Model {
    pub(crate) fn new(folder: &Path, elsewhere: &Path, has_large: bool) -> Self {
        let deep = vec!["x"; DEPTH_MAX].join("/");
        Self {
            folder: folder.into(),
            elsewhere: elsewhere.into(),
            deep,
            has_large,
            present: BTreeMap::new(),
            history: BTreeMap::new(),
            taken: Vec::new(),
            contents: BTreeMap::new(),
        }
    }

    /// Does it, as far as it can be done now, and says what a watch would notice.
    pub(crate) fn act(&mut self, act: &Act) -> Option<Hint> {
        let done = match act {
            Act::Put(name, content) => self.put(name, content),
            Act::Bring(name, content) => self.bring(name, content),
            Act::Append(name, more) => self.append(name, &more.0),
            Act::Edit(name, at, new) => self.edit(name, *at, &new.0),
            Act::Resize(name, len) => self.resize(name, *len),
            Act::Rename(from, to) => self.rename(from, to),
            Act::RenameFolder(from, to) => self.rename_folder(from, to),
            Act::Remove(name) => self.remove(name),
        };
        // Something stands in the way, or is not there.
        let (name, hint): (_, fn(RelativePath) -> Hint) = done.ok()?;
        Some(hint(RelativePath::parse(name.as_bytes()).unwrap()))
    }

    fn put(&mut self, name: &Name, content: &Content) -> Done {
        let path = self.folder.join(name);
        self.make_above(&path)?;
        // Between the two it is empty.
        let mut file = File::create(&path)?;
        self.had(name, &Content::default());
        file.write_all(&content.0)?;
        self.has(name, content);
        Ok((name.clone(), Hint::Changed))
    }

    fn bring(&mut self, name: &Name, content: &Content) -> Done {
        let path = self.folder.join(name);
        self.make_above(&path)?;
        fs::write(&self.elsewhere, &*content.0)?;
        fs::rename(&self.elsewhere, &path)?;
        self.has(name, content);
        Ok((name.clone(), Hint::Arrived))
    }

    fn append(&mut self, name: &Name, more: &[u8]) -> Done {
        let file = self.open(name)?;
        file.write_all_at(more, file.metadata()?.len())?;
        let before = self.contents[&self.present[name]].0.to_vec();
        self.has(name, &Content::new([&before, more].concat()));
        Ok((name.clone(), Hint::Changed))
    }

    /// `at` counts round the file.
    fn edit(&mut self, name: &Name, at: u64, new: &[u8]) -> Done {
        let file = self.open(name)?;
        let mut content = self.contents[&self.present[name]].0.to_vec();
        let at = at % (content.len() as u64 + 1);
        file.write_all_at(new, at)?;
        let at = usize::try_from(at).unwrap();
        content.resize(content.len().max(at + new.len()), 0);
        content[at..at + new.len()].copy_from_slice(new);
        self.has(name, &Content::new(content));
        Ok((name.clone(), Hint::Changed))
    }

    fn resize(&mut self, name: &Name, len: usize) -> Done {
        let file = self.open(name)?;
        file.set_len(len as u64)?;
        let mut content = self.contents[&self.present[name]].0.to_vec();
        content.resize(len, 0);
        self.has(name, &Content::new(content));
        Ok((name.clone(), Hint::Changed))
    }

    fn rename(&mut self, from: &Name, to: &Name) -> Done {
        let [old, new] = [from, to].map(|name| self.folder.join(name));
        if from == to || old.is_dir() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.make_above(&new)?;
        if let Err(error) = fs::rename(old, new) {
            self.is_taken_if_missing(from, &error);
            return Err(error);
        }
        let hash = self.present.remove(from).unwrap();
        self.has(to, &self.contents[&hash].clone());
        Ok((to.clone(), Hint::Arrived))
    }

    fn rename_folder(&mut self, from: &Name, to: &Name) -> Done {
        let [old, new] = [from, to].map(|name| self.folder.join(name));
        if !old.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        fs::rename(old, &new)?;
        let below = format!("{from}/");
        let names: Vec<_> = self.present.keys().filter(|name| name.starts_with(&below)).cloned().collect();
        for name in names {
            let hash = self.present.remove(&name).unwrap();
            let name_now = format!("{to}/{}", &name[below.len()..]);
            if self.folder.join(&name_now).is_file() {
                self.has(&name_now, &self.contents[&hash].clone());
            } else {
                self.taken.push((name, hash));
            }
        }
        Ok((to.clone(), Hint::Arrived))
    }

    fn remove(&mut self, name: &Name) -> Done {
        if let Err(error) = fs::remove_file(self.folder.join(name)) {
            self.is_taken_if_missing(name, &error);
            return Err(error);
        }
        self.present.remove(name).unwrap();
        Ok((name.clone(), Hint::Changed))
    }

    /// Opens a file to be written to as it is.
    fn open(&mut self, name: &Name) -> io::Result<File> {
        let opened = OpenOptions::new().write(true).open(self.folder.join(name));
        if let Err(error) = &opened {
            self.is_taken_if_missing(name, error);
        }
        opened
    }

    fn make_above(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap())
    }

    fn is_taken_if_missing(&mut self, name: &Name, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound
            && let Some(hash) = self.present.remove(name)
        {
            self.taken.push((name.clone(), hash));
        }
    }

    fn had(&mut self, name: &Name, content: &Content) -> Hash {
        let hash = *blake3::hash(&content.0).as_bytes();
        self.history.entry(name.clone()).or_default().insert(hash);
        self.contents.insert(hash, content.clone());
        hash
    }

    fn has(&mut self, name: &Name, content: &Content) {
        let hash = self.had(name, content);
        self.present.insert(name.clone(), hash);
    }

    /// Whether it is too deep for the far end.
    pub(crate) fn is_refused(&self, name: &Name) -> bool {
        *name == self.deep
    }
}

type Done = io::Result<(Name, fn(RelativePath) -> Hint)>;
