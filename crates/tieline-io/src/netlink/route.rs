//! Routes: which way the machine sends what.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::{Netlink, NetlinkError, undone};

/// What our routes say about who made them (`proto` in `ip route`): a number that no routing program of iproute2's list uses.
pub const ROUTE_PROTOCOL: u8 = 116;

/// The table that routing goes by unless a [rule](super::PolicyRule) says otherwise.
pub const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The table that it is in.
    pub table: u32,
    /// What becomes of packets that it is for.
    pub kind: RouteKind,
    /// Where it leads, host bits zero.
    pub destination: IpNet,
    /// The device it goes through; in a listing `None` for routes over several devices.
    pub index: Option<u32>,
    /// The next router, if not the destination itself.
    pub gateway: Option<IpAddr>,
    /// The source address of what this machine itself sends there.
    pub preferred_source: Option<IpAddr>,
    /// Of two routes to one destination the lower metric wins. `None`: the kernel's default (IPv4 0, IPv6 1024).
    pub metric: Option<u32>,
    /// Who made it; [`ROUTE_PROTOCOL`] if we did.
    pub protocol: u8,
}

/// What becomes of packets that a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// They go through its device.
    Unicast,
    /// They go nowhere, and whoever sent them is told.
    Unreachable,
    /// The table says nothing of them: the next rule decides.
    Throw,
}

impl Route {
    /// A route of ours in `table` for `destination` that leads through no device.
    #[must_use]
    pub fn without_device(table: u32, kind: RouteKind, destination: IpNet) -> Self {
        Self { table, kind, index: None, ..Self::through(destination, 0) }
    }

    /// A route of ours to `destination` through the device with `index`.
    #[must_use]
    pub fn through(destination: IpNet, index: u32) -> Self {
        let destination = destination.trunc();
        Self {
            table: MAIN_TABLE,
            kind: RouteKind::Unicast,
            destination,
            index: Some(index),
            gateway: None,
            preferred_source: None,
            metric: None,
            protocol: ROUTE_PROTOCOL,
        }
    }

    /// The default route of ours by way of `gateway`.
    #[must_use]
    pub fn default_via(gateway: IpAddr, index: u32) -> Self {
        let anywhere = match gateway {
            IpAddr::V4(_) => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
            IpAddr::V6(_) => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
        };
        Self { gateway: Some(gateway), ..Self::through(anywhere, index) }
    }

    /// Whether we made it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == ROUTE_PROTOCOL
    }

    /// The metric the kernel goes by.
    fn effective_metric(&self) -> u32 {
        const IPV6_DEFAULT: u32 = 1024;
        match (self.destination, self.metric) {
            (IpNet::V4(_), metric) => metric.unwrap_or(0),
            (IpNet::V6(_), None | Some(0)) => IPV6_DEFAULT,
            (IpNet::V6(_), Some(metric)) => metric,
        }
    }

    /// Whether the kernel can have only one of the two: IPv4 keys a table by destination and metric.
    fn excludes(&self, other: &Self) -> bool {
        self.table == other.table
            && self.destination == other.destination
            && self.effective_metric() == other.effective_metric()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(index) = self.index {
            write!(f, " through network device {index}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " in table {}", self.table)?;
        }
        Ok(())
    }
}

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out by the device with this index.
    Device(u32),
    /// To this machine itself.
    Local,
    /// Nowhere.
    Nowhere,
}

impl Netlink {
    /// Asks where a packet to `destination` would go; one of this machine, or one that comes in from `source` by the device of that index.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn way(&self, destination: IpAddr, from: Option<(IpAddr, u32)>) -> Result<Way, NetlinkError> {
        let host = IpNet::from(destination);
        let mut message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(host.addr(), host.prefix_len())
            .expect("an IpNet's prefix length fits its address")
            .build();
        if let Some((source, index)) = from {
            message.header.source_prefix_length = IpNet::from(source).prefix_len();
            message.attributes.push(RouteAttribute::Source(source.into()));
            message.attributes.push(RouteAttribute::Iif(index));
        }
        let what = || format!("look up the route to {destination}");
        let answer = match self.handle.route().get(message).execute().try_next().await {
            Ok(answer) => answer,
            Err(error) => match NetlinkError::new(what(), error) {
                NetlinkError::Kernel { source, .. } if leads_nowhere(&source) => return Ok(Way::Nowhere),
                other => return Err(other),
            },
        };
        let Some(answer) = answer else { return Ok(Way::Nowhere) };
        let device = answer.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(Way::Device(*index)),
            _ => None,
        });
        Ok(match answer.header.kind {
            RouteType::Local => Way::Local,
            RouteType::Unicast => device.unwrap_or(Way::Nowhere),
            _ => Way::Nowhere,
        })
    }

    /// Lists the unicast routes of the main table, both IP versions.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        self.routes_in(MAIN_TABLE).await
    }

    /// Lists the routes of a table, both IP versions, of the kinds that [`RouteKind`] knows.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn routes_in(&self, table: u32) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        for filter in [v4, v6] {
            let answers = self.handle.route().get(filter).execute().try_collect::<Vec<_>>().await;
            let answers = answers.map_err(|error| NetlinkError::new("list the routes", error))?;
            let all = answers.iter().filter_map(Route::from_message);
            routes.extend(all.filter(|route| route.table == table));
        }
        Ok(routes)
    }

    /// Whether the kernel takes packets to `ip` for its own.
    pub(super) async fn is_local(&self, ip: IpAddr) -> Result<bool, NetlinkError> {
        Ok(self.way(ip, None).await? == Way::Local)
    }

    /// Adds a route.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Exists`] if there is one to the same destination with the same metric; else what the kernel said.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let result = self.handle.route().add(route.to_message()).execute().await;
        result.map_err(|error| NetlinkError::new(format!("add the route {route}"), error))
    }

    /// Adds a route, in place of one of ours to the same destination with the same metric if there is one.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::RouteTaken`] if the one there is not ours: the kernel would take it away without being able to give
    /// it back. Else what the kernel said.
    pub async fn replace_route(&self, route: &Route) -> Result<(), NetlinkError> {
        match self.add_route(route).await {
            Err(NetlinkError::Exists { .. }) => {}
            result => return result,
        }
        let what = format!("add the route {route}");
        let there = self.routes_in(route.table).await?;
        if let Some(foreign) = there.iter().find(|other| route.excludes(other) && !other.is_ours()) {
            return Err(NetlinkError::RouteTaken { what, existing: Box::new(*foreign) });
        }
        let result = self.handle.route().add(route.to_message()).replace().execute().await;
        result.map_err(|error| NetlinkError::new(what, error))
    }

    /// Removes a route of ours; returns whether it was there. The device and the protocol are part of what is looked for, so
    /// a route of somebody else is never hit.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn remove_route(&self, route: &Route) -> Result<bool, NetlinkError> {
        let result = self.handle.route().del(route.to_message()).execute().await;
        undone(result.map_err(|error| NetlinkError::new(format!("remove the route {route}"), error)))
    }
}

impl Route {
    fn to_message(self) -> RouteMessage {
        let mut message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(self.destination.addr(), self.destination.prefix_len())
            .expect("an IpNet's prefix length fits its address")
            .protocol(RouteProtocol::from(self.protocol))
            .table_id(self.table)
            .build();
        message.header.kind = match self.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Unreachable => RouteType::Unreachable,
            RouteKind::Throw => RouteType::Throw,
        };
        // IPv4 asks what lies behind a next hop ("universe") and what is on the link itself; IPv6 ignores it.
        let on_link = self.kind == RouteKind::Unicast && self.gateway.is_none();
        if on_link && self.destination.addr().is_ipv4() {
            message.header.scope = RouteScope::Link;
        }
        let attributes = [
            self.index.map(RouteAttribute::Oif),
            self.gateway.map(|ip| RouteAttribute::Gateway(ip.into())),
            self.preferred_source.map(|ip| RouteAttribute::PrefSource(ip.into())),
            self.metric.map(RouteAttribute::Priority),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        message
    }

    fn from_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let kind = match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Unreachable => RouteKind::Unreachable,
            RouteType::Throw => RouteKind::Throw,
            _ => return None,
        };
        let mut route = Self::without_device(header.table.into(), kind, unspecified(header)?);
        route.protocol = header.protocol.into();
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(number) => route.table = *number,
                RouteAttribute::Destination(address) => {
                    route.destination = IpNet::new(ip(address)?, header.destination_prefix_length).ok()?;
                }
                // IPv6 names the loopback device for those that lead nowhere.
                RouteAttribute::Oif(index) if kind == RouteKind::Unicast => route.index = Some(*index),
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::PrefSource(address) => route.preferred_source = ip(address),
                RouteAttribute::Priority(metric) => route.metric = Some(*metric),
                _ => {}
            }
        }
        Some(route)
    }
}

/// What the kernel says of packets for which there is no way: no route, or one that says so.
fn leads_nowhere(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN))
}

/// The destination of a message that names none.
fn unspecified(header: &RouteHeader) -> Option<IpNet> {
    use rtnetlink::packet_route::AddressFamily;
    match header.address_family {
        AddressFamily::Inet => Some(IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0)),
        AddressFamily::Inet6 => Some(IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}
