//! One direction of a path through a network, as a value: datagrams in, the same datagrams out, later, fewer, or not as they
//! were.
//!
//! Nothing here reads a clock or sends anything; the same seed and the same inputs give the same outputs. Two ends on virtual
//! time drive it as they please, and the lab drives it by the real clock.
//!
//! One input ([`Path::handle_datagram`]), then [`Path::poll_datagram`] until it returns `None`, then wait until
//! [`Path::poll_timeout`].

mod bottleneck;
mod chance;
mod counters;
mod model;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use self::bottleneck::Link;
use self::chance::Chance;
pub use self::counters::PathCounters;
pub use self::model::{BITS_FLIPPED_MAX, Bottleneck, Bursts, Outage, PathModel, Reordering};

/// Octets on their way at most: two seconds at 1 Gbit/s.
pub const ON_THE_WAY_BYTES_MAX: usize = 256 << 20;

/// Datagrams on their way at most, whatever their size.
pub const ON_THE_WAY_MAX: usize = 1 << 18;

/// Something that a path can carry: octets, and whatever its user attaches to them.
pub trait Carried: Clone {
    /// Octets that count for rate, queue and MTU.
    fn octet_count(&self) -> usize;

    /// Bits that corruption may hit.
    fn bit_count(&self) -> usize;

    /// Flips the bit numbered `bit`, which is below [`Self::bit_count`].
    fn flip_bit(&mut self, bit: usize);
}

impl Carried for Vec<u8> {
    fn octet_count(&self) -> usize {
        self.len()
    }

    fn bit_count(&self) -> usize {
        self.len() * 8
    }

    fn flip_bit(&mut self, bit: usize) {
        self[bit / 8] ^= 1 << (bit % 8);
    }
}

/// One direction of a path.
pub struct Path<T> {
    model: PathModel,
    start: Instant,
    is_cut: bool,
    link: Link,
    chance: Chance,
    on_the_way: BinaryHeap<Reverse<OnTheWay<T>>>,
    octets_on_the_way: usize,
    /// Arrival of the last datagram that keeps its place.
    last_arrival: Option<Instant>,
    next_number: u64,
    counters: PathCounters,
}

impl<T: Carried> Path<T> {
    /// A path whose outages count from `start`.
    #[must_use]
    pub fn new(model: PathModel, seed: u64, start: Instant) -> Self {
        Self {
            model,
            start,
            is_cut: false,
            link: Link::default(),
            chance: Chance::new(seed),
            on_the_way: BinaryHeap::new(),
            octets_on_the_way: 0,
            last_arrival: None,
            next_number: 0,
            counters: PathCounters::default(),
        }
    }

    /// Takes a datagram that is sent at `now`.
    pub fn handle_datagram(&mut self, now: Instant, mut datagram: T) {
        self.counters.offered += 1;
        let octets = datagram.octet_count().saturating_add(self.model.overhead);
        if self.model.mtu.is_some_and(|mtu| octets > mtu) {
            self.counters.too_large += 1;
            return;
        }
        if self.is_out(now) {
            self.counters.cut += 1;
            return;
        }
        let sent = match self.model.bottleneck {
            None => Some(now),
            Some(bottleneck) => self.link.admit(now, octets, bottleneck),
        };
        let Some(sent) = sent else {
            self.counters.queue_full += 1;
            return;
        };
        // Lost behind the bottleneck: it took its time on the link all the same.
        if self.is_lost() {
            return;
        }
        let flips = self.chance.flips(self.model.corruption, datagram.bit_count());
        self.counters.corrupted += u64::from(!flips.is_empty());
        flips.into_iter().for_each(|bit| datagram.flip_bit(bit));
        let arrival = self.arrival(sent);
        if self.chance.is_duplicated(self.model.duplication) {
            self.counters.duplicated += 1;
            self.dispatch(arrival, datagram.clone());
        }
        self.dispatch(arrival, datagram);
    }

    /// Hands out the next datagram that has arrived by `now`, if there is one.
    pub fn poll_datagram(&mut self, now: Instant) -> Option<T> {
        while self.poll_timeout()? <= now {
            let Reverse(OnTheWay { arrival, datagram, .. }) = self.on_the_way.pop()?;
            let octets = datagram.octet_count();
            self.octets_on_the_way -= octets;
            if self.is_out(arrival) {
                self.counters.cut += 1;
                continue;
            }
            self.counters.delivered += 1;
            self.counters.octets_delivered += octets as u64;
            return Some(datagram);
        }
        None
    }

    /// When the next datagram arrives, if one is on its way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.on_the_way.peek().map(|Reverse(next)| next.arrival)
    }

    /// Cuts the path: what is sent or would arrive from now on is lost, until [`Self::restore`].
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Joins a cut path again. What was on its way and is not due yet arrives.
    pub fn restore(&mut self) {
        self.is_cut = false;
    }

    /// Whether [`Self::cut`] is in force.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Changes what the path is like for datagrams from now on. Those on their way, and in the queue, stay as they are.
    pub fn set_model(&mut self, model: PathModel) {
        self.model = model;
    }

    /// What the path is like.
    #[must_use]
    pub fn model(&self) -> &PathModel {
        &self.model
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counters(&self) -> PathCounters {
        self.counters
    }

    fn is_out(&self, at: Instant) -> bool {
        let since_start = at.saturating_duration_since(self.start);
        self.is_cut || self.model.outages.iter().any(|outage| outage.contains(since_start))
    }

    fn is_lost(&mut self) -> bool {
        // Both are drawn for every datagram, so that the one does not shift the other.
        let lost = self.chance.is_lost(self.model.loss);
        let in_burst = self.model.bursts.is_some_and(|bursts| self.chance.is_lost_in_burst(bursts));
        self.counters.lost += u64::from(lost);
        self.counters.lost_in_burst += u64::from(in_burst && !lost);
        lost || in_burst
    }

    fn arrival(&mut self, sent: Instant) -> Instant {
        let way = self.model.delay + self.chance.jitter(self.model.jitter);
        let arrival = sent.checked_add(way).unwrap_or(sent);
        let in_order = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        match self.model.reordering.and_then(|reordering| self.chance.hold(reordering)) {
            Some(hold) => {
                self.counters.reordered += 1;
                in_order.checked_add(hold).unwrap_or(in_order)
            }
            None => {
                self.last_arrival = Some(in_order);
                in_order
            }
        }
    }

    fn dispatch(&mut self, arrival: Instant, datagram: T) {
        let octets = datagram.octet_count();
        let is_overfull = self.on_the_way.len() >= ON_THE_WAY_MAX
            || self.octets_on_the_way.saturating_add(octets) > ON_THE_WAY_BYTES_MAX;
        if is_overfull {
            self.counters.overfull += 1;
            return;
        }
        self.octets_on_the_way += octets;
        let number = self.next_number;
        self.next_number += 1;
        self.on_the_way.push(Reverse(OnTheWay { arrival, number, datagram }));
    }
}

/// A datagram on its way. Ordered by arrival, and by dispatch among those that arrive at once.
struct OnTheWay<T> {
    arrival: Instant,
    number: u64,
    datagram: T,
}

impl<T> OnTheWay<T> {
    fn key(&self) -> (Instant, u64) {
        (self.arrival, self.number)
    }
}

impl<T> PartialEq for OnTheWay<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for OnTheWay<T> {}

impl<T> PartialOrd for OnTheWay<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for OnTheWay<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests;
