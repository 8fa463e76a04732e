//! The control stream: each end says who it is and what it offers, and what it made of the other's offers.

use std::io;

use noq::{Connection, ConnectionError, RecvStream, SendStream};
use tieline_wire::control::ControlMessage;
use tokio::sync::mpsc;

use super::{Circuit, FromFarEnd, Inner, frame};

/// Opens the control stream, or takes the first stream that the far end opens.
pub(super) async fn open(inner: &Inner, connection: &Connection) -> Result<Circuit, ConnectionError> {
    let opened = if inner.connects() { connection.open_bi().await } else { connection.accept_bi().await };
    opened.map(|(send, recv)| Circuit { send, recv })
}

/// Serves the control stream until it ends.
pub(super) async fn serve(inner: &Inner, stream: Circuit) -> io::Result<()> {
    tokio::try_join!(write(inner, stream.send), read(stream.recv, &inner.setup.reports))?;
    Ok(())
}

async fn write(inner: &Inner, mut send: SendStream) -> io::Result<()> {
    let mut accepted = inner.accepted.subscribe();
    frame::write(&mut send, &ControlMessage::Hello(inner.setup.hello.clone())).await?;
    loop {
        let message = accepted.borrow_and_update().clone();
        if let Some(accepted) = message {
            frame::write(&mut send, &ControlMessage::Accepted(accepted)).await?;
        }
        if accepted.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn read(mut recv: RecvStream, reports: &mpsc::Sender<FromFarEnd>) -> io::Result<()> {
    loop {
        let report = match frame::read_control(&mut recv).await? {
            ControlMessage::Hello(hello) => FromFarEnd::Hello(hello),
            ControlMessage::Accepted(accepted) => FromFarEnd::Accepted(accepted),
            ControlMessage::Unknown => continue,
        };
        // Waits if control is busy; the stream's window then holds the far end back.
        if reports.send(report).await.is_err() {
            return Ok(());
        }
    }
}
