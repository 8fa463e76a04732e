//! Two ends on virtual time, joined by a wire that the test holds in its hand.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tieline_wire::time::Now;
use tieline_wire::wireguard::{TAG_LEN, TransportHeader};

use crate::{
    Config, Control, DropReason, Event, Inbound, InvitationSecret, Notice, Opened, Outbound, Peer,
    PresharedKey, PrivateKey, PublicKey, SealError, Sealed, split,
};

/// One end with its three halves, and what they have said so far.
pub(super) struct End {
    pub(super) control: Control,
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    /// Where its datagrams come from.
    pub(super) address: SocketAddr,
    /// What its wall clock is wrong by, in seconds.
    pub(super) clock_error: i64,
    pub(super) events: Vec<Event>,
    pub(super) received: Vec<Vec<u8>>,
    /// Whether keepalives that control asks for are sealed.
    pub(super) keeps_alive: bool,
    /// Whether notices reach control; they may get lost in a full queue.
    pub(super) hears_notices: bool,
}

/// A datagram under way.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} of {} octets from {} to {}", self.kind(), self.bytes.len(), self.from, self.to)
    }
}

impl Flight {
    pub(super) fn kind(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }
}

/// Two ends and the datagrams between them.
pub(super) struct Pair {
    pub(super) a: End,
    pub(super) b: End,
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) wire: VecDeque<Flight>,
    /// Everything that ever was on the wire, with the time since the start.
    pub(super) trace: Vec<(Duration, Flight)>,
    /// Datagrams for which this says true are lost.
    pub(super) loses: Box<dyn FnMut(&Flight) -> bool>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

pub(super) fn address_a() -> SocketAddr {
    "192.0.2.1:51820".parse().unwrap()
}

pub(super) fn address_b() -> SocketAddr {
    "[2001:db8::2]:51821".parse().unwrap()
}

pub(super) fn private_key(seed: u8) -> PrivateKey {
    PrivateKey::from_bytes([seed; 32])
}

pub(super) fn public_key(seed: u8) -> PublicKey {
    private_key(seed).public_key()
}

pub(super) const KEY_A: u8 = 1;
pub(super) const KEY_B: u8 = 2;

/// A configuration of the end with key `own` towards the end with key `peer`.
pub(super) fn config(own: u8, peer: u8, address: Option<SocketAddr>) -> Config {
    Config {
        private_key: private_key(own),
        peer: Peer::Known {
            public_key: public_key(peer),
            preshared_key: PresharedKey::from_bytes([9; 32]),
            proof: None,
        },
        address,
        persistent_keepalive: None,
        timestamp_floor: None,
        always_on: false,
        fast_aes: false,
    }
}

pub(super) fn secret(byte: u8) -> InvitationSecret {
    InvitationSecret::from_bytes([byte; 16])
}

/// An end that waits for whoever proves `secret`.
pub(super) fn inviting(own: u8, secret_byte: u8) -> Config {
    Config { peer: Peer::Invited { secret: secret(secret_byte) }, ..config(own, 0, None) }
}

/// An end that joins `peer` with `secret`.
pub(super) fn joining(own: u8, peer: u8, secret_byte: u8, address: SocketAddr) -> Config {
    let secret = secret(secret_byte);
    Config {
        peer: Peer::Known {
            public_key: public_key(peer),
            preshared_key: secret.preshared_key(),
            proof: Some(secret),
        },
        ..config(own, peer, Some(address))
    }
}

impl End {
    pub(super) fn new(config: Config, address: SocketAddr, now: Now, seed: u8) -> Self {
        let (control, outbound, inbound) = split(config, now, [seed; 32]);
        Self {
            control,
            outbound,
            inbound,
            address,
            clock_error: 0,
            events: Vec::new(),
            received: Vec::new(),
            keeps_alive: true,
            hears_notices: true,
        }
    }

    /// Seals `packet`, as the layer above does; asks for a session if there is none.
    pub(super) fn seal(&mut self, now: Now, packet: &[u8]) -> Result<Flight, SealError> {
        let mut bytes = vec![0xa5; TransportHeader::LEN + packet.len() + TAG_LEN];
        bytes[TransportHeader::LEN..TransportHeader::LEN + packet.len()].copy_from_slice(packet);
        let Sealed { to, notice } = self.outbound.seal(now.monotonic, &mut bytes)?;
        self.tell_control(now, notice);
        Ok(Flight { from: self.address, to, bytes })
    }

    /// Opens a datagram, as the layer above does.
    pub(super) fn open(&mut self, now: Now, flight: &Flight) -> Result<(), DropReason> {
        let mut bytes = flight.bytes.clone();
        let notice = match self.inbound.open(now.monotonic, flight.from, &mut bytes)? {
            Opened::Handshake => {
                self.control.handle_datagram(now, flight.from, &flight.bytes);
                None
            }
            Opened::Keepalive { notice } => notice,
            Opened::Packet { plaintext, notice } => {
                self.received.push(plaintext.to_vec());
                notice
            }
        };
        self.tell_control(now, notice);
        Ok(())
    }

    fn tell_control(&mut self, now: Now, notice: Option<Notice>) {
        if let Some(notice) = notice.filter(|_| self.hears_notices) {
            self.control.handle_notice(now, notice);
        }
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.control.drops().of(reason)
    }

    /// All drops that happened, for a test that expects none but some.
    pub(super) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.control.drops().snapshot().filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn has_session(&self, now: Now) -> bool {
        self.outbound.has_session(now.monotonic)
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl Pair {
    /// Two ends that know each other; A knows where B is.
    pub(super) fn new() -> Self {
        Self::of(config(KEY_A, KEY_B, Some(address_b())), config(KEY_B, KEY_A, None))
    }

    pub(super) fn of(a: Config, b: Config) -> Self {
        let start = Instant::now();
        let now = Now { monotonic: start, wall: wall_at(Duration::ZERO, 0) };
        Self {
            a: End::new(a, address_a(), now, 0x0a),
            b: End::new(b, address_b(), now, 0x0b),
            now: start,
            start,
            wire: VecDeque::new(),
            trace: Vec::new(),
            loses: Box::new(|_| false),
        }
    }

    /// A pair whose handshake, opened by A, is done.
    pub(super) fn connected() -> Self {
        let mut pair = Self::new();
        pair.connect();
        pair
    }

    pub(super) fn connect(&mut self) {
        self.a.control.request_session(self.now_at(Side::A));
        self.settle();
        assert!(self.a.has_session(self.now_at(Side::A)), "A has a session");
        assert!(self.b.has_session(self.now_at(Side::B)), "B has a session");
        self.a.events.clear();
        self.b.events.clear();
        self.trace.clear();
    }

    /// Puts a newly started end in the place of the old one.
    pub(super) fn restart(&mut self, side: Side, config: Config, seed: u8) {
        let now = self.now_at(side);
        let end = self.end(side);
        *end = End { clock_error: end.clock_error, ..End::new(config, end.address, now, seed) };
    }

    pub(super) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub(super) fn now_at(&self, side: Side) -> Now {
        let clock_error = match side {
            Side::A => self.a.clock_error,
            Side::B => self.b.clock_error,
        };
        Now { monotonic: self.now, wall: wall_at(self.now - self.start, clock_error) }
    }

    /// Seals a packet and puts it on the wire; without a session it asks for one.
    pub(super) fn send(&mut self, side: Side, packet: &[u8]) -> Result<(), SealError> {
        let now = self.now_at(side);
        let result = self.end(side).seal(now, packet).map(|flight| self.launch(flight));
        if let Err(SealError::NoSession | SealError::Exhausted) = result {
            self.end(side).control.request_session(now);
        }
        self.drain(side);
        result
    }

    /// Sends and delivers a packet that is expected to arrive.
    pub(super) fn pass(&mut self, from: Side, packet: &[u8]) {
        self.send(from, packet).expect("there is a session");
        self.settle();
        let to = match from {
            Side::A => &mut self.b,
            Side::B => &mut self.a,
        };
        assert_eq!(to.received.pop().as_deref(), Some(packet), "{from:?}'s packet arrives");
    }

    /// Takes everything out of an end after an input, as the contract of control says.
    pub(super) fn drain(&mut self, side: Side) {
        let now = self.now_at(side);
        let mut flights = Vec::new();
        let end = self.end(side);
        loop {
            if let Some(transmit) = end.control.poll_transmit() {
                flights.push(Flight { from: end.address, to: transmit.to, bytes: transmit.bytes });
            } else if let Some(event) = end.control.poll_event() {
                if event == Event::SendKeepalive && end.keeps_alive {
                    flights.extend(end.seal(now, &[]));
                }
                end.events.push(event);
            } else {
                break;
            }
        }
        for flight in flights {
            self.launch(flight);
        }
    }

    pub(super) fn launch(&mut self, flight: Flight) {
        self.trace.push((self.now - self.start, flight.clone()));
        if !(self.loses)(&flight) {
            self.wire.push_back(flight);
        }
    }

    /// Gives a datagram to whom it is addressed to.
    pub(super) fn deliver(&mut self, flight: &Flight) -> Result<(), DropReason> {
        let side = if flight.to == self.a.address {
            Side::A
        } else if flight.to == self.b.address {
            Side::B
        } else {
            return Ok(());
        };
        let now = self.now_at(side);
        let result = self.end(side).open(now, flight);
        self.drain(side);
        result
    }

    /// Delivers until the wire is empty, without any time passing.
    pub(super) fn settle(&mut self) {
        self.drain(Side::A);
        self.drain(Side::B);
        let mut left = 1000;
        while let Some(flight) = self.wire.pop_front() {
            let _ = self.deliver(&flight);
            left -= 1;
            assert!(left > 0, "the two ends talk without end");
        }
    }

    /// Lets time pass, with all timers and deliveries in between.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        let mut left = 100_000;
        loop {
            self.settle();
            let next = [Side::A, Side::B].map(|side| {
                let now = self.now_at(side);
                self.end(side).control.poll_timeout(now).map(|at| (at, side))
            });
            let Some((at, side)) = next.into_iter().flatten().min_by_key(|(at, _)| *at) else { break };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            let now = self.now_at(side);
            self.end(side).control.handle_timeout(now);
            left -= 1;
            assert!(left > 0, "a timer of {side:?} goes off without end");
        }
        self.settle();
        self.now = end;
    }

    /// Lets time pass until so long after the start.
    pub(super) fn advance_to(&mut self, since_start: Duration) {
        let elapsed = self.now - self.start;
        self.advance(since_start.checked_sub(elapsed).expect("that is not past yet"));
    }

    /// When datagrams of `kind` were sent by `side`, since the start.
    pub(super) fn times_of(&self, side: Side, kind: u8) -> Vec<Duration> {
        let from = match side {
            Side::A => self.a.address,
            Side::B => self.b.address,
        };
        let matching = self.trace.iter().filter(|(_, flight)| flight.from == from && flight.kind() == kind);
        matching.map(|(at, _)| *at).collect()
    }

    /// Takes the only datagram off the wire.
    pub(super) fn take(&mut self) -> Flight {
        assert_eq!(self.wire.len(), 1, "one datagram is under way: {:?}", self.wire);
        self.wire.pop_front().unwrap()
    }
}

fn wall_at(elapsed: Duration, clock_error: i64) -> SystemTime {
    let base = UNIX_EPOCH + Duration::from_secs(1_700_000_000) + elapsed;
    let error = Duration::from_secs(clock_error.unsigned_abs());
    if clock_error < 0 { base - error } else { base + error }
}
