//! The Simple Two-Way Active Measurement Protocol's test packets (RFC 8762 §4), unauthenticated mode: the session seals them. The identifier
//! of the sender's session (SSID) is that of RFC 8972 §3.
//!
//! Sender (§4.2.1), 44 octets:
//!
//! | 0: sequence number (4) | 4: timestamp (8) | 12: error estimate (2) | 14: SSID (2) | 16: zero (28) |
//!
//! Reflector (§4.3.1), 44 octets:
//!
//! | 0: sequence number (4) | 4: timestamp (8) | 12: error estimate (2) | 14: SSID (2) | 16: receive timestamp (8) |
//! | 24: sender's sequence number (4) | 28: sender's timestamp (8) | 36: sender's error estimate (2) | 38: zero (2) | 40: sender's TTL (1) | 41: zero (3) |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ParseError;

/// Octets of either packet.
pub const LEN: usize = 44;

/// Seconds from 1900-01-01 to 1970-01-01 (RFC 5905 §6).
const NTP_UNIX_OFFSET_SECONDS: u64 = 2_208_988_800;
/// Not synchronised, NTP format, 1 s of error: scale 32, multiplier 1 (RFC 4656 §4.1.2).
const ERROR_ESTIMATE: u16 = (32 << 8) | 1;

/// A date in the 64-bit NTP format (RFC 5905 §6): 32 bits of seconds since 1900, 32 bits of fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpTimestamp(u64);

impl NtpTimestamp {
    /// The date `wall`, modulo 2^32 seconds as the format has it; dates before 1970 count as 1970.
    #[must_use]
    pub fn from_wall(wall: SystemTime) -> Self {
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = since_1970.as_secs().wrapping_add(NTP_UNIX_OFFSET_SECONDS) & 0xffff_ffff;
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// How far this date lies after `earlier`, in seconds; negative if before. Right within 68 years.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        #[expect(clippy::cast_possible_wrap, reason = "the difference of two dates wraps on purpose")]
        let difference = self.0.wrapping_sub(earlier.0) as i64;
        difference as f64 / 4_294_967_296.0
    }
}

/// What the session sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderPacket {
    /// Counts up from 0 within one session of a sender.
    pub sequence: u32,
    /// Which session; 0 where there is only one.
    pub ssid: u16,
    /// When it left, by the sender's wall clock.
    pub timestamp: NtpTimestamp,
}

impl SenderPacket {
    /// Reads a packet; octets after the 44 are padding (RFC 8972 extensions) and ignored.
    ///
    /// # Errors
    ///
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let octets = front(bytes)?;
        Ok(Self { sequence: u32_at(octets, 0), ssid: ssid_of(octets), timestamp: timestamp_at(octets, 4) })
    }

    /// The packet's octets.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..12].copy_from_slice(&self.timestamp.0.to_be_bytes());
        out[12..14].copy_from_slice(&ERROR_ESTIMATE.to_be_bytes());
        out[14..16].copy_from_slice(&self.ssid.to_be_bytes());
        out
    }
}

/// What the session reflector answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectorPacket {
    /// The reflector's own count; a stateless reflector copies the sender's (§4.3).
    pub sequence: u32,
    /// When the answer left, by the reflector's wall clock.
    pub timestamp: NtpTimestamp,
    /// When the sender's packet came, by the reflector's wall clock.
    pub received: NtpTimestamp,
    /// The packet that is answered.
    pub sender: SenderPacket,
}

impl ReflectorPacket {
    /// Reads a packet; octets after the 44 are ignored.
    ///
    /// # Errors
    ///
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let octets = front(bytes)?;
        Ok(Self {
            sequence: u32_at(octets, 0),
            timestamp: timestamp_at(octets, 4),
            received: timestamp_at(octets, 16),
            sender: SenderPacket {
                sequence: u32_at(octets, 24),
                ssid: ssid_of(octets),
                timestamp: timestamp_at(octets, 28),
            },
        })
    }

    /// The packet's octets.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..12].copy_from_slice(&self.timestamp.0.to_be_bytes());
        out[12..14].copy_from_slice(&ERROR_ESTIMATE.to_be_bytes());
        out[14..16].copy_from_slice(&self.sender.ssid.to_be_bytes());
        out[16..24].copy_from_slice(&self.received.0.to_be_bytes());
        out[24..28].copy_from_slice(&self.sender.sequence.to_be_bytes());
        out[28..36].copy_from_slice(&self.sender.timestamp.0.to_be_bytes());
        out[36..38].copy_from_slice(&ERROR_ESTIMATE.to_be_bytes());
        out[40] = 255;
        out
    }
}

fn front(bytes: &[u8]) -> Result<&[u8; LEN], ParseError> {
    bytes.first_chunk().ok_or(ParseError::Truncated { needed: LEN, found: bytes.len() })
}

fn ssid_of(octets: &[u8; LEN]) -> u16 {
    u16::from_be_bytes([octets[14], octets[15]])
}

fn u32_at(octets: &[u8; LEN], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&octets[offset..offset + 4]);
    u32::from_be_bytes(word)
}

fn timestamp_at(octets: &[u8; LEN], offset: usize) -> NtpTimestamp {
    let mut word = [0; 8];
    word.copy_from_slice(&octets[offset..offset + 8]);
    NtpTimestamp(u64::from_be_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanos: u32) -> NtpTimestamp {
        NtpTimestamp::from_wall(UNIX_EPOCH + Duration::new(seconds, nanos))
    }

    #[test]
    fn timestamps_are_ntp_dates() {
        assert_eq!(at(0, 0).0, 2_208_988_800 << 32);
        assert_eq!(at(1, 500_000_000).0, (2_208_988_801 << 32) | 0x8000_0000);
        assert!((at(10, 250_000_000).seconds_since(at(9, 0)) - 1.25).abs() < 1e-6);
        assert!((at(9, 0).seconds_since(at(10, 250_000_000)) + 1.25).abs() < 1e-6);
    }

    #[test]
    fn dates_beyond_2036_wrap_and_still_subtract() {
        let before = at(2_085_978_495, 0);
        let after = at(2_085_978_497, 0);
        assert!(after.0 < before.0);
        assert!((after.seconds_since(before) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn sender_packet_has_the_octets_of_rfc_8762() {
        let bytes = SenderPacket { sequence: 0x0102_0304, ssid: 0xa1b2, timestamp: at(0, 0) }.emit();
        assert_eq!(&bytes[..14], &[1, 2, 3, 4, 0x83, 0xaa, 0x7e, 0x80, 0, 0, 0, 0, 0x20, 0x01]);
        assert_eq!(&bytes[14..16], &[0xa1, 0xb2]);
        assert_eq!(&bytes[16..], &[0; 28]);
        assert_eq!(SenderPacket::parse(&bytes).unwrap().sequence, 0x0102_0304);
    }

    #[test]
    fn reflector_packet_round_trips_and_carries_the_ttl() {
        let packet = ReflectorPacket {
            sequence: 7,
            timestamp: at(100, 1),
            received: at(99, 2),
            sender: SenderPacket { sequence: 7, ssid: 0xa1b2, timestamp: at(98, 3) },
        };
        let bytes = packet.emit();
        assert_eq!((&bytes[14..16], bytes[40]), (&[0xa1, 0xb2][..], 255));
        assert_eq!(ReflectorPacket::parse(&bytes), Ok(packet));
    }

    #[test]
    fn truncated_packets_are_refused() {
        for len in 0..LEN {
            let expected = ParseError::Truncated { needed: LEN, found: len };
            assert_eq!(SenderPacket::parse(&[0; LEN][..len]), Err(expected));
            assert_eq!(ReflectorPacket::parse(&[0; LEN][..len]), Err(expected));
        }
    }
}
