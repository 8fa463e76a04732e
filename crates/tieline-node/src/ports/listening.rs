//! The end that offers a service of the far end: it listens, and asks for the service once for each connection.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tieline_wire::control::{PortProtocol, StreamRequest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{
    CONNECTIONS_MAX, CONNECTIONS_OF_PORT_MAX, Port, PortTable, datagrams, figures::Reason, tcp, udp,
};
use crate::config::PortSide;
use crate::streams::{OpenError, Streams};

/// Datagrams of one client that wait to be sent.
const WAITING_MAX: usize = 64;
/// Pause after the system had no connection to give, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const LINE_DOWN: &str = "the far end is not there";

/// Why a port cannot be offered.
#[derive(Debug, thiserror::Error)]
#[error("port {name} cannot be offered at {address}: {source}; {}", advice(.source))]
pub struct BindError {
    name: String,
    address: SocketAddr,
    source: io::Error,
}

/// Sockets of ports, before anybody is served. What was bound is closed when this is dropped.
#[derive(Debug)]
pub struct Bound(Vec<(Arc<Port>, Socket)>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl PortTable {
    /// Binds the sockets of all ports that are offered here.
    ///
    /// # Errors
    ///
    /// [`BindError`] for the first that cannot be.
    pub async fn bind(&self) -> Result<Bound, BindError> {
        let mut bound = Vec::new();
        for port in &self.0.ports {
            let PortSide::Listen(address) = port.config.side else { continue };
            let socket = match port.config.protocol {
                PortProtocol::Udp => UdpSocket::bind(address).await.map(Socket::Udp),
                PortProtocol::Tcp | PortProtocol::Unknown => {
                    TcpListener::bind(address).await.map(Socket::Tcp)
                }
            };
            let name = || port.config.name.to_string();
            let socket = socket.map_err(|source| BindError { name: name(), address, source })?;
            bound.push((Arc::clone(port), socket));
        }
        Ok(Bound(bound))
    }

    /// Serves whoever comes to `bound`, as long as the runtime lives.
    pub fn start(&self, bound: Bound, streams: &Streams) {
        for (port, socket) in bound.0 {
            let offer = Offer { table: self.clone(), port, streams: streams.clone() };
            match socket {
                Socket::Tcp(listener) => drop(tokio::spawn(offer.accept_always(listener))),
                Socket::Udp(socket) => drop(tokio::spawn(offer.receive_always(Arc::new(socket)))),
            }
        }
    }
}

/// A port that is offered here.
#[derive(Clone)]
struct Offer {
    table: PortTable,
    port: Arc<Port>,
    streams: Streams,
}

/// The places of one connection: of its port, and of all.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Offer {
    async fn accept_always(self, listener: TcpListener) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => match self.admit(&socket) {
                        Ok(places) => drop(running.spawn(self.clone().connection(socket, places))),
                        Err((reason, sentence)) => self.refuse(reason, &sentence),
                    },
                    Err(error) => {
                        tracing::warn!(name = self.port.config.name.as_str(), %error, "a port cannot accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_ended) = running.join_next() => {}
            }
        }
    }

    /// Whether a connection may begin. If not, it breaks when it is dropped.
    fn admit(&self, socket: &TcpStream) -> Result<Places, (Reason, String)> {
        if let Err(error) = tieline_io::tcp::pass_on(socket) {
            return Err((Reason::NotReached, format!("a connection could not be set up: {error}")));
        }
        if !self.streams.is_far_end_there() {
            return Err((Reason::LineDown, LINE_DOWN.to_owned()));
        }
        self.places().ok_or_else(|| {
            let sentence = format!(
                "as many connections are open as may be: {CONNECTIONS_OF_PORT_MAX} of a port, {CONNECTIONS_MAX} of a line"
            );
            (Reason::TooMany, sentence)
        })
    }

    fn places(&self) -> Option<Places> {
        let of_port = Arc::clone(&self.port.places).try_acquire_owned().ok()?;
        let of_line = Arc::clone(&self.table.0.opened).try_acquire_owned().ok()?;
        Some((of_port, of_line))
    }

    async fn connection(self, socket: TcpStream, _places: Places) {
        let circuit = match self.streams.open_at_once(&self.request()).await {
            Ok((_, circuit)) => circuit,
            Err(error) => return self.refuse(Reason::LineDown, &sentence(&error)),
        };
        if let Err(broken) = tcp::join(circuit, socket, &self.port, Some(&self.streams)).await {
            self.port.on_broken(broken);
        }
    }

    async fn receive_always(self, socket: Arc<UdpSocket>) {
        let mut clients = Clients::default();
        let mut running = JoinSet::new();
        let mut buffer = vec![0; udp::PAYLOAD_LEN_MAX];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((len, from)) => {
                        let payload = Bytes::copy_from_slice(&buffer[..len]);
                        if let Err(payload) = clients.tell(from, payload, &self.port)
                            && let Some(said) = self.new_client(&mut clients, from, payload)
                        {
                            let side = udp::Side::Client { socket: Arc::clone(&socket), address: from, said };
                            running.spawn(self.clone().client(side));
                        }
                    }
                    // Of a client that has gone.
                    Err(error) => tracing::debug!(%error, "a port's socket reports an error"),
                },
                Some(_ended) = running.join_next() => {}
            }
        }
    }

    /// Takes in a client that says its first word.
    fn new_client(
        &self,
        clients: &mut Clients,
        from: SocketAddr,
        payload: Bytes,
    ) -> Option<mpsc::Receiver<Bytes>> {
        if !self.streams.is_far_end_there() {
            self.refuse(Reason::LineDown, LINE_DOWN);
            return None;
        }
        clients.forget_ended();
        // Who was silent for longest makes room: most have got their answer.
        let Some(places) = self.places().or_else(|| clients.forget_oldest()) else {
            self.port.figures.count(Reason::TooMany);
            return None;
        };
        Some(clients.add(from, payload, places))
    }

    async fn client(self, side: udp::Side) {
        let (connection, circuit) = match self.streams.open_at_once(&self.request()).await {
            Ok(opened) => opened,
            Err(error) => return self.refuse(Reason::LineDown, &sentence(&error)),
        };
        let stream = u64::from(circuit.send.id());
        let datagrams = datagrams::open(&self.table, connection, stream, &self.port);
        match udp::carry(circuit, datagrams, side, &self.port, Some(&self.streams)).await {
            Ok(()) => {}
            Err(OpenError::Refused(reason)) => self.refuse(Reason::FarEndRefused, &reason),
            Err(error) => self.port.on_broken(tcp::Broken::Side(io::Error::other(error))),
        }
    }

    fn request(&self) -> StreamRequest {
        let config = &self.port.config;
        StreamRequest::Port { name: config.name.to_string(), protocol: config.protocol }
    }

    fn refuse(&self, reason: Reason, sentence: &str) {
        self.port.figures.on_refused(self.port.config.name.as_str(), reason, sentence);
    }
}

impl Port {
    pub(super) fn on_broken(&self, broken: tcp::Broken) {
        let name = self.config.name.as_str();
        match broken {
            tcp::Broken::Refused(reason) => self.figures.on_refused(name, Reason::FarEndRefused, &reason),
            tcp::Broken::LineDown => self.figures.on_refused(name, Reason::LineDown, LINE_DOWN),
            tcp::Broken::Stalled => self.figures.on_refused(name, Reason::Stalled, &broken.to_string()),
            tcp::Broken::Side(_) => self.figures.on_broken(),
        }
    }
}

/// Who speaks to a UDP port.
#[derive(Debug, Default)]
struct Clients(BTreeMap<SocketAddr, Client>);

#[derive(Debug)]
struct Client {
    sender: mpsc::Sender<Bytes>,
    used: Instant,
    places: Places,
}

impl Clients {
    /// Hands `payload` to the client's flow; gives it back if there is none.
    fn tell(&mut self, from: SocketAddr, payload: Bytes, port: &Port) -> Result<(), Bytes> {
        let Some(client) = self.0.get_mut(&from) else { return Err(payload) };
        client.used = Instant::now();
        match client.sender.try_send(payload) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                port.figures.count(Reason::QueueFull);
                Ok(())
            }
            // Its flow has ended.
            Err(mpsc::error::TrySendError::Closed(payload)) => {
                self.0.remove(&from);
                Err(payload)
            }
        }
    }

    fn add(&mut self, from: SocketAddr, payload: Bytes, places: Places) -> mpsc::Receiver<Bytes> {
        let (sender, said) = mpsc::channel(WAITING_MAX);
        // There is room for the first.
        let _ = sender.try_send(payload);
        self.0.insert(from, Client { sender, used: Instant::now(), places });
        said
    }

    fn forget_ended(&mut self) {
        self.0.retain(|_, client| !client.sender.is_closed());
    }

    /// Ends the flow of the client that was silent for longest, and returns its places.
    fn forget_oldest(&mut self) -> Option<Places> {
        let oldest = self.0.iter().min_by_key(|(_, client)| client.used).map(|(from, _)| *from)?;
        self.0.remove(&oldest).map(|client| client.places)
    }
}

fn sentence(error: &OpenError) -> String {
    match error {
        OpenError::NotConnected => LINE_DOWN.to_owned(),
        other => other.to_string(),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it: choose another `listen`, or end that program",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are root's: choose one from 1024 on, or give the program CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address: choose one of its own",
        _ => "choose another `listen` for it in the configuration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn places() -> Places {
        let place = || Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        (place(), place())
    }

    #[tokio::test]
    async fn client_that_was_silent_for_longest_makes_room() {
        tokio::time::pause();
        let mut clients = Clients::default();
        let mut first = clients.add(address(1), Bytes::from_static(b"a"), places());
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut second = clients.add(address(2), Bytes::from_static(b"b"), places());
        assert!(clients.forget_oldest().is_some());
        assert_eq!(first.recv().await.unwrap(), "a");
        assert_eq!(first.recv().await, None, "its flow ends");
        assert_eq!(second.try_recv().unwrap(), "b");
        assert!(clients.0.contains_key(&address(2)));
        drop(second);
        clients.forget_ended();
        assert!(clients.forget_oldest().is_none());
    }
}
