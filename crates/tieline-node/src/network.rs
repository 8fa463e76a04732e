//! The line in this machine's routing tables: the device's addresses, and a route for each network of the far end.
//!
//! All of it hangs on the line's own device, which the kernel removes with everything on it when the process ends, however
//! it ends. So there is nothing to restore. What does not go by itself is that of [`crate::internet`].

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use tieline_io::netlink::{Address, AddressChanges, Netlink, NetlinkError, Route};

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
    local: Vec<(IpNet, String)>,
}

impl Network {
    /// Gives the device its addresses and sets it up. With `follow_routes`, [`Self::changed`] tells of routes too.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn set_up(
        index: u32,
        addresses: &[IpNet],
        own_offers: &[IpNet],
        line_address: Ipv6Addr,
        follow_routes: bool,
    ) -> Result<Self, NetworkError> {
        let netlink = Netlink::connect().map_err(NetworkError::Connect)?;
        // Before anything is listed, so that no change falls in between.
        let changes =
            if follow_routes { AddressChanges::listen_with_routes() } else { AddressChanges::listen() };
        let changes = changes.map_err(NetworkError::Connect)?;
        netlink.set_link_up(index, None).await?;
        for address in addresses {
            netlink.add_address(index, *address).await?;
        }
        netlink.add_address(index, IpNet::from(IpAddr::from(line_address))).await?;
        Ok(Self { netlink, changes, index, own_offers: own_offers.to_vec(), line_address, local: Vec::new() })
    }

    /// The addresses that this machine's own packets into the line come from, at most one of each version of IP.
    pub async fn sources(&self) -> Vec<IpAddr> {
        let addresses = match self.netlink.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "this machine's addresses cannot be listed");
                return Vec::new();
            }
        };
        let on_line = addresses.iter().find(|one| one.index == self.index && one.network.addr().is_ipv4());
        let v4 = self.source_of(true, &addresses).or_else(|| on_line.map(|one| one.network.addr()));
        v4.into_iter().chain(self.source_of(false, &addresses)).collect()
    }

    /// Waits until an address or a device of this machine has changed: what [`Self::local_networks`] says may be another, and the
    /// kernel may have taken routes away.
    pub async fn changed(&mut self) {
        self.changes.changed().await;
    }

    /// The networks that this machine reaches directly, by other devices than the line's; those known last if the kernel does not
    /// tell now.
    pub async fn local_networks(&mut self) -> &[(IpNet, String)] {
        match self.list_local_networks().await {
            Ok(local) => self.local = local,
            Err(error) => tracing::warn!(%error, "this machine's own networks cannot be listed"),
        }
        &self.local
    }

    async fn list_local_networks(&self) -> Result<Vec<(IpNet, String)>, NetlinkError> {
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
    ///
    /// What is there is asked of the kernel each time: it takes routes away by itself, such as all whose source address goes.
    pub async fn set_routes(&mut self, networks: &[IpNet]) -> Vec<(IpNet, NetlinkError)> {
        let (into_line, addresses) = match self.list_routes().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "this machine's routes cannot be listed; they stay as they are");
                return Vec::new();
            }
        };
        let (ours, others): (Vec<_>, Vec<_>) = into_line.into_iter().partition(Route::is_ours);
        for gone in ours.iter().filter(|route| !networks.contains(&route.destination)) {
            if let Err(error) = self.netlink.remove_route(gone).await {
                tracing::warn!(route = %gone, %error, "a route could not be removed");
            }
        }
        let mut failed = Vec::new();
        for network in networks {
            if others.iter().any(|route| route.destination == *network) {
                // The administrator's, or that of an address on the line: it leads where ours would.
                continue;
            }
            let preferred_source = self.source_towards(network, &addresses);
            let wanted = Route { preferred_source, ..Route::through(*network, self.index) };
            let there = ours.iter().find(|route| route.destination == wanted.destination);
            let result = match there {
                Some(there) if there.preferred_source == preferred_source => Ok(()),
                Some(_) => self.netlink.replace_route(&wanted).await,
                None => self.netlink.add_route(&wanted).await,
            };
            failed.extend(result.err().map(|error| (*network, error)));
        }
        failed
    }

    /// The routes into the line, and the addresses of this machine.
    async fn list_routes(&self) -> Result<(Vec<Route>, Vec<Address>), NetlinkError> {
        let mut routes = self.netlink.routes().await?;
        routes.retain(|route| route.index == Some(self.index));
        Ok((routes, self.netlink.addresses().await?))
    }

    /// What this machine itself sends into the line must come from an address that the far end lets in.
    fn source_towards(&self, network: &IpNet, addresses: &[Address]) -> Option<IpAddr> {
        self.source_of(network.addr().is_ipv4(), addresses)
    }

    fn source_of(&self, is_v4: bool, addresses: &[Address]) -> Option<IpAddr> {
        let offered = addresses.iter().map(|address| address.network.addr()).find(|address| {
            address.is_ipv4() == is_v4 && self.own_offers.iter().any(|offer| offer.contains(address))
        });
        offered.or_else(|| (!is_v4).then_some(self.line_address.into()))
    }
}
