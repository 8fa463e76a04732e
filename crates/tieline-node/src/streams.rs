//! The stream channel: one QUIC connection between the two ends, as it is, under label 16.
//!
//! The end with the smaller public key connects, the other accepts; both may open streams. The first stream is the control
//! stream (`control`), every other belongs to a service (`services`). The connection has no idle timeout: whether
//! the far end is there is the line's business. A cut breaks nothing, and after it the connection is told to go on at
//! once ([`Streams::wake_up`]). What is dropped is the connection to a far end that will not come back: it said goodbye,
//! it was started anew, or it turned out to be no tieline ([`Streams::handle_event`]).

pub mod channel;
mod circuit;
pub mod congestion;
mod control;
mod frame;
pub mod identity;
pub mod lanes;
pub mod load;
mod meeting;
mod opening;
mod patience;
mod services;

use std::{io, sync::Arc, time::Duration};

use noq::{Connection, Endpoint, EndpointConfig, PathId, TransportConfig, VarInt};
use tieline_line::{Event, greeting::FarEnd, labels::Labels, liveness::Reachability};
use tieline_seal::PublicKey;
use tieline_transfer::inbox::TRANSFERS_MAX;
use tieline_wire::control::{Accepted, Hello, Internet};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::discovery::Discovery;
use crate::files::inboxes::Inboxes;
use crate::ports::{self, PortTable};
use channel::{ChannelSocket, StreamChannel, far_address};
pub use circuit::Circuit;
use congestion::Limits;
use identity::{Identity, IdentityError};
use load::CallsAtRisk;
use meeting::Meeting;
pub use opening::{CONNECTION_WAIT_MAX, NoStreams, OpenError, PLACE_WAIT_MAX};
pub(crate) use services::{accept, refuse};

/// Streams that the far end may have open at once, besides those of ports.
const STREAMS_MAX: u32 = 64;
/// Streams of ports that the far end may have open at once, if this end has ports.
const PORT_STREAMS_MAX: u32 = ports::CONNECTIONS_MAX as u32;
/// Streams that the far end may have open at once which go one way: the lanes of as many transfers as an inbox takes, and of one to be refused.
const LANE_STREAMS_MAX: u32 = (lanes::LANES as u32 - 1) * (TRANSFERS_MAX as u32 + 1);
/// Octets of one stream that may be on the way, or wait here for one that was lost or for a slow reader. What waits is kept packet by
/// packet, and noq 1.4 may end the whole connection when that are more than 1024 (as quinn did, quinn-rs/quinn#2809). So much fits into 900
/// of the smallest full packets. One stream carries 90 Mbit/s at a round trip of 80 ms, and less where much is lost.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Octets of all streams that may be on the way: at a round trip of 300 ms enough for 400 Mbit/s. With as much on the way in the other
/// direction that is 32 MiB, half of the memory that an end may take for files.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Octets of datagrams that wait to be sent: what a slow line carries in a tenth of a second. Newer ones are dropped.
const DATAGRAMS_SENT_BYTES: usize = 32 << 10;
/// Octets of datagrams that wait to be taken: what may arrive before QUIC's reader has its turn.
const DATAGRAMS_RECEIVED_BYTES: usize = 1 << 20;
/// How long a connection may take to be made; then it is tried anew, instead of waiting for ever longer between repetitions.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the end of the connection may take to be on its way.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(500);
/// Pause before connecting again after the connection failed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Code of a connection that is closed because the far end was started anew.
const CLOSED_FOR_SUCCESSOR: u32 = 1;
/// Code of a connection that is closed because the far end is not there any more, or no tieline.
const CLOSED_FOR_GOOD: u32 = 5;

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
        /// Names that appeared beside others from which they differ by case or spelling only.
        twins: u64,
    },
}

/// How a connection goes.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Octets of its packets that were sent, those that were sent again among them.
    pub sent_octets: u64,
    /// Round trip as its controller measures it.
    pub round_trip: Duration,
    /// Octets that its controller would have on the way.
    pub window_octets: u64,
}

/// What the streams need to know of this end.
pub struct Setup {
    /// The certificate of this instance.
    pub identity: Identity,
    /// This end's key.
    pub own_key: PublicKey,
    /// Where files go; none if this end takes no files.
    pub inboxes: Option<Inboxes>,
    /// What this end says of itself.
    pub hello: Hello,
    /// Gives out the labels that each control stream announces.
    pub labels: Arc<Labels>,
    /// The ports of this end.
    pub ports: PortTable,
    /// The relay of discovery.
    pub discovery: Discovery,
    /// The largest packet of the channel.
    pub packet_len_max: u16,
    /// Where what the far end says goes.
    pub reports: mpsc::Sender<FromFarEnd>,
    /// How many calls go on that a full line would harm, because nothing shapes what this end sends.
    pub calls_at_risk: Box<dyn Fn() -> usize + Send + Sync>,
}

/// The stream channel of this end; clones share it.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    setup: Setup,
    limits: Limits,
    transport: Arc<TransportConfig>,
    connection: watch::Sender<Option<Connection>>,
    accepted: watch::Sender<Option<Accepted>>,
    internet: watch::Sender<Option<Internet>>,
    meeting: Meeting,
    /// Held by who fills the line to measure it.
    loading: Mutex<()>,
    running: Mutex<Option<JoinHandle<()>>>,
    /// Whether this end connects; none until the far end's key is known.
    connects: watch::Sender<Option<bool>>,
    /// Whether the far end is heard; until it was silent for the first time it counts as heard.
    heard: watch::Sender<bool>,
    no_streams: watch::Sender<Option<NoStreams>>,
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
        let limits = Limits::default();
        let transport = Arc::new(transport_config(setup.packet_len_max, &limits, !setup.ports.is_empty()));
        Ok(Self(Arc::new(Inner {
            endpoint,
            setup,
            limits,
            transport,
            connection: watch::Sender::new(None),
            accepted: watch::Sender::new(None),
            internet: watch::Sender::new(None),
            meeting: Meeting::default(),
            loading: Mutex::default(),
            running: Mutex::new(None),
            connects: watch::Sender::new(None),
            heard: watch::Sender::new(true),
            no_streams: watch::Sender::new(None),
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
        inner.drop_connection(CLOSED_FOR_SUCCESSOR, "the far end was started anew");
        let task = if inner.connects() {
            let mut config = inner.setup.identity.client_config(certificate)?;
            config.transport_config(Arc::clone(&inner.transport));
            tokio::spawn(connect_while_there_are_streams(Arc::clone(&inner), config))
        } else {
            let mut config = inner.setup.identity.server_config(certificate)?;
            config.transport_config(Arc::clone(&inner.transport));
            inner.endpoint.set_server_config(Some(config));
            tokio::spawn(accept_always(Arc::clone(&inner)))
        };
        *running = Some(task);
        Ok(())
    }

    /// Takes what the line says of the far end: whether it is heard, and whether waiting for it is in vain.
    pub fn handle_event(&self, event: &Event) {
        match event {
            Event::Reachability(reachability) => {
                self.0.heard.send_replace(*reachability != Reachability::Silent);
            }
            Event::Goodbye => self.0.drop_connection(CLOSED_FOR_GOOD, "the far end said goodbye"),
            Event::FarEnd(FarEnd::IpOnly) => self.0.give_up(NoStreams::IpOnly),
            Event::FarEnd(FarEnd::Incompatible(_)) => self.0.give_up(NoStreams::Incompatible),
            Event::FarEnd(FarEnd::Tieline(_) | FarEnd::Unknown) => {
                self.0.no_streams.send_replace(None);
            }
            Event::SessionReady
            | Event::SessionLost
            | Event::RateReport { .. }
            | Event::PeerMoved { .. }
            | Event::Path(_)
            | Event::Paired { .. }
            | Event::KeyInUseTwice(_)
            | Event::OurKeyInUseTwice
            | Event::Answered { .. }
            | Event::Dial
            | Event::NoAnswer => {}
        }
    }

    /// The path is whole again after a cut: what waits for a retransmission goes on at once.
    pub fn wake_up(&self) {
        self.0.endpoint.handle_network_change(None);
    }

    /// Tells the far end what became of its offers, now and after every reconnection.
    pub fn set_accepted(&self, accepted: Accepted) {
        self.0.accepted.send_replace(Some(accepted));
    }

    /// Tells the far end that it may use this internet connection, now and after every reconnection.
    pub fn set_internet(&self, internet: Internet) {
        self.0.internet.send_if_modified(|known| known.replace(internet) != Some(internet));
    }

    /// How fast this end sends; what is set there counts at once, and for connections to come.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// How the connection goes at this moment, if there is one.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        let connection = self.0.connection.borrow().clone()?;
        let path = connection.path_stats(PathId::ZERO)?;
        let (round_trip, window_octets) = (path.rtt, path.cwnd);
        Some(Flow { sent_octets: connection.stats().udp_tx.bytes, round_trip, window_octets })
    }

    /// Whether the connection is up and the far end is heard, so that what is opened now comes to something.
    #[must_use]
    pub fn is_far_end_there(&self) -> bool {
        self.is_connected() && *self.0.heard.borrow()
    }

    /// Whether the connection is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.connection.borrow().is_some()
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
}

impl Inner {
    fn calls_at_risk(&self) -> Option<CallsAtRisk> {
        let calls = (self.setup.calls_at_risk)();
        (calls > 0).then_some(CallsAtRisk(calls))
    }

    fn connects(&self) -> bool {
        self.connects.borrow().unwrap_or(false)
    }

    fn give_up(&self, why: NoStreams) {
        self.no_streams.send_replace(Some(why));
        self.drop_connection(CLOSED_FOR_GOOD, "the far end is no tieline that has streams");
    }

    /// Closes the connection, and so breaks every stream.
    fn drop_connection(&self, code: u32, reason: &str) {
        if let Some(before) = self.connection.send_replace(None) {
            tracing::debug!(reason, "the stream connection is dropped");
            before.close(VarInt::from_u32(code), reason.as_bytes());
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

/// Connects, and again whenever the connection has ended, until the far end turns out to have no streams: plain WireGuard need not be
/// sent what it drops. If it says hello again, [`Streams::set_far_end`] begins anew.
async fn connect_while_there_are_streams(inner: Arc<Inner>, config: noq::ClientConfig) {
    tokio::select! {
        () = connect_always(&inner, config) => {}
        why = inner.no_streams() => tracing::debug!(%why, "streams are not connected any more"),
    }
}

async fn connect_always(inner: &Arc<Inner>, config: noq::ClientConfig) {
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
                inner.drop_connection(CLOSED_FOR_SUCCESSOR, "the far end made another connection");
                let inner = Arc::clone(&inner);
                serving.spawn(async move { inner.serve(connection).await });
            }
            Err(_elapsed) => tracing::debug!("a stream connection was not made in time"),
            Ok(Err(error)) => tracing::debug!(%error, "a stream connection was not made"),
        }
    }
}

fn transport_config(packet_len_max: u16, limits: &Limits, has_ports: bool) -> TransportConfig {
    // What waits for a stalled connection of a port must not hold back everything else.
    let (stalled_bytes, port_streams) =
        if has_ports { (ports::STALLED_BYTES_MAX, PORT_STREAMS_MAX) } else { (0, 0) };
    let mut discovery = noq::MtuDiscoveryConfig::default();
    discovery.upper_bound(packet_len_max);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(None)
        .default_path_max_idle_timeout(None)
        .keep_alive_interval(None)
        .default_path_keep_alive_interval(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX + port_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(LANE_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES + stalled_bytes))
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .congestion_controller_factory(Arc::new(limits.clone()))
        .datagram_receive_buffer_size(Some(DATAGRAMS_RECEIVED_BYTES))
        .datagram_send_buffer_size(DATAGRAMS_SENT_BYTES)
        .mtu_discovery_config(Some(discovery));
    transport
}

#[cfg(test)]
mod tests;
