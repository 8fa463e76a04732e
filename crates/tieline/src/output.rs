//! What goes to standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::{CommandError, Exit};

/// Standard output does not take what is said.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError(#[source] io::Error);

impl CommandError for OutputError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_silent(&self) -> bool {
        // Whoever listened has heard enough, as in `tieline man | head`.
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes text as it is.
///
/// # Errors
///
/// [`OutputError`].
pub(crate) fn text(text: &str) -> Result<(), OutputError> {
    bytes(text.as_bytes())
}

/// Writes bytes as they are.
///
/// # Errors
///
/// [`OutputError`].
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Writes a report: as JSON if that is wanted, else as text.
///
/// # Errors
///
/// [`OutputError`].
pub(crate) fn report(
    as_json: bool,
    report: &(impl Serialize + std::fmt::Display),
) -> Result<(), OutputError> {
    if as_json { json(report) } else { text(&report.to_string()) }
}

/// Writes a report as JSON.
///
/// # Errors
///
/// [`OutputError`].
pub(crate) fn json(report: &impl Serialize) -> Result<(), OutputError> {
    write_json(&mut io::stdout().lock(), report).map_err(OutputError)
}

/// Writes one JSON document and a newline.
pub(crate) fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}
