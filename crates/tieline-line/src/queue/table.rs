//! All flows that are known: a table of sets, so that two flows share a place only where more than [`WAYS`] of one set have packets at once.

use std::time::{Duration, Instant};

use super::{
    codel::Codel,
    flow::{Flow, FlowKey, Standing, Why},
    pool::Index,
};
use crate::class::ServiceClass;

/// Flows that are known at once.
pub const FLOWS_MAX: usize = 1024;
/// Places in which a flow may be.
const WAYS: usize = 8;
/// Where the packets of the stream channel are, behind all sets.
pub(super) const STREAMS: Index = FLOWS_MAX as Index;
/// A flow that was silent for so long is not shown.
const SHOWN_FOR: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Flows {
    flows: Vec<Flow>,
}

impl Flows {
    pub(super) fn new(codel: &Codel, now: Instant) -> Self {
        let mut flows: Vec<_> =
            (0..=FLOWS_MAX).map(|_| Flow::new(FlowKey::NONE, codel.clone(), now)).collect();
        let streams = &mut flows[usize::from(STREAMS)];
        (streams.class, streams.why) = (ServiceClass::Bulk, Why::Own);
        Self { flows }
    }

    /// The place of the flow with this `key`, whose hash is `hash`; it is made if it was not known, in the place of the one of its set that
    /// was silent for longest. If all of them have packets, one of them has these as well. One that has none any more but whose turn will
    /// still come keeps its place too: the flows behind it in the order of its class are found through it.
    pub(super) fn find(&mut self, key: FlowKey, hash: u32, codel: &Codel, now: Instant) -> Index {
        let set = hash as usize % (FLOWS_MAX / WAYS) * WAYS;
        let ways = set..set + WAYS;
        if let Some(found) = ways.clone().find(|way| self.flows[*way].key == key) {
            return found as Index;
        }
        let idle = ways.filter(|way| self.flows[*way].standing == Standing::Idle);
        match idle.min_by_key(|way| (self.flows[*way].key != FlowKey::NONE, self.flows[*way].last_packet)) {
            Some(way) => {
                self.flows[way] = Flow::new(key, codel.clone(), now);
                way as Index
            }
            None => (set + (hash >> 16) as usize % WAYS) as Index,
        }
    }

    pub(super) fn flow(&self, index: Index) -> &Flow {
        &self.flows[usize::from(index)]
    }

    pub(super) fn flow_mut(&mut self, index: Index) -> &mut Flow {
        &mut self.flows[usize::from(index)]
    }

    /// The flow that has the most octets waiting, of those whose packets may be dropped: the stream channel is held back instead.
    pub(super) fn fattest(&self) -> Option<Index> {
        let fattest = (0..FLOWS_MAX).max_by_key(|index| self.flows[*index].list.octets)?;
        (!self.flows[fattest].list.is_empty()).then_some(fattest as Index)
    }

    /// Sets how long packets may wait, for all of them.
    pub(super) fn set_codel(&mut self, codel: &Codel) {
        for flow in &mut self.flows {
            flow.codel.set_target(codel);
        }
    }

    /// The flows that had packets of late.
    pub(super) fn recent(&self, now: Instant) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(move |flow| {
            let is_known = flow.key.is_ip() || flow.why == Why::Own;
            is_known
                && flow.figures.packets + flow.figures.dropped > 0
                && now.saturating_duration_since(flow.last_packet) < SHOWN_FOR
        })
    }
}

#[cfg(test)]
mod tests {
    use tieline_wire::{ds::Dscp, transport::FiveTuple};

    use super::*;

    fn key(port: u16) -> FlowKey {
        let address = |port| std::net::SocketAddr::from(([10, 1, 0, 7], port));
        let tuple = FiveTuple { protocol: 17, source: address(port), destination: address(9) };
        FlowKey { tuple, dscp: Dscp::DF }
    }

    fn flows() -> (Flows, Codel, Instant) {
        let codel = Codel::new(Duration::from_millis(5), Duration::from_millis(100));
        let now = Instant::now();
        (Flows::new(&codel, now), codel, now)
    }

    #[test]
    fn a_flow_is_found_again_and_one_marked_otherwise_is_another() {
        let (mut flows, codel, now) = flows();
        let first = flows.find(key(1), 7, &codel, now);
        assert_eq!(flows.find(key(1), 7, &codel, now), first);
        assert_ne!(flows.find(key(2), 7, &codel, now), first);
        assert_ne!(flows.find(FlowKey { dscp: Dscp::EF, ..key(1) }, 7, &codel, now), first);
    }

    #[test]
    fn the_flow_of_a_set_that_was_silent_for_longest_goes() {
        let (mut flows, codel, start) = flows();
        let at = |second| start + Duration::from_secs(second);
        for port in 0..8 {
            flows.find(key(port), 7, &codel, at(u64::from(port)));
        }
        let oldest = flows.find(key(0), 7, &codel, at(8));
        flows.flow_mut(oldest).last_packet = at(8);
        let gone = flows.find(key(1), 7, &codel, at(8));
        assert_eq!(flows.find(key(8), 7, &codel, at(9)), gone);
        assert_eq!(flows.find(key(0), 7, &codel, at(9)), oldest);
    }

    #[test]
    fn a_flow_whose_turn_will_come_keeps_its_place() {
        let (mut flows, codel, now) = flows();
        for port in 0..8 {
            let index = flows.find(key(port), 7, &codel, now);
            flows.flow_mut(index).standing = if port % 2 == 0 { Standing::New } else { Standing::Old };
        }
        let shared = flows.find(key(8), 7, &codel, now);
        assert!(shared < 8 + 7 * 8 && flows.flow(shared).key != key(8), "it shares the place of another");
    }
}
