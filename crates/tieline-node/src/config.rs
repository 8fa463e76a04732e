//! The configuration of one end of a line: `NAME.toml`, written by the operator, checked whole before anything happens.
//!
//! It is read in two steps. `document` and `written` read the file as written: which keys are there, of which type,
//! at which place. `typed` makes values of it that cannot hold nonsense. Neither stops at the first mistake: all are
//! collected, with those of the key file, and reported as [`Problems`]. Nothing outside the two files is looked at, so
//! whether networks overlap those of this machine is for the running end to say.
//!
//! # Keys
//!
//! Every key may be left out, but for the far end's key where no pairing brings it.
//!
//! | key | default | range | why it is there |
//! |---|---|---|---|
//! | `listen` | `"[::]:51820"` | IP address and UDP port; port 0: any that is free | what the far end dials; 51820 is WireGuard's usual port, `[::]` means IPv6 and IPv4 |
//! | `offer` | `[]` | at most 256 networks, none overlapping another | the networks here that the far end may reach |
//! | `accept` | `"offered"` | `"offered"`, or at most 256 networks | whose packets may come in, and what is routed to the far end: all it offers, or only what is in these |
//! | `mtu` | 1420 | 1280 to 9000 octets | the largest IP packet inside; 1420 fits into 1500 with IPv6 and WireGuard around it, IPv6 needs 1280 |
//! | `address` | `[]` | at most 16 addresses with prefix length | addresses of the line's own interface; without one the system uses those it has |
//! | `device` | the line's name | 1 to 15 letters, digits, `-`, `_` | the name of the interface |
//! | `routes` | `true` | | `false`: a bare line for `pipe`, `send` and ports, without an interface, so without root |
//! | `inbox` | see [`crate::places`] | an absolute path | where the far end's files arrive |
//! | `name` | the host's name | 1 to 64 printable characters | what we call ourselves to the far end |
//! | `keepalive-seconds` | 25 if `peer.address` is set, else 0 | 0 (off) to 65,535 s | keeps the way back through a NAT open; the end that dials is the one that may be behind one |
//! | `peer.public-key` | what pairing left in the key file | a WireGuard key in base64 | who the far end is |
//! | `peer.address` | none: wait to be dialled | one `"HOST:PORT"` or a list of at most 8 | where to dial; the list is tried in turn |
//! | `rate.out` | none: unshaped | a rate such as `"20 Mbit/s"` | what the line carries of what we send: then it is queued here in classes, voice first, and leaves at 97 % of it |
//! | `rate.in` | none | a rate | what the line carries of what the far end sends: it is told, and keeps to it |
//! | `rate.auto` | `false` | | find what the line carries of what we send, and follow it; `rate.out` is the most then |
//! | `outer-dscp` | `"map"` | `"map"`, `"copy"` or `"none"` | which code point carriers see around packets: one for each class of service, the packet's own, or none |
//! | `[[path]]` | none | at most 3; see [`path`] | further connections of this machine, for when the first one fails |
//! | `voice-copies` | `"when-lossy"` | `"when-lossy"`, `"always"` | with several paths: when voice goes by two of them, for one of which it costs twice; said at one end it holds for both |
//! | `[lan]` | none | see [`lan`] | the Ethernet of both offices as one |
//! | `[[files]]` | none | at most 16; see [`files`] | pairs of folders whose files travel |
//! | `[internet]` | none | see [`internet`] | an internet connection that is offered to the far end, or used of it |
//! | `[transfer]` | see [`files`] | | how much of the line files may take |
//! | `[discovery]` | nothing is relayed | see [`discovery`] | devices of one office are found in the other |
//! | `[[port]]` | none | at most 32; see [`ports`] | services of one office that are offered at the other |

pub mod dial_address;
pub mod discovery;
pub(crate) mod document;
pub mod draft;
mod duration;
pub(crate) mod excerpt;
pub mod files;
pub mod internet;
pub mod lan;
pub mod mistake;
pub mod path;
pub mod ports;
pub mod problems;
pub mod subnet;
pub(crate) mod suggest;
mod typed;
mod written;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tieline_line::{marks::OuterDscp, queue::Rate};
use tieline_seal::PublicKey;
use tieline_wire::control::OFFERS_MAX;

pub use dial_address::{DialAddress, Host, HostName};
pub use discovery::DiscoveryConfig;
pub use draft::Draft;
pub use files::{FilesConfig, TransferConfig};
pub use internet::{InternetConfig, Used};
pub use lan::LanConfig;
pub use mistake::Mistake;
pub use path::{PathConfig, VoiceCopies};
pub use ports::{PortConfig, PortSide};
pub use problems::{Place, Problem, Problems};
pub use typed::parse_listen_address;

use crate::kept_file;
use crate::places::{LineName, Places};
use crate::secrets::Secrets;

/// UDP port of a line, unless another is configured: WireGuard's usual one, which firewalls of a WireGuard far end know.
pub const PORT_DEFAULT: u16 = 51820;

/// Where a line listens, unless configured: on every address of both families.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT_DEFAULT);

/// Networks in `offer` and in `accept`; what fits into one greeting to the far end.
pub const SUBNETS_MAX: usize = OFFERS_MAX;

/// Addresses of the line's own interface.
pub const INTERFACE_ADDRESSES_MAX: usize = 16;

/// Addresses of the far end; each is tried for seconds, and a person waits.
pub const PEER_ADDRESSES_MAX: usize = 8;

/// The MTU inside a line, unless configured: 1500 - 40 (IPv6) - 8 (UDP) - 32 (WireGuard).
pub const MTU_DEFAULT: u16 = 1420;

/// The least MTU: what IPv6 demands of every link (RFC 8200 §5).
pub const MTU_MIN: u16 = 1280;

/// The greatest MTU: that of Ethernet's jumbo frames.
pub const MTU_MAX: u16 = 9000;

/// Keepalive of an end that dials: NATs forget UDP after 30 s (RFC 4787 REQ-5 asks for 2 min, many keep less).
pub const KEEPALIVE_DEFAULT: Duration = Duration::from_secs(25);

/// Characters of the name an end gives itself.
pub const END_NAME_CHARACTERS_MAX: usize = 64;

/// Bytes of a configuration file; one with every list full has about 80 KiB.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What one end of a line is to be and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineConfig {
    /// The line, named as its file is.
    pub line: LineName,
    /// What we call ourselves to the far end.
    pub name: String,
    /// Where we listen; port 0 means any that is free.
    pub listen: SocketAddr,
    /// The paths beside the first, best first.
    pub paths: Vec<PathConfig>,
    /// When voice goes by two paths.
    pub voice_copies: VoiceCopies,
    /// The networks here that the far end may reach; no two overlap.
    pub offer: Vec<IpNet>,
    /// Whose packets may come in.
    pub accept: Accept,
    /// Whether IP is routed; if not, there is no interface and the next three mean nothing.
    pub routes: bool,
    /// The name of the interface.
    pub device: String,
    /// The largest IP packet on it, in octets.
    pub mtu: u16,
    /// Addresses of the interface, each with the prefix length of its network (host bits kept).
    pub addresses: Vec<IpNet>,
    /// Where files arrive; absolute.
    pub inbox: PathBuf,
    /// How often a silent line sends something; `None`: never.
    pub keepalive: Option<Duration>,
    /// The far end's key as the file has it; [`Line::peer_public_key`] knows pairing as well.
    pub peer_public_key: Option<PublicKey>,
    /// Where the far end may be dialled, best first; empty: we wait for it.
    pub peer_addresses: Vec<DialAddress>,
    /// How fast the line is.
    pub rate: RateConfig,
    /// Which code point carriers see around packets.
    pub outer_dscp: OuterDscp,
    /// How it is joined to this office's Ethernet, if it is.
    pub lan: Option<LanConfig>,
    /// The pairs of folders whose files travel; no two have one name, no folder is in another.
    pub files: Vec<FilesConfig>,
    /// How much of the line files may take.
    pub transfer: TransferConfig,
    /// What this end does with internet connections.
    pub internet: InternetConfig,
    /// Services that are reached by name; no two of one protocol have one name, or listen at one address.
    pub ports: Vec<PortConfig>,
    /// What of the far end's networks is found here, and the other way round.
    pub discovery: DiscoveryConfig,
}

/// How fast the line is, as far as the operator says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateConfig {
    /// What it carries of what we send; with `auto` the most that it may.
    pub out: Option<Rate>,
    /// What it carries of what the far end sends, which is told so.
    pub inwards: Option<Rate>,
    /// Whether what it carries of what we send is to be found, and followed.
    pub auto: bool,
}

impl RateConfig {
    /// Whether packets are queued here from the start.
    #[must_use]
    pub fn is_shaped(&self) -> bool {
        self.auto || self.out.is_some()
    }
}

/// Which networks of the far end are let in, and routed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// All that it offers.
    Offered,
    /// What is in these. A far end that is plain WireGuard offers nothing: then exactly these.
    Only(Vec<IpNet>),
}

/// What a key is if the file does not say: the parts of it that come from outside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// What we call ourselves.
    pub name: String,
    /// Where files arrive.
    pub inbox: PathBuf,
}

/// The two files of one end, checked together.
#[derive(Debug)]
pub struct Line {
    /// What the operator wrote.
    pub config: LineConfig,
    /// What the machine keeps.
    pub secrets: Secrets,
}

impl LineConfig {
    /// Reads a configuration out of `text`; `file` is only named in problems.
    ///
    /// # Errors
    ///
    /// Every mistake in it, in the order of the text.
    pub fn parse(line: &LineName, file: &Path, text: &str, defaults: &Defaults) -> Result<Self, Problems> {
        typed::read(line, file, text, defaults).map(|(config, _)| config)
    }
}

impl Defaults {
    /// Returns the defaults of `line` on this machine.
    #[must_use]
    pub fn of(places: &Places, line: &LineName) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = if typed::is_end_name(&host) { host } else { line.to_string() };
        Self { name, inbox: places.files(line).inbox }
    }
}

impl Line {
    /// Reads both files of `line` and checks that they fit each other. Changes nothing.
    ///
    /// # Errors
    ///
    /// Every mistake in both.
    pub fn load(places: &Places, line: &LineName) -> Result<Self, Problems> {
        let files = places.files(line);
        let config = kept_file::read_text(&files.config, FILE_BYTES_MAX)
            .map_err(|mistake| Problems::of_file(&files.config, mistake))
            .and_then(|text| typed::read(line, &files.config, &text, &Defaults::of(places, line)));
        let secrets = Secrets::load(&files.key);
        let ((config, at), secrets) = match (config, secrets) {
            (Ok(config), Ok(secrets)) => (config, secrets),
            (Err(problems), Err(more)) => return Err(problems.and(more)),
            (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => return Err(problems),
        };
        match at.disagreement(&config, &secrets) {
            Some(problem) => Err(problem),
            None => Ok(Self { config, secrets }),
        }
    }

    /// Returns who the far end is; `None` while an invitation is pending.
    #[must_use]
    pub fn peer_public_key(&self) -> Option<PublicKey> {
        self.secrets.peer_public_key.or(self.config.peer_public_key)
    }
}

#[cfg(test)]
mod tests;
