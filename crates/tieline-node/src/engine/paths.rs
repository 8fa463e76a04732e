//! What the control task does about the paths of a line that has several.

use std::net::SocketAddr;

use tieline_line::paths::{self, PATHS_MAX, PathId};
use tokio::sync::mpsc;

use super::{Engine, dial::look_up};
use crate::config::{DialAddress, PathConfig};

/// Where the far end is dialled on the further paths.
pub(super) struct PathDials {
    addresses: Vec<Option<DialAddress>>,
    /// The mark of packets that are not held to the line.
    mark: Option<u32>,
    /// How often each was asked for: the addresses of a name are tried in turn.
    tries: [usize; PATHS_MAX],
    found: mpsc::Receiver<(PathId, SocketAddr)>,
    finder: mpsc::Sender<(PathId, SocketAddr)>,
}

impl PathDials {
    pub(super) fn new(paths: &[PathConfig], mark: Option<u32>) -> Self {
        let (finder, found) = mpsc::channel(PATHS_MAX);
        let addresses = paths.iter().map(|path| path.address.clone()).collect();
        Self { addresses, mark, tries: [0; PATHS_MAX], found, finder }
    }

    /// Has [`Self::resolved`] tell where the far end is to be dialled on `path`, if that is configured.
    fn look_up(&mut self, path: PathId) {
        let address = path.number().checked_sub(1).and_then(|further| self.addresses.get(further));
        let Some(address) = address.cloned().flatten() else { return };
        let attempt = self.tries[path.number()];
        self.tries[path.number()] += 1;
        let (finder, mark) = (self.finder.clone(), self.mark);
        tokio::spawn(async move {
            let found = match address.socket_address() {
                Some(known) => vec![known],
                None => look_up(&address, mark).await,
            };
            let chosen = found.get(attempt % found.len().max(1)).copied();
            // If nobody takes it, it is asked for again.
            let _ = chosen.map(|address| finder.try_send((path, address)));
        });
    }

    /// The next address that was found.
    pub(super) async fn resolved(&mut self) -> Option<(PathId, SocketAddr)> {
        self.found.recv().await
    }
}

impl Engine {
    /// Takes what became of the paths.
    pub(super) async fn on_path(&mut self, event: paths::Event) {
        match event {
            paths::Event::Changed { path, is_up: true } => {
                tracing::info!(path = path.number(), "a path is up")
            }
            paths::Event::Changed { path, is_up: false } => {
                tracing::warn!(path = path.number(), "a path is down");
            }
            paths::Event::Moved { path, to } => {
                tracing::info!(path = path.number(), %to, "the far end of a path has moved");
                if path == PathId::FIRST {
                    self.parts.state.peer_address = Some(to);
                    self.remember();
                }
                self.settle_networks().await;
            }
            paths::Event::Carries { path, before } => {
                tracing::warn!(path = path.number(), before = before.number(), "packets go by another path");
                self.rate.on_path(std::time::Instant::now());
            }
            paths::Event::Dial(path) => self.dial_path(path),
        }
    }

    fn dial_path(&mut self, path: PathId) {
        if path == PathId::FIRST {
            if let Some(address) = self.dial.next() {
                self.dial(address);
            }
            return;
        }
        match self.parts.ports.medium.make_ready(path) {
            Ok(()) => self.path_dials.look_up(path),
            Err(error) => {
                let device = self.parts.ports.medium.device(path.number()).unwrap_or_default();
                tracing::info!(path = path.number(), device, %error, "a path cannot use its device yet");
            }
        }
    }
}
