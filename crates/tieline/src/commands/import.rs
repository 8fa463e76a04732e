//! `import`: a wg-quick file becomes a line.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tieline_node::config::Problems;
use tieline_node::places::{LineName, Places};
use tieline_node::wg_quick::{self, Imported, LeftOut};

use super::two_files::{self, MakeError};
use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::output;

/// Make a line out of a wg-quick file, and name what cannot be carried over
///
/// The file is only read. Its far end stays as it is: tieline speaks WireGuard, and with a far end that is plain WireGuard
/// it carries IP and nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Example: tieline import /etc/wireguard/wg0.conf --name berlin")]
pub(crate) struct ImportArgs {
    /// The file, as wg-quick reads it
    file: PathBuf,

    /// What to call the line [default: as the file is called]
    #[arg(long)]
    name: Option<LineName>,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Why no line was made.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error("no line can be called as {} is; give a name with --name", .0.display())]
    NoName(PathBuf),
    #[error(transparent)]
    Make(#[from] MakeError),
}

impl CommandError for ImportError {
    fn exit(&self) -> Exit {
        match self {
            Self::Problems(_) | Self::NoName(_) => Exit::Wrong,
            Self::Make(error) => error.exit(),
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Problems(problems) => Some(problems),
            Self::NoName(_) | Self::Make(_) => None,
        }
    }
}

/// What was made.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'r> {
    line: LineName,
    from: &'r PathBuf,
    config: PathBuf,
    key: PathBuf,
    public_key: String,
    left_out: Vec<LeftOut>,
}

/// Makes the line and tells what was left out.
///
/// # Errors
///
/// Whatever kept it from being made; then nothing was.
pub(crate) fn run(places: &Places, args: &ImportArgs) -> Result<(), Failure> {
    let report = make(places, args)?;
    Ok(output::report(args.reporting.json, &report)?)
}

fn make<'r>(places: &Places, args: &'r ImportArgs) -> Result<Report<'r>, ImportError> {
    let Imported { draft, secrets, left_out } = wg_quick::load(&args.file)?;
    let line = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.file).ok_or_else(|| ImportError::NoName(args.file.clone()))?,
    };
    let public_key = secrets.private_key.public_key().to_string();
    let files = two_files::make(places, &line, &draft, &secrets)?;
    Ok(Report { line, from: &args.file, config: files.config, key: files.key, public_key, left_out })
}

fn name_of(file: &std::path::Path) -> Option<LineName> {
    LineName::nearest(&file.file_stem()?.to_string_lossy())
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, from) = (&self.line, self.from.display());
        writeln!(f, "The line {line} is made of {from}.\n")?;
        writeln!(f, "  configuration  {}", self.config.display())?;
        writeln!(f, "  keys           {}", self.key.display())?;
        if !self.left_out.is_empty() {
            writeln!(f, "\nNot carried over:\n")?;
            for LeftOut { place, key, reason } in &self.left_out {
                writeln!(f, "  {from}:{}:{}: {key}: {reason}", place.row, place.column)?;
            }
        }
        writeln!(f, "\nWhat to do next:\n")?;
        writeln!(f, "  1. end the old tunnel, which has the same key and port (wg-quick down)")?;
        writeln!(f, "  2. tieline up {line}")
    }
}
