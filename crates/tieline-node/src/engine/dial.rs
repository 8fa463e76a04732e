//! Where the far end is dialled: the configured addresses in turn, names looked up anew each time.
//!
//! As long as the far end is heard, nothing is dialled: its authentic datagrams say where it is. After
//! [`SILENCE_BEFORE_DIALLING`] the next configured address is looked up and tried.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::config::{DialAddress, Host};

/// Silence after which the far end may be somewhere else.
pub(super) const SILENCE_BEFORE_DIALLING: Duration = Duration::from_secs(5);
/// How long one address is tried before the next.
pub(super) const TRY_EACH: Duration = Duration::from_secs(6);

/// The dialling of one line.
#[derive(Debug)]
pub(super) struct Dial {
    addresses: Vec<DialAddress>,
    next: usize,
    due: Option<Instant>,
    found: mpsc::Receiver<SocketAddr>,
    finder: mpsc::Sender<SocketAddr>,
}

impl Dial {
    /// Dials `addresses` in turn; with none, the far end must come to us.
    #[must_use]
    pub(super) fn new(addresses: Vec<DialAddress>) -> Self {
        let (finder, found) = mpsc::channel(1);
        let due = (!addresses.is_empty()).then(Instant::now);
        Self { addresses, next: 0, due, found, finder }
    }

    /// The next address that a look-up found; never ends.
    pub(super) async fn resolved(&mut self) -> Option<SocketAddr> {
        self.found.recv().await
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Looks up the next address if one is due and the far end was last heard too long ago.
    pub(super) fn handle_timeout(&mut self, now: Instant, heard: Option<Instant>) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let quiet_until = heard.map(|heard| heard + SILENCE_BEFORE_DIALLING).filter(|until| now < *until);
        if let Some(until) = quiet_until {
            self.due = Some(until);
            return;
        }
        self.due = Some(now + TRY_EACH);
        let Some(address) = self.addresses.get(self.next % self.addresses.len().max(1)).cloned() else {
            return;
        };
        self.next = self.next.wrapping_add(1);
        let finder = self.finder.clone();
        tokio::spawn(async move {
            if let Some(found) = look_up(&address).await {
                // A full queue holds an address that was not tried yet.
                let _ = finder.try_send(found);
            }
        });
    }
}

/// The first address of the name, or the address itself.
async fn look_up(address: &DialAddress) -> Option<SocketAddr> {
    if let Some(known) = address.socket_address() {
        return Some(known);
    }
    let Host::Name(name) = address.host() else { return None };
    match tokio::net::lookup_host((name.as_str(), address.port())).await {
        Ok(mut found) => found.next(),
        Err(error) => {
            tracing::warn!(name = name.as_str(), %error, "the far end's name does not resolve");
            None
        }
    }
}
