//! One end as a machine: its address, its clock, its process, and what survives the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ipnet::{IpNet, Ipv4Net};
use tieline_line::accept::AcceptTable;
use tieline_line::counters::DropReason;
use tieline_line::greeting::FarEnd;
use tieline_line::liveness::Reachability;
use tieline_line::{Control, Event, Shared};
use tieline_seal::{Peer, PrivateKey, Tai64N};
use tieline_wire::time::Now;

use super::process::Output;
pub(super) use super::process::Process;
use super::{Datagram, Ends, Side};
use crate::nat::Nat;

/// What all wall clocks say at the start of a run, in seconds since 1970.
const START_SECONDS: u64 = 1_800_000_000;

/// What speaks at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tieline.
    Tieline,
    /// A WireGuard peer that knows nothing of labels.
    WireGuard,
}

/// What an end's process is made of: its configuration and key files.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What runs.
    pub kind: Kind,
    /// The end's key.
    pub private_key: PrivateKey,
    /// The other end; replaced when a joiner is paired.
    pub peer: Peer,
    /// The home of the machine whose name is dialled, wherever it may be; with none the far end must come.
    pub dials: Option<SocketAddr>,
    /// As [`tieline_seal::Config::always_on`].
    pub always_on: bool,
    /// As [`tieline_seal::Config::fast_aes`].
    pub fast_aes: bool,
    /// As [`tieline_seal::Config::persistent_keepalive`].
    pub persistent_keepalive: Option<Duration>,
}

impl Setup {
    pub(super) fn new(private_key: PrivateKey, peer: Peer, dials: SocketAddr) -> Self {
        Self {
            kind: Kind::Tieline,
            private_key,
            peer,
            dials: Some(dials),
            always_on: true,
            fast_aes: false,
            persistent_keepalive: None,
        }
    }
}

/// What a node keeps on its disk from one process to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where the far end was last.
    pub peer_address: Option<SocketAddr>,
    /// The greatest timestamp sent, as far as it was written.
    pub timestamp_floor: Option<Tai64N>,
}

pub(super) struct End {
    side: Side,
    pub(super) setup: Setup,
    pub(super) memory: Memory,
    pub(super) address: SocketAddr,
    pub(super) nat: Option<Nat>,
    pub(super) clock_error: i64,
    pub(super) process: Option<Process>,
    pub(super) received: Vec<u64>,
    pub(super) events: Vec<(Duration, Event)>,
    is_to_be_written: bool,
}

impl End {
    pub(super) fn new(side: Side, setup: Setup) -> Self {
        Self {
            side,
            setup,
            memory: Memory::default(),
            address: side.home(),
            nat: None,
            clock_error: 0,
            process: None,
            received: Vec::new(),
            events: Vec::new(),
            is_to_be_written: false,
        }
    }

    pub(super) fn start(&mut self, now: Now, seed: [u8; 32]) -> Output {
        assert!(self.process.is_none(), "{:?} runs already", self.side);
        let session = tieline_seal::Config {
            private_key: self.setup.private_key.clone(),
            peer: self.setup.peer.clone(),
            address: self.memory.peer_address.or(self.setup.dials),
            persistent_keepalive: self.setup.persistent_keepalive,
            timestamp_floor: self.memory.timestamp_floor,
            always_on: self.setup.always_on,
            fast_aes: self.setup.fast_aes,
        };
        let office = Ipv4Net::new_assert(self.side.far().host(), 16).trunc();
        let accept = AcceptTable::new(&[IpNet::V4(office)]);
        let process = match self.setup.kind {
            Kind::Tieline => Process::tieline(session, seed, accept, now, seed),
            Kind::WireGuard => Process::wireguard(session, now, seed),
        };
        let mut out = Output::default();
        self.process.insert(process).begin(now, &mut out);
        out
    }

    pub(super) fn now(&self, now: Instant, start: Instant) -> Now {
        let right = UNIX_EPOCH + Duration::from_secs(START_SECONDS) + (now - start);
        let error = Duration::from_secs(self.clock_error.unsigned_abs());
        Now { monotonic: now, wall: if self.clock_error < 0 { right - error } else { right + error } }
    }

    pub(super) fn poll_timeout(&self, now: Now) -> Option<Instant> {
        self.process.as_ref()?.poll_timeout(now)
    }

    pub(super) fn handle_timeout(&mut self, now: Now, peer: Option<SocketAddr>) -> Output {
        let mut out = Output::default();
        let Some(process) = &mut self.process else { return out };
        if process.poll_timeout(now).is_some_and(|due| due <= now.monotonic) {
            process.handle_timeout(now, &mut out);
        }
        let is_to_dial = out.events.iter().any(|event| matches!(event, Event::Dial));
        if let Some(peer) = peer.filter(|_| is_to_dial && self.setup.dials.is_some()) {
            process.dial(now, peer, &mut out);
        }
        out
    }

    /// Takes note of what a node writes to its disk.
    pub(super) fn on_event(&mut self, elapsed: Duration, event: Event) {
        match &event {
            Event::PeerMoved { to, .. } => {
                self.memory.peer_address = Some(*to);
                self.is_to_be_written = true;
            }
            Event::SessionReady => {
                self.is_to_be_written = true;
                if let Peer::Known { proof, .. } = &mut self.setup.peer {
                    *proof = None;
                }
            }
            Event::Paired { public_key, preshared_key } => {
                self.setup.peer = Peer::Known {
                    public_key: *public_key,
                    preshared_key: preshared_key.clone(),
                    proof: None,
                };
            }
            _ => {}
        }
        self.events.push((elapsed, event));
    }

    /// Writes the memory when a node does: if an event asked for it, or a timestamp must not be forgotten.
    pub(super) fn remember(&mut self, now: Now, timestamp: Option<Tai64N>) {
        self.memory.timestamp_floor = timestamp.or(self.memory.timestamp_floor);
        if std::mem::take(&mut self.is_to_be_written)
            && let Some(process) = &self.process
        {
            let status = process.session().status(now);
            self.memory.timestamp_floor = status.last_timestamp;
            self.memory.peer_address = status.address;
        }
    }

    /// The source that a datagram of this end has outside; none if the NAT refuses it.
    pub(super) fn source(&mut self, now: Instant, to: SocketAddr) -> Option<SocketAddr> {
        match &mut self.nat {
            None => Some(self.address),
            Some(nat) => nat.outwards(now, self.address, to),
        }
    }

    /// Whether a datagram that arrives now is for this machine.
    pub(super) fn is_at(&mut self, now: Instant, datagram: &Datagram) -> bool {
        match &mut self.nat {
            None => datagram.to == self.address,
            Some(nat) => {
                datagram.to.ip() == nat.config().public
                    && nat.inwards(now, datagram.from, datagram.to.port()) == Some(self.address)
            }
        }
    }
}

impl Ends {
    /// The control side of a tieline that runs.
    #[must_use]
    pub fn control(&self, side: Side) -> Option<&Control> {
        match self.of(side).process.as_ref()? {
            Process::Tieline(tieline) => Some(&tieline.control),
            Process::WireGuard(_) => None,
        }
    }

    /// Does something with the control side of a tieline that runs, and then what follows from it.
    ///
    /// # Panics
    ///
    /// If `side` is no running tieline.
    pub fn with_control<T>(&mut self, side: Side, act: impl FnOnce(&mut Control, Now) -> T) -> T {
        let now = self.now_at(side);
        let Some(Process::Tieline(tieline)) = &mut self.end(side).process else {
            panic!("{side:?} is no running tieline");
        };
        let result = act(&mut tieline.control, now);
        let mut out = Output::default();
        tieline.drain(now, &mut out);
        self.take(side, out);
        result
    }

    /// What an end takes its far end for.
    #[must_use]
    pub fn far_end(&self, side: Side) -> Option<FarEnd> {
        Some(self.control(side)?.far_end())
    }

    /// Whether an end hears its far end.
    #[must_use]
    pub fn reachability(&self, side: Side) -> Option<Reachability> {
        Some(self.control(side)?.reachability())
    }

    /// The session layer's view of a running end.
    #[must_use]
    pub fn status(&self, side: Side) -> Option<tieline_seal::Status> {
        Some(self.of(side).process.as_ref()?.session().status(self.now_at(side)))
    }

    /// What a running tieline counts.
    #[must_use]
    pub fn counters(&self, side: Side) -> Option<Arc<Shared>> {
        match self.of(side).process.as_ref()? {
            Process::Tieline(tieline) => Some(Arc::clone(&tieline.shared)),
            Process::WireGuard(_) => None,
        }
    }

    /// How many packets the line of a running tieline has dropped for `reason`.
    #[must_use]
    pub fn drops(&self, side: Side, reason: DropReason) -> u64 {
        self.counters(side).map_or(0, |shared| shared.counters.drops(reason))
    }

    /// How many datagrams the session of a running end has dropped for `reason`.
    #[must_use]
    pub fn session_drops(&self, side: Side, reason: tieline_seal::DropReason) -> u64 {
        self.of(side).process.as_ref().map_or(0, |process| process.session().drops().of(reason))
    }
}
