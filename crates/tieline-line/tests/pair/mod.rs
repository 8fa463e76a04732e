//! Two whole lines that have a session, without anything between them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use ipnet::IpNet;
use tieline_line::{
    Config, Control, HEADROOM, Inbound, Outbound, Shared, TAILROOM, accept::AcceptTable, split,
};
use tieline_seal::{Peer, PresharedKey, PrivateKey};
use tieline_wire::time::Now;

/// The largest packet of the line.
pub(crate) const MTU: usize = 1420;

/// One end.
pub(crate) struct End {
    pub(crate) control: Control,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    pub(crate) shared: Arc<Shared>,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

/// Two ends with a session, made by the first. Behind the first are 10.1.0.0/16 and fd00::1:0/112, behind the second
/// 10.2.0.0/16 and fd00::2:0/112.
pub(crate) fn connected(now: Now) -> [End; 2] {
    let [mut near, mut far] = [(1, 2), (2, 1)].map(|(own, other)| end(own, other, now));
    near.control.request_session(now);
    let initiation = near.control.poll_datagram().expect("an initiation").bytes;
    far.control.handle_handshake(now, near.address, &initiation);
    let response = far.control.poll_datagram().expect("a response").bytes;
    near.control.handle_handshake(now, far.address, &response);
    let mut buffer = vec![0; HEADROOM + TAILROOM];
    let outcome = near.outbound.seal_keepalive(now.monotonic, &mut buffer);
    let mut confirmation = outcome.datagram.expect("a session").1.to_vec();
    let received = far.inbound.handle_datagram(now.monotonic, near.address, &mut confirmation);
    let confirmed = received.notice.expect("the first packet of a session");
    far.control.handle_notice(now, 0, confirmed);
    [near, far]
}

/// The moment at which a test begins.
pub(crate) fn start() -> Now {
    Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
}

fn end(own: u8, other: u8, now: Now) -> End {
    let key = |number| PrivateKey::from_bytes([number; 32]);
    let address = |number| SocketAddr::from(([192, 0, 2, number], 51820));
    let there = [format!("10.{other}.0.0/16"), format!("fd00::{other}:0/112")];
    let there: Vec<IpNet> = there.iter().map(|network| network.parse().expect("a network")).collect();
    let peer =
        Peer::Known { public_key: key(other).public_key(), preshared_key: PresharedKey::ZERO, proof: None };
    let session = tieline_seal::Config {
        private_key: key(own),
        peer,
        address: Some(address(other)),
        persistent_keepalive: None,
        timestamp_floor: None,
        always_on: true,
        fast_aes: false,
    };
    let config = Config { session, certificate: [own; 32], accept: AcceptTable::new(&there), mtu: MTU };
    let (control, outbound, inbound, shared) = split(config, now, [own; 32]);
    End { control, outbound, inbound, shared, address: address(own) }
}
