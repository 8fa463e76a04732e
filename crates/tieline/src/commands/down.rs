//! `down`: takes this end of a line down.

use clap::Args;
use tieline_node::places::{LineName, Places};

use crate::failure::Failure;
use crate::process;

/// Take this end of a line down
///
/// Returns when its process has ended and its network device, addresses and routes are gone.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// The line
    name: LineName,
}

/// Takes the end down.
///
/// # Errors
///
/// If it is not up, or does not go.
pub(crate) fn run(places: &Places, args: &DownArgs) -> Result<(), Failure> {
    Ok(process::runtime()?.block_on(process::take_down(places, &args.name))?)
}
