//! Which version of a file it is: sixteen octets that are another after every change.

use std::fmt;

use rustix::fs::Stat;

/// Octets of a stamp.
pub const STAMP_LEN: usize = 16;

/// Tells one version of a file of the sending end from every other.
///
/// Made from device, inode, size, modification and change time, and so hidden from the far end, to which it only matters whether two are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp([u8; STAMP_LEN]);

impl Stamp {
    /// The stamp of a file whose status is `stat`. The change time cannot be set back by a program.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tieline version of a file v1");
        for number in [stat.st_dev, stat.st_ino, stat.st_size.cast_unsigned()] {
            hasher.update(&number.to_be_bytes());
        }
        for (seconds, nanoseconds) in
            [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)]
        {
            hasher.update(&seconds.to_be_bytes());
            hasher.update(&nanoseconds.to_be_bytes());
        }
        let mut stamp = [0; STAMP_LEN];
        hasher.finalize_xof().fill(&mut stamp);
        Self(stamp)
    }

    /// A stamp as it was received or kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; STAMP_LEN]) -> Self {
        Self(bytes)
    }

    /// Its octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; STAMP_LEN] {
        &self.0
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
