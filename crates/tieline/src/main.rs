//! `tieline`: a private line between two offices.
//!
//! This crate is arguments in, sentences out: each subcommand is a module of [`commands`], and what it does is done by
//! `tieline-node`. Results go to standard output, as text or as JSON; logs and mistakes go to standard error.

mod args;
mod circuit;
mod commands;
mod demo;
mod doctor;
mod failure;
mod far_end;
mod logging;
mod output;
mod process;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Argument errors, `--help` and `--version` end here, with status 2, 0 and 0.
    let cli = args::Cli::parse();
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(cli.command.wants_json()),
    }
}
