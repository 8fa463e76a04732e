//! The server's side of the local API.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tieline_line::test_call::PHASE_MAX;
use tieline_transfer::{Escaped, Journal, JournalError, RelativePath, receipt::LineKeys};
use tieline_wire::time::Now;
use tokio::{
    io::copy_bidirectional,
    net::UnixListener,
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    ApiError, CancelRequest, UPGRADE,
    accounts::{AccountsStart, OtherAccounts},
};
use crate::{
    calls::Watched,
    engine::Command,
    files::{
        Files,
        outgoing::cancel::{CancelError, PATHS_MAX},
    },
    line_test::{self, Load, TestError},
    streams::{Circuit, OpenError, Streams},
};

#[derive(Clone)]
struct Shared {
    commands: mpsc::Sender<Command>,
    streams: Streams,
    calls: Watched,
    files: Files,
    journal: Arc<Journal>,
    keys: LineKeys,
}

/// Serves the API until the task is dropped.
pub async fn serve(
    listener: UnixListener,
    commands: mpsc::Sender<Command>,
    streams: Streams,
    calls: Watched,
    files: Files,
    journal: Arc<Journal>,
    keys: LineKeys,
) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/ping", post(ping))
        .route("/v1/test", post(test))
        .route("/v1/down", post(down))
        .route("/v1/files", post(self::files))
        .route("/v1/calls", get(self::calls))
        .route("/v1/flows", get(flows))
        .route("/v1/transfers", get(transfers))
        .route("/v1/inboxes", get(inboxes))
        .route("/v1/transfers/pause", post(pause))
        .route("/v1/transfers/resume", post(resume))
        .route("/v1/transfers/cancel", post(cancel))
        .route("/v1/accounts", get(accounts_start).post(keep_accounts))
        .route("/v1/receipts", get(receipts))
        .route("/v1/log", get(log))
        .route("/v1/pipe", post(pipe))
        .with_state(Shared { commands, streams, calls, files, journal, keys });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the local API has ended");
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    let Some(mut status) = answer(&shared, Command::Status).await else { return going_down() };
    status.alarms.extend(shared.files.alarms());
    Json(status).into_response()
}

#[derive(Deserialize)]
struct PingQuery {
    #[serde(default)]
    size: u16,
}

async fn ping(State(shared): State<Shared>, Query(query): Query<PingQuery>) -> Response {
    let Some(status) = answer(&shared, Command::Status).await else { return going_down() };
    if query.size > status.here.mtu {
        let largest = status.here.mtu;
        let error =
            format!("a packet of {} octets does not fit: the largest on this line has {largest}", query.size);
        return self::error(StatusCode::BAD_REQUEST, error);
    }
    ask(&shared, |reply| Command::Ping(query.size, reply)).await
}

#[derive(Deserialize)]
struct TestQuery {
    #[serde(default)]
    load: Load,
    seconds: u64,
}

async fn test(State(shared): State<Shared>, Query(query): Query<TestQuery>) -> Response {
    let lasts = Duration::from_secs(query.seconds);
    if lasts.is_zero() || lasts > PHASE_MAX {
        let error = format!("a test lasts from 1 to {} seconds", PHASE_MAX.as_secs());
        return self::error(StatusCode::BAD_REQUEST, error);
    }
    match line_test::measure(&shared.commands, &shared.streams, query.load, lasts).await {
        Ok(phase) => Json(phase).into_response(),
        Err(TestError::GoingDown) => going_down(),
        Err(refused) => error(StatusCode::CONFLICT, refused.to_string()),
    }
}

async fn down(State(shared): State<Shared>) -> Response {
    match shared.commands.send(Command::Down).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(_gone) => going_down(),
    }
}

#[derive(Deserialize)]
struct FilesQuery {
    folder: Option<String>,
}

async fn files(State(shared): State<Shared>, Query(query): Query<FilesQuery>, request: Request) -> Response {
    let lanes = shared.streams.open_files(query.folder).await;
    give(request, lanes, |mut lanes, mut connection| async move {
        if let Err(error) = copy_bidirectional(&mut connection, &mut lanes).await {
            tracing::debug!(%error, "a transfer broke");
        }
    })
}

async fn calls(State(shared): State<Shared>) -> Response {
    Json(shared.calls.status(Now::from_system())).into_response()
}

async fn flows(State(shared): State<Shared>) -> Response {
    ask(&shared, Command::Flows).await
}

async fn transfers(State(shared): State<Shared>) -> Response {
    Json(shared.files.status()).into_response()
}

async fn inboxes(State(shared): State<Shared>) -> Response {
    Json(shared.files.inboxes()).into_response()
}

#[derive(Deserialize)]
struct OutboxQuery {
    #[serde(default)]
    outbox: String,
}

async fn pause(State(shared): State<Shared>, Query(query): Query<OutboxQuery>) -> Response {
    set_paused(&shared, &query.outbox, true)
}

async fn resume(State(shared): State<Shared>, Query(query): Query<OutboxQuery>) -> Response {
    set_paused(&shared, &query.outbox, false)
}

fn set_paused(shared: &Shared, outbox: &str, is_paused: bool) -> Response {
    if shared.files.set_paused(outbox, is_paused) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        error(StatusCode::NOT_FOUND, format!("the line has no outbox `{}`", outbox.escape_debug()))
    }
}

async fn cancel(
    State(shared): State<Shared>,
    Query(query): Query<OutboxQuery>,
    Json(CancelRequest { paths }): Json<CancelRequest>,
) -> Response {
    if paths.len() > PATHS_MAX {
        return error(StatusCode::BAD_REQUEST, format!("at most {PATHS_MAX} paths at once"));
    }
    let parse = |path: &Vec<u8>| {
        RelativePath::parse(path).map_err(|fault| format!("`{}` is not in an outbox: {fault}", Escaped(path)))
    };
    let paths = match paths.iter().map(parse).collect() {
        Ok(paths) => paths,
        Err(sentence) => return error(StatusCode::BAD_REQUEST, sentence),
    };
    match shared.files.cancel(&query.outbox, paths).await {
        Ok(cancelled) => Json(cancelled).into_response(),
        Err(failed) => {
            let status = match failed {
                CancelError::NoOutbox(_) => StatusCode::NOT_FOUND,
                CancelError::TooMany => StatusCode::BAD_REQUEST,
                CancelError::Gone | CancelError::GoingDown => StatusCode::SERVICE_UNAVAILABLE,
                CancelError::Journal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            error(status, failed.to_string())
        }
    }
}

async fn pipe(State(shared): State<Shared>, request: Request) -> Response {
    give(request, shared.streams.pipe().await, Circuit::join)
}

#[derive(Deserialize)]
struct PageQuery {
    #[serde(default)]
    after: u64,
}

async fn accounts_start(State(shared): State<Shared>) -> Response {
    look_up(shared, AccountsStart::of).await
}

async fn receipts(State(shared): State<Shared>, Query(query): Query<PageQuery>) -> Response {
    look_up(shared, move |journal| journal.kept_groups(query.after)).await
}

async fn log(State(shared): State<Shared>, Query(query): Query<PageQuery>) -> Response {
    look_up(shared, move |journal| journal.kept_links(query.after)).await
}

async fn keep_accounts(State(shared): State<Shared>, Json(accounts): Json<OtherAccounts>) -> Response {
    let keep = move || accounts.keep(&shared.keys, &shared.journal);
    match spawn_blocking(keep).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(refused)) => error(StatusCode::BAD_REQUEST, refused),
        Err(_shutting_down) => going_down(),
    }
}

/// What the journal says, on a thread that may wait for the disk.
async fn look_up<T: serde::Serialize + Send + 'static>(
    shared: Shared,
    look: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
) -> Response {
    match spawn_blocking(move || look(&shared.journal)).await {
        Ok(Ok(found)) => Json(found).into_response(),
        Ok(Err(failed)) => error(StatusCode::INTERNAL_SERVER_ERROR, failed.to_string()),
        Err(_shutting_down) => going_down(),
    }
}

async fn ask<T: serde::Serialize>(
    shared: &Shared,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Response {
    answer(shared, command).await.map_or_else(going_down, |answer| Json(answer).into_response())
}

/// What the control task says, unless it has ended.
async fn answer<T>(shared: &Shared, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    shared.commands.send(command(sender)).await.ok()?;
    answer.await.ok()
}

/// Answers 101 and has the connection joined with what was opened until both directions have ended.
fn give<C, F>(
    mut request: Request,
    opened: Result<C, OpenError>,
    join: impl FnOnce(C, TokioIo<Upgraded>) -> F + Send + 'static,
) -> Response
where
    C: Send + 'static,
    F: Future<Output = ()> + Send,
{
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return refusal(&error),
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return error(StatusCode::UPGRADE_REQUIRED, format!("ask for an upgrade to {UPGRADE}"));
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => join(opened, TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a connection of the local API ended too early"),
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(UPGRADE)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn refusal(refused: &OpenError) -> Response {
    let status = match refused {
        OpenError::Busy => StatusCode::CONFLICT,
        OpenError::Refused(_) => StatusCode::FORBIDDEN,
        OpenError::NoStreams(_) => StatusCode::NOT_IMPLEMENTED,
        OpenError::NotConnected | OpenError::TooMany | OpenError::Connection(_) | OpenError::Answer(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    error(status, refused.to_string())
}

fn going_down() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "this end is going down".into())
}

fn error(status: StatusCode, error: String) -> Response {
    (status, Json(ApiError { error })).into_response()
}
