//! What files keep besides their content, as configured at either end.
//!
//! What is told of a file or folder beyond its offer comes before it as `attributes`. The receiving end gives files what it is
//! configured to ([`Keep`]), and nothing more.

pub(crate) mod attributes;
pub(crate) mod folder_times;
mod owners;
pub(crate) mod xattrs;

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, Stat};
use rustix::io::Errno;

use self::attributes::Attributes;
pub use self::owners::Owner;
pub(crate) use self::owners::{Names, Principal};
use crate::disk::Attributed;

/// Permission bits that a file keeps; the owner may always read and write it.
const FILE_MODE: u32 = 0o755;
const FILE_MODE_ALWAYS: u32 = 0o600;
/// Those of a file that keeps none.
const FILE_MODE_PLAIN: u32 = 0o644;
/// Permission bits that a folder keeps; the owner may always use it. Also those of a folder that keeps none.
const FOLDER_MODE: u32 = 0o755;
const FOLDER_MODE_ALWAYS: u32 = 0o700;

/// What is sent of files, beyond their content, times and permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carry {
    /// Symbolic links, as the text that they are.
    pub links: bool,
    /// Who they belong to.
    pub owner: Owner,
    /// Their extended attributes.
    pub xattrs: bool,
}

impl Carry {
    /// What is told of an open file or folder whose status is `stat`.
    pub(crate) fn told(self, file: BorrowedFd<'_>, stat: &Stat, names: &mut Names) -> Attributes {
        let [user, group] = names.told(self.owner, stat.st_uid, stat.st_gid);
        let xattrs = if self.xattrs { xattrs::of(file) } else { Vec::new() };
        Attributes { user, group, xattrs, ..Attributes::default() }
    }
}

/// What files that arrive are given of what is told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// When they and their folders were changed.
    pub times: bool,
    /// Their permissions.
    pub modes: bool,
    /// Whether symbolic links are taken at all.
    pub links: bool,
    /// Who they belong to, if it is told in this way, is known here, and may be given.
    pub owner: Owner,
    /// Their extended attributes; access control lists only with their permissions.
    pub xattrs: bool,
}

impl Default for Keep {
    /// What needs no rights and fits every office.
    fn default() -> Self {
        Self { times: true, modes: true, links: false, owner: Owner::None, xattrs: false }
    }
}

impl Keep {
    /// The permissions of a file that is offered with `mode`: never those by which it would run as another user.
    pub(crate) fn file_mode(self, mode: u32) -> Mode {
        let mode = if self.modes { mode & FILE_MODE } else { FILE_MODE_PLAIN };
        Mode::from_raw_mode(mode | FILE_MODE_ALWAYS)
    }

    /// The permissions of a folder that is offered with `mode`.
    pub(crate) fn folder_mode(self, mode: u32) -> Mode {
        let mode = if self.modes { mode & FOLDER_MODE } else { FOLDER_MODE };
        Mode::from_raw_mode(mode | FOLDER_MODE_ALWAYS)
    }
}

/// Gives an open file or folder its extended attributes and then its owner: whoever does not own it any more may not change it. Returns how
/// many of them it could not be given.
pub(crate) fn give<T: Attributed + ?Sized>(to: &T, attributes: &Attributes) -> u64 {
    let mut missing = 0;
    let mut note = |what: &str, given: rustix::io::Result<()>| {
        if let Err(error) = given {
            tracing::debug!(what, %error, "cannot be given to a file");
            missing += 1;
        }
    };
    for xattr in &attributes.xattrs {
        note("extended attribute", to.set_xattr(&xattr.name, &xattr.value));
    }
    let number = |principal: &Option<Principal>| match principal {
        Some(Principal::Number(number)) => Some(*number),
        Some(Principal::Name(_)) | None => None,
    };
    let (user, group) = (number(&attributes.user), number(&attributes.group));
    if user.is_some() || group.is_some() {
        match to.set_owner(user, group) {
            // Who may not give files away may still give them to a group of his own.
            Err(Errno::PERM) if user.is_some() && group.is_some() => {
                note("user", Err(Errno::PERM));
                note("group", to.set_owner(None, group));
            }
            given => note("owner", given),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mode_gives_rights_to_others_that_are_not_theirs_or_takes_the_owners() {
        for modes in [false, true] {
            let keep = Keep { modes, ..Keep::default() };
            for mode in [0, 0o777, 0o7777, 0o4755, 0o222, u32::MAX] {
                for (kept, always) in [(keep.file_mode(mode), 0o600), (keep.folder_mode(mode), 0o700)] {
                    let kept = kept.as_raw_mode();
                    assert_eq!((kept & !0o755, kept & always), (0, always), "{mode:o}");
                }
            }
        }
        assert_eq!(Keep { modes: false, ..Keep::default() }.file_mode(0o700).as_raw_mode(), 0o644);
    }
}
