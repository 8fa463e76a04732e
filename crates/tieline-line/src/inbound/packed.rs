//! Bundles of packed calls as they come in, each label with what is known under it.

use std::{sync::Arc, time::Instant};

use tieline_wire::{label::Label, packed::Feedback};

use crate::{
    Shared,
    counters::DropReason,
    packing::{UnpackError, Unpacker},
};

/// Packets that came in one, still packed; for [`crate::Inbound::unpack`].
#[derive(Debug, PartialEq, Eq)]
pub struct Bundle<'d> {
    pub(super) label: Label,
    pub(super) octets: &'d [u8],
}

/// The receiving end of all labels for packed calls.
#[derive(Debug)]
pub(super) struct Unpackers {
    mtu: usize,
    /// Those of the labels that this end has given out and under which something came.
    unpackers: Vec<Unpacker>,
}

impl Unpackers {
    pub(super) fn new(mtu: usize) -> Self {
        Self { mtu, unpackers: Vec::new() }
    }

    /// Restores the packets of `bundle` in `out`, one after the other, and has `deliver` take each.
    pub(super) fn unpack(
        &mut self,
        now: Instant,
        bundle: &Bundle<'_>,
        out: &mut [u8],
        shared: &Arc<Shared>,
        mut deliver: impl FnMut(&mut [u8]),
    ) {
        let mut entries = self.of(bundle.label, shared).open(bundle.octets);
        while let Some(result) = entries.next(now, out) {
            match result {
                Ok(len) => deliver(&mut out[..len]),
                Err(error) => shared.counters.dropped(match error {
                    UnpackError::Malformed => DropReason::MalformedBundle,
                    UnpackError::UnknownReference => DropReason::UnknownReference,
                    UnpackError::TooLarge => DropReason::UnpackedTooLarge,
                }),
            }
        }
    }

    /// What the far end is to be told now of what came.
    pub(super) fn poll_feedback(&mut self, now: Instant) -> Option<Feedback> {
        self.unpackers.iter_mut().find_map(|unpacker| unpacker.poll_feedback(now))
    }

    /// That of a label that is understood. Those of labels that are not any more go when there is a new one.
    fn of(&mut self, label: Label, shared: &Shared) -> &mut Unpacker {
        let place = match self.unpackers.iter().position(|unpacker| unpacker.label() == label) {
            Some(place) => place,
            None => {
                self.unpackers.retain(|unpacker| shared.labels.is_packed(unpacker.label()));
                self.unpackers.push(Unpacker::new(label, self.mtu));
                self.unpackers.len() - 1
            }
        };
        &mut self.unpackers[place]
    }
}
