//! The networks of this office: what hosts say there, and what is said to them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tieline_io::multicast;
use tieline_wire::discovery::{DiscoveryProtocol, PAYLOAD_LEN_MAX, Relayed, RelayedKind, ask_all};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::figures::{Reason, Way};
use super::protocols::{Heard, group, heard};
use super::questions::{ANSWERED_WITHIN, Question};
use super::{Discovery, is_answer};

/// Answers to one question from one network.
const ANSWERS_MAX: usize = 32;
/// Pause after a socket reported an error, which may go on for long: a device that was taken down.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing can be relayed.
#[derive(Debug, thiserror::Error)]
#[error("discovery by {protocol} cannot be relayed on {interface}: {source}; {}", advice(.source))]
pub struct BindError {
    protocol: DiscoveryProtocol,
    interface: String,
    source: io::Error,
}

/// The sockets in the networks of this office.
#[derive(Debug)]
pub struct Bound(Vec<Network>);

/// One protocol in one network.
#[derive(Debug)]
struct Network {
    protocol: DiscoveryProtocol,
    interface: String,
    socket: UdpSocket,
}

/// All of them, for those who speak there.
#[derive(Clone, Debug)]
pub(super) struct Networks(Arc<Vec<Network>>);

impl Discovery {
    /// Binds the sockets, which takes rights for ports below 1024.
    ///
    /// # Errors
    ///
    /// [`BindError`] for the first that cannot be.
    pub fn bind(&self) -> Result<Bound, BindError> {
        let mut bound = Vec::new();
        for interface in &self.0.config.interfaces {
            for protocol in &self.0.config.relay {
                let socket = multicast::listening(interface, group(*protocol)).and_then(UdpSocket::from_std);
                let socket = socket.map_err(|source| BindError {
                    protocol: *protocol,
                    interface: interface.clone(),
                    source,
                })?;
                bound.push(Network { protocol: *protocol, interface: interface.clone(), socket });
            }
        }
        Ok(Bound(bound))
    }

    /// Listens, as long as the runtime lives.
    pub(super) fn listen(&self, bound: Bound) {
        let networks = self.0.networks.get_or_init(|| Networks(Arc::new(bound.0)));
        for index in 0..networks.0.len() {
            let (discovery, networks) = (self.clone(), networks.clone());
            tokio::spawn(async move { discovery.hear_always(&networks, index).await });
        }
    }

    async fn hear_always(&self, networks: &Networks, index: usize) {
        let network = &networks.0[index];
        let mut buffer = vec![0; PAYLOAD_LEN_MAX + 1];
        loop {
            match network.socket.recv_from(&mut buffer).await {
                Ok((len, from)) => self.on_heard(network.protocol, index, from, &mut buffer[..len]),
                Err(error) => {
                    tracing::debug!(%error, interface = network.interface, "a network of discovery");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn on_heard(&self, protocol: DiscoveryProtocol, network: usize, from: SocketAddr, payload: &mut [u8]) {
        let Some(heard) = heard(protocol, from.port(), payload) else { return };
        if payload.len() > PAYLOAD_LEN_MAX {
            return self.0.figures.drop(protocol, Reason::TooLarge);
        }
        if protocol == DiscoveryProtocol::Mdns && heard == Heard::Announcement {
            ask_all(payload);
        }
        let now = Instant::now();
        if self.state().said.has_said(payload, now) {
            return self.0.figures.drop(protocol, Reason::Loop);
        }
        let kind = match heard {
            Heard::Announcement => RelayedKind::Announcement,
            Heard::Question => {
                let question = Question { protocol, asker: from, network };
                RelayedKind::Question(self.state().questions.add(question, now))
            }
        };
        self.send(&Relayed { kind, protocol, payload });
    }

    /// Says here what the far end has sent.
    pub(super) async fn say(&self, message: &Relayed<'_>, networks: &Networks) {
        let protocol = message.protocol;
        if !self.wants(protocol) {
            return self.0.figures.drop(protocol, Reason::NotWanted);
        }
        if !self.admit(protocol, Way::In) {
            return;
        }
        self.0.figures.count(protocol, Way::In, is_answer(message));
        match message.kind {
            RelayedKind::Announcement => {
                self.state().said.on_said(message.payload, Instant::now());
                for network in networks.of(protocol) {
                    self.send_to(network, group(protocol).destination(), message.payload).await;
                }
            }
            RelayedKind::Answer(number) => {
                let question = self.state().questions.find(number, Instant::now());
                let question = question.filter(|question| question.protocol == protocol);
                match question.and_then(|question| Some((networks.0.get(question.network)?, question.asker)))
                {
                    Some((network, asker)) => self.send_to(network, asker, message.payload).await,
                    None => self.0.figures.drop(protocol, Reason::TooLate),
                }
            }
            RelayedKind::Question(number) => {
                self.state().said.on_said(message.payload, Instant::now());
                for network in networks.of(protocol) {
                    self.ask(network, number, message.payload);
                }
            }
        }
    }

    async fn send_to(&self, network: &Network, to: SocketAddr, payload: &[u8]) {
        if let Err(error) = network.socket.send_to(payload, to).await {
            tracing::debug!(%error, interface = network.interface, "discovery was not said");
            self.0.figures.drop(network.protocol, Reason::NotSent);
        }
    }

    /// Asks in the place of a host of the other office, and sends back what is answered.
    fn ask(&self, network: &Network, number: u32, payload: &[u8]) {
        let protocol = network.protocol;
        let Ok(place) = Arc::<Semaphore>::clone(&self.0.asking).try_acquire_owned() else {
            return self.0.figures.drop(protocol, Reason::QueueFull);
        };
        let group = group(protocol);
        let socket = multicast::asking(&network.interface, group).and_then(UdpSocket::from_std);
        let (discovery, payload) = (self.clone(), payload.to_vec());
        tokio::spawn(async move {
            let _place = place;
            let asked = async {
                let socket = socket?;
                socket.send_to(&payload, group.destination()).await?;
                io::Result::Ok(socket)
            };
            match asked.await {
                Ok(socket) => discovery.collect(&socket, protocol, number).await,
                Err(error) => {
                    tracing::debug!(%error, "a question of discovery was not asked");
                    discovery.0.figures.drop(protocol, Reason::NotSent);
                }
            }
        });
    }

    async fn collect(&self, socket: &UdpSocket, protocol: DiscoveryProtocol, number: u32) {
        let until = Instant::now() + ANSWERED_WITHIN;
        let mut buffer = vec![0; PAYLOAD_LEN_MAX + 1];
        for _ in 0..ANSWERS_MAX {
            let Ok(Ok(len)) = timeout_at(until, socket.recv(&mut buffer)).await else { return };
            if len > PAYLOAD_LEN_MAX {
                self.0.figures.drop(protocol, Reason::TooLarge);
                continue;
            }
            self.send(&Relayed { kind: RelayedKind::Answer(number), protocol, payload: &buffer[..len] });
        }
    }
}

impl Networks {
    fn of(&self, protocol: DiscoveryProtocol) -> impl Iterator<Item = &Network> {
        self.0.iter().filter(move |network| network.protocol == protocol)
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program keeps its port to itself: end that, or take the protocol out of `relay`"
        }
        io::ErrorKind::PermissionDenied => {
            "that port is root's: run as root, or take the protocol out of `relay`"
        }
        _ => "is there such a device? `ip link` shows them",
    }
}
