//! Two ends that know each other's keys, on virtual time, with the wire between them in the fuzzer's hands.

use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tieline_seal::{
    Config, Control, DropReason, Event, Inbound, Notice, Opened, Outbound, Peer, PresharedKey, PrivateKey,
    SealError, Sealed, Tai64N, split,
};
use tieline_wire::time::Now;
use tieline_wire::wireguard::{TAG_LEN, TransportHeader};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its key is made of ones.
    A,
    /// Its key is made of twos.
    B,
}

impl Side {
    /// The end with this bit.
    pub fn of(bit: bool) -> Self {
        if bit { Self::B } else { Self::A }
    }

    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn private_key(self) -> PrivateKey {
        PrivateKey::from_bytes([1 + self as u8; 32])
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Its source address.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: Side,
    /// What it is made of.
    pub bytes: Vec<u8>,
}

/// One end: the three halves of its session layer.
pub struct End {
    /// Handshakes and timers.
    pub control: Control,
    /// Seals.
    pub outbound: Outbound,
    /// Opens.
    pub inbound: Inbound,
    /// Where its datagrams come from.
    pub address: SocketAddr,
    /// Packets that it opened and nobody has looked at yet.
    pub received: Vec<Vec<u8>>,
    seed: u8,
}

/// Two ends and their time.
pub struct Pair {
    ends: [End; 2],
    /// What time it is, on both ends.
    pub now: Now,
    /// Datagrams sent and not yet taken off the wire.
    pub wire: Vec<Flight>,
}

impl Pair {
    /// Two ends that have never spoken.
    pub fn new() -> Self {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
        let ends = [Side::A, Side::B].map(|side| End::new(side, address_of(side), now, side as u8, None));
        Self { ends, now, wire: Vec::new() }
    }

    /// Two ends after their first handshake.
    ///
    /// # Panics
    ///
    /// If there is no session after it.
    pub fn connected() -> Self {
        let mut pair = Self::new();
        let now = pair.now;
        pair.end(Side::A).control.request_session(now);
        pair.drain(Side::A);
        pair.settle();
        pair.send(Side::A, &[]).expect("a session");
        pair.settle();
        pair.send(Side::B, &[]).expect("a confirmed session");
        pair.settle();
        pair
    }

    /// One of the ends.
    pub fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Puts a new process in the place of an end; it remembers the timestamp that it sent last, as a node does.
    pub fn restart(&mut self, side: Side) {
        let (now, old) = (self.now, &self.ends[side as usize]);
        let floor = old.control.status(now).last_timestamp;
        let seed = old.seed.wrapping_add(2);
        self.ends[side as usize] = End::new(side, old.address, now, seed, floor);
    }

    /// Seals `packet` at `side` and puts it on the wire. Without a session one is asked for.
    ///
    /// # Errors
    ///
    /// What [`Outbound::seal`] said.
    pub fn send(&mut self, side: Side, packet: &[u8]) -> Result<(), SealError> {
        let now = self.now;
        let end = self.end(side);
        let mut bytes = vec![0; TransportHeader::LEN + packet.len() + TAG_LEN];
        bytes[TransportHeader::LEN..][..packet.len()].copy_from_slice(packet);
        match end.outbound.seal(now.monotonic, &mut bytes) {
            Ok(Sealed { to, notice }) => {
                end.tell(now, notice);
                let from = end.address;
                self.launch(from, to, bytes);
                self.drain(side);
                Ok(())
            }
            Err(error) => {
                end.control.request_session(now);
                self.drain(side);
                Err(error)
            }
        }
    }

    /// Gives a datagram to the end it is for.
    pub fn deliver(&mut self, flight: &Flight) -> Result<(), DropReason> {
        let now = self.now;
        let result = self.end(flight.to).open(now, flight);
        self.drain(flight.to);
        result
    }

    /// Delivers what is on the wire, in order, until nothing is sent any more.
    ///
    /// # Panics
    ///
    /// If the two ends go on answering each other.
    pub fn settle(&mut self) {
        let mut left = 200;
        while !self.wire.is_empty() {
            for flight in std::mem::take(&mut self.wire) {
                let _ = self.deliver(&flight);
                left -= 1;
                assert!(left > 0, "the two ends answer each other without end");
            }
        }
    }

    /// Lets time pass; what is sent meanwhile is delivered at once if `delivers`, else stays on the wire.
    ///
    /// # Panics
    ///
    /// If a timer goes off again and again without time passing.
    pub fn advance(&mut self, time: Duration, delivers: bool) {
        let end = self.now.after(time);
        let mut left = 2000;
        loop {
            let now = self.now;
            let next = [Side::A, Side::B]
                .into_iter()
                .filter_map(|side| self.end(side).control.poll_timeout(now).map(|at| (at, side)))
                .min_by_key(|(at, _)| *at);
            let Some((at, side)) = next.filter(|(at, _)| *at <= end.monotonic) else { break };
            self.now = now.after(at.saturating_duration_since(now.monotonic));
            let now = self.now;
            self.end(side).control.handle_timeout(now);
            self.drain(side);
            if delivers {
                self.settle();
            }
            left -= 1;
            assert!(left > 0, "a timer of {side:?} goes off without end");
        }
        self.now = end;
    }

    /// Takes everything out of an end after an input, as the contract of control says.
    fn drain(&mut self, side: Side) {
        let now = self.now;
        while let Some(transmit) = self.end(side).control.poll_transmit() {
            let from = self.end(side).address;
            self.launch(from, transmit.to, transmit.bytes);
        }
        while let Some(event) = self.end(side).control.poll_event() {
            let wants_packet = match event {
                Event::SessionReady { initiator, .. } => initiator,
                Event::SendKeepalive => true,
                _ => false,
            };
            if wants_packet {
                let end = self.end(side);
                let mut bytes = vec![0; TransportHeader::LEN + TAG_LEN];
                if let Ok(Sealed { to, notice }) = end.outbound.seal(now.monotonic, &mut bytes) {
                    end.tell(now, notice);
                    let from = end.address;
                    self.launch(from, to, bytes);
                }
            }
        }
    }

    /// Datagrams to an address where nobody is any more are lost; the wire holds no more than [`WIRE_MAX`].
    fn launch(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let side = [Side::A, Side::B].into_iter().find(|side| self.end(*side).address == to);
        if let Some(to) = side.filter(|_| self.wire.len() < WIRE_MAX) {
            self.wire.push(Flight { from, to, bytes });
        }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl End {
    fn new(side: Side, address: SocketAddr, now: Now, seed: u8, floor: Option<Tai64N>) -> Self {
        let config = Config {
            private_key: side.private_key(),
            peer: Peer::Known {
                public_key: side.other().private_key().public_key(),
                preshared_key: PresharedKey::from_bytes([9; 32]),
                proof: None,
            },
            address: Some(address_of(side.other())),
            persistent_keepalive: None,
            timestamp_floor: floor,
            always_on: false,
            fast_aes: false,
        };
        let (control, outbound, inbound) = split(config, now, [seed; 32]);
        Self { control, outbound, inbound, address, received: Vec::new(), seed }
    }

    fn open(&mut self, now: Now, flight: &Flight) -> Result<(), DropReason> {
        let mut bytes = flight.bytes.clone();
        let notice = match self.inbound.open(now.monotonic, flight.from, &mut bytes)? {
            Opened::Handshake => {
                assert_eq!(bytes, flight.bytes, "a handshake message is not touched");
                self.control.handle_datagram(now, flight.from, &bytes);
                None
            }
            Opened::Keepalive { notice } => notice,
            Opened::Packet { plaintext, notice } => {
                self.received.push(plaintext.to_vec());
                notice
            }
        };
        self.tell(now, notice);
        Ok(())
    }

    fn tell(&mut self, now: Now, notice: Option<Notice>) {
        if let Some(notice) = notice {
            self.control.handle_notice(now, notice);
        }
    }
}

/// Where an end is unless it moves.
pub fn address_of(side: Side) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 51820))
}

/// Datagrams under way at a time.
const WIRE_MAX: usize = 64;
