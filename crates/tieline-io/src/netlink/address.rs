//! Addresses: which of the world's are this machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};

use super::{Netlink, NetlinkError, undone};

/// How long the kernel may take to make an address usable; a busy machine takes some milliseconds.
pub const USABLE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device that has it.
    pub index: u32,
    /// The address, with the prefix length of its network (host bits kept).
    pub network: IpNet,
    /// Whether it means something beyond its own link (`scope global`).
    pub is_global: bool,
}

impl Netlink {
    /// Lists the addresses of the machine, loopback included.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let answers = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        let answers = answers.map_err(|error| NetlinkError::new("list the addresses", error))?;
        Ok(answers.iter().filter_map(Address::from_message).collect())
    }

    /// Gives a device an address, with the network of its prefix length reachable through it; giving it again changes
    /// nothing. On a device that is up the address can be used when this returns. An IPv6 address is not asked for on the
    /// link first: on a line nobody else can have it (RFC 4862 §5.4 is for shared links).
    ///
    /// Needs the runtime's clock.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::NotUsable`] after [`USABLE_WITHIN`]; else what the kernel said.
    pub async fn add_address(&self, index: u32, network: IpNet) -> Result<(), NetlinkError> {
        let mut request = self.handle.address().add(index, network.addr(), network.prefix_len()).replace();
        if network.addr().is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let what = || format!("give network device {index} the address {network}");
        request.execute().await.map_err(|error| NetlinkError::new(what(), error))?;
        if network.addr().is_ipv6() && self.link_is_up(index).await? {
            let usable = tokio::time::timeout(USABLE_WITHIN, self.until_local(network.addr())).await;
            return usable.unwrap_or_else(|_| Err(NetlinkError::NotUsable { what: what() }));
        }
        Ok(())
    }

    /// Waits until the kernel takes packets to `ip` for its own. For IPv6 a work queue of the kernel does that after it has
    /// confirmed the address; until then a router sends such packets on.
    async fn until_local(&self, ip: IpAddr) -> Result<(), NetlinkError> {
        while !self.is_local(ip).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Takes an address from a device; returns whether it was there.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn remove_address(&self, index: u32, network: IpNet) -> Result<bool, NetlinkError> {
        let message = match network.addr() {
            IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(index)
                .address(ip, network.prefix_len())
                .build(),
            IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(index)
                .address(ip, network.prefix_len())
                .build(),
        };
        let result = self.handle.address().del(message).execute().await;
        let what = || format!("take the address {network} from network device {index}");
        undone(result.map_err(|error| NetlinkError::new(what(), error)))
    }
}

impl Address {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        // On a point-to-point link `Address` is the far end's, and `Local` is ours; elsewhere IPv6 has no `Local`.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        });
        let address = || {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            })
        };
        let network = IpNet::new(local.or_else(address)?, message.header.prefix_len).ok()?;
        let is_global = message.header.scope == AddressScope::Universe;
        Some(Self { index: message.header.index, network, is_global })
    }
}
