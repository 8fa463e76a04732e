//! Where the far end is dialled: the configured addresses in turn, and all that a name stands for, looked up anew each time.
//!
//! When, the line says ([`tieline_line::Event::Dial`]).

use std::{collections::VecDeque, net::SocketAddr};

use tokio::sync::mpsc;

use super::names;
use crate::config::{DialAddress, Host};

/// Addresses of one name that are tried; a name with more is a list of somebody else's machines.
const FOUND_MAX: usize = 8;

/// The addresses of one line's far end.
#[derive(Debug)]
pub(super) struct Dial {
    addresses: Vec<DialAddress>,
    next: usize,
    /// What the last look-up found and was not tried yet.
    candidates: VecDeque<SocketAddr>,
    is_looking_up: bool,
    /// The mark of packets that are not held to the line.
    mark: Option<u32>,
    found: mpsc::Receiver<Vec<SocketAddr>>,
    finder: mpsc::Sender<Vec<SocketAddr>>,
}

impl Dial {
    /// Dials `addresses` in turn; with none, the far end must come to us. `mark` is that of packets which are not held to the line,
    /// where all others are.
    #[must_use]
    pub(super) fn new(addresses: Vec<DialAddress>, mark: Option<u32>) -> Self {
        let (finder, found) = mpsc::channel(1);
        Self { addresses, next: 0, candidates: VecDeque::new(), is_looking_up: false, mark, found, finder }
    }

    /// The next address to try, if it is known; otherwise it is looked up, and [`Self::resolved`] will tell.
    pub(super) fn next(&mut self) -> Option<SocketAddr> {
        if let Some(candidate) = self.candidates.pop_front() {
            return Some(candidate);
        }
        // A resolver that hangs is asked one thing at a time.
        if self.addresses.is_empty() || self.is_looking_up {
            return None;
        }
        let address = self.addresses[self.next % self.addresses.len()].clone();
        self.next = self.next.wrapping_add(1);
        if let Some(known) = address.socket_address() {
            return Some(known);
        }
        self.is_looking_up = true;
        let (finder, mark) = (self.finder.clone(), self.mark);
        tokio::spawn(async move {
            // There is room: one look-up at a time.
            let _ = finder.send(look_up(&address, mark).await).await;
        });
        None
    }

    /// The far end answers: what is known of its names is old when they are needed again.
    pub(super) fn forget_candidates(&mut self) {
        self.candidates.clear();
    }

    /// The first address that a look-up found; never ends.
    pub(super) async fn resolved(&mut self) -> Option<SocketAddr> {
        loop {
            let found = self.found.recv().await?;
            self.is_looking_up = false;
            self.candidates = found.into();
            if let Some(first) = self.candidates.pop_front() {
                return Some(first);
            }
        }
    }
}

/// All addresses of the name, in the order in which this machine prefers them (RFC 6724).
pub(super) async fn look_up(address: &DialAddress, mark: Option<u32>) -> Vec<SocketAddr> {
    let Host::Name(name) = address.host() else { return Vec::new() };
    if let Some(mark) = mark {
        // What the system would ask goes into a line that is not there yet. It may know the name without asking.
        let found = names::look_up(name.as_str(), mark).await;
        if !found.is_empty() {
            let found = found.into_iter().map(|ip| SocketAddr::new(ip, address.port()));
            return found.take(FOUND_MAX).collect();
        }
    }
    match tokio::net::lookup_host((name.as_str(), address.port())).await {
        Ok(found) => found.take(FOUND_MAX).collect(),
        Err(error) => {
            tracing::warn!(name = name.as_str(), %error, "the far end's name does not resolve");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(addresses: &[&str]) -> Dial {
        Dial::new(addresses.iter().map(|address| address.parse().unwrap()).collect(), None)
    }

    #[tokio::test]
    async fn configured_addresses_are_tried_in_turn() {
        let mut dial = dial(&["192.0.2.1:1", "[2001:db8::2]:2"]);
        let tried: Vec<_> = (0..3).map(|_| dial.next().unwrap().to_string()).collect();
        assert_eq!(tried, ["192.0.2.1:1", "[2001:db8::2]:2", "192.0.2.1:1"]);
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried_before_the_next_name() {
        let mut dial = dial(&["localhost:7", "192.0.2.1:1"]);
        assert_eq!(dial.next(), None, "it is being looked up");
        assert_eq!(dial.next(), None, "and nothing else meanwhile");
        assert!(dial.resolved().await.unwrap().ip().is_loopback());
        dial.candidates = VecDeque::from([([192, 0, 2, 8], 8).into(), ([192, 0, 2, 9], 9).into()]);
        let tried: Vec<_> = (0..3).map(|_| dial.next().unwrap().to_string()).collect();
        assert_eq!(tried, ["192.0.2.8:8", "192.0.2.9:9", "192.0.2.1:1"]);
    }

    #[tokio::test]
    async fn a_name_that_stands_for_nothing_leaves_the_others_to_be_tried() {
        let mut dial = dial(&["192.0.2.1:1"]);
        dial.is_looking_up = true;
        dial.finder.try_send(Vec::new()).unwrap();
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(20), dial.resolved()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        assert!(dial.next().is_some());
    }
}
