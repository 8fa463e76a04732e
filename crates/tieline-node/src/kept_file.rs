//! Small files that must be read whole or refused, and written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::config::Mistake;

/// Permission bits of a file that only its owner reads.
pub(crate) const SECRET_MODE: u32 = 0o600;

/// Permission bits of a file that anybody may read.
pub(crate) const PUBLIC_MODE: u32 = 0o644;

/// What a write does where a file of that name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Replaces it, in one step.
    Replace,
    /// Leaves it and fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// Why a file of a line could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", .file.display())]
pub struct WriteError {
    /// The file.
    pub file: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Reads a text of at most `bytes_max`. It is erased when dropped: it may be a file of keys.
///
/// # Errors
///
/// `NotFound`, `Unreadable`, `NotAFile`, `TooLarge`, `NotUtf8`.
pub(crate) fn read_text(file: &Path, bytes_max: u64) -> Result<Zeroizing<String>, Mistake> {
    read(open(file)?, bytes_max)
}

/// Reads a text as [`read_text`] does, if nobody but its owner may read or change it.
///
/// # Errors
///
/// Those of [`read_text`], and `TooOpen`.
pub(crate) fn read_secret_text(file: &Path, bytes_max: u64) -> Result<Zeroizing<String>, Mistake> {
    let opened = open(file)?;
    let mode = opened.metadata().map_err(Mistake::Unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Mistake::TooOpen { mode, file: file.into() });
    }
    read(opened, bytes_max)
}

/// Writes `contents` so that after a crash at any moment the file is the old one or the new one, whole and on the disk.
///
/// The new file is written beside the old one, as `.NAME.new`; one that a crash has left there is replaced.
///
/// # Errors
///
/// What the system said, with the file's name.
pub(crate) fn write(file: &Path, contents: &[u8], mode: u32, existing: Existing) -> Result<(), WriteError> {
    let failed = |source| WriteError { file: file.into(), source };
    let name = file.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new_name = std::ffi::OsString::from(".");
    new_name.push(name);
    new_name.push(".new");
    let new = folder.join(new_name);
    let written = write_new(&new, contents, mode).and_then(|()| rename(&new, file, existing));
    if let Err(source) = written {
        // What was left is known to nobody; that it cannot be removed either changes nothing of the answer.
        let _ = std::fs::remove_file(&new);
        return Err(failed(source));
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn open(file: &Path) -> Result<File, Mistake> {
    // Without NONBLOCK, opening a pipe that stands in the file's place would wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file);
    let opened = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Mistake::NotFound,
        _ => Mistake::Unreadable(error),
    })?;
    let metadata = opened.metadata().map_err(Mistake::Unreadable)?;
    if metadata.is_file() { Ok(opened) } else { Err(Mistake::NotAFile) }
}

fn read(file: File, bytes_max: u64) -> Result<Zeroizing<String>, Mistake> {
    let length = file.metadata().map_err(Mistake::Unreadable)?.len();
    if length > bytes_max {
        return Err(Mistake::TooLarge { max: bytes_max });
    }
    // Room for all of it at once: a buffer that grows leaves copies of keys behind. The file may grow meanwhile.
    let room = usize::try_from(bytes_max.min(length) + 2).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(length + 1).read_to_end(&mut bytes).map_err(Mistake::Unreadable)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = Zeroizing::new(error.into_bytes());
        Mistake::NotUtf8 { row: bytes[..valid].iter().filter(|byte| **byte == b'\n').count() + 1 }
    })
}

fn write_new(new: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    match std::fs::remove_file(new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn rename(new: &Path, file: &Path, existing: Existing) -> io::Result<()> {
    if existing == Existing::Replace {
        return std::fs::rename(new, file);
    }
    match renameat_with(CWD, new, CWD, file, RenameFlags::NOREPLACE) {
        // Some file systems (NFS) do not know the flag; a second name that must be new does the same in two steps.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(new, file)?;
            std::fs::remove_file(new)
        }
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("readable");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_is_whole_private_and_alone() {
        let folder = folder();
        let file = folder.path().join("a.key");
        write(&file, b"one", SECRET_MODE, Existing::Keep).expect("written");
        write(&file, b"two", SECRET_MODE, Existing::Replace).expect("replaced");
        assert_eq!(read_secret_text(&file, 10).expect("read").as_str(), "two");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, SECRET_MODE);
        assert_eq!(names_in(folder.path()), ["a.key"]);
    }

    #[test]
    fn an_existing_file_is_kept_where_it_must_be() {
        let folder = folder();
        let file = folder.path().join("a.key");
        write(&file, b"old", SECRET_MODE, Existing::Keep).expect("written");
        let error = write(&file, b"new", SECRET_MODE, Existing::Keep).expect_err("it exists");
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_text(&file, 10).expect("read").as_str(), "old");
        assert_eq!(names_in(folder.path()), ["a.key"]);
    }

    #[test]
    fn what_a_crash_left_is_replaced_and_a_planted_link_is_not_followed() {
        let folder = folder();
        let (file, victim) = (folder.path().join("a.key"), folder.path().join("victim"));
        std::fs::write(&victim, "precious").expect("a file");
        std::os::unix::fs::symlink(&victim, folder.path().join(".a.key.new")).expect("a link");
        write(&file, b"new", SECRET_MODE, Existing::Keep).expect("written");
        assert_eq!(read_text(&victim, 10).expect("read").as_str(), "precious");
        assert_eq!(names_in(folder.path()), ["a.key", "victim"]);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_what_to_run() {
        let folder = folder();
        let file = folder.path().join("a.key");
        for mode in [0o640, 0o604, 0o620, 0o644, 0o601] {
            std::fs::write(&file, "x").expect("a file");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("ours");
            let mistake = read_secret_text(&file, 10).expect_err("too open").to_string();
            assert!(mistake.contains(&format!("mode {mode:03o}")), "{mistake}");
            assert!(mistake.contains(&format!("`chmod 600 {}`", file.display())), "{mistake}");
        }
    }

    #[test]
    fn what_is_no_small_text_file_is_refused() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("long"), "12345").expect("a file");
        std::fs::write(path("bytes"), [b'\n', 0xff, 0xfe]).expect("a file");
        rustix::fs::mknodat(CWD, path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
        assert!(matches!(read_text(&path("none"), 4), Err(Mistake::NotFound)));
        assert!(matches!(read_text(folder.path(), 4), Err(Mistake::NotAFile)));
        assert!(matches!(read_text(&path("pipe"), 4), Err(Mistake::NotAFile)));
        assert!(matches!(read_text(&path("long"), 4), Err(Mistake::TooLarge { max: 4 })));
        assert!(matches!(read_text(&path("bytes"), 4), Err(Mistake::NotUtf8 { row: 2 })));
        assert_eq!(read_text(&path("long"), 5).expect("it fits").as_str(), "12345");
    }
}
