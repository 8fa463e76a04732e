//! The queue of a line's sending end: voice first, the rest fairly, and nothing waits anywhere else.
//!
//! What is to leave is sorted into five classes ([`ServiceClass`]) and waits here, in front of a shaper that is a little slower than the
//! line. So the queue is where it can be put in order, and not in a modem that puts everything in one.
//!
//! ```text
//!            control ─── first in, first out, a share of the line at most ──┐
//!            voice ───── first in, first out, half of the line at most ─────┤ strictly in this order
//!  packets ─ interactive ┐                                                  ├─▶ shaper ─▶ seal ─▶ medium
//!            standard    ├ by weight; in each, flows in turn ([`round`]) ───┘
//!            bulk        ┘ that keep their queues short ([`codel`])
//! ```
//!
//! What control and voice bring beyond their share goes with the standard packets of their flow: nothing is dropped for it, and nothing
//! starves. Voice that has waited for [`VOICE_WAIT_MAX`] is of no use any more and goes, from the head. The stream channel is held back
//! instead of dropped ([`Queues::streams_room`]).
//!
//! The order of use: enqueue what there is; [`Queues::poll_transmit`] until it gives nothing, telling [`Queues::handle_sent`] after each
//! packet what it took of the wire; then wait until [`Queues::poll_timeout`], or for more. It allocates nothing after it was made.
//!
//! Read first: RFC 8290 §4 and §5, RFC 8289 §5, RFC 3246 §2.

mod acks;
mod codel;
mod cutting;
mod flow;
mod pool;
mod round;
mod shaper;
mod table;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use tieline_wire::{
    ds::{self, Dscp, Ecn},
    label::{Label, LabelStackEntry},
    transport::FiveTuple,
};

use self::{
    codel::Codel,
    cutting::{Cutter, Cutting},
    pool::{Index, List, Pool},
    round::{Round, Verdict},
    shaper::Shaper,
    table::{Flows, STREAMS},
};
pub use self::{
    cutting::{Front, piece_len, piece_len_max},
    flow::{FlowFigures, FlowKey, VOICE_RATE_MAX, Why},
    shaper::{LATE_MAX, Rate},
    table::FLOWS_MAX,
};
use crate::{Shared, class::ServiceClass, counters::DropReason, flow as flow_hash};

/// Packets that wait in all queues together.
pub const PACKETS_MAX: usize = 4096;
/// How much of the line all packets that wait may take: what waits for longer is of no use to anybody.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// Octets that may always wait, however slow the line is.
const OCTETS_ALWAYS: usize = 64 << 10;
/// Packets of one flow that go at once where there is no more room.
const DROPPED_TOGETHER: usize = 16;

/// What the shaper leaves of the rate of the line: the queue must be here.
pub const SHAPED_PERCENT: u64 = 97;
/// What voice may take of the line.
pub const VOICE_PERCENT: u64 = 50;
/// What the machines at this end may take of the line with what they mark as control.
pub const CONTROL_PERCENT: u64 = 10;
/// What the headers around a packet take, about: Ethernet, IP, UDP, WireGuard, padding. What a packet really takes is known when it is sealed.
const AROUND: usize = 90;
/// By how much a class may be ahead of its share.
const SHARE_BURST_MAX: Duration = Duration::from_millis(20);
/// A packet of voice that has waited for longer comes too late.
pub const VOICE_WAIT_MAX: Duration = Duration::from_millis(20);

/// CoDel's target where the line is fast.
const TARGET_MIN: Duration = Duration::from_millis(5);
/// CoDel's interval.
const INTERVAL: Duration = Duration::from_millis(100);
/// How much of the line the stream channel may have waiting; the rest waits with QUIC, which sends less then.
const STREAMS_WAIT_MAX: Duration = Duration::from_millis(10);
/// Packets that the stream channel may always have waiting.
const STREAMS_PACKETS_MIN: usize = 4;

/// The classes that share what control and voice leave, and how many octets each may send in its turn: 8 to 7 to 1.
const WEIGHTED: [(ServiceClass, isize); 3] =
    [(ServiceClass::Interactive, 2400), (ServiceClass::Standard, 2100), (ServiceClass::Bulk, 300)];

/// A packet whose turn it is.
#[derive(Debug)]
pub struct Departure<'q> {
    /// The packet.
    pub octets: &'q [u8],
    /// What goes before it: of a piece, its control word, and the label of what was cut.
    pub front: Front,
    /// The label to push; none for an IP packet.
    pub label: Option<LabelStackEntry>,
    /// As what it was served.
    pub class: ServiceClass,
}

/// What is known of a frame before it is written.
#[derive(Clone, Copy, Debug)]
pub struct FrameShape {
    /// Octets that it has at most.
    pub len_max: usize,
    /// Where the IP packet in it begins.
    pub ip_at: usize,
    /// How it is marked if that packet is not.
    pub priority: Dscp,
}

/// One flow, to be shown.
#[derive(Clone, Copy, Debug)]
pub struct FlowReport {
    /// Whose packets; none for the stream channel.
    pub key: Option<FlowKey>,
    /// How it is served.
    pub class: ServiceClass,
    /// Why so.
    pub why: Why,
    /// What went through.
    pub figures: FlowFigures,
    /// Packets that wait now.
    pub waiting: usize,
}

/// The time during which the line was slower than those who send.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    since: Option<Instant>,
    before: Duration,
}

impl Backlog {
    /// Notes whether packets wait at `now`, and returns for how long any did so far.
    fn note(&mut self, now: Instant, waits: bool) -> Duration {
        if let Some(since) = self.since.take() {
            self.before += now.saturating_duration_since(since);
        }
        self.since = waits.then_some(now);
        self.before
    }
}

/// What leaves next: a packet, or the part of one.
struct Next {
    class: ServiceClass,
    label: Option<LabelStackEntry>,
    front: Front,
    index: Index,
    range: Range<usize>,
}

/// The queues of one line.
#[derive(Debug)]
pub struct Queues {
    shared: Arc<Shared>,
    pool: Pool,
    flows: Flows,
    codel: Codel,
    mtu: usize,
    /// The whole of the line, and what the shaper leaves of it.
    rate: Rate,
    shaper: Shaper,
    control: List,
    voice: List,
    /// How long the first packet of voice waits for others.
    voice_hold: Duration,
    control_share: Shaper,
    voice_share: Shaper,
    rounds: [Round; WEIGHTED.len()],
    deficits: [isize; WEIGHTED.len()],
    /// Whose turn it is in [`WEIGHTED`].
    turn: usize,
    /// Octets of all that waits.
    waiting: usize,
    /// Packets longer than this are cut; none: the far end does not make them whole.
    cutter: Cutter,
    /// The packet of which some pieces have left.
    cutting: Option<Cutting>,
    /// Since when packets have waited for the line, and for how long in all before that.
    backlog: Backlog,
    /// What left last: its place is free with the next call.
    leaving: Option<Index>,
}

impl Queues {
    /// Empty queues for packets of up to `mtu` octets on a line that carries `rate`.
    #[must_use]
    pub fn new(rate: Rate, mtu: usize, shared: Arc<Shared>, now: Instant) -> Self {
        let codel = codel_for(rate, mtu);
        Self {
            shared,
            pool: Pool::new(PACKETS_MAX, mtu),
            flows: Flows::new(&codel, now),
            codel,
            mtu,
            rate,
            shaper: Shaper::new(rate.percent(SHAPED_PERCENT), now),
            control: List::EMPTY,
            voice: List::EMPTY,
            voice_hold: Duration::ZERO,
            control_share: Shaper::new(rate.percent(CONTROL_PERCENT), now),
            voice_share: Shaper::new(rate.percent(VOICE_PERCENT), now),
            rounds: [Round::default(); WEIGHTED.len()],
            deficits: [0; WEIGHTED.len()],
            turn: 0,
            waiting: 0,
            cutter: Cutter::new(mtu),
            cutting: None,
            backlog: Backlog::default(),
            leaving: None,
        }
    }

    /// Has room for frames of up to `len_max` octets as well, which may be more than the medium takes.
    #[must_use]
    pub fn with_frames(mut self, len_max: usize) -> Self {
        self.pool = Pool::new(PACKETS_MAX, self.mtu.max(len_max));
        self
    }

    /// What the line carries.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The line carries another rate from now on.
    pub fn set_rate(&mut self, rate: Rate) {
        if rate == self.rate {
            return;
        }
        self.rate = rate;
        self.shaper.set_rate(rate.percent(SHAPED_PERCENT));
        self.control_share.set_rate(rate.percent(CONTROL_PERCENT));
        self.voice_share.set_rate(rate.percent(VOICE_PERCENT));
        self.cutter.set_rate(rate);
        self.codel = codel_for(rate, self.mtu);
        self.flows.set_codel(&self.codel);
    }

    /// Whether the far end makes packets whole that come in pieces: then those are cut behind which voice would wait for too long.
    pub fn set_cuts(&mut self, cuts: bool) {
        if cuts != self.cutter.is_on() {
            self.cutter.set(cuts.then_some(self.rate));
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0 && self.cutting.is_none()
    }

    /// Takes an IP packet of up to `len_max` octets, which `write` writes at the front of a buffer of that length or more, returning its
    /// length. Dropped and counted if there is no room.
    pub fn enqueue_ip(&mut self, now: Instant, len_max: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        if len_max > self.mtu {
            self.shared.counters.dropped(DropReason::TooLarge);
            return;
        }
        let Some(index) = self.place(now) else { return };
        let len = write(self.pool.place_mut(index)).min(self.mtu);
        self.pool.slot_mut(index).len = len as u16;
        let dscp = ds::of(self.pool.packet(index)).0;
        let class = self.classify(now, index, dscp);
        self.push(class, index);
    }

    /// Takes a packet that gets the label of `entry` and has an IP packet in it, or what else is on an Ethernet, from octet `ip_at` on; else
    /// as [`Self::enqueue_ip`]. `priority` is how it is marked if the IP packet is not. It may be longer than the medium takes: then it
    /// leaves in pieces.
    pub fn enqueue_frame(
        &mut self,
        now: Instant,
        entry: LabelStackEntry,
        frame: FrameShape,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        if !self.cutter.takes(frame.len_max, Some(entry)) || frame.len_max > self.pool.place_len() {
            self.shared.counters.dropped(DropReason::TooLarge);
            return;
        }
        let Some(index) = self.place(now) else { return };
        let len = write(self.pool.place_mut(index)).min(frame.len_max);
        let slot = self.pool.slot_mut(index);
        (slot.len, slot.ip_at) = (len as u16, frame.ip_at.min(len) as u8);
        let dscp = match ds::of(self.pool.ip_packet(index)).0 {
            Dscp::DF => frame.priority,
            marked => marked,
        };
        let class = match self.classify(now, index, dscp) {
            // Those are never cut, and nothing so long is one of them.
            ServiceClass::Control | ServiceClass::Voice if !self.cutter.fits(len, Some(entry)) => {
                ServiceClass::Standard
            }
            class => class,
        };
        self.pool.slot_mut(index).label = Some(LabelStackEntry { class: class.traffic_class(), ..entry });
        self.push(class, index);
    }

    /// Finds the flow of a packet, and the class in which it may go.
    fn classify(&mut self, now: Instant, index: Index, dscp: Dscp) -> ServiceClass {
        let len = usize::from(self.pool.slot(index).len);
        let packet = self.pool.ip_packet(index);
        let key = match FiveTuple::of(packet) {
            Some(tuple) => FlowKey { tuple, dscp },
            None => FlowKey { dscp, ..FlowKey::NONE },
        };
        let flow = self.flows.find(key, flow_hash::hash(packet), &self.codel, now);
        let class = self.flows.flow_mut(flow).classify(now, packet);
        self.pool.slot_mut(index).flow = flow;
        match class {
            ServiceClass::Control if takes(&mut self.control_share, now, len) => class,
            // Its share protects the others, where there are others.
            ServiceClass::Voice if takes(&mut self.voice_share, now, len) || self.is_rest_empty() => class,
            ServiceClass::Control | ServiceClass::Voice => ServiceClass::Standard,
            others => others,
        }
    }

    /// Takes a packet that gets the label of `entry`, one of the line's own. Dropped and counted if there is no room.
    pub fn enqueue_labelled(&mut self, now: Instant, entry: LabelStackEntry, packet: &[u8]) {
        if packet.len() > self.mtu {
            self.shared.counters.dropped(DropReason::TooLarge);
            return;
        }
        let Some(index) = self.place(now) else { return };
        self.pool.place_mut(index)[..packet.len()].copy_from_slice(packet);
        let slot = self.pool.slot_mut(index);
        (slot.len, slot.label, slot.flow) = (packet.len() as u16, Some(entry), STREAMS);
        if entry.label == Label::STREAMS {
            self.flows.flow_mut(STREAMS).last_packet = now;
        }
        self.push(ServiceClass::of_traffic_class(entry.class), index);
    }

    /// How many packets of the stream channel there is room for; what is more waits with QUIC.
    #[must_use]
    pub fn streams_room(&self) -> usize {
        let most = self.rate.octets_in(STREAMS_WAIT_MAX) / self.mtu;
        most.max(STREAMS_PACKETS_MIN).saturating_sub(self.flows.flow(STREAMS).list.packets)
    }

    /// The packet whose turn it is; none if there is none or the line has not carried those before it.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Departure<'_>> {
        self.free_leaving();
        if self.shaper.free_at() > now {
            return None;
        }
        let Next { class, label, front, index, range } =
            self.next_piece(now).or_else(|| self.next_packet(now))?;
        Some(Departure { octets: &self.pool.packet(index)[range], front, label, class })
    }

    fn next_packet(&mut self, now: Instant) -> Option<Next> {
        let (class, index) = self.next(now)?;
        let slot = *self.pool.slot(index);
        let (len, label) = (usize::from(slot.len), slot.label);
        self.waiting -= len;
        if slot.flow != STREAMS || label.is_some_and(|entry| entry.label == Label::STREAMS) {
            let waited = now.saturating_duration_since(slot.queued);
            self.flows.flow_mut(slot.flow).on_sent(len, waited);
        }
        self.cutting = self.cutting.take().or_else(|| {
            let numbers = &self.shared.piece_numbers;
            self.cutter.begin(class, index, len, label, numbers)
        });
        if self.cutting.is_some_and(|cutting| cutting.index == index) {
            return self.next_piece(now);
        }
        self.leaving = Some(index);
        Some(Next { class, label, front: Front::default(), index, range: 0..len })
    }

    /// The next piece of the packet that is being cut, unless control or voice go first.
    fn next_piece(&mut self, now: Instant) -> Option<Next> {
        if self.cutting.is_some_and(|cutting| !cutting.is_first()) {
            self.drop_late_voice(now);
            let is_voice_due = self.voice_due().is_some_and(|due| due <= now);
            if !self.control.is_empty() || is_voice_due {
                return None;
            }
        }
        let cutting = self.cutting.as_mut()?;
        let (class, index) = (cutting.class, cutting.index);
        let (front, range, is_last) = Cutter::next(cutting);
        if is_last {
            self.cutting = None;
            self.leaving = Some(index);
        }
        let label = Some(LabelStackEntry::only(Label::PIECES, class.traffic_class()));
        Some(Next { class, label, front, index, range })
    }

    /// Notes that a packet left and took so many octets of the wire, headers of all layers included.
    pub fn handle_sent(&mut self, now: Instant, octets: usize) {
        self.shaper.send(now, octets);
    }

    /// When the next packet may leave; none if none waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        let is_only_voice = self.control.is_empty() && self.cutting.is_none() && self.is_rest_empty();
        let due = self.voice_due().filter(|_| is_only_voice);
        Some(due.map_or(self.shaper.free_at(), |due| due.max(self.shaper.free_at())))
    }

    /// From now on the first packet of voice waits so long for others, with which it may leave in one ([`Self::take_voice`]).
    pub fn set_voice_hold(&mut self, hold: Duration) {
        self.voice_hold = hold;
    }

    /// Offers what waits of voice to `take`, which says whether it takes it, until it does not. What it takes has left.
    pub fn take_voice(&mut self, now: Instant, mut take: impl FnMut(&[u8]) -> bool) {
        self.free_leaving();
        self.drop_late_voice(now);
        while self.voice.first().is_some_and(|index| take(self.pool.packet(index))) {
            let Some(index) = self.voice.pop(&self.pool) else { return };
            let slot = *self.pool.slot(index);
            self.waiting -= usize::from(slot.len);
            let waited = now.saturating_duration_since(slot.queued);
            self.flows.flow_mut(slot.flow).on_sent(slot.len.into(), waited);
            self.pool.release(index);
        }
    }

    /// How many calls there are, or what else goes as voice.
    #[must_use]
    pub fn calls(&self, now: Instant) -> usize {
        self.flows.recent(now).filter(|flow| flow.class == ServiceClass::Voice).count()
    }

    /// When the first packet of voice has waited for others for as long as it may.
    fn voice_due(&self) -> Option<Instant> {
        Some(self.pool.slot(self.voice.first()?).queued + self.voice_hold)
    }

    fn is_rest_empty(&self) -> bool {
        self.rounds.iter().all(Round::is_empty)
    }

    /// For how long packets have waited for the line so far, all in all. To be asked when those have left that may.
    pub fn backlogged(&mut self, now: Instant) -> Duration {
        let waits = !self.is_empty();
        self.backlog.note(now, waits)
    }

    /// The flows that had packets of late.
    pub fn flows(&self, now: Instant) -> impl Iterator<Item = FlowReport> {
        self.flows.recent(now).map(|flow| FlowReport {
            key: flow.key.is_ip().then_some(flow.key),
            class: flow.class,
            why: flow.why,
            figures: flow.figures,
            waiting: flow.list.packets,
        })
    }

    /// An empty place; the packets of the fattest flow go for it. `None` if there is none, which is counted.
    fn place(&mut self, now: Instant) -> Option<Index> {
        self.free_leaving();
        let octets_max = self.rate.octets_in(WAIT_MAX).max(OCTETS_ALWAYS);
        if self.waiting >= octets_max {
            self.drop_from_fattest();
        }
        let place = self.pool.take(STREAMS, now).or_else(|| {
            self.drop_from_fattest();
            self.pool.take(STREAMS, now)
        });
        if place.is_none() {
            self.shared.counters.dropped(DropReason::QueueFull);
        }
        place
    }

    fn free_leaving(&mut self) {
        if let Some(index) = self.leaving.take() {
            self.pool.release(index);
        }
    }

    /// Drops from the head of the flow that has most waiting, so that who sends too much hears of it soon.
    fn drop_from_fattest(&mut self) {
        let Some(fattest) = self.flows.fattest() else { return };
        let most = self.flows.flow(fattest).list.packets.div_ceil(2).min(DROPPED_TOGETHER);
        for _ in 0..most {
            let Some(index) = self.flows.flow_mut(fattest).list.pop(&self.pool) else { return };
            self.drop_packet(index, DropReason::QueueFull);
        }
    }

    fn drop_packet(&mut self, index: Index, reason: DropReason) {
        let slot = *self.pool.slot(index);
        self.waiting -= usize::from(slot.len);
        self.flows.flow_mut(slot.flow).figures.dropped += 1;
        self.pool.release(index);
        self.shared.counters.dropped(reason);
    }

    fn push(&mut self, class: ServiceClass, index: Index) {
        let slot = *self.pool.slot(index);
        self.waiting += usize::from(slot.len);
        match class {
            ServiceClass::Control => self.control.push(&mut self.pool, index),
            ServiceClass::Voice => self.voice.push(&mut self.pool, index),
            weighted => {
                if self.replaces_last(index) {
                    return;
                }
                self.flows.flow_mut(slot.flow).list.push(&mut self.pool, index);
                let place = WEIGHTED.iter().position(|(class, _)| *class == weighted).unwrap_or(0);
                self.rounds[place].add(&mut self.flows, slot.flow);
            }
        }
    }

    /// Puts a packet in the place of the last one of its flow that waits, if it says all that that one says. The first one stays: where
    /// acknowledgements do not wait, none is missed.
    fn replaces_last(&mut self, index: Index) -> bool {
        let list = self.flows.flow(self.pool.slot(index).flow).list;
        let Some(last) = list.last().filter(|last| list.first() != Some(*last)) else { return false };
        let [later, earlier] = [index, last].map(|index| self.pool.packet(index));
        let ip_at = usize::from(self.pool.slot(index).ip_at);
        let (Some((of_later, later)), Some((of_earlier, earlier))) =
            (later.split_at_checked(ip_at), earlier.split_at_checked(ip_at))
        else {
            return false;
        };
        if of_later != of_earlier || later.len() != earlier.len() || !acks::supersedes(later, earlier) {
            return false;
        }
        self.pool.copy(index, last);
        self.waiting -= usize::from(self.pool.slot(index).len);
        self.pool.release(index);
        self.shared.counters.acks_thinned.add(self.pool.packet(last).len());
        true
    }

    fn next(&mut self, now: Instant) -> Option<(ServiceClass, Index)> {
        if let Some(index) = self.control.pop(&self.pool) {
            return Some((ServiceClass::Control, index));
        }
        self.drop_late_voice(now);
        if self.voice_due().is_some_and(|due| due <= now)
            && let Some(index) = self.voice.pop(&self.pool)
        {
            return Some((ServiceClass::Voice, index));
        }
        // A packet that is being cut comes first of the rest: no other is cut before it is through.
        if self.cutting.is_some() { None } else { self.next_weighted(now) }
    }

    fn drop_late_voice(&mut self, now: Instant) {
        let is_late = |queues: &Self, index| {
            now.saturating_duration_since(queues.pool.slot(index).queued) > VOICE_WAIT_MAX
        };
        while self.voice.first().is_some_and(|index| is_late(self, index)) {
            if let Some(index) = self.voice.pop(&self.pool) {
                self.drop_packet(index, DropReason::VoiceTooLate);
            }
        }
    }

    /// The classes in turn, each for as many octets as its weight (deficit round robin).
    fn next_weighted(&mut self, now: Instant) -> Option<(ServiceClass, Index)> {
        while self.rounds.iter().any(|round| !round.is_empty()) {
            let turn = self.turn;
            let (class, quantum) = WEIGHTED[turn];
            if self.rounds[turn].is_empty() {
                self.deficits[turn] = 0;
            } else if self.deficits[turn] > 0 {
                if let Some(index) = self.next_of_round(turn, now) {
                    self.deficits[turn] -= self.pool.packet(index).len().cast_signed();
                    return Some((class, index));
                }
                continue;
            } else {
                self.deficits[turn] += quantum;
            }
            self.turn = (turn + 1) % WEIGHTED.len();
        }
        None
    }

    /// The next packet of a class that its flow's CoDel lets through.
    fn next_of_round(&mut self, turn: usize, now: Instant) -> Option<Index> {
        let Self { rounds, flows, pool, shared, waiting, .. } = self;
        rounds[turn].next(flows, pool, now, |flows, pool, index, now| {
            let slot = *pool.slot(index);
            let flow = flows.flow_mut(slot.flow);
            // The last packet of a queue is no standing queue, however long it waited (RFC 8289 §5.5). QUIC is held back instead.
            let waited = now.saturating_duration_since(slot.queued);
            let waited = if flow.list.is_empty() { Duration::ZERO } else { waited };
            if slot.flow == STREAMS || !flow.codel.is_to_drop(waited, now) {
                return Verdict::Send;
            }
            if matches!(ds::of(pool.ip_packet(index)).1, Ecn::Ect0 | Ecn::Ect1) {
                ds::set_ecn(pool.ip_packet_mut(index), Ecn::Ce);
                flow.figures.marked += 1;
                shared.counters.queue_marked.add(slot.len.into());
                return Verdict::Send;
            }
            flow.figures.dropped += 1;
            *waiting -= usize::from(slot.len);
            pool.release(index);
            shared.counters.dropped(DropReason::QueueTooLong);
            Verdict::Drop
        })
    }
}

/// A target below the time that one packet takes would drop every second packet (RFC 8289 §4.4).
fn codel_for(rate: Rate, mtu: usize) -> Codel {
    let packet = rate.time_for((mtu + AROUND) * 3 / 2);
    Codel::new(TARGET_MIN.max(packet), INTERVAL.max(packet * 4))
}

/// Whether a class takes a packet within its share.
fn takes(share: &mut Shaper, now: Instant, octets: usize) -> bool {
    let takes = share.backlog(now) <= SHARE_BURST_MAX;
    if takes {
        share.send(now, octets + AROUND);
    }
    takes
}
