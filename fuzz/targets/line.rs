//! What a far end that has gone mad can seal: labels, IP packets, messages of the associated channel, anything.
#![no_main]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use tieline_fuzz::pair::{Side, address_of};
use tieline_line::accept::AcceptTable;
use tieline_line::{Config, Control, Delivery, Inbound, Outgoing, Shared, split};
use tieline_seal::{Peer, PresharedKey, PrivateKey, Sealed};
use tieline_wire::associated::MESSAGE_LEN_MAX;
use tieline_wire::ip::IpPacket;
use tieline_wire::time::Now;
use tieline_wire::wireguard::{TAG_LEN, TransportHeader};

fuzz_target!(|plaintext: &[u8]| {
    LINE.with_borrow_mut(|line| line.get_or_insert_with(MadFarEnd::new).seals(plaintext));
});

/// A whole line at one end; at the other a bare session, which seals what it likes.
struct MadFarEnd {
    session: tieline_seal::Outbound,
    control: Control,
    inbound: Inbound,
    shared: Arc<Shared>,
    accept: AcceptTable,
    now: Now,
}

impl MadFarEnd {
    fn new() -> Self {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
        let accept = accepted();
        let line =
            Config { session: config(Side::A), certificate: [7; 32], accept: accept.clone(), mtu: 1420 };
        let (mut control, _, mut inbound, shared) = split(line, now, [1; 32]);
        let (mut session, outbound, mut session_inbound) = tieline_seal::split(config(Side::B), now, [2; 32]);
        session.request_session(now);
        let initiation = session.poll_transmit().expect("an initiation");
        let mut bytes = initiation.bytes.clone();
        let received = inbound.handle_datagram(now.monotonic, address_of(Side::B), &mut bytes);
        assert!(matches!(received.delivery, Delivery::Handshake(_)));
        control.handle_handshake(now, address_of(Side::B), &initiation.bytes);
        let response = control.poll_datagram().expect("a response");
        let mut bytes = response.bytes.clone();
        let opened = session_inbound.open(now.monotonic, address_of(Side::A), &mut bytes);
        assert_eq!(opened, Ok(tieline_seal::Opened::Handshake));
        session.handle_datagram(now, address_of(Side::A), &response.bytes);
        assert!(outbound.has_session(now.monotonic));
        Self { session: outbound, control, inbound, shared, accept, now }
    }

    fn seals(&mut self, plaintext: &[u8]) {
        let Self { now, .. } = *self;
        let mut datagram = vec![0; TransportHeader::LEN + plaintext.len() + TAG_LEN];
        datagram[TransportHeader::LEN..][..plaintext.len()].copy_from_slice(plaintext);
        let Sealed { .. } = self.session.seal(now.monotonic, &mut datagram).expect("a session");
        let drops_before = drops(&self.shared);

        let received = self.inbound.handle_datagram(now.monotonic, address_of(Side::B), &mut datagram);

        let dropped = drops(&self.shared) - drops_before;
        match received.delivery {
            Delivery::Handshake(_) => panic!("a packet is no handshake"),
            Delivery::Nothing => {
                assert_eq!(dropped, u64::from(!plaintext.is_empty()), "each drop is counted")
            }
            Delivery::Ip(packet) => {
                let parsed = IpPacket::parse(packet).expect("checked");
                assert_eq!(parsed.total_len, packet.len(), "without padding");
                assert!(
                    self.accept.accepts(parsed.source, parsed.destination),
                    "{} is not accepted",
                    parsed.source
                );
                assert_eq!(packet, &plaintext[..packet.len()]);
            }
            Delivery::Streams(payload) | Delivery::Piece(payload) => {
                assert_eq!(payload, &plaintext[LABEL_LEN..]);
            }
            Delivery::Packed(_) | Delivery::Lan(_) => panic!("no label was given out"),
            Delivery::Associated(message) => {
                assert_eq!(message, &plaintext[LABEL_LEN..]);
                let message = message.to_vec();
                self.control.handle_associated(now, now, address_of(Side::B), &message);
            }
        }
        if let Some(notice) = received.notice {
            self.control.handle_notice(now, 0, notice);
        }
        self.drain(plaintext.len());
    }

    /// However mad the far end is, it makes us send only a few answers, none longer than what it sent or a hello.
    fn drain(&mut self, received_len: usize) {
        let mut answers = 0;
        while let Some(packet) = self.control.poll_packet() {
            if let Outgoing::Labelled { payload, .. } = packet {
                assert!(payload.len() <= received_len.max(MESSAGE_LEN_MAX), "{} octets", payload.len());
                answers += 1;
            }
        }
        assert!(answers <= ANSWERS_MAX, "{answers} answers");
        while self.control.poll_event().is_some() {}
        while self.control.poll_datagram().is_some() {}
    }
}

fn config(side: Side) -> tieline_seal::Config {
    let key = |side: Side| PrivateKey::from_bytes([1 + side as u8; 32]);
    let peer_address: SocketAddr = address_of(side.other());
    tieline_seal::Config {
        private_key: key(side),
        peer: Peer::Known {
            public_key: key(side.other()).public_key(),
            preshared_key: PresharedKey::ZERO,
            proof: None,
        },
        address: Some(peer_address),
        persistent_keepalive: None,
        timestamp_floor: None,
        always_on: false,
        fast_aes: true,
    }
}

fn accepted() -> AcceptTable {
    let networks = ["10.1.0.0/16", "10.1.2.0/24", "192.0.2.7/32", "2001:db8:1::/48", "fd00::/8"];
    let networks = networks.map(|network| network.parse().expect("a network"));
    AcceptTable::new(&networks)
}

fn drops(shared: &Shared) -> u64 {
    let reasons = tieline_line::counters::DropReason::ALL;
    // The associated channel's own drops come later, in control.
    reasons.into_iter().map(|reason| shared.counters.drops(reason)).sum()
}

thread_local! {
    static LINE: RefCell<Option<MadFarEnd>> = const { RefCell::new(None) };
}

const LABEL_LEN: usize = 4;
/// An answer, a hello and an alarm.
const ANSWERS_MAX: usize = 3;
