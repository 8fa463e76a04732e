//! Sending over the line while somebody waits: with progress, and with an exit status that tells the truth.

use std::{
    fmt,
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tieline_node::{
    api::{
        accounts::OtherAccounts,
        client::{Client, ClientError},
    },
    config::Problems,
    node::{Node, Options, StartError},
    places::{LineName, Places},
};
use tieline_transfer::{
    EntryReport, Journal, JournalError, Order, Outcome, Plan, PlanError, Progress, RelativePath, SendError,
    protocol::Removed,
    receipt::{LineKeys, TransferId},
};

use super::status::octets;
use crate::failure::{CommandError, Exit, Failure};
use crate::far_end::{self, TakenDown};
use crate::{output, process};

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum DeliveryFailure {
    /// What was named cannot be sent.
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
    /// The process of the line does not say with which key it signs.
    #[error("the line is run by an older tieline; take it down and up again")]
    OlderLine,
    /// How far it came cannot be remembered.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl CommandError for DeliveryFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::Plan(_) | Self::Start(StartError::Config(_)) => Exit::Wrong,
            Self::Start(_) | Self::Client(_) | Self::TakenDown(_) | Self::Send(_) => Exit::Failed,
            Self::OlderLine | Self::Journal(_) => Exit::Failed,
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Start(StartError::Config(problems)) => Some(problems),
            _ => None,
        }
    }
}

/// Not everything is at the far end.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error("not everything was delivered; the report above names what was not, and why")]
    Reported,
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

/// Sends what `plan` finds to the far end's inbox, or to `folder` in it, and tells what became of it.
///
/// # Errors
///
/// If something of it is not at the far end.
pub(super) fn run(
    places: &Places,
    name: &LineName,
    folder: Option<&str>,
    json: bool,
    plan: impl FnOnce(&Bar) -> Result<Plan, PlanError>,
) -> Result<(), Failure> {
    let runtime = process::runtime()?;
    let (outcome, taken_down) = runtime.block_on(over_line(places, name, folder, plan))?;
    let complete = outcome.is_complete();
    output::report(json, &Sent(outcome))?;
    if complete {
        return Ok(());
    }
    Err(taken_down.map_or(Incomplete::Reported, Incomplete::TakenDown).into())
}

/// Sends over the line that is up, or, if none is, over one that this process runs until everything is sent. Says also which
/// end was taken down, if that is why it ended early.
async fn over_line(
    places: &Places,
    name: &LineName,
    folder: Option<&str>,
    plan: impl FnOnce(&Bar) -> Result<Plan, PlanError>,
) -> Result<(Outcome, Option<TakenDown>), DeliveryFailure> {
    let client = Client::new(&places.files(name).socket);
    let node = match client.status().await {
        Ok(_) => None,
        Err(ClientError::NotUp { .. }) => {
            // Whoever reads files with the user's own rights must be let.
            let options = Options { without_routes: true, unconfined: true, ..Options::default() };
            Some(tokio::spawn(Node::start(places, name, &options).await?.run()))
        }
        Err(error) => return Err(error.into()),
    };
    let sent = send(&client, folder, plan).await;
    if let Some(running) = node {
        // The far end must have our goodbye before this process ends; it may be down already.
        let _ = client.down().await;
        let _ = running.await;
    }
    sent
}

async fn send(
    client: &Client,
    folder: Option<&str>,
    plan: impl FnOnce(&Bar) -> Result<Plan, PlanError>,
) -> Result<(Outcome, Option<TakenDown>), DeliveryFailure> {
    let bar = Arc::new(Bar::new());
    let plan = plan(&bar)?;
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
        Err(error) if is_cut(Some(&error)) => Err(far_end::taken_down(client)
            .await
            .map_or(DeliveryFailure::Send(error), DeliveryFailure::TakenDown)),
        Err(error) => Err(error.into()),
    }
}

/// The signing keys of the line, as far as its process knows them.
async fn keys(client: &Client) -> Result<LineKeys, DeliveryFailure> {
    let status = client.status().await?;
    let key = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let own = key(status.here.signing_key).ok_or(DeliveryFailure::OlderLine)?;
    let keys = LineKeys::without_secret(own);
    if let Some(far_end) = key(status.far_end.signing_key) {
        // Nobody has shown another one yet.
        let _ = keys.learn(far_end);
    }
    Ok(keys)
}

/// Gives the receipts and the log of this process to the line, which keeps them.
async fn hand_over(client: &Client, journal: &Journal) -> Result<(), DeliveryFailure> {
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
pub(super) struct Bar {
    bar: ProgressBar,
    is_measured: AtomicBool,
}

impl Bar {
    pub(super) fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} looking: {msg}"));
        Self { bar, is_measured: AtomicBool::new(false) }
    }

    pub(super) fn finish(&self) {
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
        if totals.unchanged.files > 0 {
            writeln!(f, "{} files had not changed", totals.unchanged.files)?;
        }
        if let Some(Removed { files, folders, left }) = self.0.removed {
            writeln!(f, "{files} files and {folders} folders removed there")?;
            if left > 0 {
                writeln!(f, "{left} could not be removed; the log of the far end says why")?;
            }
        }
        if let Some(interruption) = &self.0.interruption {
            writeln!(f, "{interruption}")?;
        }
        Ok(())
    }
}
