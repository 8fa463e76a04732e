//! What the receiving end of packed calls says of the references that have arrived.
//!
//! | 0: label (4) | 4: newest serial number (4) | 8: those before it (8) |
//!
//! The lowest bit of the last field is the serial number before the newest, the highest the 64th before it; set if it has arrived.

use crate::{ParseError, label::Label};

/// The references that have arrived under a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Under which label; those of another are others.
    pub label: Label,
    /// The serial number of the newest that has arrived.
    pub newest: u32,
    /// The 64 before it, the nearest in the lowest bit.
    pub before: u64,
}

impl Feedback {
    /// Octets on the wire.
    pub const LEN: usize = 16;

    /// Whether it says that the reference with this serial number has arrived.
    #[must_use]
    pub fn names(&self, serial: u32) -> bool {
        match self.newest.checked_sub(serial) {
            Some(0) => true,
            Some(back @ 1..=64) => self.before >> (back - 1) & 1 == 1,
            _ => false,
        }
    }

    /// Reads it; octets behind it are ignored.
    ///
    /// # Errors
    ///
    /// `Truncated` if fewer than [`Self::LEN`] octets are there, `Field` if the label is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let truncated = ParseError::Truncated { needed: Self::LEN, found: bytes.len() };
        let (label, rest) = bytes.split_first_chunk().ok_or(truncated)?;
        let (newest, rest) = rest.split_first_chunk().ok_or(truncated)?;
        let before = rest.first_chunk().ok_or(truncated)?;
        Ok(Self {
            label: Label::new(u32::from_be_bytes(*label))?,
            newest: u32::from_be_bytes(*newest),
            before: u64::from_be_bytes(*before),
        })
    }

    /// Its octets.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.label.value().to_be_bytes());
        out[4..8].copy_from_slice(&self.newest.to_be_bytes());
        out[8..].copy_from_slice(&self.before.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback() -> Feedback {
        Feedback { label: Label::FIRST_GIVEN_OUT, newest: 0x0001_0203, before: 0x8000_0000_0000_0005 }
    }

    #[test]
    fn it_has_golden_octets_and_round_trips() {
        let octets = [0, 0, 0, 32, 0, 1, 2, 3, 0x80, 0, 0, 0, 0, 0, 0, 5];
        assert_eq!(feedback().emit(), octets);
        assert_eq!(Feedback::parse(&octets), Ok(feedback()));
        assert_eq!(Feedback::parse(&[&octets[..], b"more"].concat()), Ok(feedback()));
    }

    #[test]
    fn what_is_cut_short_or_has_no_label_is_refused() {
        let mut octets = feedback().emit();
        for len in 0..octets.len() {
            let refused = ParseError::Truncated { needed: 16, found: len };
            assert_eq!(Feedback::parse(&octets[..len]), Err(refused));
        }
        octets[1] = 0x10;
        assert!(matches!(Feedback::parse(&octets), Err(ParseError::Field { field: "label", .. })));
    }

    #[test]
    fn it_names_the_newest_and_the_set_bits_before_it() {
        let named: Vec<u32> =
            (0..200).map(|back| feedback().newest + 100 - back).filter(|n| feedback().names(*n)).collect();
        assert_eq!(named, [0, 1, 3, 64].map(|back| feedback().newest - back));
        let first = Feedback { newest: 0, ..feedback() };
        assert!(first.names(0) && !first.names(u32::MAX));
    }
}
