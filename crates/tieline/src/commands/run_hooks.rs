//! `run-hooks`: the helper process of a line, which nobody starts by hand.

use std::io;

use tieline_node::files::notices::runner;

use crate::failure::{CommandError, Exit};

/// What it was asked is not what it must be.
#[derive(Debug, thiserror::Error)]
#[error("cannot run hooks")]
pub(crate) struct RunHooksError(#[source] io::Error);

impl CommandError for RunHooksError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Runs hooks as the process of a line asks, until that ends.
///
/// # Errors
///
/// If what it asks cannot be read.
pub(crate) fn run() -> Result<(), RunHooksError> {
    runner::run().map_err(RunHooksError)
}
