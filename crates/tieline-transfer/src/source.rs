//! Reading one file, and knowing whether it stayed the same meanwhile.
//!
//! A version of a file is told by its [`Stamp`], taken from the open descriptor before the first octet and after the last, and by its name
//! still leading to it. So a write of another program is seen, except one through a memory mapping that the kernel has not noticed yet.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use crate::beneath;
use crate::holes::{HOLE_LEN_MAX, Holes, room_of};
use crate::metadata::attributes::Attributes;
use crate::metadata::{Carry, Names};
use crate::path::RelativePath;
use crate::protocol::FileTime;
use crate::stamp::Stamp;

/// Two writes within one tick of the kernel's clock leave the same times; no configured tick is longer.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// Told with an abandoned file that nobody wants to be sent any more.
pub(crate) const ABANDON_CANCELLED: u16 = 4;
/// Told with an abandoned file of which nothing was sent yet, because others go first.
pub(crate) const ABANDON_LATER: u16 = 5;

/// Why a file cannot be sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// The system does not let us read it.
    #[error("cannot be read: {}", io::Error::from_raw_os_error(*.errno))]
    Unreadable {
        /// Linux error number.
        errno: i32,
    },
    /// It was written to, replaced or removed meanwhile.
    #[error("it changed while it was read; send it again when nobody writes to it")]
    Changed,
    /// Somebody does not want it to be sent any more.
    #[error("it was cancelled")]
    Cancelled,
}

impl SourceFault {
    /// The reason given to the receiver when a file is abandoned.
    pub(crate) fn abandon_code(self) -> u16 {
        match self {
            Self::Changed => 1,
            Self::Unreadable { .. } => 2,
            Self::Cancelled => ABANDON_CANCELLED,
        }
    }
}

impl From<Errno> for SourceFault {
    fn from(errno: Errno) -> Self {
        Self::Unreadable { errno: errno.raw_os_error() }
    }
}

impl From<io::Error> for SourceFault {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

/// An open file that is being read from its start to its end.
pub(crate) struct Source<'a> {
    root: Arc<OwnedFd>,
    path: &'a RelativePath,
    file: File,
    pub(crate) stamp: Stamp,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) modified: FileTime,
    /// Octets that take room, of a file that may have holes.
    pub(crate) room: Option<u64>,
    holes: Holes,
    stat: Stat,
    left: u64,
}

impl<'a> Source<'a> {
    /// Opens the regular file `path` below `root`.
    pub(crate) fn open(root: Arc<OwnedFd>, path: &'a RelativePath) -> Result<Self, SourceFault> {
        // A named pipe put in the file's place must not hold us, nor a terminal adopt us.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match beneath::open(root.as_fd(), path, flags) {
            // The first pass saw no link.
            Err(Errno::LOOP) => return Err(SourceFault::Changed),
            opened => opened?,
        };
        let mut stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SourceFault::Changed);
        }
        if let Some(rest) = rest_of_tick(&stat) {
            thread::sleep(rest);
            stat = fstat(&fd)?;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (stamp, mode, modified) = (Stamp::of(&stat), stat.st_mode & 0o7777, modified(&stat));
        let (room, holes) = (room_of(&stat), Holes::of(&stat));
        Ok(Self { root, path, file: fd.into(), stamp, size, mode, modified, room, holes, stat, left: size })
    }

    /// The folder below which it was opened.
    pub(crate) fn root(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.root)
    }

    /// What is told of it beyond its offer.
    pub(crate) fn told(&self, carry: Carry, names: &mut Names) -> Attributes {
        carry.told(self.file.as_fd(), &self.stat, names)
    }

    /// Goes on reading at `from`, which is not beyond the size.
    pub(crate) fn go_to(&mut self, from: u64) -> Result<(), SourceFault> {
        self.file.seek(SeekFrom::Start(from))?;
        self.left = self.size - from;
        Ok(())
    }

    /// Octets up to the end of the file as it was.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Passes over what is left of a hole, no more than `len_max` or than one message may say, and returns how much; 0 if data is next, or
    /// nothing.
    pub(crate) fn skip_hole(&mut self, len_max: u64) -> Result<u64, SourceFault> {
        let at = self.size - self.left;
        if self.left == 0 {
            return Ok(0);
        }
        let next = self.holes.next(&self.file, at, self.size)?;
        if !next.is_hole {
            return Ok(0);
        }
        let len = next.len.min(HOLE_LEN_MAX).min(len_max);
        self.go_to(at + len)?;
        Ok(len)
    }

    /// Appends up to `len_max` octets to `out` and returns how many; 0 only at the end. Stops where a hole begins or ends.
    pub(crate) fn read(&mut self, len_max: usize, out: &mut Vec<u8>) -> Result<usize, SourceFault> {
        if self.left == 0 {
            return Ok(0);
        }
        let next = self.holes.next(&self.file, self.size - self.left, self.size)?;
        let want = next.len.min(len_max as u64);
        let read = (&mut self.file).take(want).read_to_end(out)?;
        if (read as u64) < want {
            return Err(SourceFault::Changed);
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// The file itself, read and sought as whoever compares it likes; [`Self::go_to`] comes before reading it here again.
    pub(crate) fn whole(&mut self) -> &mut File {
        &mut self.file
    }

    /// When it was modified.
    pub(crate) fn modified_time(&self) -> SystemTime {
        let FileTime { seconds, nanoseconds } = self.modified;
        let nanoseconds = Duration::from_nanos(nanoseconds.into());
        match u64::try_from(seconds) {
            Ok(after) => UNIX_EPOCH + Duration::from_secs(after) + nanoseconds,
            Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + nanoseconds,
        }
    }

    /// Copies all of it into `file`, which is empty, by the kernel where it can. Holes stay holes.
    ///
    /// # Errors
    ///
    /// Of the file that is written to; inside, why this one cannot be copied as it was.
    pub(crate) fn copy_to(mut self, file: &mut File) -> io::Result<Result<(), SourceFault>> {
        while self.left > 0 {
            match self.skip_hole(u64::MAX) {
                Ok(0) => {}
                Ok(_) => continue,
                Err(fault) => return Ok(Err(fault)),
            }
            let at = self.size - self.left;
            let len = self.holes.next(&self.file, at, self.size)?.len;
            file.seek(SeekFrom::Start(at))?;
            let copied = io::copy(&mut (&mut self.file).take(len), file)?;
            self.left -= copied;
            if copied < len {
                return Ok(Err(SourceFault::Changed));
            }
        }
        file.set_len(self.size)?;
        Ok(self.check_unchanged())
    }

    /// Says whether what was read is the file as it was before and is now.
    pub(crate) fn check_unchanged(mut self) -> Result<(), SourceFault> {
        let longer = self.file.read(&mut [0; 1])? > 0;
        let after = Stamp::of(&fstat(&self.file)?);
        let named = beneath::open(self.root.as_fd(), self.path, OFlags::PATH)
            .and_then(|fd| fstat(fd.as_fd()))
            .map(|stat| Stamp::of(&stat));
        if longer || self.left > 0 || after != self.stamp || named != Ok(after) {
            return Err(SourceFault::Changed);
        }
        Ok(())
    }
}

/// When a file or folder was modified.
pub(crate) fn modified(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// How long to wait until a further write can no longer bear the time of the last one; almost always not at all.
fn rest_of_tick(stat: &Stat) -> Option<Duration> {
    let seconds = u64::try_from(stat.st_ctime).ok()?;
    let changed = UNIX_EPOCH + Duration::new(seconds, u32::try_from(stat.st_ctime_nsec).ok()?);
    // A change time in the future is a clock set back, and no reason to wait for it.
    let age = SystemTime::now().duration_since(changed).ok()?;
    (age < CLOCK_TICK).then_some(CLOCK_TICK)
}
