//! One flow: the packets between two programs in one direction that are marked alike, how they are served, and what became of them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tieline_wire::{ds::Dscp, transport::FiveTuple};

use super::{
    codel::Codel,
    pool::List,
    shaper::{Rate, Shaper},
};
use crate::{class::ServiceClass, rtp_evidence::RtpEvidence};

/// A flow that claims to be voice and takes more than this is none: a call takes 87 kbit/s, in high quality 150.
pub const VOICE_RATE_MAX: Rate = Rate::from_bits_per_second(300_000);
/// By how much it may be ahead of that.
const VOICE_BURST_MAX: Duration = Duration::from_millis(500);
/// For how long it is not believed after that.
const DEMOTED_FOR: Duration = Duration::from_secs(10);
/// A packet's share in the mean of how long packets have waited.
const DELAY_SHARE: u32 = 16;

/// Whose packets are of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Who talks to whom.
    pub tuple: FiveTuple,
    /// How they are marked.
    pub dscp: Dscp,
}

impl FlowKey {
    /// Whether it is of IP packets.
    pub(super) fn is_ip(&self) -> bool {
        self.tuple != Self::NONE.tuple
    }

    /// The key of no flow: what is no IP packet has it.
    pub(super) const NONE: Self = {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self { tuple: FiveTuple { protocol: 0, source: nowhere, destination: nowhere }, dscp: Dscp::DF }
    };
}

/// Why a flow is in its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its code point says so.
    Marked,
    /// It has no code point.
    Unmarked,
    /// It is marked as voice or looked like it, and takes more than a call does.
    TooMuchForVoice,
    /// It is not marked, and is the sound of a call by all that can be seen.
    LooksLikeCall,
    /// It is the line's own.
    Own,
}

impl Why {
    /// How it is said to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Marked => "marked",
            Self::Unmarked => "not marked",
            Self::TooMuchForVoice => "too much for voice",
            Self::LooksLikeCall => "looks like a call",
            Self::Own => "the line's own",
        }
    }
}

/// What went through a flow, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFigures {
    /// Packets that left.
    pub packets: u64,
    /// Their octets, without headers of the line.
    pub octets: u64,
    /// Packets dropped in the queue.
    pub dropped: u64,
    /// Packets marked instead (RFC 3168).
    pub marked: u64,
    /// The mean of how long the latest packets have waited.
    pub delay: Duration,
}

/// In which of the lists of its class a flow with packets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In none: it has no packets.
    Idle,
    /// Among those that had none for a while: served first.
    New,
    /// Among the others.
    Old,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: FlowKey,
    pub(super) class: ServiceClass,
    pub(super) why: Why,
    pub(super) last_packet: Instant,
    evidence: RtpEvidence,
    /// Of voice: how much it takes.
    meter: Shaper,
    demoted_until: Option<Instant>,
    pub(super) list: List,
    pub(super) codel: Codel,
    pub(super) deficit: isize,
    pub(super) standing: Standing,
    /// The flow behind it in the list of its class.
    pub(super) next: Option<u16>,
    pub(super) figures: FlowFigures,
}

impl Flow {
    pub(super) fn new(key: FlowKey, codel: Codel, now: Instant) -> Self {
        Self {
            key,
            class: ServiceClass::Standard,
            why: Why::Unmarked,
            last_packet: now,
            evidence: RtpEvidence::default(),
            meter: Shaper::new(VOICE_RATE_MAX, now),
            demoted_until: None,
            list: List::EMPTY,
            codel,
            deficit: 0,
            standing: Standing::Idle,
            next: None,
            figures: FlowFigures::default(),
        }
    }

    /// Finds the class of the flow's next packet.
    pub(super) fn classify(&mut self, now: Instant, packet: &[u8]) -> ServiceClass {
        self.last_packet = now;
        let marked = ServiceClass::of_dscp(self.key.dscp);
        let looks_like_call = marked == ServiceClass::Standard && self.evidence.handle(now, packet);
        let is_voice = marked == ServiceClass::Voice || looks_like_call;
        (self.class, self.why) = if is_voice && self.takes_too_much(now, packet.len()) {
            (ServiceClass::Standard, Why::TooMuchForVoice)
        } else if looks_like_call {
            (ServiceClass::Voice, Why::LooksLikeCall)
        } else if self.key.dscp == Dscp::DF {
            (marked, Why::Unmarked)
        } else {
            (marked, Why::Marked)
        };
        self.class
    }

    fn takes_too_much(&mut self, now: Instant, octets: usize) -> bool {
        self.meter.send(now, octets);
        if self.meter.backlog(now) > VOICE_BURST_MAX {
            // It begins anew when the time is over.
            self.meter = Shaper::new(VOICE_RATE_MAX, now);
            self.demoted_until = Some(now + DEMOTED_FOR);
        }
        self.demoted_until.is_some_and(|until| now < until)
    }

    /// Notes that a packet left which has `waited`.
    pub(super) fn on_sent(&mut self, octets: usize, waited: Duration) {
        let figures = &mut self.figures;
        figures.packets += 1;
        figures.octets += octets as u64;
        figures.delay = (figures.delay * (DELAY_SHARE - 1) + waited) / DELAY_SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn flow(dscp: Dscp) -> Flow {
        Flow::new(FlowKey { dscp, ..FlowKey::NONE }, Codel::new(5 * MS, 100 * MS), Instant::now())
    }

    #[test]
    fn a_call_that_is_marked_stays_voice() {
        let mut flow = flow(Dscp::EF);
        let start = Instant::now();
        for packet in 0..10_000 {
            let class = flow.classify(start + packet * 20 * MS, &[0; 200]);
            assert_eq!((class, flow.why), (ServiceClass::Voice, Why::Marked));
        }
    }

    #[test]
    fn bulk_that_claims_to_be_voice_is_found_out_within_a_second_and_for_ten() {
        let mut flow = flow(Dscp::EF);
        let start = Instant::now();
        // 1.2 Mbit/s.
        let voice = (0..1000)
            .take_while(|packet| flow.classify(start + *packet * 10 * MS, &[0; 1500]) == ServiceClass::Voice)
            .count();
        assert!((5..100).contains(&voice), "{voice}");
        assert_eq!(flow.why, Why::TooMuchForVoice);
        let found = start + voice as u32 * 10 * MS;
        assert_eq!(flow.classify(found + Duration::from_secs(9), &[0; 200]), ServiceClass::Standard);
        assert_eq!(flow.classify(found + Duration::from_secs(11), &[0; 200]), ServiceClass::Voice);
    }

    #[test]
    fn the_mean_delay_follows_the_latest_packets() {
        let mut flow = flow(Dscp::DF);
        for _ in 0..200 {
            flow.on_sent(100, 10 * MS);
        }
        assert!((9 * MS..=10 * MS).contains(&flow.figures.delay), "{:?}", flow.figures);
        assert_eq!((flow.figures.packets, flow.figures.octets), (200, 20_000));
    }
}
