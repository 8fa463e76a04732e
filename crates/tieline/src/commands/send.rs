//! `send`: files and trees to the far end's inbox, with progress, and an exit status that tells the truth.

use std::{
    fmt,
    io::IsTerminal,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tieline_node::{
    api::{
        accounts::OtherAccounts,
        client::{Client, ClientError},
    },
    config::{Line, Problems},
    node::{Node, Options, StartError},
    places::{LineName, Places, PlacesError},
};
use tieline_transfer::{
    EntryReport, Journal, JournalError, NameFault, Order, Outcome, Plan, PlanError, Progress, RelativePath,
    SendError,
    receipt::{LineKeys, TransferId},
    spool::{self, Mark, SpoolError, Spooled},
};

use super::status::octets;
use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::far_end::{self, TakenDown};
use crate::{output, process};

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
    /// The line could not be run in this process either.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The running line was asked in vain.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// One of the ends was taken down.
    #[error("{0} before anything was sent")]
    TakenDown(TakenDown),
    /// The transfer did not begin.
    #[error(transparent)]
    Send(#[from] SendError),
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
    /// The process of the line does not say with which key it signs.
    #[error("the line is run by an older tieline; take it down and up again")]
    OlderLine,
    /// How far it came cannot be remembered.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl CommandError for SendFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::Plan(_) | Self::Folder { .. } | Self::Config(_) | Self::Start(StartError::Config(_)) => {
                Exit::Wrong
            }
            Self::Places(_) | Self::Spool(_) | Self::OlderLine => Exit::Failed,
            Self::Start(_) | Self::Client(_) | Self::TakenDown(_) | Self::Send(_) | Self::Journal(_) => {
                Exit::Failed
            }
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Start(StartError::Config(problems)) | Self::Config(problems) => Some(problems),
            _ => None,
        }
    }
}

/// Not everything is at the far end.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error("not everything was delivered; the report above names what was not, and why")]
    Reported,
    #[error("not everything is in the outbox; the report above names what is not, and why")]
    LeftOut,
    #[error("{0} before everything was delivered; the report above names what was not")]
    TakenDown(TakenDown),
}

impl CommandError for Incomplete {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_in_report(&self) -> bool {
        true
    }
}

/// What became of it all.
#[derive(serde::Serialize)]
#[serde(transparent)]
struct Sent(Outcome);

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
        return if is_whole { Ok(()) } else { Err(Incomplete::LeftOut.into()) };
    }
    let runtime = process::runtime()?;
    let (outcome, taken_down) = runtime.block_on(send_over_line(places, args))?;
    let complete = outcome.is_complete();
    output::report(args.reporting.json, &Sent(outcome))?;
    if complete {
        return Ok(());
    }
    Err(taken_down.map_or(Incomplete::Reported, Incomplete::TakenDown).into())
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

/// Sends over the line that is up, or, if none is, over one that this process runs until everything is sent. Says also which
/// end was taken down, if that is why it ended early.
async fn send_over_line(
    places: &Places,
    args: &SendArgs,
) -> Result<(Outcome, Option<TakenDown>), SendFailure> {
    let client = Client::new(&places.files(&args.name).socket);
    let node = match client.status().await {
        Ok(_) => None,
        Err(ClientError::NotUp { .. }) => {
            // Whoever reads files with the user's own rights must be let.
            let options = Options { without_routes: true, unconfined: true, ..Options::default() };
            Some(tokio::spawn(Node::start(places, &args.name, &options).await?.run()))
        }
        Err(error) => return Err(error.into()),
    };
    let sent = send(&client, &args.paths, args.to.as_deref()).await;
    if let Some(running) = node {
        // The far end must have our goodbye before this process ends; it may be down already.
        let _ = client.down().await;
        let _ = running.await;
    }
    sent
}

async fn send(
    client: &Client,
    paths: &[PathBuf],
    folder: Option<&str>,
) -> Result<(Outcome, Option<TakenDown>), SendFailure> {
    let bar = Arc::new(Bar::new());
    let plan = Plan::scan(paths, &*bar)?;
    let stream = client.files(folder).await?;
    let journal = Arc::new(Journal::in_memory()?);
    let (transfer, keys) = (TransferId::random().map_err(SendError::Stream)?, keys(client).await?);
    let order = Order { plan, journal: Arc::clone(&journal), outbox: String::new(), transfer, keys };
    let outcome = tieline_transfer::send(stream, order, bar.clone()).await;
    if let Err(error) = hand_over(client, &journal).await {
        tracing::warn!(%error, "the receipts are not kept at this end; the far end has them");
    }
    bar.finish();
    match outcome {
        Ok(outcome) if is_cut(outcome.interruption.as_ref()) => {
            Ok((outcome, far_end::taken_down(client).await))
        }
        Ok(outcome) => Ok((outcome, None)),
        Err(error) if is_cut(Some(&error)) => {
            Err(far_end::taken_down(client).await.map_or(SendFailure::Send(error), SendFailure::TakenDown))
        }
        Err(error) => Err(error.into()),
    }
}

/// The signing keys of the line, as far as its process knows them.
async fn keys(client: &Client) -> Result<LineKeys, SendFailure> {
    let status = client.status().await?;
    let key = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let own = key(status.here.signing_key).ok_or(SendFailure::OlderLine)?;
    let keys = LineKeys::without_secret(own);
    if let Some(far_end) = key(status.far_end.signing_key) {
        // Nobody has shown another one yet.
        let _ = keys.learn(far_end);
    }
    Ok(keys)
}

/// Gives the receipts and the log of this process to the line, which keeps them.
async fn hand_over(client: &Client, journal: &Journal) -> Result<(), SendFailure> {
    let (mut receipt, mut link) = (0, 0);
    loop {
        let accounts =
            OtherAccounts { groups: journal.kept_groups(receipt)?, links: journal.kept_links(link)? };
        if accounts == OtherAccounts::default() {
            return Ok(());
        }
        receipt = accounts.groups.last().map_or(receipt, |group| group.last);
        link = accounts.links.last().map_or(link, |link| link.number);
        client.keep_accounts(&accounts).await?;
    }
}

fn is_cut(error: Option<&SendError>) -> bool {
    matches!(error, Some(SendError::Stream(_)))
}

/// Progress on the terminal: files, octets, rate, time left. Silent where nobody looks.
struct Bar {
    bar: ProgressBar,
    is_measured: AtomicBool,
}

impl Bar {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} looking: {msg}"));
        Self { bar, is_measured: AtomicBool::new(false) }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bar {
    fn scanned(&self, files: u64, bytes: u64) {
        self.bar.set_message(format!("{files} files, {}", octets(bytes)));
    }

    fn started(&self, _entries: u64, bytes: u64) {
        self.bar.set_style(style("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left  {wide_msg}"));
        self.bar.set_length(bytes);
        self.bar.reset();
        self.is_measured.store(true, Ordering::Relaxed);
    }

    fn file(&self, name: &RelativePath, _size: u64) {
        self.bar.set_message(name.to_string());
    }

    fn held(&self, bytes: u64) {
        self.moved(bytes);
    }

    fn moved(&self, bytes: u64) {
        if self.is_measured.load(Ordering::Relaxed) {
            self.bar.inc(bytes);
        }
    }

    fn settled(&self, entry: &EntryReport) {
        if !entry.fate.is_delivered() {
            self.bar.suspend(|| tracing::debug!(?entry, "not delivered"));
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.0.undelivered() {
            writeln!(f, "{entry}")?;
        }
        let totals = &self.0.totals;
        let delivered = totals.delivered;
        writeln!(
            f,
            "{} files and {} folders delivered, {}",
            delivered.files,
            delivered.folders,
            octets(delivered.bytes)
        )?;
        if totals.already_there.files > 0 {
            writeln!(f, "{} files were there already", totals.already_there.files)?;
        }
        if let Some(interruption) = &self.0.interruption {
            writeln!(f, "{interruption}")?;
        }
        Ok(())
    }
}
