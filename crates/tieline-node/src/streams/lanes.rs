//! One flow of octets over several streams, so that no single stream has to hold much.
//!
//! QUIC keeps what arrives of a stream until it can be read in order. What may wait so in one stream is bounded
//! (`STREAM_WINDOW_BYTES`), and that would bound the rate at long round trips. So a transfer of files has [`LANES`] streams: the
//! first is the one that asked for it, in both directions, the others go one way, each with a head that says whose they are:
//!
//! | 0: number of the first stream (8) | 8: number of the lane, from 1 (1) |
//!
//! What is sent is cut into blocks, which take the lanes in turn:
//!
//! | 0: length, 1 to [`BLOCK_LEN_MAX`] (4) | 4: octets |
//!
//! The end of the lane whose turn it is, where a block would begin, is the end of it all. What comes back has one stream and no blocks.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use noq::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Circuit;

/// Streams of one transfer: with a MiB each, 8 MiB may be on the way, at a round trip of 300 ms enough for 200 Mbit/s.
pub const LANES: u8 = 8;
/// Octets of a block that the far end may send.
pub const BLOCK_LEN_MAX: usize = 64 << 10;
/// Octets of a block that we send. QUIC gives each lane a packet in turn, so what is read in order lags behind what arrives by a block of
/// each lane: an eighth of a MiB, which is a second on a line of 1 Mbit/s.
pub(super) const BLOCK_LEN: usize = 16 << 10;
/// Octets of the head of a lane.
const HEAD_LEN: usize = 9;
/// Octets before a block.
const PREFIX_LEN: usize = 4;
/// How long the other lanes of a transfer may take to come, and a lane to say whose it is.
const LANES_WAIT_MAX: Duration = Duration::from_secs(10);

/// The sending end of a transfer's lanes.
#[derive(Debug)]
pub struct SendingLanes {
    lanes: Vec<SendStream>,
    back: RecvStream,
    turn: usize,
    /// The block that gathers, behind room for its length.
    block: Vec<u8>,
    /// How much of it was written, once it is being written.
    written: Option<usize>,
}

impl SendingLanes {
    /// Opens the other lanes beside `circuit`.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    pub(super) async fn open(connection: &Connection, circuit: Circuit) -> io::Result<Self> {
        let first = u64::from(circuit.send.id());
        let mut lanes = vec![circuit.send];
        for number in 1..LANES {
            let mut lane = connection.open_uni().await?;
            let mut head = [0; HEAD_LEN];
            head[..8].copy_from_slice(&first.to_be_bytes());
            head[8] = number;
            lane.write_all(&head).await?;
            lanes.push(lane);
        }
        Ok(Self { lanes, back: circuit.recv, turn: 0, block: new_block(), written: None })
    }

    /// Writes the block that gathered, if it has octets, into the lane whose turn it is.
    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.block.len() == PREFIX_LEN {
            return Poll::Ready(Ok(()));
        }
        let mut written = self.written.unwrap_or_else(|| {
            let len = u32::try_from(self.block.len() - PREFIX_LEN).expect("a block is shorter");
            self.block[..PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
            0
        });
        while written < self.block.len() {
            self.written = Some(written);
            let lane = Pin::new(&mut self.lanes[self.turn]);
            match ready!(AsyncWrite::poll_write(lane, cx, &self.block[written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => written += len,
            }
        }
        self.written = None;
        self.block.truncate(PREFIX_LEN);
        self.turn = (self.turn + 1) % self.lanes.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SendingLanes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.written.is_some() || self.block.len() == PREFIX_LEN + BLOCK_LEN {
            ready!(self.poll_block(cx))?;
        }
        let room = PREFIX_LEN + BLOCK_LEN - self.block.len();
        let len = room.min(buf.len());
        self.block.extend_from_slice(&buf[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_block(cx))?;
        self.lanes
            .iter_mut()
            .try_fold(Poll::Ready(()), |all, lane| match AsyncWrite::poll_flush(Pin::new(lane), cx) {
                Poll::Ready(Ok(())) => Ok(all),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => Ok(Poll::Pending),
            })
            .map_or_else(|error| Poll::Ready(Err(error)), |all| all.map(Ok))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_block(cx))?;
        for lane in &mut self.lanes {
            ready!(AsyncWrite::poll_shutdown(Pin::new(lane), cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for SendingLanes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.back), cx, buf)
    }
}

/// The receiving end of a transfer's lanes.
#[derive(Debug)]
pub struct ReceivingLanes {
    lanes: Vec<RecvStream>,
    back: SendStream,
    turn: usize,
    /// What was read of the prefix of the next block.
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    /// Octets of the block that are still to come.
    left: usize,
}

impl ReceivingLanes {
    fn new(lanes: Vec<RecvStream>, back: SendStream) -> Self {
        Self { lanes, back, turn: 0, prefix: [0; PREFIX_LEN], prefix_len: 0, left: 0 }
    }

    /// Reads the length of the next block; 0 at the end of it all.
    fn poll_prefix(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.prefix_len < PREFIX_LEN {
            let mut rest = ReadBuf::new(&mut self.prefix[self.prefix_len..]);
            ready!(AsyncRead::poll_read(Pin::new(&mut self.lanes[self.turn]), cx, &mut rest))?;
            match (rest.filled().len(), self.prefix_len) {
                (0, 0) => return Poll::Ready(Ok(0)),
                (0, _) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                (len, _) => self.prefix_len += len,
            }
        }
        self.prefix_len = 0;
        let len = usize::try_from(u32::from_be_bytes(self.prefix)).unwrap_or(usize::MAX);
        if (1..=BLOCK_LEN_MAX).contains(&len) {
            return Poll::Ready(Ok(len));
        }
        let error = format!("a block of {len} octets; 1 to {BLOCK_LEN_MAX} are allowed");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
    }
}

impl AsyncRead for ReceivingLanes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.left == 0 {
            self.left = ready!(self.poll_prefix(cx))?;
            if self.left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let turn = self.turn;
        let want = self.left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(want));
        ready!(AsyncRead::poll_read(Pin::new(&mut self.lanes[turn]), cx, &mut part))?;
        let len = part.filled().len();
        if len == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        buf.advance(len);
        self.left -= len;
        if self.left == 0 {
            self.turn = (turn + 1) % self.lanes.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReceivingLanes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.back), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.back), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.back), cx)
    }
}

/// Lanes of a connection that have come, until the stream that they belong to wants them. As many as the far end may have open.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    lanes: Mutex<BTreeMap<(u64, u8), RecvStream>>,
    arrived: Notify,
}

impl Arrivals {
    /// Reads the head of a lane and keeps it, but not for longer than anybody waits for it: it holds one of few places.
    pub(super) async fn take_in(&self, mut lane: RecvStream) {
        let mut head = [0; HEAD_LEN];
        match timeout(LANES_WAIT_MAX, lane.read_exact(&mut head)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%error, "a lane without a head"),
            Err(_elapsed) => return tracing::debug!("a lane whose head did not come"),
        }
        let [first @ .., number] = head;
        let name = (u64::from_be_bytes(first), number);
        self.lanes().insert(name, lane);
        self.arrived.notify_waiters();
        sleep(LANES_WAIT_MAX).await;
        self.lanes().remove(&name);
    }

    /// Waits for the other lanes of `circuit`.
    ///
    /// # Errors
    ///
    /// `TimedOut` if they do not come.
    pub(super) async fn gather(&self, circuit: Circuit) -> io::Result<ReceivingLanes> {
        let first = u64::from(circuit.recv.id());
        let mut lanes = vec![circuit.recv];
        let others = async {
            for number in 1..LANES {
                lanes.push(self.lane(first, number).await);
            }
        };
        timeout(LANES_WAIT_MAX, others).await.map_err(|_elapsed| io::ErrorKind::TimedOut)?;
        Ok(ReceivingLanes::new(lanes, circuit.send))
    }

    async fn lane(&self, first: u64, number: u8) -> RecvStream {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Before the look, so that none that comes after it is missed.
            arrived.as_mut().enable();
            if let Some(lane) = self.lanes().remove(&(first, number)) {
                return lane;
            }
            arrived.await;
        }
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, BTreeMap<(u64, u8), RecvStream>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_block() -> Vec<u8> {
    let mut block = Vec::with_capacity(PREFIX_LEN + BLOCK_LEN);
    block.resize(PREFIX_LEN, 0);
    block
}
