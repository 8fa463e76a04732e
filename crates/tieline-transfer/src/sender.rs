//! The sending half of a transfer.
//!
//! ```text
//!  files ─▶ read, hash ─▶ [frames] ─▶ write ─▶ stream
//!               │                                │
//!             ledger ◀──────── listen ◀──────────┘
//! ```
//!
//! Reading waits for disks and so has a thread; writing and listening are part of the returned future and go on at the same
//! time, so neither end can wait for the other to listen. Nothing waits for an answer between files. When the future is
//! dropped the channel closes and the thread ends.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::frame::{self, FrameError};
use crate::ledger::Ledger;
use crate::outcome::{EntryKind, EntryReport, Fate, Progress, Totals};
use crate::plan::{Entry, Plan, PlannedKind};
use crate::protocol::{Hello, ReceiverMessage, SenderMessage, VERSION, Violation};
use crate::reading::{Block, read_all};
use crate::reason::StopReason;

/// Blocks between disk and stream: at most 1 MiB.
const BLOCKS_MAX: usize = 8;
/// How long to listen for the reason why the receiver takes nothing more.
const LAST_WORD_WAIT: Duration = Duration::from_secs(5);

/// What came of a transfer: what became of every file and folder that was named.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// In the order of the first pass; what it could not use comes last.
    pub entries: Vec<EntryReport>,
    /// How many of each fate.
    pub totals: Totals,
    /// Why it ended before its end, if it did.
    #[serde(serialize_with = "as_text")]
    pub interruption: Option<SendError>,
}

impl Outcome {
    /// Whether everything that was named is at the receiving end, verified and durable; nothing skipped, nothing failed.
    ///
    /// An interruption after the last verdict does not change that.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.totals.is_complete()
    }

    /// What is not at the receiving end.
    pub fn undelivered(&self) -> impl Iterator<Item = &EntryReport> {
        self.entries.iter().filter(|entry| !entry.fate.is_delivered())
    }
}

/// Why nothing, or nothing more, is sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The stream broke or ended.
    #[error("the transfer was cut: {0}; send again what is not confirmed")]
    Stream(io::Error),
    /// The receiver broke the protocol.
    #[error("the transfer was ended because the receiving end broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The receiver takes nothing, or nothing more.
    #[error(transparent)]
    Refused(StopReason),
}

impl From<FrameError> for SendError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stream(error) => Self::Stream(error),
            FrameError::Violation(violation) => Self::Violation(violation),
        }
    }
}

/// Sends everything in `plan` over `stream`, and returns when the receiver has said what became of each of it.
///
/// Must run on a tokio runtime with time enabled. Waits for a silent receiver as long as the caller does; dropping the future ends the
/// transfer, and the receiver discards what is not whole.
///
/// # Errors
///
/// Any [`SendError`] that comes before the receiver was ready: nothing was sent then. Whatever goes wrong later is in
/// [`Outcome::interruption`].
pub async fn send<S>(stream: S, plan: Plan, progress: Arc<dyn Progress>) -> Result<Outcome, SendError>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    introduce(&mut reader, &mut writer, &plan).await?;
    progress.started(plan.entries.len() as u64, plan.bytes());

    let job = Arc::new(Job { ledger: Ledger::new(plan.entries.len()), plan, progress });
    let (blocks, blocks_out) = mpsc::channel(BLOCKS_MAX);
    let reading = {
        let job = Arc::clone(&job);
        // If nobody takes the blocks any more, whoever stopped knows why.
        spawn_blocking(move || drop(read_all(&job, blocks)))
    };
    let talked = talk(&mut reader, &mut writer, blocks_out, &job).await;
    if let Err(error) = reading.await {
        match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(shutting_down) => return Err(SendError::Stream(shutting_down.into())),
        }
    }
    if talked.is_ok() {
        // The receiver is done and does not need to hear that we are.
        let _ = writer.shutdown().await;
    }
    Ok(job.outcome(talked.err()))
}

/// What is sent, what became of it so far, and who watches.
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) ledger: Ledger,
    pub(crate) progress: Arc<dyn Progress>,
}

impl Job {
    /// What is said of entry `index` when it has that fate.
    pub(crate) fn report(&self, index: usize, fate: Fate) -> EntryReport {
        let Entry { path, kind, .. } = &self.plan.entries[index];
        let (kind, size) = match *kind {
            PlannedKind::File { size } => (EntryKind::File, size),
            PlannedKind::Folder { .. } => (EntryKind::Folder, 0),
        };
        EntryReport { name: path.as_bytes().into(), kind, size, fate }
    }

    fn outcome(&self, interruption: Option<SendError>) -> Outcome {
        let fates = self.ledger.fates().into_iter().enumerate();
        let entries: Vec<EntryReport> = fates
            .map(|(index, fate)| self.report(index, fate))
            .chain(self.plan.set_aside.iter().cloned())
            .collect();
        let mut totals = Totals::default();
        for entry in &entries {
            totals.count(entry.kind, entry.size, &entry.fate);
        }
        Outcome { entries, totals, interruption }
    }
}

/// Says hello and waits to be welcome.
async fn introduce<R, W>(reader: &mut R, writer: &mut W, plan: &Plan) -> Result<(), SendError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut hello = Vec::new();
    let (entries, bytes) = (plan.entries.len() as u64, plan.bytes());
    SenderMessage::Hello(Hello { oldest: VERSION, newest: VERSION, entries, bytes }).emit(&mut hello);
    let said = async {
        writer.write_all(&hello).await?;
        writer.flush().await
    };
    said.await.map_err(SendError::Stream)?;
    loop {
        match ReceiverMessage::parse(&frame::read(reader).await?)? {
            ReceiverMessage::Welcome { version: VERSION } => return Ok(()),
            ReceiverMessage::Stop(reason) => return Err(SendError::Refused(reason)),
            ReceiverMessage::Unknown(kind) => {
                tracing::debug!(kind, "a message of a later version is ignored");
            }
            other @ (ReceiverMessage::Welcome { .. }
            | ReceiverMessage::Verdict { .. }
            | ReceiverMessage::Done) => return Err(Violation::OutOfPlace(other.kind()).into()),
        }
    }
}

/// Writes and listens until the receiver is done or either way is cut.
async fn talk<R, W>(
    reader: &mut R,
    writer: &mut W,
    blocks: mpsc::Receiver<Block>,
    job: &Job,
) -> Result<(), SendError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut writing = pin!(write_blocks(writer, blocks, &*job.progress));
    let mut listening = pin!(listen(reader, job));
    let written = tokio::select! {
        heard = &mut listening => return heard,
        written = &mut writing => written,
    };
    match written {
        Ok(()) if job.ledger.has_ended() => listening.await,
        // The reading thread is gone; what it was is known when it is joined.
        Ok(()) => Err(SendError::Stream(io::ErrorKind::BrokenPipe.into())),
        Err(error) => match timeout(LAST_WORD_WAIT, listening).await {
            Ok(Err(SendError::Stream(_))) | Err(_) => Err(SendError::Stream(error)),
            Ok(last_word) => last_word,
        },
    }
}

async fn write_blocks<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut blocks: mpsc::Receiver<Block>,
    progress: &dyn Progress,
) -> io::Result<()> {
    while let Some(Block { frames, file_bytes }) = blocks.recv().await {
        writer.write_all(&frames).await?;
        if blocks.is_empty() {
            writer.flush().await?;
        }
        if file_bytes > 0 {
            progress.moved(file_bytes);
        }
    }
    writer.flush().await
}

/// Enters every verdict until the receiver is done.
async fn listen<R: AsyncRead + Unpin>(reader: &mut R, job: &Job) -> Result<(), SendError> {
    loop {
        match ReceiverMessage::parse(&frame::read(reader).await?)? {
            ReceiverMessage::Verdict { entry, verdict } => {
                if let Some(fate) = job.ledger.on_verdict(entry, verdict)? {
                    let index = usize::try_from(entry).expect("an index of the ledger");
                    job.progress.settled(&job.report(index, fate));
                }
            }
            ReceiverMessage::Done => return Ok(job.ledger.check_done()?),
            ReceiverMessage::Stop(reason) => return Err(SendError::Refused(reason)),
            ReceiverMessage::Unknown(kind) => {
                tracing::debug!(kind, "a message of a later version is ignored");
            }
            ReceiverMessage::Welcome { .. } => {
                return Err(Violation::OutOfPlace(ReceiverMessage::Welcome { version: 0 }.kind()).into());
            }
        }
    }
}

fn as_text<S: serde::Serializer>(error: &Option<SendError>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}
