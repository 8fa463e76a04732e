//! Replays what passed between this crate and wireguard-go. With the seed and the moments of the recording
//! our end must put out the same octets again: initiations, responses and sealed packets that wireguard-go is
//! known to have taken.

#![expect(clippy::unwrap_used, reason = "its helpers are part of the test")]

use std::collections::VecDeque;
use std::time::{Duration, Instant, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use tieline_seal::{Config, Control, DropReason, Event, Inbound, OVERHEAD, Opened, Outbound, Peer, split};
use tieline_wire::time::Now;
use tieline_wire::wireguard::{HandshakeInitiation, TransportHeader};

use recording::{Action, Exchange, Recording};

mod recording;

#[test]
fn we_answer_wireguard_go_as_we_did_when_it_took_our_answer() {
    replay("answer-preshared");
    replay("answer-plain");
}

#[test]
fn we_open_a_line_to_wireguard_go_as_we_did_when_it_answered() {
    replay("open-preshared");
    replay("open-plain");
}

#[test]
fn we_take_the_cookie_of_wireguard_go_and_show_it() {
    let exchange = replay("flooded-preshared");
    let transmits: Vec<_> = exchange
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Transmit { datagram } => Some(octets(datagram)),
            _ => None,
        })
        .collect();
    let [without @ .., with] = &transmits[..] else { panic!("initiations were sent") };
    let cookies = exchange.steps.iter().filter(
        |step| matches!(&step.action, Action::ReceiveHandshake { datagram } if datagram.starts_with("03000000")),
    );
    assert_eq!(cookies.count(), 1, "wireguard-go asked for a cookie");
    assert!(!without.is_empty() && without.iter().all(|initiation| initiation[MAC2..] == [0; 16]));
    assert_ne!(with[MAC2..], [0; 16], "shown to wireguard-go in the same flood, and answered");
}

#[test]
fn what_wireguard_go_sealed_opens_once() {
    for name in ["answer-preshared", "open-plain"] {
        let exchange = exchange(name);
        let mut end = End::new(&exchange);
        let mut opened = Vec::new();
        for step in &exchange.steps {
            end.step(step.at, &step.action);
            if let Action::Open { datagram, .. } = &step.action {
                opened.push(datagram.clone());
            }
        }
        assert!(opened.len() >= 2);
        for datagram in &opened {
            let mut again = octets(datagram);
            let result = end.inbound.open(end.now().monotonic, exchange.peer_address, &mut again);
            assert_eq!(result, Err(DropReason::Replayed));
        }
    }
}

#[test]
fn one_octet_of_a_recording_changed_does_not_open() {
    let exchange = exchange("answer-preshared");
    for (number, step) in exchange.steps.iter().enumerate() {
        let (Action::ReceiveHandshake { datagram } | Action::Open { datagram, .. }) = &step.action else {
            continue;
        };
        let mut end = End::new(&exchange);
        for before in &exchange.steps[..number] {
            end.step(before.at, &before.action);
        }
        let mut changed = octets(datagram);
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        let result = end.inbound.open(end.now().monotonic, exchange.peer_address, &mut changed);
        assert!(matches!(result, Err(DropReason::BadMac1 | DropReason::NotAuthentic)), "step {number}");
    }
}

/// Feeds our end what it was fed, and compares what it puts out.
fn replay(name: &str) -> Exchange {
    let exchange = exchange(name);
    let mut end = End::new(&exchange);
    for step in &exchange.steps {
        end.step(step.at, &step.action);
    }
    assert!(end.transmits.is_empty(), "nothing more than was recorded");
    assert_eq!(end.control.drops().snapshot().map(|(_, count)| count).sum::<u64>(), 0);
    let packets = exchange.steps.iter().filter(|step| matches!(step.action, Action::Open { .. })).count();
    assert!(packets > 0, "packets of wireguard-go have opened");
    exchange
}

fn exchange(name: &str) -> Exchange {
    let recording: Recording = toml::from_str(include_str!("vectors/wireguard-go.toml")).unwrap();
    let found =
        recording.exchanges.into_iter().find(|exchange| exchange.name == name).expect("it is recorded");
    assert!(found.peer_program.starts_with("wireguard-go"));
    found
}

struct End {
    control: Control,
    outbound: Outbound,
    inbound: Inbound,
    start: Now,
    elapsed: Duration,
    peer_address: std::net::SocketAddr,
    transmits: VecDeque<Vec<u8>>,
}

impl End {
    fn new(exchange: &Exchange) -> Self {
        let start =
            Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_nanos(exchange.start) };
        let config = Config {
            private_key: exchange.private_key.parse().unwrap(),
            peer: Peer::Known {
                public_key: exchange.peer_public_key.parse().unwrap(),
                preshared_key: exchange.preshared_key.parse().unwrap(),
                proof: None,
            },
            address: Some(exchange.peer_address),
            persistent_keepalive: None,
            timestamp_floor: None,
            always_on: false,
            fast_aes: false,
        };
        let seed = octets(&exchange.seed).try_into().unwrap();
        let (control, outbound, inbound) = split(config, start, seed);
        let peer_address = exchange.peer_address;
        Self {
            control,
            outbound,
            inbound,
            start,
            elapsed: Duration::ZERO,
            peer_address,
            transmits: VecDeque::new(),
        }
    }

    fn now(&self) -> Now {
        self.start.after(self.elapsed)
    }

    fn step(&mut self, at: u64, action: &Action) {
        self.elapsed = Duration::from_nanos(at);
        let now = self.now();
        match action {
            Action::Request => self.control.request_session(now),
            Action::Timeout => self.control.handle_timeout(now),
            Action::ReceiveHandshake { datagram } => {
                let mut datagram = octets(datagram);
                let opened = self.inbound.open(now.monotonic, self.peer_address, &mut datagram);
                assert_eq!(opened, Ok(Opened::Handshake));
                self.control.handle_datagram(now, self.peer_address, &datagram);
            }
            Action::Open { datagram, packet } => self.open(&octets(datagram), &octets(packet)),
            Action::Transmit { datagram } => {
                let transmitted = self.transmits.pop_front().expect("a datagram was due");
                assert_eq!(HEXLOWER.encode(&transmitted), *datagram);
            }
            Action::Seal { packet, datagram } => {
                let packet = octets(packet);
                let mut sealed = vec![0; packet.len() + OVERHEAD];
                sealed[TransportHeader::LEN..TransportHeader::LEN + packet.len()].copy_from_slice(&packet);
                self.outbound.seal(now.monotonic, &mut sealed).unwrap();
                assert_eq!(HEXLOWER.encode(&sealed), *datagram);
            }
        }
        self.transmits
            .extend(std::iter::from_fn(|| self.control.poll_transmit()).map(|transmit| transmit.bytes));
        for event in std::iter::from_fn(|| self.control.poll_event()) {
            assert!(!matches!(event, Event::GaveUp { .. } | Event::SessionLost | Event::Paired { .. }));
        }
    }

    fn open(&mut self, datagram: &[u8], expected: &[u8]) {
        let now = self.now();
        let mut datagram = datagram.to_vec();
        let notice = match self.inbound.open(now.monotonic, self.peer_address, &mut datagram).unwrap() {
            Opened::Keepalive { notice } => {
                assert!(expected.is_empty());
                notice
            }
            Opened::Packet { plaintext, notice } => {
                assert_eq!(plaintext, expected);
                notice
            }
            Opened::Handshake => panic!("that is a packet"),
        };
        if let Some(notice) = notice {
            self.control.handle_notice(now, notice);
        }
    }
}

const MAC2: usize = HandshakeInitiation::MAC2;

fn octets(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}
