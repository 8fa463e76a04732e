//! Whether a sending thread packs the calls that wait, and with what.

use std::time::{Duration, Instant};

use tieline_line::{
    labels::Labels,
    packing::{Load, Packer, bundle_len_max, hold},
    queue::Queues,
};
use tieline_wire::label::LabelStackEntry;

/// What is left of a packet for the number that protects a bundle, and for the packet that repairs it, which is longer still.
const PROTECTION_LEN: usize = 40;

/// The packing of one sending thread.
pub(super) struct Packing {
    lane: usize,
    mtu: usize,
    packer: Option<Packer>,
    load: Load,
    is_worth_it: bool,
}

impl Packing {
    pub(super) fn new(lane: usize, mtu: usize, now: Instant) -> Self {
        Self { lane, mtu, packer: None, load: Load::new(now), is_worth_it: false }
    }

    /// Takes what control knows, and looks from time to time whether it pays to pack.
    pub(super) fn follow(&mut self, now: Instant, labels: &Labels, queues: &mut Queues) {
        let label = labels.to_pack(self.lane);
        if self.packer.as_ref().map(Packer::label) != label {
            self.packer = label.map(|label| Packer::new(label, self.mtu));
        }
        if let (Some(packer), Some(feedback)) = (&mut self.packer, labels.take_feedback(self.lane)) {
            packer.handle_feedback(&feedback);
        }
        if self.load.handle_timeout(now, queues.rate().bits_per_second() / 8) {
            let hold = hold(queues.calls(now), self.load.percent()).filter(|_| self.packer.is_some());
            self.is_worth_it = hold.is_some();
            queues.set_voice_hold(hold.unwrap_or(Duration::ZERO));
        }
    }

    /// So many octets of calls went out.
    pub(super) fn add_load(&mut self, octets: usize) {
        self.load.add(octets);
    }

    /// With what to pack, and how many octets a bundle may have; none if it does not pay.
    pub(super) fn packer(&mut self, queues: &Queues) -> Option<(&mut Packer, usize)> {
        let rate = queues.rate().bits_per_second() / 8;
        let len_max = bundle_len_max(self.mtu - LabelStackEntry::LEN - PROTECTION_LEN, Some(rate));
        Some((self.packer.as_mut().filter(|_| self.is_worth_it)?, len_max))
    }
}
