//! A stream whose far side may not keep us waiting for ever, as long as the line is there.
//!
//! QUIC has no idle timeout here, so that a cable pulled for an hour breaks nothing. A far end that is heard and yet
//! neither sends what is waited for nor takes what is written holds a place that others want; after [`QUIET_MAX`] reading
//! and writing fail. Only time spent waiting counts, not time in which this end is busy, and a silence of the line
//! begins the count anew.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::{Instant, Sleep, sleep},
};

/// How long the far end may be waited for while it is heard.
pub(super) const QUIET_MAX: Duration = Duration::from_mins(5);
/// How often it is looked whether the line was there all the time.
const LOOK_EACH: Duration = Duration::from_secs(15);

/// Why a stream is given up.
#[derive(Debug, thiserror::Error)]
enum Quiet {
    /// Nothing came.
    #[error("the far end was heard but sent nothing for {} s", QUIET_MAX.as_secs())]
    SentNothing,
    /// Nothing went.
    #[error("the far end was heard but took nothing for {} s", QUIET_MAX.as_secs())]
    TookNothing,
}

/// A stream that is given up after [`QUIET_MAX`].
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    reading: Patience,
    writing: Patience,
}

#[derive(Debug)]
struct Patience {
    /// Whether the far end is heard.
    heard: watch::Receiver<bool>,
    look: Pin<Box<Sleep>>,
    is_waiting: bool,
    waited: Duration,
}

impl<S> Patient<S> {
    /// `heard` says whether the far end is heard.
    pub(super) fn new(stream: S, heard: &watch::Sender<bool>) -> Self {
        Self { stream, reading: Patience::new(heard), writing: Patience::new(heard) }
    }
}

impl Patience {
    fn new(heard: &watch::Sender<bool>) -> Self {
        let heard = heard.subscribe();
        Self { heard, look: Box::pin(sleep(LOOK_EACH)), is_waiting: false, waited: Duration::ZERO }
    }

    /// Passes `polled` on, unless it has been pending for too long.
    fn hold<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
        otherwise: Quiet,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.is_waiting = false;
            return polled;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.begin_anew();
        }
        while self.look.as_mut().poll(cx).is_ready() {
            let was_there = *self.heard.borrow() && !self.heard.has_changed().unwrap_or(false);
            if !was_there {
                self.begin_anew();
                continue;
            }
            self.waited += LOOK_EACH;
            if self.waited >= QUIET_MAX {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, otherwise)));
            }
            self.look.as_mut().reset(Instant::now() + LOOK_EACH);
        }
        Poll::Pending
    }

    fn begin_anew(&mut self) {
        self.waited = Duration::ZERO;
        self.heard.mark_unchanged();
        self.look.as_mut().reset(Instant::now() + LOOK_EACH);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.reading.hold(cx, polled, Quiet::SentNothing)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.writing.hold(cx, polled, Quiet::TookNothing)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.writing.hold(cx, polled, Quiet::TookNothing)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.writing.hold(cx, polled, Quiet::TookNothing)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const A_LITTLE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn case_27_far_end_that_is_heard_and_sends_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(8);
        let heard = watch::Sender::new(true);
        let mut patient = Patient::new(near, &heard);
        let began = Instant::now();
        let error = patient.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((QUIET_MAX..QUIET_MAX + A_LITTLE).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn case_27_far_end_that_is_heard_and_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(8);
        let heard = watch::Sender::new(true);
        let error = Patient::new(near, &heard).write_all(&[0; 9]).await.unwrap_err();
        assert!(error.to_string().contains("took nothing"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_octet_begins_the_count_anew() {
        let (near, mut far) = tokio::io::duplex(8);
        let heard = watch::Sender::new(true);
        let mut patient = Patient::new(near, &heard);
        for octet in 0..4 {
            let late = async {
                sleep(QUIET_MAX - A_LITTLE).await;
                far.write_u8(octet).await.unwrap();
            };
            assert_eq!(tokio::join!(patient.read_u8(), late).0.unwrap(), octet);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn case_33_line_that_is_cut_is_waited_for_as_long_as_it_takes() {
        let (near, mut far) = tokio::io::duplex(8);
        let heard = watch::Sender::new(true);
        let mut patient = Patient::new(near, &heard);
        let cut = async {
            sleep(QUIET_MAX - A_LITTLE).await;
            heard.send_replace(false);
            sleep(100 * QUIET_MAX).await;
            heard.send_replace(true);
            sleep(QUIET_MAX - A_LITTLE).await;
            // A cut that begins and ends between two looks.
            heard.send_replace(false);
            heard.send_replace(true);
            sleep(QUIET_MAX - A_LITTLE).await;
            far.write_u8(7).await.unwrap();
        };
        assert_eq!(tokio::join!(patient.read_u8(), cut).0.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_does_not_count() {
        let (near, mut far) = tokio::io::duplex(8);
        let heard = watch::Sender::new(true);
        let mut patient = Patient::new(near, &heard);
        far.write_all(&[1]).await.unwrap();
        patient.read_u8().await.unwrap();
        assert!(timeout(A_LITTLE, patient.read_u8()).await.is_err());
        sleep(2 * QUIET_MAX).await;
        far.write_all(&[2]).await.unwrap();
        assert_eq!(patient.read_u8().await.unwrap(), 2);
    }
}
