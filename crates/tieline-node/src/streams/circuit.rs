//! One stream in both directions, from the answer that gave it to its service until both ways have ended.

use std::io;

use noq::{RecvStream, SendStream, VarInt};
use tieline_wire::control::{StreamAnswer, StreamRequest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{OpenError, frame};

/// Code of a stream whose other side broke.
const BROKEN: u32 = 4;
/// Octets that are copied at once.
const COPY_BYTES: usize = 256 << 10;

/// A stream in both directions, given over to a service.
#[derive(Debug)]
pub struct Circuit {
    /// Towards the far end.
    pub send: SendStream,
    /// From the far end.
    pub recv: RecvStream,
}

impl Circuit {
    /// Joins the circuit with `stream`: what comes in at one goes out at the other, both ways, each way until its end, which
    /// is passed on. Returns when both ways have ended; what the far end does not have by then is on its way.
    pub async fn join(mut self, stream: impl AsyncRead + AsyncWrite) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let out = async {
            copy(&mut reader, &mut self.send).await?;
            self.send.shutdown().await
        };
        let back = async {
            copy(&mut self.recv, &mut writer).await?;
            writer.shutdown().await
        };
        if let Err(error) = tokio::try_join!(out, back) {
            tracing::debug!(%error, "a circuit broke");
            self.tear();
        }
    }

    /// Ends both ways so that the far end sees a break: it must not look like an end.
    pub(crate) fn tear(&mut self) {
        // Each may have ended already.
        let _ = self.send.reset(VarInt::from_u32(BROKEN));
        let _ = self.recv.stop(VarInt::from_u32(BROKEN));
    }

    /// Asks the far end for a service and waits for its answer.
    pub(super) async fn request(&mut self, request: &StreamRequest) -> Result<(), OpenError> {
        frame::write(&mut self.send, request).await.map_err(OpenError::Answer)?;
        read_answer(&mut self.recv).await
    }
}

/// Waits for the answer to a request.
///
/// # Errors
///
/// `Refused`, or `Answer` if there is none.
pub(super) async fn read_answer(recv: &mut RecvStream) -> Result<(), OpenError> {
    match frame::read(recv).await.map_err(OpenError::Answer)? {
        StreamAnswer::Accepted => Ok(()),
        StreamAnswer::Refused { reason } => Err(OpenError::Refused(reason)),
    }
}

async fn copy(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return writer.flush().await,
            len => writer.write_all(&buffer[..len]).await?,
        }
    }
}
