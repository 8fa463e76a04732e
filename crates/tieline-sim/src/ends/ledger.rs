//! Who sent which packet and where it arrived. Every packet carries a number of its own, so that what happens to it can be held
//! against what may happen: each arrives once at most, at the other end, as it was sent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::Side;

/// Octets of an IPv4 header without options.
const HEADER_LEN: usize = 20;
/// Octets of a numbered packet: the header, the number twice, and something that padding could be mistaken for.
const PACKET_LEN: usize = HEADER_LEN + 8 + 8 + 5;

/// The packets of one run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    packets: BTreeMap<u64, Packet>,
    next: u64,
}

#[derive(Debug)]
struct Packet {
    from: Side,
    arrived: Option<Duration>,
}

impl Ledger {
    /// A packet that was never there before, with its number.
    pub(super) fn next_packet(&mut self, from: Side) -> (u64, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        self.packets.insert(number, Packet { from, arrived: None });
        (number, octets(from, number))
    }

    /// Notes that a packet came out of `at`.
    ///
    /// # Panics
    ///
    /// If it was altered, was sent by nobody or by this end itself, or has arrived before.
    pub(super) fn note_arrival(&mut self, at: Side, when: Duration, packet: &[u8]) -> u64 {
        let number = packet.get(HEADER_LEN..HEADER_LEN + 8).and_then(|octets| octets.try_into().ok());
        let number = number.map(u64::from_be_bytes);
        let known = number.and_then(|number| Some((number, self.packets.get_mut(&number)?)));
        let Some((number, known)) = known else { panic!("{at:?} received what nobody sent: {packet:?}") };
        assert_eq!(packet, octets(known.from, number), "packet {number} was altered on its way to {at:?}");
        assert_ne!(known.from.is_a(), at.is_a(), "packet {number} came back to {at:?}, which sent it");
        assert_eq!(known.arrived, None, "packet {number} arrived at {at:?} for the second time");
        known.arrived = Some(when);
        number
    }

    pub(super) fn arrival(&self, number: u64) -> Option<Duration> {
        self.packets.get(&number)?.arrived
    }

    /// How many of the packets that `from` has sent are not there.
    pub(super) fn missing(&self, from: Side) -> usize {
        self.packets.values().filter(|packet| packet.from == from && packet.arrived.is_none()).count()
    }

    pub(super) fn reached_since(&self, side: Side, first: u64) -> bool {
        self.packets
            .range(first..)
            .any(|(_, packet)| packet.from.is_a() != side.is_a() && packet.arrived.is_some())
    }

    pub(super) fn sent(&self) -> u64 {
        self.next
    }
}

/// The IPv4 packet with this number.
fn octets(from: Side, number: u64) -> Vec<u8> {
    let to = if from.is_a() { Side::B } else { Side::A };
    let mut packet = ipv4(from.host(), to.host(), PACKET_LEN);
    packet[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&number.to_be_bytes());
    packet[HEADER_LEN + 8..HEADER_LEN + 16].copy_from_slice(&(!number).to_be_bytes());
    packet
}

/// An IPv4 packet of `len` octets.
pub(super) fn ipv4(from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).expect("packets are short").to_be_bytes());
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_arrives_once_and_its_time_is_kept() {
        let mut ledger = Ledger::default();
        let (number, packet) = ledger.next_packet(Side::A);
        assert_eq!((ledger.arrival(number), ledger.missing(Side::A)), (None, 1));
        ledger.note_arrival(Side::B, Duration::from_secs(3), &packet);
        assert_eq!((ledger.arrival(number), ledger.missing(Side::A)), (Some(Duration::from_secs(3)), 0));
    }

    #[test]
    #[should_panic(expected = "second time")]
    fn a_second_arrival_is_found() {
        let mut ledger = Ledger::default();
        let (_, packet) = ledger.next_packet(Side::A);
        ledger.note_arrival(Side::B, Duration::ZERO, &packet);
        ledger.note_arrival(Side::Twin, Duration::ZERO, &packet);
    }

    #[test]
    #[should_panic(expected = "altered")]
    fn an_altered_packet_is_found() {
        let mut ledger = Ledger::default();
        let (_, mut packet) = ledger.next_packet(Side::A);
        packet[PACKET_LEN - 1] ^= 1;
        ledger.note_arrival(Side::B, Duration::ZERO, &packet);
    }

    #[test]
    #[should_panic(expected = "nobody sent")]
    fn an_invented_packet_is_found() {
        Ledger::default().note_arrival(Side::B, Duration::ZERO, &octets(Side::A, 0));
    }

    #[test]
    #[should_panic(expected = "came back")]
    fn a_packet_that_returns_to_its_sender_is_found() {
        let mut ledger = Ledger::default();
        let (_, packet) = ledger.next_packet(Side::A);
        ledger.note_arrival(Side::A, Duration::ZERO, &packet);
    }
}
