//! Calls over a path, with a scheme of protection between.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use tieline_line::protection::{Protector, Restorer};
use tieline_sim::path::{Path, PathModel};
use tieline_wire::protected::{Position, StreamId};

/// Octets on the wire around what is sealed: IPv4, UDP, header and tag of the session.
const AROUND: u64 = 28 + 32;
const LABEL_LEN: u64 = 4;
/// Time between two packets of a call.
const PERIOD: Duration = Duration::from_millis(20);
/// The step of virtual time.
const TICK: Duration = Duration::from_micros(500);

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Not at all.
    None,
    /// A second copy of each, so many milliseconds later.
    Copy(u64),
    /// The product.
    Repair,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) calls: u32,
    pub(crate) path: PathModel,
    pub(crate) scheme: Scheme,
    pub(crate) packets: u32,
    pub(crate) packet_len: usize,
    pub(crate) seed: u64,
}

/// What the phones got of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    /// Come later than the path made them, each by so much.
    pub(crate) later: Vec<Duration>,
    pub(crate) twice: u64,
    pub(crate) altered: u64,
    pub(crate) octets_alone: u64,
    pub(crate) octets: u64,
}

impl Outcome {
    /// Packets in thousand that were lost or came later than `limit` after their time.
    pub(crate) fn lost_or_later_than(&self, limit: Duration) -> f64 {
        let late = self.later.iter().filter(|later| **later > limit).count() as u64;
        1000.0 * (self.lost + late) as f64 / self.packets as f64
    }

    /// How many times the octets of the calls alone it took.
    pub(crate) fn factor(&self) -> f64 {
        self.octets as f64 / self.octets_alone as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_cent = |millis| self.lost_or_later_than(Duration::from_millis(millis)) / 10.0;
        let mut later = self.later.clone();
        later.sort();
        let at = |share: f64| {
            let index = (later.len() as f64 * share) as usize;
            later.get(index.min(later.len().saturating_sub(1))).map_or(0.0, |at| at.as_secs_f64() * 1000.0)
        };
        write!(
            f,
            "lost {:.3} %, lost or > 20 ms {:.3} %, lost or > 60 ms {:.3} %, repaired {} p50 {:.1} p95 {:.1} max {:.1} ms later, {:.2} x",
            100.0 * self.lost as f64 / self.packets as f64,
            per_cent(20),
            per_cent(60),
            later.len(),
            at(0.5),
            at(0.95),
            at(1.0),
            self.factor()
        )
    }
}

impl Case {
    /// Runs it on virtual time.
    pub(crate) fn run(&self) -> Outcome {
        World::new(self).run()
    }
}

struct World<'c> {
    case: &'c Case,
    start: Instant,
    path: Path<Vec<u8>>,
    protector: Protector,
    restorer: Restorer,
    /// Copies to be sent, by when.
    copies: BTreeMap<(Instant, u32), Vec<u8>>,
    sent: Vec<Instant>,
    heard: Vec<bool>,
    outcome: Outcome,
}

impl<'c> World<'c> {
    fn new(case: &'c Case) -> Self {
        let start = Instant::now();
        let mut protector = Protector::new(StreamId::of(case.seed as u16), 1420);
        if case.scheme == Scheme::Repair {
            protector.set_on(true);
        }
        Self {
            case,
            start,
            path: Path::new(case.path.clone(), case.seed, start),
            protector,
            restorer: Restorer::default(),
            copies: BTreeMap::new(),
            sent: Vec::new(),
            heard: vec![false; case.packets as usize],
            outcome: Outcome { packets: case.packets.into(), ..Outcome::default() },
        }
    }

    fn run(mut self) -> Outcome {
        // Phase of each call within a period, as telephones have it: each its own, and some close to one another.
        let phase = |call: u32| PERIOD * (call * 7919 % 1000) / 1000;
        let mut calls: Vec<Instant> = (0..self.case.calls).map(|call| self.start + phase(call)).collect();
        let end = PERIOD * (self.case.packets / self.case.calls) + Duration::from_secs(1);
        let mut now = self.start;
        while now < self.start + end {
            for next in &mut calls {
                if *next <= now && self.sent.len() < self.heard.len() {
                    *next += PERIOD;
                    self.speak(now);
                }
            }
            self.send_later(now);
            self.receive(now);
            now += TICK;
        }
        self.outcome.lost = self.heard.iter().filter(|heard| !**heard).count() as u64;
        self.outcome
    }

    fn speak(&mut self, now: Instant) {
        let number = self.sent.len() as u32;
        self.sent.push(now);
        let packet = packet(number, self.case.packet_len);
        self.outcome.octets_alone += AROUND + packet.len().next_multiple_of(16) as u64;
        match self.case.scheme {
            Scheme::None => self.transmit(now, packet, 0),
            Scheme::Copy(millis) => {
                // Numbered as a source packet is, so that the same octets and the same restorer are compared.
                let position = Position { stream: StreamId::of(1), sequence: number as u16 };
                let packet = [&position.emit_source()[..], &packet].concat();
                self.copies.insert((now + Duration::from_millis(millis), number), packet.clone());
                self.transmit(now, packet, LABEL_LEN);
            }
            Scheme::Repair => match self.protector.handle_packet(now, &packet) {
                Some(header) => self.transmit(now, [&header[..], &packet].concat(), LABEL_LEN),
                None => self.transmit(now, packet, 0),
            },
        }
    }

    fn send_later(&mut self, now: Instant) {
        while let Some(entry) = self.copies.first_entry().filter(|entry| entry.key().0 <= now) {
            let packet = entry.remove();
            self.transmit(now, packet, LABEL_LEN);
        }
        while let Some(repair) = self.protector.poll_transmit(now).map(<[u8]>::to_vec) {
            self.transmit(now, repair, LABEL_LEN);
        }
    }

    fn transmit(&mut self, now: Instant, packet: Vec<u8>, label: u64) {
        let padded = if label == 0 { packet.len().next_multiple_of(16) } else { packet.len() };
        self.outcome.octets += AROUND + label + padded as u64;
        self.path.handle_datagram(now, packet);
    }

    fn receive(&mut self, now: Instant) {
        while let Some(packet) = self.path.poll_datagram(now) {
            if packet[0] >> 4 == 4 {
                self.hear(now, &packet);
                continue;
            }
            if let Some(packet) = self.restorer.handle_packet(now, &packet) {
                let packet = packet.to_vec();
                self.hear(now, &packet);
            }
            while let Some(packet) = self.restorer.poll_restored(now).map(<[u8]>::to_vec) {
                self.hear(now, &packet);
            }
        }
    }

    fn hear(&mut self, now: Instant, heard: &[u8]) {
        let number = u32::from_be_bytes([heard[4], heard[5], heard[6], heard[7]]);
        if heard != packet(number, self.case.packet_len) {
            self.outcome.altered += 1;
            return;
        }
        if std::mem::replace(&mut self.heard[number as usize], true) {
            self.outcome.twice += 1;
        }
        let later = now.saturating_duration_since(self.sent[number as usize] + self.case.path.delay);
        if later > TICK {
            self.outcome.later.push(later);
        }
    }
}

/// A packet that looks like IPv4 and says which one it is in every octet.
fn packet(number: u32, len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> =
        (0..len as u32).map(|at| (number.wrapping_mul(31).wrapping_add(at * 7)) as u8).collect();
    packet[0] = 0x45;
    packet[4..8].copy_from_slice(&number.to_be_bytes());
    packet
}
