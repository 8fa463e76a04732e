//! The subcommands, one module each, and what several of them need.

pub(crate) mod calls;
pub(crate) mod cancel;
pub(crate) mod completions;
mod delivery;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod flows;
pub(crate) mod import;
pub(crate) mod join;
pub(crate) mod key;
pub(crate) mod man;
pub(crate) mod new;
mod offers;
mod own_addresses;
pub(crate) mod ping;
pub(crate) mod pipe;
mod ports;
pub(crate) mod receipts;
mod run_hooks;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod sync;
mod table;
pub(crate) mod test;
pub(crate) mod transfers;
mod two_files;
pub(crate) mod up;

use tieline_node::places::{Places, PlacesError, Surroundings};

use crate::args::{Cli, Command, Global};
use crate::failure::Failure;
use crate::logging;

/// Runs the subcommand that was asked for.
///
/// # Errors
///
/// Whatever kept it from being done.
pub(crate) fn run(cli: &Cli) -> Result<(), Failure> {
    logging::start(&cli.global)?;
    match &cli.command {
        Command::New(args) => new::run(&cli.global.places_choice(), &places(&cli.global)?, args),
        Command::Join(args) => join::run(&cli.global.places_choice(), &places(&cli.global)?, args),
        Command::Up(args) => up::run(&cli.global.places_choice(), &places(&cli.global)?, args),
        Command::Down(args) => down::run(&places(&cli.global)?, args),
        Command::Status(args) => status::run(&places(&cli.global)?, args),
        Command::Calls(args) => calls::run(&places(&cli.global)?, args),
        Command::Flows(args) => flows::run(&places(&cli.global)?, args),
        Command::Ping(args) => ping::run(&places(&cli.global)?, args),
        Command::Test(args) => test::run(&places(&cli.global)?, args),
        Command::Send(args) => send::run(&places(&cli.global)?, args),
        Command::Sync(args) => sync::run(&places(&cli.global)?, args),
        Command::Receipts(args) => receipts::run(&places(&cli.global)?, args),
        Command::Transfers(args) => transfers::run(&places(&cli.global)?, args),
        Command::Pause(args) => transfers::pause(&places(&cli.global)?, args),
        Command::Resume(args) => transfers::resume(&places(&cli.global)?, args),
        Command::Cancel(args) => cancel::run(&places(&cli.global)?, args),
        Command::RunHooks => Ok(run_hooks::run()?),
        Command::Pipe(args) => pipe::run(&places(&cli.global)?, args),
        Command::Doctor(args) => doctor::run(&places(&cli.global)?, args),
        Command::Demo(args) => demo::run(args),
        Command::Key(command) => key::run(*command),
        Command::Import(args) => import::run(&places(&cli.global)?, args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// The folders that were chosen, by the arguments or by the system.
fn places(global: &Global) -> Result<Places, PlacesError> {
    Places::resolve(&global.places_choice(), &Surroundings::from_system())
}
