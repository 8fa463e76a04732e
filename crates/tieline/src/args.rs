//! What can be said on the command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tieline_node::files::notices::helper::SUBCOMMAND;
use tieline_node::places::PlacesChoice;

use crate::commands::calls::CallsArgs;
use crate::commands::cancel::CancelArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::down::DownArgs;
use crate::commands::flows::FlowsArgs;
use crate::commands::import::ImportArgs;
use crate::commands::join::JoinArgs;
use crate::commands::key::KeyCommand;
use crate::commands::man::ManArgs;
use crate::commands::new::NewArgs;
use crate::commands::ping::PingArgs;
use crate::commands::pipe::PipeArgs;
use crate::commands::receipts::ReceiptsArgs;
use crate::commands::send::SendArgs;
use crate::commands::status::StatusArgs;
use crate::commands::sync::SyncArgs;
use crate::commands::test::TestArgs;
use crate::commands::transfers::{PauseArgs, ResumeArgs, TransfersArgs};
use crate::commands::up::UpArgs;

/// A private line between two offices: exactly two ends, and everything the offices share goes over it.
///
/// One end makes a line and gets an invitation; the other end takes it, and the line is up. Each line is one
/// configuration file and one key file; how they are called and where they are: see `--config-dir`.
#[derive(Debug, Parser)]
#[command(name = "tieline", version, arg_required_else_help = true, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str =
    "Exit status: 0 if it was done, or is so; 1 if not; 2 if the arguments or the configuration are wrong.";

/// Options of every subcommand.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where configurations and keys are [default: /etc/tieline as root, else $XDG_CONFIG_HOME/tieline]
    ///
    /// With it, received files go to NAME/inbox below it, unless the configuration says otherwise: so two ends can live
    /// on one machine.
    #[arg(
        long,
        global = true,
        help_heading = "General options",
        value_name = "DIR",
        env = "TIELINE_CONFIG_DIR",
        hide_env_values = true
    )]
    config_dir: Option<PathBuf>,

    /// Where sockets, locks and state are [default: /run/tieline as root, else $XDG_RUNTIME_DIR/tieline]
    #[arg(
        long,
        global = true,
        help_heading = "General options",
        value_name = "DIR",
        env = "TIELINE_RUNTIME_DIR",
        hide_env_values = true
    )]
    runtime_dir: Option<PathBuf>,

    /// Log more to standard error: -v what was decided, -vv everything
    #[arg(short, long, global = true, help_heading = "General options", action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How logs are written
    #[arg(long, global = true, help_heading = "General options", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One row of text each.
    Text,
    /// One JSON object each.
    Json,
}

/// For subcommands that report something.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Reporting {
    /// Report as JSON, mistakes too
    #[arg(long)]
    pub(crate) json: bool,
}

/// For subcommands that make an end of a line and then bring it up.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct BringUp {
    /// Make the files only; `tieline up` brings the line up later
    #[arg(long)]
    pub(crate) no_up: bool,

    /// Run the end in this process until it is taken down, instead of in one of its own
    #[arg(long, conflicts_with = "no_up")]
    pub(crate) foreground: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(NewArgs),
    Join(JoinArgs),
    Up(UpArgs),
    Down(DownArgs),
    Status(StatusArgs),
    Calls(CallsArgs),
    Flows(FlowsArgs),
    Ping(PingArgs),
    Test(TestArgs),
    Send(SendArgs),
    Sync(SyncArgs),
    Receipts(ReceiptsArgs),
    Transfers(TransfersArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
    Cancel(CancelArgs),
    Pipe(PipeArgs),
    Doctor(DoctorArgs),
    Demo(DemoArgs),
    #[command(subcommand)]
    Key(KeyCommand),
    Import(ImportArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// What the process of a line starts to run hooks
    #[command(name = SUBCOMMAND, hide = true)]
    RunHooks,
}

impl Command {
    /// Whether the report is to be JSON, and mistakes with it.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::New(args) => args.reporting.json,
            Self::Join(args) => args.reporting.json,
            Self::Import(args) => args.reporting.json,
            Self::Up(args) => args.reporting.json,
            Self::Status(args) => args.reporting.json,
            Self::Calls(args) => args.reporting.json,
            Self::Flows(args) => args.reporting.json,
            Self::Ping(args) => args.reporting.json,
            Self::Test(args) => args.reporting.json,
            Self::Doctor(args) => args.reporting.json,
            Self::Send(args) => args.reporting.json,
            Self::Sync(args) => args.reporting.json,
            Self::Receipts(args) => args.json,
            Self::Cancel(args) => args.reporting.json,
            Self::Transfers(args) => args.reporting.json,
            Self::Down(_) | Self::Pause(_) | Self::Resume(_) | Self::Pipe(_) | Self::Demo(_) => false,
            Self::Key(_) | Self::Completions(_) | Self::Man(_) | Self::RunHooks => false,
        }
    }
}

impl Global {
    /// What was said about folders.
    pub(crate) fn places_choice(&self) -> PlacesChoice {
        PlacesChoice { config_dir: self.config_dir.clone(), runtime_dir: self.runtime_dir.clone() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
