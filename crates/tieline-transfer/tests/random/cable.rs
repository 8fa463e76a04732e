//! A stream in memory that breaks, and that tells when so much has gone through it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::Notify;

/// How much went through, and what is still to happen.
pub(crate) struct Meter {
    sent: AtomicU64,
    /// When this was sent, somebody is woken.
    mark: u64,
    pub(crate) reached: Notify,
}

impl Meter {
    pub(crate) fn with_mark(mark: u64) -> Arc<Self> {
        Arc::new(Self { sent: AtomicU64::new(0), mark, reached: Notify::new() })
    }
}

/// The sending end of it.
pub(crate) struct Cable {
    pub(crate) stream: DuplexStream,
    pub(crate) meter: Arc<Meter>,
    /// Octets that may still go there, and come back.
    pub(crate) forth: u64,
    pub(crate) back: u64,
}

impl Cable {
    fn is_broken(&self) -> bool {
        self.forth == 0 || self.back == 0
    }
}

impl AsyncRead for Cable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_broken() {
            return Poll::Ready(Ok(()));
        }
        let want = usize::try_from(self.back).unwrap_or(usize::MAX).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(want));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let len = part.filled().len();
        buf.advance(len);
        self.back -= len as u64;
        read
    }
}

impl AsyncWrite for Cable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_broken() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let now = usize::try_from(self.forth).unwrap_or(usize::MAX).min(buf.len());
        let written = Pin::new(&mut self.stream).poll_write(cx, &buf[..now]);
        if let Poll::Ready(Ok(len)) = written {
            self.forth -= len as u64;
            let before = self.meter.sent.fetch_add(len as u64, Ordering::Relaxed);
            if (before..before + len as u64).contains(&self.meter.mark) {
                self.meter.reached.notify_one();
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
