//! The nftables tables of a shared internet connection, as values: made anew from what holds now, and put in place whole.

use std::net::IpAddr;

use ipnet::IpNet;
use tieline_io::nftables::{Chain, Hook, Protocol, Rule, Table};

/// The chain whose counting rules stop what must not leave by the uplink.
pub const FENCE: &str = "fence";

/// Where chains stand among others at the same place; the kernel's own names for these numbers are mangle, dstnat, filter, srcnat.
const MANGLE: i32 = -150;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

const DNS_PORT: u16 = 53;
/// What the uplink itself lives by: a host asks for its address (RFC 2131, RFC 8415).
const DHCP: [(u16, u16); 2] = [(68, 67), (546, 547)];
/// Neighbours and routers are found (RFC 4861), groups joined (RFC 2710, RFC 3810): none of it leaves the link.
const ICMPV6_OF_THE_LINK: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

/// What the end that offers puts between the line and its connection.
#[derive(Debug)]
pub struct Shared<'s> {
    /// The line's device.
    pub device: &'s str,
    /// The devices that lead to the internet.
    pub uplinks: &'s [String],
    /// The far end's networks.
    pub far: &'s [IpNet],
}

/// What the end that uses puts before its own connection.
#[derive(Debug)]
pub struct Fenced<'s> {
    /// The line's device.
    pub device: &'s str,
    /// The mark of the line's own datagrams.
    pub mark: u32,
    /// The devices that lead to the internet here.
    pub uplinks: &'s [String],
    /// What goes by way of the far end.
    pub used: &'s [IpNet],
    /// What stays in the office.
    pub local: &'s [IpNet],
    /// Networks and addresses that the far end knows as ours.
    pub own: &'s [IpNet],
    /// Who is asked for names.
    pub dns: &'s [IpAddr],
    /// The source of what this machine sends that has none of `own`.
    pub sources: &'s [IpAddr],
}

impl Shared<'_> {
    /// The table.
    #[must_use]
    pub fn table(&self, name: &str) -> Table {
        let passing = || Rule::new().opens_tcp();
        let clamp = [
            passing().from_device(self.device).clamp_segment_size(),
            passing().to_device(self.device).clamp_segment_size(),
        ];
        let pairs = self.uplinks.iter().flat_map(|uplink| self.far.iter().map(move |far| (uplink, *far)));
        let hide = pairs.map(|(uplink, far)| Rule::new().to_device(uplink).source(far).masquerade());
        let close = self.uplinks.iter().map(|uplink| {
            Rule::new().from_device(uplink).to_device(self.device).new_connection().count().drop()
        });
        Table {
            name: name.to_owned(),
            chains: vec![
                chain("segments", Hook::Forward, MANGLE, clamp),
                chain("door", Hook::Forward, FILTER, close),
                Chain { translates: true, ..chain("source", Hook::Postrouting, SOURCE_NAT, hide) },
            ],
        }
    }
}

impl Fenced<'_> {
    /// The table.
    #[must_use]
    pub fn table(&self, name: &str) -> Table {
        let mut chains = vec![chain(FENCE, Hook::Postrouting, FILTER, self.fence())];
        if !self.dns.is_empty() {
            let names =
                |name, hook| Chain { translates: true, ..chain(name, hook, DESTINATION_NAT, self.names()) };
            chains.extend([names("names", Hook::Prerouting), names("own-names", Hook::Output)]);
        }
        chains.push(Chain {
            translates: true,
            ..chain("source", Hook::Postrouting, SOURCE_NAT, self.source())
        });
        Table { name: name.to_owned(), chains }
    }

    /// Of what leaves by an uplink: the line's own passes, and what the link itself lives by, and what stays in the office where it and
    /// the internet are behind one device; of the rest, what is to go by way of the far end is dropped.
    fn fence(&self) -> Vec<Rule> {
        let mut rules = vec![Rule::new().mark(self.mark).accept()];
        for uplink in self.uplinks {
            let leaving = || Rule::new().to_device(uplink);
            rules.extend(self.local.iter().map(|network| leaving().destination(*network).accept()));
            let udp = || leaving().protocol(Protocol::Udp);
            rules.extend(DHCP.map(|(from, to)| udp().ports(from, to).accept()));
            let icmp = || leaving().protocol(Protocol::Icmpv6);
            rules.extend(ICMPV6_OF_THE_LINK.map(|kind| icmp().first_octet(kind).accept()));
            rules.push(leaving().protocol(Protocol::Igmp).accept());
            rules.extend(self.used.iter().map(|network| leaving().destination(*network).count().drop()));
        }
        rules
    }

    /// Questions for names that would leave the office go to the resolver.
    fn names(&self) -> Vec<Rule> {
        let mut rules = vec![Rule::new().mark(self.mark).accept()];
        for resolver in self.dns {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                let question =
                    || Rule::new().version_of(*resolver).protocol(protocol).destination_port(DNS_PORT);
                let same = |network: &&IpNet| network.addr().is_ipv4() == resolver.is_ipv4();
                rules.extend(
                    self.local.iter().filter(same).map(|network| question().destination(*network).accept()),
                );
                rules.push(question().not_for_us().to_destination(*resolver));
            }
        }
        rules
    }

    /// What this machine itself sends must come from an address that the far end lets in.
    fn source(&self) -> Vec<Rule> {
        let into_line = || Rule::new().to_device(self.device);
        let known = self.own.iter().map(|network| into_line().source(*network).accept());
        let others =
            self.sources.iter().map(|source| into_line().version_of(*source).from_us().to_source(*source));
        known.chain(others).collect()
    }
}

fn chain(name: &'static str, hook: Hook, priority: i32, rules: impl IntoIterator<Item = Rule>) -> Chain {
    Chain { name, hook, priority, translates: false, rules: rules.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "tieline-berlin";

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rules<'t>(table: &'t Table, chain: &str) -> &'t [Rule] {
        &table.chains.iter().find(|found| found.name == chain).unwrap_or_else(|| panic!("no {chain}")).rules
    }

    #[test]
    fn what_is_shared_goes_out_by_each_uplink_as_this_machine_and_nothing_else_does() {
        let uplinks = ["eth0".to_owned(), "ppp0".to_owned()];
        let far = nets(&["10.2.0.0/24", "fd00:2::/64"]);
        let table = Shared { device: "berlin", uplinks: &uplinks, far: &far }.table(NAME);
        assert_eq!(table.name, NAME);
        assert_eq!(rules(&table, "source").len(), 4);
        assert_eq!(rules(&table, "source")[1], Rule::new().to_device("eth0").source(far[1]).masquerade());
        assert_eq!(rules(&table, "door").len(), 2);
        let nothing = Shared { device: "berlin", uplinks: &[], far: &far }.table(NAME);
        assert!(rules(&nothing, "source").is_empty() && rules(&nothing, "door").is_empty());
    }

    #[test]
    fn the_fence_lets_the_line_pass_first_and_stops_all_that_is_used_last() {
        let (used, local, own) =
            (nets(&["0.0.0.0/0", "::/0"]), nets(&["10.2.0.0/24"]), nets(&["10.2.0.0/24"]));
        let fenced = Fenced {
            device: "berlin",
            mark: 7,
            uplinks: &["eth0".to_owned()],
            used: &used,
            local: &local,
            own: &own,
            dns: &[],
            sources: &["10.2.0.1".parse().unwrap()],
        };
        let table = fenced.table(NAME);
        let fence = rules(&table, FENCE);
        assert_eq!(fence[0], Rule::new().mark(7).accept());
        assert_eq!(fence[1], Rule::new().to_device("eth0").destination(local[0]).accept());
        let stops: Vec<_> =
            used.iter().map(|net| Rule::new().to_device("eth0").destination(*net).count().drop()).collect();
        assert_eq!(fence[fence.len() - 2..], stops);
        assert_eq!(rules(&table, "source").len(), 2);
        assert!(!table.chains.iter().any(|chain| chain.name.contains("names")), "nobody is asked instead");

        let asked = Fenced { dns: &["10.1.0.1".parse().unwrap()], ..fenced }.table(NAME);
        for chain in ["names", "own-names"] {
            // The line's own pass; then, for each protocol, what stays in the office and what does not.
            assert_eq!(rules(&asked, chain).len(), 5, "{chain}");
        }
    }
}
