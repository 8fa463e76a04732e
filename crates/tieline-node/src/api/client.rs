//! The client's side of the local API, as the program's commands use it.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use tieline_transfer::journal::accounts::{KeptGroup, KeptLink};

use super::accounts::{AccountsStart, OtherAccounts};
use super::{ApiError, CancelRequest, UPGRADE};
use crate::calls::CallsStatus;
use crate::files::incoming::IncomingStatus;
use crate::files::outgoing::{OutgoingStatus, cancel::Cancelled};
use crate::flows::FlowsStatus;
use crate::line_test::{Load, TestPhase};
use crate::status::{Pong, Status};

/// The longest answer that is read.
const ANSWER_LEN_MAX: usize = 4 << 20;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: the line is not up.
    #[error("the line is not up (nobody listens on {}); `tieline up` brings it up", .socket.display())]
    NotUp {
        /// Where we asked.
        socket: PathBuf,
    },
    /// The socket is not ours to use.
    #[error("the line runs as another user: {} may not be used by this one", .socket.display())]
    Forbidden {
        /// Where we asked.
        socket: PathBuf,
    },
    /// The connection failed.
    #[error("the running line does not answer")]
    Connection(#[source] io::Error),
    /// The answer was not understood.
    #[error(
        "the running line answers something that this version does not understand; is it of another version?"
    )]
    Answer(#[source] io::Error),
    /// The line said no, in these words.
    #[error("{0}")]
    Refused(String),
}

/// A running line, to be asked.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The line whose API listens on `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// How things are.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(Method::GET, "/v1/status").await
    }

    /// The round trip to the far end, now, of a packet of `size` octets (or of the smallest probe, if that is larger).
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn ping(&self, size: u16) -> Result<Pong, ClientError> {
        self.json(Method::POST, &format!("/v1/ping?size={size}")).await
    }

    /// What a call over the line is like during so many seconds, with the line filled as `load` says.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn test(&self, load: Load, seconds: u64) -> Result<TestPhase, ClientError> {
        let load = match load {
            Load::None => "none",
            Load::Out => "out",
            Load::In => "in",
        };
        self.json(Method::POST, &format!("/v1/test?load={load}&seconds={seconds}")).await
    }

    /// Takes the line down; returns when it has heard.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn down(&self) -> Result<(), ClientError> {
        let response = self.send(Method::POST, "/v1/down", false).await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// A transfer to the far end's inbox, or to `folder` in it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn files(
        &self,
        folder: Option<&str>,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ClientError> {
        let query = folder.map(|folder| format!("?folder={}", percent_encoded(folder))).unwrap_or_default();
        self.upgrade(&format!("/v1/files{query}")).await
    }

    /// How good the calls are.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn calls(&self) -> Result<CallsStatus, ClientError> {
        self.json(Method::GET, "/v1/calls").await
    }

    /// What goes out over the line, flow by flow.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn flows(&self) -> Result<FlowsStatus, ClientError> {
        self.json(Method::GET, "/v1/flows").await
    }

    /// What is going on in each outbox.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn transfers(&self) -> Result<Vec<OutgoingStatus>, ClientError> {
        self.json(Method::GET, "/v1/transfers").await
    }

    /// What is going on in each inbox.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn inboxes(&self) -> Result<Vec<IncomingStatus>, ClientError> {
        self.json(Method::GET, "/v1/inboxes").await
    }

    /// Stops an outbox, or lets it go on; the line's own has no name.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn set_paused(&self, outbox: &str, is_paused: bool) -> Result<(), ClientError> {
        let verb = if is_paused { "pause" } else { "resume" };
        let path = format!("/v1/transfers/{verb}?outbox={}", percent_encoded(outbox));
        let response = self.send(Method::POST, &path, false).await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Gives up what waits or is under way under `paths` below an outbox; the line's own has no name.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn cancel(&self, outbox: &str, paths: Vec<Vec<u8>>) -> Result<Cancelled, ClientError> {
        let body = serde_json::to_vec(&CancelRequest { paths });
        let body = body.map_err(|error| ClientError::Answer(error.into()))?;
        let path = format!("/v1/transfers/cancel?outbox={}", percent_encoded(outbox));
        let response = self.send_body(Method::POST, &path, false, body.into()).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        serde_json::from_slice(&self::body(response).await?)
            .map_err(|error| ClientError::Answer(error.into()))
    }

    /// With what a check of receipts and log begins.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn accounts_start(&self) -> Result<AccountsStart, ClientError> {
        self.json(Method::GET, "/v1/accounts").await
    }

    /// A page of the groups of receipts after number `after`.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn receipts(&self, after: u64) -> Result<Vec<KeptGroup>, ClientError> {
        self.json(Method::GET, &format!("/v1/receipts?after={after}")).await
    }

    /// A page of the links of the log after number `after`.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn log(&self, after: u64) -> Result<Vec<KeptLink>, ClientError> {
        self.json(Method::GET, &format!("/v1/log?after={after}")).await
    }

    /// Has the line keep receipts of a transfer that this process made.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn keep_accounts(&self, accounts: &OtherAccounts) -> Result<(), ClientError> {
        let body = serde_json::to_vec(accounts).map_err(|error| ClientError::Answer(error.into()))?;
        let response = self.send_body(Method::POST, "/v1/accounts", false, body.into()).await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// The pipe, once the far end has asked for it too.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn pipe(&self) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ClientError> {
        self.upgrade("/v1/pipe").await
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        let response = self.send(method, path, false).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        serde_json::from_slice(&body(response).await?).map_err(|error| ClientError::Answer(error.into()))
    }

    async fn upgrade(&self, path: &str) -> Result<TokioIo<hyper::upgrade::Upgraded>, ClientError> {
        let response = self.send(Method::POST, path, true).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map(TokioIo::new).map_err(|error| ClientError::Connection(io::Error::other(error)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        upgrade: bool,
    ) -> Result<Response<Incoming>, ClientError> {
        self.send_body(method, path, upgrade, Bytes::new()).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        upgrade: bool,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.not_connected(error))?;
        let broken = |error: hyper::Error| ClientError::Connection(io::Error::other(error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "tieline");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if upgrade {
            request = request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, UPGRADE);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| ClientError::Connection(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        sender.send_request(request).await.map_err(broken)
    }

    fn not_connected(&self, error: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotUp { socket },
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { socket },
            _ => ClientError::Connection(error),
        }
    }
}

async fn body(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let collected = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| ClientError::Answer(io::Error::other(error)))
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match body(response).await.map(|body| serde_json::from_slice::<ApiError>(&body)) {
        Ok(Ok(refused)) => ClientError::Refused(refused.error),
        Ok(Err(_)) => ClientError::Refused(format!("the running line answers {status}")),
        Err(error) => error,
    }
}

/// Everything but the unreserved characters of RFC 3986 §2.3 as `%XX`.
fn percent_encoded(text: &str) -> String {
    let unreserved = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    text.bytes()
        .map(|octet| if unreserved(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_survive_the_query() {
        assert_eq!(percent_encoded("Pläne/a b"), "Pl%C3%A4ne%2Fa%20b");
    }

    #[tokio::test]
    async fn line_that_is_not_up_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(&folder.path().join("nobody.sock"));
        assert!(matches!(client.status().await, Err(ClientError::NotUp { .. })));
    }
}
