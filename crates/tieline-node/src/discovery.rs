//! Finding devices of the other office across a routed line: what hosts say to all of their network is said to the other network too.
//!
//! Multicast and broadcast end at a router. So each end listens in its own networks, passes on what it hears, and says there what the
//! other end heard. Three kinds of things are said, and each protocol uses them in its own way (`protocols`):
//!
//! - an *announcement* is for all, and is said to all, from this end's address;
//! - a *question* is answered to the asker alone, and often by a host that knows nothing of other networks. So the other end asks in the
//!   asker's place, from a port of its own, and sends back each answer;
//! - an *answer* goes to the host that asked, from this end and the port of the service.
//!
//! What they find are addresses of the other office, which are routed through the line.
//!
//! Nothing goes round: what an end has said itself it does not take for a host's word (`memory`). Nothing floods: each protocol may say so
//! much a second in each direction (`rate`). Both ends must want it, protocol by protocol.

mod figures;
mod link;
mod memory;
mod network;
mod protocols;
mod questions;
mod rate;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tieline_wire::discovery::{DiscoveryProtocol, Relayed, RelayedKind};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::config::DiscoveryConfig;
use crate::status::DiscoveryStatus;
use figures::{Figures, Reason, Way};
pub(crate) use link::serve;
use memory::Memory;
use network::Networks;
pub use network::{BindError, Bound};
use questions::Questions;
use rate::Bucket;

/// Messages that wait to be sent to the far end.
const OUTGOING_MAX: usize = 64;
/// Questions of the far end that are asked here at once, each in each network.
const ASKING_MAX: usize = 128;

/// The relay of an end; clones share it.
#[derive(Clone, Debug)]
pub struct Discovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: DiscoveryConfig,
    figures: Figures,
    /// Whether the far end takes messages.
    is_open: AtomicBool,
    outgoing: mpsc::Sender<Vec<u8>>,
    /// Taken by the task that sends.
    waiting: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
    asking: Arc<Semaphore>,
    /// Once this end listens.
    networks: OnceLock<Networks>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    said: Memory,
    questions: Questions,
    /// For each protocol, out and in.
    rates: [[Bucket; 2]; DiscoveryProtocol::ALL.len()],
}

impl Discovery {
    /// The relay that the configuration wants; without protocols it does nothing.
    #[must_use]
    pub fn new(config: &DiscoveryConfig) -> Self {
        let (outgoing, waiting) = mpsc::channel(OUTGOING_MAX);
        let now = Instant::now();
        let state = State {
            said: Memory::default(),
            questions: Questions::default(),
            rates: [[Bucket::new(now); 2]; DiscoveryProtocol::ALL.len()],
        };
        Self(Arc::new(Inner {
            config: config.clone(),
            figures: Figures::default(),
            is_open: AtomicBool::new(false),
            outgoing,
            waiting: Mutex::new(Some(waiting)),
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
            networks: OnceLock::new(),
            state: Mutex::new(state),
        }))
    }

    /// Whether something is relayed.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.0.config.relay.is_empty()
    }

    /// How it is; none if nothing is relayed.
    #[must_use]
    pub fn status(&self) -> Option<DiscoveryStatus> {
        self.is_wanted().then(|| DiscoveryStatus {
            interfaces: self.0.config.interfaces.clone(),
            is_open: self.is_open(),
            trouble: self.0.figures.trouble(),
            relay: self.0.config.relay.iter().map(|protocol| self.0.figures.status(*protocol)).collect(),
        })
    }

    fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Relaxed)
    }

    fn wants(&self, protocol: DiscoveryProtocol) -> bool {
        self.0.config.relay.contains(&protocol)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the protocol may say one thing more in this direction; if not, that is counted.
    fn admit(&self, protocol: DiscoveryProtocol, way: Way) -> bool {
        let is_admitted = self.state().rates[protocol as usize][way as usize].take(Instant::now());
        if !is_admitted {
            self.0.figures.drop(protocol, Reason::Rate);
        }
        is_admitted
    }

    /// Sends a message to the far end, unless it would wait behind too many.
    fn send(&self, message: &Relayed<'_>) {
        let protocol = message.protocol;
        if !self.is_open() {
            return self.0.figures.drop(protocol, Reason::NotOpen);
        }
        if !self.admit(protocol, Way::Out) {
            return;
        }
        let sent = message.emit().is_ok_and(|octets| self.0.outgoing.try_send(octets).is_ok());
        if sent {
            self.0.figures.count(protocol, Way::Out, is_answer(message));
        } else {
            self.0.figures.drop(protocol, Reason::QueueFull);
        }
    }
}

fn is_answer(message: &Relayed<'_>) -> bool {
    matches!(message.kind, RelayedKind::Answer(_))
}
