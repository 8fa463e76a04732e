//! What is sent: files made from a seed, and a newer version of them where a case wants one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// The folder that is sent.
pub(crate) const NAME: &str = "office";
/// Octets of a small file at most; on average it is half of that.
const SMALL_LEN_MAX: u64 = 25_000;
/// Files of the tree in one folder.
const IN_A_FOLDER: u64 = 100;
/// Of so many files one is changed.
const ONE_CHANGED_OF: u64 = 50;
const EDIT_LEN: usize = 4096;
/// Octets for each of which there is one edit: 5,000 in a GiB.
const EDIT_EACH: u64 = (1 << 30) / 5000;
/// Octets that a newer version has in front.
const INSERTED: usize = 1 << 20;
/// Octets of a sparse file that are no hole, and in how many places they are.
const SPARSE_LEN: u64 = 64 << 20;
const SPARSE_PLACES: u64 = 64;
/// How old the older version is, in the eyes of those who go by time.
const AGE: Duration = Duration::from_hours(1);
const CHUNK: usize = 64 << 10;
const WORDS: [&str; 16] = [
    "invoice", "the", "of", "to", "contract", "and", "meeting", "office", "we", "delivery", "in", "is",
    "amount", "for", "as", "agreed",
];

/// A folder to send, and what the far end has of it; dropped, both are gone.
pub(crate) struct Content {
    pub(crate) new: PathBuf,
    pub(crate) old: Option<PathBuf>,
    /// Octets in all its files.
    pub(crate) octets: u64,
    folder: TempDir,
}

impl Content {
    fn begin() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tieline-files").tempdir()?;
        let new = folder.path().join("new").join(NAME);
        fs::create_dir_all(&new)?;
        Ok(Self { new, old: None, octets: 0, folder })
    }

    /// One file of random octets.
    pub(crate) fn large(len: u64, seed: u64) -> io::Result<Self> {
        let mut content = Self::begin()?;
        content.file("large", &mut Random(seed), len, false)?;
        Ok(content)
    }

    /// Small files, one of text and one of random octets in turn.
    pub(crate) fn tree(files: u64, seed: u64) -> io::Result<Self> {
        let mut content = Self::begin()?;
        let mut random = Random(seed);
        for number in 0..files {
            let len = random.below(SMALL_LEN_MAX);
            content.file(&name_in_folder(number), &mut random, len, number % 2 == 0)?;
        }
        Ok(content)
    }

    /// Files of ten octets.
    pub(crate) fn many(files: u64, seed: u64) -> io::Result<Self> {
        let mut content = Self::begin()?;
        let mut random = Random(seed);
        for number in 0..files {
            content.file(&name_in_folder(number), &mut random, 10, false)?;
        }
        Ok(content)
    }

    /// One file, nearly all of it a hole.
    pub(crate) fn sparse(len: u64, seed: u64) -> io::Result<Self> {
        let mut content = Self::begin()?;
        let file = File::create(content.new.join("sparse"))?;
        file.set_len(len)?;
        let mut part = vec![0; (SPARSE_LEN / SPARSE_PLACES) as usize];
        let mut random = Random(seed);
        for place in 0..SPARSE_PLACES {
            random.fill(&mut part);
            file.write_all_at(&part, len / SPARSE_PLACES * place)?;
        }
        content.octets = len;
        Ok(content)
    }

    /// Keeps what is there as the old version, and changes some octets in one file of fifty.
    pub(crate) fn with_changes(self, seed: u64) -> io::Result<Self> {
        let content = self.with_old_version()?;
        let mut random = Random(!seed);
        for (number, file) in files(&content.new)?.iter().enumerate() {
            if (number as u64).is_multiple_of(ONE_CHANGED_OF) {
                let len = fs::metadata(file)?.len();
                let mut edit = [0; 100];
                random.fill(&mut edit);
                write_at(file, random.below(len.max(1)), &edit)?;
            }
        }
        Ok(content)
    }

    /// Keeps what is there as the old version, and overwrites blocks all over the large file.
    pub(crate) fn with_edits(self, seed: u64) -> io::Result<Self> {
        let content = self.with_old_version()?;
        let mut random = Random(!seed);
        let mut edit = [0; EDIT_LEN];
        for _ in 0..edits(content.octets) {
            random.fill(&mut edit);
            let place = random.below(content.octets.saturating_sub(EDIT_LEN as u64).max(1));
            write_at(&content.new.join("large"), place, &edit)?;
        }
        Ok(content)
    }

    /// Keeps what is there as the old version, and puts a MiB before the large file.
    pub(crate) fn with_insertion(self, seed: u64) -> io::Result<Self> {
        let mut content = self.with_old_version()?;
        let old = content.old.as_deref().expect("it was just made").join("large");
        let mut inserted = vec![0; INSERTED];
        Random(!seed).fill(&mut inserted);
        let mut file = File::create(content.new.join("large"))?;
        file.write_all(&inserted)?;
        content.octets = INSERTED as u64 + io::copy(&mut File::open(old)?, &mut file)?;
        Ok(content)
    }

    fn with_old_version(mut self) -> io::Result<Self> {
        let old = self.folder.path().join("old").join(NAME);
        copy(&self.new, &old)?;
        self.old = Some(old);
        Ok(self)
    }

    fn file(&mut self, name: &str, random: &mut Random, len: u64, is_text: bool) -> io::Result<()> {
        let path = self.new.join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder"))?;
        let mut file = BufWriter::with_capacity(CHUNK, File::create(&path)?);
        let (mut left, mut chunk) = (len as usize, vec![0; CHUNK]);
        while left > 0 {
            let part = &mut chunk[..left.min(CHUNK)];
            if is_text {
                random.write_text(part)
            } else {
                random.fill(part)
            }
            file.write_all(part)?;
            left -= part.len();
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.set_modified(SystemTime::now() - AGE)?;
        self.octets += len;
        Ok(())
    }
}

/// How many edits a file of this length gets.
pub(crate) fn edits(len: u64) -> u64 {
    (len / EDIT_EACH).max(1)
}

fn name_in_folder(number: u64) -> String {
    format!("{}/{number}", number / IN_A_FOLDER)
}

fn write_at(file: &Path, place: u64, octets: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(file)?;
    file.seek(SeekFrom::Start(place))?;
    file.write_all(octets)
}

/// Copies a folder with the times of its files, into one that exists as well.
///
/// # Errors
///
/// If `cp` fails.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp: {status}"))) }
}

/// All files of a folder and its folders, in the order of their names.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Whether all that was sent is there, octet for octet.
///
/// # Errors
///
/// Which file is not.
pub(crate) fn compare(sent: &Path, arrived: &Path) -> Result<(), String> {
    let fault =
        |error: io::Error| format!("cannot compare {} and {}: {error}", sent.display(), arrived.display());
    let (ours, theirs) = (files(sent).map_err(fault)?, files(arrived).map_err(fault)?);
    if ours.len() != theirs.len() {
        return Err(format!("{} files were sent and {} are there", ours.len(), theirs.len()));
    }
    for (ours, theirs) in ours.iter().zip(&theirs) {
        if !is_same(ours, theirs).map_err(fault)? {
            return Err(format!("{} is not what was sent", theirs.display()));
        }
    }
    Ok(())
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let len = one.read(&mut ours)?;
        if len == 0 {
            return Ok(true);
        }
        other.read_exact(&mut theirs[..len])?;
        if ours[..len] != theirs[..len] {
            return Ok(false);
        }
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn fill(&mut self, octets: &mut [u8]) {
        for part in octets.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }

    fn write_text(&mut self, mut octets: &mut [u8]) {
        while !octets.is_empty() {
            let word = WORDS[self.below(WORDS.len() as u64) as usize].bytes().chain([b' ']);
            let len = word.clone().count().min(octets.len());
            let (part, rest) = std::mem::take(&mut octets).split_at_mut(len);
            part.iter_mut().zip(word).for_each(|(octet, letter)| *octet = letter);
            octets = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_makes_the_same_files_and_newer_versions_differ() {
        let (one, other) = (Content::tree(120, 7).unwrap(), Content::tree(120, 7).unwrap());
        compare(&one.new, &other.new).unwrap();
        let newer = other.with_changes(7).unwrap();
        compare(newer.old.as_deref().unwrap(), &one.new).unwrap();
        assert!(compare(&one.new, &newer.new).is_err());
        for made in [
            Content::large(1 << 20, 1).unwrap().with_edits(1),
            Content::large(99, 1).unwrap().with_insertion(1),
        ] {
            let made = made.unwrap();
            assert!(compare(made.old.as_deref().unwrap(), &made.new).is_err());
        }
    }

    #[test]
    fn what_is_missing_or_different_is_no_arrival() {
        let (sent, arrived) = (Content::tree(3, 1).unwrap(), Content::tree(3, 1).unwrap());
        let file = arrived.new.join("0/1");
        let octets = fs::read(&file).unwrap();
        fs::write(&file, &octets[1..]).unwrap();
        assert!(compare(&sent.new, &arrived.new).unwrap_err().contains("is not what was sent"));
        fs::remove_file(&file).unwrap();
        assert!(compare(&sent.new, &arrived.new).unwrap_err().contains("3 files were sent and 2"));
    }
}
