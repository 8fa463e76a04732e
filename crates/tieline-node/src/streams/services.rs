//! The streams that the far end opens: each starts with a request, and is answered before it belongs to its service.

use std::{sync::Arc, time::Duration};

use noq::{Connection, VarInt};
use tieline_transfer::Received;
use tieline_wire::control::{StreamAnswer, StreamRequest};
use tokio::{task::JoinSet, time::timeout};

use super::lanes::Arrivals;
use super::{Circuit, FromFarEnd, Inner, control, frame, load, patience::Patient};
use crate::discovery;
use crate::files::incoming::Incoming;
use crate::ports;

/// How long the far end may take to say what a stream is for.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(10);
/// Code of a connection whose control stream has ended.
const CONTROL_ENDED: u32 = 2;
/// Code of a stream that nobody wants any more.
const NOT_WANTED: u32 = 3;

/// Serves `connection`, whose control stream is `control`, until it ends, and says why it did.
pub(super) async fn serve(inner: &Arc<Inner>, connection: &Connection, control: Circuit) -> String {
    let control = control::serve(inner, control);
    tokio::pin!(control);
    let mut requests = JoinSet::new();
    let arrivals = Arc::new(Arrivals::default());
    loop {
        tokio::select! {
            ended = &mut control => {
                connection.close(VarInt::from_u32(CONTROL_ENDED), b"the control stream ended");
                return ended.err().map_or_else(|| "the control stream ended".into(), |error| error.to_string());
            }
            opened = connection.accept_bi() => match opened {
                Ok((send, recv)) => {
                    let (inner, arrivals) = (Arc::clone(inner), Arc::clone(&arrivals));
                    let connection = connection.clone();
                    requests.spawn(async move { handle(&inner, &connection, &arrivals, Circuit { send, recv }).await });
                }
                Err(error) => return error.to_string(),
            },
            opened = connection.accept_uni() => match opened {
                Ok(lane) => {
                    let arrivals = Arc::clone(&arrivals);
                    requests.spawn(async move { arrivals.take_in(lane).await });
                }
                Err(error) => return error.to_string(),
            },
            datagram = connection.read_datagram() => match datagram {
                Ok(datagram) => inner.setup.ports.deliver(connection, datagram),
                Err(error) => return error.to_string(),
            },
            Some(_finished) = requests.join_next() => {}
        }
    }
}

async fn handle(inner: &Inner, connection: &Connection, arrivals: &Arrivals, mut stream: Circuit) {
    let request = match timeout(REQUEST_WAIT_MAX, frame::read(&mut stream.recv)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return tracing::debug!(%error, "a stream without a request"),
        Err(_elapsed) => return tracing::debug!("a stream whose request did not come"),
    };
    match request {
        StreamRequest::Files { folder } => match &inner.setup.inboxes {
            Some(inboxes) => {
                let (incoming, folder) = inboxes.choose(folder.as_deref());
                receive_files(inner, arrivals, incoming, folder, stream).await;
            }
            None => refuse(stream, "this end takes no files: it has no inbox").await,
        },
        StreamRequest::Pipe => pipe(inner, stream).await,
        StreamRequest::Test { send_seconds } => load::serve(inner, stream, send_seconds).await,
        StreamRequest::Port { name, protocol } => {
            ports::serve(&inner.setup.ports, connection, stream, &name, protocol).await;
        }
        StreamRequest::Discovery => discovery::serve(&inner.setup.discovery, stream).await,
        StreamRequest::Unknown => {
            refuse(stream, "this end does not know the service; it may be an older version").await;
        }
    }
}

/// Says yes; returns whether it could.
pub(crate) async fn accept(stream: &mut Circuit) -> bool {
    let answered = frame::write(&mut stream.send, &StreamAnswer::Accepted).await;
    answered.inspect_err(|error| tracing::debug!(%error, "an answer could not be given")).is_ok()
}

/// Says no, and why, in a sentence.
pub(crate) async fn refuse(mut stream: Circuit, reason: &str) {
    let answer = StreamAnswer::Refused { reason: reason.to_owned() };
    if frame::write(&mut stream.send, &answer).await.is_ok() && stream.send.finish().is_ok() {
        // The stream must live until the far end has its answer.
        let _ = timeout(REQUEST_WAIT_MAX, stream.send.stopped()).await;
    }
}

async fn receive_files(
    inner: &Inner,
    arrivals: &Arrivals,
    incoming: &Arc<Incoming>,
    folder: Option<&str>,
    mut stream: Circuit,
) {
    if !accept(&mut stream).await {
        return;
    }
    let lanes = match arrivals.gather(stream).await {
        Ok(lanes) => lanes,
        Err(error) => return tracing::info!(%error, "the lanes of a transfer did not come"),
    };
    // A transfer holds one of few places, so a sender may not be silent in it for ever.
    let patient = Patient::new(lanes, &inner.heard);
    let progress = incoming.receiving(folder);
    let folder = folder.map(str::as_bytes);
    let received = match tieline_transfer::receive(patient, incoming.inbox(), folder, progress).await {
        Ok(received) => received,
        Err(error) => {
            incoming.on_refused(&error);
            return tracing::info!(%error, "files were not received");
        }
    };
    if let Some(error) = &received.interruption {
        tracing::info!(%error, "a transfer ended before its end");
    }
    let report = report_of(&received, incoming.inbox().take_twins());
    tracing::info!(?report, "files came in");
    // Control may be busy with its end; then nobody asks any more.
    let _ = inner.setup.reports.send(report).await;
}

fn report_of(received: &Received, twins: u64) -> FromFarEnd {
    let totals = &received.totals;
    let not_stored =
        [&totals.skipped, &totals.refused, &totals.failed, &totals.unconfirmed, &totals.not_sent];
    FromFarEnd::FilesReceived {
        delivered: totals.delivered.files + totals.already_there.files,
        failed: not_stored.iter().map(|tally| tally.files + tally.folders).sum(),
        twins,
    }
}

/// Waits until somebody is at this end, and gives them the stream. A request whose maker went away is given up.
async fn pipe(inner: &Inner, mut stream: Circuit) {
    let mut early = [0; 1];
    let here = tokio::select! {
        here = inner.meeting.wait_for_here() => here,
        // Nothing may come before the answer: this is the far end hanging up.
        _ = stream.recv.read(&mut early) => None,
    };
    let Some(here) = here else {
        let _ = stream.send.reset(VarInt::from_u32(NOT_WANTED));
        return;
    };
    if accept(&mut stream).await && here.send(stream).is_err() {
        tracing::debug!("nobody is at this end of the pipe any more");
    }
}
