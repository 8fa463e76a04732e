//! `send`: files and trees to the far end's inbox, with progress, and an exit status that tells the truth.

use std::{fmt, path::PathBuf};

use clap::Args;
use tieline_node::{
    config::{Line, Problems},
    places::{LineName, Places, PlacesError},
};
use tieline_transfer::{
    EntryReport, NameFault, Plan, PlanError, RelativePath,
    spool::{self, Mark, SpoolError, Spooled},
};

use super::delivery::{self, Bar};
use super::status::octets;
use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::output;

/// Send files and folders to the far end's inbox
///
/// They are copied into the line's outbox, and go from there by themselves, over cuts and restarts, for as long as it takes: `tieline
/// transfers` shows them. With --wait nothing is copied: they are sent from where they are, and the exit status is 0 if everything that
/// was named is there.
///
/// Each file is verified (BLAKE3) and appears under its final name only when it is whole and safe on the far end's disk. A file
/// of the same name with other content is kept, and the new one gets a number.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The line
    name: LineName,

    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// A folder below the far end's inbox; made if it is not there
    #[arg(long, value_name = "FOLDER")]
    to: Option<String>,

    /// Wait until everything is there, and say what became of each file
    #[arg(short, long)]
    wait: bool,

    /// Before all that waits already
    #[arg(long, conflicts_with = "wait")]
    first: bool,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum SendFailure {
    /// The paths cannot be sent.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The folder cannot be made in an inbox.
    #[error("--to {folder}: {fault}")]
    Folder {
        /// As it was given.
        folder: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// The line's configuration is wrong, or there is none.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The outbox cannot be made.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The outbox does not take them.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl CommandError for SendFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::Plan(_) | Self::Folder { .. } | Self::Config(_) => Exit::Wrong,
            Self::Places(_) | Self::Spool(_) => Exit::Failed,
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Config(problems) => Some(problems),
            _ => None,
        }
    }
}

/// Not everything is in the outbox.
#[derive(Debug, thiserror::Error)]
#[error("not everything is in the outbox; the report above names what is not, and why")]
struct LeftOut;

impl CommandError for LeftOut {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_in_report(&self) -> bool {
        true
    }
}

/// Sends and tells.
///
/// # Errors
///
/// If something that was named is not at the far end.
pub(crate) fn run(places: &Places, args: &SendArgs) -> Result<(), Failure> {
    if !args.wait {
        let queued = queue(places, args)?;
        let is_whole = queued.left_out.is_empty();
        output::report(args.reporting.json, &queued)?;
        return if is_whole { Ok(()) } else { Err(LeftOut.into()) };
    }
    let plan = |bar: &Bar| Plan::scan(&args.paths, bar);
    delivery::run(places, &args.name, args.to.as_deref(), args.reporting.json, plan)
}

/// What is in the outbox now.
#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Queued {
    line: LineName,
    /// Names below the outbox, one for each path that was named.
    names: Vec<String>,
    files: u64,
    bytes: u64,
    left_out: Vec<EntryReport>,
}

/// Copies what is named into the line's outbox.
fn queue(places: &Places, args: &SendArgs) -> Result<Queued, SendFailure> {
    // Whoever misspells the line would wait for ever.
    Line::load(places, &args.name)?;
    let to = args.to.as_deref().map(|folder| {
        let fault = |fault| SendFailure::Folder { folder: folder.to_owned(), fault };
        RelativePath::parse(folder.as_bytes()).map_err(fault)
    });
    let to = to.transpose()?;
    places.make_data_dir(&args.name)?;
    let bar = Bar::new();
    let plan = Plan::scan(&args.paths, &bar)?;
    let mark = Mark { is_first: args.first };
    let spooled = spool::put(&plan, &places.files(&args.name).outbox, to.as_ref(), mark, &bar)?;
    bar.finish();
    let Spooled { names, files, bytes, left_out, has_marks } = spooled;
    if args.first && !has_marks {
        tracing::warn!("the outbox is on a file system without extended attributes: they go in their turn");
    }
    let names = names.iter().map(ToString::to_string).collect();
    Ok(Queued { line: args.name.clone(), names, files, bytes, left_out })
}

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.left_out {
            writeln!(f, "{entry}")?;
        }
        let Self { line, files, bytes, .. } = self;
        writeln!(
            f,
            "{files} files, {}, are in the outbox; `tieline transfers {line}` shows them",
            octets(*bytes)
        )
    }
}
