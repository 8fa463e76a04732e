//! Which source addresses the far end may use: what it offers and we accept.
//!
//! A table of address ranges, sorted and disjoint, so that the check on the packet path is one binary search. It is made
//! by the control side and swapped whole.

use std::net::IpAddr;

use ipnet::IpNet;

/// The networks that packets may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptTable {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AcceptTable {
    /// A table that accepts sources in any of `networks`, and nothing else.
    pub fn new<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Self {
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

    /// Whether a packet from `source` is let in.
    #[must_use]
    pub fn accepts(&self, source: IpAddr) -> bool {
        match source {
            IpAddr::V4(source) => covers(&self.v4, source.to_bits()),
            IpAddr::V6(source) => covers(&self.v6, source.to_bits()),
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

    fn table(networks: &[&str]) -> AcceptTable {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        AcceptTable::new(&networks)
    }

    #[test]
    fn empty_table_accepts_nothing() {
        assert!(!table(&[]).accepts("10.0.0.1".parse().unwrap()));
        assert!(!table(&[]).accepts("::1".parse().unwrap()));
    }

    #[test]
    fn edges_of_a_network_are_inside_and_their_neighbours_outside() {
        let table = table(&["10.1.0.0/24", "fd00:1::/64"]);
        for inside in ["10.1.0.0", "10.1.0.255", "fd00:1::", "fd00:1::ffff:ffff:ffff:ffff"] {
            assert!(table.accepts(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.0.255.255", "10.1.1.0", "fd00::ffff", "fd00:1:0:1::", "255.255.255.255"] {
            assert!(!table.accepts(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn nested_networks_are_one_range() {
        let table = table(&["10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16"]);
        assert_eq!(table.v4.len(), 1);
        assert!(table.accepts("10.255.255.255".parse().unwrap()));
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
                    table.accepts(address),
                    networks.iter().any(|network| network.contains(&address))
                );
            }
        }
    }
}
