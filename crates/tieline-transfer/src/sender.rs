//! The sending half of a transfer.
//!
//! ```text
//!  files ─▶ read, hash ─▶ [frames] ─▶ write ─▶ stream
//!             ▲  │                               │
//!   [answers] ┘ ledger ◀─────── listen ◀─────────┘
//!                                 │
//!             journal ◀─ record ◀─ [settled]
//! ```
//!
//! Reading, comparing large changed files, and recording wait for disks and so have a thread each; writing and listening are part of the returned future and go on at the
//! same time, so neither end can wait for the other to listen. When the future is dropped the channels close and the threads end.

use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::audit::{Direction, Entry as LogEntry};
use crate::blocks::Block;
use crate::checking::Checking;
use crate::frame::{FrameError, Frames};
use crate::journal::Journal;
use crate::journal::accounts::Accounts;
use crate::journal::outgoing::DeliveredFile;
use crate::ledger::{Ledger, News, Version};
use crate::moment::Moment;
use crate::outcome::{EntryKind, EntryReport, Fate, Progress, Totals, Work};
use crate::plan::{Entry, Plan, PlannedKind};
use crate::protocol::{
    ASKED_MAX, ASKED_SMALL_MAX, HASH_LEN, Hello, ReceiverMessage, Removed, SenderMessage, VERSION, Verdict,
    Violation, receiver_bundle,
};
use crate::reading::{Answer, read_all};
use crate::reason::StopReason;
use crate::receipt::{Group, LineKeys, TransferId};
use crate::summing::Summing;

/// Blocks between disk and stream: at most 1 MiB.
const BLOCKS_MAX: usize = 8;
/// What was settled and is not recorded yet; also how many share a commit of the journal.
const SETTLED_MAX: usize = 256;
/// How long to listen for the reason why the receiver takes nothing more.
const LAST_WORD_WAIT: Duration = Duration::from_secs(5);

/// What came of a transfer: what became of every file and folder that was named.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// In the order of the first pass; what it could not use comes last.
    pub entries: Vec<EntryReport>,
    /// How many of each fate.
    pub totals: Totals,
    /// What was removed of a mirror, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
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
        self.totals.is_complete() && self.removed.is_none_or(|removed| removed.left == 0)
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

/// What is sent, and where it is remembered.
#[derive(Debug)]
pub struct Order {
    /// Files and folders to be sent.
    pub plan: Plan,
    /// Remembers what was delivered and how far it came.
    pub journal: Arc<Journal>,
    /// The name in the journal of the outbox that the files are in.
    pub outbox: String,
    /// The name of this transfer.
    pub transfer: TransferId,
    /// To whom receipts are to be made out, and by whom.
    pub keys: LineKeys,
}

/// Sends what is ordered over `stream`, and returns when the receiver has said what became of each of it.
///
/// Must run on a tokio runtime with time enabled. Waits for a silent receiver as long as the caller does; dropping the future ends the
/// transfer, and what is under way can go on later. `progress` sees an entry as settled when the journal has it.
///
/// # Errors
///
/// Any [`SendError`] that comes before the receiver has let us in: nothing was delivered then. Whatever goes wrong later is in
/// [`Outcome::interruption`].
pub async fn send<S>(stream: S, order: Order, progress: Arc<dyn Progress>) -> Result<Outcome, SendError>
where
    S: AsyncRead + AsyncWrite,
{
    let Order { plan, journal, outbox, transfer, keys } = order;
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = Frames::of(BufReader::new(reader), receiver_bundle);
    progress.started(plan.entries.len() as u64, plan.bytes());

    let (plan, room) = spawn_blocking(move || {
        let room = plan.room();
        (plan, room)
    })
    .await
    .map_err(|error| SendError::Stream(error.into()))?;
    let job = Arc::new(Job {
        ledger: Ledger::new(plan.entries.len()),
        plan,
        room,
        journal,
        outbox,
        transfer,
        removed: OnceLock::new(),
        progress,
    });
    let identity = SenderMessage::Identify { transfer, key: keys.own() };
    let (blocks, blocks_out) = mpsc::channel(BLOCKS_MAX);
    let (answers, answers_out) = mpsc::channel(ASKED_MAX + ASKED_SMALL_MAX);
    let (settled, settled_out) = mpsc::channel(SETTLED_MAX);
    let reading = {
        let (job, settled, more) = (Arc::clone(&job), settled.clone(), answers.downgrade());
        // If nobody takes the blocks any more, whoever stopped knows why.
        spawn_blocking(move || drop(read_all(&job, blocks, answers_out, &more, settled)))
    };
    let recording = {
        let job = Arc::clone(&job);
        spawn_blocking(move || record(&job, settled_out))
    };
    let checking = Checking::new(keys, transfer);
    let sums = Summing::new();
    let listener = Listener { job: &job, answers, settled, checking, sums, is_welcome: false };
    let (is_welcome, talked) = talk(&mut reader, &mut writer, identity, blocks_out, listener).await;
    for thread in [reading, recording] {
        if let Err(error) = thread.await {
            match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(shutting_down) => return Err(SendError::Stream(shutting_down.into())),
            }
        }
    }
    match talked {
        Ok(()) => {
            // The receiver is done and does not need to hear that we are.
            let _ = writer.shutdown().await;
            Ok(job.outcome(None))
        }
        Err(error) if is_welcome => Ok(job.outcome(Some(error))),
        Err(error) => Err(error),
    }
}

/// What is sent, what became of it so far, and who watches.
pub(crate) struct Job {
    pub(crate) plan: Plan,
    /// Octets that the files take at the other end.
    room: u64,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Arc<Journal>,
    pub(crate) outbox: String,
    transfer: TransferId,
    /// What the receiver says that it removed.
    removed: OnceLock<Removed>,
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
        Outcome { entries, totals, removed: self.removed.get().copied(), interruption }
    }
}

/// Writes and listens until the receiver is done or either way is cut. Says also whether it has let us in.
async fn talk<R, W>(
    reader: &mut Frames<R>,
    writer: &mut W,
    identity: SenderMessage<'_>,
    blocks: mpsc::Receiver<Block>,
    mut listener: Listener<'_>,
) -> (bool, Result<(), SendError>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let job = listener.job;
    let talked = {
        let mut writing = pin!(write_all(writer, identity, blocks, job));
        let mut listening = pin!(listener.run(reader));
        let written = tokio::select! {
            // Whatever is heard at once, the other end is told first who speaks.
            biased;
            written = &mut writing => Ok(written),
            heard = &mut listening => Err(heard),
        };
        match written {
            Err(heard) => heard,
            Ok(Ok(())) if job.ledger.has_ended() => listening.await,
            // The reading thread is gone; what it was is known when it is joined.
            Ok(Ok(())) => Err(SendError::Stream(io::ErrorKind::BrokenPipe.into())),
            Ok(Err(error)) => match timeout(LAST_WORD_WAIT, listening).await {
                Ok(Err(SendError::Stream(_))) | Err(_) => Err(SendError::Stream(error)),
                Ok(last_word) => last_word,
            },
        }
    };
    (listener.is_welcome, talked)
}

/// Says hello and who this is, and goes on without waiting for an answer.
async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    identity: SenderMessage<'_>,
    blocks: mpsc::Receiver<Block>,
    job: &Job,
) -> io::Result<()> {
    let mut hello = Vec::new();
    // Of a mirror most may be there.
    let bytes = if job.plan.mirror.is_some() { 0 } else { job.room };
    let entries = job.plan.entries.len() as u64;
    SenderMessage::Hello(Hello { oldest: VERSION, newest: VERSION, entries, bytes }).emit(&mut hello);
    identity.emit(&mut hello);
    writer.write_all(&hello).await?;
    write_blocks(writer, blocks, &*job.progress).await
}

async fn write_blocks<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut blocks: mpsc::Receiver<Block>,
    progress: &dyn Progress,
) -> io::Result<()> {
    while let Some(Block { frames, file_bytes }) = blocks.recv().await {
        let start = Instant::now();
        writer.write_all(&frames).await?;
        if blocks.is_empty() {
            writer.flush().await?;
        }
        progress.spent(Work::Stream, start.elapsed());
        if file_bytes > 0 {
            progress.moved(file_bytes);
        }
    }
    writer.flush().await
}

/// Hears what the receiver says.
struct Listener<'j> {
    job: &'j Job,
    answers: mpsc::Sender<Answer>,
    settled: mpsc::Sender<Settled>,
    checking: Checking,
    sums: Summing,
    is_welcome: bool,
}

/// An entry of which it is known what became of it.
pub(crate) struct Settled {
    pub(crate) index: usize,
    pub(crate) fate: Fate,
    /// What was sent, of a file that was sent to its end.
    pub(crate) version: Option<Version>,
    /// The group with the receipt for it.
    pub(crate) receipt: Option<Arc<Group>>,
}

impl Listener<'_> {
    /// Enters every word until the receiver is done.
    async fn run<R: AsyncRead + Unpin>(&mut self, reader: &mut Frames<R>) -> Result<(), SendError> {
        loop {
            let frame = reader.next().await?;
            let message = ReceiverMessage::parse(&frame)?;
            match message {
                ReceiverMessage::Unknown(kind) => {
                    tracing::debug!(kind, "a message of a later version is ignored");
                }
                ReceiverMessage::Stop(reason) => return Err(SendError::Refused(reason)),
                ReceiverMessage::Welcome { version: VERSION } if !self.is_welcome => self.is_welcome = true,
                ReceiverMessage::Verdict { entry, verdict } if self.is_welcome => {
                    self.on_verdict(entry, verdict).await?;
                }
                ReceiverMessage::Go { entry, from } if self.is_welcome => {
                    let (index, wanted) = self.job.ledger.on_go(entry, from)?;
                    let sums = self.sums.on_go(entry, wanted)?;
                    self.answer(Answer::Go { index, from, sums }).await;
                }
                ReceiverMessage::Sums { entry, octets } if self.is_welcome => {
                    self.sums.on_sums(&self.job.ledger, entry, octets)?;
                }
                ReceiverMessage::Identify { key } if self.is_welcome => {
                    if !self.checking.on_identify(key)? {
                        return Err(Violation::OutOfPlace(message.kind()).into());
                    }
                }
                ReceiverMessage::Receipt(octets) if self.is_welcome => {
                    let far_end = self.checking.far_end();
                    let far_end = far_end.ok_or(Violation::OutOfPlace(message.kind()))?;
                    self.checking.on_receipt(far_end, octets)?;
                }
                ReceiverMessage::Wanted(run) if self.is_welcome => self.job.ledger.on_wanted(run)?,
                ReceiverMessage::Checked if self.is_welcome => {
                    self.job.ledger.on_checked()?;
                    self.answer(Answer::Checked).await;
                }
                ReceiverMessage::Removed(removed)
                    if self.job.plan.mirror.is_some_and(|rules| rules.removes) =>
                {
                    if self.job.removed.set(removed).is_err() {
                        return Err(Violation::OutOfPlace(message.kind()).into());
                    }
                }
                ReceiverMessage::Done if self.is_welcome => {
                    self.job.ledger.check_done()?;
                    return Ok(self.checking.finish()?);
                }
                ReceiverMessage::Welcome { .. }
                | ReceiverMessage::Verdict { .. }
                | ReceiverMessage::Go { .. }
                | ReceiverMessage::Sums { .. }
                | ReceiverMessage::Identify { .. }
                | ReceiverMessage::Receipt(_)
                | ReceiverMessage::Wanted(_)
                | ReceiverMessage::Checked
                | ReceiverMessage::Removed(_)
                | ReceiverMessage::Bundle { .. }
                | ReceiverMessage::Done => return Err(Violation::OutOfPlace(message.kind()).into()),
            }
        }
    }

    async fn on_verdict(&mut self, entry: u64, verdict: Verdict) -> Result<(), SendError> {
        let index = usize::try_from(entry).map_err(|_| Violation::Verdict(entry))?;
        let mut receipt = None;
        let (job, checking) = (self.job, &mut self.checking);
        let check = |version: &Version| {
            receipt = checking.on_delivered(entry, &job.plan.entries[index].path, version, verdict)?;
            Ok(())
        };
        let Some(News { fate, is_answer, version }) = job.ledger.on_verdict(entry, verdict, check)? else {
            return Ok(());
        };
        if is_answer {
            self.answer(Answer::Settled { index }).await;
        }
        // The recording thread ends after this one.
        let _ = self.settled.send(Settled { index, fate, version, receipt }).await;
        Ok(())
    }

    async fn answer(&self, answer: Answer) {
        // A reading thread that is gone does not wait for an answer. There is room: each question has one.
        let _ = self.answers.send(answer).await;
    }
}

/// Enters into the journal what is settled, with its receipts, in groups as large as they gathered, and then tells whoever watches.
fn record(job: &Job, mut settled: mpsc::Receiver<Settled>) {
    let mut group = Vec::with_capacity(SETTLED_MAX);
    while settled.blocking_recv_many(&mut group, SETTLED_MAX) > 0 {
        let delivered = group.iter().filter(|settled| settled.fate.is_delivered()).filter_map(|settled| {
            let Version { stamp, size, hash, .. } = settled.version?;
            Some((&job.plan.entries[settled.index].path, DeliveredFile { stamp, size, hash }))
        });
        let accounts = accounts(job, &group, Moment::from(SystemTime::now()));
        if let Err(error) = job.journal.deliver(&job.outbox, delivered, &accounts) {
            tracing::warn!(%error, "what was delivered is not remembered, and will be offered again");
        }
        for Settled { index, fate, .. } in group.drain(..) {
            job.progress.settled(&job.report(index, fate));
        }
    }
}

/// The receipts for what is settled, each group once, and what the log says of it.
fn accounts(job: &Job, settled: &[Settled], now: Moment) -> Accounts {
    let mut accounts = Accounts::default();
    let mut newest: Option<(&Arc<Group>, [u8; HASH_LEN])> = None;
    for Settled { index, fate, version, receipt } in settled {
        if let Some(group) = receipt
            && newest.is_none_or(|(newest, _)| !Arc::ptr_eq(newest, group))
        {
            newest = Some((group, group.digest()));
            accounts.groups.push(Arc::clone(group));
        }
        let (report, hash) = (job.report(*index, *fate), version.map(|version| version.hash));
        let entry = LogEntry::of_report(&report, now, Direction::Sent, job.transfer, *index as u64, hash);
        let receipt = receipt.as_ref().and(newest).map(|(_, digest)| digest);
        let size = version.map(|version| version.size);
        accounts.entries.extend(entry.map(|entry| LogEntry {
            receipt,
            size: size.unwrap_or(entry.size),
            ..entry
        }));
    }
    accounts
}

fn as_text<S: serde::Serializer>(error: &Option<SendError>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}
