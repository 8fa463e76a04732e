//! What files keep besides their content, as configured at either end.
//!
//! What is told of a file or folder beyond its offer comes before it as [`attributes`]. The receiving end gives files what it is
//! configured to ([`Keep`]), and nothing more.

pub(crate) mod attributes;
pub(crate) mod folder_times;

use rustix::fs::Mode;

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
}

impl Default for Keep {
    /// What needs no rights and fits every office.
    fn default() -> Self {
        Self { times: true, modes: true, links: false }
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
