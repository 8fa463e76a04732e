//! The Ethernet of both offices as one: which frames go across, which stay, and what that says of the two networks (RFC 4448).
//!
//! Each end has a device in its office's bridge. What the bridge sends there, *near* frames, goes to the far end, and comes out of its
//! device into the bridge there. The bridges do what bridges do; here is decided what must not go across, though a cable would carry it:
//!
//! - what is for the next neighbour only, such as spanning tree: each office keeps its own;
//! - DHCP, DHCPv6 and what routers say of themselves, unless that is wanted: each office keeps its own ([`servers`]);
//! - frames for a host of the same office ([`hosts`]), and questions for the address of a far host that is known, which are answered here
//!   ([`neighbours`]);
//! - more than so many frames a second to all, to groups, or to hosts nobody knows ([`storm`]);
//! - everything, while the offices are joined in another way as well ([`guard`]).
//!
//! Nothing here parses more of a frame than it must, and each table has a bound. All of it belongs to [`Lan`], which the threads of both
//! directions share; it looks at the front of a frame only, so none waits long for another.
//!
//! Read first: RFC 4448 §4, IEEE 802.1Q §8.6, RFC 4861 §7.

pub mod figures;
pub mod guard;
pub mod hosts;
pub mod mss;
pub mod neighbours;
pub mod servers;
pub mod storm;
pub mod super_frame;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tieline_wire::{
    control_word::{ControlWord, Part},
    ethernet::{
        EthernetFrame, LINK_LEN_MAX, MacAddress, ShortFrame, arp::Arp, content::Own, neighbour::Neighbour,
        probe::LoopProbe,
    },
};

pub use self::{
    figures::{Blocked, LanFigures},
    guard::LoopSign,
    servers::Server,
    storm::StormKind,
};
use self::{
    guard::Guard,
    hosts::{Hosts, Learnt},
    neighbours::Neighbours,
    servers::Servers,
    storm::Storm,
};
use crate::Shared;

/// What stands between the label and each frame: numbers are not used (RFC 4448 §4.6).
pub const CONTROL_WORD: ControlWord = ControlWord { part: Part::Whole, sequence: 0 };
/// Alarms that wait to be told; the oldest goes first.
const ALARMS_MAX: usize = 16;

/// Octets of the longest frame of an Ethernet whose packets have up to `mtu` octets, behind the control word.
#[must_use]
pub fn packet_len_max(mtu: usize) -> usize {
    ControlWord::LEN + LINK_LEN_MAX + mtu
}

/// From which office a frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From this one.
    Near,
    /// From the other one, through the line.
    Far,
}

/// What one end is told.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The line, by a number that both ends know.
    pub line: [u8; 8],
    /// Random, drawn when the process starts.
    pub end: [u8; 8],
    /// The card of the device in the bridge: what it sends itself goes nowhere.
    pub device: MacAddress,
    /// The card from which probes come.
    pub probes_from: MacAddress,
    /// Whether DHCP and DHCPv6 go across.
    pub dhcp: bool,
    /// Whether what routers say of themselves goes across.
    pub router_advertisements: bool,
    /// Frames a second of each kind that go across: to all, to groups, to hosts nobody knows.
    pub storm_limit: u32,
}

/// What becomes of a near frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes across.
    Forward,
    /// It goes nowhere, and this goes back to the office.
    Answer(ShortFrame),
    /// It goes nowhere, and has been counted.
    Stay,
}

/// What needs somebody's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanAlarm {
    /// There is another way between the offices, or one office has a loop of its own.
    Loop(LoopSign),
    /// More frames of this kind than are carried, the last one from this card.
    Storm {
        /// From which office.
        side: Side,
        /// What kind.
        kind: StormKind,
        /// Who sent the last one.
        source: MacAddress,
        /// Frames a second that are carried.
        limit: u32,
    },
    /// Two servers give addresses in what is one network to them.
    TwoDhcpServers([Server; 2]),
    /// A server of the far office gives addresses over the line, and this end keeps it out.
    FarDhcpServer(Server),
}

/// One end of the common Ethernet.
#[derive(Debug)]
pub struct Lan {
    config: Config,
    hosts: Hosts,
    neighbours: Neighbours,
    servers: Servers,
    /// What comes from here, and what comes from there.
    storms: [Storm; 2],
    guard: Guard,
    alarms: VecDeque<LanAlarm>,
    shared: Arc<Shared>,
}

impl Lan {
    /// An end that knows nobody yet.
    #[must_use]
    pub fn new(config: Config, now: Instant, shared: Arc<Shared>) -> Self {
        let storm = || Storm::new(config.storm_limit, now);
        Self {
            config,
            hosts: Hosts::new(now),
            neighbours: Neighbours::new(),
            servers: Servers::default(),
            storms: [storm(), storm()],
            guard: Guard::new(now),
            alarms: VecDeque::new(),
            shared,
        }
    }

    /// The line has this number from now on.
    pub fn set_line(&mut self, number: [u8; 8]) {
        self.config.line = number;
    }

    /// Decides about `frame`, which the bridge has sent to the device and which will be `count` frames.
    pub fn handle_near(&mut self, now: Instant, frame: &EthernetFrame<'_>, count: usize) -> Verdict {
        if let Some(probe) = LoopProbe::parse(frame).filter(|probe| probe.line == self.config.line) {
            let sign = if probe.end == self.config.end { LoopSign::OwnProbe } else { LoopSign::FarProbe };
            self.on_loop(now, sign);
            return Verdict::Stay;
        }
        let decided = self.pass(now, Side::Near, frame, count).and_then(|()| match self.answer(now, frame) {
            Some(answer) => Ok(Verdict::Answer(answer)),
            None => self.check_destination(now, Side::Near, frame, count).map(|()| Verdict::Forward),
        });
        match decided {
            Ok(verdict) => {
                if matches!(verdict, Verdict::Answer(_)) {
                    self.shared.lan.answered.fetch_add(1, Ordering::Relaxed);
                }
                verdict
            }
            Err(reason) => {
                self.shared.lan.blocked(reason);
                Verdict::Stay
            }
        }
    }

    /// Decides about `frame`, which has come from the far end: whether it goes to the device. If not, it has been counted.
    pub fn handle_far(&mut self, now: Instant, frame: &EthernetFrame<'_>) -> bool {
        let decided = self
            .pass(now, Side::Far, frame, 1)
            .and_then(|()| self.check_destination(now, Side::Far, frame, 1));
        if let Err(reason) = decided {
            self.shared.lan.blocked(reason);
        }
        decided.is_ok()
    }

    /// The probe that is due, if one is; it goes to the device. To be asked at [`Self::poll_timeout`].
    pub fn poll_probe(&mut self, now: Instant) -> Option<ShortFrame> {
        if !self.guard.takes_turn(now) {
            return None;
        }
        let figures = &self.shared.lan;
        for (count, side) in figures.hosts.iter().zip([Side::Near, Side::Far]) {
            count.store(self.hosts.count(now, side) as u64, Ordering::Relaxed);
        }
        figures.is_looped.store(self.guard.is_closed(now), Ordering::Relaxed);
        LoopProbe { line: self.config.line, end: self.config.end }.emit(self.config.probes_from)
    }

    /// When [`Self::poll_probe`] has one.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.guard.poll_timeout()
    }

    /// Whether the device's cable is to be in; to be asked at [`Self::poll_timeout`].
    #[must_use]
    pub fn is_plugged(&self, now: Instant) -> bool {
        self.guard.is_plugged(now)
    }

    /// What somebody must be told.
    pub fn poll_alarm(&mut self) -> Option<LanAlarm> {
        self.alarms.pop_front()
    }

    /// What holds for frames of both sides; notes who has sent them.
    fn pass(
        &mut self,
        now: Instant,
        side: Side,
        frame: &EthernetFrame<'_>,
        count: usize,
    ) -> Result<(), Blocked> {
        if frame.destination.is_reserved() {
            return Err(Blocked::LinkLocal);
        }
        if frame.source == self.config.device {
            return Err(Blocked::SameSide);
        }
        if self.guard.reopens(now) {
            // While there was another way, hosts of the other office were seen here.
            self.hosts = Hosts::new(now);
            self.neighbours = Neighbours::new();
        }
        let learnt = self.hosts.learn(now, frame.source, frame.vlans(), side);
        if learnt == Learnt::BackAndForth {
            self.on_loop(now, LoopSign::BackAndForth(frame.source));
        }
        if self.guard.is_closed(now) {
            // What a storm in the loop would have been is known all the same.
            let _ = self.check_destination(now, side, frame, count);
            return Err(Blocked::Loop);
        }
        self.check_own(now, side, frame)?;
        self.neighbours.learn(now, side, frame);
        Ok(())
    }

    /// Keeps what each office has of its own.
    fn check_own(&mut self, now: Instant, side: Side, frame: &EthernetFrame<'_>) -> Result<(), Blocked> {
        let allowed = &self.config;
        match Own::of(frame) {
            Some(Own::Dhcp { server }) => {
                let server = server.map(|address| Server { card: frame.source, address });
                let alarm = server.and_then(|server| self.servers.note(now, side, server, allowed.dhcp));
                self.raise(alarm);
                if self.config.dhcp { Ok(()) } else { Err(Blocked::Dhcp) }
            }
            Some(Own::Dhcpv6 { .. }) if !allowed.dhcp => Err(Blocked::Dhcpv6),
            Some(Own::RouterAdvertisement) if !allowed.router_advertisements => {
                Err(Blocked::RouterAdvertisement)
            }
            _ => Ok(()),
        }
    }

    /// The answer to a question for a far host's address, if it is known.
    fn answer(&self, now: Instant, frame: &EthernetFrame<'_>) -> Option<ShortFrame> {
        // Who asks one host alone wants to know whether it is still there.
        if !frame.destination.is_group() {
            return None;
        }
        if let Some(arp) = Arp::parse(frame) {
            let is_question =
                arp.is_request && !arp.sender_ip.is_unspecified() && arp.sender_ip != arp.target_ip;
            let known = self.neighbours.far(now, arp.target_ip.into(), frame.vlans());
            let known = known.filter(|known| is_question && known.card != frame.source)?;
            return arp.answer(frame, known.card);
        }
        let asked = Neighbour::parse(frame).filter(|message| message.is_solicitation)?;
        let known = self.neighbours.far(now, asked.target.into(), frame.vlans())?;
        // Who takes a router for none forgets the way through it.
        let is_router = known.is_router.filter(|_| known.card != frame.source)?;
        asked.answer(frame, known.card, is_router)
    }

    /// Keeps frames for hosts of the same side, and all that is more than goes across.
    fn check_destination(
        &mut self,
        now: Instant,
        side: Side,
        frame: &EthernetFrame<'_>,
        count: usize,
    ) -> Result<(), Blocked> {
        let to = frame.destination;
        let kind = match self.hosts.side(now, to, frame.vlans()) {
            _ if to == MacAddress::BROADCAST => StormKind::Broadcast,
            _ if to.is_group() => StormKind::Multicast,
            Some(known) if known == side => return Err(Blocked::SameSide),
            Some(_) => return Ok(()),
            None => StormKind::Unknown,
        };
        let storm = &mut self.storms[usize::from(side == Side::Far)];
        if storm.takes(now, kind, count) {
            return Ok(());
        }
        let limit = self.config.storm_limit;
        let alarm = storm.is_to_tell(now, kind).then_some(LanAlarm::Storm {
            side,
            kind,
            source: frame.source,
            limit,
        });
        self.raise(alarm);
        Err(kind.blocked())
    }

    fn on_loop(&mut self, now: Instant, sign: LoopSign) {
        let begins = self.guard.close(now);
        self.shared.lan.is_looped.store(true, Ordering::Relaxed);
        self.raise(begins.then_some(LanAlarm::Loop(sign)));
    }

    fn raise(&mut self, alarm: Option<LanAlarm>) {
        let Some(alarm) = alarm else { return };
        if self.alarms.len() == ALARMS_MAX {
            self.alarms.pop_front();
        }
        self.alarms.push_back(alarm);
    }
}

/// A table's place for a key of 64 bits.
fn place(key: u64, sets: usize) -> usize {
    // Fibonacci hashing (Knuth, volume 3, §6.4): the upper bits of the product depend on all of the key.
    let mixed = (key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % sets
}

/// What is older is forgotten.
fn is_fresh(now: Instant, seen: Instant, kept: Duration) -> bool {
    now.saturating_duration_since(seen) < kept
}
