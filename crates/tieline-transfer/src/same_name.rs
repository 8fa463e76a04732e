//! What happens to a file whose name is taken where it is to appear.
//!
//! Only a regular file is ever replaced, by renaming the new one over it: whoever looks, and whatever is left after a power cut, has the old
//! one or the new one. A folder, a link, a pipe, a socket or a device stays. Whoever may write in the inbox may put one there between our
//! look and the renaming, and loses it then, as with any two programs that write to one name; what a link leads to is never touched.
//!
//! Which of two files is the newer is told by their times of modification alone, the one that the sender has and the one that the file here
//! has. The clocks of the two ends are not asked.

use crate::disk::{DiskFolder, Occupant};
use crate::inbox::{Admission, Partial};
use crate::path::RelativePath;
use crate::protocol::{FileTime, HASH_LEN, Verdict};
use crate::publish::has_content;
use crate::reason::Obstacle;
use crate::twins::Twins;

/// What happens to a file whose name is taken by a file with another content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameName {
    /// It is kept beside the other under a number.
    #[default]
    KeepBoth,
    /// The one that was modified last has the name: an older one that arrives is refused, and a newer one replaces the other.
    Newest,
    /// It is refused.
    Refuse,
    /// It replaces the other: in a mirror, which is the sender's.
    Replace,
}

/// A whole file, but for its name.
pub(crate) struct Whole<'p> {
    pub(crate) partial: &'p mut Partial,
    pub(crate) size: u64,
    pub(crate) hash: &'p [u8; HASH_LEN],
    pub(crate) modified: FileTime,
}

/// Gives the file the name `name`, or none at all.
///
/// # Errors
///
/// What the disk said.
pub(crate) fn publish_alone(
    folder: &dyn DiskFolder,
    name: &[u8],
    file: Whole<'_>,
    policy: SameName,
    twins: &Twins,
) -> Result<Verdict, Obstacle> {
    let Whole { partial, size, hash, modified } = file;
    match folder.publish(partial.name(), name) {
        Ok(()) => twins.on_created(folder, name),
        Err(rustix::io::Errno::EXIST) => {
            if has_content(folder, name, size, hash)? {
                partial.superfluous();
                return Ok(Verdict::AlreadyThere { copy: 1 });
            }
            // Gone again meanwhile: nothing is lost by replacing it.
            let occupant = folder.occupant(name)?;
            if let Some(obstacle) = occupant.and_then(|occupant| policy.obstacle(occupant, modified)) {
                partial.give_up();
                return Ok(Verdict::Refused(obstacle));
            }
            folder.replace(partial.name(), name)?;
        }
        Err(error) => return Err(error.into()),
    }
    partial.renamed();
    Ok(Verdict::Delivered { copy: 1 })
}

/// Refuses a large file before any of it is sent, if what has its name shows that it would be refused when it is whole.
///
/// # Errors
///
/// Why it is refused. What cannot be looked at is no reason.
pub(crate) fn check(
    admission: &Admission,
    path: &RelativePath,
    size: u64,
    modified: FileTime,
) -> Result<(), Obstacle> {
    let policy = admission.same_name();
    if policy == SameName::KeepBoth {
        return Ok(());
    }
    let (parent, name) = path.split_last();
    let Ok(folder) = admission.disk().open_folder(parent.as_ref()) else { return Ok(()) };
    match folder.occupant(name) {
        // It may be the same.
        Ok(Some(Occupant::File { size: there, .. })) if there == size => Ok(()),
        Ok(Some(occupant)) => policy.obstacle(occupant, modified).map_or(Ok(()), Err),
        Ok(None) | Err(_) => Ok(()),
    }
}

impl SameName {
    /// Why a file with another content that was `modified` then does not replace what has its name; none if it does.
    fn obstacle(self, occupant: Occupant, modified: FileTime) -> Option<Obstacle> {
        match (self, occupant) {
            (Self::Newest, Occupant::File { modified: there, .. }) => {
                (there >= modified).then_some(Obstacle::NotNewer)
            }
            (Self::Replace, Occupant::File { .. }) => None,
            (Self::KeepBoth | Self::Refuse, Occupant::File { .. }) => Some(Obstacle::NameTaken),
            (_, Occupant::Folder | Occupant::Other) => Some(Obstacle::NotAFile),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_time_has_the_name_and_equal_times_leave_it() {
        let at = |seconds, nanoseconds| FileTime { seconds, nanoseconds };
        let there = |modified| Occupant::File { size: 1, modified };
        for (here, offered, expected) in [
            (at(5, 0), at(5, 1), None),
            (at(5, 9), at(6, 0), None),
            (at(-2, 5), at(-1, 0), None),
            (at(5, 1), at(5, 1), Some(Obstacle::NotNewer)),
            (at(5, 1), at(5, 0), Some(Obstacle::NotNewer)),
            (at(i64::MAX, 0), at(0, 0), Some(Obstacle::NotNewer)),
        ] {
            assert_eq!(SameName::Newest.obstacle(there(here), offered), expected, "{here:?} {offered:?}");
            let refused = SameName::Refuse.obstacle(there(here), offered);
            assert_eq!(refused, Some(Obstacle::NameTaken));
        }
    }

    #[test]
    fn only_files_are_replaced() {
        let newest = FileTime { seconds: i64::MAX, nanoseconds: 0 };
        for occupant in [Occupant::Folder, Occupant::Other] {
            for policy in [SameName::Newest, SameName::Refuse, SameName::Replace] {
                assert_eq!(policy.obstacle(occupant, newest), Some(Obstacle::NotAFile));
            }
        }
    }
}
