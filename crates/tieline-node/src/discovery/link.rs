//! Messages of discovery between the ends: each opens a stream for its own.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_wire::control::StreamRequest;
use tieline_wire::discovery::{MESSAGE_LEN_MAX, Relayed, RelayedError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Discovery;
use super::network::Bound;
use crate::streams::{Circuit, OpenError, Streams, accept, refuse};

/// Pause before the far end is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const LEN_LEN: usize = 2;

impl Discovery {
    /// Relays from now on, as long as the runtime lives.
    pub fn start(&self, bound: Bound, streams: &Streams) {
        let Some(mut waiting) = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if !self.is_wanted() {
            return;
        }
        self.listen(bound);
        let (discovery, streams) = (self.clone(), streams.clone());
        tokio::spawn(async move {
            loop {
                discovery.keep_open(&streams, &mut waiting).await;
                discovery.0.is_open.store(false, Ordering::Relaxed);
                sleep(ASK_AGAIN).await;
            }
        });
    }

    /// Sends what waits over one stream, until that ends.
    async fn keep_open(&self, streams: &Streams, waiting: &mut mpsc::Receiver<Vec<u8>>) {
        let Circuit { mut send, mut recv } = match streams.open(&StreamRequest::Discovery).await {
            Ok(circuit) => circuit,
            Err(OpenError::Refused(reason)) => {
                return self.0.figures.set_trouble(Some(&format!("the far end does not relay: {reason}")));
            }
            Err(error) => return self.0.figures.set_trouble(Some(&error.to_string())),
        };
        self.0.figures.set_trouble(None);
        // What waited is old.
        while waiting.try_recv().is_ok() {}
        self.0.is_open.store(true, Ordering::Relaxed);
        let sending = async {
            while let Some(message) = waiting.recv().await {
                write(&mut send, &message).await?;
            }
            io::Result::Ok(())
        };
        // The far end says nothing on it: whatever comes is its end.
        let mut nothing = [0];
        tokio::select! {
            ended = sending => if let Err(error) = ended {
                tracing::debug!(%error, "the stream of discovery broke");
            },
            _ = recv.read(&mut nothing) => {}
        }
    }
}

/// Takes what the far end relays over a stream that it has opened.
pub(crate) async fn serve(discovery: &Discovery, mut circuit: Circuit) {
    let Some(networks) = discovery.0.networks.get() else {
        return refuse(circuit, "`[discovery]` is not in the configuration of this end").await;
    };
    if !accept(&mut circuit).await {
        return;
    }
    loop {
        match read(&mut circuit.recv).await {
            Ok(message) => match Relayed::parse(&message) {
                Ok(message) => discovery.say(&message, networks).await,
                // Of a later version.
                Err(RelayedError::Kind(_) | RelayedError::Protocol(_)) => {}
                Err(error) => return tracing::info!(%error, "the far end relays rubbish"),
            },
            Err(error) => return tracing::debug!(%error, "the far end relays no more"),
        }
    }
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes()[..], message].concat()).await
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut len = [0; LEN_LEN];
    stream.read_exact(&mut len).await?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > MESSAGE_LEN_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_keep_their_boundaries() {
        let mut stream = Vec::new();
        for message in [&b"a"[..], b"", b"bc"] {
            write(&mut stream, message).await.unwrap();
        }
        let mut stream = &stream[..];
        for message in [&b"a"[..], b"", b"bc"] {
            assert_eq!(read(&mut stream).await.unwrap(), message);
        }
        assert!(read(&mut stream).await.is_err());
    }

    #[tokio::test]
    async fn length_beyond_the_bound_is_refused_before_anything_is_read() {
        let error = read(&mut &[0xff, 0xff][..]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
