//! On a slow line a long packet leaves in pieces, so that voice goes in between (RFC 4623; [`crate::pieces`] makes it whole again).

use std::{ops::Range, time::Duration};

use tieline_wire::{
    control_word::{ControlWord, Part, next_sequence},
    label::LabelStackEntry,
};

use super::{AROUND, Rate, pool::Index};
use crate::class::ServiceClass;

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

    /// The octets; often none.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// What decides about cutting.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cutter {
    /// None: nothing is cut.
    piece_len_max: Option<usize>,
    sequence: u16,
}

/// A packet of which pieces have left or will.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutting {
    pub(super) class: ServiceClass,
    pub(super) index: Index,
    label: Option<LabelStackEntry>,
    len: usize,
    piece_len: usize,
    /// Octets that have left.
    sent: usize,
}

impl Cutting {
    pub(super) fn is_first(&self) -> bool {
        self.sent == 0
    }
}

impl Cutter {
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

    /// Begins to cut a packet, if it is too long to leave as it is; control and voice never are cut.
    pub(super) fn begin(
        &self,
        class: ServiceClass,
        index: Index,
        len: usize,
        label: Option<LabelStackEntry>,
    ) -> Option<Cutting> {
        let piece_len_max = self.piece_len_max.filter(|most| len > *most)?;
        if matches!(class, ServiceClass::Control | ServiceClass::Voice) {
            return None;
        }
        // All of about one length: the last one alone would cost the headers of a whole one.
        let piece_len = len.div_ceil(len.div_ceil(piece_len_max));
        Some(Cutting { class, index, label, len, piece_len, sent: 0 })
    }

    /// The next piece: what goes before it, where it is in the packet, and whether it is the last.
    pub(super) fn next(&mut self, cutting: &mut Cutting) -> (Front, Range<usize>, bool) {
        let is_first = cutting.is_first();
        let range = cutting.sent..cutting.len.min(cutting.sent + cutting.piece_len);
        cutting.sent = range.end;
        let is_last = range.end == cutting.len;
        self.sequence = next_sequence(self.sequence);
        let word = ControlWord { part: Part::new(is_first, is_last), sequence: self.sequence };
        let mut front = Front { len: ControlWord::LEN, ..Front::default() };
        let (control_word, label) = front.octets.split_at_mut(ControlWord::LEN);
        control_word.copy_from_slice(&word.emit());
        if let Some(entry) = cutting.label.filter(|_| is_first) {
            let mut octets = [0; LabelStackEntry::LEN];
            entry.emit(&mut octets);
            label.copy_from_slice(&octets);
            front.len = Front::LEN_MAX;
        }
        (front, range, is_last)
    }
}
