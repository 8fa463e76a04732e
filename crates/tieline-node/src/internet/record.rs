//! What was changed on the system and does not go with the process, in a file: so that whoever comes after can undo it.
//!
//! It is written before anything is changed, and removed when all is undone. What can be found again by the line's name is not in it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tieline_io::sysctl;

use crate::kept_file;

/// The longest file that is read: with the settings of a thousand devices it has a tenth of that.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Changes anew with each start of the machine, which undoes everything itself.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The run of the machine in which it was.
    boot: String,
    /// The number of the line's routing table, and its mark.
    pub table: u32,
    /// Ports that rules are for.
    pub ports: Vec<u16>,
    /// Devices that were seen to lead to the internet; they stay fenced off.
    pub uplinks: Vec<String>,
    /// Settings as they were, in the order in which they are to be restored.
    pub settings: Vec<Setting>,
}

/// A setting of the kernel as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Why what is changed could not be written down or read.
#[derive(Debug, thiserror::Error)]
#[error("what is changed on this machine for sharing the internet connection cannot be {what} {}", .file.display())]
pub struct RecordError {
    what: &'static str,
    file: PathBuf,
    source: io::Error,
}

impl Record {
    /// Nothing is changed yet.
    #[must_use]
    pub fn new(table: u32) -> Self {
        Self { boot: boot(), table, ..Self::default() }
    }

    /// Reads the file; none if there is none, or if the machine was started anew since.
    ///
    /// # Errors
    ///
    /// What the system said. A file that cannot be read is an error: what it says must be undone.
    pub fn load(file: &Path) -> Result<Option<Self>, RecordError> {
        let fault = |source| RecordError { what: "read from", file: file.to_owned(), source };
        let text = match std::fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error)),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(fault(io::ErrorKind::FileTooLarge.into()));
            }
            Ok(_) => std::fs::read(file).map_err(fault)?,
        };
        let record: Self = serde_json::from_slice(&text).map_err(|error| fault(error.into()))?;
        Ok(Some(record).filter(|record| record.boot == boot()))
    }

    /// Writes the file in one step.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn save(&self, file: &Path) -> Result<(), RecordError> {
        let fault = |source| RecordError { what: "written to", file: file.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| fault(error.into()))?;
        kept_file::write(file, &text, kept_file::SECRET_MODE, kept_file::Existing::Replace)
            .map_err(|error| fault(io::Error::other(error)))
    }

    /// Removes the file: all is undone.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn remove(&self, file: &Path) -> Result<(), RecordError> {
        match std::fs::remove_file(file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RecordError { what: "removed from", file: file.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

impl Setting {
    pub(super) fn typed(&self) -> sysctl::Setting {
        sysctl::Setting { key: self.key.clone(), value: self.value.clone() }
    }
}

impl From<sysctl::Setting> for Setting {
    fn from(setting: sysctl::Setting) -> Self {
        Self { key: setting.key, value: setting.value }
    }
}

fn boot() -> String {
    // Where it cannot be read, every run of the machine counts as the same.
    std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("berlin.changes");
        assert_eq!(Record::load(&file).unwrap(), None);
        let mut record = Record::new(7);
        record.settings.push(Setting { key: "ipv4/ip_forward".into(), value: "0".into() });
        record.save(&file).unwrap();
        record.uplinks.push("eth0".into());
        record.save(&file).unwrap();
        assert_eq!(Record::load(&file).unwrap(), Some(record.clone()));
        record.remove(&file).unwrap();
        record.remove(&file).unwrap();
        assert_eq!(Record::load(&file).unwrap(), None);
    }

    #[test]
    fn what_another_run_of_the_machine_left_is_undone_already_and_rubbish_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("berlin.changes");
        Record { boot: "another".into(), ..Record::new(7) }.save(&file).unwrap();
        assert_eq!(Record::load(&file).unwrap(), None);
        std::fs::write(&file, b"{").unwrap();
        assert!(Record::load(&file).is_err());
    }
}
