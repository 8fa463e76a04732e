//! Which packets the far end may send here: those from what it offers and we accept; and, where this end uses its internet connection,
//! those from the internet that are for our own networks.
//!
//! A table of address ranges, sorted and disjoint, so that the check on the packet path is one binary search. It is made
//! by the control side and swapped whole.

use std::net::IpAddr;

use ipnet::IpNet;

/// The networks that packets may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptTable {
    offered: Ranges,
    /// What of the internet is reached by way of the far end.
    internet: Ranges,
    /// Our own networks: what comes from the internet is for them, and does not claim to come from them.
    own: Ranges,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AcceptTable {
    /// A table that accepts sources in any of `networks`, and nothing else.
    pub fn new<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Self {
        Self { offered: Ranges::new(networks), ..Self::default() }
    }

    /// Accepts sources in `internet` too, unless they are in `own`, of packets that are for `own`.
    #[must_use]
    pub fn with_internet(self, internet: &[IpNet], own: &[IpNet]) -> Self {
        Self { internet: Ranges::new(internet), own: Ranges::new(own), ..self }
    }

    /// Whether a packet from `source` to `destination` is let in.
    #[must_use]
    pub fn accepts(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.offered.cover(source)
            || (self.internet.cover(source) && !self.own.cover(source) && self.own.cover(destination))
    }
}

impl Ranges {
    fn new<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Self {
        let mut table = Self::default();
        for network in networks {
            match network {
                IpNet::V4(network) => {
                    table.v4.push((network.network().to_bits(), network.broadcast().to_bits()));
                }
                IpNet::V6(network) => {
                    table.v6.push((network.network().to_bits(), network.broadcast().to_bits()));
                }
            }
        }
        merge(&mut table.v4);
        merge(&mut table.v6);
        table
    }

    fn cover(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => covers(&self.v4, address.to_bits()),
            IpAddr::V6(address) => covers(&self.v6, address.to_bits()),
        }
    }
}

/// Sorts `ranges` and joins those that overlap; two networks either nest or are disjoint.
fn merge<T: Copy + Ord>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, previous| {
        let overlaps = next.0 <= previous.1;
        if overlaps {
            previous.1 = previous.1.max(next.1);
        }
        overlaps
    });
}

fn covers<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|index| address <= ranges[index].1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANYONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn table(networks: &[&str]) -> AcceptTable {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        AcceptTable::new(&networks)
    }

    #[test]
    fn empty_table_accepts_nothing() {
        assert!(!table(&[]).accepts("10.0.0.1".parse().unwrap(), ANYONE));
        assert!(!table(&[]).accepts("::1".parse().unwrap(), ANYONE));
    }

    #[test]
    fn edges_of_a_network_are_inside_and_their_neighbours_outside() {
        let table = table(&["10.1.0.0/24", "fd00:1::/64"]);
        for inside in ["10.1.0.0", "10.1.0.255", "fd00:1::", "fd00:1::ffff:ffff:ffff:ffff"] {
            assert!(table.accepts(inside.parse().unwrap(), ANYONE), "{inside}");
        }
        for outside in ["10.0.255.255", "10.1.1.0", "fd00::ffff", "fd00:1:0:1::", "255.255.255.255"] {
            assert!(!table.accepts(outside.parse().unwrap(), ANYONE), "{outside}");
        }
    }

    #[test]
    fn nested_networks_are_one_range() {
        let table = table(&["10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16"]);
        assert_eq!(table.offered.v4.len(), 1);
        assert!(table.accepts("10.255.255.255".parse().unwrap(), ANYONE));
    }

    #[test]
    fn the_internet_is_let_in_for_our_own_networks_only_and_never_as_one_of_them() {
        let internet = ["0.0.0.0/0".parse().unwrap()];
        let table = table(&["10.1.0.0/24"]).with_internet(&internet, &["10.2.0.0/24".parse().unwrap()]);
        let accepts = |source: &str, destination: &str| {
            table.accepts(source.parse().unwrap(), destination.parse().unwrap())
        };
        assert!(accepts("203.0.113.9", "10.2.0.5"));
        assert!(!accepts("203.0.113.9", "192.168.1.1"), "for somebody else");
        assert!(!accepts("10.2.0.7", "10.2.0.5"), "as one of us");
        assert!(!accepts("2001:db8::9", "10.2.0.5") && !accepts("2001:db8::9", "fd00::1"), "not used");
        assert!(accepts("10.1.0.1", "192.168.1.1"), "what is offered comes as before");
    }

    proptest! {
        #[test]
        fn table_agrees_with_asking_every_network(
            networks in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..20),
            addresses in prop::collection::vec(any::<u32>(), 1..50),
        ) {
            let networks: Vec<IpNet> = networks
                .into_iter()
                .map(|(bits, len)| IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), len).unwrap().trunc())
                .collect();
            let table = AcceptTable::new(&networks);
            let edges = networks.iter().map(IpNet::network).chain(networks.iter().map(IpNet::broadcast));
            let random = addresses.into_iter().map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits)));
            for address in random.chain(edges) {
                prop_assert_eq!(
                    table.accepts(address, ANYONE),
                    networks.iter().any(|network| network.contains(&address))
                );
            }
        }
    }
}
