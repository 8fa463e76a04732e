//! Changes: the kernel tells when an address of this machine comes or goes.

use std::future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, Stream, StreamExt};
use rtnetlink::MulticastGroup;

use super::AbortOnDrop;

/// What changes within this time is told as one: a device that comes has several addresses, a container host hundreds.
const TOGETHER: Duration = Duration::from_millis(50);

/// Listens to the addresses, devices and routes of one network namespace; closes when it is dropped.
pub struct AddressChanges {
    messages: Pin<Box<dyn Stream<Item = ()> + Send + Sync>>,
    /// When what was heard is told.
    due: Option<Instant>,
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
        Self::listen_to(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])
    }

    /// Listens to routes too, as whoever must know where the internet is. A machine that knows all routes of the internet tells much.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn listen_with_routes() -> io::Result<Self> {
        Self::listen_to(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
    }

    fn listen_to(groups: &[MulticastGroup]) -> io::Result<Self> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(groups)?;
        let task = tokio::spawn(connection);
        let messages = Box::pin(messages.map(drop));
        Ok(Self { messages, due: None, _connection: AbortOnDrop(task.abort_handle()) })
    }

    /// Waits until an address or a device has changed since the last call, and a moment longer for what comes along with it. What
    /// is so now is for the caller to ask. Cancelling it loses nothing. Needs the runtime's clock.
    pub async fn changed(&mut self) {
        // A message that says that messages were lost is a change like any other.
        if self.due.is_none() && self.messages.next().await.is_none() {
            tracing::error!("the kernel tells of no changes of addresses any more");
            future::pending::<()>().await;
        }
        // Kept, since the caller may cancel this and call again before it is reached.
        let due = *self.due.get_or_insert_with(|| Instant::now() + TOGETHER);
        tokio::time::sleep_until(due.into()).await;
        while let Some(Some(())) = self.messages.next().now_or_never() {}
        self.due = None;
    }
}
