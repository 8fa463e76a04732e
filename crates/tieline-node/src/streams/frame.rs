//! Messages on a stream: a length, then JSON (`tieline_wire::control`).

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tieline_wire::control::{self, MessageError, PREFIX_LEN};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Writes one message.
///
/// # Errors
///
/// What the stream says; `InvalidInput` if the message is longer than messages may be.
pub(super) async fn write<M: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &M,
) -> io::Result<()> {
    let bytes = control::emit(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    stream.write_all(&bytes).await
}

/// Reads one message.
///
/// # Errors
///
/// What the stream says; `InvalidData` if it is not such a message.
pub(super) async fn read<M: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let body = read_body(stream).await?;
    control::parse(&body).map_err(invalid)
}

/// Reads one message of the control stream.
///
/// # Errors
///
/// As [`read`].
pub(super) async fn read_control(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<control::ControlMessage> {
    let body = read_body(stream).await?;
    control::parse_control(&body).map_err(invalid)
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let mut body = vec![0; control::len_of(prefix).map_err(invalid)?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn invalid(error: MessageError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tieline_wire::control::StreamRequest;

    use super::*;

    #[tokio::test]
    async fn message_goes_through_a_stream() {
        let (mut near, mut far) = tokio::io::duplex(8);
        let request = StreamRequest::Files { folder: Some("plans".into()) };
        let writing = async { write(&mut near, &request).await.unwrap() };
        let (_, read) = tokio::join!(writing, read::<StreamRequest>(&mut far));
        assert_eq!(read.unwrap(), request);
    }

    #[tokio::test]
    async fn announced_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let mut stream = &[0xff, 0xff, 0xff, 0xff][..];
        let error = read::<StreamRequest>(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
