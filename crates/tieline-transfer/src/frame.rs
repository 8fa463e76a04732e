//! Frames on a stream: reading them one by one without trusting their length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::{PREFIX_LEN, Violation, frame_len};

/// Why no frame can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] io::Error),
    /// What is on it is no frame.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// Reads the next frame without its prefix.
///
/// # Errors
///
/// `Stream` with `UnexpectedEof` if the stream ends, before or inside a frame; `Violation` for a length that is not allowed.
pub(crate) async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Vec<u8>, FrameError> {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let len = frame_len(prefix)?;
    let mut frame = Vec::with_capacity(len);
    let mut rest = stream.take(len as u64);
    while frame.len() < len {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(frame)
}
