//! A bounded queue of packets between two threads, whose buffers are made once and go round.

use std::ops::Deref;

use crossbeam_queue::ArrayQueue;

/// Octets of one buffer: the largest packet that a line of any MTU up to this carries.
pub const PACKET_LEN_MAX: usize = 9216;

/// The queue. Any number of threads may push and pop; none waits, none takes a lock. A buffer is made when it is first needed, so that
/// a ring that nothing goes through takes no memory; after the first round none is made, as long as packets keep to the
/// length the ring was made for.
#[derive(Debug)]
pub struct PacketRing {
    free: ArrayQueue<Vec<u8>>,
    full: ArrayQueue<Vec<u8>>,
    packet_len: usize,
}

/// There is no room in the ring, or the packet is longer than [`PACKET_LEN_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl PacketRing {
    /// A ring of `packets` buffers for packets of `packet_len` octets.
    ///
    /// # Panics
    ///
    /// If `packets` is zero.
    #[must_use]
    pub fn new(packets: usize, packet_len: usize) -> Self {
        let free = ArrayQueue::new(packets);
        for _ in 0..packets {
            free.force_push(Vec::new());
        }
        Self { free, full: ArrayQueue::new(packets), packet_len }
    }

    /// Copies `packet` to the end of the queue.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; the packet is not queued.
    pub fn push(&self, packet: &[u8]) -> Result<(), NoRoom> {
        if packet.len() > PACKET_LEN_MAX {
            return Err(NoRoom);
        }
        let mut buffer = self.free.pop().ok_or(NoRoom)?;
        buffer.clear();
        buffer.reserve_exact(packet.len().max(self.packet_len));
        buffer.extend_from_slice(packet);
        self.full.push(buffer).map_err(|_full| NoRoom)
    }

    /// The packet at the front; its buffer goes back when the value is dropped.
    pub fn pop(&self) -> Option<Popped<'_>> {
        let buffer = self.full.pop()?;
        Some(Popped { ring: self, buffer })
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Packets in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full.len()
    }

    /// Whether so many packets would find room.
    #[must_use]
    pub fn has_room_for(&self, packets: usize) -> bool {
        self.free.len() >= packets
    }
}

/// A packet taken from the ring.
#[derive(Debug)]
pub struct Popped<'r> {
    ring: &'r PacketRing,
    buffer: Vec<u8>,
}

impl Deref for Popped<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Popped<'_> {
    fn drop(&mut self) {
        // There is a place for every buffer of the ring.
        let _ = self.ring.free.push(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_in_order_and_whole() {
        let ring = PacketRing::new(4, 16);
        ring.push(b"one").unwrap();
        ring.push(b"two").unwrap();
        assert_eq!(&*ring.pop().unwrap(), b"one");
        assert_eq!(&*ring.pop().unwrap(), b"two");
        assert!(ring.pop().is_none());
    }

    #[test]
    fn full_ring_refuses_until_a_buffer_is_back() {
        let ring = PacketRing::new(2, 16);
        ring.push(b"a").unwrap();
        ring.push(b"b").unwrap();
        assert!(!ring.has_room_for(1));
        assert_eq!(ring.push(b"c"), Err(NoRoom));
        let popped = ring.pop().unwrap();
        assert_eq!(ring.push(b"c"), Err(NoRoom), "the buffer is still in use");
        drop(popped);
        assert_eq!(ring.push(b"c"), Ok(()));
    }

    #[test]
    fn buffer_is_made_when_it_is_first_needed_and_goes_round_then() {
        let ring = PacketRing::new(3, 16);
        let round = || {
            ring.push(b"packet").unwrap();
            ring.pop().unwrap().as_ptr()
        };
        let first = [round(), round()];
        assert_eq!(ring.free.pop().unwrap().capacity(), 0, "not needed yet");
        assert_eq!([round(), round()], first);
    }

    #[test]
    fn oversized_packet_is_refused() {
        let ring = PacketRing::new(2, 16);
        assert_eq!(ring.push(&vec![0; PACKET_LEN_MAX + 1]), Err(NoRoom));
        assert_eq!(ring.push(&vec![0; PACKET_LEN_MAX]), Ok(()));
    }

    #[test]
    fn two_threads_lose_nothing() {
        let ring = PacketRing::new(8, 8);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..10_000_u32 {
                    while ring.push(&number.to_be_bytes()).is_err() {
                        std::hint::spin_loop();
                    }
                }
            });
            let mut expected = 0_u32;
            while expected < 10_000 {
                if let Some(packet) = ring.pop() {
                    assert_eq!(&*packet, expected.to_be_bytes());
                    expected += 1;
                }
            }
        });
    }
}
