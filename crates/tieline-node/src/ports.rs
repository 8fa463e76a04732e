//! Ports: a service of one office, offered at the other by name, without a network device.
//!
//! The end that offers a port listens (`listening`). Each connection, and each client of a UDP port, gets a stream of the line, which asks
//! the far end for the service by name. That end alone knows where it is, and connects (`serving`). Then the two are joined: octets by
//! `tcp`, datagrams by `udp`.
//!
//! - Nothing waits without a bound: what one side does not take holds the other side back through the stream's window.
//! - An end is passed on for each direction by itself. A break stays a break: the other side sees a reset, also when this process is killed.
//! - A cut of the line breaks nothing that is open. What is new while the far end is not there is refused at once.

mod datagrams;
mod figures;
mod listening;
mod serving;
mod tcp;
mod udp;

use std::sync::Arc;

use hyper::body::Bytes;
use noq::Connection;
use tieline_wire::control::PortProtocol;
use tokio::sync::Semaphore;

use crate::config::{PortConfig, PortSide};
use crate::status::PortStatus;
use datagrams::DatagramTable;
use figures::Figures;
pub use listening::{BindError, Bound};
pub(crate) use serving::serve;

/// Connections and UDP clients of all ports of a line that one end may have opened: each has a stream.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections and UDP clients of one port, so that others are left with some.
pub const CONNECTIONS_OF_PORT_MAX: usize = 128;
/// Connections of a line that may be stalled: for ten seconds whoever is behind them took nothing. What waits for them takes room from
/// all streams ([`STALLED_BYTES_MAX`]); beyond it there is room for some more, so that the others go on.
pub const STALLED_MAX: usize = 40;
/// Octets that may be on the way in streams of ports, or wait for who is stalled, before all streams are held back.
pub const STALLED_BYTES_MAX: u32 = 48 << 20;

/// Priority in QUIC of streams that carry little; those of files have 0.
const PRIORITY: i32 = 1;

/// All ports of an end; clones share them.
#[derive(Clone, Debug)]
pub struct PortTable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ports: Vec<Arc<Port>>,
    /// Places for what this end opens.
    opened: Arc<Semaphore>,
    /// Places for what the far end opens.
    served: Semaphore,
    datagrams: DatagramTable,
}

/// One port, and what became of it.
#[derive(Debug)]
struct Port {
    config: PortConfig,
    figures: Figures,
    /// Places for its connections.
    places: Arc<Semaphore>,
    /// Places for those that are stalled; all ports share them.
    stalled: Arc<Semaphore>,
}

impl PortTable {
    /// The ports that the configuration names; nothing is opened yet.
    #[must_use]
    pub fn new(ports: &[PortConfig]) -> Self {
        let stalled = Arc::new(Semaphore::new(STALLED_MAX));
        let port = |config: &PortConfig| {
            Arc::new(Port {
                config: config.clone(),
                figures: Figures::default(),
                places: Arc::new(Semaphore::new(CONNECTIONS_OF_PORT_MAX)),
                stalled: Arc::clone(&stalled),
            })
        };
        Self(Arc::new(Inner {
            ports: ports.iter().map(port).collect(),
            opened: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            served: Semaphore::new(CONNECTIONS_MAX),
            datagrams: DatagramTable::default(),
        }))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ports.is_empty()
    }

    /// TCP ports that this end connects to; by name an address may still turn out to be any.
    pub fn tcp_destinations(&self) -> impl Iterator<Item = u16> {
        let tcp = self.0.ports.iter().filter(|port| port.config.protocol == PortProtocol::Tcp);
        tcp.filter_map(|port| match &port.config.side {
            PortSide::To(address) => Some(address.port()),
            PortSide::Listen(_) => None,
        })
    }

    /// Takes in a datagram that came through `connection`.
    pub(crate) fn deliver(&self, connection: &Connection, datagram: Bytes) {
        self.0.datagrams.deliver(connection.stable_id(), datagram);
    }

    /// How they are; `is_far_end_there` says whether something can be opened now.
    #[must_use]
    pub fn status(&self, is_far_end_there: bool) -> Vec<PortStatus> {
        self.0.ports.iter().map(|port| port.status(is_far_end_there)).collect()
    }

    /// Datagrams that belong to nothing that is open here.
    #[must_use]
    pub fn stray_datagrams(&self) -> u64 {
        self.0.datagrams.stray()
    }
}

impl Port {
    fn status(&self, is_far_end_there: bool) -> PortStatus {
        let (listen, to) = match &self.config.side {
            PortSide::Listen(address) => (Some(*address), None),
            PortSide::To(address) => (None, Some(address.to_string())),
        };
        PortStatus {
            name: self.config.name.to_string(),
            protocol: match self.config.protocol {
                PortProtocol::Udp => "udp",
                PortProtocol::Tcp | PortProtocol::Unknown => "tcp",
            }
            .to_owned(),
            listen,
            to,
            is_ready: is_far_end_there,
            connections: self.figures.open(),
            connections_total: self.figures.total(),
            octets_out: self.figures.octets_out(),
            octets_in: self.figures.octets_in(),
            broken: self.figures.broken(),
            refused: self.figures.refused(),
            trouble: self.figures.trouble(),
        }
    }
}
