//! The sending end: numbers for packets, and repair packets behind them.

use std::{collections::VecDeque, fmt, time::Instant};

use cu_fec::{DensityThreshold, EncodingSymbolId, RepairParameters, RlcEncoder};
use tieline_wire::{
    protected::{
        HEADER_LEN, PACKET_LEN_MAX, Position, REPAIR_HEADER_LEN, Repair, SYMBOL_LEN_MAX, SYMBOL_PREFIX_LEN,
        StreamId, WINDOW_MAX,
    },
    sealed::{self, Kind},
    wireguard::{TAG_LEN, TransportHeader},
};

use super::{COST_FACTOR, OF_USE, REPAIR_DELAY, SOURCES_PER_REPAIR, WINDOW, config};

/// Octets that a datagram has around what is sealed: headers of IPv4 and UDP, of the session, label, tag.
const AROUND: usize = 28 + TransportHeader::LEN + TAG_LEN;
const LABEL_LEN: usize = 4;
/// Octets that may be saved up for repair packets: what one of the largest costs.
const CREDIT_MAX: usize = AROUND + LABEL_LEN + REPAIR_HEADER_LEN + SYMBOL_LEN_MAX;

const _: () = assert!(WINDOW <= WINDOW_MAX);

type Encoder = RlcEncoder<SYMBOL_LEN_MAX, WINDOW>;

/// What a protector has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtectorCounts {
    /// Packets that got a number.
    pub sources: u64,
    /// Repair packets.
    pub repairs: u64,
    /// Octets on the wire that the packets with a number would have cost alone.
    pub octets_alone: u64,
    /// Octets on the wire that they cost with their numbers and repair packets.
    pub octets: u64,
    /// Packets that went without a number, for they are too large.
    pub too_large: u64,
    /// Times that a repair packet had to wait for another source packet, for it would have cost too much.
    pub withheld: u64,
}

impl ProtectorCounts {
    /// As many as there are.
    pub(super) const COUNT: usize = 6;

    /// All of them, in order.
    pub(super) fn values(&self) -> [u64; Self::COUNT] {
        let Self { sources, repairs, octets_alone, octets, too_large, withheld } = *self;
        [sources, repairs, octets_alone, octets, too_large, withheld]
    }

    /// From all of them.
    pub(super) fn of(values: [u64; Self::COUNT]) -> Self {
        let [sources, repairs, octets_alone, octets, too_large, withheld] = values;
        Self { sources, repairs, octets_alone, octets, too_large, withheld }
    }
}

/// Protects what leaves an end.
///
/// One packet in with [`Self::handle_packet`], then [`Self::poll_transmit`] until there is nothing more, then wait until
/// [`Self::poll_timeout`].
#[derive(Debug)]
pub struct Protector {
    is_on: bool,
    stream: StreamId,
    mtu: usize,
    /// None before the first packet.
    run: Option<Run>,
    counts: ProtectorCounts,
}

/// What is there from the first packet on.
struct Run {
    encoder: Box<Encoder>,
    /// When each packet of the encoder's window came, and its length; the oldest first.
    covered: VecDeque<(Instant, usize)>,
    /// Source packets since the last repair packet.
    uncovered: u8,
    /// When a repair packet is to be made.
    due: Option<Instant>,
    /// Octets that repair packets may cost now.
    credit: usize,
    key: u16,
    repair: Box<[u8; REPAIR_HEADER_LEN + SYMBOL_LEN_MAX]>,
}

impl Protector {
    /// Protection that is off, on a line of this `mtu`, label included. No two protectors of an end count in one `stream`.
    #[must_use]
    pub fn new(stream: StreamId, mtu: usize) -> Self {
        Self { is_on: false, stream, mtu, run: None, counts: ProtectorCounts::default() }
    }

    /// Turns repair packets on or off.
    pub fn set_on(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    /// Takes a packet that is about to be sealed and returns what to write in front of it, under the label of protected packets; none if
    /// it is to go as it is. It is then not padded.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Option<[u8; HEADER_LEN]> {
        // A repair packet is the larger one of the two.
        let room = self.mtu.saturating_sub(LABEL_LEN + REPAIR_HEADER_LEN + SYMBOL_PREFIX_LEN);
        if !(1..=room.min(PACKET_LEN_MAX)).contains(&packet.len()) {
            self.counts.too_large += 1;
            return None;
        }
        let run = match &mut self.run {
            Some(run) => run,
            None => self.run.insert(Run::new()?),
        };
        let alone = AROUND + cost_alone(packet, self.mtu);
        let cost = AROUND + LABEL_LEN + HEADER_LEN + packet.len();
        run.credit = (run.credit + COST_FACTOR * alone).saturating_sub(cost).min(CREDIT_MAX);
        let number = run.push(now, packet)?;
        if self.is_on {
            run.make_due(now);
        }
        self.counts.sources += 1;
        self.counts.octets_alone += alone as u64;
        self.counts.octets += cost as u64;
        Some(Position { stream: self.stream, sequence: number }.emit_source())
    }

    /// The next repair packet, to be sent under the label of protected packets, if one is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<&[u8]> {
        let run = self.run.as_mut()?;
        if run.due.is_none_or(|due| now < due) {
            return None;
        }
        run.due = None;
        run.expire(now);
        let cost = AROUND + LABEL_LEN + REPAIR_HEADER_LEN + run.symbol_len();
        if cost > run.credit {
            self.counts.withheld += 1;
            return None;
        }
        run.credit -= cost;
        self.counts.repairs += 1;
        self.counts.octets += cost as u64;
        run.repair(self.stream)
    }

    /// When to call [`Self::poll_transmit`] next without a packet.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.run.as_ref()?.due
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> ProtectorCounts {
        self.counts
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("covered", &self.covered.len())
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

impl Run {
    /// None never: the configuration is made of constants that fit.
    fn new() -> Option<Self> {
        Some(Self {
            encoder: Box::new(encoder(1, EncodingSymbolId::new(0))?),
            covered: VecDeque::with_capacity(WINDOW),
            uncovered: 0,
            due: None,
            credit: 0,
            key: 0,
            repair: Box::new([0; REPAIR_HEADER_LEN + SYMBOL_LEN_MAX]),
        })
    }

    /// Takes a source packet and returns its number.
    fn push(&mut self, now: Instant, packet: &[u8]) -> Option<u16> {
        self.expire(now);
        let mut symbol = [0; SYMBOL_LEN_MAX];
        let len = SYMBOL_PREFIX_LEN + packet.len();
        // At most PACKET_LEN_MAX.
        symbol[..SYMBOL_PREFIX_LEN].copy_from_slice(&(packet.len() as u16).to_be_bytes());
        symbol[SYMBOL_PREFIX_LEN..len].copy_from_slice(packet);
        if len > self.encoder.config().symbol_size() {
            *self.encoder = encoder(len, self.encoder.next_esi())?;
            self.covered.clear();
        }
        let number = self.encoder.push_source(&symbol[..self.encoder.config().symbol_size()]).ok()?;
        if self.covered.len() == WINDOW {
            self.covered.pop_front();
        }
        self.covered.push_back((now, len));
        Some(number.get() as u16)
    }

    /// Has a repair packet made for the packet that was pushed last.
    fn make_due(&mut self, now: Instant) {
        self.uncovered = self.uncovered.saturating_add(1);
        self.due = Some(match self.due {
            _ if self.uncovered >= SOURCES_PER_REPAIR => now,
            None => now + REPAIR_DELAY,
            Some(due) => due,
        });
    }

    /// Forgets packets that nobody waits for any more.
    fn expire(&mut self, now: Instant) {
        let is_old = |(at, _): &&(Instant, usize)| now.saturating_duration_since(*at) > OF_USE;
        let old = self.covered.iter().take_while(is_old).count();
        self.covered.drain(..old);
        self.encoder.discard_oldest(old);
    }

    /// Octets of the symbol that covers the window.
    fn symbol_len(&self) -> usize {
        self.covered.iter().map(|(_, len)| *len).max().unwrap_or(0)
    }

    /// Makes the repair packet over the window.
    fn repair(&mut self, stream: StreamId) -> Option<&[u8]> {
        let (first, window) = self.encoder.window()?;
        let newest = first.wrapping_add(window as u32 - 1);
        self.key = self.key.wrapping_add(1);
        let (header, symbol) = self.repair.split_first_chunk_mut::<REPAIR_HEADER_LEN>()?;
        let parameters = RepairParameters::new(self.key, DensityThreshold::FULL);
        let symbol_size = self.encoder.config().symbol_size();
        self.encoder.encode_repair(parameters, &mut symbol[..symbol_size]).ok()?;
        self.uncovered = 0;
        let newest = Position { stream, sequence: newest.get() as u16 };
        *header = Repair { newest, window: window as u8, key: self.key }.emit();
        let symbol_len = self.symbol_len();
        Some(&self.repair[..REPAIR_HEADER_LEN + symbol_len])
    }
}

/// An encoder for packets that make symbols of up to `len` octets.
fn encoder(len: usize, next: EncodingSymbolId) -> Option<Encoder> {
    Encoder::new(config(len, WINDOW).ok()?, next).ok()
}

/// Octets that `packet` has when it is sealed without protection.
fn cost_alone(packet: &[u8], mtu: usize) -> usize {
    match Kind::of(packet) {
        Kind::Ip => sealed::padded_len(packet.len(), mtu),
        Kind::Keepalive | Kind::Labelled | Kind::Unknown(_) => packet.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MTU: usize = 1420;

    /// A protector that is on.
    fn on() -> Protector {
        let mut protector = Protector::new(StreamId::of(5), MTU);
        protector.set_on(true);
        protector
    }

    #[test]
    fn two_packets_and_their_repair_have_golden_octets() {
        let now = Instant::now();
        let mut protector = on();
        assert_eq!(protector.handle_packet(now, &[0x45, 0xaa]), Some([0x10, 0x05, 0, 0]));
        assert_eq!(protector.poll_transmit(now), None);
        assert_eq!(protector.handle_packet(now, &[0x60, 0xbb, 0xcc]), Some([0x10, 0x05, 0, 1]));
        let golden = [0x20, 0x05, 0, 1, 2, 0, 1, 0, 0x74, 0x97, 0xa7, 0xc3];
        assert_eq!(protector.poll_transmit(now), Some(&golden[..]));
        assert_eq!(protector.poll_transmit(now), None);
    }

    #[test]
    fn without_loss_packets_only_get_numbers() {
        let now = Instant::now();
        let mut protector = Protector::new(StreamId::of(5), MTU);
        for number in 0..100 {
            assert_eq!(protector.handle_packet(now, &[0x45; 200]), Some([0x10, 5, 0, number]));
            assert_eq!(protector.poll_transmit(now), None);
            assert_eq!(protector.poll_timeout(), None);
        }
        // A packet of G.711 costs no more with its number, because it is not padded.
        let counts = protector.counts();
        assert_eq!((counts.octets, counts.repairs), (counts.octets_alone, 0));
        // When loss is seen, the packets before are covered too.
        protector.set_on(true);
        protector.handle_packet(now, &[0x45; 200]).unwrap();
        protector.handle_packet(now, &[0x45; 200]).unwrap();
        assert_eq!(protector.poll_transmit(now).map(|repair| usize::from(repair[4])), Some(WINDOW));
    }

    #[test]
    fn a_lone_packet_is_covered_a_little_later() {
        let now = Instant::now();
        let mut protector = on();
        protector.handle_packet(now, &[0x45; 200]).unwrap();
        protector.handle_packet(now, &[0x45; 200]).unwrap();
        assert!(protector.poll_transmit(now).is_some());
        protector.handle_packet(now, &[0x45; 200]).unwrap();
        assert_eq!(protector.poll_transmit(now), None);
        assert_eq!(protector.poll_timeout(), Some(now + REPAIR_DELAY));
        let repair = protector.poll_transmit(now + REPAIR_DELAY).unwrap();
        assert_eq!((repair[4], repair.len()), (3, REPAIR_HEADER_LEN + SYMBOL_PREFIX_LEN + 200));
        assert_eq!(protector.poll_timeout(), None);
    }

    #[test]
    fn packets_of_no_use_are_not_covered() {
        let mut now = Instant::now();
        let mut protector = on();
        for _ in 0..WINDOW + 7 {
            protector.handle_packet(now, &[0x45; 20]).unwrap();
        }
        assert_eq!(protector.poll_transmit(now).map(|repair| usize::from(repair[4])), Some(WINDOW));
        now += OF_USE + Duration::from_millis(1);
        protector.handle_packet(now, &[0x45; 20]).unwrap();
        protector.handle_packet(now, &[0x45; 20]).unwrap();
        assert_eq!(protector.poll_transmit(now).map(|repair| repair[4]), Some(2));
    }

    #[test]
    fn what_is_too_large_goes_as_it_is() {
        let now = Instant::now();
        let mut protector = on();
        let most = MTU - 4 - 9;
        assert_eq!(protector.handle_packet(now, &vec![0x45; most + 1]), None);
        assert_eq!(protector.counts().too_large, 1);
        assert!(protector.handle_packet(now, &vec![0x45; most]).is_some());
        protector.handle_packet(now, &[0x45; 20]).unwrap();
        assert_eq!(protector.poll_transmit(now).map(<[u8]>::len), Some(MTU - 4));
    }

    #[test]
    fn it_never_costs_more_than_twice() {
        let mut now = Instant::now();
        let mut protector = on();
        // One large packet makes each repair packet large that covers it.
        for number in 0..4000_usize {
            now += Duration::from_millis(3);
            let len = if number % 20 == 0 { 1300 } else { 45 };
            protector.handle_packet(now, &vec![0x45; len]).unwrap();
            while protector.poll_transmit(now).is_some() {}
            let counts = protector.counts();
            assert!(counts.octets <= 2 * counts.octets_alone, "{counts:?}");
        }
        let counts = protector.counts();
        assert!(counts.repairs > 300 && counts.withheld > 500, "{counts:?}");
    }
}
