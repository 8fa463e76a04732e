//! `[[path]]`: further connections of this machine, by which the line goes when the first one fails.
//!
//! The first path is `listen` and `peer.address`, each `[[path]]` is one more, in the order of preference. All of them have the same number at both
//! ends: the first `[[path]]` here leads to the first `[[path]]` there, or, where the far end has none, to its only address.
//!
//! | key | default | range | why it is there |
//! |---|---|---|---|
//! | `listen` | `"[::]:0"` | IP address and UDP port | which of this machine's addresses; the end that is dialled needs a port that is known |
//! | `device` | none | a device's name | leave by this one whatever the routing table says, as the connection of the second provider |
//! | `address` | none: the far end dials | `"HOST:PORT"` | where to dial on this path |

use std::net::{Ipv6Addr, SocketAddr};

use tieline_wire::path_heartbeat::PATHS_MAX;

use super::DialAddress;
use super::document::{At, Table};
use super::excerpt::excerpt;
use super::files::typed::{Word, choice};
use super::mistake::Mistake;
use super::problems::Collector;
use super::typed::{convert_or, convert_some, parse_listen_address};

/// Paths beside the first.
pub const FURTHER_PATHS_MAX: usize = PATHS_MAX - 1;
/// Any address and any free port, for an end that dials.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
/// The longest name of a device (`IFNAMSIZ` without the final zero).
const DEVICE_LEN_MAX: usize = 15;

/// One further path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathConfig {
    /// Where we listen; port 0 means any that is free.
    pub listen: SocketAddr,
    /// The device that it goes by, if not the routing table decides.
    pub device: Option<String>,
    /// Where the far end may be dialled by it.
    pub address: Option<DialAddress>,
}

/// When voice goes by two paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoiceCopies {
    /// While it is lost.
    #[default]
    WhenLossy,
    /// Always.
    Always,
}

/// Every key of one `[[path]]`; `None` where it is not there, or is wrong and was noted.
#[derive(Debug)]
pub(super) struct WrittenPath {
    listen: Option<At<String>>,
    device: Option<At<String>>,
    address: Option<At<String>>,
}

/// Takes all further paths out of the file.
pub(super) fn read_paths(file: &mut Table<'_>, problems: &mut Collector<'_>) -> Vec<WrittenPath> {
    let mut paths = Vec::new();
    for mut table in file.tables("path", FURTHER_PATHS_MAX, problems) {
        let (listen, device, address) =
            (table.text("listen", problems), table.text("device", problems), table.text("address", problems));
        table.finish(problems);
        paths.push(WrittenPath { listen, device, address });
    }
    paths
}

/// Turns them over; `first` is where the first path listens. No two may listen at one place.
pub(super) fn paths(
    written: Vec<WrittenPath>,
    first: SocketAddr,
    problems: &mut Collector<'_>,
) -> Vec<PathConfig> {
    let mut taken = vec![first];
    let mut paths = Vec::with_capacity(written.len());
    for WrittenPath { listen, device, address } in written {
        let place = listen.clone();
        let listen = convert_or(listen, LISTEN_DEFAULT, problems, parse_listen_address);
        if let Some(place) = place.filter(|_| listen.port() != 0 && taken.contains(&listen)) {
            place.wrong(problems, Mistake::ListensTwice(listen));
        }
        taken.push(listen);
        let device = convert_some(device, problems, device_name);
        let address = convert_some(address, problems, |text| Ok(text.parse::<DialAddress>()?));
        paths.push(PathConfig { listen, device, address });
    }
    paths
}

/// Reads when voice goes by two paths.
pub(super) fn voice_copies(written: Option<At<String>>, problems: &mut Collector<'_>) -> VoiceCopies {
    const WORDS: &[Word<VoiceCopies>] =
        &[("when-lossy", VoiceCopies::WhenLossy), ("always", VoiceCopies::Always)];
    choice(written, WORDS, problems)
}

/// Any name that the kernel takes for a device: those of others are not ours to choose.
fn device_name(text: &str) -> Result<String, Mistake> {
    let is_one = (1..=DEVICE_LEN_MAX).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    if is_one { Ok(text.to_owned()) } else { Err(Mistake::PathDevice(excerpt(text))) }
}
