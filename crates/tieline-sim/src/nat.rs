//! A NAT that forgets: what stands between most offices and the internet (RFC 4787).
//!
//! It gives each inside address and port one of its own ports, for as long as there is traffic outwards; then it forgets, and
//! the next time gives another. What comes in uninvited is dropped. As a value: addresses in, addresses out, time as an
//! argument, ports from a seed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Mappings at once; one more is refused.
pub const MAPPINGS_MAX: usize = 4096;

/// Peers that one mapping remembers having been sent to; a further one displaces the one longest silent.
pub const PEERS_MAX: usize = 64;

/// Ports that are given out: the dynamic ones and those below that nobody expects a service on.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=u16::MAX;

/// How a NAT behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// Its address outside.
    pub public: IpAddr,
    /// After how long without traffic outwards it forgets. Common: 30 s to 5 min.
    pub timeout: Duration,
    /// Whether each destination gets a mapping of its own ("symmetric"; RFC 4787 §4.1 asks for the contrary).
    pub is_symmetric: bool,
    /// Who may answer.
    pub filter: NatFilter,
}

impl NatConfig {
    /// A common home router at `public`: one mapping for all destinations, only those sent to may answer, 30 s.
    #[must_use]
    pub fn common(public: IpAddr) -> Self {
        let timeout = Duration::from_secs(30);
        Self { public, timeout, is_symmetric: false, filter: NatFilter::AddressAndPort }
    }
}

/// Whom a NAT lets in through a mapping (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatFilter {
    /// Anybody.
    None,
    /// Addresses that were sent to.
    Address,
    /// Addresses and ports that were sent to.
    AddressAndPort,
}

/// What a NAT refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatCounters {
    /// Inwards, to a port that has no mapping, or not any more.
    pub unmapped: u64,
    /// Inwards, from somebody who was not sent to.
    pub uninvited: u64,
    /// Outwards, when all mappings were taken.
    pub table_full: u64,
}

/// A NAT at work.
pub struct Nat {
    config: NatConfig,
    ports: ChaCha8Rng,
    mappings: BTreeMap<u16, Mapping>,
    by_inside: BTreeMap<Key, u16>,
    counters: NatCounters,
}

/// The inside address and, for a symmetric NAT, the destination.
type Key = (SocketAddr, Option<SocketAddr>);

struct Mapping {
    key: Key,
    peers: BTreeMap<SocketAddr, Instant>,
    last_out: Instant,
}

impl Nat {
    /// A NAT that has seen no traffic.
    #[must_use]
    pub fn new(config: NatConfig, seed: u64) -> Self {
        Self {
            config,
            ports: ChaCha8Rng::seed_from_u64(seed),
            mappings: BTreeMap::new(),
            by_inside: BTreeMap::new(),
            counters: NatCounters::default(),
        }
    }

    /// The source that a datagram from `inside` to `to` has outside, or `None` if it is dropped.
    pub fn outwards(&mut self, now: Instant, inside: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        self.forget_idle(now);
        let key = (inside, self.config.is_symmetric.then_some(to));
        let port = match self.by_inside.get(&key) {
            Some(port) => *port,
            None => self.add_mapping(now, key)?,
        };
        let mapping = self.mappings.get_mut(&port).expect("both tables hold the same mappings");
        mapping.last_out = now;
        mapping.remember(now, to);
        Some(SocketAddr::new(self.config.public, port))
    }

    /// Where inside a datagram from `from` to our `port` goes, or `None` if it is dropped.
    pub fn inwards(&mut self, now: Instant, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        self.forget_idle(now);
        let Some(mapping) = self.mappings.get(&port) else {
            self.counters.unmapped += 1;
            return None;
        };
        if !mapping.lets_in(from, self.config.filter) {
            self.counters.uninvited += 1;
            return None;
        }
        Some(mapping.key.0)
    }

    /// Forgets everything, as after a power failure. The ports given out next are others.
    pub fn forget(&mut self) {
        self.mappings.clear();
        self.by_inside.clear();
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// What it refused so far.
    #[must_use]
    pub fn counters(&self) -> NatCounters {
        self.counters
    }

    fn forget_idle(&mut self, now: Instant) {
        let timeout = self.config.timeout;
        self.mappings.retain(|_, mapping| now.saturating_duration_since(mapping.last_out) < timeout);
        self.by_inside.retain(|_, port| self.mappings.contains_key(port));
    }

    fn add_mapping(&mut self, now: Instant, key: Key) -> Option<u16> {
        if self.mappings.len() >= MAPPINGS_MAX {
            self.counters.table_full += 1;
            return None;
        }
        // Ends: far fewer mappings than ports.
        let port = loop {
            let port = self.ports.random_range(PORTS);
            if !self.mappings.contains_key(&port) {
                break port;
            }
        };
        self.mappings.insert(port, Mapping { key, peers: BTreeMap::new(), last_out: now });
        self.by_inside.insert(key, port);
        Some(port)
    }
}

impl Mapping {
    fn remember(&mut self, now: Instant, peer: SocketAddr) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            let oldest = self.peers.iter().min_by_key(|(_, sent)| **sent).map(|(peer, _)| *peer);
            oldest.map(|oldest| self.peers.remove(&oldest));
        }
        self.peers.insert(peer, now);
    }

    fn lets_in(&self, from: SocketAddr, filter: NatFilter) -> bool {
        match filter {
            NatFilter::None => true,
            NatFilter::Address => self.peers.keys().any(|peer| peer.ip() == from.ip()),
            NatFilter::AddressAndPort => self.peers.contains_key(&from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn nat(filter: NatFilter, is_symmetric: bool) -> Nat {
        Nat::new(NatConfig { filter, is_symmetric, ..NatConfig::common(PUBLIC) }, 1)
    }

    #[test]
    fn an_answer_finds_its_way_in_and_the_port_stays_while_there_is_traffic() {
        let (mut nat, start) = (nat(NatFilter::AddressAndPort, false), Instant::now());
        let outside = nat.outwards(start, at("10.0.0.2:5"), at("203.0.113.1:7")).unwrap();
        assert_eq!(outside.ip(), PUBLIC);
        for seconds in (0..300).step_by(29) {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(nat.outwards(now, at("10.0.0.2:5"), at("203.0.113.1:7")), Some(outside));
            assert_eq!(nat.inwards(now, at("203.0.113.1:7"), outside.port()), Some(at("10.0.0.2:5")));
        }
    }

    #[test]
    fn after_its_timeout_it_has_forgotten_and_gives_another_port() {
        let (mut nat, start) = (nat(NatFilter::None, false), Instant::now());
        let first = nat.outwards(start, at("10.0.0.2:5"), at("203.0.113.1:7")).unwrap();
        let late = start + Duration::from_secs(30);
        // Traffic inwards alone keeps nothing open.
        assert!(nat.inwards(late - Duration::from_secs(1), at("203.0.113.1:7"), first.port()).is_some());
        assert_eq!(nat.inwards(late, at("203.0.113.1:7"), first.port()), None);
        assert_eq!(nat.counters().unmapped, 1);
        assert_ne!(nat.outwards(late, at("10.0.0.2:5"), at("203.0.113.1:7")), Some(first));
    }

    #[test]
    fn the_uninvited_stay_outside_as_the_filter_says() {
        let stranger_at_the_peer = at("203.0.113.1:8");
        let stranger = at("203.0.113.9:7");
        for (filter, port_of_peer, anybody) in [
            (NatFilter::None, true, true),
            (NatFilter::Address, true, false),
            (NatFilter::AddressAndPort, false, false),
        ] {
            let (mut nat, now) = (nat(filter, false), Instant::now());
            let outside = nat.outwards(now, at("10.0.0.2:5"), at("203.0.113.1:7")).unwrap();
            assert_eq!(nat.inwards(now, stranger_at_the_peer, outside.port()).is_some(), port_of_peer);
            assert_eq!(nat.inwards(now, stranger, outside.port()).is_some(), anybody);
            let refused = u64::from(!port_of_peer) + u64::from(!anybody);
            assert_eq!(nat.counters().uninvited, refused);
        }
    }

    #[test]
    fn a_symmetric_nat_maps_each_destination_by_itself() {
        let now = Instant::now();
        for (is_symmetric, same) in [(false, true), (true, false)] {
            let mut nat = nat(NatFilter::None, is_symmetric);
            let first = nat.outwards(now, at("10.0.0.2:5"), at("203.0.113.1:7"));
            let second = nat.outwards(now, at("10.0.0.2:5"), at("203.0.113.2:7"));
            assert_eq!(first == second, same);
        }
    }

    #[test]
    fn forgetting_everything_shuts_the_way_in() {
        let (mut nat, now) = (nat(NatFilter::None, false), Instant::now());
        let outside = nat.outwards(now, at("10.0.0.2:5"), at("203.0.113.1:7")).unwrap();
        nat.forget();
        assert_eq!(nat.inwards(now, at("203.0.113.1:7"), outside.port()), None);
    }

    #[test]
    fn a_full_table_refuses_the_next_and_counts_it() {
        let (mut nat, now) = (nat(NatFilter::None, true), Instant::now());
        for port in 1..=u16::try_from(MAPPINGS_MAX).unwrap() {
            assert!(nat.outwards(now, at("10.0.0.2:5"), SocketAddr::new(PUBLIC, port)).is_some());
        }
        assert_eq!(nat.outwards(now, at("10.0.0.2:5"), at("203.0.113.1:7")), None);
        assert_eq!(nat.counters().table_full, 1);
        let later = now + Duration::from_secs(30);
        assert!(nat.outwards(later, at("10.0.0.2:5"), at("203.0.113.1:7")).is_some());
    }

    #[test]
    fn a_mapping_remembers_a_bounded_number_of_peers_the_latest() {
        let (mut nat, now) = (nat(NatFilter::AddressAndPort, false), Instant::now());
        let peer = |number: usize| SocketAddr::new(PUBLIC, u16::try_from(number + 1).unwrap());
        let mut outside = None;
        for number in 0..=PEERS_MAX {
            outside =
                nat.outwards(now + Duration::from_millis(number as u64), at("10.0.0.2:5"), peer(number));
        }
        let (port, now) = (outside.unwrap().port(), now + Duration::from_secs(1));
        assert_eq!(nat.inwards(now, peer(0), port), None);
        assert!(
            nat.inwards(now, peer(1), port).is_some() && nat.inwards(now, peer(PEERS_MAX), port).is_some()
        );
    }
}
