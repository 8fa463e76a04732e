//! How a sending thread protects the voice that it releases.

use std::time::Instant;

use tieline_line::{
    class::ServiceClass,
    protection::{Figures, Protector},
    queue::{Departure, Queues},
};
use tieline_wire::{
    label::{Label, LabelStackEntry, MplsTrafficClass},
    protected::HEADER_LEN,
};

use super::Ports;

/// Protection of what a sending thread releases, towards a far end that takes protected packets.
pub(super) struct Protection<'s> {
    protector: &'s mut Protector,
    label: Label,
    figures: &'s Figures,
    lane: usize,
}

impl<'s> Protection<'s> {
    pub(super) fn of(protector: &'s mut Option<Protector>, ports: &'s Ports, lane: usize) -> Option<Self> {
        let figures = &ports.shared.protection;
        let (protector, label) = (protector.as_mut()?, ports.shared.labels.to_protect()?);
        // What goes by two paths needs no repair besides.
        protector.set_on(figures.is_on() && ports.shared.routes().copying.is_none());
        Some(Self { protector, label, figures, lane })
    }

    /// Whether repair packets are made.
    pub(super) fn is_on(&self) -> bool {
        self.figures.is_on()
    }

    /// Voice, and what protects it is not protected again.
    pub(super) fn is_for(&self, departure: &Departure<'_>) -> bool {
        let is_protected = departure.label.is_some_and(|entry| entry.label == self.label);
        departure.class == ServiceClass::Voice && !is_protected
    }

    /// Gives `packet`, whose first [`HEADER_LEN`] octets are free for it, its number; the label to seal it under, or none if it is to go as
    /// it is.
    pub(super) fn number(&mut self, now: Instant, packet: &mut [u8]) -> Option<LabelStackEntry> {
        let (front, packet) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        *front = self.protector.handle_packet(now, packet)?;
        Some(LabelStackEntry::only(self.label, MplsTrafficClass::VOICE))
    }

    /// Puts the repair packets that are due into `queues`, where they go with voice.
    pub(super) fn repair(&mut self, now: Instant, queues: &mut Queues) -> bool {
        let entry = LabelStackEntry::only(self.label, MplsTrafficClass::VOICE);
        let mut busy = false;
        while let Some(repair) = self.protector.poll_transmit(now) {
            queues.enqueue_labelled(now, entry, repair);
            busy = true;
        }
        self.figures.publish_sent(self.lane, &self.protector.counts());
        busy
    }
}
