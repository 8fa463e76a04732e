//! The Ethernet of both offices as one: `[lan]`.
//!
//! | key | default | range | why it is there |
//! |---|---|---|---|
//! | `bridge`, `interface` | one must be there | a network device | a bridge of this machine that is joined, or a device for which tieline makes one |
//! | `device` | the line's name, cut, with `-lan` | 1 to 15 letters, digits, `-`, `_` | the name of the line's device in that bridge |
//! | `dhcp` | `false` | | whether DHCP and DHCPv6 go across; else each office keeps its own |
//! | `router-advertisements` | `false` | | whether what IPv6 routers say of themselves goes across |
//! | `storm-limit` | 1000 | 10 to 65,535 | frames a second to all, to groups, and to hosts nobody knows, each, that go across |

use super::document::{At, Table};
use super::mistake::Mistake;
use super::problems::Collector;
use super::typed::{convert_one, convert_or, device};
use crate::places::LineName;

/// Frames a second of each kind that go across, unless configured: what an office of hundreds of machines sends at its busiest.
pub const STORM_LIMIT_DEFAULT: u16 = 1000;
/// What is added to the line's name for its device in the bridge.
const DEVICE_SUFFIX: &str = "-lan";

/// How the line is joined to this office's Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanConfig {
    /// To what.
    pub joins: Joins,
    /// The line's device there.
    pub device: String,
    /// Whether DHCP and DHCPv6 go across.
    pub dhcp: bool,
    /// Whether what routers say of themselves goes across.
    pub router_advertisements: bool,
    /// Frames a second of each kind that go across.
    pub storm_limit: u16,
}

/// What the line is joined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joins {
    /// A bridge of this machine.
    Bridge(String),
    /// A device, by a bridge that is made for it.
    Interface(String),
}

/// Every key of `[lan]`; `None` where it is not there, or is wrong and was noted.
#[derive(Debug)]
pub(super) struct WrittenLan {
    bridge: Option<At<String>>,
    interface: Option<At<String>>,
    device: Option<At<String>>,
    dhcp: Option<At<bool>>,
    router_advertisements: Option<At<bool>>,
    storm_limit: Option<At<u16>>,
}

/// Takes `[lan]` out of the file, if it is there.
pub(super) fn read(file: &mut Table<'_>, problems: &mut Collector<'_>) -> Option<WrittenLan> {
    const STORM_LIMITS: std::ops::RangeInclusive<u16> = 10..=u16::MAX;
    let mut table = file.table("lan", "lan.", problems);
    if !file.had("lan") {
        return None;
    }
    let written = WrittenLan {
        bridge: table.text("bridge", problems),
        interface: table.text("interface", problems),
        device: table.text("device", problems),
        dhcp: table.boolean("dhcp", problems),
        router_advertisements: table.boolean("router-advertisements", problems),
        storm_limit: table.number("storm-limit", STORM_LIMITS, "frames a second", problems),
    };
    match (table.had("bridge"), table.had("interface")) {
        (false, false) => table.wrong(problems, Mistake::NothingToJoin),
        (true, true) => table.wrong(problems, Mistake::TwoToJoin),
        (true, false) | (false, true) => {}
    }
    table.finish(problems);
    Some(written)
}

/// Turns the values over; none if there is nothing to join, which has been noted.
pub(super) fn convert(
    written: WrittenLan,
    line: &LineName,
    problems: &mut Collector<'_>,
) -> Option<LanConfig> {
    let bridge = written.bridge.and_then(|name| convert_one(name, problems, device)).map(Joins::Bridge);
    let interface =
        written.interface.and_then(|name| convert_one(name, problems, device)).map(Joins::Interface);
    let device = convert_or(written.device, device_of(line), problems, device);
    Some(LanConfig {
        joins: bridge.or(interface)?,
        device,
        dhcp: written.dhcp.is_some_and(|dhcp| dhcp.value),
        router_advertisements: written.router_advertisements.is_some_and(|allowed| allowed.value),
        storm_limit: written.storm_limit.map_or(STORM_LIMIT_DEFAULT, |limit| limit.value),
    })
}

/// The name of the line's device, unless configured.
fn device_of(line: &LineName) -> String {
    let name: String = line.to_string().chars().take(LineName::BYTES_MAX - DEVICE_SUFFIX.len()).collect();
    name + DEVICE_SUFFIX
}
