//! MPLS label stack entries (RFC 3032) and the labels that a line knows by heart.

use crate::ParseError;

/// An MPLS label, 20 bits (RFC 3032 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(u32);

impl Label {
    /// The generic associated channel label (RFC 5586 §4.1): measurement and liveness.
    pub const ASSOCIATED: Self = Self(13);
    /// Streams: the QUIC connection between the two ends.
    pub const STREAMS: Self = Self(16);
    /// Pieces of packets (RFC 4623).
    pub const PIECES: Self = Self(17);
    /// The first label that a receiving end may give out itself.
    pub const FIRST_GIVEN_OUT: Self = Self(32);
    /// The largest label.
    pub const MAX: Self = Self((1 << 20) - 1);

    /// Takes `value` as a label.
    ///
    /// # Errors
    ///
    /// `Field` if `value` has more than 20 bits.
    pub fn new(value: u32) -> Result<Self, ParseError> {
        if value > Self::MAX.0 {
            return Err(ParseError::Field { field: "label", value: value.into() });
        }
        Ok(Self(value))
    }

    /// The 20 bits as a number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// The three traffic class bits of a label stack entry (RFC 5462; once called EXP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MplsTrafficClass(u8);

impl MplsTrafficClass {
    /// What carries the line itself: liveness, measurement, the control stream.
    pub const CONTROL: Self = Self(6);
    /// The sound of calls.
    pub const VOICE: Self = Self(5);
    /// Where somebody waits for each packet.
    pub const INTERACTIVE: Self = Self(3);
    /// What has no other class.
    pub const STANDARD: Self = Self(0);
    /// What may wait.
    pub const BULK: Self = Self(1);

    /// Takes `value` as a traffic class.
    ///
    /// # Errors
    ///
    /// `Field` if `value` has more than three bits.
    pub fn new(value: u8) -> Result<Self, ParseError> {
        if value > 7 {
            return Err(ParseError::Field { field: "traffic class", value: value.into() });
        }
        Ok(Self(value))
    }

    /// The three bits as a number.
    #[must_use]
    pub fn value(self) -> u8 {
        self.0
    }
}

/// One entry of an MPLS label stack (RFC 3032 §2.1, traffic class renamed by RFC 5462).
///
/// | 20 bits: label | 3: traffic class | 1: bottom of stack | 8: time to live |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelStackEntry {
    /// Whose packet this is.
    pub label: Label,
    /// How it is to be served.
    pub class: MplsTrafficClass,
    /// Whether the payload follows; otherwise another entry does.
    pub bottom: bool,
    /// Counted down where labels are swapped.
    pub ttl: u8,
}

impl LabelStackEntry {
    /// Octets on the wire.
    pub const LEN: usize = 4;
    /// The time to live that an end of a line gives.
    pub const TTL: u8 = 255;

    /// An entry as an end of a line pushes it: alone on the stack, with the full time to live.
    #[must_use]
    pub fn only(label: Label, class: MplsTrafficClass) -> Self {
        Self { label, class, bottom: true, ttl: Self::TTL }
    }

    /// Reads the entry at the front of `bytes` and returns it with what follows.
    ///
    /// # Errors
    ///
    /// `Truncated` if fewer than [`Self::LEN`] octets are left; every 32-bit value is an entry.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let Some((entry, rest)) = bytes.split_first_chunk::<{ Self::LEN }>() else {
            return Err(ParseError::Truncated { needed: Self::LEN, found: bytes.len() });
        };
        let word = u32::from_be_bytes(*entry);
        let entry = Self {
            label: Label(word >> 12),
            class: MplsTrafficClass(((word >> 9) & 0b111) as u8),
            bottom: (word >> 8) & 1 == 1,
            ttl: (word & 0xff) as u8,
        };
        Ok((entry, rest))
    }

    /// Writes the entry into `out`.
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        let word = (self.label.0 << 12)
            | (u32::from(self.class.0) << 9)
            | (u32::from(self.bottom) << 8)
            | u32::from(self.ttl);
        *out = word.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Label 16, traffic class 6, bottom of stack, TTL 255: 0x00010 | 110 | 1 | ff.
    const STREAMS_ENTRY: [u8; 4] = [0x00, 0x01, 0x0d, 0xff];

    #[test]
    fn entry_is_emitted_as_rfc_3032_draws_it() {
        let mut out = [0xa5; 4];
        LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::CONTROL).emit(&mut out);
        assert_eq!(out, STREAMS_ENTRY);
    }

    #[test]
    fn entry_is_parsed_with_what_follows() {
        let mut bytes = STREAMS_ENTRY.to_vec();
        bytes.extend_from_slice(b"payload");
        let (entry, rest) = LabelStackEntry::parse(&bytes).unwrap();
        assert_eq!(entry, LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::CONTROL));
        assert_eq!(rest, b"payload");
    }

    #[test]
    fn truncated_entry_is_refused() {
        for len in 0..4 {
            assert_eq!(
                LabelStackEntry::parse(&STREAMS_ENTRY[..len]),
                Err(ParseError::Truncated { needed: 4, found: len })
            );
        }
    }

    #[test]
    fn every_bit_survives_a_round_trip() {
        for bit in 0..32 {
            let bytes = (1_u32 << bit).to_be_bytes();
            let (entry, _) = LabelStackEntry::parse(&bytes).unwrap();
            let mut out = [0xa5; 4];
            entry.emit(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        assert!(Label::new(0xf_ffff).is_ok());
        assert!(Label::new(0x10_0000).is_err());
        assert!(MplsTrafficClass::new(7).is_ok());
        assert!(MplsTrafficClass::new(8).is_err());
    }
}
