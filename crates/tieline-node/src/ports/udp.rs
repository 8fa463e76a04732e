//! The datagrams of one client of a UDP port, joined with a stream.
//!
//! What fits into a packet goes as a datagram of QUIC, beside the stream: a lost one is lost, and none waits for another. What does not fit,
//! and what comes before the far end has answered, goes through the stream, each with its length before it (2). UDP promises no order, so
//! one may pass another. A datagram that would have to wait behind too many is dropped and counted: who speaks UDP repeats what matters, and
//! has no use for what is old.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use noq::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::datagrams::{Arrivals, DatagramSender, Sent};
use super::{PRIORITY, Port, figures::Reason};
use crate::streams::{Circuit, OpenError, Streams};

/// Octets of the largest datagram; the length before it counts to this.
pub(super) const PAYLOAD_LEN_MAX: usize = 65_535;
/// How long neither side may say anything (RFC 4787 REQ-5: at least 2 min).
const IDLE_MAX: Duration = Duration::from_mins(2);

/// Where the datagrams of one client come from at this end, and go to.
#[derive(Debug)]
pub(super) enum Side {
    /// The socket of all clients, and what the one at this address says.
    Client {
        /// The socket.
        socket: Arc<UdpSocket>,
        /// The client.
        address: SocketAddr,
        /// What it says; ends when others need its place.
        said: mpsc::Receiver<Bytes>,
    },
    /// A socket of its own, connected to the service.
    Service(UdpSocket),
}

/// Where datagrams go, apart from where they come from.
enum Sink<'s> {
    Client(&'s UdpSocket, SocketAddr),
    Service(&'s UdpSocket),
}

enum Source<'s> {
    Client(&'s mut mpsc::Receiver<Bytes>),
    Service(&'s UdpSocket),
}

/// Carries datagrams until one of the ends has enough, or nothing came for long. An end that `asked` for the circuit sends at once.
pub(super) async fn carry(
    mut circuit: Circuit,
    (sender, mut arrivals): (DatagramSender, Arrivals),
    mut side: Side,
    port: &Port,
    asked: Option<&Streams>,
) -> Result<(), OpenError> {
    let _open = port.figures.on_opened();
    let (mut source, sink) = side.split();
    let Circuit { send, recv } = &mut circuit;
    // Fails only where nothing is sent any more.
    let _ = send.set_priority(PRIORITY);
    let flow = Flow::new(port, asked.is_none());
    let ended = tokio::select! {
        ended = flow.send(&mut source, send, &sender) => ended,
        ended = flow.receive(asked, recv, &sink) => ended,
        () = flow.receive_datagrams(&mut arrivals, &sink) => Ok(()),
        () = flow.idle() => Ok(()),
    };
    // If the connection is gone, so is the stream.
    let _ = circuit.send.finish();
    ended
}

/// What the directions of one flow share.
struct Flow<'p> {
    port: &'p Port,
    began: Instant,
    /// When it was used last, counted from its beginning.
    used_millis: AtomicU64,
    is_answered: AtomicBool,
}

impl<'p> Flow<'p> {
    fn new(port: &'p Port, is_answered: bool) -> Self {
        let is_answered = AtomicBool::new(is_answered);
        Self { port, began: Instant::now(), used_millis: AtomicU64::new(0), is_answered }
    }

    fn on_used(&self) {
        #[expect(clippy::cast_possible_truncation, reason = "no flow lives for so many years")]
        self.used_millis.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    async fn send(
        &self,
        source: &mut Source<'_>,
        send: &mut SendStream,
        sender: &DatagramSender,
    ) -> Result<(), OpenError> {
        let mut buffer = vec![0; PAYLOAD_LEN_MAX];
        while let Some(payload) = source.next(&mut buffer, self.port).await {
            self.on_used();
            // Before it has answered, the far end knows of no datagrams.
            let sent =
                if self.is_answered.load(Ordering::Relaxed) { sender.send(&payload) } else { Sent::TooLarge };
            match sent {
                Sent::Yes => {}
                Sent::Full => {
                    self.port.figures.count(Reason::QueueFull);
                    continue;
                }
                Sent::TooLarge => write(send, &payload).await.map_err(OpenError::Answer)?,
            }
            self.port.figures.on_out(payload.len());
        }
        Ok(())
    }

    async fn receive(
        &self,
        asked: Option<&Streams>,
        recv: &mut RecvStream,
        sink: &Sink<'_>,
    ) -> Result<(), OpenError> {
        if let Some(streams) = asked {
            streams.answer(recv).await?;
            self.port.figures.on_reached(self.port.config.name.as_str());
            self.is_answered.store(true, Ordering::Relaxed);
        }
        while let Some(payload) = read(recv).await.map_err(OpenError::Answer)? {
            self.pass(&payload, sink).await;
        }
        Ok(())
    }

    async fn receive_datagrams(&self, arrivals: &mut Arrivals, sink: &Sink<'_>) {
        while let Some(payload) = arrivals.recv().await {
            self.pass(&payload, sink).await;
        }
    }

    async fn pass(&self, payload: &[u8], sink: &Sink<'_>) {
        self.on_used();
        match sink.send(payload).await {
            Ok(_) => self.port.figures.on_in(payload.len()),
            // What it says of this one may be about one before.
            Err(error) => self.port.on_unreachable(&error),
        }
    }

    async fn idle(&self) {
        loop {
            let used = Duration::from_millis(self.used_millis.load(Ordering::Relaxed));
            let end = self.began + used + IDLE_MAX;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

impl Side {
    fn split(&mut self) -> (Source<'_>, Sink<'_>) {
        match self {
            Self::Client { socket, address, said } => (Source::Client(said), Sink::Client(socket, *address)),
            Self::Service(socket) => (Source::Service(socket), Sink::Service(socket)),
        }
    }
}

impl Source<'_> {
    /// The next datagram; none if there will be none.
    async fn next(&mut self, buffer: &mut [u8], port: &Port) -> Option<Bytes> {
        match self {
            Self::Client(said) => said.recv().await,
            Self::Service(socket) => loop {
                match socket.recv(buffer).await {
                    Ok(len) => return Some(Bytes::copy_from_slice(&buffer[..len])),
                    // Nobody listens there at this moment; somebody may again.
                    Err(error) if is_unreachable(&error) => port.on_unreachable(&error),
                    Err(error) => {
                        tracing::debug!(%error, "a service's socket broke");
                        return None;
                    }
                }
            },
        }
    }
}

impl Sink<'_> {
    async fn send(&self, payload: &[u8]) -> io::Result<usize> {
        match self {
            Self::Client(socket, address) => socket.send_to(payload, address).await,
            Self::Service(socket) => socket.send(payload).await,
        }
    }
}

impl Port {
    fn on_unreachable(&self, error: &io::Error) {
        let name = self.config.name.as_str();
        self.figures.on_refused(
            name,
            Reason::NotReached,
            &format!("a datagram could not be delivered: {error}"),
        );
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), payload: &[u8]) -> io::Result<()> {
    let len = u16::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes()[..], payload].concat()).await
}

/// The next datagram; none at the end.
async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 2];
    match stream.read_exact(&mut len).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut payload = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut payload).await?;
    Ok(Some(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_keep_their_boundaries_in_a_stream() {
        let payloads = [vec![], vec![1], vec![2; 1472], vec![3; PAYLOAD_LEN_MAX]];
        let mut stream = Vec::new();
        for payload in &payloads {
            write(&mut stream, payload).await.unwrap();
        }
        assert_eq!(stream[..5], [0, 0, 0, 1, 1]);
        let mut stream = &stream[..];
        for payload in payloads {
            assert_eq!(read(&mut stream).await.unwrap(), Some(payload));
        }
        assert_eq!(read(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn stream_that_ends_inside_a_datagram_is_broken() {
        assert!(read(&mut &[0, 3, b'a', b'b'][..]).await.is_err());
    }
}
