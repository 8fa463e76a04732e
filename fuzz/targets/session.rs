//! Two ends from their first handshake on, while everything between them is in the fuzzer's hands: what is delivered, in which order, how
//! often and how damaged, the time, restarts and moves. The keys are known, so every datagram is a real one.
//!
//! What holds whatever happens: a packet arrives at most once and as it was sent, and when the fuzzer lets go, the line works again.
#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_fuzz::pair::{Flight, Pair, Side};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Sends a packet; without a session this asks for one.
    Send { from_b: bool },
    /// Delivers everything that is under way, in order.
    Settle,
    /// Delivers one datagram; it remains, to be delivered again.
    Deliver { which: u8 },
    /// Loses one datagram.
    Lose { which: u8 },
    /// Delivers a damaged copy of a datagram.
    Mutate { which: u8, at: u8, mask: u8 },
    /// Delivers a recorded datagram, however old, from where the fuzzer likes.
    Replay { which: u8, port: Option<u16> },
    /// Lets time pass.
    Wait { milliseconds: u16, delivers: bool },
    /// Lets much time pass, a quarter second for each unit: sessions grow old.
    WaitLong { quarters: u16 },
    /// Kills an end and starts it again.
    Restart { b: bool },
    /// Gives an end another address.
    Move { b: bool, port: u16 },
    /// Delivers anything.
    Garbage { to_b: bool, bytes: &'a [u8] },
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut run = Run::new();
    for step in steps.into_iter().take(STEPS_MAX) {
        run.step(step);
        run.check();
    }
    run.recovers();
});

struct Run {
    pair: Pair,
    sent: u64,
    arrived: BTreeSet<u64>,
    recorded: Vec<Flight>,
}

impl Run {
    fn new() -> Self {
        Self { pair: Pair::new(), sent: 0, arrived: BTreeSet::new(), recorded: Vec::new() }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Send { from_b } => self.send(Side::of(from_b)),
            Step::Settle => self.pair.settle(),
            Step::Deliver { which } => {
                if let Some(flight) = pick(&self.pair.wire, which).cloned() {
                    let _ = self.pair.deliver(&flight);
                }
            }
            Step::Lose { which } => {
                if !self.pair.wire.is_empty() {
                    let index = usize::from(which) % self.pair.wire.len();
                    self.pair.wire.remove(index);
                }
            }
            Step::Mutate { which, at, mask } => {
                if let Some(mut flight) = pick(&self.pair.wire, which).cloned() {
                    let at = usize::from(at) % flight.bytes.len();
                    flight.bytes[at] ^= mask;
                    let _ = self.pair.deliver(&flight);
                }
            }
            Step::Replay { which, port } => {
                if let Some(mut flight) = pick(&self.recorded, which).cloned() {
                    if let Some(port) = port {
                        flight.from.set_port(port);
                    }
                    let _ = self.pair.deliver(&flight);
                }
            }
            Step::Wait { milliseconds, delivers } => {
                self.pair.advance(Duration::from_millis(milliseconds.into()), delivers);
            }
            Step::WaitLong { quarters } => {
                self.pair.advance(Duration::from_millis(u64::from(quarters % 2400) * 250), true);
            }
            Step::Restart { b } => self.pair.restart(Side::of(b)),
            Step::Move { b, port } => {
                let end = self.pair.end(Side::of(b));
                end.address = SocketAddr::new(end.address.ip(), port.max(1));
            }
            Step::Garbage { to_b, bytes } => {
                let to = Side::of(to_b);
                let from = self.pair.end(to.other()).address;
                let _ = self.pair.deliver(&Flight { from, to, bytes: bytes.to_vec() });
            }
        }
        for flight in &self.pair.wire {
            if self.recorded.len() < RECORDED_MAX {
                self.recorded.push(flight.clone());
            }
        }
    }

    fn send(&mut self, side: Side) {
        self.sent += 1;
        let _ = self.pair.send(side, &packet(side, self.sent));
    }

    /// What has arrived was sent by the other end, is as it was sent, and has not arrived before.
    fn check(&mut self) {
        for side in [Side::A, Side::B] {
            for received in std::mem::take(&mut self.pair.end(side).received) {
                let number = u64::from_be_bytes(received[1..9].try_into().expect("eight octets"));
                assert!(number <= self.sent);
                assert_eq!(received, packet(side.other(), number));
                assert!(self.arrived.insert(number), "packet {number} arrives twice");
            }
        }
    }

    /// The fuzzer has let go: both ends know where the other is, and both send. Soon all of it arrives.
    fn recovers(&mut self) {
        self.pair.wire.clear();
        for side in [Side::A, Side::B] {
            let peer = self.pair.end(side.other()).address;
            self.pair.end(side).control.set_address(peer);
        }
        let deadline = RECOVERY_SECONDS;
        for second in 0..=deadline {
            let before = self.sent;
            self.send(Side::A);
            self.send(Side::B);
            self.pair.settle();
            self.check();
            if self.arrived.contains(&(before + 1)) && self.arrived.contains(&(before + 2)) {
                return;
            }
            assert!(second < deadline, "no packet arrives for {deadline} s after all is well again");
            self.pair.advance(Duration::from_secs(1), true);
            self.check();
        }
    }
}

fn pick(flights: &[Flight], which: u8) -> Option<&Flight> {
    if flights.is_empty() { None } else { flights.get(usize::from(which) % flights.len()) }
}

fn packet(from: Side, number: u64) -> Vec<u8> {
    let mut packet = vec![0x40 | from as u8];
    packet.extend(number.to_be_bytes());
    packet.resize(9 + (number % 23) as usize, number as u8);
    packet
}

/// A session that only one end has is given up after 15 s of silence; then handshakes follow each other every 5.3 s, and
/// the end under load asks for a cookie first.
const RECOVERY_SECONDS: u64 = 40;
const STEPS_MAX: usize = 64;
const RECORDED_MAX: usize = 255;
