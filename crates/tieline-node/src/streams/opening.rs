//! How somebody at this end gets a stream, or learns why there is none.

use std::{io, time::Duration};

use noq::{Connection, RecvStream};
use tieline_wire::control::StreamRequest;
use tokio::time::{sleep, timeout};

use super::circuit::read_answer;
use super::lanes::SendingLanes;
use super::{Circuit, Inner, RECONNECT_PAUSE, STREAMS_MAX, Streams, frame};

/// How long somebody who wants a stream waits for the connection.
pub const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long somebody waits for a place when as many streams are open as the far end takes.
pub const PLACE_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long the far end may take to answer a request that needs no person.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection came up in time.
    #[error("the far end is not connected: no stream connection within {} s; `tieline status` says why", CONNECTION_WAIT_MAX.as_secs())]
    NotConnected,
    /// As many streams are open as the far end takes, and no place came free in time.
    #[error("the line has as many streams open already as it carries ({STREAMS_MAX} besides those of ports), and no place came free within {} s; try again when a transfer has ended", PLACE_WAIT_MAX.as_secs())]
    TooMany,
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
    /// There never is one to this far end.
    #[error(transparent)]
    NoStreams(#[from] NoStreams),
}

/// Why a far end has no streams, however long one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStreams {
    /// It is plain WireGuard.
    #[error(
        "the far end is plain WireGuard: the line carries IP and nothing else, so it takes no files and has no pipe"
    )]
    IpOnly,
    /// It is a tieline that speaks no version that we speak.
    #[error(
        "the far end is a tieline of a version that has nothing in common with this one; update the older of the two"
    )]
    Incompatible,
}

impl Streams {
    /// Opens a stream for a service of the far end and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(&self, request: &StreamRequest) -> Result<Circuit, OpenError> {
        let mut circuit = self.stream().await?;
        let answer = timeout(ANSWER_WAIT_MAX, circuit.request(request)).await;
        answer.map_err(|_elapsed| OpenError::Answer(io::ErrorKind::TimedOut.into()))??;
        Ok(circuit)
    }

    /// Opens a stream for a service of the far end, if that is there now, and sends the request; what is for the service may follow at
    /// once. The [answer](Self::answer) is still to come.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the far end is not there at this moment; else [`OpenError`].
    pub(crate) async fn open_at_once(
        &self,
        request: &StreamRequest,
    ) -> Result<(Connection, Circuit), OpenError> {
        let connection = self.0.connection.borrow().clone().filter(|_| self.is_far_end_there());
        let connection = connection.ok_or(OpenError::NotConnected)?;
        let mut circuit = stream_of(&connection).await?;
        frame::write(&mut circuit.send, request).await.map_err(OpenError::Answer)?;
        Ok((connection, circuit))
    }

    /// Waits for the answer to a request, as long as the far end is heard.
    ///
    /// # Errors
    ///
    /// `Refused`; `NotConnected` if the far end is not heard any more; `Answer` if there is none.
    pub(crate) async fn answer(&self, recv: &mut RecvStream) -> Result<(), OpenError> {
        let mut heard = self.0.heard.subscribe();
        tokio::select! {
            answer = timeout(ANSWER_WAIT_MAX, read_answer(recv)) => {
                answer.map_err(|_elapsed| OpenError::Answer(io::ErrorKind::TimedOut.into()))?
            }
            _silent = heard.wait_for(|is_heard| !is_heard) => Err(OpenError::NotConnected),
        }
    }

    /// Opens the lanes of a transfer into the far end's inbox, or into `folder` of it.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_files(&self, folder: Option<String>) -> Result<SendingLanes, OpenError> {
        let connection = self.connection().await?;
        let circuit = self.open(&StreamRequest::Files { folder }).await?;
        let opened = timeout(PLACE_WAIT_MAX, SendingLanes::open(&connection, circuit)).await;
        opened.map_err(|_elapsed| OpenError::TooMany)?.map_err(OpenError::Answer)
    }

    /// Waits until both ends have asked for a pipe, and returns it.
    ///
    /// # Errors
    ///
    /// `Busy` if this end has one already, `NoStreams`, or `Refused` by the far end; otherwise it waits as long as it takes.
    pub async fn pipe(&self) -> Result<Circuit, OpenError> {
        let _place = self.0.meeting.take_place().ok_or(OpenError::Busy)?;
        tokio::select! {
            circuit = self.meet() => circuit,
            why = self.0.no_streams() => Err(why.into()),
        }
    }

    async fn meet(&self) -> Result<Circuit, OpenError> {
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

    async fn ask_for_pipe(&self) -> Result<Circuit, OpenError> {
        let mut circuit = self.stream().await?;
        circuit.request(&StreamRequest::Pipe).await?;
        Ok(circuit)
    }

    /// A stream without a request yet.
    async fn stream(&self) -> Result<Circuit, OpenError> {
        stream_of(&self.connection().await?).await
    }

    async fn connection(&self) -> Result<Connection, OpenError> {
        let mut connection = self.0.connection.subscribe();
        let up = timeout(CONNECTION_WAIT_MAX, connection.wait_for(Option::is_some));
        let up = tokio::select! {
            up = up => up.map_err(|_elapsed| OpenError::NotConnected)?,
            why = self.0.no_streams() => return Err(why.into()),
        };
        up.ok().and_then(|up| up.clone()).ok_or(OpenError::NotConnected)
    }
}

async fn stream_of(connection: &Connection) -> Result<Circuit, OpenError> {
    let opened = timeout(PLACE_WAIT_MAX, connection.open_bi()).await;
    let (send, recv) = opened.map_err(|_elapsed| OpenError::TooMany)??;
    Ok(Circuit { send, recv })
}

impl Inner {
    async fn settled_who_connects(&self) -> bool {
        let mut connects = self.connects.subscribe();
        // The sender lives as long as we do.
        connects.wait_for(Option::is_some).await.is_ok_and(|connects| connects.unwrap_or(false))
    }

    /// Returns when it is known that the far end has no streams.
    pub(super) async fn no_streams(&self) -> NoStreams {
        let mut no_streams = self.no_streams.subscribe();
        match no_streams.wait_for(Option::is_some).await.map(|why| *why) {
            Ok(Some(why)) => why,
            // The sender lives as long as we do.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}
