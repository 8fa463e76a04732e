//! Two ends of a line that have a session, without anything between them.

use std::net::SocketAddr;
use std::time::Instant;

use tieline_line::accept::AcceptTable;
use tieline_line::{Config, Control, Inbound, Outbound, split};
use tieline_seal::{Peer, PresharedKey, PrivateKey};
use tieline_wire::time::Now;

use crate::packets::MTU;

/// One end.
pub struct End {
    /// The slow side.
    pub control: Control,
    /// What seals.
    pub outbound: Outbound,
    /// What opens.
    pub inbound: Inbound,
}

/// Both ends. The first has 10.1.0.0/16 behind it, the second 10.2.0.0/16.
pub struct Pair {
    /// The one that opened the handshake.
    pub near: End,
    /// The other.
    pub far: End,
    /// The moment at which everything happens.
    pub now: Now,
}

impl Pair {
    /// Makes two ends and lets them agree on a session.
    ///
    /// # Panics
    ///
    /// If they cannot.
    #[must_use]
    pub fn connected() -> Self {
        let now = Now::from_system();
        let mut pair = Self { near: end(1, 2, "10.2.0.0/16", now), far: end(2, 1, "10.1.0.0/16", now), now };
        pair.near.control.request_session(now);
        let initiation = pair.near.control.poll_datagram().expect("an initiation").bytes;
        pair.far.control.handle_handshake(now, address(1), &initiation);
        let response = pair.far.control.poll_datagram().expect("a response").bytes;
        pair.near.control.handle_handshake(now, address(2), &response);
        let mut buffer = vec![0; MTU];
        let outcome = pair.near.outbound.seal_keepalive(now.monotonic, &mut buffer);
        let mut confirmation = outcome.datagram.expect("a session").1.to_vec();
        pair.far.inbound.handle_datagram(now.monotonic, address(1), &mut confirmation);
        pair
    }

    /// The time of all that happens.
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        self.now.monotonic
    }
}

/// Where an end is.
#[must_use]
pub fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 51820))
}

fn end(own: u8, other: u8, networks_there: &str, now: Now) -> End {
    let key = |number| PrivateKey::from_bytes([number; 32]);
    let peer =
        Peer::Known { public_key: key(other).public_key(), preshared_key: PresharedKey::ZERO, proof: None };
    let config = Config {
        session: tieline_seal::Config {
            private_key: key(own),
            peer,
            address: Some(address(other)),
            persistent_keepalive: None,
            timestamp_floor: None,
            always_on: false,
        },
        certificate: [own; 32],
        accept: AcceptTable::new(&[networks_there.parse().expect("a network")]),
        mtu: MTU,
    };
    let (control, outbound, inbound, _shared) = split(config, now, [own; 32]);
    End { control, outbound, inbound }
}
