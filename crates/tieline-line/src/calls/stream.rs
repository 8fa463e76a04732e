//! One direction of a call: what one end says, as it comes out of the line.

use std::time::{Duration, Instant};

use tieline_wire::{rtp::RtpHeader, time::Now, transport::FiveTuple};

use super::{
    codec::{COMFORT_NOISE, Codec},
    sequence::{Arrival, Sequence, Tally},
    timing::{BUFFER, Timing},
};
use crate::{
    emodel::{Conditions, Rating},
    rtp_evidence::RtpPacket,
};

/// Time over which "now" and "worst" are reckoned.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Packets that an interval must have to be rated: less says nothing.
const INTERVAL_PACKETS_MIN: u64 = 25;
/// Packets in a row of another payload type after which the stream is of that codec. Tones and comfort noise come in between.
const CODEC_ROW: u8 = 5;
/// Time in one packet, where it is not known.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// A stream that is being followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    tuple: FiveTuple,
    pub(super) ssrc: u32,
    payload_type: u8,
    /// Another payload type, how many in a row, and the last timestamp: a tone repeats its own (RFC 4733 §2.5.1.2).
    other: (u8, u8, u32),
    /// Octets of voice in the last packet.
    octets: usize,
    began: Now,
    pub(super) last: Instant,
    sequence: Sequence,
    timing: Timing,
    interval_began: Instant,
    interval_from: Tally,
    jitter_max: Duration,
    delays: Delays,
    now: Option<Rating>,
    worst: Option<Rating>,
}

/// The one-way delays of the line while the stream went, to give their mean.
#[derive(Clone, Copy, Debug, Default)]
struct Delays {
    sum: Duration,
    count: u32,
}

/// What is known of one stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamReport {
    /// Who sends, and to whom.
    pub tuple: FiveTuple,
    /// The codec, as far as it can be told.
    pub codec: Codec,
    /// The payload type of RTP.
    pub payload_type: u8,
    /// Time in one packet, if it is known.
    pub packet_time: Option<Duration>,
    /// When its first packet came.
    pub began: Now,
    /// When its last packet came.
    pub last: Instant,
    /// Packets.
    pub tally: Tally,
    /// Jitter (RFC 3550 §6.4.1) now, or at the end.
    pub jitter: Duration,
    /// The largest at the end of an interval.
    pub jitter_max: Duration,
    /// One-way delay of the line, the mean while it went; none if the line does not know it.
    pub delay: Option<Duration>,
    /// All of it, rated.
    pub rating: Rating,
    /// The last interval.
    pub rating_now: Option<Rating>,
    /// The worst interval.
    pub rating_worst: Option<Rating>,
}

/// What an interval of a stream was like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) tally: Tally,
    pub(super) jitter: Duration,
    pub(super) rating: Rating,
}

impl Stream {
    /// From the packet that convinced.
    pub(super) fn new(now: Now, packet: &RtpPacket) -> Self {
        let RtpPacket { tuple, header, .. } = packet;
        let mut stream = Self {
            tuple: *tuple,
            ssrc: header.ssrc,
            payload_type: header.payload_type,
            other: (header.payload_type, 0, 0),
            octets: 0,
            began: now,
            last: now.monotonic,
            sequence: Sequence::new(header.sequence),
            timing: Timing::new(now.monotonic, header),
            interval_began: now.monotonic,
            interval_from: Tally::default(),
            jitter_max: Duration::ZERO,
            delays: Delays::default(),
            now: None,
            worst: None,
        };
        stream.on_voice(now.monotonic, packet, Arrival::Next);
        stream
    }

    /// Another source speaks in its place: a call was handed on, or the phone began anew.
    pub(super) fn restart(&mut self, now: Instant, packet: &RtpPacket) {
        self.sequence.settle_all();
        self.sequence = Sequence::after(self.sequence.tally, packet.header.sequence);
        self.ssrc = packet.header.ssrc;
        self.payload_type = packet.header.payload_type;
        self.timing = self.timing.restarted(now, &packet.header);
        self.last = now;
        self.on_voice(now, packet, Arrival::Next);
    }

    pub(super) fn handle(&mut self, now: Instant, packet: &RtpPacket) {
        self.last = now;
        let arrival = self.sequence.handle(packet.header.sequence);
        if arrival == Arrival::Stale {
            return;
        }
        if packet.header.payload_type != self.payload_type && !self.changes_to(now, &packet.header) {
            return;
        }
        self.on_voice(now, packet, arrival);
    }

    /// Closes the interval, if its time has come or `is_end`, and returns what it was like. `delay` is the line's, one way.
    pub(super) fn close_interval(
        &mut self,
        now: Instant,
        delay: Option<Duration>,
        is_end: bool,
    ) -> Option<Interval> {
        if is_end {
            self.sequence.settle_all();
        } else if now.saturating_duration_since(self.interval_began) < INTERVAL {
            return None;
        }
        let tally = self.sequence.tally.since(&self.interval_from);
        self.interval_began = now;
        if tally.expected < INTERVAL_PACKETS_MIN {
            return None;
        }
        self.interval_from = self.sequence.tally;
        if let Some(delay) = delay {
            self.delays.sum += delay;
            self.delays.count += 1;
        }
        let rating = self.rate(&tally, delay);
        let jitter = self.timing.jitter();
        self.jitter_max = self.jitter_max.max(jitter);
        self.now = Some(rating);
        self.worst = Some(self.worst.filter(|worst| *worst < rating).unwrap_or(rating));
        Some(Interval { tally, jitter, rating })
    }

    /// What is known of it; `delay` is that of the line now.
    pub(super) fn report(&self, delay: Option<Duration>) -> StreamReport {
        let delay = self.delays.sum.checked_div(self.delays.count).or(delay);
        StreamReport {
            tuple: self.tuple,
            codec: self.codec(),
            payload_type: self.payload_type,
            packet_time: self.timing.packet_time(),
            began: self.began,
            last: self.last,
            tally: self.sequence.tally,
            jitter: self.timing.jitter(),
            jitter_max: self.jitter_max.max(self.timing.jitter()),
            delay,
            rating: self.rate(&self.sequence.tally, delay),
            rating_now: self.now,
            rating_worst: self.worst,
        }
    }

    fn rate(&self, tally: &Tally, delay: Option<Duration>) -> Rating {
        let packet_time = self.timing.packet_time().unwrap_or(PACKET_TIME);
        Rating::of(&Conditions {
            delay: packet_time + delay.unwrap_or_default() + BUFFER,
            loss: tally.loss(),
            burst_ratio: tally.burst_ratio(),
            impairment: self.codec().impairment(),
        })
    }

    fn codec(&self) -> Codec {
        Codec::of(self.payload_type, self.timing.clock(), self.octets, self.timing.packet_time())
    }

    fn on_voice(&mut self, now: Instant, packet: &RtpPacket, arrival: Arrival) {
        self.other.1 = 0;
        self.octets = packet.datagram_len.saturating_sub(packet.header.len);
        if self.timing.handle(now, &packet.header, arrival) {
            self.sequence.on_late(packet.header.sequence);
        }
    }

    /// A packet of another payload type; whether the stream is of that codec now.
    fn changes_to(&mut self, now: Instant, header: &RtpHeader) -> bool {
        let (payload_type, row, timestamp) = self.other;
        if COMFORT_NOISE.contains(&header.payload_type) {
            return false;
        }
        let goes_on = payload_type == header.payload_type;
        if goes_on && row > 0 && timestamp == header.timestamp {
            return false;
        }
        self.other = (header.payload_type, if goes_on { row + 1 } else { 1 }, header.timestamp);
        if self.other.1 < CODEC_ROW {
            return false;
        }
        self.payload_type = header.payload_type;
        self.timing = self.timing.restarted(now, header);
        true
    }
}
