//! The line in this machine's routing tables: the device's addresses, and a route for each network of the far end.
//!
//! All of it hangs on the line's own device, which the kernel removes with everything on it when the process ends, however
//! it ends. So there is nothing to restore.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use tieline_io::netlink::{AddressChanges, Netlink, NetlinkError, Route};

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No connection to the kernel's routing tables.
    #[error("the kernel's routing tables cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The kernel refused something.
    #[error(transparent)]
    Refused(#[from] NetlinkError),
}

/// The routing side of one line.
#[derive(Debug)]
pub struct Network {
    netlink: Netlink,
    changes: AddressChanges,
    index: u32,
    own_offers: Vec<IpNet>,
    line_address: Ipv6Addr,
    installed: Vec<IpNet>,
}

impl Network {
    /// Gives the device its addresses and sets it up.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn set_up(
        index: u32,
        addresses: &[IpNet],
        own_offers: &[IpNet],
        line_address: Ipv6Addr,
    ) -> Result<Self, NetworkError> {
        let netlink = Netlink::connect().map_err(NetworkError::Connect)?;
        // Before anything is listed, so that no change falls in between.
        let changes = AddressChanges::listen().map_err(NetworkError::Connect)?;
        netlink.set_link_up(index, None).await?;
        for address in addresses {
            netlink.add_address(index, *address).await?;
        }
        netlink.add_address(index, IpNet::from(IpAddr::from(line_address))).await?;
        Ok(Self {
            netlink,
            changes,
            index,
            own_offers: own_offers.to_vec(),
            line_address,
            installed: Vec::new(),
        })
    }

    /// Waits until an address of this machine has come or gone: what [`Self::local_networks`] says may have changed.
    pub async fn changed(&mut self) {
        self.changes.changed().await;
    }

    /// The networks that this machine reaches directly, by other devices than the line's.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn local_networks(&self) -> Result<Vec<(IpNet, String)>, NetlinkError> {
        let links = self.netlink.links().await?;
        let addresses = self.netlink.addresses().await?;
        let local = addresses.iter().filter(|address| address.index != self.index && address.is_global);
        Ok(local
            .map(|address| {
                let name =
                    links.iter().find(|link| link.index == address.index).map(|link| link.name.clone());
                (address.network.trunc(), name.unwrap_or_default())
            })
            .collect())
    }

    /// Routes exactly `networks` into the line; returns those that the kernel did not take, with what it said.
    pub async fn set_routes(&mut self, networks: &[IpNet]) -> Vec<(IpNet, NetlinkError)> {
        for gone in self.installed.iter().filter(|installed| !networks.contains(installed)) {
            if let Err(error) = self.netlink.remove_route(&Route::through(*gone, self.index)).await {
                tracing::warn!(network = %gone, %error, "a route could not be removed");
            }
        }
        self.installed.retain(|installed| networks.contains(installed));
        let mut failed = Vec::new();
        for network in networks {
            if self.installed.contains(network) {
                continue;
            }
            match self.add_route(*network).await {
                Ok(()) => self.installed.push(*network),
                Err(error) => failed.push((*network, error)),
            }
        }
        failed
    }

    async fn add_route(&self, network: IpNet) -> Result<(), NetlinkError> {
        let mut route = Route::through(network, self.index);
        route.preferred_source = self.source_towards(&network).await?;
        self.netlink.add_route(&route).await
    }

    /// What this machine itself sends into the line must come from an address that the far end lets in.
    async fn source_towards(&self, network: &IpNet) -> Result<Option<IpAddr>, NetlinkError> {
        let addresses = self.netlink.addresses().await?;
        let is_v6 = network.addr().is_ipv6();
        let offered = addresses.iter().map(|address| address.network.addr()).find(|address| {
            address.is_ipv6() == is_v6 && self.own_offers.iter().any(|offer| offer.contains(address))
        });
        Ok(offered.or_else(|| is_v6.then_some(self.line_address.into())))
    }
}
