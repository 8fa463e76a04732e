//! Which flows are calls though nobody marked them: RTP (RFC 3550), recognised by evidence.
//!
//! Nothing in a packet says that it is RTP. But no other protocol keeps sending, at the pace of speech, small datagrams of its version
//! bits that count up by one and all name the same source. [`ROW`] of them are enough: five packets that happen to look so are rarer
//! than one in 2^100.
//!
//! [`RtpEvidence`] is what has to be kept of one flow for that; whoever keeps flows embeds it. It judges packets of one five-tuple
//! in the order of their arrival. Once it is convinced, loss, silence and another size take nothing back, for calls have all of them.
//! Another source does, and so does a packet larger than speech: what grows after it was believed is no call.
//! How much a flow may send that is believed is for its keeper to limit.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use tieline_wire::{
    rtp::RtpHeader,
    transport::{self, FiveTuple},
};

/// Packets in a row that convince.
pub const ROW: u8 = 5;
/// Octets of a datagram of speech, RTP header included: from 8 of a low-rate codec to 30 ms of G.711 under SRTP, and more.
pub const DATAGRAM_LEN: RangeInclusive<usize> = 20..=300;
/// Time between packets of speech.
pub const PACE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(60);

/// By how much a row may come faster or slower, as a whole, than its pace: jitter before it reached us.
const ROW_JITTER_MAX: Duration = Duration::from_millis(20);

/// A packet that can be RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket {
    /// Whose flow it is.
    pub tuple: FiveTuple,
    /// Its header.
    pub header: RtpHeader,
    /// Octets of the datagram, RTP header included.
    pub datagram_len: usize,
}

impl RtpPacket {
    /// Reads a whole IP packet; `None` if it is no UDP, or its payload cannot be RTP of sound or picture.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        if !transport::is_udp(packet) {
            return None;
        }
        let payload = transport::udp_payload(packet)?;
        let header = RtpHeader::parse(payload).ok()?;
        // Static (RFC 3551 §6) or dynamic; between them nothing was ever given out.
        matches!(header.payload_type, 0..=34 | 96..=127).then_some(())?;
        Some(Self { tuple: FiveTuple::of(packet)?, header, datagram_len: payload.len() })
    }
}

/// What one flow has shown of being RTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct RtpEvidence {
    ssrc: u32,
    next_sequence: u16,
    /// Packets in a row, [`ROW`] at most; from then on it is convinced.
    row: u8,
    /// When the first of the row came.
    began: Option<Instant>,
}

impl RtpEvidence {
    /// Takes a packet of the flow, a whole IP packet, and returns whether it is one of a call. A packet that cannot be RTP is not, but it
    /// takes nothing back: RTCP, STUN and DTLS come by the same ports.
    pub fn handle(&mut self, now: Instant, packet: &[u8]) -> bool {
        RtpPacket::of(packet).is_some_and(|packet| self.handle_rtp(now, &packet))
    }

    /// As [`Self::handle`], of a packet that has been read.
    pub fn handle_rtp(&mut self, now: Instant, packet: &RtpPacket) -> bool {
        let RtpPacket { tuple, header, datagram_len } = packet;
        if datagram_len > DATAGRAM_LEN.end() {
            *self = Self::default();
            return false;
        }
        if self.is_convinced() && header.ssrc == self.ssrc {
            return true;
        }
        // "RTP SHOULD use an even destination port number" (RFC 3550 §11).
        let is_speech = DATAGRAM_LEN.contains(datagram_len) && tuple.destination.port() % 2 == 0;
        if !is_speech {
            *self = Self::default();
            return false;
        }
        let goes_on = self.row > 0 && header.ssrc == self.ssrc && header.sequence == self.next_sequence;
        let began = self.began.filter(|_| goes_on).unwrap_or(now);
        *self = Self {
            ssrc: header.ssrc,
            next_sequence: header.sequence.wrapping_add(1),
            row: if goes_on { self.row + 1 } else { 1 },
            began: Some(began),
        };
        if self.row == ROW && !is_pace_of_speech(now.saturating_duration_since(began)) {
            (self.row, self.began) = (1, Some(now));
        }
        self.is_convinced()
    }

    /// Whether the flow was recognised as a call.
    #[must_use]
    pub fn is_convinced(&self) -> bool {
        self.row >= ROW
    }
}

/// Whether a row may take so long. Only as a whole: packets that were read together have one time of arrival.
fn is_pace_of_speech(row: Duration) -> bool {
    let gaps = u32::from(ROW) - 1;
    let least = (*PACE.start() * gaps).saturating_sub(ROW_JITTER_MAX);
    (least..=*PACE.end() * gaps + ROW_JITTER_MAX).contains(&row)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// RTP of `payload` octets from 10.1.0.7:40000 to `to`.
    fn rtp(to: SocketAddr, ssrc: u32, sequence: u16, payload: usize) -> RtpPacket {
        let header = RtpHeader {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc,
            len: RtpHeader::LEN,
        };
        let source = "10.1.0.7:40000".parse().unwrap();
        let tuple = FiveTuple { protocol: transport::UDP, source, destination: to };
        RtpPacket { tuple, header, datagram_len: RtpHeader::LEN + payload }
    }

    fn phone() -> SocketAddr {
        "10.2.0.9:16384".parse().unwrap()
    }

    /// What `evidence` says to packets of `sequences` that come `pace` apart.
    fn judge(evidence: &mut RtpEvidence, pace: Duration, sequences: &[u16]) -> Vec<bool> {
        let start = Instant::now();
        let each = sequences.iter().zip(0..);
        each.map(|(sequence, index)| {
            evidence.handle_rtp(start + pace * index, &rtp(phone(), 7, *sequence, 160))
        })
        .collect()
    }

    const TWENTY: Duration = Duration::from_millis(20);

    #[test]
    fn the_fifth_packet_in_a_row_convinces_and_those_after_it_need_no_row() {
        let mut evidence = RtpEvidence::default();
        let said = judge(&mut evidence, TWENTY, &[65533, 65534, 65535, 0, 1, 9, 9, 2]);
        assert_eq!(said, [false, false, false, false, true, true, true, true]);
    }

    #[test]
    fn a_gap_or_a_repetition_begins_the_row_anew() {
        for broken in [6, 3] {
            let sequences = [1, 2, 3, 4, broken, broken + 1, broken + 2, broken + 3, broken + 4];
            let said = judge(&mut RtpEvidence::default(), TWENTY, &sequences);
            assert_eq!(said.iter().position(|said| *said), Some(8));
        }
    }

    #[test]
    fn only_the_pace_of_speech_convinces() {
        let paces = [(1, false), (5, true), (10, true), (60, true), (65, true), (80, false), (1000, false)];
        for (pace, convinces) in paces {
            let mut evidence = RtpEvidence::default();
            let sequences: Vec<u16> = (0..50).collect();
            let said = judge(&mut evidence, Duration::from_millis(pace), &sequences);
            assert_eq!(said.contains(&true), convinces, "{pace} ms");
        }
    }

    #[test]
    fn packets_that_were_read_together_convince_if_the_row_has_its_time() {
        let (mut evidence, start) = (RtpEvidence::default(), Instant::now());
        let arrivals = [0, 40, 40, 80, 80].map(|ms| start + Duration::from_millis(ms));
        let said =
            arrivals.into_iter().zip(0..).map(|(at, n)| evidence.handle_rtp(at, &rtp(phone(), 7, n, 20)));
        assert_eq!(said.last(), Some(true));
    }

    #[test]
    fn odd_ports_and_sizes_unlike_speech_do_not_convince() {
        let odd = "10.2.0.9:16385".parse().unwrap();
        for (to, payload) in [(odd, 160), (phone(), 7), (phone(), 289)] {
            let (mut evidence, start) = (RtpEvidence::default(), Instant::now());
            for n in 0..50 {
                let packet = rtp(to, 7, n, payload);
                assert!(!evidence.handle_rtp(start + TWENTY * u32::from(n), &packet), "{to} {payload}");
            }
        }
    }

    #[test]
    fn a_call_may_send_tones_and_comfort_noise_but_nothing_large() {
        let mut evidence = RtpEvidence::default();
        judge(&mut evidence, TWENTY, &[1, 2, 3, 4, 5]);
        assert!(evidence.handle_rtp(Instant::now(), &rtp(phone(), 7, 6, 1)));
        assert!(!evidence.handle_rtp(Instant::now(), &rtp(phone(), 7, 7, 1000)));
        assert!(!evidence.handle_rtp(Instant::now(), &rtp(phone(), 7, 8, 160)));
    }

    #[test]
    fn another_source_has_to_convince_by_itself() {
        let mut evidence = RtpEvidence::default();
        judge(&mut evidence, TWENTY, &[1, 2, 3, 4, 5]);
        let start = Instant::now();
        let other = |n: u16| (start + TWENTY * n.into(), rtp(phone(), 8, n, 160));
        let said: Vec<_> = (0..5).map(other).map(|(at, packet)| evidence.handle_rtp(at, &packet)).collect();
        assert_eq!(said, [false, false, false, false, true]);
    }

    #[test]
    fn a_packet_is_read_whole_and_what_is_none_takes_nothing_back() {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
        packet.extend([0x9c, 0x40, 0x40, 0x00, 0, 40, 0, 0]);
        packet.extend([0x80, 18, 0, 1, 0, 0, 0, 80, 0, 0, 0, 7]);
        packet.extend([0; 20]);
        let read = RtpPacket::of(&packet).unwrap();
        assert_eq!(read.tuple, rtp(phone(), 7, 1, 20).tuple);
        assert_eq!((read.header.payload_type, read.datagram_len), (18, 32));
        let (mut evidence, start) = (RtpEvidence::default(), Instant::now());
        for n in 0..5 {
            packet[31] = n;
            assert_eq!(evidence.handle(start + TWENTY * n.into(), &packet), n == 4);
        }
        let mut others = vec![packet[..59].to_vec(); 4];
        others[1] = packet.clone();
        others[1][29] = 200;
        others[2] = packet.clone();
        others[2][28] = 0x00;
        others[3] = packet.clone();
        others[3][29] = 40;
        for other in others {
            assert!(!evidence.handle(start, &other));
            assert!(evidence.handle(start, &packet));
        }
    }
}
