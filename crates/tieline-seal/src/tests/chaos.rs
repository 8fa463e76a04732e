//! A long row of random mishaps, from a seed that is printed on failure: whatever the path and the machines
//! do, no packet is delivered twice or altered, nobody panics, and the line is up again when the mishaps are
//! over.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::pair::*;
use crate::{Config, Pace};

const SEEDS: u64 = 100;
const MISHAPS: usize = 150;

/// By when a line must be up again: 15 s until a dead session is noticed, then three initiations at most.
const RECOVERY: Duration = Duration::from_secs(32);

#[test]
fn whatever_happens_no_packet_is_doubled_or_altered_and_the_line_recovers() {
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| chaos.run()));
        assert!(result.is_ok(), "seed {seed}");
    }
}

struct Chaos {
    rng: ChaCha20Rng,
    pair: Pair,
    sent: [BTreeSet<Vec<u8>>; 2],
    delivered: [BTreeSet<Vec<u8>>; 2],
    numbers: u64,
    restarts: u8,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let always_on = |config: Config| Config { always_on: true, ..config };
        let pair = Pair::of(
            always_on(config(KEY_A, KEY_B, Some(address_b()))),
            always_on(config(KEY_B, KEY_A, Some(address_a()))),
        );
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            pair,
            sent: Default::default(),
            delivered: Default::default(),
            numbers: 0,
            restarts: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..MISHAPS {
            self.mishap();
            self.check();
        }
        self.recover();
    }

    fn mishap(&mut self) {
        let side = if self.rng.random() { Side::A } else { Side::B };
        match self.rng.random_range(0..100) {
            0..25 => self.send(side),
            25..55 => self.deliver_one(false, false),
            55..62 => self.deliver_one(true, false),
            62..67 => self.deliver_one(false, true),
            67..72 => drop(self.pick()),
            72..86 => self.pass_time(),
            86..89 => self.restart(side),
            89..92 => self.roam(),
            92..94 => self.pair.end(side).clock_error = self.rng.random_range(-100_000..100_000),
            94..96 => {
                let now = self.pair.now_at(side);
                self.pair.end(side).control.request_session(now);
                self.pair.drain(side);
            }
            96..98 => {
                let pace = if self.rng.random() { Pace::Cut } else { Pace::Paper };
                self.pair.end(side).control.set_pace(pace);
            }
            _ => {
                let end = self.pair.end(side);
                end.hears_notices = !end.hears_notices;
            }
        }
    }

    fn send(&mut self, side: Side) {
        self.numbers += 1;
        let packet = self.numbers.to_le_bytes().repeat(3);
        if self.pair.send(side, &packet).is_ok() {
            self.sent[side as usize].insert(packet);
        }
    }

    fn pick(&mut self) -> Option<Flight> {
        let number = self.rng.random_range(0..self.pair.wire.len().max(1));
        self.pair.wire.remove(number)
    }

    fn deliver_one(&mut self, twice: bool, corrupted: bool) {
        let Some(mut flight) = self.pick() else { return };
        if corrupted {
            let bit = self.rng.random_range(0..flight.bytes.len() * 8);
            flight.bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let _ = self.pair.deliver(&flight);
        if twice {
            self.pair.wire.push_back(flight);
        }
    }

    /// Timers go off, but nothing is delivered.
    fn pass_time(&mut self) {
        let longest = if self.rng.random_ratio(1, 20) { 200_000 } else { 3_000 };
        let end = self.pair.now + Duration::from_millis(self.rng.random_range(0..longest));
        while self.pair.now < end {
            let next = [Side::A, Side::B].map(|side| {
                let now = self.pair.now_at(side);
                self.pair.end(side).control.poll_timeout(now).unwrap_or(end)
            });
            self.pair.now = next[0].min(next[1]).clamp(self.pair.now, end);
            for side in [Side::A, Side::B] {
                let now = self.pair.now_at(side);
                self.pair.end(side).control.handle_timeout(now);
                self.pair.drain(side);
            }
            // The network forgets what is old.
            while self.pair.wire.len() > 40 {
                self.pair.wire.pop_front();
            }
        }
    }

    fn restart(&mut self, side: Side) {
        let now = self.pair.now_at(side);
        let status = self.pair.end(side).control.status(now);
        let config = match side {
            Side::A => config(KEY_A, KEY_B, Some(address_b())),
            Side::B => config(KEY_B, KEY_A, status.address),
        };
        self.restarts += 1;
        let seed = 0x80 ^ self.restarts;
        let kept = Config { always_on: true, timestamp_floor: status.last_timestamp, ..config };
        self.check();
        self.pair.restart(side, kept, seed);
    }

    /// A gets another address. B stays, for if both moved unseen nobody could find the other.
    fn roam(&mut self) {
        self.pair.a.address.set_port(self.rng.random_range(1024..2048));
    }

    fn check(&mut self) {
        for (from, to) in [(Side::A, Side::B), (Side::B, Side::A)] {
            for packet in std::mem::take(&mut self.pair.end(to).received) {
                assert!(self.sent[from as usize].contains(&packet), "{to:?} received what nobody sent");
                assert!(self.delivered[to as usize].insert(packet), "{to:?} received a packet twice");
            }
        }
    }

    fn recover(&mut self) {
        self.pair.wire.clear();
        for side in [Side::A, Side::B] {
            self.pair.end(side).control.set_pace(Pace::Paper);
            self.pair.end(side).hears_notices = true;
        }
        let until = self.pair.now + RECOVERY;
        while self.pair.now < until {
            self.send(Side::A);
            self.send(Side::B);
            self.pair.advance(Duration::from_millis(500));
            self.check();
        }
        self.pair.pass(Side::A, b"the line is up");
        self.pair.pass(Side::B, b"both ways");
    }
}
