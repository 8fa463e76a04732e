//! Where packets wait: places of one size in one piece of memory, linked to first-in first-out lists.
//!
//! Nothing is allocated after [`Pool::new`], and the kernel gives memory only to places that were used: the one that was freed last is used
//! next, so that a short queue stays in few of them.

use std::time::Instant;

use tieline_wire::label::LabelStackEntry;

/// The number of a place.
pub(super) type Index = u16;

const NONE: Index = Index::MAX;

/// A packet in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    next: Index,
    pub(super) len: u16,
    /// The label that it gets; none for an IP packet.
    pub(super) label: Option<LabelStackEntry>,
    /// Where in it the IP packet begins: of frames behind their headers.
    pub(super) ip_at: u8,
    /// The flow whose it is.
    pub(super) flow: Index,
    pub(super) queued: Instant,
}

/// All places.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Vec<Slot>,
    octets: Vec<u8>,
    /// Octets of one place.
    place_len: usize,
    slots_max: usize,
    free: Index,
}

impl Pool {
    /// Places for so many packets of up to `place_len` octets; there are fewer than 65,535.
    pub(super) fn new(packets: usize, place_len: usize) -> Self {
        let slots_max = packets.min(usize::from(NONE));
        Self {
            slots: Vec::with_capacity(slots_max),
            octets: vec![0; slots_max * place_len],
            place_len,
            slots_max,
            free: NONE,
        }
    }

    /// An empty place, whose packet belongs to `flow`; `None` if all are taken.
    pub(super) fn take(&mut self, flow: Index, now: Instant) -> Option<Index> {
        let fresh = Slot { next: NONE, len: 0, label: None, ip_at: 0, flow, queued: now };
        if self.free != NONE {
            let index = self.free;
            self.free = self.slots[usize::from(index)].next;
            self.slots[usize::from(index)] = fresh;
            return Some(index);
        }
        if self.slots.len() == self.slots_max {
            return None;
        }
        self.slots.push(fresh);
        Some((self.slots.len() - 1) as Index)
    }

    /// Gives a place back that is in no list.
    pub(super) fn release(&mut self, index: Index) {
        self.slots[usize::from(index)].next = self.free;
        self.free = index;
    }

    /// Writes the packet at `from` over that at `to`, which has the same length.
    pub(super) fn copy(&mut self, from: Index, to: Index) {
        let start = usize::from(from) * self.place_len;
        let len = usize::from(self.slot(from).len);
        self.octets.copy_within(start..start + len, usize::from(to) * self.place_len);
    }

    pub(super) fn slot(&self, index: Index) -> &Slot {
        &self.slots[usize::from(index)]
    }

    pub(super) fn slot_mut(&mut self, index: Index) -> &mut Slot {
        &mut self.slots[usize::from(index)]
    }

    /// The whole place.
    pub(super) fn place_mut(&mut self, index: Index) -> &mut [u8] {
        &mut self.octets[usize::from(index) * self.place_len..][..self.place_len]
    }

    /// The packet.
    pub(super) fn packet(&self, index: Index) -> &[u8] {
        &self.octets[usize::from(index) * self.place_len..][..usize::from(self.slot(index).len)]
    }

    /// The IP packet in it: all of it, but of a frame what is behind its headers.
    pub(super) fn ip_packet(&self, index: Index) -> &[u8] {
        &self.packet(index)[usize::from(self.slot(index).ip_at)..]
    }

    /// The same, to be changed in place.
    pub(super) fn ip_packet_mut(&mut self, index: Index) -> &mut [u8] {
        let Slot { len, ip_at, .. } = *self.slot(index);
        &mut self.place_mut(index)[usize::from(ip_at)..usize::from(len)]
    }

    /// Octets of one place.
    pub(super) fn place_len(&self) -> usize {
        self.place_len
    }
}

/// Packets in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: Index,
    last: Index,
    pub(super) packets: usize,
    pub(super) octets: usize,
}

impl List {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE, packets: 0, octets: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// The packet that came first.
    pub(super) fn first(&self) -> Option<Index> {
        (self.first != NONE).then_some(self.first)
    }

    /// The packet that came last.
    pub(super) fn last(&self) -> Option<Index> {
        (self.last != NONE).then_some(self.last)
    }

    pub(super) fn push(&mut self, pool: &mut Pool, index: Index) {
        let slot = pool.slot_mut(index);
        slot.next = NONE;
        self.octets += usize::from(slot.len);
        self.packets += 1;
        if self.last == NONE {
            self.first = index;
        } else {
            pool.slot_mut(self.last).next = index;
        }
        self.last = index;
    }

    pub(super) fn pop(&mut self, pool: &Pool) -> Option<Index> {
        let index = self.first()?;
        let slot = pool.slot(index);
        self.first = slot.next;
        if self.first == NONE {
            self.last = NONE;
        }
        self.octets -= usize::from(slot.len);
        self.packets -= 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(pool: &mut Pool, list: &mut List, octets: &[u8]) -> Index {
        let index = pool.take(0, Instant::now()).unwrap();
        pool.place_mut(index)[..octets.len()].copy_from_slice(octets);
        pool.slot_mut(index).len = octets.len() as u16;
        list.push(pool, index);
        index
    }

    #[test]
    fn lists_keep_their_order_and_share_the_places() {
        let mut pool = Pool::new(4, 8);
        let (mut a, mut b) = (List::EMPTY, List::EMPTY);
        put(&mut pool, &mut a, b"a1");
        put(&mut pool, &mut b, b"b1");
        put(&mut pool, &mut a, b"a23");
        assert_eq!((a.packets, a.octets, b.octets), (2, 5, 2));
        let index = a.pop(&pool).unwrap();
        assert_eq!(pool.packet(index), b"a1");
        pool.release(index);
        let index = a.pop(&pool).unwrap();
        assert_eq!(pool.packet(index), b"a23");
        assert!(a.pop(&pool).is_none() && a.is_empty() && a.octets == 0);
        assert_eq!(pool.packet(b.first().unwrap()), b"b1");
    }

    #[test]
    fn no_more_packets_wait_than_there_are_places_and_a_place_is_used_again() {
        let mut pool = Pool::new(2, 8);
        let mut list = List::EMPTY;
        put(&mut pool, &mut list, b"1");
        let last = put(&mut pool, &mut list, b"2");
        assert_eq!(pool.take(0, Instant::now()), None);
        let first = list.pop(&pool).unwrap();
        pool.release(first);
        assert_eq!(put(&mut pool, &mut list, b"3"), first);
        assert_eq!(list.first(), Some(last));
    }
}
