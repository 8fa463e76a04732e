//! The control half of a line under any sequence of messages on the associated channel, on virtual time.
#![no_main]

use std::time::{Duration, Instant, UNIX_EPOCH};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_fuzz::pair::{Side, address_of};
use tieline_line::accept::AcceptTable;
use tieline_line::control::OUTGOING_MAX;
use tieline_line::paths::Path;
use tieline_line::{Config, split};
use tieline_seal::{Peer, PresharedKey, PrivateKey};
use tieline_wire::associated::{Alert, Hello, Message};
use tieline_wire::path_heartbeat::{self, Heartbeat};
use tieline_wire::stamp::{self, ReflectorPacket, SenderPacket};
use tieline_wire::suite::Announcement;
use tieline_wire::time::Now;
use tieline_wire::wireguard::SessionIndex;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Hello {
        version_min: u8,
        version_max: u8,
        answer_wanted: bool,
        instance: u8,
        certificate: u8,
        port: u8,
        announcement: Option<[u32; 3]>,
    },
    Probe([u8; 16]),
    Answer([u8; stamp::LEN]),
    Alert(u16),
    /// By which socket, and from which port.
    Heartbeat {
        octets: [u8; path_heartbeat::LEN],
        socket: u8,
        port: u8,
    },
    Octets(&'a [u8]),
    /// Time passes and timers go off.
    Wait {
        milliseconds: u16,
    },
    /// The wall clock steps.
    Step {
        seconds: i16,
    },
    Ping {
        packet_len: u16,
    },
}

fuzz_target!(|input: Input<'_>| {
    let mut now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
    let (mut control, _outbound, _inbound, _shared) = split(config(), now, [3; 32]);
    control.set_sockets(now.monotonic, SOCKETS.into(), false);
    for step in input.steps.into_iter().take(STEPS_MAX) {
        let mut from = Path::from(address_of(Side::B));
        let mut octets = Vec::new();
        match step {
            Step::Hello {
                version_min,
                version_max,
                answer_wanted,
                instance,
                certificate,
                port,
                announcement,
            } => {
                from.remote.set_port(port.into());
                let (instance, certificate) = (instance.into(), [certificate; 32]);
                let announcement = announcement.map(|indices| {
                    let [announcer, hearer, aes] = indices.map(SessionIndex);
                    Announcement { announcer, hearer, aes }
                });
                let (joins_pieces, takes_paths) = (instance % 2 == 0, instance % 3 != 0);
                let hello = Hello {
                    version_min,
                    version_max,
                    answer_wanted,
                    joins_pieces,
                    carries_ecn: !joins_pieces,
                    answers_mtu_probes: joins_pieces,
                    takes_paths,
                    instance,
                    certificate,
                    announcement,
                };
                Message::Hello(hello).emit(&mut octets);
            }
            Step::Probe(front) => {
                let mut packet = [0; stamp::LEN];
                packet[..front.len()].copy_from_slice(&front);
                Message::StampSender(SenderPacket::parse(&packet).expect("full length")).emit(&mut octets);
            }
            Step::Answer(packet) => {
                Message::StampReflector(ReflectorPacket::parse(&packet).expect("full length"))
                    .emit(&mut octets);
            }
            Step::Alert(code) => Message::Alert(Alert::Other(code)).emit(&mut octets),
            Step::Heartbeat { octets: bytes, socket, port } => {
                from.socket = (socket % SOCKETS).into();
                from.remote.set_port(port.into());
                if let Ok(heartbeat) = Heartbeat::parse(&bytes) {
                    Message::PathHeartbeat(heartbeat).emit(&mut octets);
                }
            }
            Step::Octets(bytes) => octets.extend_from_slice(bytes),
            Step::Wait { milliseconds } => {
                now = now.after(Duration::from_millis(milliseconds.into()));
                control.handle_timeout(now);
            }
            Step::Step { seconds } => {
                let by = Duration::from_secs(seconds.unsigned_abs().into());
                now.wall = if seconds < 0 { now.wall - by } else { now.wall + by };
            }
            Step::Ping { packet_len } => drop(control.probe(now, packet_len.into())),
        }
        if !octets.is_empty() {
            control.handle_associated(now, now, from, &octets);
        }
        assert!(control.poll_timeout(now).is_none_or(|at| at < now.monotonic + Duration::from_secs(3600)));
        let packets = std::iter::from_fn(|| control.poll_packet()).count();
        assert!(packets <= OUTGOING_MAX);
        while control.poll_event().is_some() {}
        while control.poll_datagram().is_some() {}
        if let Some(ahead) = control.measured().clock_ahead_seconds {
            assert!(ahead.is_finite());
        }
    }
});

fn config() -> Config {
    Config {
        session: tieline_seal::Config {
            private_key: PrivateKey::from_bytes([1; 32]),
            peer: Peer::Known {
                public_key: PrivateKey::from_bytes([2; 32]).public_key(),
                preshared_key: PresharedKey::ZERO,
                proof: None,
            },
            address: Some(address_of(Side::B)),
            persistent_keepalive: None,
            timestamp_floor: None,
            always_on: false,
            fast_aes: true,
        },
        certificate: [7; 32],
        accept: AcceptTable::default(),
        mtu: 1420,
    }
}

const STEPS_MAX: usize = 64;
const SOCKETS: u8 = 2;
