//! The headers of a call's packet, and how those of others follow from them.

use tieline_wire::{
    checksum::Sum,
    ip::IpPacket,
    packed::{Coded, Establish, Fields},
    rtp::RtpHeader,
    transport::UDP,
};

use super::HEADERS_LEN_MAX;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
/// What is elided behind the IP header: UDP, and of RTP what every packet has.
const INNER_LEN: usize = UDP_LEN + RtpHeader::LEN;

const IPV4_TOTAL_LENGTH: usize = 2;
const IPV4_IDENTIFICATION: usize = 4;
const IPV4_FRAGMENT: usize = 6;
/// More fragments, or an offset.
const IPV4_IS_FRAGMENT: u16 = 0x3fff;
const IPV4_PROTOCOL: usize = 9;
const IPV4_CHECKSUM: usize = 10;
const IPV6_PAYLOAD_LENGTH: usize = 4;
const IPV6_NEXT_HEADER: usize = 6;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;
const RTP_KIND: usize = UDP_LEN + 1;
const RTP_SEQUENCE: usize = UDP_LEN + 2;
const RTP_TIMESTAMP: usize = UDP_LEN + 4;
const RTP_SSRC: usize = UDP_LEN + 8;
pub(super) const RTP_MARKER: u8 = 0x80;

/// What differs from packet to packet of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Octet 1 of RTP: marker and payload type.
    pub(super) kind: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    /// That of IPv4; 0 in IPv6, which has none.
    pub(super) identification: u16,
}

/// The headers of a packet of a call, without its lengths and checksums, which follow from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// As they stand in the packet, with zeros for everything that is not [`Self::is_same_call`].
    fixed: [u8; HEADERS_LEN_MAX],
    ip_len: usize,
    has_udp_checksum: bool,
    pub(super) variable: Variable,
}

impl Headers {
    /// The headers of a whole IP packet, and its payload behind them; `None` if it is not RTP in UDP in one of the two plain IP headers.
    pub(super) fn of(packet: &[u8]) -> Option<(Self, &[u8])> {
        if IpPacket::parse(packet).ok()?.total_len != packet.len() {
            return None;
        }
        let ip_len = if packet[0] >> 4 == 6 { IPV6_LEN } else { IPV4_LEN };
        let (headers, payload) = packet.split_at_checked(ip_len + INNER_LEN)?;
        let (ip, inner) = headers.split_at(ip_len);
        let is_udp = match ip_len {
            IPV6_LEN => ip[IPV6_NEXT_HEADER] == UDP,
            _ => {
                ip[0] == 0x45 && ip[IPV4_PROTOCOL] == UDP && u16_at(ip, IPV4_FRAGMENT) & IPV4_IS_FRAGMENT == 0
            }
        };
        let has_length = usize::from(u16_at(inner, UDP_LENGTH)) == INNER_LEN + payload.len();
        if !is_udp || !has_length || RtpHeader::parse(&packet[ip_len + UDP_LEN..]).is_err() {
            return None;
        }
        let variable = Variable {
            kind: inner[RTP_KIND],
            sequence: u16_at(inner, RTP_SEQUENCE),
            timestamp: u32::from(u16_at(inner, RTP_TIMESTAMP)) << 16
                | u32::from(u16_at(inner, RTP_TIMESTAMP + 2)),
            identification: if ip_len == IPV4_LEN { u16_at(ip, IPV4_IDENTIFICATION) } else { 0 },
        };
        let has_udp_checksum = u16_at(inner, UDP_CHECKSUM) != 0;
        let mut fixed = [0; HEADERS_LEN_MAX];
        fixed[..headers.len()].copy_from_slice(headers);
        let mut headers = Self { fixed, ip_len, has_udp_checksum, variable };
        headers.clear_what_varies();
        Some((headers, payload))
    }

    /// Whether the two differ in nothing but what [`Variable`] has.
    pub(super) fn is_same_call(&self, other: &Self) -> bool {
        self.fixed == other.fixed
            && self.ip_len == other.ip_len
            && self.has_udp_checksum == other.has_udp_checksum
    }

    /// Whose stream of RTP it is.
    pub(super) fn ssrc(&self) -> u32 {
        let at = self.ip_len + RTP_SSRC;
        u32::from(u16_at(&self.fixed, at)) << 16 | u32::from(u16_at(&self.fixed, at + 2))
    }

    fn clear_what_varies(&mut self) {
        let (ip, inner) = self.fixed.split_at_mut(self.ip_len);
        if self.ip_len == IPV4_LEN {
            ip[IPV4_TOTAL_LENGTH..IPV4_IDENTIFICATION + 2].fill(0);
            ip[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].fill(0);
        } else {
            ip[IPV6_PAYLOAD_LENGTH..IPV6_PAYLOAD_LENGTH + 2].fill(0);
        }
        inner[UDP_LENGTH..UDP_LEN].fill(0);
        inner[RTP_KIND..RTP_TIMESTAMP + 4].fill(0);
    }

    /// Writes the packet that has these headers, `variable` and `payload`, and returns its octets; `None` if `out` is too short or
    /// the packet would be longer than IP packets are.
    fn write(&self, variable: Variable, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let ip_len = self.ip_len;
        let len = ip_len + INNER_LEN + payload.len();
        let packet = out.get_mut(..len)?;
        packet[..ip_len + INNER_LEN].copy_from_slice(&self.fixed[..ip_len + INNER_LEN]);
        packet[ip_len + INNER_LEN..].copy_from_slice(payload);
        let udp_len = u16::try_from(len - ip_len).ok()?.to_be_bytes();
        let (ip, inner) = packet.split_at_mut(ip_len);
        inner[UDP_LENGTH..UDP_LENGTH + 2].copy_from_slice(&udp_len);
        inner[RTP_KIND] = variable.kind;
        inner[RTP_SEQUENCE..RTP_SEQUENCE + 2].copy_from_slice(&variable.sequence.to_be_bytes());
        inner[RTP_TIMESTAMP..RTP_TIMESTAMP + 4].copy_from_slice(&variable.timestamp.to_be_bytes());
        let addresses = if ip_len == IPV4_LEN {
            let total_len = u16::try_from(len).ok()?.to_be_bytes();
            ip[IPV4_TOTAL_LENGTH..IPV4_TOTAL_LENGTH + 2].copy_from_slice(&total_len);
            ip[IPV4_IDENTIFICATION..IPV4_IDENTIFICATION + 2]
                .copy_from_slice(&variable.identification.to_be_bytes());
            let checksum = Sum::of(ip).checksum();
            ip[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&checksum);
            &ip[12..]
        } else {
            ip[IPV6_PAYLOAD_LENGTH..IPV6_PAYLOAD_LENGTH + 2].copy_from_slice(&udp_len);
            &ip[8..]
        };
        if self.has_udp_checksum {
            let sum = Sum::of(addresses) + Sum::of(&[0, UDP]) + Sum::of(&udp_len) + Sum::of(inner);
            // "If the computed checksum is zero, it is transmitted as all ones" (RFC 768).
            let checksum = match sum.checksum() {
                [0, 0] => [0xff; 2],
                other => other,
            };
            inner[UDP_CHECKSUM..UDP_LEN].copy_from_slice(&checksum);
        }
        Some(len)
    }
}

/// A packet of a call against which others are coded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    headers: Headers,
    payload_len: u16,
    steps: Establish,
}

impl Reference {
    /// The reference that a packet with these headers becomes; `None` if its payload is longer than any that is coded.
    pub(super) fn new(mut headers: Headers, payload: &[u8], steps: Establish) -> Option<Self> {
        // A marker is set once and not to be expected again.
        headers.variable.kind &= !RTP_MARKER;
        Some(Self { headers, payload_len: u16::try_from(payload.len()).ok()?, steps })
    }

    pub(super) fn serial(&self) -> u32 {
        self.steps.serial
    }

    pub(super) fn payload_len(&self) -> u16 {
        self.payload_len
    }

    /// How far behind the reference a packet with these headers is, and which fields are not as expected; `None` if it cannot be coded.
    pub(super) fn difference(&self, headers: &Headers, payload: &[u8]) -> Option<(u8, Fields)> {
        if !self.headers.is_same_call(headers) {
            return None;
        }
        let (variable, base) = (headers.variable, self.headers.variable);
        let distance = u8::try_from(variable.sequence.wrapping_sub(base.sequence)).ok()?;
        let expected = self.expected(distance);
        let fields = Fields::NONE
            .and(Fields::KIND, variable.kind != expected.kind)
            .and(Fields::TIMESTAMP, variable.timestamp != expected.timestamp)
            .and(Fields::IDENTIFICATION, variable.identification != expected.identification)
            .and(Fields::LENGTH, payload.len() != usize::from(self.payload_len));
        Some((distance, fields))
    }

    /// Writes the packet that was coded against this reference and returns its octets; `None` if `out` is too short.
    pub(super) fn restore(&self, coded: &Coded<'_>, out: &mut [u8]) -> Option<usize> {
        let expected = self.expected(coded.distance);
        let variable = Variable {
            kind: coded.kind.unwrap_or(expected.kind),
            sequence: expected.sequence,
            timestamp: coded.timestamp.unwrap_or(expected.timestamp),
            identification: coded.identification.unwrap_or(expected.identification),
        };
        self.headers.write(variable, coded.payload, out)
    }

    fn expected(&self, distance: u8) -> Variable {
        let base = self.headers.variable;
        let steps = u16::from(distance);
        Variable {
            kind: base.kind,
            sequence: base.sequence.wrapping_add(steps),
            timestamp: base
                .timestamp
                .wrapping_add(u32::from(self.steps.timestamp_step) * u32::from(distance)),
            identification: base
                .identification
                .wrapping_add(self.steps.identification_step.wrapping_mul(steps)),
        }
    }
}

fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}
