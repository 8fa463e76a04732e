//! On a slow line a long packet leaves in pieces, so that voice goes in between (RFC 4623; [`crate::pieces`] makes it whole again).

use std::{ops::Range, time::Duration};

use tieline_wire::{
    control_word::{ControlWord, Part, next_sequence},
    label::LabelStackEntry,
};

use super::{AROUND, Rate, pool::Index};
use crate::{class::ServiceClass, pieces::PieceNumbers};

/// How long voice may have to wait behind one piece.
pub(super) const PIECE_TIME_MAX: Duration = Duration::from_millis(5);
/// Pieces are not made shorter than this, however slow the line is: each has the headers of a packet.
const PIECE_LEN_MIN: usize = 128;

/// What goes before the octets of a packet that leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Front {
    octets: [u8; Self::LEN_MAX],
    len: usize,
}

impl Front {
    /// A control word and a label.
    pub const LEN_MAX: usize = ControlWord::LEN + LabelStackEntry::LEN;

    /// Before a piece: its number, and the label of what was cut before the first.
    #[must_use]
    pub fn of_piece(word: ControlWord, label: Option<LabelStackEntry>) -> Self {
        let mut front = Self { len: ControlWord::LEN, ..Self::default() };
        let (control_word, place) = front.octets.split_at_mut(ControlWord::LEN);
        control_word.copy_from_slice(&word.emit());
        if let Some(entry) = label {
            let mut octets = [0; LabelStackEntry::LEN];
            entry.emit(&mut octets);
            place.copy_from_slice(&octets);
            front.len = Self::LEN_MAX;
        }
        front
    }

    /// The octets; often none.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// What decides about cutting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutter {
    /// Behind how much voice may have to wait. None: nothing is cut.
    piece_len_max: Option<usize>,
    /// Octets of the longest packet that the medium takes.
    mtu: usize,
}

/// A packet of which pieces have left or will.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutting {
    pub(super) class: ServiceClass,
    pub(super) index: Index,
    label: Option<LabelStackEntry>,
    len: usize,
    piece_len: usize,
    /// The number of its next piece.
    sequence: u16,
    /// Octets that have left.
    sent: usize,
}

impl Cutting {
    pub(super) fn is_first(&self) -> bool {
        self.sent == 0
    }
}

impl Cutter {
    /// Cuts nothing yet, for a medium that takes packets of `mtu` octets.
    pub(super) fn new(mtu: usize) -> Self {
        Self { piece_len_max: None, mtu }
    }

    /// Cuts for a line of this rate from now on, or not at all.
    pub(super) fn set(&mut self, rate: Option<Rate>) {
        self.piece_len_max =
            rate.map(|rate| rate.octets_in(PIECE_TIME_MAX).saturating_sub(AROUND).max(PIECE_LEN_MIN));
    }

    /// Whether anything is cut.
    pub(super) fn is_on(&self) -> bool {
        self.piece_len_max.is_some()
    }

    pub(super) fn set_rate(&mut self, rate: Rate) {
        if self.is_on() {
            self.set(Some(rate));
        }
    }

    /// Whether a packet of `len` octets with `label` leaves as it is, or in pieces.
    pub(super) fn takes(&self, len: usize, label: Option<LabelStackEntry>) -> bool {
        self.is_on() || self.fits(len, label)
    }

    /// Whether the medium takes a packet of `len` octets with `label`.
    pub(super) fn fits(&self, len: usize, label: Option<LabelStackEntry>) -> bool {
        len + label.map_or(0, |_| LabelStackEntry::LEN) <= self.mtu
    }

    /// Begins to cut a packet, if it is too long to leave as it is; control and voice never are cut.
    pub(super) fn begin(
        &self,
        class: ServiceClass,
        index: Index,
        len: usize,
        label: Option<LabelStackEntry>,
        numbers: &PieceNumbers,
    ) -> Option<Cutting> {
        let most = self.piece_len_max.filter(|most| len > *most || !self.fits(len, label))?;
        if matches!(class, ServiceClass::Control | ServiceClass::Voice) {
            return None;
        }
        let piece_len = piece_len(len, most.min(piece_len_max(self.mtu)));
        let sequence = numbers.take(len.div_ceil(piece_len));
        Some(Cutting { class, index, label, len, piece_len, sequence, sent: 0 })
    }

    /// The next piece: what goes before it, where it is in the packet, and whether it is the last.
    pub(super) fn next(cutting: &mut Cutting) -> (Front, Range<usize>, bool) {
        let is_first = cutting.is_first();
        let range = cutting.sent..cutting.len.min(cutting.sent + cutting.piece_len);
        cutting.sent = range.end;
        let is_last = range.end == cutting.len;
        let word = ControlWord { part: Part::new(is_first, is_last), sequence: cutting.sequence };
        cutting.sequence = next_sequence(cutting.sequence);
        (Front::of_piece(word, cutting.label.filter(|_| is_first)), range, is_last)
    }
}

/// Octets of the longest piece of a line that takes packets of `mtu` octets.
#[must_use]
pub fn piece_len_max(mtu: usize) -> usize {
    mtu.saturating_sub(LabelStackEntry::LEN + Front::LEN_MAX).max(PIECE_LEN_MIN)
}

/// Octets of each piece of a packet of `len` octets, so that none has more than `most`: all of about one length, for the last one alone would
/// cost the headers of a whole one.
#[must_use]
pub fn piece_len(len: usize, most: usize) -> usize {
    len.div_ceil(len.div_ceil(most).max(1))
}
