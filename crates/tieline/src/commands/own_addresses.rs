//! Addresses of this machine that a far end could dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tieline_io::netlink::Netlink;
use tieline_node::invitation::ADDRESSES_MAX;

/// Nobody is there (RFC 5737, RFC 3849), but the system knows which way it would go.
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Addresses of this machine, as the kernel lists them for IPv6: `proc_net(5)`.
const IPV6_LIST: &str = "/proc/net/if_inet6";

/// Returns the addresses with which this machine speaks to the world, at most one of each family that `listen` takes;
/// where it does not speak to the world, those it has in its networks. Sends nothing.
pub(crate) fn find(listen: SocketAddr) -> Vec<IpAddr> {
    let taken = |ip: &IpAddr| listen.is_ipv6() || ip.is_ipv4();
    let to_the_world: Vec<IpAddr> = SOMEWHERE.into_iter().filter(taken).filter_map(source_towards).collect();
    if !to_the_world.is_empty() {
        return to_the_world;
    }
    let mut all = listed();
    all.retain(taken);
    all.truncate(ADDRESSES_MAX);
    all
}

/// Whether an address means something only within a network, so that the far end cannot dial it from elsewhere.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            // RFC 6598: addresses between a provider's NAT and its customers.
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Connecting a UDP socket sends nothing; it makes the kernel choose a route, and with it the source address.
fn source_towards(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((destination, 9)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    match source {
        IpAddr::V6(ip) => {
            let list = std::fs::read_to_string(IPV6_LIST).unwrap_or_default();
            usable(IpAddr::V6(lasting(ip, &list)))
        }
        IpAddr::V4(_) => usable(source),
    }
}

fn listed() -> Vec<IpAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let addresses = runtime.block_on(async { Netlink::connect().ok()?.addresses().await.ok() });
    let global = addresses.into_iter().flatten().filter(|address| address.is_global);
    global.filter_map(|address| usable(address.network.addr())).collect()
}

fn usable(ip: IpAddr) -> Option<IpAddr> {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let unusable = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local;
    (!unusable).then_some(ip)
}

/// An invitation may be taken days later: returns `ip`, or, if it is one of those that change daily (RFC 8981), one of
/// the same network on the same device that stays.
fn lasting(ip: Ipv6Addr, list: &str) -> Ipv6Addr {
    const TEMPORARY: u32 = 0x01;
    /// Duplicate, deprecated or not yet checked: `IFA_F_DADFAILED`, `IFA_F_DEPRECATED`, `IFA_F_TENTATIVE`.
    const NOT_IN_USE: u32 = 0x08 | 0x20 | 0x40;
    let entries: Vec<Entry> = list.lines().filter_map(Entry::parse).collect();
    let Some(own) = entries.iter().find(|entry| entry.ip == ip) else { return ip };
    if own.flags & TEMPORARY == 0 {
        return ip;
    }
    let network = |ip: Ipv6Addr| u128::from(ip) >> 64;
    let lasts = |entry: &&Entry| {
        entry.device == own.device
            && network(entry.ip) == network(ip)
            && entry.flags & (TEMPORARY | NOT_IN_USE) == 0
    };
    entries.iter().find(lasts).map_or(ip, |entry| entry.ip)
}

/// One row of [`IPV6_LIST`].
struct Entry {
    ip: Ipv6Addr,
    device: u32,
    flags: u32,
}

impl Entry {
    /// Reads `ADDRESS INDEX PREFIX SCOPE FLAGS NAME`, all but the name in hexadecimal.
    fn parse(row: &str) -> Option<Self> {
        let mut words = row.split_whitespace();
        let ip = Ipv6Addr::from(u128::from_str_radix(words.next()?, 16).ok()?);
        let device = u32::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(2)?, 16).ok()?;
        Some(Self { ip, device, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000100000000000000000aaa 02 40 00 01     eth0
20010db8000100000000000000000bbb 02 40 00 20     eth0
20010db8000100000000000000000ccc 03 40 00 00     eth1
20010db8000100000000000000000ddd 02 40 00 00     eth0
";

    #[test]
    fn an_address_that_changes_daily_is_replaced_by_one_that_stays() {
        let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        assert_eq!(lasting(ip("2001:db8:1::aaa"), LIST), ip("2001:db8:1::ddd"));
        assert_eq!(lasting(ip("2001:db8:1::ccc"), LIST), ip("2001:db8:1::ccc"));
        assert_eq!(lasting(ip("2001:db8:9::1"), LIST), ip("2001:db8:9::1"));
        assert_eq!(
            lasting(ip("2001:db8:1::aaa"), "nonsense\n20010db8000100000000000000000aaa 02"),
            ip("2001:db8:1::aaa")
        );
    }

    #[test]
    fn addresses_that_only_a_network_knows_are_private() {
        for private in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.0.1",
            "127.0.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_private(private.parse().expect("an address")), "{private}");
        }
        for public in ["203.0.113.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!is_private(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn what_is_found_can_be_dialled_and_is_of_the_family_listened_on() {
        for ip in find("[::]:1".parse().expect("an address")) {
            assert_eq!(usable(ip), Some(ip));
        }
        assert!(find("0.0.0.0:1".parse().expect("an address")).iter().all(IpAddr::is_ipv4));
    }
}
