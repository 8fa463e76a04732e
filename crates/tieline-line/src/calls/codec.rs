//! Which codec a stream is of, as far as one can see from outside: by the payload type where it is static (RFC 3551 §6), else by the
//! clock and by octets per time. What was agreed by SIP is not looked at.

use std::time::Duration;

use crate::emodel::Impairment;

/// Comfort noise (RFC 3389), and the number it had before.
pub(super) const COMFORT_NOISE: [u8; 2] = [13, 19];

/// What a stream is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711, μ-law or A-law.
    G711,
    /// G.722.
    G722,
    /// G.723.1.
    G723,
    /// G.729.
    G729,
    /// GSM full rate.
    Gsm,
    /// Opus.
    Opus,
    /// Another, or one that cannot be told.
    Other,
}

impl Codec {
    /// From the payload type, the clock in Hz if known, and what one packet carries: octets, and how much time.
    pub(super) fn of(
        payload_type: u8,
        clock: Option<u32>,
        octets: usize,
        packet_time: Option<Duration>,
    ) -> Self {
        match (payload_type, clock) {
            (0 | 8, _) => Self::G711,
            (3, _) => Self::Gsm,
            (4, _) => Self::G723,
            (9, _) => Self::G722,
            (18, _) => Self::G729,
            (96.., Some(48_000)) => Self::Opus,
            (96.., Some(8_000)) => match packet_time.map(|time| time.as_millis() as usize) {
                Some(millis) if octets == millis * 8 => Self::G711,
                Some(millis) if octets == millis => Self::G729,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// What the E-model takes it for; what is not known counts as a good one.
    #[must_use]
    pub fn impairment(self) -> Impairment {
        match self {
            Self::G711 => Impairment::G711,
            Self::G722 => Impairment::G722,
            Self::G723 => Impairment::G723,
            Self::G729 => Impairment::G729,
            Self::Gsm => Impairment::GSM,
            Self::Opus | Self::Other => Impairment::OPUS,
        }
    }

    /// What people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::G711 => "G.711",
            Self::G722 => "G.722",
            Self::G723 => "G.723.1",
            Self::G729 => "G.729",
            Self::Gsm => "GSM",
            Self::Opus => "Opus",
            Self::Other => "other",
        }
    }
}

/// The clock of timestamps of a static payload type, in Hz (RFC 3551 §6); none of a dynamic one.
pub(super) fn static_clock(payload_type: u8) -> Option<u32> {
    match payload_type {
        // That of G.722 is 8000 "due to an error" (RFC 3551 §4.5.2).
        0..=5 | 7..=9 | 12 | 13 | 15 | 18 | 19 => Some(8_000),
        6 => Some(16_000),
        10 | 11 => Some(44_100),
        16 => Some(11_025),
        17 => Some(22_050),
        14 | 25..=34 => Some(90_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_types_are_known_by_their_number() {
        let known =
            [(0, Codec::G711), (8, Codec::G711), (9, Codec::G722), (18, Codec::G729), (4, Codec::G723)];
        for (payload_type, codec) in known {
            assert_eq!(Codec::of(payload_type, static_clock(payload_type), 33, None), codec);
            assert_eq!(static_clock(payload_type), Some(8_000));
        }
        assert_eq!(Codec::of(34, static_clock(34), 33, None), Codec::Other);
    }

    #[test]
    fn dynamic_types_are_known_by_clock_and_size() {
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(static_clock(111), None);
        assert_eq!(Codec::of(111, Some(48_000), 61, millis(20)), Codec::Opus);
        assert_eq!(Codec::of(97, Some(8_000), 240, millis(30)), Codec::G711);
        assert_eq!(Codec::of(97, Some(8_000), 20, millis(20)), Codec::G729);
        assert_eq!(Codec::of(97, Some(8_000), 38, millis(20)), Codec::Other);
        assert_eq!(Codec::of(97, None, 160, None), Codec::Other);
    }
}
