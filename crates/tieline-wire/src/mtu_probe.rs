//! A probe of how long datagrams may be, and its answer, on the associated channel (RFC 8899 §4.1).
//!
//! | 0: number (4) | 4: octets (2) | 6: 0 probe, 1 answer (1) | 7: zero (1) |
//!
//! A probe is padded with zeros, so that the sealed packet has as many octets as it says, label included. The answer is not.

use crate::ParseError;

/// Octets of either, without padding.
pub const LEN: usize = 8;

/// A probe or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuProbe {
    /// Which probe.
    pub number: u32,
    /// Octets of the packet that the probe was.
    pub packet_len: u16,
    /// Whether it is the answer.
    pub is_answer: bool,
}

impl MtuProbe {
    /// Reads one; what follows it is padding.
    ///
    /// # Errors
    ///
    /// `Truncated`; `Field` if it is neither probe nor answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let Some([n0, n1, n2, n3, l0, l1, kind, _]) = bytes.first_chunk::<LEN>() else {
            return Err(ParseError::Truncated { needed: LEN, found: bytes.len() });
        };
        let is_answer = match kind {
            0 => false,
            1 => true,
            other => return Err(ParseError::Field { field: "probe or answer", value: (*other).into() }),
        };
        let (number, packet_len) = (u32::from_be_bytes([*n0, *n1, *n2, *n3]), u16::from_be_bytes([*l0, *l1]));
        Ok(Self { number, packet_len, is_answer })
    }

    /// Its octets.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..4].copy_from_slice(&self.number.to_be_bytes());
        out[4..6].copy_from_slice(&self.packet_len.to_be_bytes());
        out[6] = self.is_answer.into();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_as_described_and_read_again() {
        let probe = MtuProbe { number: 0x0102_0304, packet_len: 1420, is_answer: true };
        assert_eq!(probe.emit(), [1, 2, 3, 4, 0x05, 0x8c, 1, 0]);
        for probe in [probe, MtuProbe { is_answer: false, ..probe }] {
            assert_eq!(MtuProbe::parse(&[&probe.emit()[..], &[0; 99]].concat()), Ok(probe));
        }
    }

    #[test]
    fn what_is_cut_short_or_of_another_kind_is_refused() {
        for len in 0..LEN {
            assert_eq!(
                MtuProbe::parse(&[0; LEN][..len]),
                Err(ParseError::Truncated { needed: LEN, found: len })
            );
        }
        for kind in 2..=u8::MAX {
            let field = ParseError::Field { field: "probe or answer", value: kind.into() };
            assert_eq!(MtuProbe::parse(&[0, 0, 0, 1, 0, 9, kind, 0]), Err(field));
        }
    }
}
