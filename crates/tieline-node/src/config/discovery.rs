//! Finding devices of the other office: `[discovery]`.
//!
//! | key of `[discovery]` | default | range | why it is there |
//! |---|---|---|---|
//! | `relay` | `[]` | `"mdns"`, `"ssdp"`, `"ws-discovery"`, `"netbios"` | what is passed on, each way; at both ends, or it is not |
//! | `interfaces` | must be there with `relay` | 1 to 8 names of devices | the networks of this office whose devices are to be found, and may find |

use tieline_wire::discovery::DiscoveryProtocol;

use super::document::{At, Table};
use super::excerpt::excerpt;
use super::mistake::Mistake;
use super::problems::Collector;
use super::typed::convert_each;

/// Networks of one office; each has a socket for each protocol.
pub const INTERFACES_MAX: usize = 8;

/// What is relayed, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// What is passed on; empty: nothing.
    pub relay: Vec<DiscoveryProtocol>,
    /// Names of the devices to the networks of this office.
    pub interfaces: Vec<String>,
}

/// Every key of `[discovery]`.
#[derive(Debug)]
pub(super) struct WrittenDiscovery {
    pub(super) relay: Option<At<Vec<At<String>>>>,
    interfaces: Option<At<Vec<At<String>>>>,
}

/// Takes `[discovery]` out of the file.
pub(super) fn read(file: &mut Table<'_>, problems: &mut Collector<'_>) -> WrittenDiscovery {
    let mut table = file.table("discovery", "discovery.", problems);
    let relay = table.texts("relay", DiscoveryProtocol::ALL.len(), problems);
    let interfaces = table.texts("interfaces", INTERFACES_MAX, problems);
    table.finish(problems);
    WrittenDiscovery { relay, interfaces }
}

/// Turns it over.
pub(super) fn convert(written: WrittenDiscovery, problems: &mut Collector<'_>) -> DiscoveryConfig {
    let has_interfaces = written.interfaces.as_ref().is_some_and(|list| !list.value.is_empty());
    if let Some(relay) = written.relay.as_ref().filter(|relay| !relay.value.is_empty() && !has_interfaces) {
        relay.wrong(problems, Mistake::NoInterfaces);
    }
    let relay = written.relay.map(|list| convert_each(list, problems, protocol)).unwrap_or_default();
    let interfaces =
        written.interfaces.map(|list| convert_each(list, problems, interface)).unwrap_or_default();
    DiscoveryConfig {
        relay: relay.into_iter().map(|protocol| protocol.value).collect(),
        interfaces: interfaces.into_iter().map(|name| name.value).collect(),
    }
}

fn protocol(text: &str) -> Result<DiscoveryProtocol, Mistake> {
    DiscoveryProtocol::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or_else(|| {
        let known = DiscoveryProtocol::ALL.map(|protocol| format!("{:?}", protocol.as_str()));
        Mistake::Choice { known: known.join(" or "), found: excerpt(text) }
    })
}

/// What Linux takes as a name of a device.
fn interface(text: &str) -> Result<String, Mistake> {
    const NAME_LEN_MAX: usize = 15;
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    let fits = (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if fits { Ok(text.to_owned()) } else { Err(Mistake::Interface(excerpt(text))) }
}
