//! Frames on a stream: reading them one by one without trusting their length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::bundle::Unbundler;
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

/// What a bundle becomes and is made of, if a frame is one of the direction that is read.
pub(crate) type AsBundle = fn(&[u8]) -> Result<Option<(u32, &[u8])>, Violation>;

/// The frames of one direction, with bundles taken apart.
pub(crate) struct Frames<R> {
    stream: R,
    as_bundle: AsBundle,
    bundle: Unbundler,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn of(stream: R, as_bundle: AsBundle) -> Self {
        Self { stream, as_bundle, bundle: Unbundler::default() }
    }

    /// Reads the next frame without its prefix.
    ///
    /// # Errors
    ///
    /// `Stream` with `UnexpectedEof` if the stream ends, before or inside a frame; `Violation` for a length that is not allowed, and for a
    /// bundle that is none.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, FrameError> {
        loop {
            if let Some(frame) = self.bundle.take()? {
                return Ok(frame.into());
            }
            let frame = read(&mut self.stream).await?;
            match (self.as_bundle)(&frame)? {
                Some((len, packed)) => self.bundle.open(len, packed)?,
                None => return Ok(frame),
            }
        }
    }
}

async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Vec<u8>, FrameError> {
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
