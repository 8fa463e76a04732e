//! Offices full of calls: codecs, silences, keys pressed, and all that phones and networks do to headers.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tieline_wire::checksum::Sum;

/// How a phone numbers its IP packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Identification {
    Zero,
    Sequential,
    /// Counted in the other byte order.
    Swapped,
    Random,
    /// One counter for all that the machine sends.
    Shared,
    /// IPv6 has none.
    None,
}

impl Identification {
    pub(super) const ALL: [Self; 6] =
        [Self::Zero, Self::Sequential, Self::Swapped, Self::Random, Self::Shared, Self::None];
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Codec {
    pub(super) kind: u8,
    pub(super) payload_len: usize,
    pub(super) varies: bool,
    pub(super) step: u32,
    pub(super) interval_ms: u64,
}

pub(super) const G711: Codec = Codec { kind: 8, payload_len: 160, varies: false, step: 160, interval_ms: 20 };
pub(super) const G729: Codec = Codec { kind: 18, payload_len: 20, ..G711 };
pub(super) const G711_SHORT: Codec = Codec { payload_len: 80, step: 80, interval_ms: 10, ..G711 };
pub(super) const OPUS: Codec =
    Codec { kind: 111, payload_len: 60, varies: false, step: 960, interval_ms: 20 };
pub(super) const OPUS_VARIES: Codec = Codec { varies: true, ..OPUS };
pub(super) const CODECS: [Codec; 5] = [G711, G729, G711_SHORT, OPUS, OPUS_VARIES];

const TELEPHONE_EVENT: u8 = 101;
const COMFORT_NOISE: u8 = 13;
const MARKER: u8 = 0x80;

/// One call in one direction.
#[derive(Clone, Debug)]
pub(super) struct Call {
    number: u16,
    codec: Codec,
    identification: Identification,
    has_checksum: bool,
    is_odd: bool,
    ds: u8,
    ttl: u8,
    counter: u16,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    next_ms: u64,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Talk {
        marker: bool,
    },
    /// Comfort noise now and then (RFC 3389), no packets otherwise.
    Silence {
        packets: u8,
    },
    /// RFC 4733.
    Key {
        packet: u8,
    },
}

pub(super) struct Office {
    calls: Vec<Call>,
    rng: ChaCha20Rng,
    ms: u64,
    shared: u16,
    held_back: Vec<Vec<u8>>,
}

impl Office {
    pub(super) fn of_all_sorts(calls: u16, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let calls = (0..calls)
            .map(|number| Call {
                codec: CODECS[rng.random_range(0..CODECS.len())],
                identification: Identification::ALL[rng.random_range(0..Identification::ALL.len())],
                has_checksum: rng.random_bool(0.7),
                is_odd: true,
                ssrc: rng.random(),
                sequence: rng.random_range(60_000..=u16::MAX),
                timestamp: u32::MAX - rng.random_range(0..1_000_000),
                next_ms: rng.random_range(0..20),
                ..Call::ordinary(number, Identification::Zero)
            })
            .collect();
        Self { calls, rng, ms: 0, shared: 0, held_back: Vec::new() }
    }

    pub(super) fn of_ordinary_calls(calls: usize, identification: Identification) -> Self {
        let calls = (0..calls).map(|number| Call::ordinary(number as u16, identification)).collect();
        Self { calls, rng: ChaCha20Rng::seed_from_u64(0), ms: 0, shared: 0, held_back: Vec::new() }
    }

    /// The packets of the next millisecond.
    pub(super) fn tick(&mut self) -> Vec<Vec<u8>> {
        let mut packets = std::mem::take(&mut self.held_back);
        for call in &mut self.calls {
            self.shared = self.shared.wrapping_add(u16::from(self.rng.random_bool(0.1)));
            while call.next_ms <= self.ms {
                let Some(packet) = call.next_packet(&mut self.rng, &mut self.shared) else { continue };
                let chance = if call.is_odd { self.rng.random_range(0..1000) } else { u32::MAX };
                match chance {
                    // The office's own network loses one, delivers one late.
                    0..3 => {}
                    3..6 => self.held_back.push(packet),
                    6..9 => packets.push(spoil(packet, &mut self.rng)),
                    _ => packets.push(packet),
                }
            }
        }
        self.ms += 1;
        packets
    }
}

impl Call {
    pub(super) fn ordinary(number: u16, identification: Identification) -> Self {
        Self {
            number,
            codec: CODECS[usize::from(number) % CODECS.len()],
            identification,
            has_checksum: true,
            is_odd: false,
            ds: 0xb8,
            ttl: 64,
            counter: 65_000,
            ssrc: 0x1000_0000 + u32::from(number),
            sequence: 65_000,
            timestamp: u32::MAX - 10_000,
            next_ms: u64::from(number) % 20,
            mode: Mode::Talk { marker: true },
        }
    }

    pub(super) fn with(codec: Codec, number: u16) -> Self {
        Self { codec, ..Self::ordinary(number, Identification::Sequential) }
    }

    /// The packet of this moment, and when the next one is; `None` in the middle of silence.
    pub(super) fn next_packet(&mut self, rng: &mut ChaCha20Rng, shared: &mut u16) -> Option<Vec<u8>> {
        self.next_ms += self.codec.interval_ms;
        if self.is_odd {
            self.change(rng);
        }
        let (kind, len, timestamp) = match self.mode {
            Mode::Talk { marker } => {
                let varied = if self.codec.varies { rng.random_range(0..60) } else { 30 };
                let marker = if marker { MARKER } else { 0 };
                (self.codec.kind | marker, self.codec.payload_len + varied - 30, self.timestamp)
            }
            Mode::Silence { packets } if packets % 8 == 0 => (COMFORT_NOISE, 1, self.timestamp),
            Mode::Silence { .. } => {
                self.timestamp = self.timestamp.wrapping_add(self.codec.step);
                return None;
            }
            Mode::Key { packet } => {
                let marker = if packet == 0 { MARKER } else { 0 };
                let since = u32::from(packet) * self.codec.step;
                (TELEPHONE_EVENT | marker, 4, self.timestamp.wrapping_sub(since))
            }
        };
        let packet = self.packet(kind, timestamp, len, rng, shared);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.codec.step);
        if let Mode::Talk { marker } = &mut self.mode {
            *marker = false;
        }
        Some(packet)
    }

    /// What the people and the network do.
    fn change(&mut self, rng: &mut ChaCha20Rng) {
        self.mode = match self.mode {
            Mode::Talk { .. } if rng.random_bool(0.01) => Mode::Silence { packets: 0 },
            Mode::Talk { .. } if rng.random_bool(0.003) => Mode::Key { packet: 0 },
            Mode::Talk { marker } => Mode::Talk { marker },
            Mode::Silence { .. } if rng.random_bool(0.02) => Mode::Talk { marker: true },
            Mode::Silence { packets } => Mode::Silence { packets: packets.wrapping_add(1) },
            Mode::Key { packet } if packet > 10 => Mode::Talk { marker: false },
            Mode::Key { packet } => Mode::Key { packet: packet + 1 },
        };
        match rng.random_range(0..20_000) {
            0 => self.codec = CODECS[rng.random_range(0..CODECS.len())],
            1 => (self.ssrc, self.sequence) = (rng.random(), rng.random()),
            2 => self.ds = rng.random(),
            3 => self.ttl = rng.random(),
            4 => self.has_checksum = !self.has_checksum,
            5 => self.sequence = rng.random(),
            6 => self.timestamp = rng.random(),
            7 => self.counter = rng.random(),
            8 => self.identification = Identification::ALL[rng.random_range(0..Identification::ALL.len())],
            _ => {}
        }
    }

    fn packet(
        &mut self,
        kind: u8,
        timestamp: u32,
        len: usize,
        rng: &mut ChaCha20Rng,
        shared: &mut u16,
    ) -> Vec<u8> {
        let mut inner = Vec::with_capacity(20 + len);
        inner.extend(
            [16_384 + 2 * self.number, 20_000 + 2 * self.number].map(u16::to_be_bytes).as_flattened(),
        );
        inner.extend(((20 + len) as u16).to_be_bytes());
        inner.extend([0, 0, 0x80, kind]);
        inner.extend(self.sequence.to_be_bytes());
        inner.extend(timestamp.to_be_bytes());
        inner.extend(self.ssrc.to_be_bytes());
        inner.resize(20 + len, 0xd5);
        rng.fill(&mut inner[20..20 + len.min(16)]);
        self.counter = self.counter.wrapping_add(1);
        let identification = match self.identification {
            Identification::Zero | Identification::None => 0,
            Identification::Sequential => self.counter,
            Identification::Swapped => self.counter.swap_bytes(),
            Identification::Random => rng.random(),
            Identification::Shared => {
                *shared = shared.wrapping_add(1);
                *shared
            }
        };
        let is_v6 = self.identification == Identification::None;
        let mut ip = if is_v6 { self.ipv6(inner.len()) } else { self.ipv4(inner.len(), identification) };
        if is_v6 || self.has_checksum {
            let addresses = if is_v6 { &ip[8..40] } else { &ip[12..20] };
            let sum = Sum::of(addresses) + Sum::of(&[0, 17]) + Sum::of(&inner[4..6]) + Sum::of(&inner);
            let checksum = sum.checksum();
            inner[6..8].copy_from_slice(&if checksum == [0, 0] { [0xff, 0xff] } else { checksum });
        }
        ip.extend(inner);
        ip
    }

    fn ipv4(&self, inner_len: usize, identification: u16) -> Vec<u8> {
        let mut ip = vec![0x45, self.ds, 0, 0, 0, 0, 0x40, 0, self.ttl, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
        ip[2..4].copy_from_slice(&((20 + inner_len) as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&identification.to_be_bytes());
        let checksum = Sum::of(&ip).checksum();
        ip[10..12].copy_from_slice(&checksum);
        ip
    }

    fn ipv6(&self, inner_len: usize) -> Vec<u8> {
        let mut ip = vec![0xfd; 40];
        (ip[0], ip[1], ip[2], ip[3]) = (0x60 | self.ds >> 4, self.ds << 4, 0, self.number as u8);
        ip[4..6].copy_from_slice(&(inner_len as u16).to_be_bytes());
        (ip[6], ip[7]) = (17, self.ttl);
        ip
    }
}

/// What no phone sends, or a broken one.
fn spoil(mut packet: Vec<u8>, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let at = rng.random_range(0..packet.len().min(72));
    match rng.random_range(0..4) {
        // Anything, but still an IP packet of this length.
        0 if !(0..7).contains(&at) => packet[at] ^= 1 << rng.random_range(0..8),
        1 => rng.fill(&mut packet[20..]),
        // A wrong checksum of UDP.
        2 => {
            let udp = if packet[0] >> 4 == 6 { 40 } else { 20 };
            packet[udp + 6] ^= 0x11;
        }
        // A list of contributing sources, or an extension, without mending anything.
        _ => {
            let rtp = if packet[0] >> 4 == 6 { 48 } else { 28 };
            packet[rtp] |= rng.random_range(0..0x20);
        }
    }
    packet
}
