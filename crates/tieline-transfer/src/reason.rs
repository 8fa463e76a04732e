//! Why something was not delivered, as the two ends tell each other: a code and one number, never text of the peer's.
//!
//! The sentences are made at the end that shows them, so a peer can neither fill memory nor write into a terminal. Codes of a
//! later version survive as numbers.

use std::io;

use rustix::io::Errno;

use crate::path::NameFault;

/// Why the receiver did not take one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The name is not one that may be created in an inbox.
    #[error("the receiving end refuses its name: {}", name_fault(*.0))]
    Name(u64),
    /// The disk is full, or this file would not fit.
    #[error("no space left on the receiving disk{}", missing(*.missing_bytes))]
    NoSpace {
        /// How much is missing, 0 if that is not known.
        missing_bytes: u64,
    },
    /// The data that arrived is not the data that was read.
    #[error("the data that arrived has another BLAKE3 hash than the data that was read; send it again")]
    HashMismatch,
    /// The file ended before its declared size.
    #[error("fewer octets arrived than were declared; send it again")]
    TooShort,
    /// Something that is no folder stands where a folder is needed.
    #[error("a file of the receiving inbox stands where a folder is needed; it has to be moved there first")]
    InTheWay,
    /// A symbolic link stands where a folder is needed.
    #[error("a symbolic link of the receiving inbox stands where a folder is needed; links are not followed")]
    Link,
    /// The receiver may not write there.
    #[error("the receiving end may not write there; its operator has to give tieline the right to")]
    Denied,
    /// The file system there is mounted read-only.
    #[error("the receiving inbox is on a file system that is mounted read-only")]
    ReadOnly,
    /// The file system there does not take so long a name.
    #[error("the receiving file system does not take so long a name; shorten it")]
    NameTooLong,
    /// The file system there does not take so big a file.
    #[error("the receiving file system does not take so big a file")]
    FileTooBig,
    /// All numbers for files of this name are taken.
    #[error("the receiving inbox already has {} different files of this name", crate::path::COPIES_MAX)]
    TooManyCopies,
    /// The folder is a mount point inside the inbox.
    #[error("that folder of the receiving inbox is on another file system than the inbox")]
    OtherFileSystem,
    /// What the file was made from was not what it was taken for.
    #[error(
        "an older file at the receiving end, from which parts of it were taken, changed meanwhile; it is sent whole the next time"
    )]
    OldVersion,
    /// Symbolic links are not taken there.
    #[error("the receiving inbox takes no symbolic links; its operator has to set `links = \"text\"`")]
    LinksRefused,
    /// Any other error of its operating system.
    #[error("the receiving end could not store it: {}", os_error(*.errno))]
    Io {
        /// Linux error number.
        errno: u64,
    },
    /// The file there is as new or newer, and only the newest is kept.
    #[error(
        "the receiving inbox has a file of this name that is as new or newer, and keeps the newest only; send it under another name if it is wanted"
    )]
    NotNewer,
    /// There is another file of the name, and two are not wanted.
    #[error(
        "the receiving inbox has another file of this name and takes no second one; move that away there, or send this one under another name"
    )]
    NameTaken,
    /// What has the name is no file.
    #[error(
        "a folder, a link or something else that is no file has this name in the receiving inbox, and is not replaced; move it away there"
    )]
    NotAFile,
    /// A code of a later version.
    #[error(
        "the receiving end gave reason {code}, which this version of tieline does not know (detail {detail})"
    )]
    Other {
        /// Its number.
        code: u16,
        /// Its detail.
        detail: u64,
    },
}

impl Obstacle {
    /// Code and detail on the wire.
    #[must_use]
    pub fn to_wire(self) -> (u16, u64) {
        match self {
            Self::Name(fault) => (1, fault),
            Self::NoSpace { missing_bytes } => (2, missing_bytes),
            Self::HashMismatch => (3, 0),
            Self::TooShort => (4, 0),
            Self::InTheWay => (5, 0),
            Self::Link => (6, 0),
            Self::Denied => (7, 0),
            Self::ReadOnly => (8, 0),
            Self::NameTooLong => (9, 0),
            Self::FileTooBig => (10, 0),
            Self::TooManyCopies => (11, 0),
            Self::OtherFileSystem => (12, 0),
            Self::Io { errno } => (13, errno),
            Self::OldVersion => (14, 0),
            Self::LinksRefused => (30, 0),
            Self::NotNewer => (40, 0),
            Self::NameTaken => (41, 0),
            Self::NotAFile => (42, 0),
            Self::Other { code, detail } => (code, detail),
        }
    }

    /// The obstacle with this code; every code is one.
    #[must_use]
    pub fn from_wire(code: u16, detail: u64) -> Self {
        match code {
            1 => Self::Name(detail),
            2 => Self::NoSpace { missing_bytes: detail },
            3 => Self::HashMismatch,
            4 => Self::TooShort,
            5 => Self::InTheWay,
            6 => Self::Link,
            7 => Self::Denied,
            8 => Self::ReadOnly,
            9 => Self::NameTooLong,
            10 => Self::FileTooBig,
            11 => Self::TooManyCopies,
            12 => Self::OtherFileSystem,
            13 => Self::Io { errno: detail },
            14 => Self::OldVersion,
            30 => Self::LinksRefused,
            40 => Self::NotNewer,
            41 => Self::NameTaken,
            42 => Self::NotAFile,
            _ => Self::Other { code, detail },
        }
    }
}

impl From<NameFault> for Obstacle {
    fn from(fault: NameFault) -> Self {
        Self::Name(fault.code())
    }
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { missing_bytes: 0 },
            Errno::NOTDIR | Errno::EXIST => Self::InTheWay,
            Errno::LOOP => Self::Link,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::ROFS => Self::ReadOnly,
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::FBIG => Self::FileTooBig,
            Errno::XDEV => Self::OtherFileSystem,
            other => Self::Io { errno: u64::from(other.raw_os_error().unsigned_abs()) },
        }
    }
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

/// Why the receiver ends the whole transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// No version of the protocol that both speak.
    #[error(
        "the receiving end speaks version {newest} of the file protocol at most; bring both ends to the same tieline"
    )]
    Version {
        /// The newest version that it speaks.
        newest: u64,
    },
    /// The declared total does not fit.
    #[error(
        "it does not fit on the receiving disk: {missing_bytes} octets are missing; free them there or send less"
    )]
    NoSpace {
        /// How much is missing.
        missing_bytes: u64,
    },
    /// More files and folders than one transfer may have.
    #[error("the receiving end takes {limit} files and folders in one transfer; send it in parts")]
    TooManyEntries {
        /// How many it takes.
        limit: u64,
    },
    /// The folder named for the files may not be created in an inbox.
    #[error("the receiving end refuses the folder: {}", name_fault(*.0))]
    FolderName(u64),
    /// The folder named for the files cannot be created.
    #[error("the receiving end cannot create the folder: {}", os_error(*.errno))]
    Folder {
        /// Linux error number.
        errno: u64,
    },
    /// As many transfers run there as it allows.
    #[error("the receiving end is busy with {running} other transfers; try again when they are done")]
    Busy {
        /// How many run.
        running: u64,
    },
    /// What the sender sent is not the protocol.
    #[error(
        "the receiving end did not understand what was sent (violation {code}); this is a fault of tieline"
    )]
    Violation {
        /// See [`crate::protocol::Violation`].
        code: u64,
    },
    /// The folder named for a mirror exists and is none.
    #[error(
        "the folder exists at the receiving end and is no mirror, and what is in it might be lost: sync into another folder, or have that one moved away or emptied there"
    )]
    NotAMirror,
    /// No folder is named for a mirror.
    #[error("a mirror needs a folder of its own below the receiving inbox; name one")]
    NoMirrorFolder,
    /// The folder named for a mirror is inside of one.
    #[error(
        "the folder is inside another mirror of the receiving end, whose next sync would remove it; name another"
    )]
    InsideMirror,
    /// Another transfer goes into the mirror.
    #[error("another sync into this folder of the receiving end is going on; wait until it has ended")]
    MirrorBusy,
    /// A code of a later version.
    #[error(
        "the receiving end stopped for reason {code}, which this version of tieline does not know (detail {detail})"
    )]
    Other {
        /// Its number.
        code: u16,
        /// Its detail.
        detail: u64,
    },
}

impl StopReason {
    /// Code and detail on the wire.
    #[must_use]
    pub fn to_wire(self) -> (u16, u64) {
        match self {
            Self::Version { newest } => (1, newest),
            Self::NoSpace { missing_bytes } => (2, missing_bytes),
            Self::TooManyEntries { limit } => (3, limit),
            Self::FolderName(fault) => (4, fault),
            Self::Folder { errno } => (5, errno),
            Self::Busy { running } => (6, running),
            Self::Violation { code } => (7, code),
            Self::NotAMirror => (40, 0),
            Self::NoMirrorFolder => (41, 0),
            Self::InsideMirror => (42, 0),
            Self::MirrorBusy => (43, 0),
            Self::Other { code, detail } => (code, detail),
        }
    }

    /// The reason with this code; every code is one.
    #[must_use]
    pub fn from_wire(code: u16, detail: u64) -> Self {
        match code {
            1 => Self::Version { newest: detail },
            2 => Self::NoSpace { missing_bytes: detail },
            3 => Self::TooManyEntries { limit: detail },
            4 => Self::FolderName(detail),
            5 => Self::Folder { errno: detail },
            6 => Self::Busy { running: detail },
            7 => Self::Violation { code: detail },
            40 => Self::NotAMirror,
            41 => Self::NoMirrorFolder,
            42 => Self::InsideMirror,
            43 => Self::MirrorBusy,
            _ => Self::Other { code, detail },
        }
    }
}

fn name_fault(code: u64) -> String {
    NameFault::from_code(code)
        .map_or_else(|| format!("name fault {code}, unknown to this version"), |fault| fault.to_string())
}

fn missing(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(": {bytes} octets are missing") }
}

fn os_error(errno: u64) -> String {
    i32::try_from(errno)
        .map_or_else(|_| format!("error {errno}"), |errno| io::Error::from_raw_os_error(errno).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_keeps_its_meaning_both_ways() {
        for code in 0..=u16::MAX {
            let without = (3..=12).contains(&code) || [14, 30].contains(&code) || (40..=42).contains(&code);
            let detail = if without { 0 } else { 7 };
            assert_eq!(Obstacle::from_wire(code, detail).to_wire(), (code, detail));
            let detail = if (40..=43).contains(&code) { 0 } else { 7 };
            assert_eq!(StopReason::from_wire(code, detail).to_wire(), (code, detail));
        }
        assert_eq!(Obstacle::from_wire(13, 5), Obstacle::Io { errno: 5 });
        assert_eq!(Obstacle::from_wire(999, 5), Obstacle::Other { code: 999, detail: 5 });
        assert_eq!(StopReason::from_wire(8, 5), StopReason::Other { code: 8, detail: 5 });
    }

    #[test]
    fn sentences_name_what_is_missing_and_survive_any_number() {
        let full = StopReason::NoSpace { missing_bytes: 4096 }.to_string();
        assert!(full.contains("4096 octets are missing"), "{full}");
        assert!(Obstacle::Name(NameFault::Dots.code()).to_string().contains("`..`"));
        for detail in [0, 5, u64::MAX] {
            for code in 0..50 {
                assert!(!Obstacle::from_wire(code, detail).to_string().is_empty());
                assert!(!StopReason::from_wire(code, detail).to_string().is_empty());
            }
        }
    }

    #[test]
    fn errors_of_the_system_become_the_obstacle_people_know() {
        assert_eq!(Obstacle::from(Errno::DQUOT), Obstacle::NoSpace { missing_bytes: 0 });
        assert_eq!(Obstacle::from(Errno::IO), Obstacle::Io { errno: 5 });
        assert_eq!(Obstacle::from(io::Error::from_raw_os_error(30)), Obstacle::ReadOnly);
    }
}
