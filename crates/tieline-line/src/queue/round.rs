//! The flows of one class that have packets, and which of them sends next: deficit round robin with a list of new flows (RFC 8290 §4).
//!
//! A flow that had no packets for a while is *new* and goes before all others, for as many octets as its quantum. So what sends little, a
//! question, a keystroke, a directory listing, never waits behind what sends much; no mark is needed for that. A flow that has used up its
//! quantum goes to the end of the *old* ones, and also a new one that has become empty, so that none stays new by sending in small bits.

use std::time::Instant;

use super::{
    flow::Standing,
    pool::{Index, Pool},
    table::Flows,
};

/// Octets that a flow may send in its turn; small, so that small packets have their turn often.
const QUANTUM: isize = 300;

/// Flows one behind the other.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    first: Option<Index>,
    last: Option<Index>,
}

impl Chain {
    fn push(&mut self, flows: &mut Flows, index: Index) {
        flows.flow_mut(index).next = None;
        match self.last {
            Some(last) => flows.flow_mut(last).next = Some(index),
            None => self.first = Some(index),
        }
        self.last = Some(index);
    }

    fn pop(&mut self, flows: &Flows) {
        if let Some(first) = self.first {
            self.first = flows.flow(first).next;
            if self.first.is_none() {
                self.last = None;
            }
        }
    }
}

/// What becomes of a packet whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    Drop,
}

/// The flows of a class that have packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    new: Chain,
    old: Chain,
}

impl Round {
    /// Whether no flow is in it. One that is may have no packets any more.
    pub(super) fn is_empty(&self) -> bool {
        self.new.first.is_none() && self.old.first.is_none()
    }

    /// Takes in a flow that has got a packet.
    pub(super) fn add(&mut self, flows: &mut Flows, index: Index) {
        let flow = flows.flow_mut(index);
        if flow.standing == Standing::Idle {
            (flow.standing, flow.deficit) = (Standing::New, QUANTUM);
            self.new.push(flows, index);
        }
    }

    /// The next packet; `judge` says of each in turn whether it is sent or dropped, and takes care of those that are dropped. None if
    /// there is none.
    pub(super) fn next(
        &mut self,
        flows: &mut Flows,
        pool: &mut Pool,
        now: Instant,
        mut judge: impl FnMut(&mut Flows, &mut Pool, Index, Instant) -> Verdict,
    ) -> Option<Index> {
        loop {
            let (is_new, index) = match (self.new.first, self.old.first) {
                (Some(index), _) => (true, index),
                (None, Some(index)) => (false, index),
                (None, None) => return None,
            };
            let flow = flows.flow_mut(index);
            if flow.deficit <= 0 {
                flow.deficit += QUANTUM;
                flow.standing = Standing::Old;
                self.leave(flows, is_new);
                self.old.push(flows, index);
                continue;
            }
            while let Some(packet) = flows.flow_mut(index).list.pop(pool) {
                if judge(flows, pool, packet, now) == Verdict::Send {
                    flows.flow_mut(index).deficit -= pool.packet(packet).len().max(1).cast_signed();
                    return Some(packet);
                }
            }
            self.leave(flows, is_new);
            if is_new && self.old.first.is_some() {
                flows.flow_mut(index).standing = Standing::Old;
                self.old.push(flows, index);
            } else {
                flows.flow_mut(index).standing = Standing::Idle;
            }
        }
    }

    fn leave(&mut self, flows: &Flows, is_new: bool) {
        if is_new { self.new.pop(flows) } else { self.old.pop(flows) }
    }
}
