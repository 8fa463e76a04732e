//! The times of folders: they are given back when nothing more is made in them, at the end of a transfer.

use crate::inbox::Inbox;
use crate::outcome::Fate;
use crate::path::RelativePath;
use crate::protocol::{FileTime, Verdict};
use crate::publish::{Content, Ready};

/// Folders of one transfer that are remembered until its end; those beyond keep the time of arrival.
const FOLDERS_MAX: usize = 65_536;
/// Octets of their paths.
const PATHS_LEN_MAX: usize = 8 * 1024 * 1024;

/// Which folders are to have which times.
#[derive(Debug, Default)]
pub(crate) struct FolderTimes {
    folders: Vec<(RelativePath, FileTime)>,
    paths_len: usize,
}

impl FolderTimes {
    /// Notes a folder that is there.
    pub(crate) fn note(&mut self, ready: &Ready, verdict: Verdict) {
        let Content::Folder { attributes, .. } = &ready.content else { return };
        let Some(modified) = attributes.modified.filter(|_| Fate::from(verdict).is_delivered()) else {
            return;
        };
        let paths_len = self.paths_len + ready.path.as_bytes().len();
        if self.folders.len() < FOLDERS_MAX && paths_len <= PATHS_LEN_MAX {
            self.folders.push((ready.path.clone(), modified));
            self.paths_len = paths_len;
        }
    }

    /// Gives them their times. A folder that is gone, or that is not ours, keeps what it has.
    pub(crate) fn restore(&self, inbox: &Inbox) {
        for (path, modified) in &self.folders {
            let set = inbox.disk().open_folder(Some(path)).and_then(|folder| folder.set_modified(*modified));
            if let Err(error) = set {
                tracing::debug!(%path, %error, "a folder keeps the time of its arrival");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Keep;
    use crate::metadata::attributes::Attributes;

    #[test]
    fn no_more_folders_are_remembered_than_there_is_room_for() {
        let mut times = FolderTimes::default();
        let modified = Some(FileTime { seconds: 1, nanoseconds: 0 });
        let ready = |path: &[u8], modified| {
            let path = RelativePath::parse(path).unwrap();
            let attributes = Box::new(Attributes { modified, ..Attributes::default() });
            let content = Content::Folder { mode: Keep::default().folder_mode(0), attributes };
            Ready { entry: 0, offered: path.clone(), path, content }
        };
        let there = Verdict::AlreadyThere { copy: 1 };
        times.note(&ready(b"a", None), there);
        times.note(&ready(b"a", modified), Verdict::Other(9));
        assert_eq!(times.folders.len(), 0);
        let long = [&b"a/".repeat(2000)[..], b"b"].concat();
        let long = ready(&long[long.len() - 501..], modified);
        for _ in 0..FOLDERS_MAX {
            times.note(&long, there);
        }
        assert!(times.paths_len <= PATHS_LEN_MAX && times.folders.len() < FOLDERS_MAX);
        let mut times = FolderTimes::default();
        (0..=FOLDERS_MAX).for_each(|_| times.note(&ready(b"a", modified), there));
        assert_eq!(times.folders.len(), FOLDERS_MAX);
    }
}
