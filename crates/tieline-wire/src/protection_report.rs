//! What the end that receives protected packets tells the one that sends them, on the associated channel.
//!
//! | 0: stream (2) | 2: zero (2) | 4: expected (4) | 8: received (4) | 12: restored (4) |
//!
//! The three counts are of source packets since the stream began and wrap around, so that a report that is lost loses nothing.

use crate::{ParseError, protected::StreamId};

/// Octets of a report.
pub const LEN: usize = 16;

/// How the protected packets of one stream arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectionReport {
    /// Which stream.
    pub stream: StreamId,
    /// Source packets that should have come.
    pub expected: u32,
    /// Those that did, each counted once; some may still be on their way.
    pub received: u32,
    /// Those that did not, and were made again from repair packets.
    pub restored: u32,
}

impl ProtectionReport {
    /// Reads a report; what follows it is ignored.
    ///
    /// # Errors
    ///
    /// `Truncated`; `Field` for a stream of more than 12 bits.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let Some(octets) = bytes.first_chunk::<LEN>() else {
            return Err(ParseError::Truncated { needed: LEN, found: bytes.len() });
        };
        let count =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let stream = u16::from_be_bytes([octets[0], octets[1]]);
        if stream > 0x0fff {
            return Err(ParseError::Field { field: "stream", value: stream.into() });
        }
        Ok(Self { stream: StreamId::of(stream), expected: count(4), received: count(8), restored: count(12) })
    }

    /// Its octets.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0..2].copy_from_slice(&self.stream.value().to_be_bytes());
        for (at, count) in [(4, self.expected), (8, self.received), (12, self.restored)] {
            out[at..at + 4].copy_from_slice(&count.to_be_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: ProtectionReport = ProtectionReport {
        stream: StreamId::of(0xabc),
        expected: 0x0102_0304,
        received: 0x0506_0708,
        restored: 0x090a_0b0c,
    };
    const OCTETS: [u8; LEN] = [0x0a, 0xbc, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    #[test]
    fn a_report_has_golden_octets_both_ways() {
        assert_eq!(REPORT.emit(), OCTETS);
        assert_eq!(ProtectionReport::parse(&OCTETS), Ok(REPORT));
        assert_eq!(ProtectionReport::parse(&[&OCTETS[..], b"more"].concat()), Ok(REPORT));
    }

    #[test]
    fn a_report_that_is_cut_short_or_of_no_stream_is_refused() {
        for len in 0..LEN {
            let refused = ParseError::Truncated { needed: LEN, found: len };
            assert_eq!(ProtectionReport::parse(&OCTETS[..len]), Err(refused));
        }
        let mut octets = OCTETS;
        octets[0] = 0x1a;
        let refused = ParseError::Field { field: "stream", value: 0x1abc };
        assert_eq!(ProtectionReport::parse(&octets), Err(refused));
    }
}
