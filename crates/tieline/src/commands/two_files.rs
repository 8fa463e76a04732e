//! The two files of a line that is new: both, or none.

use std::io;
use std::path::PathBuf;

use tieline_node::config::Draft;
use tieline_node::places::{LineFiles, LineName, Places, PlacesError};
use tieline_node::secrets::{Secrets, WriteError};

use crate::failure::{CommandError, Exit};

/// Why a line was not made. Nothing is left of it then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    /// There is a line of that name, or what is left of one.
    #[error("there is a line {line} already: {} exists; take another name, or remove that file", .file.display())]
    Exists {
        /// The line.
        line: LineName,
        /// The file.
        file: PathBuf,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CommandError for MakeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists { .. } => Exit::Wrong,
            Self::Places(error) => error.exit(),
            Self::Write(_) => Exit::Failed,
        }
    }
}

/// Writes both files; never over one that is there.
///
/// # Errors
///
/// [`MakeError`]; then neither was written.
pub(crate) fn make(
    places: &Places,
    line: &LineName,
    draft: &Draft,
    secrets: &Secrets,
) -> Result<LineFiles, MakeError> {
    places.make_config_dir()?;
    let files = places.files(line);
    let told = |error: WriteError| match error.source.kind() {
        io::ErrorKind::AlreadyExists => MakeError::Exists { line: line.clone(), file: error.file },
        _ => MakeError::Write(error),
    };
    secrets.create(&files.key).map_err(told)?;
    if let Err(error) = draft.create(line, &files.config) {
        // A key file alone would be in the way of the next try. It was made above, by us.
        let _ = std::fs::remove_file(&files.key);
        return Err(told(error));
    }
    Ok(files)
}
