//! Extended attributes: those of users, and access control lists. Those by which the system decides on rights never travel.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{fgetxattr, flistxattr, flistxattr_query};
use rustix::io::{Errno, Result};

/// Extended attributes of one file.
pub(crate) const XATTRS_MAX: usize = 64;
/// Octets of a name, as Linux bounds it.
pub(crate) const NAME_LEN_MAX: usize = 255;
/// Octets of all names and values of one file, so that they fit a message; most file systems hold no more than one block.
pub(crate) const XATTRS_LEN_MAX: usize = 32 * 1024;

const USER: &[u8] = b"user.";
/// Ours: they say what this end may do with a file of its own.
const OWN: &[u8] = b"user.tieline.";
pub(crate) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
pub(crate) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Octets before the entries of an access control list, and of an entry: tag (2), rights (2), number (4), little-endian.
const ACL_HEADER_LEN: usize = 4;
const ACL_ENTRY_LEN: usize = 8;
/// The tag of the entry of all others, and the right to write.
const ACL_OTHER: u8 = 0x20;
const ACL_WRITE: u8 = 2;

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Xattr {
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

impl Xattr {
    /// Octets that count.
    pub(crate) fn len(&self) -> usize {
        self.name.len() + self.value.len()
    }

    /// Whether it says who may do what.
    pub(crate) fn is_acl(&self) -> bool {
        [ACL_ACCESS, ACL_DEFAULT].contains(&&*self.name)
    }

    /// As it is given to a file: no list lets others write.
    pub(crate) fn cleaned(mut self) -> Self {
        if self.is_acl() {
            let entries = self.value.get_mut(ACL_HEADER_LEN..).unwrap_or_default();
            for entry in entries.chunks_exact_mut(ACL_ENTRY_LEN) {
                if entry[..2] == [ACL_OTHER, 0] {
                    entry[2] &= !ACL_WRITE;
                }
            }
        }
        self
    }
}

/// Whether an extended attribute of this name is sent, and given to files.
pub(crate) fn may_travel(name: &[u8]) -> bool {
    let is_name = name.len() <= NAME_LEN_MAX && !name.contains(&0);
    let is_users = name.strip_prefix(USER).is_some_and(|name| !name.is_empty());
    is_name && !name.starts_with(OWN) && (is_users || name == ACL_ACCESS || name == ACL_DEFAULT)
}

/// Those of an open file or folder that may travel, as many as fit.
pub(crate) fn of(file: BorrowedFd<'_>) -> Vec<Xattr> {
    match read(file) {
        Ok(xattrs) => xattrs,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Vec::new(),
        Err(error) => {
            tracing::debug!(%error, "extended attributes cannot be read, and are not sent");
            Vec::new()
        }
    }
}

fn read(file: BorrowedFd<'_>) -> Result<Vec<Xattr>> {
    let len = flistxattr_query(file)?;
    let mut names = vec![0; len];
    let len = if len > 0 { flistxattr(file, &mut names[..])? } else { 0 };
    let mut xattrs = Vec::new();
    let mut room = XATTRS_LEN_MAX;
    for name in names[..len].split(|octet| *octet == 0).filter(|name| may_travel(name)) {
        let mut value = vec![0; room.saturating_sub(name.len())];
        let read = if xattrs.len() < XATTRS_MAX {
            fgetxattr(file.as_fd(), name, &mut value[..])
        } else {
            Err(Errno::RANGE)
        };
        match read {
            Ok(len) => {
                value.truncate(len);
                room -= name.len() + len;
                xattrs.push(Xattr { name: name.into(), value: value.into() });
            }
            Err(error) => tracing::debug!(%error, "an extended attribute is not sent"),
        }
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use rustix::fs::{XattrFlags, fsetxattr};

    use super::*;

    #[test]
    fn case_25_names_by_which_the_system_decides_on_rights_do_not_travel() {
        for name in [
            &b"security.capability"[..],
            b"security.selinux",
            b"security.ima",
            b"trusted.overlay.opaque",
            b"system.nfs4_acl",
            b"system.posix_acl",
            b"user.tieline.spooled",
            b"user.",
            b"user",
            b"users.x",
            b"",
            b"user.a\0security.capability",
            &[&b"user."[..], &[b'x'; 251]].concat(),
        ] {
            assert!(!may_travel(name), "{}", name.escape_ascii());
        }
        for name in [&b"user.x"[..], b"user.\xff", b"user.tieline", ACL_ACCESS, ACL_DEFAULT] {
            assert!(may_travel(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn as_many_are_read_as_fit() {
        let file: File = tempfile::tempfile_in(".").unwrap();
        let set = |name: &str, len: usize| fsetxattr(&file, name, &vec![b'v'; len], XattrFlags::empty());
        match set("user.a", 3) {
            Err(Errno::OPNOTSUPP) => return, // This file system has none.
            set => set.unwrap(),
        }
        assert_eq!(of(file.as_fd()), [Xattr { name: b"user.a"[..].into(), value: b"vvv"[..].into() }]);
        let many = (0..2 * XATTRS_MAX).take_while(|number| set(&format!("user.{number}"), 1).is_ok()).count();
        assert_eq!(of(file.as_fd()).len(), (many + 1).min(XATTRS_MAX));
    }

    #[test]
    fn a_list_lets_others_do_anything_but_write_and_any_octets_are_a_list() {
        let list = |others| [&[2, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0x20, 0][..], &[others], &[0; 5]].concat();
        let xattr = |name: &[u8], value: &[u8]| Xattr { name: name.into(), value: value.into() };
        assert_eq!(xattr(ACL_ACCESS, &list(7)).cleaned(), xattr(ACL_ACCESS, &list(5)));
        assert_eq!(xattr(b"user.x", &list(7)).cleaned(), xattr(b"user.x", &list(7)));
        for len in 0..list(7).len() {
            let cut = xattr(ACL_DEFAULT, &list(7)[..len]).cleaned();
            assert_eq!(cut.value.len(), len);
        }
    }
}
