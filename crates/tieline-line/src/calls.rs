//! How good the calls are: every RTP stream is watched as it comes out of the line.
//!
//! Nobody has to be asked: streams are recognised by evidence ([`crate::rtp_evidence`]), their packets are numbered and dated, so what is
//! lost, late or unsteady is seen from outside, and the E-model ([`crate::emodel`]) says what that does to a listener. Sound itself is not
//! looked at, nor SIP.
//!
//! A call is two streams, one each way. Each is watched at the end where it leaves the line, for there all that the line did to it
//! shows; what happened to it before the line shows too.
//!
//! The life of a stream: packets convince, it is followed; every [`stream::INTERVAL`] it is rated; after [`IDLE_MAX`] without a packet it
//! has ended. Of streams that have ended, and of hours, some are kept.
//!
//! [`Calls`] is a value: packets in ([`Calls::handle_packet`]), time in ([`Calls::handle_timeout`], when [`Calls::poll_timeout`] says so),
//! and [`Calls::snapshot`] for who wants to know. Nothing is allocated for a packet, only for a stream; what is no UDP costs a look at two
//! octets.

pub mod codec;
pub mod hours;
pub mod sequence;
mod stream;
mod timing;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tieline_wire::{
    time::Now,
    transport::{self, FiveTuple},
};

use self::{
    hours::{Hour, Hours},
    stream::Stream,
};
pub use self::{
    stream::{INTERVAL, StreamReport},
    timing::BUFFER,
};
use crate::{
    flow,
    rtp_evidence::{RtpEvidence, RtpPacket},
};

/// Streams that are followed at once; of more, the one that has been silent longest is followed no further, and counted.
pub const STREAMS_MAX: usize = 256;
/// Streams that have ended and are kept; of more, the oldest goes.
pub const ENDED_MAX: usize = 512;
/// Silence after which a stream has ended. Phones that suppress silence still say something now and then.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// Flows that may become streams; a newcomer whose place is taken waits.
const CANDIDATES_MAX: usize = 256;
/// Silence after which a candidate gives its place up.
const CANDIDATE_IDLE_MAX: Duration = Duration::from_millis(250);
/// Time between two looks at all streams.
const TURN: Duration = Duration::from_secs(1);

/// All calls of a line, as this end hears them.
#[derive(Debug, Default)]
pub struct Calls {
    /// By the hash of their flow; empty until the first packet that can be RTP.
    candidates: Vec<Option<Candidate>>,
    streams: BTreeMap<FiveTuple, Stream>,
    ended: VecDeque<Arc<StreamReport>>,
    hours: Hours,
    unfollowed: u64,
    delay: Option<Duration>,
    next_turn: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    tuple: FiveTuple,
    evidence: RtpEvidence,
    last: Instant,
}

/// What is known of the calls at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Streams that are followed, in the order of their five-tuples.
    pub streams: Vec<StreamReport>,
    /// Streams that have ended, oldest first.
    pub ended: Vec<Arc<StreamReport>>,
    /// Hours with calls, oldest first.
    pub hours: Vec<Hour>,
    /// Streams that were given up because there were more than [`STREAMS_MAX`].
    pub unfollowed: u64,
}

impl Calls {
    /// Takes an IP packet that comes out of the line.
    #[inline]
    pub fn handle_packet(&mut self, now: Now, packet: &[u8]) {
        if transport::is_udp(packet) {
            self.handle_udp(now, packet);
        }
    }

    /// Closes intervals and ends streams; to be called when [`Self::poll_timeout`] is reached. `delay` is the one-way delay of the line
    /// towards this end, if it is known.
    pub fn handle_timeout(&mut self, now: Now, delay: Option<Duration>) {
        self.delay = delay;
        for stream in self.streams.values_mut() {
            if let Some(interval) = stream.close_interval(now.monotonic, delay, false) {
                self.hours.on_interval(now.wall, &interval);
            }
        }
        let is_over = |stream: &Stream| now.monotonic.saturating_duration_since(stream.last) >= IDLE_MAX;
        while let Some(tuple) =
            self.streams.iter().find(|(_, stream)| is_over(stream)).map(|(tuple, _)| *tuple)
        {
            self.end(now, &tuple);
        }
        self.next_turn = (!self.streams.is_empty()).then(|| now.monotonic + TURN);
    }

    /// When to call [`Self::handle_timeout`]; never while there are no calls.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_turn
    }

    /// What is known by now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            streams: self.streams.values().map(|stream| stream.report(self.delay)).collect(),
            ended: self.ended.iter().cloned().collect(),
            hours: self.hours.iter().copied().collect(),
            unfollowed: self.unfollowed,
        }
    }

    fn handle_udp(&mut self, now: Now, packet: &[u8]) {
        let Some(packet) = RtpPacket::of(packet) else { return };
        if let Some(stream) = self.streams.get_mut(&packet.tuple)
            && stream.ssrc == packet.header.ssrc
        {
            stream.handle(now.monotonic, &packet);
        } else if self.convinces(now.monotonic, &packet) {
            self.begin(now, &packet);
        }
    }

    /// Whether a flow that is not followed, or another source in one that is, is recognised by this packet.
    fn convinces(&mut self, now: Instant, packet: &RtpPacket) -> bool {
        if self.candidates.is_empty() {
            self.candidates.resize(CANDIDATES_MAX, None);
        }
        let place = flow::hash_of(&packet.tuple) as usize % CANDIDATES_MAX;
        let place = &mut self.candidates[place];
        let is_other = |held: &Candidate| {
            held.tuple != packet.tuple && now.saturating_duration_since(held.last) < CANDIDATE_IDLE_MAX
        };
        if place.as_ref().is_some_and(is_other) {
            return false;
        }
        let held = place.filter(|held| held.tuple == packet.tuple);
        let mut evidence = held.map(|held| held.evidence).unwrap_or_default();
        let convinces = evidence.handle_rtp(now, packet);
        *place = (!convinces).then_some(Candidate { tuple: packet.tuple, evidence, last: now });
        convinces
    }

    fn begin(&mut self, now: Now, packet: &RtpPacket) {
        if let Some(stream) = self.streams.get_mut(&packet.tuple) {
            stream.restart(now.monotonic, packet);
            return;
        }
        if self.streams.len() == STREAMS_MAX {
            let idlest = self.streams.iter().min_by_key(|(_, stream)| stream.last).map(|(tuple, _)| *tuple);
            if let Some(tuple) = idlest {
                self.end(now, &tuple);
                self.unfollowed += 1;
            }
        }
        self.streams.insert(packet.tuple, Stream::new(now, packet));
        self.hours.on_stream(now.wall);
        self.next_turn.get_or_insert(now.monotonic + TURN);
    }

    fn end(&mut self, now: Now, tuple: &FiveTuple) {
        let Some(mut stream) = self.streams.remove(tuple) else { return };
        if let Some(interval) = stream.close_interval(now.monotonic, self.delay, true) {
            self.hours.on_interval(now.wall, &interval);
        }
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(Arc::new(stream.report(self.delay)));
    }
}

#[cfg(test)]
mod tests;
