//! What a sealed packet carries, told by its first four bits.
//!
//! | first nibble | the sealed packet is |
//! |---|---|
//! | (no octet) | a WireGuard keepalive |
//! | 4, 6 | an IP packet, padded as WireGuard pads |
//! | 0 | an MPLS label stack, then what its bottom label's channel carries; not padded |
//! | other | nothing we know: dropped and counted |
//!
//! Labels below 65,536 start with nibble 0, so a label stack can never be taken for IP, nor the other way round.

use crate::label::{LabelStackEntry, MplsTrafficClass};

/// WireGuard pads what it seals to a multiple of this (paper §5.4.6).
pub const PADDING_MULTIPLE: usize = 16;

/// What the first nibble says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An empty packet.
    Keepalive,
    /// An IP packet of version 4 or 6.
    Ip,
    /// A label stack and its payload.
    Labelled,
    /// A nibble that stands for nothing here.
    Unknown(u8),
}

impl Kind {
    /// Looks at the first nibble of an opened packet.
    #[must_use]
    pub fn of(plaintext: &[u8]) -> Self {
        match plaintext.first().map(|octet| octet >> 4) {
            None => Self::Keepalive,
            Some(4 | 6) => Self::Ip,
            Some(0) => Self::Labelled,
            Some(nibble) => Self::Unknown(nibble),
        }
    }
}

/// A packet whose label stack has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labelled<'p> {
    /// The bottom entry: its label names the channel.
    pub entry: LabelStackEntry,
    /// What the channel carries.
    pub payload: &'p [u8],
}

/// Why a labelled packet is not for an end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelStackError {
    /// The stack ends in the middle of an entry or has no bottom.
    #[error("the label stack is cut short")]
    Truncated,
    /// More than one entry: an end of a line swaps no labels.
    #[error("the label stack has more than one entry")]
    Deep,
}

impl<'p> Labelled<'p> {
    /// Reads the one entry that packets between two ends carry.
    ///
    /// # Errors
    ///
    /// [`LabelStackError`].
    pub fn parse(plaintext: &'p [u8]) -> Result<Self, LabelStackError> {
        let (entry, payload) =
            LabelStackEntry::parse(plaintext).map_err(|_truncated| LabelStackError::Truncated)?;
        if !entry.bottom {
            return Err(LabelStackError::Deep);
        }
        Ok(Self { entry, payload })
    }

    /// The service class bits it came with.
    #[must_use]
    pub fn class(&self) -> MplsTrafficClass {
        self.entry.class
    }
}

/// How long an IP packet of `len` octets is once padded, on a device of this `mtu`.
///
/// Padding never makes a packet longer than the MTU, so that a full-size packet is not fragmented for its padding.
#[must_use]
pub fn padded_len(len: usize, mtu: usize) -> usize {
    len.next_multiple_of(PADDING_MULTIPLE).min(mtu.max(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Label;

    #[test]
    fn first_nibble_tells_ip_from_labels() {
        assert_eq!(Kind::of(&[]), Kind::Keepalive);
        assert_eq!(Kind::of(&[0x45, 0]), Kind::Ip);
        assert_eq!(Kind::of(&[0x60]), Kind::Ip);
        assert_eq!(Kind::of(&[0x00, 0x01]), Kind::Labelled);
        for nibble in (1..16).filter(|nibble| ![4, 6].contains(nibble)) {
            assert_eq!(Kind::of(&[nibble << 4]), Kind::Unknown(nibble));
        }
    }

    #[test]
    fn labelled_packet_gives_its_channel_and_payload() {
        let labelled = Labelled::parse(&[0x00, 0x00, 0xdd, 0xff, 1, 2]).unwrap();
        assert_eq!(labelled.entry.label, Label::ASSOCIATED);
        assert_eq!(labelled.class(), MplsTrafficClass::CONTROL);
        assert_eq!(labelled.payload, [1, 2]);
    }

    #[test]
    fn stack_without_bottom_or_cut_short_is_refused() {
        assert_eq!(Labelled::parse(&[0x00, 0x00, 0xd0, 0xff, 1, 2]), Err(LabelStackError::Deep));
        assert_eq!(Labelled::parse(&[0x00, 0x00, 0xdd]), Err(LabelStackError::Truncated));
    }

    #[test]
    fn padding_stops_at_the_mtu() {
        assert_eq!(padded_len(0, 1420), 0);
        assert_eq!(padded_len(1, 1420), 16);
        assert_eq!(padded_len(32, 1420), 32);
        assert_eq!(padded_len(1419, 1420), 1420);
        assert_eq!(padded_len(1500, 1420), 1500);
    }
}
