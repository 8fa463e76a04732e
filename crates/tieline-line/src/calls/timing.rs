//! When the packets of a stream arrive, against when they were spoken: jitter (RFC 3550 §6.4.1) and what a phone could not play.
//!
//! The transit of a packet is its time of arrival less its timestamp. The two clocks have different beginnings, so only differences mean
//! something: of neighbours, which is jitter, and to the least of the last [`BASE_TIME`], which shows who came later than a phone's
//! buffer waits. The least may move up with time, for clocks drift and paths change.

use std::time::{Duration, Instant};

use tieline_wire::rtp::RtpHeader;

use super::{codec::static_clock, sequence::Arrival};

/// How long a phone's buffer waits for the packets that are late.
pub const BUFFER: Duration = Duration::from_millis(60);

/// Age of the least transit that packets are compared with: between one and two of these.
const BASE_TIME: Duration = Duration::from_secs(10);
/// A transit so much larger or smaller is no delay: the sender's clock began anew.
const JUMP_SECONDS: f64 = 2.0;
/// After a pause so long the first packet of speech may have another transit: not all phones count while they are silent.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// How long arrivals are compared with timestamps to know the clock of a dynamic payload type.
const CLOCK_TIME: Duration = Duration::from_millis(500);
/// Clocks of dynamic payload types that phones have.
const CLOCKS: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];
/// How far a measured clock may be from one of them: half of the smallest step between two.
const CLOCK_RATIO_MAX: f64 = 1.15;
/// The weight of a new packet in the jitter (RFC 3550 §6.4.1).
const JITTER_GAIN: f64 = 1.0 / 16.0;

/// The times of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    payload_type: u8,
    clock: Option<u32>,
    /// The first packet since the clock was last uncertain.
    began: Instant,
    timestamp: u32,
    /// Ticks since `began`, without wrap.
    media: i64,
    last: Instant,
    /// Ticks from one packet to the next.
    step: Option<u32>,
    transit: Option<f64>,
    /// The least transit of this and the last [`BASE_TIME`].
    base: [f64; 2],
    base_began: Instant,
    jitter_seconds: f64,
}

impl Timing {
    pub(super) fn new(now: Instant, header: &RtpHeader) -> Self {
        Self {
            payload_type: header.payload_type,
            clock: static_clock(header.payload_type),
            began: now,
            timestamp: header.timestamp,
            media: 0,
            last: now,
            step: None,
            transit: None,
            base: [f64::INFINITY; 2],
            base_began: now,
            jitter_seconds: 0.0,
        }
    }

    /// Of a sender that began anew with this packet.
    pub(super) fn restarted(&self, now: Instant, header: &RtpHeader) -> Self {
        let known = self.clock.filter(|_| self.payload_type == header.payload_type);
        let anew = Self::new(now, header);
        Self { clock: anew.clock.or(known), jitter_seconds: self.jitter_seconds, ..anew }
    }

    /// Takes a packet that is not [`Arrival::Stale`] and returns whether it is too late to be played.
    pub(super) fn handle(&mut self, now: Instant, header: &RtpHeader, arrival: Arrival) -> bool {
        if arrival == Arrival::Restarted {
            *self = self.restarted(now, header);
        }
        let pause = now.saturating_duration_since(self.last);
        let step = header.timestamp.wrapping_sub(self.timestamp).cast_signed();
        (self.timestamp, self.last, self.media) = (header.timestamp, now, self.media + i64::from(step));
        if arrival == Arrival::Next && !header.marker && step > 0 {
            self.step = Some(step.unsigned_abs());
        }
        if self.clock.is_none() {
            self.look_for_clock(now, header);
        }
        let Some(clock) = self.clock else { return false };
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let transit = elapsed - self.media as f64 / f64::from(clock);
        let is_new_speech = header.marker && pause >= PAUSE_MIN;
        match self.transit {
            Some(before) if (transit - before).abs() < JUMP_SECONDS && !is_new_speech => {
                self.jitter_seconds += ((transit - before).abs() - self.jitter_seconds) * JITTER_GAIN;
            }
            _ => (self.base, self.base_began) = ([transit; 2], now),
        }
        self.transit = Some(transit);
        self.on_transit(now, transit)
    }

    /// Time in one packet.
    pub(super) fn packet_time(&self) -> Option<Duration> {
        Some(Duration::from_secs_f64(f64::from(self.step?) / f64::from(self.clock?)))
    }

    pub(super) fn clock(&self) -> Option<u32> {
        self.clock
    }

    pub(super) fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter_seconds)
    }

    fn on_transit(&mut self, now: Instant, transit: f64) -> bool {
        if now.saturating_duration_since(self.base_began) >= BASE_TIME {
            (self.base, self.base_began) = ([self.base[1], transit], now);
        }
        self.base[1] = self.base[1].min(transit);
        transit - self.base[0].min(self.base[1]) > BUFFER.as_secs_f64()
    }

    fn look_for_clock(&mut self, now: Instant, header: &RtpHeader) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < CLOCK_TIME {
            return;
        }
        let measured = self.media as f64 / elapsed.as_secs_f64();
        let is_near = |clock: &u32| {
            let ratio = measured / f64::from(*clock);
            (1.0 / CLOCK_RATIO_MAX..=CLOCK_RATIO_MAX).contains(&ratio)
        };
        self.clock = CLOCKS.into_iter().find(is_near);
        if self.clock.is_none() {
            *self = Self::new(now, header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(payload_type: u8, n: u32, step: u32) -> RtpHeader {
        RtpHeader {
            marker: false,
            payload_type,
            sequence: n as u16,
            timestamp: (u32::MAX - 1000).wrapping_add(n * step),
            ssrc: 1,
            len: RtpHeader::LEN,
        }
    }

    /// Packets of 20 ms, each as much later as `delay_ms` says; how many were late, and the times.
    fn play(payload_type: u8, step: u32, count: u32, delay_ms: impl Fn(u32) -> f64) -> (usize, Timing) {
        let start = Instant::now();
        let at = |n: u32| start + Duration::from_secs_f64((f64::from(n) * 20.0 + delay_ms(n)) / 1000.0);
        let mut timing = Timing::new(at(0), &header(payload_type, 0, step));
        let late = (0..count)
            .filter(|n| timing.handle(at(*n), &header(payload_type, *n, step), Arrival::Next))
            .count();
        (late, timing)
    }

    #[test]
    fn a_steady_stream_has_neither_jitter_nor_late_packets() {
        let (late, timing) = play(0, 160, 5000, |_| 5.0);
        assert_eq!(late, 0);
        assert!(timing.jitter() < Duration::from_micros(1));
        assert_eq!(timing.packet_time(), Some(Duration::from_millis(20)));
    }

    #[test]
    fn jitter_is_that_of_the_standard() {
        // Every second packet 4 ms later: |D| is always 4 ms, and J goes to it.
        let (_, timing) = play(8, 160, 1000, |n| f64::from(n % 2) * 4.0);
        assert!(timing.jitter().abs_diff(Duration::from_millis(4)) < Duration::from_micros(10));
        // One packet 16 ms late, and the next one in time: J = 1, then 1 + (16 - 1) / 16.
        let (_, timing) = play(8, 160, 12, |n| if n == 10 { 16.0 } else { 0.0 });
        assert!(timing.jitter().abs_diff(Duration::from_micros(1937)) < Duration::from_micros(2));
    }

    #[test]
    fn later_than_the_buffer_waits_is_late() {
        let spike = |height: f64| move |n: u32| if n % 100 == 99 { height } else { 0.0 };
        assert_eq!(play(0, 160, 1000, spike(59.0)).0, 0);
        assert_eq!(play(0, 160, 1000, spike(61.0)).0, 10);
    }

    #[test]
    fn a_path_that_stays_longer_is_soon_what_packets_are_compared_with() {
        // From the second minute on, all take 100 ms more.
        let (late, _) = play(0, 160, 6000, |n| if n >= 3000 { 100.0 } else { 0.0 });
        assert!((500..=1001).contains(&late), "{late}");
    }

    #[test]
    fn clocks_that_drift_make_nothing_late() {
        let (late, _) = play(0, 160, 180_000, |n| f64::from(n) * 20.0 * 200e-6);
        assert_eq!(late, 0);
    }

    #[test]
    fn clocks_of_dynamic_types_are_found_in_spite_of_jitter() {
        for clock in CLOCKS {
            let jitter = |n: u32| f64::from(n.wrapping_mul(2_654_435_761) >> 16 & 31);
            let (late, timing) = play(111, clock / 50, 100, jitter);
            assert_eq!((late, timing.clock()), (0, Some(clock)));
            assert_eq!(timing.packet_time(), Some(Duration::from_millis(20)));
        }
        // No clock of a phone.
        assert_eq!(play(111, 800, 1000, |_| 0.0).1.clock(), None);
    }

    #[test]
    fn speech_after_a_pause_and_a_clock_that_begins_anew_are_not_late() {
        let start = Instant::now();
        let mut timing = Timing::new(start, &header(0, 0, 160));
        let mut late = |ms: u64, n: u32, marker: bool| {
            let header = RtpHeader { marker, ..header(0, n, 160) };
            timing.handle(start + Duration::from_millis(ms), &header, Arrival::Next)
        };
        assert!(!late(20, 1, false));
        // A phone that does not count while it is silent, and one second later has its word.
        assert!(!late(1020, 2, true));
        assert!(!late(1040, 3, false));
        // Without a pause of its own it would be late.
        assert!(late(1160, 4, true));
        // Another beginning of timestamps.
        assert!(!late(1180, 1_000_000, false));
        assert!(!late(1200, 1_000_001, false));
    }
}
