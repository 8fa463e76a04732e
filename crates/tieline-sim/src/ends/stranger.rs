//! A third party on the path, without any key: it sees every datagram that arrives and can send it again, change it, or invent.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rand::{Rng, RngCore};

use super::{Datagram, Ends, Side};

/// Datagrams that the stranger remembers; the oldest go first.
const REMEMBERED_MAX: usize = 64;

/// What the stranger has seen.
#[derive(Default)]
pub(super) struct Tap {
    seen: VecDeque<Datagram>,
}

impl Tap {
    pub(super) fn note(&mut self, datagram: &Datagram) {
        if self.seen.len() == REMEMBERED_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(datagram.clone());
    }
}

impl Ends {
    /// The stranger sends again what arrived before: up to `count` datagrams picked at random, from their own sources or from
    /// an address of its own.
    pub fn replay(&mut self, count: usize) {
        for _ in 0..count {
            let Some(mut datagram) = self.pick() else { return };
            if self.rng.random() {
                datagram.from = stranger();
            }
            self.arrive(datagram);
        }
    }

    /// The stranger changes bits, or the length, of what arrived before.
    pub fn forge(&mut self, count: usize) {
        for _ in 0..count {
            let Some(mut datagram) = self.pick() else { return };
            let bit = self.rng.random_range(0..datagram.octets.len().max(1) * 8);
            match self.rng.random_range(0..4) {
                0 => datagram.octets.truncate(bit / 8),
                1 => datagram.octets.push(0),
                _ => datagram.octets[bit / 8] ^= 1 << (bit % 8),
            }
            self.arrive(datagram);
        }
    }

    /// The stranger sends `count` datagrams that it made up to `side`.
    pub fn flood(&mut self, side: Side, count: usize) {
        for _ in 0..count {
            let length =
                *[0, 1, 31, 32, 64, 92, 148, 149, 1452].get(self.rng.random_range(0..9)).unwrap_or(&0);
            let mut octets = vec![0; length];
            self.rng.fill_bytes(&mut octets);
            if let Some(header) = octets.first_chunk_mut::<4>() {
                *header = [self.rng.random_range(0..6), 0, 0, 0];
            }
            let to = self.address(side);
            self.arrive(Datagram { from: stranger(), to, octets });
        }
    }

    fn pick(&mut self) -> Option<Datagram> {
        let index = self.rng.random_range(0..self.tap.seen.len().max(1));
        self.tap.seen.get(index).cloned()
    }
}

/// The stranger's address.
fn stranger() -> SocketAddr {
    ([192, 0, 2, 66], 6666).into()
}
