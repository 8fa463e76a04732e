//! `completions`: what a shell needs to complete a command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example: tieline completions bash > /usr/share/bash-completion/completions/tieline")]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Prints the completions.
///
/// # Errors
///
/// If standard output does not take them.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tieline", &mut script);
    Ok(output::bytes(&script)?)
}
