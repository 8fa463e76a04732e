//! Changes: the kernel tells when an address of this machine comes or goes.

use std::future;
use std::io;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use rtnetlink::MulticastGroup;

use super::AbortOnDrop;

/// Listens to the addresses of one network namespace; closes when it is dropped.
pub struct AddressChanges {
    messages: Pin<Box<dyn Stream<Item = ()> + Send + Sync>>,
    _connection: AbortOnDrop,
}

impl std::fmt::Debug for AddressChanges {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AddressChanges")
    }
}

impl AddressChanges {
    /// Listens in the network namespace of the calling thread.
    ///
    /// Must be called within a tokio runtime; the connection lives on it.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn listen() -> io::Result<Self> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        let task = tokio::spawn(connection);
        Ok(Self { messages: Box::pin(messages.map(drop)), _connection: AbortOnDrop(task.abort_handle()) })
    }

    /// Waits until an address has come or gone since the last call; several at once may be told as one. What is so now is
    /// for the caller to ask. Cancelling it loses nothing.
    pub async fn changed(&mut self) {
        // A message that says that messages were lost is a change like any other.
        if self.messages.next().await.is_none() {
            // The connection is gone, and nothing will be told any more.
            future::pending::<()>().await;
        }
    }
}
