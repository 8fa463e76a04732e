//! Datagrams between the ends, each for the stream whose number it begins with.
//!
//! | 0: number of the stream (8) | 8: payload |
//!
//! They are datagrams of QUIC (RFC 9221): lost, late and out of order as any. So no client waits for what another lost, and nothing old is
//! sent again. What is larger than a packet goes through the stream itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use hyper::body::Bytes;
use noq::{Connection, SendDatagramError};
use tokio::sync::mpsc;

use super::{Port, PortTable, figures::Reason};

/// Octets before the payload.
const HEAD_LEN: usize = 8;
/// Datagrams of one stream that wait here for their turn.
const WAITING_MAX: usize = 64;

/// A connection, and one of its streams.
type StreamName = (usize, u64);

/// Whose datagrams are whose.
#[derive(Debug, Default)]
pub(super) struct DatagramTable {
    takers: Mutex<BTreeMap<StreamName, Taker>>,
    stray: AtomicU64,
}

#[derive(Debug)]
struct Taker {
    sender: mpsc::Sender<Bytes>,
    port: Arc<Port>,
}

/// What comes for one stream, as long as somebody takes it.
#[derive(Debug)]
pub(super) struct Arrivals {
    table: PortTable,
    name: StreamName,
    receiver: mpsc::Receiver<Bytes>,
}

/// Towards one stream of the far end.
#[derive(Debug)]
pub(super) struct DatagramSender {
    connection: Connection,
    stream: u64,
}

/// What became of a datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, or waits for little.
    Yes,
    /// Too much waits already.
    Full,
    /// It does not fit into a packet.
    TooLarge,
}

impl DatagramTable {
    pub(super) fn deliver(&self, connection: usize, mut datagram: Bytes) {
        let takers = self.lock();
        let taker = datagram.first_chunk::<HEAD_LEN>().and_then(|stream| {
            let stream = u64::from_be_bytes(*stream);
            takers.get(&(connection, stream))
        });
        let Some(taker) = taker else {
            self.stray.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if taker.sender.try_send(datagram.split_off(HEAD_LEN)).is_err() {
            taker.port.figures.count(Reason::QueueFull);
        }
    }

    pub(super) fn stray(&self) -> u64 {
        self.stray.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamName, Taker>> {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From now on datagrams for `stream` of `connection` are those of a client of `port`.
pub(super) fn open(
    table: &PortTable,
    connection: Connection,
    stream: u64,
    port: &Arc<Port>,
) -> (DatagramSender, Arrivals) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let name = (connection.stable_id(), stream);
    table.0.datagrams.lock().insert(name, Taker { sender, port: Arc::clone(port) });
    (DatagramSender { connection, stream }, Arrivals { table: table.clone(), name, receiver })
}

impl Arrivals {
    /// The next one.
    pub(super) async fn recv(&mut self) -> Option<Bytes> {
        self.receiver.recv().await
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.table.0.datagrams.lock().remove(&self.name);
    }
}

impl DatagramSender {
    /// Sends `payload`, unless it would wait behind too much: a new one is dropped rather than those that wait for longest.
    pub(super) fn send(&self, payload: &[u8]) -> Sent {
        let len = HEAD_LEN + payload.len();
        if self.connection.max_datagram_size().is_none_or(|most| len > most) {
            return Sent::TooLarge;
        }
        let datagram = [&self.stream.to_be_bytes()[..], payload].concat();
        // Without waiting. (noq 1.4 tells of more room than there is, and then drops the oldest.)
        match self.connection.send_datagram_wait(datagram.into()).now_or_never() {
            None => Sent::Full,
            // The path may have become narrower since the look.
            Some(Err(SendDatagramError::TooLarge)) => Sent::TooLarge,
            // If the connection is lost, the stream says so.
            Some(Ok(()) | Err(_)) => Sent::Yes,
        }
    }
}
