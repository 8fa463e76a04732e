//! `man`: the manual pages.

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::{CommandError, Exit, Failure};
use crate::output;

/// Print the manual page, or write one for each subcommand
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tieline man | man -l -\n  tieline man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write the pages of the program and of every subcommand into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The pages could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write manual pages into {}", .folder.display())]
struct ManError {
    folder: PathBuf,
    source: io::Error,
}

impl CommandError for ManError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Prints the page or writes all of them.
///
/// # Errors
///
/// If a folder or standard output does not take them.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    match &args.dir {
        Some(folder) => {
            let written = std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
            Ok(written.map_err(|source| ManError { folder: folder.clone(), source })?)
        }
        None => {
            let mut page = Vec::new();
            Man::new(Cli::command()).render(&mut page).expect("a vector takes everything");
            Ok(output::bytes(&page)?)
        }
    }
}
