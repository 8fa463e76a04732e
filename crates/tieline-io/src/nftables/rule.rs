//! Rules: what a packet must be, and what then becomes of it, as nf_tables' expressions.
//!
//! A rule is written as it is read: `Rule::new().from_device("berlin").new_connection().count().drop()`. Each expression leaves what it
//! looked up in register 1, where the next one compares it; one that does not hold ends the rule.

use std::net::IpAddr;

use ipnet::IpNet;

use super::attributes::{Attributes, attributes_of, children};
use super::find;

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const META_MARK: u32 = 3;
const META_IN_NAME: u32 = 6;
const META_OUT_NAME: u32 = 7;
const META_IP_VERSION: u32 = 15;
const META_PROTOCOL: u32 = 16;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Octets that the kernel compares a device's name in, zeros behind it.
const DEVICE_NAME_LEN: usize = 16;
/// The type of this machine's own addresses (`RTN_LOCAL`).
const LOCAL: u32 = 2;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp = libc::IPPROTO_TCP as isize,
    /// UDP.
    Udp = libc::IPPROTO_UDP as isize,
    /// The control messages of IPv6.
    Icmpv6 = libc::IPPROTO_ICMPV6 as isize,
    /// Membership of multicast groups, IPv4.
    Igmp = libc::IPPROTO_IGMP as isize,
}

/// A rule under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule(Attributes);

impl Rule {
    /// A rule for every packet, that does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of packets that came in by the device.
    #[must_use]
    pub fn from_device(self, name: &str) -> Self {
        self.meta(META_IN_NAME).compare(EQUAL, &device_name(name))
    }

    /// Of packets that go out by the device.
    #[must_use]
    pub fn to_device(self, name: &str) -> Self {
        self.meta(META_OUT_NAME).compare(EQUAL, &device_name(name))
    }

    /// Of packets whose source is in the network.
    #[must_use]
    pub fn source(self, network: IpNet) -> Self {
        let offset = if network.addr().is_ipv4() { 12 } else { 8 };
        self.address(offset, network)
    }

    /// Of packets whose destination is in the network.
    #[must_use]
    pub fn destination(self, network: IpNet) -> Self {
        let offset = if network.addr().is_ipv4() { 16 } else { 24 };
        self.address(offset, network)
    }

    /// Of packets of that version of IP as `address` is.
    #[must_use]
    pub fn version_of(self, address: IpAddr) -> Self {
        self.meta(META_IP_VERSION).compare(EQUAL, &[if address.is_ipv4() { IPV4 } else { IPV6 }])
    }

    /// Of packets that are not for this machine.
    #[must_use]
    pub fn not_for_us(self) -> Self {
        const OF_DESTINATION: u32 = 1 << 1;
        self.address_type(OF_DESTINATION).compare(NOT_EQUAL, &LOCAL.to_ne_bytes())
    }

    /// Of packets whose source is an address of this machine.
    #[must_use]
    pub fn from_us(self) -> Self {
        const OF_SOURCE: u32 = 1;
        self.address_type(OF_SOURCE).compare(EQUAL, &LOCAL.to_ne_bytes())
    }

    /// Of packets with this mark.
    #[must_use]
    pub fn mark(self, mark: u32) -> Self {
        self.meta(META_MARK).compare(EQUAL, &mark.to_ne_bytes())
    }

    /// Of packets of the protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.meta(META_PROTOCOL).compare(EQUAL, &[protocol as u8])
    }

    /// Of packets, of a protocol with ports, that come from the one port and go to the other.
    #[must_use]
    pub fn ports(self, source: u16, destination: u16) -> Self {
        let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        self.load(TRANSPORT_HEADER, 0, 4).compare(EQUAL, &ports)
    }

    /// Of packets, of a protocol with ports, that go to the port.
    #[must_use]
    pub fn destination_port(self, port: u16) -> Self {
        self.load(TRANSPORT_HEADER, 2, 2).compare(EQUAL, &port.to_be_bytes())
    }

    /// Of packets whose first octet behind the IP header is this: the type, in ICMP.
    #[must_use]
    pub fn first_octet(self, octet: u8) -> Self {
        self.load(TRANSPORT_HEADER, 0, 1).compare(EQUAL, &[octet])
    }

    /// Of the first packet of a connection.
    #[must_use]
    pub fn new_connection(self) -> Self {
        const STATE: u32 = 0;
        const NEW: u32 = 1 << 3;
        let state = Attributes::new().number(1, REGISTER).number(2, STATE);
        self.expression("ct", &state).masked(&NEW.to_ne_bytes()).compare(NOT_EQUAL, &[0; 4])
    }

    /// Of a TCP packet that opens a connection: SYN without RST.
    #[must_use]
    pub fn opens_tcp(self) -> Self {
        const FLAGS: u32 = 13;
        const SYN: u8 = 2;
        const RST: u8 = 4;
        let flags = self.protocol(Protocol::Tcp).load(TRANSPORT_HEADER, FLAGS, 1);
        flags.masked(&[SYN | RST]).compare(EQUAL, &[SYN])
    }

    /// Counts the packet.
    #[must_use]
    pub fn count(self) -> Self {
        self.expression("counter", &Attributes::new())
    }

    /// Lets the packet pass; no further rule of the chain sees it.
    #[must_use]
    pub fn accept(self) -> Self {
        self.verdict(ACCEPT)
    }

    /// Drops the packet.
    #[must_use]
    pub fn drop(self) -> Self {
        self.verdict(DROP)
    }

    /// Gives the connection the address of the device that it goes out by for its source.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::new())
    }

    /// Gives the connection another destination.
    #[must_use]
    pub fn to_destination(self, address: IpAddr) -> Self {
        self.translate(1, address)
    }

    /// Gives the connection another source.
    #[must_use]
    pub fn to_source(self, address: IpAddr) -> Self {
        self.translate(0, address)
    }

    /// Lowers the segment size that a TCP packet announces to what fits into the smaller of the ways there and back.
    #[must_use]
    pub fn clamp_segment_size(self) -> Self {
        const TCP_SEGMENT_SIZE: u32 = 3;
        const TO_NETWORK_ORDER: u32 = 1;
        const TCP_OPTION: u32 = 1;
        const MAXIMUM_SEGMENT_SIZE: u8 = 2;
        let route = Attributes::new().number(1, REGISTER).number(2, TCP_SEGMENT_SIZE);
        let order = Attributes::new()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, TO_NETWORK_ORDER)
            .number(4, 2)
            .number(5, 2);
        let option = Attributes::new()
            .octets(2, &[MAXIMUM_SEGMENT_SIZE])
            .number(3, 2)
            .number(4, 2)
            .number(6, TCP_OPTION)
            .number(7, REGISTER);
        self.expression("rt", &route).expression("byteorder", &order).expression("exthdr", &option)
    }

    pub(super) fn expressions(&self) -> &Attributes {
        &self.0
    }

    fn translate(self, kind: u32, address: IpAddr) -> Self {
        let (family, octets) = match address {
            IpAddr::V4(ip) => (IPV4, ip.octets().to_vec()),
            IpAddr::V6(ip) => (IPV6, ip.octets().to_vec()),
        };
        let nat = Attributes::new()
            .number(1, kind)
            .number(2, family.into())
            .number(3, REGISTER)
            .number(4, REGISTER);
        let immediate = Attributes::new().number(1, REGISTER).nested(2, &data(&octets));
        self.version_of(address).expression("immediate", &immediate).expression("nat", &nat)
    }

    fn address_type(self, of: u32) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        let fib = Attributes::new().number(1, REGISTER).number(2, ADDRESS_TYPE).number(3, of);
        self.expression("fib", &fib)
    }

    fn address(self, offset: u32, network: IpNet) -> Self {
        let (address, mask) = match network {
            IpNet::V4(net) => (net.network().octets().to_vec(), net.netmask().octets().to_vec()),
            IpNet::V6(net) => (net.network().octets().to_vec(), net.netmask().octets().to_vec()),
        };
        let length = u32::from(network.max_prefix_len()) / 8;
        let of_version = self.version_of(network.addr());
        if network.prefix_len() == 0 {
            return of_version;
        }
        let loaded = of_version.load(NETWORK_HEADER, offset, length);
        loaded.masked(&mask).compare(EQUAL, &address)
    }

    fn meta(self, key: u32) -> Self {
        self.expression("meta", &Attributes::new().number(1, REGISTER).number(2, key))
    }

    fn load(self, base: u32, offset: u32, length: u32) -> Self {
        let payload =
            Attributes::new().number(1, REGISTER).number(2, base).number(3, offset).number(4, length);
        self.expression("payload", &payload)
    }

    fn masked(self, mask: &[u8]) -> Self {
        let zeros = vec![0; mask.len()];
        let bitwise = Attributes::new()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, mask.len() as u32)
            .nested(4, &data(mask))
            .nested(5, &data(&zeros));
        self.expression("bitwise", &bitwise)
    }

    fn compare(self, how: u32, value: &[u8]) -> Self {
        let compare = Attributes::new().number(1, REGISTER).number(2, how).nested(3, &data(value));
        self.expression("cmp", &compare)
    }

    fn verdict(self, code: u32) -> Self {
        let verdict = Attributes::new().nested(2, &Attributes::new().number(1, code));
        let immediate = Attributes::new().number(1, VERDICT_REGISTER).nested(2, &verdict);
        self.expression("immediate", &immediate)
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        const ELEMENT: u16 = 1;
        let expression = Attributes::new().text(1, name).nested(2, data);
        Self(self.0.nested(ELEMENT, &expression))
    }
}

fn data(value: &[u8]) -> Attributes {
    Attributes::new().octets(1, value)
}

fn device_name(name: &str) -> [u8; DEVICE_NAME_LEN] {
    let mut octets = [0; DEVICE_NAME_LEN];
    // The last octet stays zero: no device has a longer name.
    for (octet, letter) in octets[..DEVICE_NAME_LEN - 1].iter_mut().zip(name.bytes()) {
        *octet = letter;
    }
    octets
}

/// Packets that the counters of a rule have seen; `payload` is a message that describes the rule.
pub(super) fn counted(payload: &[u8]) -> u64 {
    const EXPRESSIONS: u16 = 4;
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    const PACKETS: u16 = 2;
    let expressions = find(attributes_of(payload), EXPRESSIONS).unwrap_or_default();
    let counters = children(expressions).filter(|(_, one)| find(one, NAME) == Some(b"counter\0"));
    let counts = counters.filter_map(|(_, one)| {
        let packets = find(find(one, DATA)?, PACKETS)?;
        Some(u64::from_be_bytes(*packets.first_chunk()?))
    });
    counts.sum()
}
