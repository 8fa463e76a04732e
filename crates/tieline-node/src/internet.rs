//! Sharing an internet connection: one end offers its own, the other goes to the internet by way of the far end and by no other way.
//!
//! # At the end that offers
//!
//! [`Offer`]: forwarding, and an nftables table of our own with source NAT for what comes from the far end's networks, a limit for the
//! segments of TCP, and a door that opens from inside only.
//!
//! # At the end that uses
//!
//! [`Steering`]: a routing table of our own that rules put before all others. What it has for the networks that go by way of the far end:
//!
//! | route | when | metric |
//! |---|---|---|
//! | through the line's device | while the far end offers its connection | least |
//! | unreachable | always | greatest |
//!
//! and for what stays in the office `throw`, which leaves it to the main table. The rules:
//!
//! | priority | for | table |
//! |---|---|---|
//! | [`PRIORITY_OWN`] | what bears the line's mark: its own datagrams | main |
//! | [`PRIORITY_BACK`] | UDP of this machine from the port that it listens on, which strict reverse path filters ask for | main |
//! | [`PRIORITY_ALL`] | everything, of this machine and passed on by it | the line's |
//!
//! So nothing depends on the line being up, on tieline running, or on what other routes there are. Behind it a second fence: an nftables
//! table drops, and counts, what would leave by the uplink nevertheless, as programs do that name the device.
//!
//! # What is changed is restored
//!
//! All this outlives the process, on purpose: while it is killed nothing leaks. So what is changed is written down first
//! ([`record::Record`]), and undone when the line is taken down ([`restore`]), by whoever takes it down.

pub mod filter;
mod offer;
mod record;
mod steering;

use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use tieline_io::netlink::{MAIN_TABLE, Netlink, NetlinkError, PolicyRule, Route, RouteKind, Selector};
use tieline_io::nftables::{Nftables, NftablesError};
use tieline_io::sysctl::IpVersion;
use tieline_wire::control::Internet as Offered;

pub use self::offer::Offer;
pub use self::record::{Record, RecordError};
pub use self::steering::{Steering, own_networks};
use crate::config::{InternetConfig, LineConfig};
use crate::places::{LineFiles, LineName};

/// The place of our rules among the rules of the machine: behind that for its own addresses (0), before those that administrators and
/// other programs usually make.
pub const PRIORITY_OWN: u32 = 1160;
/// See [`PRIORITY_OWN`].
pub const PRIORITY_BACK: u32 = 1161;
/// See [`PRIORITY_OWN`].
pub const PRIORITY_ALL: u32 = 1162;

/// Numbers of our tables and marks begin so: above those that people give by hand.
const TABLE_BASE: u32 = 0x7400_0000;

/// What this end does with internet connections, while it is up.
#[derive(Debug)]
pub enum Internet {
    /// The far end may use ours.
    Offer(Offer),
    /// We use that of the far end.
    Use(Steering),
}

/// Why sharing could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InternetError {
    /// The packet filter cannot be reached.
    #[error("the kernel's packet filter cannot be reached (CONFIG_NF_TABLES)")]
    Connect(#[source] io::Error),
    /// The kernel's routing tables cannot be reached.
    #[error("the kernel's routing tables cannot be reached")]
    Routing(#[source] io::Error),
    /// What is changed could not be written down, so it was not changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The kernel refused a rule of the packet filter.
    #[error(transparent)]
    Filter(#[from] NftablesError),
    /// The kernel refused a route or a rule.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The line's datagrams cannot be marked.
    #[error("the line's own datagrams cannot be told from others (SO_MARK)")]
    Mark(#[source] io::Error),
}

/// The two ways to the kernel, and what was changed by them.
#[derive(Debug)]
pub(crate) struct System {
    netlink: Netlink,
    filter: Nftables,
    record: Record,
    file: PathBuf,
    /// Of the nftables table.
    name: String,
}

impl Internet {
    /// Sets up what the configuration says, over what a process before left behind. Nothing, if it says nothing: then what was left is
    /// undone.
    ///
    /// `device` is the line's own, `ports` those that it listens on.
    ///
    /// # Errors
    ///
    /// Why not. What was changed until then stays, and is written down: it may be what keeps packets in.
    pub async fn set_up(
        files: &LineFiles,
        config: &LineConfig,
        device: u32,
        ports: &[u16],
    ) -> Result<Option<Self>, InternetError> {
        if config.internet == InternetConfig::None {
            restore(&files.changes, &config.line).await?;
            return Ok(None);
        }
        let system = System::open(&files.changes, &config.line)?;
        match &config.internet {
            InternetConfig::Offer { by } => {
                // A role that it had before leaves nothing.
                let system = system.without_rules().await?;
                Ok(Some(Self::Offer(Offer::set_up(system, config, by.clone(), device).await?)))
            }
            InternetConfig::Use { dns, .. } => {
                let system = system.without_settings();
                Ok(Some(Self::Use(Steering::set_up(system, config, dns.clone(), device, ports).await?)))
            }
            InternetConfig::None => Ok(None),
        }
    }

    /// The mark of the line's own datagrams, if they must bear one.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        match self {
            Self::Offer(_) => None,
            Self::Use(steering) => Some(steering.mark()),
        }
    }

    /// Files of `/proc/sys` that must be written when all is restored.
    #[must_use]
    pub fn written_settings(&self) -> Vec<PathBuf> {
        self.system().record.settings.iter().filter_map(|setting| setting.typed().file().ok()).collect()
    }

    /// Restores the machine as it was before.
    pub async fn restore(&mut self) {
        let system = self.system_mut();
        if let Err(error) = system.undo().await {
            tracing::error!(%error, "what was changed for sharing the internet connection could not all be restored; `tieline down` tries again");
        }
    }

    /// Packets that the fence before the uplink has stopped since it was last put in place; none if there is no fence.
    pub fn stopped(&mut self) -> Option<u64> {
        let system = self.system_mut();
        system.filter.counted(&system.name, filter::FENCE).ok().flatten()
    }

    fn system(&self) -> &System {
        match self {
            Self::Offer(offer) => offer.system(),
            Self::Use(steering) => steering.system(),
        }
    }

    fn system_mut(&mut self) -> &mut System {
        match self {
            Self::Offer(offer) => offer.system_mut(),
            Self::Use(steering) => steering.system_mut(),
        }
    }
}

/// Undoes what a process has left that did not go down by itself; returns whether there was anything. To be called while no process
/// runs the line.
///
/// # Errors
///
/// What could not be undone; it stays written down.
pub async fn restore(file: &Path, line: &LineName) -> Result<bool, InternetError> {
    if Record::load(file)?.is_none() {
        return Ok(false);
    }
    System::open(file, line)?.undo().await?;
    Ok(true)
}

/// The number of the line's routing table, which is the mark of its datagrams as well: the same for every process, and with next to no
/// chance that of another line.
#[must_use]
pub fn table_of(line: &LineName) -> u32 {
    // FNV-1a, folded to 24 bits.
    let hash = line
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    TABLE_BASE | ((hash >> 24) ^ (hash & 0x00ff_ffff))
}

/// The name of the line's nftables table.
#[must_use]
pub fn filter_name(line: &LineName) -> String {
    format!("tieline-{line}")
}

/// What may be used of a connection: the networks of the versions of IP that are offered.
#[must_use]
pub fn carried(used: &[IpNet], offered: Offered) -> Vec<IpNet> {
    let is_offered = |network: &&IpNet| if network.addr().is_ipv4() { offered.ipv4 } else { offered.ipv6 };
    used.iter().filter(is_offered).copied().collect()
}

impl System {
    fn open(file: &Path, line: &LineName) -> Result<Self, InternetError> {
        let record = Record::load(file)?.unwrap_or_else(|| Record::new(table_of(line)));
        Ok(Self {
            netlink: Netlink::connect().map_err(InternetError::Routing)?,
            filter: Nftables::connect().map_err(InternetError::Connect)?,
            record,
            file: file.to_owned(),
            name: filter_name(line),
        })
    }

    /// Writes down what is about to be changed.
    fn note(&self) -> Result<(), InternetError> {
        Ok(self.record.save(&self.file)?)
    }

    /// Undoes all of it: first what packets meet first.
    async fn undo(&mut self) -> Result<(), InternetError> {
        self.remove_rules().await?;
        self.filter.remove(&self.name)?;
        self.undo_settings();
        Ok(self.record.remove(&self.file)?)
    }

    async fn remove_rules(&mut self) -> Result<(), InternetError> {
        for rule in self.netlink.policy_rules().await?.iter().filter(|rule| self.is_ours(rule)) {
            self.netlink.remove_policy_rule(rule).await?;
        }
        for route in self.netlink.routes_in(self.record.table).await?.iter().filter(|route| route.is_ours()) {
            self.netlink.remove_route(route).await?;
        }
        Ok(())
    }

    fn undo_settings(&mut self) {
        for setting in std::mem::take(&mut self.record.settings) {
            // A device that has gone has taken its settings along.
            if let Err(error) = setting.typed().write()
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(key = setting.key, %error, "a setting of the kernel could not be restored");
            }
        }
    }

    /// Whether a rule is this line's: no other line has its table and mark, and nobody else its port.
    fn is_ours(&self, rule: &PolicyRule) -> bool {
        match rule.selector {
            Selector::All => rule.table == self.record.table,
            Selector::MarkedUdp(mark) => mark == self.record.table,
            Selector::OwnUdpPort(port) => rule.table == MAIN_TABLE && self.record.ports.contains(&port),
        }
    }

    /// For an end that now offers: what it had as one that uses is gone.
    async fn without_rules(mut self) -> Result<Self, InternetError> {
        self.remove_rules().await?;
        (self.record.ports, self.record.uplinks) = (Vec::new(), Vec::new());
        Ok(self)
    }

    /// For an end that now uses: what it had as one that offers is gone.
    fn without_settings(mut self) -> Self {
        self.undo_settings();
        self
    }

    /// The devices that default routes of the main table lead through, but for the line's own.
    async fn uplinks(&self, device: u32) -> Result<Vec<Uplink>, NetlinkError> {
        let links = self.netlink.links().await?;
        let routes = self.netlink.routes().await?;
        let mut uplinks: Vec<Uplink> = Vec::new();
        for route in routes.iter().filter(|route| is_default(route)) {
            let link = links.iter().find(|link| Some(link.index) == route.index && link.index != device);
            let Some(link) = link else { continue };
            let version = if route.destination.addr().is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
            let uplink = Uplink { name: link.name.clone(), version };
            if !uplinks.contains(&uplink) {
                uplinks.push(uplink);
            }
        }
        Ok(uplinks)
    }
}

/// A device by which a version of IP leads to the internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uplink {
    name: String,
    version: IpVersion,
}

fn is_default(route: &Route) -> bool {
    route.kind == RouteKind::Unicast && route.destination.prefix_len() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_a_table_of_its_own_that_is_always_the_same() {
        let tables: Vec<_> =
            ["berlin", "paris", "rom"].iter().map(|name| table_of(&name.parse().unwrap())).collect();
        assert!(tables.iter().all(|table| table >> 24 == 0x74), "{tables:x?}");
        assert!(tables[0] != tables[1] && tables[1] != tables[2]);
        assert_eq!(tables[0], table_of(&"berlin".parse().unwrap()));
    }

    #[test]
    fn of_what_is_used_only_the_versions_that_are_offered_are_carried() {
        let used = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        assert_eq!(carried(&used, Offered { ipv4: true, ipv6: false }), used[..1]);
        assert_eq!(carried(&used, Offered::default()), []);
    }
}
