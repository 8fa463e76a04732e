//! What went through the Ethernet of both offices, and what was kept out of it and why.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Flow;

/// Why a frame was kept from the other office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Its headers are cut short, or come from a group.
    Malformed,
    /// It is for the neighbour on the cable only: spanning tree, link aggregation, pause.
    LinkLocal,
    /// DHCP, where each office has its own.
    Dhcp,
    /// DHCPv6, where each office has its own.
    Dhcpv6,
    /// A router that says so, where each office has its own.
    RouterAdvertisement,
    /// It is for a host of the office that it comes from.
    SameSide,
    /// More to all than is carried.
    BroadcastStorm,
    /// More to groups than is carried.
    MulticastStorm,
    /// More to hosts that nobody has heard of than is carried.
    UnknownStorm,
    /// The offices are joined in another way as well: nothing is carried until that is mended.
    Loop,
    /// Longer than an Ethernet carries.
    TooLarge,
    /// The far end takes no frames, or is not there.
    NoFarEnd,
}

impl Blocked {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::LinkLocal,
        Self::Dhcp,
        Self::Dhcpv6,
        Self::RouterAdvertisement,
        Self::SameSide,
        Self::BroadcastStorm,
        Self::MulticastStorm,
        Self::UnknownStorm,
        Self::Loop,
        Self::TooLarge,
        Self::NoFarEnd,
    ];

    /// The name it has in `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::LinkLocal => "link-local",
            Self::Dhcp => "dhcp",
            Self::Dhcpv6 => "dhcpv6",
            Self::RouterAdvertisement => "router-advertisement",
            Self::SameSide => "same-side",
            Self::BroadcastStorm => "broadcast-storm",
            Self::MulticastStorm => "multicast-storm",
            Self::UnknownStorm => "unknown-storm",
            Self::Loop => "loop",
            Self::TooLarge => "too-large",
            Self::NoFarEnd => "no-far-end",
        }
    }
}

/// The figures of one end; the packet path adds, everybody may read.
#[derive(Debug, Default)]
pub struct LanFigures {
    /// Frames that left for the other office.
    pub out: Flow,
    /// Frames that came from there.
    pub inwards: Flow,
    /// Questions for a far host's address that were answered here.
    pub answered: AtomicU64,
    /// Hosts of this office that are known, and of the other.
    pub hosts: [AtomicU64; 2],
    /// Whether nothing is carried because of a loop.
    pub is_looped: std::sync::atomic::AtomicBool,
    blocked: [AtomicU64; Blocked::ALL.len()],
}

impl LanFigures {
    /// Counts a frame that was kept from the other office.
    pub fn blocked(&self, reason: Blocked) {
        self.blocked[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many frames were kept from the other office for `reason`.
    #[must_use]
    pub fn read(&self, reason: Blocked) -> u64 {
        self.blocked[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let figures = LanFigures::default();
        let mut names = Vec::new();
        for (index, reason) in Blocked::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            figures.blocked(reason);
            assert_eq!(figures.read(reason), 1);
            assert!(!names.contains(&reason.as_str()));
            names.push(reason.as_str());
        }
    }
}
