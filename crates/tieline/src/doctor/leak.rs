//! The leak test of an end that goes to the internet by way of the far end: packets that only this test makes are sent in every way that
//! they might take, while somebody looks at this end's own connection. It needs nobody outside.
//!
//! - As this machine sends them: from a socket like any other, and from one that is held to the uplink.
//! - As they come in from the office: the kernel is asked where it would pass them on to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use rand::{TryRngCore, rngs::OsRng};
use tieline_io::{
    netlink::{Link, Netlink, NetlinkError, Route, RouteKind, Selector, Way},
    watch::{self, DeviceWatch},
};
use tieline_node::{
    config::{InternetConfig, LineConfig},
    internet::table_of,
};

use super::Finding;

/// Ports that are tried: that of questions for names, and one that nobody listens on.
const PORTS: [u16; 2] = [53, 9];
/// Packets of each kind.
const EACH: usize = 5;
/// Networks of a list that are tried.
const NETWORKS_MAX: usize = 16;
/// How long packets may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_millis(300);
/// Addresses for documentation (RFC 5737, RFC 3849), which nobody has.
const NOBODY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
const NOBODY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77));

/// Why the test could not be done.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Looks for leaks; with `cut`, while the way into the line is closed for a moment.
pub(crate) async fn check(config: &LineConfig, cut: bool) -> Option<Finding> {
    if !matches!(config.internet, InternetConfig::Use { .. }) {
        return None;
    }
    Some(look(config, cut).await.unwrap_or_else(|error| {
        Finding::hint(
            "leak",
            format!(
                "whether anything leaves by this end's own connection cannot be tested: {error}; run as root"
            ),
        )
    }))
}

async fn look(config: &LineConfig, cut: bool) -> Result<Finding, Unknown> {
    let netlink = Netlink::connect()?;
    let table = table_of(&config.line);
    let rules = netlink.policy_rules().await?;
    if !rules.iter().any(|rule| rule.selector == Selector::All && rule.table == table) {
        return Ok(Finding::fault(
            "leak",
            format!(
                "this office goes to the internet by its own connection, for nothing holds it to the line: `tieline up {}` does",
                config.line
            ),
        ));
    }
    let links = netlink.links().await?;
    let uplinks = uplinks(&netlink, config, &links).await?;
    let watches = uplinks.iter().map(|link| DeviceWatch::on(link.index)).collect::<io::Result<Vec<_>>>()?;
    let into_line: Vec<Route> = if cut {
        let routes = netlink.routes_in(table).await?;
        routes.into_iter().filter(|route| route.kind == RouteKind::Unicast).collect()
    } else {
        Vec::new()
    };
    for route in &into_line {
        netlink.remove_route(route).await?;
    }
    let outcome = try_all(&netlink, config, &uplinks, &watches).await;
    for route in &into_line {
        match netlink.add_route(route).await {
            // The running end has put it there meanwhile.
            Ok(()) | Err(NetlinkError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let Outcome { tried, left } = outcome?;
    let names: Vec<_> = uplinks.iter().map(|link| link.name.as_str()).collect();
    let (names, when) = (names.join(", "), if cut { " while the line was cut" } else { "" });
    Ok(if left == 0 {
        Finding::good(
            "leak",
            format!("{tried} packets for the internet were tried{when}: none left by {names}"),
        )
    } else {
        Finding::fault(
            "leak",
            format!(
                "{left} of {tried} packets for the internet left by {names}{when}: somebody has changed routing rules or nftables tables of the line (`ip rule`, `nft list ruleset`); take it down and up again"
            ),
        )
    })
}

/// The devices by which default routes lead to the internet here.
async fn uplinks(netlink: &Netlink, config: &LineConfig, links: &[Link]) -> Result<Vec<Link>, Unknown> {
    let routes = netlink.routes().await?;
    let leads = |link: &&Link| {
        let through = |route: &&Route| route.index == Some(link.index) && route.destination.prefix_len() == 0;
        link.name != config.device && routes.iter().any(|route| through(&route))
    };
    Ok(links.iter().filter(leads).cloned().collect())
}

#[derive(Default)]
struct Outcome {
    tried: usize,
    left: usize,
}

async fn try_all(
    netlink: &Netlink,
    config: &LineConfig,
    uplinks: &[Link],
    watches: &[DeviceWatch],
) -> Result<Outcome, Unknown> {
    let mut outcome = Outcome::default();
    let mut token = [0; 16];
    OsRng.try_fill_bytes(&mut token).map_err(io::Error::other)?;
    let targets: Vec<IpAddr> = config.internet.used().iter().take(NETWORKS_MAX).map(target_in).collect();
    for target in &targets {
        for port in PORTS {
            let to = SocketAddr::new(*target, port);
            for by in std::iter::once(None).chain(uplinks.iter().map(|link| Some(link.name.as_str()))) {
                outcome.tried += EACH;
                // What has no way out is what is hoped for.
                let _ = watch::send_udp(&token, EACH, to, by);
            }
        }
    }
    tokio::time::sleep(SEEN_WITHIN).await;
    for watch in watches {
        outcome.left += watch.count(&token)?;
    }
    for (source, index) in hosts_of_office(netlink, config).await? {
        for target in targets.iter().filter(|target| target.is_ipv4() == source.is_ipv4()) {
            outcome.tried += 1;
            let way = netlink.way(*target, Some((source, index))).await;
            let is_leak =
                matches!(way, Ok(Way::Device(device)) if uplinks.iter().any(|link| link.index == device));
            outcome.left += usize::from(is_leak);
        }
    }
    Ok(outcome)
}

/// An address in each network of the office that nobody need have, and the device behind which it is.
async fn hosts_of_office(netlink: &Netlink, config: &LineConfig) -> Result<Vec<(IpAddr, u32)>, Unknown> {
    let addresses = netlink.addresses().await?;
    let of_offer = |offer: &IpNet| {
        let here = addresses.iter().find(|address| offer.contains(&address.network.addr()))?;
        let host = offer.hosts().find(|host| *host != here.network.addr() && *host != offer.network())?;
        Some((host, here.index))
    };
    Ok(config.offer.iter().filter_map(of_offer).collect())
}

fn target_in(network: &IpNet) -> IpAddr {
    match network {
        IpNet::V4(net) if net.prefix_len() == 0 => NOBODY_V4,
        IpNet::V6(net) if net.prefix_len() == 0 => NOBODY_V6,
        network => network.hosts().find(|host| *host != network.network()).unwrap_or(network.addr()),
    }
}
