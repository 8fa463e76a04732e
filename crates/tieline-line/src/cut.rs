//! One packet of a device with segmentation offload becomes the packets that the medium carries.
//!
//! The kernel hands over up to 64 KiB of a TCP stream or of a run of UDP datagrams with one set of headers. Each segment gets a
//! copy of them with its own length, number, flags and checksum, as the kernel's own segmentation writes them
//! (RFC 9293 §3.7.1, RFC 6864 §4, RFC 3168 §6.1.2), so that nobody behind the far end can tell who cut it.

use tieline_wire::{
    checksum::Sum,
    ip::IpPacket,
    vnet::{PartialChecksum, Segments, VnetHeader},
};

use crate::counters::DropReason;

const IPV4_TOTAL_LENGTH: usize = 2;
const IPV4_IDENTIFICATION: usize = 4;
const IPV4_CHECKSUM: usize = 10;
const IPV6_HEADER_LEN: usize = 40;
const IPV6_PAYLOAD_LENGTH: usize = 4;

const TCP_HEADER_LEN_MIN: usize = 20;
const TCP_SEQUENCE: usize = 4;
const TCP_DATA_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

const UDP_HEADER_LEN: usize = 8;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// Why a packet of the device cannot be cut or completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// No IP packet, or one of another length than it says.
    #[error("it is no IP packet")]
    NotIp,
    /// The offload header does not fit the packet.
    #[error("its offload header does not fit it")]
    Offload,
}

impl From<CutError> for DropReason {
    fn from(error: CutError) -> Self {
        match error {
            CutError::NotIp => Self::NotIp,
            CutError::Offload => Self::OffloadMismatch,
        }
    }
}

/// A packet as it came from the device.
#[derive(Clone, Copy, Debug)]
pub struct SuperPacket<'p> {
    ip: IpPacket,
    headers: &'p [u8],
    payload: &'p [u8],
    /// Where the transport header begins.
    transport: usize,
    work: Work,
}

/// What is left to be done.
#[derive(Clone, Copy, Debug)]
enum Work {
    Nothing,
    Checksum { at: usize },
    Cut { protocol: Protocol, size: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl<'p> SuperPacket<'p> {
    /// Takes a packet with the header that stood before it.
    ///
    /// # Errors
    ///
    /// [`CutError`]; the packet is of no use then.
    pub fn parse(header: &VnetHeader, packet: &'p [u8]) -> Result<Self, CutError> {
        let ip = IpPacket::parse(packet).map_err(|_malformed| CutError::NotIp)?;
        if ip.total_len != packet.len() {
            return Err(CutError::NotIp);
        }
        let whole = Self { ip, headers: &[], payload: packet, transport: 0, work: Work::Nothing };
        let Some(PartialChecksum { start, offset }) = header.checksum else {
            // What is to be cut always lacks its checksum: the kernel never sums what changes with the cut.
            return if header.segments.is_none() { Ok(whole) } else { Err(CutError::Offload) };
        };
        let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
        if start < ip_header_len(packet) || at + 2 > packet.len() {
            return Err(CutError::Offload);
        }
        let whole = Self { transport: start, ..whole };
        match header.segments {
            None => Ok(Self { work: Work::Checksum { at }, ..whole }),
            Some(Segments::TcpV4(size)) if ip.source.is_ipv4() => whole.cut(Protocol::Tcp, size),
            Some(Segments::TcpV6(size)) if ip.source.is_ipv6() => whole.cut(Protocol::Tcp, size),
            Some(Segments::Udp(size)) => whole.cut(Protocol::Udp, size),
            Some(_) => Err(CutError::Offload),
        }
    }

    fn cut(self, protocol: Protocol, size: u16) -> Result<Self, CutError> {
        let packet = self.payload;
        let transport = &packet[self.transport..];
        let header_len = match protocol {
            Protocol::Tcp => {
                let words = transport.get(TCP_DATA_OFFSET).ok_or(CutError::Offload)? >> 4;
                Some(usize::from(words) * 4)
                    .filter(|len| *len >= TCP_HEADER_LEN_MIN)
                    .ok_or(CutError::Offload)?
            }
            Protocol::Udp => UDP_HEADER_LEN,
        };
        if size == 0 || header_len > transport.len() {
            return Err(CutError::Offload);
        }
        let (headers, payload) = packet.split_at(self.transport + header_len);
        Ok(Self { headers, payload, work: Work::Cut { protocol, size: size.into() }, ..self })
    }

    /// Whose packet it is.
    #[must_use]
    pub fn ip(&self) -> &IpPacket {
        &self.ip
    }

    /// The headers, if it is to be cut, or else the whole packet as it came.
    #[must_use]
    pub(crate) fn front(&self) -> &'p [u8] {
        if self.headers.is_empty() { self.payload } else { self.headers }
    }

    /// How many packets the medium will carry; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.work {
            Work::Nothing | Work::Checksum { .. } => 1,
            Work::Cut { size, .. } => self.payload.len().div_ceil(size).max(1),
        }
    }

    /// Octets of the longest of them.
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.segment(0).len() + self.headers.len()
    }

    /// Writes one of them at the front of `out` and returns its length.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Self::count`], or `out` is shorter than [`Self::len_max`].
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        let payload = self.segment(index);
        let (headers, rest) = out.split_at_mut(self.headers.len());
        headers.copy_from_slice(self.headers);
        rest[..payload.len()].copy_from_slice(payload);
        let packet = &mut out[..self.headers.len() + payload.len()];
        match self.work {
            Work::Nothing => {}
            Work::Checksum { at } => complete(packet, self.transport, at, Sum::default()),
            Work::Cut { protocol, size } => self.finish(packet, protocol, size, index),
        }
        packet.len()
    }

    fn segment(&self, index: usize) -> &'p [u8] {
        match self.work {
            Work::Nothing | Work::Checksum { .. } => self.payload,
            Work::Cut { size, .. } => {
                let start = size * index;
                &self.payload[start..self.payload.len().min(start + size)]
            }
        }
    }

    /// Makes the copied headers those of this segment.
    fn finish(&self, packet: &mut [u8], protocol: Protocol, size: usize, index: usize) {
        let (len, whole_len) = (packet.len(), self.ip.total_len);
        if self.ip.source.is_ipv4() {
            put(packet, IPV4_TOTAL_LENGTH, len as u16);
            let identification = word(packet, IPV4_IDENTIFICATION).wrapping_add(index as u16);
            put(packet, IPV4_IDENTIFICATION, identification);
            put(packet, IPV4_CHECKSUM, 0);
            let header_len = ip_header_len(packet);
            let checksum = Sum::of(&packet[..header_len]).checksum();
            packet[IPV4_CHECKSUM..][..2].copy_from_slice(&checksum);
        } else {
            put(packet, IPV6_PAYLOAD_LENGTH, (len - IPV6_HEADER_LEN) as u16);
        }
        let transport = self.transport;
        let checksum = match protocol {
            Protocol::Tcp => {
                let sequence = &mut packet[transport + TCP_SEQUENCE..][..4];
                let first = u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]);
                let own = first.wrapping_add((size * index) as u32);
                sequence.copy_from_slice(&own.to_be_bytes());
                if index + 1 < self.count() {
                    packet[transport + TCP_FLAGS] &= !FIN_PSH;
                }
                if index > 0 {
                    packet[transport + TCP_FLAGS] &= !CWR;
                }
                TCP_CHECKSUM
            }
            Protocol::Udp => {
                put(packet, transport + UDP_LENGTH, (len - transport) as u16);
                UDP_CHECKSUM
            }
        };
        // The kernel has summed the pseudo header, of the addresses that count, with the length of the whole: that is taken out (by
        // adding its complement) and the own one added.
        let lengths = [!((whole_len - transport) as u16), (len - transport) as u16]
            .map(|length| Sum::of(&length.to_be_bytes()));
        complete(packet, transport, transport + checksum, lengths[0] + lengths[1]);
    }
}

/// Completes the checksum at `at` over everything from `start` on; `more` is added to the sum.
pub(crate) fn complete(packet: &mut [u8], start: usize, at: usize, more: Sum) {
    let checksum = (Sum::of(&packet[start..]) + more).checksum();
    // Zero would say that there is none (RFC 768); both are the same number.
    let checksum = if checksum == [0, 0] { [0xff, 0xff] } else { checksum };
    packet[at..at + 2].copy_from_slice(&checksum);
}

fn ip_header_len(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { usize::from(packet[0] & 0x0f) * 4 } else { IPV6_HEADER_LEN }
}

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn put(packet: &mut [u8], at: usize, word: u16) {
    packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
}
