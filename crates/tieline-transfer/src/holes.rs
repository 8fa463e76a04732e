//! Holes: parts of a file that were never written. They read as zeros and take no room; they are sent as a length, and stay holes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use crate::content::ContentHasher;

/// Octets of one hole on the wire; a longer one is several. What is hashed for a message of few octets is bounded by it.
pub const HOLE_LEN_MAX: u64 = 64 << 20;

/// Octets of a block of `st_blocks`, whatever the file system's are.
const BLOCK_LEN: u64 = 512;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Hashes as many zeros.
pub(crate) fn hash_zeros(hasher: &mut ContentHasher, mut len: u64) {
    while len > 0 {
        let now = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..now]);
        len -= now as u64;
    }
}

/// How many octets of a file take room, if that are fewer than it has: then it may have holes.
pub(crate) fn room_of(stat: &Stat) -> Option<u64> {
    let size = u64::try_from(stat.st_size).ok()?;
    let room = u64::try_from(stat.st_blocks).ok()?.saturating_mul(BLOCK_LEN);
    (room < size).then_some(room)
}

/// What is next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) len: u64,
    pub(crate) is_hole: bool,
}

/// Where an open file has holes, asked one after the other.
#[derive(Debug)]
pub(crate) struct Holes {
    may_have: bool,
    is_hole: bool,
    /// Of what was found last.
    start: u64,
    end: u64,
}

impl Holes {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { may_have: room_of(stat).is_some(), is_hole: false, start: 0, end: 0 }
    }

    /// What is at `at` of a file of `size` octets, which is beyond it. Reading goes on at `at` afterwards.
    pub(crate) fn next(&mut self, file: &File, at: u64, size: u64) -> io::Result<Stretch> {
        if self.may_have && !(self.start..self.end).contains(&at) {
            (self.is_hole, self.end) = find(file, at, size)?;
            self.start = at;
            seek(file, SeekFrom::Start(at))?;
        }
        let end = if self.may_have { self.end } else { size };
        Ok(Stretch { len: end.saturating_sub(at), is_hole: self.is_hole })
    }
}

/// Whether there is a hole at `at`, and where it, or the data, ends.
fn find(file: &File, at: u64, size: u64) -> io::Result<(bool, u64)> {
    let data = match seek(file.as_fd(), SeekFrom::Data(at)) {
        Ok(data) => data,
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => return Ok((true, size)),
        // This file system does not tell.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((false, size)),
        Err(error) => return Err(error.into()),
    };
    if data > at {
        return Ok((true, data.min(size)));
    }
    let hole = seek(file.as_fd(), SeekFrom::Hole(at))?;
    Ok((false, hole.min(size)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use rustix::fs::fstat;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn zeros_are_hashed_as_if_they_had_been_read() {
        for len in [0, 1, 65_536, 65_537, 3 * MIB + 5] {
            let mut hasher = ContentHasher::new();
            hasher.update(b"x");
            hash_zeros(&mut hasher, len);
            let content = [&b"x"[..], &vec![0; usize::try_from(len).unwrap()]].concat();
            assert_eq!(hasher.finalize(), *blake3::hash(&content).as_bytes(), "{len}");
        }
    }

    #[test]
    fn case_28_holes_are_found_in_the_middle_and_at_the_end() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"x", 4 * MIB).unwrap();
        file.set_len(8 * MIB + 5).unwrap();
        let stat = fstat(&file).unwrap();
        if file.metadata().unwrap().blocks() * BLOCK_LEN > 4 * MIB {
            return; // This file system has no holes.
        }
        assert!(room_of(&stat).unwrap() < MIB);
        let (mut holes, mut at, mut found) = (Holes::of(&stat), 0, Vec::new());
        while at < 8 * MIB + 5 {
            let next = holes.next(&file, at, 8 * MIB + 5).unwrap();
            assert_eq!(seek(&file, SeekFrom::Current(0)).unwrap(), at);
            at += next.len;
            found.push(next.is_hole);
        }
        assert_eq!((at, found), (8 * MIB + 5, vec![true, false, true]));
        assert_eq!(holes.next(&file, 5, 8 * MIB + 5).unwrap(), Stretch { len: 4 * MIB - 5, is_hole: true });
        let mut halfway = Holes::of(&stat);
        assert_eq!(
            halfway.next(&file, 7 * MIB, 8 * MIB + 5).unwrap(),
            Stretch { len: MIB + 5, is_hole: true }
        );
    }

    #[test]
    fn a_file_without_holes_is_not_asked() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 5000], 0).unwrap();
        let mut holes = Holes { may_have: false, is_hole: false, start: 0, end: 0 };
        assert_eq!(holes.next(&file, 1000, 5000).unwrap(), Stretch { len: 4000, is_hole: false });
    }
}
