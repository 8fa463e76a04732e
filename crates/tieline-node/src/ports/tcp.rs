//! A TCP connection joined with a stream.
//!
//! Each direction is copied until its end, and the end is passed on. If anything breaks, both sides see a break: the socket is set to break
//! when it is dropped until both directions have ended, so that nothing that is cut off, by a crash either, looks whole.

use std::io;
use std::time::Duration;

use noq::{RecvStream, SendStream};
use tieline_io::tcp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout};

use super::{PRIORITY, Port};
use crate::streams::{Circuit, OpenError, Streams};

/// Octets that are copied at once. Memory is taken by those connections only that carry much.
const COPY_BYTES: usize = 64 << 10;
/// Octets that a connection may send before files, and again after a pause: a page, its pictures, a listing.
const BURST_BYTES: usize = 1 << 20;
/// A pause.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what is behind a connection may take nothing before it counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// Why a connection did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The far end said no before it began.
    #[error("{0}")]
    Refused(String),
    /// The far end went before it answered.
    #[error("the far end is not heard any more")]
    LineDown,
    /// What is behind it takes nothing, and so it is with too many.
    #[error("too many connections are stalled")]
    Stalled,
    /// One of the two sides.
    #[error(transparent)]
    Side(#[from] io::Error),
}

/// Joins `circuit` with `socket` until both directions have ended. An end that `asked` for the circuit takes nothing from it before the
/// answer, but sends: the answer takes a round trip, and so does that of the service.
pub(super) async fn join(
    mut circuit: Circuit,
    mut socket: TcpStream,
    port: &Port,
    asked: Option<&Streams>,
) -> Result<(), Broken> {
    let _open = port.figures.on_opened();
    let ended = carry(&mut circuit, &mut socket, port, asked).await;
    match &ended {
        // If that fails, a connection that is whole looks broken, never the other way round.
        Ok(()) => drop(
            tcp::end_well(&socket).inspect_err(|error| tracing::debug!(%error, "an end looks like a break")),
        ),
        Err(error) => {
            tracing::debug!(name = port.config.name.as_str(), %error, "a connection broke");
            circuit.tear();
        }
    }
    ended
}

async fn carry(
    circuit: &mut Circuit,
    socket: &mut TcpStream,
    port: &Port,
    asked: Option<&Streams>,
) -> Result<(), Broken> {
    let (reader, mut writer) = socket.split();
    let Circuit { send, recv } = circuit;
    let back = async {
        if let Some(streams) = asked {
            wait_for_answer(streams, recv, port).await?;
        }
        copy_in(recv, &mut writer, port).await
    };
    tokio::try_join!(copy_out(reader, send, port), back)?;
    Ok(())
}

async fn wait_for_answer(streams: &Streams, recv: &mut RecvStream, port: &Port) -> Result<(), Broken> {
    match streams.answer(recv).await {
        Ok(()) => {
            port.figures.on_reached(port.config.name.as_str());
            Ok(())
        }
        Err(OpenError::Refused(reason)) => Err(Broken::Refused(reason)),
        Err(OpenError::Answer(error)) => Err(Broken::Side(error)),
        Err(_not_there) => Err(Broken::LineDown),
    }
}

async fn copy_out(mut reader: ReadHalf<'_>, send: &mut SendStream, port: &Port) -> Result<(), Broken> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut precedence = Precedence::new(send);
    loop {
        let len = reader.read(&mut buffer).await?;
        if len == 0 {
            return Ok(send.shutdown().await?);
        }
        precedence.on_sending(len, send);
        AsyncWriteExt::write_all(send, &buffer[..len]).await?;
        port.figures.on_out(len);
    }
}

async fn copy_in(recv: &mut RecvStream, writer: &mut WriteHalf<'_>, port: &Port) -> Result<(), Broken> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let len = AsyncReadExt::read(recv, &mut buffer).await?;
        if len == 0 {
            return Ok(writer.shutdown().await?);
        }
        write(writer, &buffer[..len], port).await?;
        port.figures.on_in(len);
    }
}

/// Whether a stream goes before those of files: one that sends little does, one that sends much has turns with them.
struct Precedence {
    burst_bytes: usize,
    last: Instant,
}

impl Precedence {
    fn new(send: &SendStream) -> Self {
        set_priority(send, PRIORITY);
        Self { burst_bytes: 0, last: Instant::now() }
    }

    fn on_sending(&mut self, octets: usize, send: &SendStream) {
        if self.last.elapsed() > PAUSE && self.burst_bytes > 0 {
            self.burst_bytes = 0;
            set_priority(send, PRIORITY);
        }
        let had_precedence = self.burst_bytes <= BURST_BYTES;
        self.burst_bytes = self.burst_bytes.saturating_add(octets);
        if had_precedence && self.burst_bytes > BURST_BYTES {
            set_priority(send, 0);
        }
        self.last = Instant::now();
    }
}

fn set_priority(send: &SendStream, priority: i32) {
    // Fails only where nothing is sent any more.
    let _ = send.set_priority(priority);
}

/// Writes all of it, however long that takes, unless too many others wait as well.
async fn write(writer: &mut WriteHalf<'_>, octets: &[u8], port: &Port) -> Result<(), Broken> {
    let writing = writer.write_all(octets);
    tokio::pin!(writing);
    match timeout(STALLED_AFTER, &mut writing).await {
        Ok(written) => Ok(written?),
        Err(_elapsed) => {
            let _place = port.stalled.try_acquire().map_err(|_| Broken::Stalled)?;
            Ok(writing.await?)
        }
    }
}
