//! A packer, a path and an unpacker.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tieline_wire::{label::Label, packed::Feedback};

use super::calls::Office;
use crate::packing::{Bundle, Packer, Unpacker};

pub(super) const MTU: usize = 1420;
const BUNDLE_LEN_MAX: usize = MTU - 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) loss: f64,
    pub(super) delay: Duration,
    pub(super) late: f64,
    pub(super) late_by: Duration,
    pub(super) twice: f64,
}

/// A bundle under way, and what was put into it.
#[derive(Clone)]
struct UnderWay {
    label: Label,
    bundle: Vec<u8>,
    packets: Vec<Vec<u8>>,
}

pub(super) struct Pair {
    pub(super) path: Path,
    pub(super) answers_lost: bool,
    rng: ChaCha20Rng,
    start: Instant,
    now: Instant,
    label: u32,
    packer: Packer,
    unpacker: Unpacker,
    there: BTreeMap<(Instant, u64), UnderWay>,
    back: BTreeMap<(Instant, u64), Feedback>,
    count: u64,
    pub(super) sent: u64,
    pub(super) elided: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) identical: u64,
    pub(super) wrong: u64,
    pub(super) refused: u64,
    octets: [u64; 2],
    bundles: u64,
}

impl Pair {
    pub(super) fn new(path: Path, seed: u64) -> Self {
        let (label, now) = (Label::FIRST_GIVEN_OUT, Instant::now());
        Self {
            path,
            answers_lost: false,
            rng: ChaCha20Rng::seed_from_u64(seed),
            start: now,
            now,
            label: label.value(),
            packer: Packer::new(label, MTU),
            unpacker: Unpacker::new(label, MTU),
            there: BTreeMap::new(),
            back: BTreeMap::new(),
            count: 0,
            sent: 0,
            elided: 0,
            lost: 0,
            repeated: 0,
            identical: 0,
            wrong: 0,
            refused: 0,
            octets: [0; 2],
            bundles: 0,
        }
    }

    /// One millisecond: what the office sends now goes, what arrives now arrives.
    pub(super) fn tick(&mut self, office: &mut Office) {
        let packets = office.tick();
        self.send(&packets);
        self.pass(Duration::from_millis(1));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        while self.there.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
            let (_, under_way) = self.there.pop_first().unwrap();
            self.arrives(&under_way);
        }
        if let Some(feedback) = self.unpacker.poll_feedback(self.now)
            && !self.answers_lost
            && !self.rng.random_bool(self.path.loss)
        {
            let at = self.arrival();
            self.back.insert(at, feedback);
        }
        while self.back.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
            let (_, feedback) = self.back.pop_first().unwrap();
            self.packer.handle_feedback(&feedback);
        }
    }

    /// All that is under way arrives.
    pub(super) fn drain(&mut self) {
        self.pass(Duration::from_secs(10));
    }

    /// A new process at one end: what was known of the old label is gone. What is under way still arrives.
    pub(super) fn restart(&mut self) {
        self.label += 1;
        let label = Label::new(self.label).unwrap();
        self.packer = Packer::new(label, MTU);
        self.unpacker = Unpacker::new(label, MTU);
    }

    pub(super) fn send(&mut self, packets: &[Vec<u8>]) {
        let mut rest = packets;
        while !rest.is_empty() {
            let mut buffer = [0; BUNDLE_LEN_MAX];
            let mut bundle = Bundle::new(&mut buffer);
            let mut count = 0;
            while let Some(packet) = rest.get(count) {
                let before = bundle.len().max(1);
                if !self.packer.push(self.now, packet, &mut bundle) {
                    break;
                }
                // An entry that is whole is longer than its packet.
                self.elided += u64::from(bundle.len() - before < packet.len());
                count += 1;
            }
            assert_eq!(bundle.entries(), count);
            assert!(count > 0, "a packet of {} octets", rest[0].len());
            self.octets[0] += bundle.packet_octets() as u64;
            self.octets[1] += bundle.len() as u64;
            self.bundles += 1;
            let len = bundle.len();
            let (packets, others) = rest.split_at(count);
            rest = others;
            self.sent += count as u64;
            self.dispatch(&buffer[..len], packets);
        }
    }

    fn dispatch(&mut self, bundle: &[u8], packets: &[Vec<u8>]) {
        let label = self.packer.label();
        let under_way = UnderWay { label, bundle: bundle.to_vec(), packets: packets.to_vec() };
        if self.rng.random_bool(self.path.loss) {
            self.lost += packets.len() as u64;
            return;
        }
        if self.rng.random_bool(self.path.twice) {
            self.repeated += packets.len() as u64;
            let at = self.arrival();
            self.there.insert(at, under_way.clone());
        }
        let at = self.arrival();
        self.there.insert(at, under_way);
    }

    fn arrival(&mut self) -> (Instant, u64) {
        self.count += 1;
        let late = if self.rng.random_bool(self.path.late) {
            self.path.late_by.mul_f64(self.rng.random())
        } else {
            Duration::ZERO
        };
        (self.now + self.path.delay + late, self.count)
    }

    fn arrives(&mut self, under_way: &UnderWay) {
        if under_way.label != self.unpacker.label() {
            return;
        }
        let mut out = [0x5a; MTU];
        let mut entries = self.unpacker.open(&under_way.bundle);
        let mut packets = under_way.packets.iter();
        while let Some(result) = entries.next(self.now, &mut out) {
            match (result, packets.next()) {
                (Ok(len), Some(packet)) if out[..len] == packet[..] => self.identical += 1,
                (Ok(_), _) => self.wrong += 1,
                (Err(_), packet) => self.refused += u64::from(packet.is_some()) + packets.len() as u64,
            }
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, elided, lost, repeated, identical, wrong, refused, octets, bundles, .. } = self;
        let share = 100.0 * *elided as f64 / *sent as f64;
        write!(
            f,
            "{sent} packets in {bundles} bundles, {:?} of calls: {elided} ({share:.2} %) without their headers, {} octets became {}; \
             {lost} lost, {repeated} twice; {identical} arrived identical, {wrong} wrong, {refused} refused",
            self.now - self.start,
            octets[0],
            octets[1],
        )
    }
}
