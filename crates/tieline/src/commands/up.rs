//! `up`: runs this end of a line.

use std::{fmt, time::Duration};

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::Client,
    config::Line,
    node::StartError,
    places::{LineName, Places, PlacesChoice},
    status::Status,
};

use super::status;
use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::output;
use crate::process::{self, UpError};

/// Bring this end of a line up
///
/// Starts the end as a process of its own, waits until it runs, and says what it reaches. It logs to NAME.log in the
/// runtime folder. For systemd there is the unit tieline@NAME, which uses --foreground.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The line
    name: LineName,

    /// Stay in this process until the line is taken down, and log to standard error
    #[arg(long)]
    pub(crate) foreground: bool,

    /// Leave the terminal that started this process
    #[arg(long, hide = true, requires = "foreground")]
    detached: bool,

    /// How many seconds to wait for the far end; if it is not there by then the exit status is 1, and this end stays up
    #[arg(long, value_name = "SECONDS", default_value_t = 0, conflicts_with = "foreground")]
    wait: u16,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// What came of bringing an end up.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Up(pub(crate) Status);

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&status::to_text(&self.0))
    }
}

/// The far end was waited for in vain.
#[derive(Debug, thiserror::Error)]
#[error(
    "the far end was not there within {seconds} s; this end stays up and goes on trying; `tieline doctor {line}` looks for the reason"
)]
pub(crate) struct NotReached {
    pub(crate) seconds: u64,
    pub(crate) line: LineName,
}

impl CommandError for NotReached {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_in_report(&self) -> bool {
        true
    }
}

/// Brings the end up.
///
/// # Errors
///
/// Why it is not up, or did not reach the far end in the time it was given.
pub(crate) fn run(choice: &PlacesChoice, places: &Places, args: &UpArgs) -> Result<(), Failure> {
    if args.foreground {
        if args.detached {
            process::detach()?;
        }
        return Ok(process::run_in_foreground(places, &args.name)?);
    }
    start(choice, places, &args.name, Duration::from_secs(args.wait.into()), args.reporting.json)
}

/// Starts the end detached, gives the far end `patience` to be there, and tells how things are then.
///
/// # Errors
///
/// As [`run`].
fn start(
    choice: &PlacesChoice,
    places: &Places,
    name: &LineName,
    patience: Duration,
    json: bool,
) -> Result<(), Failure> {
    let status = bring_up(choice, places, name, patience)?;
    let reached = status.is_up();
    output::report(json, &Up(status))?;
    if reached || patience.is_zero() {
        return Ok(());
    }
    Err(NotReached { seconds: patience.as_secs(), line: name.clone() }.into())
}

/// Starts the end detached, gives the far end `patience` to be there, and returns how things are then.
///
/// # Errors
///
/// Why this end is not up.
pub(crate) fn bring_up(
    choice: &PlacesChoice,
    places: &Places,
    name: &LineName,
    patience: Duration,
) -> Result<Status, UpError> {
    // Mistakes are told here, where somebody looks, and before anything is started.
    Line::load(places, name).map_err(|problems| UpError::Start(StartError::Config(problems)))?;
    process::runtime()?.block_on(async {
        process::start_detached(choice, places, name).await?;
        process::wait_for_far_end(&Client::new(&places.files(name).socket), patience).await
    })
}
