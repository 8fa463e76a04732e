//! The sending end: IP packets become entries of a bundle.

use std::time::Instant;

use tieline_wire::{
    ip::IpPacket,
    label::Label,
    packed::{Coded, ENTRIES_MAX, Entry, Feedback, ReferenceNumber, Window},
    transport::FiveTuple,
};

use super::{
    CONTEXTS_MAX, HEADERS_LEN_MAX,
    context::Context,
    numbers::Numbers,
    reference::{Headers, Reference},
};

/// What is to be sealed as one packet, in a buffer that somebody else owns.
#[derive(Debug)]
pub struct Bundle<'b> {
    room: &'b mut [u8],
    len: usize,
    entries: usize,
    packet_octets: usize,
}

impl<'b> Bundle<'b> {
    /// An empty one, which takes as much as there is `room`.
    pub fn new(room: &'b mut [u8]) -> Self {
        Self { room, len: 0, entries: 0, packet_octets: 0 }
    }

    /// Octets so far, from the start of the buffer; of no meaning while it is empty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Packets in it.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Octets of the packets in it, as they were before.
    #[must_use]
    pub fn packet_octets(&self) -> usize {
        self.packet_octets
    }

    fn push(&mut self, window: Window, entry: &Entry<'_>, packet: &[u8]) -> bool {
        let Some((first, _)) = self.room.split_first_mut() else { return false };
        if self.entries == 0 {
            (*first, self.len) = (window.0, 1);
        }
        if self.entries == ENTRIES_MAX {
            return false;
        }
        let Some(len) = entry.emit(&mut self.room[self.len..]) else { return false };
        self.len += len;
        self.entries += 1;
        self.packet_octets += packet.len();
        true
    }
}

/// The sending end of a label.
#[derive(Debug)]
pub struct Packer {
    label: Label,
    numbers: Numbers,
    /// Sorted by key, with the place in `contexts`.
    index: Vec<(Key, usize)>,
    contexts: Vec<Context>,
    /// Where a packet is restored, to see whether it comes out as it went in.
    restored: Vec<u8>,
}

/// Five-tuple and SSRC.
type Key = (FiveTuple, u32);

impl Packer {
    /// One that knows of no call, for a label that no other packer has had. `mtu` is the longest IP packet of the line.
    #[must_use]
    pub fn new(label: Label, mtu: usize) -> Self {
        Self {
            label,
            numbers: Numbers::new(),
            index: Vec::with_capacity(CONTEXTS_MAX),
            contexts: Vec::with_capacity(CONTEXTS_MAX),
            restored: vec![0; mtu + HEADERS_LEN_MAX],
        }
    }

    /// Under which label its bundles go.
    #[must_use]
    pub fn label(&self) -> Label {
        self.label
    }

    /// Puts an IP packet into `bundle`; false, and nothing changed there, if it does not fit any more. What does not fit an empty one is as
    /// long as the line carries, or no whole IP packet.
    pub fn push(&mut self, now: Instant, packet: &[u8], bundle: &mut Bundle<'_>) -> bool {
        if IpPacket::parse(packet).map_or(true, |ip| ip.total_len != packet.len()) {
            return false;
        }
        let whole = Entry::Whole { establish: None, packet };
        let Some((key, headers, payload)) = call_of(packet) else {
            return bundle.push(self.numbers.window(), &whole, packet);
        };
        let place = self.place_of(now, key, &headers, payload);
        let context = &mut self.contexts[place];
        context.on_packet(now, &headers, payload);
        let coded = context
            .code(&headers, payload, &self.numbers)
            .filter(|(reference, coded)| restores(reference, coded, packet, &mut self.restored))
            .map(|(_, coded)| coded);
        let offered =
            context.offer(now, &headers, payload, coded.as_ref(), &self.numbers).filter(|(_, reference)| {
                restores(reference, &itself(&headers, payload), packet, &mut self.restored)
            });
        let establish = offered.map(|(establish, _)| establish);
        let entry = match coded {
            Some(coded) => Entry::Coded(Coded { establish, ..coded }),
            None => Entry::Whole { establish, packet },
        };
        if !bundle.push(self.numbers.window(), &entry, packet) {
            return false;
        }
        if let Some((_, reference)) = offered {
            self.numbers.take(now);
            context.on_offered(now, reference);
        }
        true
    }

    /// Takes what the far end says of the references that it has.
    pub fn handle_feedback(&mut self, feedback: &Feedback) {
        if feedback.label == self.label {
            self.contexts.iter_mut().for_each(|context| context.on_feedback(feedback));
        }
    }

    /// The place of the call's context, which may have to be made, perhaps in the place of another's.
    fn place_of(&mut self, now: Instant, key: Key, headers: &Headers, payload: &[u8]) -> usize {
        let at = match self.index.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => return self.index[at].1,
            Err(at) => at,
        };
        let context = Context::new(now, headers, payload);
        if self.contexts.len() < CONTEXTS_MAX {
            self.contexts.push(context);
            self.index.insert(at, (key, self.contexts.len() - 1));
            return self.contexts.len() - 1;
        }
        let used = |(_, place): &(Key, usize)| self.contexts[*place].used;
        let oldest = (0..self.index.len()).min_by_key(|at| used(&self.index[*at])).unwrap_or_default();
        let (_, place) = self.index.remove(oldest);
        self.index.insert(at - usize::from(oldest < at), (key, place));
        self.contexts[place] = context;
        place
    }
}

fn call_of(packet: &[u8]) -> Option<(Key, Headers, &[u8])> {
    let (headers, payload) = Headers::of(packet)?;
    Some(((FiveTuple::of(packet)?, headers.ssrc()), headers, payload))
}

fn restores(reference: &Reference, coded: &Coded<'_>, packet: &[u8], out: &mut [u8]) -> bool {
    reference.restore(coded, out).is_some_and(|len| out[..len] == *packet)
}

/// A packet coded against the reference that it becomes.
fn itself<'p>(headers: &Headers, payload: &'p [u8]) -> Coded<'p> {
    Coded {
        number: ReferenceNumber::of(0),
        distance: 0,
        kind: Some(headers.variable.kind),
        timestamp: None,
        identification: None,
        has_length: false,
        establish: None,
        payload,
    }
}
