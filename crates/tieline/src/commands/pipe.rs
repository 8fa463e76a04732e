//! `pipe`: standard input here is standard output there, both ways, byte for byte.

use std::{io, time::Duration};

use clap::Args;
use tieline_node::{
    api::client::{Client, ClientError},
    config::Problems,
    node::{Node, Options, StartError},
    places::{LineName, Places},
};
use tokio::time::sleep;

use crate::failure::{CommandError, Exit, Failure};
use crate::far_end::{self, TakenDown};
use crate::{circuit, process};

/// Join standard input and output with those of `tieline pipe` at the far end
///
/// What goes in here comes out there and the other way round, byte for byte, until both inputs have ended: the line as a bare
/// circuit. If the line is not up, this process runs it without IP for as long as the pipe lasts, which needs no root. A cut
/// breaks nothing: the pipe waits, says so once, and goes on when the line is back. Ctrl-C, or taking either end down, ends it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  here:   tar c photos | tieline pipe berlin\n  there:  tieline pipe berlin < /dev/null | tar x"
)]
pub(crate) struct PipeArgs {
    /// The line
    name: LineName,
}

/// After this long without the far end somebody at a terminal is told what is waited for.
const SILENT_WAIT: Duration = Duration::from_secs(2);

/// Why a pipe did not carry everything.
#[derive(Debug, thiserror::Error)]
enum PipeError {
    /// The line could not be run in this process either.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The running line was asked in vain.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// One of the ends was taken down.
    #[error("{0} before the pipe had ended; what was sent last may not have arrived")]
    TakenDown(TakenDown),
    /// It broke: what was sent may not have arrived.
    #[error("the pipe broke; what was sent last may not have arrived")]
    Broke(#[source] io::Error),
}

impl CommandError for PipeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Start(StartError::Config(_)) => Exit::Wrong,
            Self::Start(_) | Self::Client(_) | Self::TakenDown(_) | Self::Broke(_) => Exit::Failed,
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Start(StartError::Config(problems)) => Some(problems),
            _ => None,
        }
    }
}

/// Runs the pipe over the line that is up, or, if none is, over one that this process runs for as long as the pipe lasts.
///
/// # Errors
///
/// If the line cannot be run, or the pipe breaks.
pub(crate) fn run(places: &Places, args: &PipeArgs) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    let carried = runtime.block_on(join(places, &args.name));
    // A read of standard input that is under way cannot be called back.
    runtime.shutdown_background();
    Ok(carried?)
}

async fn join(places: &Places, name: &LineName) -> Result<(), PipeError> {
    let client = Client::new(&places.files(name).socket);
    match client.status().await {
        Ok(_) => tokio::select! {
            carried = carry(&client) => carried,
            never = far_end::tell_silence(&client) => match never {},
        },
        Err(ClientError::NotUp { .. }) => {
            let options = Options { without_routes: true, ..Options::default() };
            // It says itself when the far end is not heard any more.
            let running = tokio::spawn(Node::start(places, name, &options).await?.run());
            let carried = carry(&client).await;
            // The far end must have our goodbye before this process ends; it may be down already.
            let _ = client.down().await;
            let _ = running.await;
            carried
        }
        Err(error) => Err(error.into()),
    }
}

async fn carry(client: &Client) -> Result<(), PipeError> {
    let pipe = client.pipe();
    tokio::pin!(pipe);
    let pipe = tokio::select! {
        pipe = &mut pipe => pipe?,
        () = sleep(SILENT_WAIT) => {
            tracing::info!("waiting for `tieline pipe` at the far end");
            pipe.await?
        }
    };
    let carried = circuit::carry(tokio::io::stdin(), tokio::io::stdout(), pipe).await;
    match carried {
        Ok(()) => Ok(()),
        Err(error) => {
            Err(far_end::taken_down(client).await.map_or(PipeError::Broke(error), PipeError::TakenDown))
        }
    }
}
