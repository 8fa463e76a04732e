//! The end that offers its internet connection.

use ipnet::IpNet;
use tieline_io::nftables::Table;
use tieline_io::sysctl::{self, IpVersion, Setting};
use tieline_wire::control::Internet as Offered;

use super::filter::Shared;
use super::{InternetError, System, Uplink};
use crate::config::LineConfig;

/// What makes a router take the word of other routers, as a host does (`accept_ra`), by which IPv6 often comes.
const AS_HOST: &str = "1";
const AS_ROUTER: &str = "2";

/// An internet connection that the far end may use.
#[derive(Debug)]
pub struct Offer {
    system: System,
    device: String,
    index: u32,
    by: Option<String>,
    applied: Option<Table>,
    state: OfferState,
}

/// What of it is offered now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferState {
    /// What the far end is told.
    pub offered: Offered,
    /// The devices that lead to the internet.
    pub uplinks: Vec<String>,
    /// Why not all of it, in a sentence.
    pub why_not: Option<String>,
}

impl Offer {
    pub(super) async fn set_up(
        mut system: System,
        config: &LineConfig,
        by: Option<String>,
        index: u32,
    ) -> Result<Self, InternetError> {
        let uplinks = system.uplinks(index).await?;
        let uplinks = of_device(uplinks, by.as_deref());
        for version in [IpVersion::V4, IpVersion::V6] {
            if uplinks.iter().any(|uplink| uplink.version == version) {
                forward(&mut system, version, &uplinks, &config.device)?;
            }
        }
        let device = config.device.clone();
        Ok(Self { system, device, index, by, applied: None, state: OfferState::default() })
    }

    /// Makes the far end's `networks`, and no others, go out by what leads to the internet now.
    ///
    /// # Errors
    ///
    /// What the kernel said; what held before holds then.
    pub async fn settle(&mut self, networks: &[IpNet]) -> Result<&OfferState, InternetError> {
        let found = of_device(self.system.uplinks(self.index).await?, self.by.as_deref());
        let leads = |version| found.iter().any(|uplink| uplink.version == version);
        let forwards = |version| sysctl::is_forwarding(version).unwrap_or(false);
        let offered = Offered {
            ipv4: leads(IpVersion::V4) && forwards(IpVersion::V4),
            ipv6: leads(IpVersion::V6) && forwards(IpVersion::V6),
        };
        let why_not = [IpVersion::V4, IpVersion::V6].into_iter().find_map(|version| {
            let name = if version == IpVersion::V4 { "IPv4" } else { "IPv6" };
            if !leads(version) {
                let by = self.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
                Some(format!("no default route of this machine leads to the internet{by} with {name}"))
            } else if !forwards(version) {
                Some(format!("this machine does not forward {name}"))
            } else {
                None
            }
        });
        let mut uplinks: Vec<_> = found.into_iter().map(|uplink| uplink.name).collect();
        uplinks.sort();
        uplinks.dedup();
        let shared = Shared { device: &self.device, uplinks: &uplinks, far: networks };
        let table = shared.table(&self.system.name);
        if self.applied.as_ref() != Some(&table) {
            self.system.note()?;
            self.system.filter.replace(&table)?;
            self.applied = Some(table);
        }
        self.state = OfferState { offered, uplinks, why_not };
        Ok(&self.state)
    }

    /// What of it is offered, as it was settled last.
    #[must_use]
    pub fn state(&self) -> &OfferState {
        &self.state
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    pub(super) fn system_mut(&mut self) -> &mut System {
        &mut self.system
    }
}

fn of_device(uplinks: Vec<Uplink>, by: Option<&str>) -> Vec<Uplink> {
    uplinks.into_iter().filter(|uplink| by.is_none_or(|by| uplink.name == by)).collect()
}

/// Has the machine forward, if it does not; what is changed is written down first. Where the kernel does not let us, nothing is offered,
/// and the status says so.
fn forward(
    system: &mut System,
    version: IpVersion,
    uplinks: &[Uplink],
    device: &str,
) -> Result<(), InternetError> {
    let settings = match sysctl::is_forwarding(version) {
        Ok(true) => return Ok(()),
        Ok(false) => Setting::all_of_forwarding(version),
        Err(error) => Err(error),
    };
    let advertised = advertised(version, uplinks);
    let written = match settings {
        Ok(settings) => {
            // The line's own device goes with the process.
            let of_line = format!("/{device}/");
            let settings = settings.into_iter().filter(|setting| !setting.key.contains(&of_line));
            system.record.settings.extend(settings.chain(advertised.iter().cloned()).map(Into::into));
            system.note()?;
            let mut as_router =
                advertised.into_iter().map(|setting| Setting { value: AS_ROUTER.to_owned(), ..setting });
            as_router
                .try_for_each(|setting| setting.write())
                .and_then(|()| sysctl::set_forwarding(version, true))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(?version, %error, "this machine cannot be made to forward");
    }
    Ok(())
}

/// The settings of uplinks that would no longer hear of their default route once the machine forwards.
fn advertised(version: IpVersion, uplinks: &[Uplink]) -> Vec<Setting> {
    let of_version = uplinks.iter().filter(|uplink| version == IpVersion::V6 && uplink.version == version);
    let settings =
        of_version.filter_map(|uplink| Setting::read(format!("ipv6/conf/{}/accept_ra", uplink.name)).ok());
    settings.filter(|setting| setting.value == AS_HOST).collect()
}
