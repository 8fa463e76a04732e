//! The parties of a lab: an office is two network namespaces, a gateway and a host behind it; a stranger is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use ipnet::IpNet;
use tieline_io::namespace::NamespaceThread;
use tieline_io::netlink::{Netlink, NetlinkError, Route};
use tieline_io::sysctl::{self, IpVersion};
use tieline_io::tun::TunDevice;

use super::LabError;

/// The device to the internet, in the gateway.
pub const WAN_DEVICE: &str = "wan0";
/// The device to the office's network, in the gateway.
pub const LAN_DEVICE: &str = "lan0";
/// The device to the office's network, in the host.
pub const HOST_DEVICE: &str = "eth0";

/// Packets that may wait for the lab to take them, beyond what a gateway sends in the time of one wake-up.
const WAN_QUEUE_PACKETS: u32 = 4096;

/// What `ip route add` writes down: so the lab's routes look like an administrator's, not like a line's.
const PROTOCOL_STATIC: u8 = 4;

/// Where a party is reached, and an office's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficeConfig {
    /// Its addresses on the internet, at most one of each version of IP. Use those set apart for documentation (RFC 5737,
    /// RFC 3849).
    pub wan: Vec<IpNet>,
    /// Its networks inside. The gateway has the first address of each, the host the second.
    pub lan: Vec<IpNet>,
    /// Octets of the largest packet to the internet.
    pub wan_mtu: u16,
}

impl OfficeConfig {
    /// The office with this number (1 to 254): outside 198.51.100.N and 2001:db8:0:N::1, inside 10.N.0.0/24 and
    /// fd00:0:0:N::/64.
    #[must_use]
    pub fn numbered(number: u8) -> Self {
        let wide = u16::from(number);
        let v4 = |a, b, c, d, prefix| IpNet::new_assert(Ipv4Addr::new(a, b, c, d).into(), prefix);
        let v6 = |head: [u16; 4], tail, prefix| {
            let [a, b, c, d] = head;
            IpNet::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, tail).into(), prefix)
        };
        Self {
            wan: vec![v4(198, 51, 100, number, 32), v6([0x2001, 0xdb8, 0, wide], 1, 128)],
            lan: vec![v4(10, number, 0, 0, 24), v6([0xfd00, 0, 0, wide], 0, 64)],
            wan_mtu: Self::WAN_MTU,
        }
    }

    /// A party without a network of its own, at these addresses.
    #[must_use]
    pub fn stranger(addresses: &[IpAddr]) -> Self {
        Self {
            wan: addresses.iter().map(|ip| IpNet::from(*ip)).collect(),
            lan: Vec::new(),
            wan_mtu: Self::WAN_MTU,
        }
    }

    const WAN_MTU: u16 = 1500;
}

/// A party of a lab. Clones stand for the same one; its namespaces last as long as the lab, or the last clone if that is
/// longer.
#[derive(Clone, Debug)]
pub struct Office {
    name: String,
    config: OfficeConfig,
    gateway: NamespaceThread,
    host: Option<NamespaceThread>,
}

impl Office {
    /// The office's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the office's line begins: the namespace with the device to the internet.
    #[must_use]
    pub fn gateway(&self) -> &NamespaceThread {
        &self.gateway
    }

    /// A computer inside; for a stranger, who has no network inside, the gateway itself.
    #[must_use]
    pub fn host(&self) -> &NamespaceThread {
        self.host.as_ref().unwrap_or(&self.gateway)
    }

    /// How it was set up. [`super::Lab::readdress`] does not show here.
    #[must_use]
    pub fn config(&self) -> &OfficeConfig {
        &self.config
    }

    /// Its first address on the internet of that version of IP.
    #[must_use]
    pub fn wan_address(&self, version: IpVersion) -> Option<IpAddr> {
        self.config.wan.iter().map(IpNet::addr).find(|ip| is_version(*ip, version))
    }

    /// The gateway's address inside.
    #[must_use]
    pub fn gateway_address(&self, version: IpVersion) -> Option<IpAddr> {
        self.lan(version).map(|lan| nth(lan, 1).addr())
    }

    /// The host's address inside.
    #[must_use]
    pub fn host_address(&self, version: IpVersion) -> Option<IpAddr> {
        self.lan(version).map(|lan| nth(lan, 2).addr())
    }

    fn lan(&self, version: IpVersion) -> Option<IpNet> {
        self.config.lan.iter().copied().find(|lan| is_version(lan.addr(), version))
    }

    /// Makes the namespaces and what is in them. The other side of [`WAN_DEVICE`] is returned for the exchange to hold.
    pub(super) fn build(name: &str, config: OfficeConfig) -> Result<(Self, TunDevice), LabError> {
        let gateway = NamespaceThread::new(&format!("{name}-gw"))?;
        let mtu = config.wan_mtu;
        let device = gateway.run(move || TunDevice::create(WAN_DEVICE, mtu))?;
        let (index, wan) = (device.index(), config.wan.clone());
        in_namespace(&gateway, async move |netlink| set_up_wan(&netlink, index, &wan).await)?;
        let host = match config.lan.as_slice() {
            [] => None,
            lan => Some(build_host(name, &gateway, lan.to_vec())?),
        };
        Ok((Self { name: name.to_owned(), config, gateway, host }, device))
    }

    /// Gives the gateway another address on the internet in place of `old`.
    pub(super) fn replace_wan_address(&self, old: IpAddr, new: IpAddr) -> Result<(), LabError> {
        let old = self.config.wan.iter().copied().find(|net| net.addr() == old).unwrap_or(old.into());
        in_namespace(&self.gateway, async move |netlink| {
            let link = netlink.link_by_name(WAN_DEVICE).await?;
            let Some(index) = link.map(|link| link.index) else { return Ok(()) };
            // The new one first: with its last address a device loses its routes.
            netlink.add_address(index, new.into()).await?;
            netlink.remove_address(index, old).await?;
            Ok(())
        })
    }
}

async fn set_up_wan(netlink: &Netlink, index: u32, addresses: &[IpNet]) -> Result<(), NetlinkError> {
    netlink.set_loopback_up().await?;
    netlink.set_queue_length(index, WAN_QUEUE_PACKETS).await?;
    netlink.set_link_up(index, None).await?;
    for address in addresses {
        netlink.add_address(index, *address).await?;
        netlink.add_route(&static_route(default_route(address.addr(), index))).await?;
    }
    Ok(())
}

fn build_host(name: &str, gateway: &NamespaceThread, lan: Vec<IpNet>) -> Result<NamespaceThread, LabError> {
    let host = NamespaceThread::new(&format!("{name}-host"))?;
    let (inside, networks) = (host.clone(), lan.clone());
    in_namespace(gateway, async move |netlink| {
        netlink.add_veth(LAN_DEVICE, HOST_DEVICE).await?;
        let far = index_of(&netlink, HOST_DEVICE).await?;
        netlink.move_link(far, inside.as_fd()).await?;
        let near = index_of(&netlink, LAN_DEVICE).await?;
        netlink.set_link_up(near, None).await?;
        for network in networks {
            netlink.add_address(near, nth(network, 1)).await?;
        }
        Ok(())
    })?;
    in_namespace(&host, async move |netlink| {
        netlink.set_loopback_up().await?;
        let index = index_of(&netlink, HOST_DEVICE).await?;
        netlink.set_link_up(index, None).await?;
        for network in lan {
            netlink.add_address(index, nth(network, 2)).await?;
            netlink.add_route(&static_route(Route::default_via(nth(network, 1).addr(), index))).await?;
        }
        Ok(())
    })?;
    let forwarding = gateway.run(|| {
        sysctl::set_forwarding(IpVersion::V4, true)?;
        sysctl::set_forwarding(IpVersion::V6, true)
    });
    forwarding.map_err(|source| LabError::System { what: "make a gateway forward packets", source })?;
    Ok(host)
}

async fn index_of(netlink: &Netlink, name: &str) -> Result<u32, NetlinkError> {
    let link = netlink.link_by_name(name).await?;
    Ok(link.expect("a device that was just made is there").index)
}

/// Runs a netlink job in a namespace.
fn in_namespace<F: Future<Output = Result<(), NetlinkError>>>(
    namespace: &NamespaceThread,
    job: impl FnOnce(Netlink) -> F + Send + 'static,
) -> Result<(), LabError> {
    let system = |source| LabError::System { what: "talk to the kernel about a network namespace", source };
    let connected = async || match Netlink::connect() {
        Ok(netlink) => Ok(job(netlink).await),
        Err(error) => Err(error),
    };
    Ok(namespace.block_on(connected).map_err(system)?.map_err(system)??)
}

/// Everything through the device: it leads to one place only, so it needs no router's address.
fn default_route(of: IpAddr, index: u32) -> Route {
    Route { gateway: None, ..Route::default_via(of, index) }
}

fn static_route(route: Route) -> Route {
    Route { protocol: PROTOCOL_STATIC, ..route }
}

fn is_version(ip: IpAddr, version: IpVersion) -> bool {
    ip.is_ipv4() == (version == IpVersion::V4)
}

/// The `number`th address of a network, with the network's prefix length.
fn nth(network: IpNet, number: u8) -> IpNet {
    let address = match network.network() {
        IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from_bits(ip.to_bits() | u32::from(number))),
        IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from_bits(ip.to_bits() | u128::from(number))),
    };
    IpNet::new_assert(address, network.prefix_len())
}
