//! The rate report: what an end has received, and when, so that the other one finds the rate of the path between them.
//!
//! It is a message of the associated channel. Both ends send it, 36 octets; longer ones are accepted and the rest ignored.
//!
//! | 0: sequence number (4) | 4: sent (4) | 8: ceiling (4) | 12: flags (2) | 14: zero (2) |
//! | 16: heard: sequence number (4) | 20: arrived (4) | 24: datagrams (4) | 28: octets (8) |
//!
//! Moments are microseconds of the sender's monotonic clock, counts run from when its process began, both modulo the width
//! of their field: only differences mean something, and nothing is lost with a report that is.

use crate::ParseError;

/// Octets of a report.
pub const LEN: usize = 36;

const FLAG_HEARD: u16 = 0x0001;
const FLAG_ANSWER: u16 = 0x0002;
const FLAG_AT_ONCE: u16 = 0x0004;

/// A moment on somebody's monotonic clock, in microseconds, modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub u32);

impl Micros {
    /// Microseconds from `earlier` to this moment of the same clock; negative if it lies before. Right within 35 minutes.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed().into()
    }
}

/// Whether a report is to be answered by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is no need.
    NotWanted,
    /// With the next one, which shall not wait if it is almost due.
    Wanted,
    /// Without waiting.
    AtOnce,
}

/// One report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateReport {
    /// Counts up with each report of a process.
    pub sequence: u32,
    /// When this one was made.
    pub sent: Micros,
    /// What the sender can take in, in kbit/s: the receiver shall send no faster. 0: it says nothing about that.
    pub ceiling_kbit: u32,
    /// Whether it is to be answered.
    pub answer: Answer,
    /// About the newest report of the other end that has come; none if none has.
    pub heard: Option<Heard>,
}

/// What there was to see when a report arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which report.
    pub sequence: u32,
    /// When it arrived.
    pub arrived: Micros,
    /// Authentic datagrams that had arrived by then, this one included.
    pub datagrams: u32,
    /// Their octets, as UDP payload.
    pub octets: u64,
}

impl RateReport {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// `Truncated`. Flags that mean nothing, and what stands in place of `heard` if nothing was, are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let Some(octets) = bytes.first_chunk::<LEN>() else {
            return Err(ParseError::Truncated { needed: LEN, found: bytes.len() });
        };
        let flags = u16::from_be_bytes([octets[12], octets[13]]);
        let heard = Heard {
            sequence: u32_at(octets, 16),
            arrived: Micros(u32_at(octets, 20)),
            datagrams: u32_at(octets, 24),
            octets: (u64::from(u32_at(octets, 28)) << 32) | u64::from(u32_at(octets, 32)),
        };
        Ok(Self {
            sequence: u32_at(octets, 0),
            sent: Micros(u32_at(octets, 4)),
            ceiling_kbit: u32_at(octets, 8),
            answer: match (flags & FLAG_ANSWER != 0, flags & FLAG_AT_ONCE != 0) {
                (_, true) => Answer::AtOnce,
                (true, false) => Answer::Wanted,
                (false, false) => Answer::NotWanted,
            },
            heard: (flags & FLAG_HEARD != 0).then_some(heard),
        })
    }

    /// The report's octets.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let answer = match self.answer {
            Answer::NotWanted => 0,
            Answer::Wanted => FLAG_ANSWER,
            Answer::AtOnce => FLAG_AT_ONCE,
        };
        let mut out = [0; LEN];
        out[0..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.sent.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.ceiling_kbit.to_be_bytes());
        out[12..14].copy_from_slice(&answer.to_be_bytes());
        if let Some(heard) = &self.heard {
            out[12..14].copy_from_slice(&(answer | FLAG_HEARD).to_be_bytes());
            out[16..20].copy_from_slice(&heard.sequence.to_be_bytes());
            out[20..24].copy_from_slice(&heard.arrived.0.to_be_bytes());
            out[24..28].copy_from_slice(&heard.datagrams.to_be_bytes());
            out[28..36].copy_from_slice(&heard.octets.to_be_bytes());
        }
        out
    }
}

fn u32_at(octets: &[u8; LEN], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARD: Heard =
        Heard { sequence: 7, arrived: Micros(0x0a0b_0c0d), datagrams: 0x100, octets: 0x1_0203_0405 };
    const REPORT: RateReport = RateReport {
        sequence: 0x0102_0304,
        sent: Micros(0x0506_0708),
        ceiling_kbit: 20_000,
        answer: Answer::AtOnce,
        heard: Some(HEARD),
    };
    const OCTETS: [u8; LEN] = [
        1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x4e, 0x20, 0, 5, 0, 0, //
        0, 0, 0, 7, 0xa, 0xb, 0xc, 0xd, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5,
    ];

    #[test]
    fn report_has_golden_octets() {
        assert_eq!(REPORT.emit(), OCTETS);
        assert_eq!(RateReport::parse(&OCTETS), Ok(REPORT));
    }

    #[test]
    fn every_way_to_ask_for_an_answer_survives_with_and_without_heard() {
        for answer in [Answer::NotWanted, Answer::Wanted, Answer::AtOnce] {
            for heard in [None, Some(HEARD)] {
                let report = RateReport { answer, heard, ..REPORT };
                assert_eq!(RateReport::parse(&report.emit()), Ok(report));
            }
        }
    }

    #[test]
    fn short_reports_are_refused_and_long_ones_understood() {
        for len in 0..LEN {
            let refused = Err(ParseError::Truncated { needed: LEN, found: len });
            assert_eq!(RateReport::parse(&OCTETS[..len]), refused);
        }
        assert_eq!(RateReport::parse(&[&OCTETS[..], b"more"].concat()), Ok(REPORT));
    }

    #[test]
    fn flags_that_mean_nothing_yet_are_ignored() {
        let mut octets = OCTETS;
        octets[12..16].copy_from_slice(&[0xff, 0xfd, 0xff, 0xff]);
        assert_eq!(RateReport::parse(&octets), Ok(REPORT));
    }

    #[test]
    fn moments_are_compared_across_the_turn_of_the_clock() {
        assert_eq!(Micros(5).since(Micros(u32::MAX)), 6);
        assert_eq!(Micros(u32::MAX).since(Micros(5)), -6);
    }
}
