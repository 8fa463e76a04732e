//! When an end is under load, and who is served then.
//!
//! A handshake costs about a thousand times what a MAC costs. Above [`HANDSHAKES_PER_SECOND_MAX`] messages a second the end asks for cookies, and
//! who shows one is served at a rate for its address alone, so that a flood cannot starve the peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits::{
    HANDSHAKES_PER_SECOND_MAX, SOURCE_BURST, SOURCE_INTERVAL, SOURCES_MAX, UNDER_LOAD_AFTER_TIME,
};

/// Measures the rate of handshake messages.
#[derive(Debug, Default)]
pub(crate) struct Load {
    second: Option<Instant>,
    messages: u32,
    loaded_until: Option<Instant>,
    /// For each source when all it has asked for will be earned.
    earned_at: BTreeMap<Ipv6Addr, Instant>,
}

impl Load {
    /// Counts a message whose MAC1 is right; returns whether the end is under load.
    pub(crate) fn note_message(&mut self, now: Instant) -> bool {
        let same_second =
            self.second.is_some_and(|start| now.saturating_duration_since(start) < Duration::from_secs(1));
        if !same_second {
            self.second = Some(now);
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages > HANDSHAKES_PER_SECOND_MAX {
            self.loaded_until = Some(now + UNDER_LOAD_AFTER_TIME);
        }
        self.is_under_load(now)
    }

    pub(crate) fn is_under_load(&self, now: Instant) -> bool {
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Whether `source` may have one more handshake now. IPv6 sources are told apart by their /64, which one host can fill.
    pub(crate) fn admits(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = match source {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)),
        };
        let earned_at = self.earned_at.get(&source).copied().unwrap_or(now).max(now);
        if earned_at > now + SOURCE_INTERVAL * (SOURCE_BURST - 1) {
            return false;
        }
        if !self.earned_at.contains_key(&source) && self.earned_at.len() >= SOURCES_MAX {
            self.earned_at.retain(|_, earned_at| *earned_at > now);
            if self.earned_at.len() >= SOURCES_MAX {
                return false;
            }
        }
        self.earned_at.insert(source, earned_at + SOURCE_INTERVAL);
        true
    }
}
