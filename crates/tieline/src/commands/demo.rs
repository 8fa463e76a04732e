//! `demo`: two offices on this machine, joined by a line while you watch.

use std::path::PathBuf;

use clap::Args;
use tieline_sim::lab::Lab;

use crate::demo::{self, DemoError, Script, stage::Stage};
use crate::failure::{CommandError, Exit, Failure};
use crate::output;

/// Show two offices on this machine being joined by a line
///
/// Makes two offices in network namespaces, with a modelled internet of 20 Mbit/s and 15 ms each way between them, and does what an
/// administrator would: pairs them, brings the line up, reaches the other office, calls it while files fill the line, sends files, pulls the cable. Where namespaces are
/// not allowed, two ends on loopback without IP do as much of it as they can. Nothing of this machine is changed.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// A file or folder of yours to send both ways [default: 4 MB of random octets]
    #[arg(long, value_name = "PATH")]
    send: Option<PathBuf>,

    /// Leave the offices running at the end and say how to look inside; Ctrl-C ends them
    #[arg(long)]
    keep: bool,

    /// Do without namespaces even where they are allowed
    #[arg(long)]
    loopback: bool,
}

impl CommandError for DemoError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Runs the demonstration.
///
/// # Errors
///
/// If any of it did not go as it should.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    // Rights to make namespaces can only be had while the process has one thread.
    let namespaces = if args.loopback { None } else { Some(Lab::prepare().and_then(|_| Lab::supported())) };
    let stage = match namespaces {
        Some(Ok(())) => Stage::offices()?,
        Some(Err(reason)) => {
            output::text(&format!("Two ends on loopback, without IP, since {reason}.\n"))?;
            Stage::loopback()?
        }
        None => Stage::loopback()?,
    };
    Ok(demo::run(stage, &Script { send: args.send.clone(), keep: args.keep })?)
}
