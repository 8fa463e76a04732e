//! Which host has which IP address, by what hosts say of themselves with ARP and neighbour discovery. So a question for a far host's
//! address need not cross the line each time: with a hundred hosts in each office, those are most of what goes to all.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use tieline_wire::ethernet::{EthernetFrame, MacAddress, Vlans, arp::Arp, neighbour::Neighbour};

use super::{Side, is_fresh, place};

/// Addresses that are known at once.
pub const NEIGHBOURS_MAX: usize = 2048;
/// Places in which an address may be.
const WAYS: usize = 4;
/// What a host has said of itself is believed for so long; then the next question crosses the line again.
pub const NEIGHBOUR_KEPT: Duration = Duration::from_secs(60);

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) card: MacAddress,
    side: Side,
    /// Of IPv6, if it has said so.
    pub(super) is_router: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ip: IpAddr,
    vlans: Vlans,
    owner: Owner,
    seen: Option<Instant>,
}

/// All addresses that are known.
#[derive(Debug)]
pub(super) struct Neighbours(Vec<Entry>);

impl Neighbours {
    pub(super) fn new() -> Self {
        let owner = Owner { card: MacAddress::default(), side: Side::Near, is_router: None };
        let none = Entry { ip: Ipv6Addr::UNSPECIFIED.into(), vlans: Vlans::default(), owner, seen: None };
        Self(vec![none; NEIGHBOURS_MAX])
    }

    /// Notes what the sender of `frame` says of itself.
    pub(super) fn learn(&mut self, now: Instant, side: Side, frame: &EthernetFrame<'_>) {
        if let Some(arp) = Arp::parse(frame) {
            let is_usable = !arp.sender_ip.is_unspecified() && arp.sender == frame.source;
            if is_usable {
                let owner = Owner { card: arp.sender, side, is_router: None };
                self.note(now, arp.sender_ip.into(), frame.vlans(), owner);
            }
        } else if let Some(message) = Neighbour::parse(frame)
            && message.card == Some(frame.source)
        {
            let (ip, is_router) = match message.is_solicitation {
                true => (message.source_ip, None),
                false => (message.target, Some(message.is_router)),
            };
            if !ip.is_unspecified() {
                let owner = Owner { card: frame.source, side, is_router };
                self.note(now, ip.into(), frame.vlans(), owner);
            }
        }
    }

    /// Who of the far office has this address.
    pub(super) fn far(&self, now: Instant, ip: IpAddr, vlans: Vlans) -> Option<Owner> {
        let set = &self.0[set_of(ip, vlans)..][..WAYS];
        let is_it = |entry: &&Entry| (entry.ip, entry.vlans) == (ip, vlans);
        let entry = set.iter().find(is_it)?;
        let is_fresh = entry.seen.is_some_and(|seen| is_fresh(now, seen, NEIGHBOUR_KEPT));
        Some(entry.owner).filter(|owner| is_fresh && owner.side == Side::Far)
    }

    fn note(&mut self, now: Instant, ip: IpAddr, vlans: Vlans, owner: Owner) {
        let set = &mut self.0[set_of(ip, vlans)..][..WAYS];
        let is_it = |entry: &Entry| entry.seen.is_some() && (entry.ip, entry.vlans) == (ip, vlans);
        let known = set.iter().position(is_it);
        let oldest = (0..WAYS).min_by_key(|way| set[*way].seen).unwrap_or(0);
        let entry = &mut set[known.unwrap_or(oldest)];
        // Who asks does not say whether it is a router.
        let before = known.and(entry.owner.is_router).filter(|_| entry.owner.card == owner.card);
        let owner = Owner { is_router: owner.is_router.or(before), ..owner };
        *entry = Entry { ip, vlans, owner, seen: Some(now) };
    }
}

/// Where the set begins in which an address is.
fn set_of(ip: IpAddr, vlans: Vlans) -> usize {
    let key = match ip {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(17)
        }
    };
    place(key ^ u64::from(vlans.number()) << 32, NEIGHBOURS_MAX / WAYS) * WAYS
}
