//! Rules of routing, tables beside the main one, and tables of the packet filter, each test in a network namespace of its own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use tieline_io::namespace::NamespaceThread;
use tieline_io::netlink::{MAIN_TABLE, Netlink, PolicyRule, Route, RouteKind, Selector, Way};
use tieline_io::nftables::{Chain, Hook, Nftables, NftablesError, Protocol, Rule, Table};
use tieline_io::sysctl::IpVersion;
use tieline_io::tun::TunDevice;
use tieline_io::watch::{self, DeviceWatch};

use crate::harness::Test;

const MTU: u16 = 1420;
const TABLE: u32 = 0x7400_0007;

pub(crate) const TESTS: &[Test] = &[
    ("rules_and_routes_of_a_table_of_our_own_decide_where_packets_go", rules_decide),
    ("rules_are_added_and_removed_twice_without_harm", rules_are_added_and_removed),
    ("a_table_of_the_packet_filter_is_replaced_whole_and_removed", filter_is_replaced),
    ("every_kind_of_rule_is_one_that_the_kernel_takes", every_rule_is_taken),
    ("a_table_that_the_kernel_refuses_changes_nothing", refused_table_changes_nothing),
    ("packets_of_a_device_are_seen_by_what_is_in_them", packets_are_seen),
];

fn in_namespace<F: Future<Output = ()>>(job: impl FnOnce(Netlink) -> F + Send + 'static) {
    let namespace = NamespaceThread::new("test").unwrap();
    namespace.block_on(|| job(Netlink::connect().unwrap())).unwrap();
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A device to the internet with a default route for both versions of IP.
async fn uplink(netlink: &Netlink) -> TunDevice {
    let device = TunDevice::create("up0", MTU).unwrap();
    netlink.set_link_up(device.index(), None).await.unwrap();
    for (address, everything) in [("192.0.2.1/24", "0.0.0.0/0"), ("2001:db8::1/64", "::/0")] {
        netlink.add_address(device.index(), net(address)).await.unwrap();
        netlink.add_route(&Route::through(net(everything), device.index())).await.unwrap();
    }
    device
}

fn all(version: IpVersion) -> PolicyRule {
    PolicyRule { version, selector: Selector::All, table: TABLE, priority: 1162 }
}

fn rules_decide() {
    in_namespace(async |netlink| {
        let device = uplink(&netlink).await;
        for (version, everything, stays, far) in [
            (IpVersion::V4, "0.0.0.0/0", "10.2.0.0/24", ["198.51.100.9", "10.2.0.9"]),
            (IpVersion::V6, "::/0", "fd00::/64", ["2001:db8:9::9", "fd00::9"]),
        ] {
            let nowhere = Route {
                metric: Some(u32::MAX),
                ..Route::without_device(TABLE, RouteKind::Unreachable, net(everything))
            };
            let throw = Route::without_device(TABLE, RouteKind::Throw, net(stays));
            netlink.add_route(&nowhere).await.unwrap();
            netlink.add_route(&throw).await.unwrap();
            netlink.add_policy_rule(&all(version)).await.unwrap();
            let [internet, office] = far.map(ip);
            assert_eq!(netlink.way(internet, None).await.unwrap(), Way::Nowhere);
            assert_eq!(netlink.way(office, None).await.unwrap(), Way::Device(device.index()));
            let into = Route { table: TABLE, ..Route::through(net(everything), device.index()) };
            netlink.add_route(&into).await.unwrap();
            assert_eq!(netlink.way(internet, None).await.unwrap(), Way::Device(device.index()));
            let kinds = |routes: Vec<Route>| routes.into_iter().map(|route| (route.destination, route.kind));
            let listed: Vec<_> = kinds(netlink.routes_in(TABLE).await.unwrap())
                .filter(|(net, _)| net.addr().is_ipv4() == internet.is_ipv4())
                .collect();
            assert_eq!(listed.len(), 3, "{listed:?}");
            for route in [into, throw, nowhere] {
                assert!(netlink.remove_route(&route).await.unwrap(), "{route}");
                assert!(!netlink.remove_route(&route).await.unwrap(), "{route}");
            }
        }
        assert_eq!(netlink.way(ip("192.0.2.1"), None).await.unwrap(), Way::Local);
    });
}

fn rules_are_added_and_removed() {
    in_namespace(async |netlink| {
        let rules = [
            PolicyRule { selector: Selector::MarkedUdp(TABLE), table: MAIN_TABLE, ..all(IpVersion::V4) },
            PolicyRule { selector: Selector::OwnUdpPort(51820), table: MAIN_TABLE, ..all(IpVersion::V4) },
            all(IpVersion::V4),
            all(IpVersion::V6),
        ];
        for rule in rules.iter().chain(&rules) {
            netlink.add_policy_rule(rule).await.unwrap();
        }
        let mut listed = netlink.policy_rules().await.unwrap();
        listed.sort_by_key(|rule| rules.iter().position(|other| other == rule));
        assert_eq!(listed, rules);
        for rule in &rules {
            assert!(netlink.remove_policy_rule(rule).await.unwrap());
            assert!(!netlink.remove_policy_rule(rule).await.unwrap());
        }
        assert_eq!(netlink.policy_rules().await.unwrap(), []);
    });
}

fn table(rules: Vec<Rule>) -> Table {
    let chain = Chain { name: "fence", hook: Hook::Postrouting, priority: 0, translates: false, rules };
    Table { name: "tieline-test".to_owned(), chains: vec![chain] }
}

fn filter_is_replaced() {
    in_namespace(async |netlink| {
        let _device = uplink(&netlink).await;
        let mut filter = Nftables::connect().unwrap();
        assert_eq!(filter.counted("tieline-test", "fence").unwrap(), None);
        let fence =
            |port| Rule::new().to_device("up0").protocol(Protocol::Udp).destination_port(port).count().drop();
        filter.replace(&table(vec![fence(7)])).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let send = |port: u16| {
            for _ in 0..3 {
                // That it is dropped is told as not permitted.
                let _ = socket.send_to(b"x", SocketAddr::new(ip("198.51.100.9"), port));
            }
        };
        send(7);
        send(8);
        assert_eq!(filter.counted("tieline-test", "fence").unwrap(), Some(3));
        filter.replace(&table(vec![fence(7), fence(8)])).unwrap();
        assert_eq!(filter.counted("tieline-test", "fence").unwrap(), Some(0), "replaced");
        send(7);
        send(8);
        assert_eq!(filter.counted("tieline-test", "fence").unwrap(), Some(6));
        filter.remove("tieline-test").unwrap();
        filter.remove("tieline-test").unwrap();
        assert_eq!(filter.counted("tieline-test", "fence").unwrap(), None);
    });
}

fn every_rule_is_taken() {
    in_namespace(async |_netlink| {
        let mut filter = Nftables::connect().unwrap();
        let matching = vec![
            Rule::new().from_device("a").to_device("fifteen-letters").new_connection().count().drop(),
            Rule::new().source(net("10.0.0.0/8")).destination(net("0.0.0.0/0")).accept(),
            Rule::new().source(net("2001:db8::/33")).destination(net("fd00::1/128")).accept(),
            Rule::new().mark(7).accept(),
            Rule::new().protocol(Protocol::Udp).ports(68, 67).accept(),
            Rule::new().protocol(Protocol::Icmpv6).first_octet(135).accept(),
            Rule::new().protocol(Protocol::Igmp).accept(),
            Rule::new().opens_tcp().clamp_segment_size(),
            Rule::new().not_for_us().accept(),
            Rule::new().from_us().accept(),
        ];
        let chain = |name, hook, priority, rules| Chain { name, hook, priority, translates: true, rules };
        let mut all = table(matching.clone());
        all.chains.push(Chain { name: "passing", hook: Hook::Forward, ..all.chains[0].clone() });
        let source = vec![
            Rule::new().masquerade(),
            Rule::new().to_source(ip("10.0.0.1")),
            Rule::new().to_source(ip("fd00::1")),
        ];
        all.chains.push(chain("source", Hook::Postrouting, 100, source));
        let names =
            || vec![Rule::new().to_destination(ip("10.0.0.1")), Rule::new().to_destination(ip("fd00::1"))];
        all.chains.push(chain("names", Hook::Prerouting, -100, names()));
        all.chains.push(chain("own-names", Hook::Output, -100, names()));
        filter.replace(&all).unwrap();
        filter.replace(&all).unwrap();
        filter.remove("tieline-test").unwrap();
    });
}

fn refused_table_changes_nothing() {
    in_namespace(async |_netlink| {
        let mut filter = Nftables::connect().unwrap();
        filter.replace(&table(vec![Rule::new().count().accept()])).unwrap();
        // No chain but one that translates takes it.
        let refused = filter.replace(&table(vec![Rule::new().masquerade()]));
        assert!(matches!(refused, Err(NftablesError::Kernel { .. })), "{refused:?}");
        assert_eq!(filter.counted("tieline-test", "fence").unwrap(), Some(0), "what was there is there");
        let many = vec![Rule::new().source(net("2001:db8::/33")).accept(); 10_000];
        assert!(matches!(filter.replace(&table(many)), Err(NftablesError::TooLarge { .. })));
        filter.replace(&table(Vec::new())).unwrap();
    });
}

fn packets_are_seen() {
    in_namespace(async |netlink| {
        let device = uplink(&netlink).await;
        let watch = DeviceWatch::on(device.index()).unwrap();
        for (to, by) in [("198.51.100.9:9", None), ("[2001:db8:9::9]:9", Some("up0"))] {
            watch::send_udp(b"a token that nobody else has", 3, to.parse().unwrap(), by).unwrap();
        }
        watch::send_udp(b"another", 3, "198.51.100.9:9".parse().unwrap(), None).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(watch.count(b"token that nobody").unwrap(), 6);
        assert_eq!(watch.count(b"token that nobody").unwrap(), 0, "each is counted once");
    });
}
