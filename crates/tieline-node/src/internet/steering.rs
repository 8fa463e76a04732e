//! The end that goes to the internet by way of the far end, and by no other way.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use tieline_io::netlink::{MAIN_TABLE, NetlinkError, PolicyRule, Route, RouteKind, Selector};
use tieline_io::nftables::Table;
use tieline_io::sysctl::IpVersion;

use super::filter::Fenced;
use super::{InternetError, PRIORITY_ALL, PRIORITY_BACK, PRIORITY_OWN, System, is_default};
use crate::config::{LineConfig, subnet::overlap};

/// The worst that a route can have: any other to the same network goes before it.
const METRIC_MAX: u32 = u32::MAX;
/// Networks that stay in the office: an office's router knows a few. One that knows all of the internet's must not copy them here.
const LOCAL_MAX: usize = 1024;
/// Neighbours are found with these addresses, on every device.
const LINK_LOCAL: &str = "fe80::/10";

/// Packets to the internet, held to the line.
#[derive(Debug)]
pub struct Steering {
    system: System,
    device: String,
    index: u32,
    used: Vec<IpNet>,
    dns: Vec<IpAddr>,
    offers: Vec<IpNet>,
    applied: Option<Table>,
    carried: Vec<IpNet>,
}

impl Steering {
    pub(super) async fn set_up(
        system: System,
        config: &LineConfig,
        dns: Vec<IpAddr>,
        index: u32,
        ports: &[u16],
    ) -> Result<Self, InternetError> {
        let mut used = config.internet.used();
        // Names are asked for by way of the far end whatever else goes there.
        for resolver in dns.iter().copied().map(IpNet::from) {
            if !used.iter().any(|used| used.contains(&resolver)) {
                used.push(resolver);
            }
        }
        let device = config.device.clone();
        let offers = config.offer.clone();
        let mut steering =
            Self { system, device, index, used, dns, offers, applied: None, carried: Vec::new() };
        steering.system.record.ports.extend(ports);
        // The fence and the routes that lead nowhere first: what the rules then find there is complete.
        steering.settle(&[], &[], &[]).await?;
        let wanted = steering.rules(ports);
        for rule in &wanted {
            steering.system.netlink.add_policy_rule(rule).await?;
        }
        for rule in steering.system.netlink.policy_rules().await? {
            if steering.system.is_ours(&rule) && !wanted.contains(&rule) {
                steering.system.netlink.remove_policy_rule(&rule).await?;
            }
        }
        steering.system.record.ports = ports.to_vec();
        steering.system.note()?;
        Ok(steering)
    }

    /// The mark of the line's own datagrams.
    #[must_use]
    pub fn mark(&self) -> u32 {
        self.system.record.table
    }

    /// All that goes by way of the far end, whether it can now or not.
    #[must_use]
    pub fn used(&self) -> &[IpNet] {
        &self.used
    }

    /// What of it can now.
    #[must_use]
    pub fn carried(&self) -> &[IpNet] {
        &self.carried
    }

    /// The devices that are fenced off.
    #[must_use]
    pub fn uplinks(&self) -> &[String] {
        &self.system.record.uplinks
    }

    /// Makes exactly `carried` go into the line, and what else is used nowhere. `own` is what the far end knows as ours, `sources`
    /// the addresses that this machine's own packets come from, at most one of each version of IP.
    ///
    /// # Errors
    ///
    /// What the kernel said. Whatever it was, nothing of what is used goes another way.
    pub async fn settle(
        &mut self,
        carried: &[IpNet],
        own: &[IpNet],
        sources: &[IpAddr],
    ) -> Result<(), InternetError> {
        let local = self.find_local().await?;
        let of_office: Vec<_> = local
            .iter()
            .filter(|local| self.offers.iter().any(|offer| overlap(offer, local)))
            .copied()
            .collect();
        let fenced = Fenced {
            device: &self.device,
            mark: self.system.record.table,
            uplinks: &self.system.record.uplinks,
            used: &self.used,
            local: &of_office,
            own,
            dns: &self.dns,
            sources,
        };
        let table = fenced.table(&self.system.name);
        if self.applied.as_ref() != Some(&table) {
            self.system.note()?;
            self.system.filter.replace(&table)?;
            self.applied = Some(table);
        }
        self.set_routes(carried, &local, sources).await?;
        self.carried = carried.to_vec();
        Ok(())
    }

    /// Which networks stay in the office: those offered, and what the main table has for devices that do not lead to the internet. Those
    /// that do are remembered as such.
    async fn find_local(&mut self) -> Result<Vec<IpNet>, NetlinkError> {
        let links = self.system.netlink.links().await?;
        for uplink in self.system.uplinks(self.index).await? {
            if !self.system.record.uplinks.contains(&uplink.name) {
                tracing::info!(device = uplink.name, "leads to the internet: fenced off");
                self.system.record.uplinks.push(uplink.name);
            }
        }
        let mut local = self.offers.clone();
        local.extend(LINK_LOCAL.parse::<IpNet>().ok());
        for route in self.system.netlink.routes().await? {
            let Some(index) = route.index.filter(|index| *index != self.index) else { continue };
            let name = links.iter().find(|link| link.index == index).map(|link| &link.name);
            let stays = name.is_some_and(|name| !self.system.record.uplinks.contains(name));
            if stays && !is_default(&route) && !local.contains(&route.destination) {
                local.push(route.destination);
            }
        }
        local.retain(|local| self.used.iter().any(|used| overlap(used, local)));
        if local.len() > LOCAL_MAX {
            tracing::warn!(
                networks = local.len(),
                "more networks of the office than are kept apart from the internet; the rest goes into the line"
            );
            local.truncate(LOCAL_MAX);
        }
        Ok(local)
    }

    async fn set_routes(
        &self,
        carried: &[IpNet],
        local: &[IpNet],
        sources: &[IpAddr],
    ) -> Result<(), NetlinkError> {
        let table = self.system.record.table;
        let nowhere = self.used.iter().map(|network| Route {
            metric: Some(METRIC_MAX),
            ..Route::without_device(table, RouteKind::Unreachable, *network)
        });
        let stays = local.iter().map(|network| Route::without_device(table, RouteKind::Throw, *network));
        let into_line = carried.iter().filter(|network| !local.contains(network)).map(|network| Route {
            table,
            preferred_source: sources.iter().copied().find(|ip| ip.is_ipv4() == network.addr().is_ipv4()),
            ..Route::through(*network, self.index)
        });
        let wanted: Vec<_> = nowhere.chain(stays).chain(into_line).collect();
        let there = self.system.netlink.routes_in(table).await?;
        let same = |one: &Route, other: &Route| {
            let metric = |route: &Route| route.metric.filter(|metric| *metric == METRIC_MAX);
            one.destination == other.destination
                && one.kind == other.kind
                && one.index == other.index
                && one.preferred_source == other.preferred_source
                && metric(one) == metric(other)
        };
        let missing: Vec<_> =
            wanted.iter().filter(|wanted| !there.iter().any(|there| same(wanted, there))).collect();
        // What leads nowhere first, so that at no moment anything has another way out.
        let (nowhere, others): (Vec<&Route>, Vec<&Route>) =
            missing.into_iter().partition(|route| route.kind == RouteKind::Unreachable);
        for route in nowhere {
            self.system.netlink.add_route(route).await?;
        }
        for gone in there.iter().filter(|there| !wanted.iter().any(|wanted| same(wanted, there))) {
            // What is wanted in its place may have the same key.
            self.system.netlink.remove_route(gone).await?;
        }
        for route in others {
            self.system.netlink.add_route(route).await?;
        }
        Ok(())
    }

    fn rules(&self, ports: &[u16]) -> Vec<PolicyRule> {
        let table = self.system.record.table;
        let of = |version, selector, table, priority| PolicyRule { version, selector, table, priority };
        let mut rules = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            rules.push(of(version, Selector::MarkedUdp(table), MAIN_TABLE, PRIORITY_OWN));
            // IPv6 has no such filter.
            if version == IpVersion::V4 {
                let back = |port: &u16| of(version, Selector::OwnUdpPort(*port), MAIN_TABLE, PRIORITY_BACK);
                rules.extend(ports.iter().map(back));
            }
            rules.push(of(version, Selector::All, table, PRIORITY_ALL));
        }
        rules
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    pub(super) fn system_mut(&mut self) -> &mut System {
        &mut self.system
    }
}

/// The addresses that the far end lets in whatever is offered: those of the line itself.
#[must_use]
pub fn own_networks(config: &LineConfig, line_address: Ipv6Addr) -> Vec<IpNet> {
    let addresses = config.addresses.iter().map(|address| IpNet::from(address.addr()));
    config.offer.iter().copied().chain(addresses).chain([IpNet::from(IpAddr::from(line_address))]).collect()
}
