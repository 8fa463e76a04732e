//! TUN devices, links, addresses and routes, each test in a network namespace of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use ipnet::IpNet;
use tieline_io::namespace::NamespaceThread;
use tieline_io::netlink::{AddressChanges, Netlink, NetlinkError, ROUTE_PROTOCOL, Route};
use tieline_io::sysctl::{self, IpVersion};
use tieline_io::tun::{self, TunDevice, TunError};
use tieline_io::udp::SendFault;
use tieline_io::wait::wait_readable;

use crate::harness::Test;

const LIMIT: Option<Duration> = Some(Duration::from_secs(10));
const MTU: u16 = 1420;

pub(crate) const TESTS: &[Test] = &[
    ("a_device_has_the_name_mtu_and_index_it_was_made_with", device_has_what_it_was_made_with),
    ("a_taken_device_name_is_told_as_such", taken_name_is_told),
    ("packets_go_out_and_come_in_through_the_device", packets_go_out_and_come_in),
    ("answers_come_out_of_the_queue_that_their_flow_was_written_to", answers_come_out_of_their_queue),
    ("a_dropped_device_takes_its_addresses_and_routes_along", dropped_device_takes_all_along),
    ("addresses_are_given_twice_without_harm_and_taken_once", addresses_are_given_and_taken),
    ("an_ipv6_address_is_usable_at_once", ipv6_address_is_usable_at_once),
    ("an_address_that_comes_or_goes_is_told_of", address_changes_are_told),
    ("a_route_bears_our_protocol_number_source_and_metric", route_bears_its_marks),
    ("a_foreign_route_is_not_replaced_and_an_own_one_is", foreign_route_is_not_replaced),
    ("removing_a_route_of_ours_leaves_a_foreign_one_alone", removing_leaves_foreign_alone),
    ("a_cable_joins_two_namespaces_and_a_gateway_leads_on", cable_joins_two_namespaces),
    ("forwarding_is_read_as_it_was_set", forwarding_is_read_as_set),
    ("what_is_missing_is_not_found", missing_is_not_found),
    ("a_device_removed_by_somebody_else_is_told_as_gone", removed_device_is_gone),
    ("both_versions_of_ip_arrive_at_one_socket_with_canonical_addresses", both_versions_at_one_socket),
];

fn namespace() -> NamespaceThread {
    NamespaceThread::new("test").unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn in_namespace<F: Future<Output = ()>>(job: impl FnOnce(Netlink) -> F + Send + 'static) {
    namespace().block_on(|| job(Netlink::connect().unwrap())).unwrap();
}

fn device_has_what_it_was_made_with() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie%d", MTU).unwrap();
        assert_eq!(device.name(), "tie0");
        let link = netlink.link_by_name("tie0").await.unwrap().unwrap();
        assert_eq!((link.index, link.mtu, link.is_up), (device.index(), MTU.into(), false));
        netlink.set_link_up(link.index, Some(1300)).await.unwrap();
        netlink.set_queue_length(link.index, 16).await.unwrap();
        let link = netlink.links().await.unwrap().into_iter().find(|link| link.name == "tie0").unwrap();
        assert_eq!((link.mtu, link.is_up, link.is_loopback), (1300, true, false));
    });
}

fn taken_name_is_told() {
    in_namespace(async |netlink| {
        let _device = TunDevice::create("tie0", MTU).unwrap();
        let again = TunDevice::create("tie0", MTU);
        assert!(matches!(again, Err(TunError::NameTaken { .. })), "{again:?}");
        netlink.add_veth("cable0", "cable1").await.unwrap();
        let other_kind = TunDevice::create("cable0", MTU);
        assert!(matches!(other_kind, Err(TunError::NameTaken { .. })), "{other_kind:?}");
    });
}

fn packets_go_out_and_come_in() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie0", MTU).unwrap();
        netlink.add_address(device.index(), net("192.0.2.1/24")).await.unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        let socket = UdpSocket::bind("192.0.2.1:7").unwrap();
        socket.set_read_timeout(LIMIT).unwrap();
        socket.send_to(b"payload", "192.0.2.2:7").unwrap();
        let mut packet = read_udp(&device);
        assert_eq!(&packet[28..], b"payload");
        // Sent back with source and destination exchanged, neither checksum changes.
        let (source, destination) = packet[12..20].split_at_mut(4);
        source.swap_with_slice(destination);
        device.queue().write(&packet).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (b"payload".as_slice(), "192.0.2.2:7".parse().unwrap()));
    });
}

fn answers_come_out_of_their_queue() {
    in_namespace(async |netlink| {
        const QUEUES: usize = 5;
        let device = TunDevice::create_with_offload("tie0", MTU, QUEUES).unwrap();
        assert_eq!(device.queues().len(), QUEUES);
        netlink.add_address(device.index(), net("192.0.2.1/24")).await.unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        for (port, queue) in (7..27_u8).zip((0..QUEUES).cycle()) {
            let socket = UdpSocket::bind(SocketAddr::from(([192, 0, 2, 1], port.into()))).unwrap();
            socket.set_read_timeout(LIMIT).unwrap();
            // No checksum, which UDP over IPv4 may do without.
            let mut packet = [0; 10 + 28 + 8];
            packet[10..38].copy_from_slice(&[
                0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0xf6, 0xc5, 192, 0, 2, 2, 192, 0, 2, 1, 0, port, 0, port,
                0, 16, 0, 0,
            ]);
            device.queues()[queue].write(&packet).unwrap();
            let mut buffer = [0; 64];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..length], from).unwrap();
            assert!(
                !wait_readable(&[device.queues()[queue].as_fd()], LIMIT).unwrap().is_empty(),
                "port {port}"
            );
            while device.queues()[queue].read(&mut packet).is_ok() {}
        }
    });
}

/// The next IPv4 UDP packet from the device; the kernel may send others (router solicitations) before it.
fn read_udp(device: &TunDevice) -> Vec<u8> {
    let mut buffer = [0; MTU as usize];
    loop {
        assert!(!wait_readable(&[device.queue().as_fd()], LIMIT).unwrap().is_empty(), "no packet in time");
        let length = device.queue().read(&mut buffer).unwrap();
        if buffer[0] >> 4 == 4 && buffer[9] == 17 {
            return buffer[..length].to_vec();
        }
    }
}

fn dropped_device_takes_all_along() {
    in_namespace(async |netlink| {
        let before = (netlink.addresses().await.unwrap(), netlink.routes().await.unwrap());
        let device = TunDevice::create("tie0", MTU).unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        netlink.add_address(device.index(), net("192.0.2.1/24")).await.unwrap();
        netlink.add_address(device.index(), net("2001:db8::1/64")).await.unwrap();
        netlink.add_route(&Route::through(net("10.2.0.0/16"), device.index())).await.unwrap();
        netlink.add_route(&Route::through(net("2001:db8:2::/48"), device.index())).await.unwrap();
        assert_ne!(before, (netlink.addresses().await.unwrap(), netlink.routes().await.unwrap()));
        drop(device);
        assert_eq!(before, (netlink.addresses().await.unwrap(), netlink.routes().await.unwrap()));
        assert_eq!(netlink.link_by_name("tie0").await.unwrap(), None);
    });
}

fn addresses_are_given_and_taken() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie0", MTU).unwrap();
        for address in [net("192.0.2.1/24"), net("2001:db8::1/64")] {
            netlink.add_address(device.index(), address).await.unwrap();
            netlink.add_address(device.index(), address).await.unwrap();
            let listed = netlink.addresses().await.unwrap();
            let found: Vec<_> = listed.iter().filter(|entry| entry.network == address).collect();
            assert_eq!(found.len(), 1, "{listed:?}");
            assert!(found[0].is_global && found[0].index == device.index());
            assert!(netlink.remove_address(device.index(), address).await.unwrap());
            assert!(!netlink.remove_address(device.index(), address).await.unwrap());
        }
    });
}

/// Sent on as a router would, a packet to an address that is not local yet leaves by the device it came in by.
fn ipv6_address_is_usable_at_once() {
    /// Enough to meet the moment in which the kernel has the address, but no route to it.
    const ATTEMPTS: u16 = 50;
    in_namespace(async |netlink| {
        sysctl::set_forwarding(IpVersion::V6, true).unwrap();
        let device = TunDevice::create("tie0", MTU).unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        netlink.add_route(&Route::through(net("::/0"), device.index())).await.unwrap();
        for number in 1..=ATTEMPTS {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
            netlink.add_address(device.index(), IpNet::from(IpAddr::from(address))).await.unwrap();
            let socket = UdpSocket::bind((address, 7)).unwrap();
            device.queue().write(&udp_v6("2001:db8:1::1".parse().unwrap(), address)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let received = socket.recv(&mut [0; 8]);
            assert_eq!(received.map_err(|error| error.kind()), Ok(2), "address {number}");
        }
    });
}

/// A UDP packet to port 7 with two octets of payload.
fn udp_v6(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    const UDP: u8 = 17;
    let mut transport = [7_u16, 7, 10, 0].map(u16::to_be_bytes).concat();
    transport.extend(b"hi");
    let addresses = [source.octets(), destination.octets()].concat();
    let covered = [addresses.as_slice(), &[0, UDP, 0, 10], &transport].concat();
    let mut sum: u32 = covered.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    transport[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    [&[0x60, 0, 0, 0, 0, 10, UDP, 64], addresses.as_slice(), &transport].concat()
}

fn address_changes_are_told() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie0", MTU).unwrap();
        let mut changes = AddressChanges::listen().unwrap();
        for address in ["192.0.2.1/24", "2001:db8::1/64"] {
            let early = tokio::time::timeout(Duration::from_millis(150), changes.changed()).await;
            assert!(early.is_err(), "a change without any");
            netlink.add_address(device.index(), net(address)).await.unwrap();
            changes.changed().await;
            assert!(netlink.remove_address(device.index(), net(address)).await.unwrap());
            changes.changed().await;
        }
    });
}

fn route_bears_its_marks() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie0", MTU).unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        for (own, far) in [("192.0.2.1/32", "10.2.0.0/16"), ("2001:db8::1/128", "2001:db8:2::/48")] {
            netlink.add_address(device.index(), net(own)).await.unwrap();
            let mut route = Route::through(net(far), device.index());
            route.preferred_source = Some(net(own).addr());
            route.metric = Some(50);
            netlink.add_route(&route).await.unwrap();
            let listed = netlink.routes().await.unwrap();
            let found = listed.iter().find(|listed| listed.destination == net(far)).unwrap();
            assert_eq!(*found, route);
            assert_eq!(found.protocol, ROUTE_PROTOCOL);
            assert!(netlink.remove_route(&route).await.unwrap());
            assert!(!netlink.remove_route(&route).await.unwrap());
        }
    });
}

fn foreign_route_is_not_replaced() {
    in_namespace(async |netlink| {
        let (ours, theirs) =
            (TunDevice::create("tie0", MTU).unwrap(), TunDevice::create("other0", MTU).unwrap());
        for device in [&ours, &theirs] {
            netlink.set_link_up(device.index(), None).await.unwrap();
        }
        for destination in [net("10.2.0.0/16"), net("2001:db8:2::/48")] {
            let foreign = Route { protocol: 4, ..Route::through(destination, theirs.index()) };
            netlink.add_route(&foreign).await.unwrap();
            let route = Route::through(destination, ours.index());
            let refused = netlink.replace_route(&route).await;
            assert!(matches!(refused, Err(NetlinkError::RouteTaken { .. })), "{refused:?}");
            assert!(netlink.routes().await.unwrap().iter().any(|listed| listed.protocol == 4));
            // With a metric of its own it stands beside.
            let beside = Route { metric: Some(5), ..route };
            netlink.replace_route(&beside).await.unwrap();
            netlink.replace_route(&beside).await.unwrap();
            let own = netlink.routes().await.unwrap().into_iter().filter(Route::is_ours).collect::<Vec<_>>();
            assert_eq!(own, [beside]);
            netlink.remove_route(&beside).await.unwrap();
            netlink.remove_route(&foreign).await.unwrap();
        }
    });
}

fn removing_leaves_foreign_alone() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie0", MTU).unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        let route = Route::through(net("10.2.0.0/16"), device.index());
        netlink.add_route(&Route { protocol: 4, ..route }).await.unwrap();
        assert!(!netlink.remove_route(&route).await.unwrap());
        let there = netlink.routes().await.unwrap();
        assert!(there.iter().any(|left| left.destination == route.destination && left.protocol == 4));
    });
}

fn cable_joins_two_namespaces() {
    let (here, there) = (namespace(), namespace());
    let inside = there.clone();
    here.block_on(async move || {
        let netlink = Netlink::connect().unwrap();
        netlink.add_veth("cable0", "cable1").await.unwrap();
        let near = netlink.link_by_name("cable0").await.unwrap().unwrap().index;
        let far = netlink.link_by_name("cable1").await.unwrap().unwrap().index;
        netlink.move_link(far, inside.as_fd()).await.unwrap();
        assert_eq!(netlink.link_by_name("cable1").await.unwrap(), None);
        netlink.add_address(near, net("192.0.2.1/24")).await.unwrap();
        netlink.set_link_up(near, None).await.unwrap();
        netlink.set_loopback_up().await.unwrap();
    })
    .unwrap();
    there
        .block_on(async || {
            let netlink = Netlink::connect().unwrap();
            let near = netlink.link_by_name("cable1").await.unwrap().unwrap().index;
            netlink.add_address(near, net("192.0.2.2/24")).await.unwrap();
            netlink.set_link_up(near, None).await.unwrap();
            let default = Route::default_via(Ipv4Addr::new(192, 0, 2, 1).into(), near);
            netlink.add_route(&default).await.unwrap();
            assert!(netlink.routes().await.unwrap().contains(&default));
        })
        .unwrap();
    let receiver = here.run(|| UdpSocket::bind("192.0.2.1:0").unwrap());
    receiver.set_read_timeout(LIMIT).unwrap();
    let to = receiver.local_addr().unwrap();
    there.run(move || UdpSocket::bind("192.0.2.2:7").unwrap().send_to(b"across", to).unwrap());
    let mut buffer = [0; 16];
    let (length, from) = receiver.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (b"across".as_slice(), "192.0.2.2:7".parse().unwrap()));
}

fn forwarding_is_read_as_set() {
    let outcome = namespace().run(|| {
        let mut seen = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            for forward in [true, false, true] {
                sysctl::set_forwarding(version, forward).unwrap();
                seen.push(sysctl::is_forwarding(version).unwrap() == forward);
            }
        }
        seen
    });
    assert_eq!(outcome, [true; 6]);
}

fn missing_is_not_found() {
    in_namespace(async |netlink| {
        assert_eq!(netlink.link_by_name("nothing").await.unwrap(), None);
        assert!(!netlink.remove_link(4711).await.unwrap());
        let nowhere = netlink.set_link_up(4711, None).await;
        assert!(matches!(nowhere, Err(NetlinkError::NotFound { .. })), "{nowhere:?}");
    });
}

fn removed_device_is_gone() {
    in_namespace(async |netlink| {
        let device = TunDevice::create("tie0", MTU).unwrap();
        let nothing = device.queue().read(&mut [0; 64]).unwrap_err();
        assert!(!tun::is_gone(&nothing), "{nothing}");
        assert!(netlink.remove_link(device.index()).await.unwrap());
        assert!(wait_readable(&[device.queue().as_fd()], LIMIT).unwrap().contains(0));
        let gone =
            [device.queue().read(&mut [0; 64]).unwrap_err(), device.queue().write(&[0x45; 20]).unwrap_err()];
        assert!(gone.iter().all(tun::is_gone), "{gone:?}");
    });
}

fn both_versions_at_one_socket() {
    use tieline_io::udp::{ReceiveBuffers, UdpSocket};
    let namespace = namespace();
    namespace.block_on(async || Netlink::connect().unwrap().set_loopback_up().await.unwrap()).unwrap();
    namespace.run(|| {
        let wildcard = UdpSocket::bind("[::]:5000".parse().unwrap()).unwrap();
        assert!(wildcard.is_dual_stack() && !wildcard.may_fragment());
        let mut buffers = ReceiveBuffers::default();
        for (own, to) in [("127.0.0.1:7000", "127.0.0.1:5000"), ("[::1]:7000", "[::1]:5000")] {
            let (own, to): (SocketAddr, SocketAddr) = (own.parse().unwrap(), to.parse().unwrap());
            let sender = UdpSocket::bind(own).unwrap();
            sender.send_to(b"out", to).unwrap();
            wait_readable(&[wildcard.as_fd()], LIMIT).unwrap();
            let datagram = wildcard.recv_batch(&mut buffers).unwrap().next().unwrap();
            assert_eq!(
                (datagram.from, datagram.to, &*datagram.octets),
                (own, Some(to.ip()), b"out".as_slice())
            );
            wildcard.send_to(b"back", own).unwrap();
            wait_readable(&[sender.as_fd()], LIMIT).unwrap();
            let datagram = sender.recv_batch(&mut buffers).unwrap().next().unwrap();
            assert_eq!((datagram.from, &*datagram.octets), (to, b"back".as_slice()));
        }
        let refused = wildcard.send_to(b"x", "192.0.2.1:7".parse().unwrap()).unwrap_err();
        assert_eq!(SendFault::of(&refused), SendFault::Unreachable);
    });
}
