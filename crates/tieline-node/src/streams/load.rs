//! Filling the line to see what it carries: octets that mean nothing, sent for some seconds and thrown away at the other end.
//!
//! They go as files do, in the class that gives way to all others. Where nothing shapes what is sent they would harm calls, so an end that
//! does not shape sends none while somebody speaks. One load goes at a time, whichever end wanted it.

use std::{
    io,
    time::{Duration, Instant},
};

use noq::{RecvStream, SendStream, VarInt};
use serde::{Deserialize, Serialize};
use tieline_line::test_call::PHASE_MAX;
use tieline_wire::control::StreamRequest;
use tokio::time::{Instant as Moment, timeout, timeout_at};

use super::{Circuit, Inner, OpenError, Streams, frame, services};

/// Octets that are written at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What comes in this time is not reckoned: the sender is still finding out how much it may send.
const RAMP: Duration = Duration::from_secs(1);
/// How much longer than it should a load may take, for a line may be cut meanwhile.
const DELAY_MAX: Duration = Duration::from_secs(15);
/// Code of a stream whose load was sent for as long as it was wanted.
const LOAD_OVER: u32 = 6;

/// What arrived of a load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Arrived {
    /// Octets in the time that is reckoned.
    pub octets: u64,
    /// That time.
    pub seconds: f64,
}

/// Why a load was not sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no stream for it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The line is being filled already.
    #[error("another test is filling the line; try again when it is over")]
    Busy,
    /// It would harm calls.
    #[error("{0}")]
    Calls(CallsAtRisk),
    /// It broke off.
    #[error("the load broke off")]
    Broken(#[source] io::Error),
}

/// Calls that a full line would harm.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "calls are going on ({0}), and the line was not filled, for it would harm them: the end that sends does not know what the line carries; try again when nobody speaks, or set `rate` there"
)]
pub struct CallsAtRisk(pub usize);

impl Arrived {
    /// Bits per second; none if next to nothing came.
    #[must_use]
    pub fn bits_per_second(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.octets as f64 * 8.0 / self.seconds)
    }
}

impl Streams {
    /// Fills the line towards the far end for so long, and returns what it says has arrived.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn send_load(&self, lasts: Duration) -> Result<Arrived, LoadError> {
        let _alone = self.0.loading.try_lock().map_err(|_taken| LoadError::Busy)?;
        self.0.calls_at_risk().map_or(Ok(()), |calls| Err(LoadError::Calls(calls)))?;
        let mut circuit = self.open(&StreamRequest::Test { send_seconds: None }).await?;
        send(&mut circuit.send, lasts).await;
        let answer = timeout(DELAY_MAX, frame::read(&mut circuit.recv)).await;
        answer.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())).map_err(LoadError::Broken)
    }

    /// Has the far end fill the line towards this one for so long, and returns what has arrived.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn receive_load(&self, lasts: Duration) -> Result<Arrived, LoadError> {
        let _alone = self.0.loading.try_lock().map_err(|_taken| LoadError::Busy)?;
        let seconds = lasts.as_secs().max(1);
        let mut circuit = self.open(&StreamRequest::Test { send_seconds: Some(seconds) }).await?;
        receive(&mut circuit.recv, Duration::from_secs(seconds)).await.map_err(LoadError::Broken)
    }
}

/// The far end wants a test: it sends, or wants to be sent to for so many seconds.
pub(super) async fn serve(inner: &Inner, mut circuit: Circuit, send_seconds: Option<u64>) {
    let Ok(_alone) = inner.loading.try_lock() else {
        return services::refuse(circuit, &LoadError::Busy.to_string()).await;
    };
    let Some(seconds) = send_seconds else {
        if services::accept(&mut circuit).await {
            match receive(&mut circuit.recv, PHASE_MAX).await {
                Ok(arrived) => {
                    let told = frame::write(&mut circuit.send, &arrived).await;
                    let told = told.and_then(|()| circuit.send.finish().map_err(io::Error::other));
                    if let Err(error) = told {
                        tracing::debug!(%error, "what arrived of a test could not be told");
                    }
                }
                Err(error) => tracing::debug!(%error, "a test broke off"),
            }
        }
        return;
    };
    match inner.calls_at_risk() {
        Some(calls) => services::refuse(circuit, &calls.to_string()).await,
        None if services::accept(&mut circuit).await => {
            send(&mut circuit.send, Duration::from_secs(seconds).min(PHASE_MAX)).await;
        }
        None => {}
    }
}

/// Sends for so long, however little goes. What is on the way then is not waited for.
async fn send(stream: &mut SendStream, lasts: Duration) {
    let chunk = vec![0; CHUNK_BYTES];
    let sending = async {
        loop {
            stream.write_all(&chunk).await?;
        }
    };
    let ended: Result<Result<(), noq::WriteError>, _> = timeout(lasts, sending).await;
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a load broke off");
    }
    // The far end may have closed it.
    let _ = stream.reset(VarInt::from_u32(LOAD_OVER));
}

async fn receive(stream: &mut RecvStream, lasts: Duration) -> io::Result<Arrived> {
    let until = Moment::now() + lasts + DELAY_MAX;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut tally = Tally::default();
    loop {
        match timeout_at(until, stream.read(&mut chunk)).await {
            Ok(Ok(Some(len))) => tally.add(Instant::now(), len),
            Ok(Err(noq::ReadError::Reset(code))) if code == VarInt::from_u32(LOAD_OVER) => break,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(error.into()),
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Ok(tally.arrived())
}

/// What has arrived so far.
#[derive(Debug, Default)]
struct Tally {
    /// When the first octets came.
    began: Option<Instant>,
    /// When the last came that were not reckoned, and when the last of all.
    reckoned: Option<(Instant, Instant)>,
    octets: u64,
}

impl Tally {
    fn add(&mut self, now: Instant, len: usize) {
        let began = *self.began.get_or_insert(now);
        match &mut self.reckoned {
            Some((_, last)) => {
                *last = now;
                self.octets += len as u64;
            }
            None if now.saturating_duration_since(began) >= RAMP => self.reckoned = Some((now, now)),
            None => {}
        }
    }

    fn arrived(&self) -> Arrived {
        let seconds = self.reckoned.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        Arrived { octets: self.octets, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_while_the_sender_begins_is_not_reckoned() {
        let start = Instant::now();
        let mut tally = Tally::default();
        assert_eq!(tally.arrived().bits_per_second(), None);
        for ms in (0..3000_u64).step_by(10) {
            let len = if ms < 1000 { 10 } else { 1250 };
            tally.add(start + Duration::from_millis(ms), len);
        }
        let arrived = tally.arrived();
        assert_eq!((arrived.octets, arrived.seconds), (199 * 1250, 1.99));
        assert_eq!(arrived.bits_per_second().map(f64::round), Some(1_000_000.0));
    }
}
