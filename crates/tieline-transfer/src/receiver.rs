//! The receiving half of a transfer.
//!
//! ```text
//!                                   ┌─▶ [holds] ─▶ keep
//!  stream ─▶ read ─▶ [frames] ─▶ assemble ─▶ [ended] ─▶ publish, sign, log
//!                                   │ └─▶ [sums] ─▶ sum    │
//!                                   │                │     │
//!  stream ◀─ answer ◀── [replies] ◀─┴────────────────┴─────┘
//! ```
//!
//! Reading and answering are part of the returned future; assembling, keeping, summing and publishing wait for disks and so have a thread each.
//! Every arrow is a bounded channel: a slow disk slows the stream, and that the sender. While one group is being
//! published the next one gathers, so the size of a group follows the speed of the disk. When the future is dropped the channels
//! close, the threads end, and with them everything that is not whole and that the journal does not know.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::assembly::{Assembly, Ended, Outputs, Reply, Settled};
use crate::basis::{SUM_JOBS_MAX, SumsOpen, sum_all};
use crate::bundle::Bundler;
use crate::frame::{FrameError, Frames};
use crate::inbox::{Admission, Inbox, journal_errno};
use crate::keeping::{HOLDS_MAX, keep};
use crate::metadata::folder_times::FolderTimes;
use crate::mirror::{Mirroring, Tell};
use crate::moment::Moment;
use crate::outcome::{Fate, Progress, Totals};
use crate::path::RelativePath;
use crate::protocol::{
    DATA_LEN_MAX, ENTRIES_MAX, Hello, KeyFault, ReceiverMessage, SenderMessage, VERSION, Verdict, Violation,
    is_end, is_of_mirror, sender_bundle,
};
use crate::publish::{GROUP_MAX, note_arrived, publish_folder, publish_group};
use crate::reason::StopReason;
use crate::signing::Signing;

/// Frames between stream and disk: at most 2 MiB.
const FRAMES_MAX: usize = 32;
/// Verdicts and answers between disk and stream.
const REPLIES_MAX: usize = 256;

/// What came of a transfer that was welcome.
#[derive(Debug)]
pub struct Received {
    /// What became of the entries; also of those before an interruption.
    pub totals: Totals,
    /// Why it ended before its end, if it did.
    pub interruption: Option<ReceiveError>,
}

impl Received {
    /// Whether the sender came to its end and everything it offered was stored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.interruption.is_none() && self.totals.is_complete()
    }
}

/// Why nothing, or nothing more, is received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The stream broke or ended.
    #[error("the transfer was cut: {0}; what had not arrived whole is discarded")]
    Stream(io::Error),
    /// The sender broke the protocol.
    #[error("the transfer was ended because the sender broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// We do not take it; the sender was told.
    #[error("the transfer was not accepted: {0}")]
    Refused(StopReason),
}

impl ReceiveError {
    fn stop_reason(&self) -> Option<StopReason> {
        match self {
            Self::Stream(_) => None,
            Self::Violation(violation) => Some(StopReason::Violation { code: violation.code() }),
            Self::Refused(reason) => Some(*reason),
        }
    }
}

impl From<FrameError> for ReceiveError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stream(error) => Self::Stream(error),
            FrameError::Violation(violation) => Self::Violation(violation),
        }
    }
}

/// Receives one transfer from `stream` into `folder` below the inbox, or into the inbox itself.
///
/// Must run on a tokio runtime. Waits for a silent sender as long as the caller does; dropping the future ends the transfer and
/// removes what is not whole, shortly afterwards and on another thread. `progress` sees every entry as it is settled.
///
/// # Errors
///
/// `Refused` if the transfer is not accepted, `Stream` or `Violation` if it ends before it was; the inbox is untouched then, except
/// that `folder` may have been created. Whatever goes wrong later is in [`Received::interruption`].
pub async fn receive<S>(
    stream: S,
    inbox: &Arc<Inbox>,
    folder: Option<&[u8]>,
    progress: Arc<dyn Progress>,
) -> Result<Received, ReceiveError>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = Frames::of(BufReader::with_capacity(DATA_LEN_MAX, reader), sender_bundle);
    let accepted = match accept(&mut reader, inbox, folder).await {
        Ok(accepted) => accepted,
        Err(error) => {
            if let Some(reason) = error.stop_reason() {
                // Whoever cannot be told has gone; the reason is returned either way.
                let _ = write(&mut writer, ReceiverMessage::Stop(reason)).await;
                let _ = writer.shutdown().await;
            }
            return Err(error);
        }
    };
    write(&mut writer, ReceiverMessage::Welcome { version: VERSION }).await.map_err(ReceiveError::Stream)?;
    progress.started(accepted.hello.entries, accepted.hello.bytes);

    let (frames, frames_out) = mpsc::channel(FRAMES_MAX);
    let (ended, ended_out) = mpsc::channel(GROUP_MAX);
    let (replies, replies_out) = mpsc::channel(REPLIES_MAX);
    let (holds, holds_out) = mpsc::channel(HOLDS_MAX);
    let Accepted { hello, admission, folder } = accepted;
    let signing = Arc::new(Signing::new(inbox.keys().cloned()));
    let (sums, sums_out) = mpsc::channel(SUM_JOBS_MAX);
    let sums_open = Arc::new(SumsOpen::new());
    let outputs = Outputs { ended, replies: replies.clone(), holds, sums, sums_open: Arc::clone(&sums_open) };
    let mirror =
        MirrorPlace { admission: Arc::clone(&admission), folder: folder.clone(), entries: hello.entries };
    let assembly =
        Assembly::new(Arc::clone(&admission), folder, hello.entries, outputs, Arc::clone(&progress));
    let assembling = {
        let (signing, replies) = (Arc::clone(&signing), replies.clone());
        spawn_blocking(move || assemble(frames_out, assembly, mirror, &signing, replies))
    };
    let keeping = {
        let admission = Arc::clone(&admission);
        spawn_blocking(move || keep(&admission, holds_out))
    };
    let summing = {
        let (admission, replies) = (Arc::clone(&admission), replies.clone());
        spawn_blocking(move || sum_all(&admission, sums_out, &replies, &sums_open))
    };
    let publishing = spawn_blocking(move || publish(&admission, ended_out, &signing, &replies));
    let broken = Notify::new();
    let (summing, publishing) = (watched(summing, &broken), watched(publishing, &broken));
    let reading = async {
        tokio::select! {
            read = read_frames(reader, frames) => read,
            () = broken.notified() => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
        }
    };
    let mut answers = Answers { writer, totals: Totals::default(), progress };
    let (read, assembled, kept, summed, published, answered) =
        tokio::join!(reading, assembling, keeping, summing, publishing, answers.run(replies_out, &broken));

    let interruption = interruption(read, assembled, kept.and(summed).and(published), answered);
    let last = match &interruption {
        None => Some(ReceiverMessage::Done),
        Some(error) => error.stop_reason().map(ReceiverMessage::Stop),
    };
    let told = answers.finish(last).await;
    let interruption = interruption.or(told.err().map(ReceiveError::Stream));
    Ok(Received { totals: answers.totals, interruption })
}

/// Waits for a thread whose word the sender may wait for, and has it hang up if that is lost.
async fn watched(thread: JoinHandle<()>, broken: &Notify) -> Result<(), JoinError> {
    let ended = thread.await;
    if ended.is_err() {
        broken.notify_one();
    }
    ended
}

struct Accepted {
    hello: Hello,
    admission: Arc<Admission>,
    folder: Option<RelativePath>,
}

/// Reads the hello and decides about the transfer as a whole.
async fn accept<R: AsyncRead + Unpin>(
    reader: &mut Frames<R>,
    inbox: &Arc<Inbox>,
    folder: Option<&[u8]>,
) -> Result<Accepted, ReceiveError> {
    let frame = reader.next().await?;
    let hello = match SenderMessage::parse(&frame)? {
        SenderMessage::Hello(hello) => hello,
        other => return Err(Violation::OutOfPlace(other.kind()).into()),
    };
    if !(hello.oldest..=hello.newest).contains(&VERSION) {
        return Err(ReceiveError::Refused(StopReason::Version { newest: u64::from(VERSION) }));
    }
    if hello.entries > ENTRIES_MAX {
        return Err(ReceiveError::Refused(StopReason::TooManyEntries { limit: ENTRIES_MAX }));
    }
    let admission = inbox.admit().map_err(|running| ReceiveError::Refused(StopReason::Busy { running }))?;
    let folder = folder
        .map(RelativePath::parse)
        .transpose()
        .map_err(|fault| ReceiveError::Refused(StopReason::FolderName(fault.code())))?;
    spawn_blocking(move || {
        prepare(&admission, &hello, folder.as_ref()).map_err(ReceiveError::Refused)?;
        Ok(Accepted { hello, admission: Arc::new(admission), folder })
    })
    .await
    .map_err(thread_gone)?
}

fn prepare(inbox: &Inbox, hello: &Hello, folder: Option<&RelativePath>) -> Result<(), StopReason> {
    let refuse = |errno: u64| StopReason::Folder { errno };
    let free = inbox
        .free_bytes()
        .map_err(|error| refuse(error.raw_os_error().unwrap_or_default().unsigned_abs().into()))?;
    if hello.bytes > free {
        return Err(StopReason::NoSpace { missing_bytes: hello.bytes - free });
    }
    match folder {
        Some(folder) => publish_folder(inbox, folder)
            .map_err(|error| refuse(u64::from(error.raw_os_error().unsigned_abs()))),
        None => Ok(()),
    }
}

/// Hands every frame on, up to the sender's end or until nobody takes them.
async fn read_frames<R: AsyncRead + Unpin>(
    mut reader: Frames<R>,
    frames: mpsc::Sender<Vec<u8>>,
) -> Result<(), FrameError> {
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame?,
            () = frames.closed() => return Ok(()),
        };
        let last = is_end(&frame);
        if frames.send(frame).await.is_err() || last {
            return Ok(());
        }
    }
}

/// Returns whether the sender came to its end.
fn assemble(
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut assembly: Assembly,
    place: MirrorPlace,
    signing: &Signing,
    replies: mpsc::Sender<Reply>,
) -> Result<bool, ReceiveError> {
    let (mut is_first, mut mirror, mut has_begun) = (true, None, false);
    while let Some(frame) = frames.blocking_recv() {
        if assembly.is_alone() {
            break;
        }
        if std::mem::replace(&mut is_first, false)
            && let SenderMessage::Identify { transfer, key } = SenderMessage::parse(&frame)?
        {
            if let Some(keys) = signing.keys() {
                keys.learn(key).map_err(KeyFault::from).map_err(Violation::from)?;
            }
            if let Some(own) = signing.begin(transfer, key) {
                // Nobody listens any more when the transfer was cut.
                let _ = replies.blocking_send(Reply::Identify(own));
            }
            continue;
        }
        if is_of_mirror(&frame) && !has_begun {
            let message = SenderMessage::parse(&frame)?;
            mirror = Some(place.handle(mirror, message, signing, &replies)?);
            continue;
        }
        if mirror.as_ref().is_some_and(|mirror| !mirror.is_listed()) {
            return Err(Violation::OutOfPlace(SenderMessage::parse(&frame)?.kind()).into());
        }
        has_begun = true;
        if assembly.handle_frame(&frame)? {
            if let Some(removed) = mirror.and_then(|mirror| mirror.finish(signing)) {
                let _ = replies.blocking_send(Reply::Removed(removed));
            }
            return Ok(true);
        }
    }
    assembly.finish();
    Ok(false)
}

/// What a mirror has to be told of its transfer.
struct MirrorPlace {
    admission: Arc<Admission>,
    folder: Option<RelativePath>,
    entries: u64,
}

impl MirrorPlace {
    /// Handles a message about a mirror, which is as it was told so far, or is not begun.
    fn handle(
        &self,
        mirror: Option<Mirroring>,
        message: SenderMessage<'_>,
        signing: &Signing,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<Mirroring, ReceiveError> {
        // Nobody listens any more when the transfer was cut.
        let mut tell = Tell {
            wanted: &mut |run| drop(replies.blocking_send(Reply::Wanted(run))),
            is_gone: &|| replies.is_closed(),
        };
        match (message, mirror) {
            (SenderMessage::Mirror { rules, key }, None) => {
                Mirroring::begin(&self.admission, self.folder.as_ref(), self.entries, rules, key)
            }
            (SenderMessage::Listing { len, packed }, Some(mut mirror)) if !mirror.is_listed() => {
                mirror.on_listing(len, packed, signing, &mut tell)?;
                Ok(mirror)
            }
            (SenderMessage::Listed, Some(mut mirror)) if !mirror.is_listed() => {
                mirror.on_listed(signing, &mut tell)?;
                let _ = replies.blocking_send(Reply::Checked);
                Ok(mirror)
            }
            (message, _) => Err(Violation::OutOfPlace(message.kind()).into()),
        }
    }
}

/// Publishes what is ready in groups as large as they gathered, signs for it, and logs it with what gets no name.
fn publish(
    inbox: &Inbox,
    mut ended: mpsc::Receiver<Ended>,
    signing: &Signing,
    replies: &mpsc::Sender<Reply>,
) {
    let mut batch = Vec::with_capacity(GROUP_MAX);
    let mut folder_times = FolderTimes::default();
    while ended.blocking_recv_many(&mut batch, GROUP_MAX) > 0 {
        let (mut group, mut settled) = (Vec::new(), Vec::new());
        for ended in batch.drain(..) {
            match ended {
                Ended::Ready(ready) => group.push(ready),
                Ended::Settled(one) => settled.push(one),
            }
        }
        let mut verdicts = publish_group(inbox, &mut group);
        let now = Moment::from(SystemTime::now());
        let mut accounts = signing.account(&group, &verdicts, now);
        let log = |one: &Settled| signing.entry(one.entry, &one.report, None, now);
        accounts.entries.extend(settled.iter().filter_map(log));
        if let Err(error) = note_arrived(inbox, &group, &verdicts, &accounts) {
            tracing::error!(%error, "what arrived cannot be remembered, and is not called delivered");
            accounts.groups.clear();
            let errno = journal_errno(error);
            for verdict in verdicts.iter_mut().filter(|verdict| Fate::from(**verdict).is_delivered()) {
                *verdict = Verdict::Failed(errno.into());
            }
        }
        // Whole files are kept also when the sender has gone and cannot be told.
        let mut groups = accounts.groups.into_iter().peekable();
        for (ready, verdict) in group.into_iter().zip(verdicts) {
            folder_times.note(&ready, verdict);
            if let Some(receipts) = groups.next_if(|group| group.records()[0].entry == ready.entry) {
                let _ = replies.blocking_send(Reply::Receipt(receipts));
            }
            let report = ready.report(verdict);
            settled.push(Settled { entry: ready.entry, verdict: Some(verdict), report });
            for one in settled.drain(..) {
                let _ = replies.blocking_send(Reply::Settled(one));
            }
        }
        for one in settled {
            let _ = replies.blocking_send(Reply::Settled(one));
        }
    }
    folder_times.restore(inbox);
}

struct Answers<W> {
    writer: W,
    totals: Totals,
    progress: Arc<dyn Progress>,
}

impl<W: AsyncWrite + Unpin> Answers<W> {
    /// Writes every verdict; goes on counting when the stream is broken, and says that it is.
    async fn run(&mut self, mut replies: mpsc::Receiver<Reply>, broken: &Notify) -> io::Result<()> {
        let mut result = Ok(());
        let mut batch = Vec::with_capacity(REPLIES_MAX);
        let mut out = Vec::new();
        let mut bundler = Bundler::new(|len, packed, out| ReceiverMessage::Bundle { len, packed }.emit(out));
        while replies.recv_many(&mut batch, REPLIES_MAX).await > 0 {
            for reply in batch.drain(..) {
                let mut put =
                    |message: ReceiverMessage<'_>| bundler.add(&mut out, |frame| message.emit(frame));
                match reply {
                    Reply::Go { entry, from } => put(ReceiverMessage::Go { entry, from }),
                    Reply::Sums { entry, octets } => {
                        put(ReceiverMessage::Sums { entry, octets: &octets });
                    }
                    Reply::Identify(key) => put(ReceiverMessage::Identify { key }),
                    Reply::Receipt(group) => {
                        let mut octets = Vec::new();
                        group.emit(&mut octets);
                        put(ReceiverMessage::Receipt(&octets));
                    }
                    Reply::Wanted(run) => put(ReceiverMessage::Wanted(run)),
                    Reply::Checked => put(ReceiverMessage::Checked),
                    Reply::Removed(removed) => {
                        tracing::info!(?removed, "what is not at the far end any more was removed");
                        put(ReceiverMessage::Removed(removed));
                    }
                    Reply::Settled(Settled { entry, verdict, report }) => {
                        self.totals.count(report.kind, report.size, &report.fate);
                        self.progress.settled(&report);
                        if let Some(verdict) = verdict {
                            put(ReceiverMessage::Verdict { entry, verdict });
                        }
                    }
                }
            }
            bundler.flush(&mut out);
            if result.is_ok() {
                result = write_out(&mut self.writer, &out).await;
                if result.is_err() {
                    broken.notify_one();
                }
            }
            out.clear();
        }
        result
    }

    async fn finish(&mut self, last: Option<ReceiverMessage<'_>>) -> io::Result<()> {
        if let Some(last) = last {
            write(&mut self.writer, last).await?;
        }
        self.writer.shutdown().await
    }
}

async fn write<W: AsyncWrite + Unpin>(writer: &mut W, message: ReceiverMessage<'_>) -> io::Result<()> {
    let mut out = Vec::new();
    message.emit(&mut out);
    write_out(writer, &out).await
}

async fn write_out<W: AsyncWrite + Unpin>(writer: &mut W, out: &[u8]) -> io::Result<()> {
    writer.write_all(out).await?;
    writer.flush().await
}

/// What ended the transfer before its end; the cause before its consequences.
fn interruption(
    read: Result<(), FrameError>,
    assembled: Result<Result<bool, ReceiveError>, JoinError>,
    published: Result<(), JoinError>,
    answered: io::Result<()>,
) -> Option<ReceiveError> {
    let ended = match assembled {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Some(error),
        Err(error) => return Some(thread_gone(error)),
    };
    if let Err(error) = published {
        return Some(thread_gone(error));
    }
    match answered.map_err(ReceiveError::Stream).and(read.map_err(ReceiveError::from)) {
        Err(error) => Some(error),
        Ok(()) if !ended => Some(ReceiveError::Stream(io::ErrorKind::UnexpectedEof.into())),
        Ok(()) => None,
    }
}

/// A thread that ended by itself panicked, and so do we; else the runtime is shutting down.
fn thread_gone(error: JoinError) -> ReceiveError {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => ReceiveError::Stream(error.into()),
    }
}
