//! The control word before what a pseudowire carries (RFC 4385 §3), with the two bits that say which part of a packet follows (RFC 4623 §4).
//!
//! | 4 bits: 0000 | 4: flags, 0 | 1: B | 1: E | 6: length, 0 | 16: sequence number |

use crate::ParseError;

const NOT_FIRST: u8 = 0x80;
const NOT_LAST: u8 = 0x40;

/// Which part of a packet follows. The bits are 0 where something begins and ends, so that a whole packet has neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning.
    First,
    /// Neither beginning nor end.
    Middle,
    /// Its end.
    Last,
}

impl Part {
    /// The part that is the first, the last, both or neither.
    #[must_use]
    pub fn new(is_first: bool, is_last: bool) -> Self {
        match (is_first, is_last) {
            (true, true) => Self::Whole,
            (true, false) => Self::First,
            (false, false) => Self::Middle,
            (false, true) => Self::Last,
        }
    }

    /// Whether a packet begins with it.
    #[must_use]
    pub fn is_first(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether a packet ends with it.
    #[must_use]
    pub fn is_last(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// A control word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlWord {
    /// What follows.
    pub part: Part,
    /// Counted up by one with each; 0 is skipped, for it means that nobody counts (RFC 4385 §4.1).
    pub sequence: u16,
}

impl ControlWord {
    /// Octets on the wire.
    pub const LEN: usize = 4;

    /// Reads the control word at the front of `bytes` and returns it with what follows. Flags and length are not looked at: nothing is
    /// padded here.
    ///
    /// # Errors
    ///
    /// `Truncated` if fewer than [`Self::LEN`] octets are there; `Field` if the first nibble is not 0.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let Some((word, rest)) = bytes.split_first_chunk::<{ Self::LEN }>() else {
            return Err(ParseError::Truncated { needed: Self::LEN, found: bytes.len() });
        };
        if word[0] >> 4 != 0 {
            return Err(ParseError::Field { field: "first nibble", value: (word[0] >> 4).into() });
        }
        let part = Part::new(word[1] & NOT_FIRST == 0, word[1] & NOT_LAST == 0);
        Ok((Self { part, sequence: u16::from_be_bytes([word[2], word[3]]) }, rest))
    }

    /// Its octets.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let first = if self.part.is_first() { 0 } else { NOT_FIRST };
        let last = if self.part.is_last() { 0 } else { NOT_LAST };
        let [high, low] = self.sequence.to_be_bytes();
        [0, first | last, high, low]
    }
}

/// The sequence number after this one.
#[must_use]
pub fn next_sequence(sequence: u16) -> u16 {
    sequence.wrapping_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_those_of_the_standard() {
        // RFC 4623 §4: 00 unfragmented, 01 first, 10 last, 11 intermediate.
        let rows = [(Part::Whole, 0x00), (Part::First, 0x40), (Part::Last, 0x80), (Part::Middle, 0xc0)];
        for (part, bits) in rows {
            let word = ControlWord { part, sequence: 0x1234 };
            assert_eq!(word.emit(), [0, bits, 0x12, 0x34]);
            let octets = [word.emit(), *b"rest"].concat();
            assert_eq!(ControlWord::parse(&octets), Ok((word, &b"rest"[..])));
        }
    }

    #[test]
    fn flags_and_length_are_not_looked_at() {
        let word = ControlWord { part: Part::First, sequence: 7 };
        assert_eq!(ControlWord::parse(&[0x0f, 0x7f, 0, 7]).unwrap().0, word);
    }

    #[test]
    fn what_is_no_control_word_is_refused() {
        assert_eq!(ControlWord::parse(&[0; 3]), Err(ParseError::Truncated { needed: 4, found: 3 }));
        let refused = ParseError::Field { field: "first nibble", value: 1 };
        assert_eq!(ControlWord::parse(&[0x10, 0, 0, 0]), Err(refused));
    }

    #[test]
    fn no_packet_has_number_zero() {
        assert_eq!([0, 1, 65_534, u16::MAX].map(next_sequence), [1, 2, u16::MAX, 1]);
    }
}
