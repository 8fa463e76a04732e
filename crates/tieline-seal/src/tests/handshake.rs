//! The way to a session, and through it.

use super::pair::*;
use crate::{DropReason, Event, SealError};

#[test]
fn a_handshake_brings_up_both_ends_and_packets_pass_both_ways() {
    let mut pair = Pair::new();
    assert_eq!(pair.send(Side::A, b"too early"), Err(SealError::NoSession));
    pair.settle();
    assert_eq!(pair.trace.iter().map(|(_, flight)| flight.kind()).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(pair.trace[2].1.bytes.len(), 32, "the keepalive that confirms the session is empty");
    let ready = |initiator, address| Event::SessionReady { initiator, address };
    assert_eq!(pair.a.take_events(), [ready(true, address_b()), Event::SendKeepalive]);
    assert_eq!(
        pair.b.take_events(),
        [
            Event::HandshakeFrom { address: address_a(), known_address: None },
            Event::PeerMoved { from: None, to: address_a() },
            ready(false, address_a()),
        ]
    );
    pair.pass(Side::A, b"there");
    pair.pass(Side::B, b"and back");
    assert!(pair.a.drops().is_empty());
    assert!(pair.b.drops().is_empty());
}

#[test]
fn the_responder_does_not_seal_before_the_initiator_has() {
    let mut pair = Pair::new();
    pair.a.keeps_alive = false;
    pair.send(Side::A, b"x").unwrap_err();
    pair.settle();
    assert_eq!(pair.send(Side::B, b"too early"), Err(SealError::NoSession));
    pair.pass(Side::A, b"first");
    pair.pass(Side::B, b"now");
    assert_eq!(
        pair.b.drops(),
        [(DropReason::UnknownReceiver, 1)],
        "the answer to what B wanted meanwhile is late"
    );
}
