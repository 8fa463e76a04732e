//! `sync`: a folder at the far end is kept as a folder at this end is.

use std::path::PathBuf;

use clap::Args;
use tieline_node::places::{LineName, Places};
use tieline_transfer::mirror::MirrorRules;
use tieline_transfer::{NameFault, Plan, RelativePath};

use super::delivery::{self, Bar};
use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};

/// Keep a folder at the far end as a folder at this end is
///
/// What differs in size or time is sent, and replaces what is there; what did not change is not sent. With --delete, what is not in DIR is
/// removed there. The way is from here to there only: what somebody changes there is undone.
///
/// FOLDER is below the far end's inbox, and is made if it is not there. One that exists and was not made by a sync is refused, unless it is
/// empty, so nothing else is ever replaced or removed.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// The line
    name: LineName,

    /// The folder at this end
    dir: PathBuf,

    /// The folder below the far end's inbox
    folder: String,

    /// Remove there what is not here
    #[arg(long)]
    delete: bool,

    /// Compare the contents of all files, and not only their sizes and times: both ends read all of them
    #[arg(long)]
    checksum: bool,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// The folder cannot be made in an inbox.
#[derive(Debug, thiserror::Error)]
#[error("FOLDER {folder}: {fault}")]
struct FolderFailure {
    folder: String,
    fault: NameFault,
}

impl CommandError for FolderFailure {
    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}

/// Syncs and tells.
///
/// # Errors
///
/// If the folder at the far end is not as the one here.
pub(crate) fn run(places: &Places, args: &SyncArgs) -> Result<(), Failure> {
    RelativePath::parse(args.folder.as_bytes())
        .map_err(|fault| FolderFailure { folder: args.folder.clone(), fault })?;
    let rules = MirrorRules { removes: args.delete, by_content: args.checksum };
    let plan = |bar: &Bar| Plan::mirror(&args.dir, rules, bar);
    delivery::run(places, &args.name, Some(&args.folder), args.reporting.json, plan)
}
