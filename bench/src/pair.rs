//! Two ends of a line that have a session, without anything between them.

use std::net::SocketAddr;

use tieline_line::accept::AcceptTable;
use tieline_line::{Config, Control, Inbound, Outbound, split};
use tieline_seal::{Peer, PresharedKey, PrivateKey, Suite};
use tieline_wire::associated::{Hello, Message};
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
    /// Makes two ends and lets them agree on a session in which the near one seals with `suite`.
    ///
    /// # Panics
    ///
    /// If they cannot.
    #[must_use]
    pub fn connected(suite: Suite) -> Self {
        let (now, fast_aes) = (Now::from_system(), suite == Suite::Aes256Gcm);
        let near = end(1, 2, "10.2.0.0/16", fast_aes, now);
        let far = end(2, 1, "10.1.0.0/16", fast_aes, now);
        let mut pair = Self { near, far, now };
        pair.near.control.request_session(now);
        let initiation = pair.near.control.poll_datagram().expect("an initiation").bytes;
        pair.far.control.handle_handshake(now, address(1), &initiation);
        let response = pair.far.control.poll_datagram().expect("a response").bytes;
        pair.near.control.handle_handshake(now, address(2), &response);
        let mut buffer = vec![0; MTU];
        let outcome = pair.near.outbound.seal_keepalive(now.monotonic, &mut buffer);
        let mut confirmation = outcome.datagram.expect("a session").1.to_vec();
        pair.far.inbound.handle_datagram(now.monotonic, address(1), &mut confirmation);
        pair.greet();
        let session = pair.near.control.session().status(now).session.expect("a session");
        assert_eq!(session.cipher_out, suite);
        pair
    }

    /// Lets the near end hear what the far one announces.
    fn greet(&mut self) {
        let hello = Message::Hello(Hello {
            version_min: 1,
            version_max: 1,
            answer_wanted: false,
            joins_pieces: true,
            carries_ecn: true,
            answers_mtu_probes: true,
            takes_paths: true,
            instance: 1,
            certificate: [2; 32],
            announcement: self.far.control.session().announcement(),
        });
        let mut octets = Vec::new();
        hello.emit(&mut octets);
        self.near.control.handle_associated(self.now, self.now, address(2), &octets);
    }
}

/// Where an end is.
#[must_use]
pub fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 51820))
}

fn end(own: u8, other: u8, networks_there: &str, fast_aes: bool, now: Now) -> End {
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
            fast_aes,
        },
        certificate: [own; 32],
        accept: AcceptTable::new(&[networks_there.parse().expect("a network")]),
        mtu: MTU,
    };
    let (control, outbound, inbound, _shared) = split(config, now, [own; 32]);
    End { control, outbound, inbound }
}
