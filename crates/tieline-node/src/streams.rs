//! The stream channel: one QUIC connection between the two ends, as it is, under label 16.
//!
//! The end with the smaller public key connects, the other accepts; both may open streams. The first stream is the control
//! stream (`control`), every other belongs to a service (`services`). The connection has no idle timeout: whether
//! the far end is there is the line's business, and after a cut it is told to go on at once ([`Streams::wake_up`]). A
//! restart of the far end shows in its hello; the connection to the instance before is dropped then.

pub mod channel;
mod circuit;
mod control;
mod frame;
pub mod identity;
mod meeting;
mod services;

use std::{io, sync::Arc, time::Duration};

use noq::{Connection, Endpoint, EndpointConfig, TransportConfig, VarInt};
use tieline_seal::PublicKey;
use tieline_transfer::Inbox;
use tieline_wire::control::{Accepted, Hello, StreamRequest};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use channel::{ChannelSocket, StreamChannel, far_address};
pub use circuit::Circuit;
use identity::{Identity, IdentityError};
use meeting::Meeting;

/// Streams that the far end may have open at once.
const STREAMS_MAX: u32 = 64;
/// Octets of one stream that may be on the way; at 300 ms round trip enough for 200 Mbit/s.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Octets of all streams that may be on the way.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How long a connection may take to be made; then it is tried anew, instead of waiting for ever longer between repetitions.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the end of the connection may take to be on its way.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(500);
/// Pause before connecting again after the connection failed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long somebody who wants a stream waits for the connection.
pub const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long the far end may take to answer a request that needs no person.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
/// Code of a connection that is closed because the far end was started anew.
const CLOSED_FOR_SUCCESSOR: u32 = 1;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection came up in time.
    #[error("the far end is not connected: no stream connection within {} s; `tieline status` says why", CONNECTION_WAIT_MAX.as_secs())]
    NotConnected,
    /// The connection broke.
    #[error("the stream connection broke")]
    Connection(#[from] noq::ConnectionError),
    /// The far end's answer did not come or was no answer.
    #[error("the far end did not answer the request for a stream")]
    Answer(#[source] io::Error),
    /// The far end said no.
    #[error("the far end refuses: {0}")]
    Refused(String),
    /// This end has one already.
    #[error("a pipe is open or waiting at this end already")]
    Busy,
}

/// What comes from the far end on the control stream.
#[derive(Debug)]
pub enum FromFarEnd {
    /// Who it is and what it offers.
    Hello(Hello),
    /// What it made of our offers.
    Accepted(Accepted),
    /// Files arrived.
    FilesReceived {
        /// Files delivered into the inbox.
        delivered: u64,
        /// Files and folders that were not.
        failed: u64,
    },
}

/// What the streams need to know of this end.
pub struct Setup {
    /// The certificate of this instance.
    pub identity: Identity,
    /// This end's key.
    pub own_key: PublicKey,
    /// Where files go; none if this end takes no files.
    pub inbox: Option<Arc<Inbox>>,
    /// What this end says of itself.
    pub hello: Hello,
    /// The largest packet of the channel.
    pub packet_len_max: u16,
    /// Where what the far end says goes.
    pub reports: mpsc::Sender<FromFarEnd>,
}

/// The stream channel of this end; clones share it.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    setup: Setup,
    transport: Arc<TransportConfig>,
    connection: watch::Sender<Option<Connection>>,
    accepted: watch::Sender<Option<Accepted>>,
    meeting: Meeting,
    running: Mutex<Option<JoinHandle<()>>>,
    /// Whether this end connects; none until the far end's key is known.
    connects: watch::Sender<Option<bool>>,
}

impl Streams {
    /// Makes the endpoint over `channel`; must be called on the runtime that is to drive it.
    ///
    /// # Errors
    ///
    /// If the endpoint cannot be made.
    pub fn new(channel: Arc<StreamChannel>, setup: Setup) -> io::Result<Self> {
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            None,
            Box::new(ChannelSocket(channel)),
            Arc::new(noq::TokioRuntime),
        )?;
        let transport = Arc::new(transport_config(setup.packet_len_max));
        Ok(Self(Arc::new(Inner {
            endpoint,
            setup,
            transport,
            connection: watch::Sender::new(None),
            accepted: watch::Sender::new(None),
            meeting: Meeting::default(),
            running: Mutex::new(None),
            connects: watch::Sender::new(None),
        })))
    }

    /// The far end has the key `peer`, which settles who connects: the end with the smaller key.
    pub fn set_peer(&self, peer: PublicKey) {
        self.0.connects.send_replace(Some(self.0.setup.own_key < peer));
    }

    /// The far end is the instance that shows the certificate `certificate`; a connection to another is dropped.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up for it.
    pub async fn set_far_end(&self, certificate: [u8; 32]) -> Result<(), IdentityError> {
        let inner = Arc::clone(&self.0);
        let mut running = inner.running.lock().await;
        if let Some(before) = running.take() {
            before.abort();
        }
        inner.drop_connection();
        let task = if inner.connects() {
            let mut config = inner.setup.identity.client_config(certificate)?;
            config.transport_config(Arc::clone(&inner.transport));
            tokio::spawn(connect_always(Arc::clone(&inner), config))
        } else {
            let mut config = inner.setup.identity.server_config(certificate)?;
            config.transport_config(Arc::clone(&inner.transport));
            inner.endpoint.set_server_config(Some(config));
            tokio::spawn(accept_always(Arc::clone(&inner)))
        };
        *running = Some(task);
        Ok(())
    }

    /// The path is whole again after a cut: what waits for a retransmission goes on at once.
    pub fn wake_up(&self) {
        self.0.endpoint.handle_network_change(None);
    }

    /// Tells the far end what became of its offers, now and after every reconnection.
    pub fn set_accepted(&self, accepted: Accepted) {
        self.0.accepted.send_replace(Some(accepted));
    }

    /// Whether the connection is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.connection.borrow().is_some()
    }

    /// Opens a stream for a service of the far end and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(&self, request: &StreamRequest) -> Result<Circuit, OpenError> {
        let connection = self.connection().await?;
        let (send, recv) = connection.open_bi().await?;
        let mut circuit = Circuit { send, recv };
        let answer = timeout(ANSWER_WAIT_MAX, circuit.request(request)).await;
        answer.map_err(|_elapsed| OpenError::Answer(io::ErrorKind::TimedOut.into()))??;
        Ok(circuit)
    }

    /// Waits until both ends have asked for a pipe, and returns it.
    ///
    /// # Errors
    ///
    /// `Busy` if this end has one already; otherwise it waits as long as it takes.
    pub async fn pipe(&self) -> Result<Circuit, OpenError> {
        let _place = self.0.meeting.take_place().ok_or(OpenError::Busy)?;
        // Somebody may want a pipe before the invitation is taken up.
        if !self.0.settled_who_connects().await {
            loop {
                // A request that found us and broke before it was answered is not ours to tell of: the next will find us.
                if let Some(circuit) = self.0.meeting.wait_for_far_end().await {
                    return Ok(circuit);
                }
            }
        }
        loop {
            match self.ask_for_pipe().await {
                Ok(circuit) => return Ok(circuit),
                Err(OpenError::Refused(reason)) => return Err(OpenError::Refused(reason)),
                // Not there yet, or gone while it waited: the far end may come back.
                Err(error) => tracing::debug!(%error, "waiting for the far end's pipe"),
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Closes the connection, as this end goes down.
    pub async fn close(&self) {
        if let Some(running) = self.0.running.lock().await.take() {
            running.abort();
        }
        self.0.endpoint.close(VarInt::from_u32(0), b"going down");
        // The far end must hear of it: whoever waits there for more would wait in vain.
        let _ = timeout(CLOSE_WAIT_MAX, self.0.endpoint.wait_all_draining()).await;
    }

    async fn ask_for_pipe(&self) -> Result<Circuit, OpenError> {
        let connection = self.connection().await?;
        let (send, recv) = connection.open_bi().await?;
        let mut circuit = Circuit { send, recv };
        circuit.request(&StreamRequest::Pipe).await?;
        Ok(circuit)
    }

    async fn connection(&self) -> Result<Connection, OpenError> {
        let mut connection = self.0.connection.subscribe();
        let up = timeout(CONNECTION_WAIT_MAX, connection.wait_for(Option::is_some)).await;
        let up = up.map_err(|_elapsed| OpenError::NotConnected)?;
        up.ok().and_then(|up| up.clone()).ok_or(OpenError::NotConnected)
    }
}

impl Inner {
    fn connects(&self) -> bool {
        self.connects.borrow().unwrap_or(false)
    }

    async fn settled_who_connects(&self) -> bool {
        let mut connects = self.connects.subscribe();
        // The sender lives as long as we do.
        connects.wait_for(Option::is_some).await.is_ok_and(|connects| connects.unwrap_or(false))
    }

    fn drop_connection(&self) {
        if let Some(before) = self.connection.send_replace(None) {
            before.close(VarInt::from_u32(CLOSED_FOR_SUCCESSOR), b"the far end was started anew");
        }
    }

    /// Serves one connection until it ends.
    async fn serve(self: &Arc<Self>, connection: Connection) {
        let control = match control::open(self, &connection).await {
            Ok(control) => control,
            Err(error) => return tracing::debug!(%error, "there was no control stream"),
        };
        tracing::debug!("streams are connected");
        // Not before: the first stream is the control stream, whoever else waits to open one.
        self.connection.send_replace(Some(connection.clone()));
        let reason = services::serve(self, &connection, control).await;
        tracing::debug!(%reason, "streams are disconnected");
        self.connection.send_if_modified(|current| {
            let ended = current.as_ref().is_some_and(|current| current.stable_id() == connection.stable_id());
            if ended {
                *current = None;
            }
            ended
        });
    }
}

async fn connect_always(inner: Arc<Inner>, config: noq::ClientConfig) {
    loop {
        match inner.endpoint.connect_with(config.clone(), far_address(), "tieline") {
            Ok(connecting) => match timeout(CONNECT_WAIT_MAX, connecting).await {
                Ok(Ok(connection)) => inner.serve(connection).await,
                Ok(Err(error)) => tracing::debug!(%error, "streams could not connect"),
                Err(_elapsed) => tracing::debug!("streams did not connect in time"),
            },
            Err(error) => tracing::warn!(%error, "streams cannot connect"),
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn accept_always(inner: Arc<Inner>) {
    // Ends with this task, so that no connection of an earlier instance is served on.
    let mut serving = JoinSet::new();
    while let Some(incoming) = inner.endpoint.accept().await {
        match timeout(CONNECT_WAIT_MAX, incoming).await {
            Ok(Ok(connection)) => {
                // The far end has one connection; a new one says that the one before is lost.
                serving.shutdown().await;
                inner.drop_connection();
                let inner = Arc::clone(&inner);
                serving.spawn(async move { inner.serve(connection).await });
            }
            Err(_elapsed) => tracing::debug!("a stream connection was not made in time"),
            Ok(Err(error)) => tracing::debug!(%error, "a stream connection was not made"),
        }
    }
}

fn transport_config(packet_len_max: u16) -> TransportConfig {
    let mut discovery = noq::MtuDiscoveryConfig::default();
    discovery.upper_bound(packet_len_max);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(None)
        .default_path_max_idle_timeout(None)
        .keep_alive_interval(None)
        .default_path_keep_alive_interval(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(false)
        .mtu_discovery_config(Some(discovery));
    transport
}

#[cfg(test)]
mod tests;
