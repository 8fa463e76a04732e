//! Folders that are made closed, and one that must be ours.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::PlacesError;

/// Nobody but the owner.
pub(super) const PRIVATE: u32 = 0o700;

/// Makes `folder` and what leads to it with that mode; one that is there stays as it is.
pub(super) fn make(folder: &Path, mode: u32) -> Result<(), PlacesError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder);
    match made {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(PlacesError::NotAFolder(folder.into()))
        }
        Err(source) => Err(PlacesError::Io { verb: "make", folder: folder.into(), source }),
    }
}

/// Checks that `folder` is a folder of ours and no link to one, and closes it to others.
pub(super) fn claim(folder: &Path) -> Result<(), PlacesError> {
    let failed = |verb| move |source| PlacesError::Io { verb, folder: folder.into(), source };
    let metadata = std::fs::symlink_metadata(folder).map_err(failed("look at"))?;
    if !metadata.is_dir() {
        return Err(PlacesError::NotAFolder(folder.into()));
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(PlacesError::NotOwned { folder: folder.into(), owner: metadata.uid() });
    }
    if metadata.mode() & 0o777 != PRIVATE {
        let permissions = std::fs::Permissions::from_mode(PRIVATE);
        std::fs::set_permissions(folder, permissions).map_err(failed("close"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_closed_with_all_that_leads_to_it() {
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("a/b");
        make(&folder, PRIVATE).expect("made");
        make(&folder, PRIVATE).expect("there already");
        let mode = std::fs::metadata(&folder).expect("made").mode();
        assert_eq!(mode & 0o777, PRIVATE);
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let temp = tempfile::tempdir().expect("a folder");
        let file = temp.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert!(matches!(make(&file, PRIVATE), Err(PlacesError::NotAFolder(path)) if path == file));
        assert!(matches!(claim(&file), Err(PlacesError::NotAFolder(path)) if path == file));
    }

    #[test]
    fn a_link_planted_in_its_place_is_refused() {
        let temp = tempfile::tempdir().expect("a folder");
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path(), &link).expect("a link");
        assert!(matches!(claim(&link), Err(PlacesError::NotAFolder(path)) if path == link));
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let others = Path::new("/proc/1");
        let owner = std::fs::symlink_metadata(others).expect("there is always a first process").uid();
        if owner == rustix::process::geteuid().as_raw() {
            let temp = tempfile::tempdir().expect("a folder");
            let given_away = temp.path().join("given-away");
            std::fs::create_dir(&given_away).expect("a folder");
            std::os::unix::fs::chown(&given_away, Some(65_534), None).expect("root may give folders away");
            assert!(matches!(claim(&given_away), Err(PlacesError::NotOwned { owner: 65_534, .. })));
        } else {
            assert!(matches!(claim(others), Err(PlacesError::NotOwned { .. })));
        }
    }
}
