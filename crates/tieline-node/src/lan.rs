//! The line's device in this office's Ethernet: in a bridge that is there, or in one that is made for a device.
//!
//! The device of the line goes with the process, and with it its place in the bridge. A bridge that was made does not: it is removed when
//! the line goes down ([`Joined::leave`]), or, after a kill, taken over by the next process of the line. It bears an alias that says whose it
//! is, and whether the device was up before.

use blake2::{Blake2s256, Digest};
use tieline_io::{
    netlink::{Link, Netlink, NetlinkError},
    tun::{TunDevice, TunError},
};

use tieline_seal::PublicKey;

use crate::{
    config::lan::{Joins, LanConfig},
    packet_path::intake::QUEUES,
    places::LineName,
};

/// What is added to the line's name for a bridge that is made.
const BRIDGE_SUFFIX: &str = "-br";
/// At the end of the alias, if the device was down.
const WAS_DOWN: &str = ", was down";
/// The largest packet that frames carry: that of Ethernet's jumbo frames.
const MTU_MAX: u32 = 9000;

/// Why the line is not joined to this office's Ethernet.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// No connection to the kernel.
    #[error("the kernel's network devices cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The kernel refused something.
    #[error(transparent)]
    Refused(#[from] NetlinkError),
    /// The device could not be made.
    #[error(
        "{0}; run as root, or give the program CAP_NET_ADMIN, or remove `[lan]` for a line without the common Ethernet"
    )]
    Device(#[from] TunError),
    /// There is no such device.
    #[error("there is no network device `{0}`; `ip link` lists those that are there")]
    NotThere(String),
    /// It is no bridge.
    #[error("`{0}` is no bridge; write `interface = \"{0}\"`, and a bridge is made for it")]
    NoBridge(String),
    /// A device that belongs to another one.
    #[error("`{0}` is in a bridge or a bond already; write the name of that bridge as `bridge`")]
    Taken(String),
    /// A device that this machine itself uses.
    #[error(
        "`{name}` has the address {address}, which would not be reached any more in a bridge; make a bridge that has the address, put `{name}` into it, and write its name as `bridge`"
    )]
    HasAddress {
        /// The device.
        name: String,
        /// One of its addresses.
        address: String,
    },
    /// A device that carries no frames.
    #[error("`{0}` carries no frames of Ethernet, so it cannot be in a bridge")]
    NoEthernet(String),
}

/// The line's place in this office's Ethernet.
#[derive(Debug)]
pub struct Joined {
    netlink: Netlink,
    bridge: Bridge,
}

/// The bridge in which the line is.
#[derive(Debug)]
struct Bridge {
    name: String,
    index: u32,
    mtu: u32,
    /// What was put into it, if it was made.
    made_for: Option<Port>,
}

/// A device for which a bridge was made.
#[derive(Debug)]
struct Port {
    index: u32,
    was_up: bool,
}

impl Joined {
    /// The first octet of the card of the line's device. A bridge takes the least address of its ports for its own, so this is none of the
    /// least.
    pub const CARD_PREFIX: u8 = 0xfe;

    /// Makes the line's device and puts it into the bridge, which is made if there is to be one. Nothing is left behind if that fails.
    ///
    /// # Errors
    ///
    /// [`LanError`].
    pub async fn join(
        line: &LineName,
        config: &LanConfig,
        random: [u8; 5],
        lanes: usize,
    ) -> Result<(Self, TunDevice), LanError> {
        let netlink = Netlink::connect().map_err(LanError::Connect)?;
        let bridge = match &config.joins {
            Joins::Bridge(name) => Bridge::find(&netlink, name).await?,
            Joins::Interface(name) => Bridge::make(&netlink, line, name).await?,
        };
        let joined = Self { netlink, bridge };
        match joined.add_device(config, random, lanes).await {
            Ok(device) => Ok((joined, device)),
            Err(error) => {
                joined.leave().await;
                Err(error)
            }
        }
    }

    /// The name of the bridge.
    #[must_use]
    pub fn bridge(&self) -> &str {
        &self.bridge.name
    }

    /// Octets of the largest packet in a frame.
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.bridge.mtu.min(MTU_MAX) as usize
    }

    /// Whether something has to be undone at the end, which needs the right to.
    #[must_use]
    pub fn has_made(&self) -> bool {
        self.bridge.made_for.is_some()
    }

    /// Removes the bridge, if it was made; the device that is in it is as it was before.
    pub async fn leave(self) {
        let Some(port) = &self.bridge.made_for else { return };
        let removed = self.bridge.remove(&self.netlink, port).await;
        if let Err(error) = removed {
            tracing::warn!(bridge = self.bridge.name, %error, "the bridge could not be removed");
        }
    }

    async fn add_device(
        &self,
        config: &LanConfig,
        random: [u8; 5],
        lanes: usize,
    ) -> Result<TunDevice, LanError> {
        let device = TunDevice::create_tap(&config.device, self.mtu() as u16, lanes * QUEUES)?;
        let [a, b, c, d, e] = random;
        self.netlink.set_card(device.index(), [Self::CARD_PREFIX, a, b, c, d, e]).await?;
        self.netlink.set_bridge(device.index(), Some(self.bridge.index)).await?;
        self.netlink.set_link_up(device.index(), None).await?;
        Ok(device)
    }
}

impl Bridge {
    async fn find(netlink: &Netlink, name: &str) -> Result<Self, LanError> {
        let link = link(netlink, name).await?;
        if !link.is_bridge {
            return Err(LanError::NoBridge(name.to_owned()));
        }
        Ok(Self { name: link.name, index: link.index, mtu: link.mtu, made_for: None })
    }

    /// Makes a bridge with the device `interface` in it, or takes over the one that a killed process has left.
    async fn make(netlink: &Netlink, line: &LineName, interface: &str) -> Result<Self, LanError> {
        let port = link(netlink, interface).await?;
        let name = bridge_of(line);
        let alias = format!("tieline {line}: ");
        let left = netlink.link_by_name(&name).await?;
        let noted = left.as_ref().and_then(|left| left.alias.as_deref()?.strip_prefix(&alias));
        let was_up = match noted.and_then(|noted| noted.strip_prefix(interface)) {
            Some("") => Some(true),
            Some(WAS_DOWN) => Some(false),
            _ => None,
        };
        // One without a word on it that is down is one whose making was cut short.
        let is_unfinished =
            |left: &Link| left.is_bridge && !left.is_up && left.alias.as_deref().unwrap_or("").is_empty();
        let is_ours = noted.is_some() || left.as_ref().is_some_and(is_unfinished);
        let left = match (left, is_ours, was_up) {
            // Made for another device: the configuration was changed after the kill.
            (Some(left), true, None) => {
                netlink.remove_link(left.index).await?;
                None
            }
            (left, _, was_up) => left.filter(|_| was_up.is_some()),
        };
        let was_up = was_up.unwrap_or(port.is_up);
        check_port(netlink, &port, left.as_ref()).await?;
        let index = match left {
            Some(left) => left.index,
            None => {
                let alias = alias + interface + if was_up { "" } else { WAS_DOWN };
                netlink.add_bridge(&name).await?;
                let index = link(netlink, &name).await?.index;
                // First of all, so that it is known again.
                netlink.set_alias(index, &alias).await?;
                index
            }
        };
        let made_for = Port { index: port.index, was_up };
        let bridge = Self { name, index, mtu: port.mtu, made_for: None };
        match bridge.fill(netlink, &made_for).await {
            Ok(()) => Ok(Self { made_for: Some(made_for), ..bridge }),
            Err(error) => {
                if let Err(error) = bridge.remove(netlink, &made_for).await {
                    tracing::warn!(bridge = bridge.name, %error, "the bridge could not be removed");
                }
                Err(error.into())
            }
        }
    }

    async fn fill(&self, netlink: &Netlink, port: &Port) -> Result<(), NetlinkError> {
        netlink.set_bridge(port.index, Some(self.index)).await?;
        netlink.set_link_up(port.index, None).await?;
        netlink.set_link_up(self.index, None).await
    }

    async fn remove(&self, netlink: &Netlink, port: &Port) -> Result<(), NetlinkError> {
        // The kernel takes its ports out of it.
        netlink.remove_link(self.index).await?;
        if !port.was_up {
            netlink.set_link_down(port.index).await?;
        }
        Ok(())
    }
}

/// A number of the line that both its ends know, by which they know their probes. Before it is paired, it is another one.
#[must_use]
pub fn line_number(own: PublicKey, far: Option<PublicKey>) -> [u8; 8] {
    let mut keys: Vec<_> = [Some(own), far].into_iter().flatten().map(|key| *key.as_bytes()).collect();
    keys.sort_unstable();
    let mut hash = Blake2s256::new_with_prefix(b"tieline lan v1");
    for key in keys {
        hash.update(key);
    }
    let mut number = [0; 8];
    number.copy_from_slice(&hash.finalize()[..8]);
    number
}

async fn link(netlink: &Netlink, name: &str) -> Result<Link, LanError> {
    netlink.link_by_name(name).await?.ok_or_else(|| LanError::NotThere(name.to_owned()))
}

/// Whether a device may be put into a bridge: nobody else must use it.
async fn check_port(netlink: &Netlink, port: &Link, left: Option<&Link>) -> Result<(), LanError> {
    let name = || port.name.clone();
    if port.is_loopback || port.card.is_none() {
        return Err(LanError::NoEthernet(name()));
    }
    if port.is_bridge || port.controller.is_some_and(|of| left.is_none_or(|left| left.index != of)) {
        return Err(LanError::Taken(name()));
    }
    let addresses = netlink.addresses().await?;
    match addresses.iter().find(|address| address.index == port.index && address.is_global) {
        Some(address) => {
            Err(LanError::HasAddress { name: name(), address: address.network.addr().to_string() })
        }
        None => Ok(()),
    }
}

fn bridge_of(line: &LineName) -> String {
    let name: String = line.to_string().chars().take(LineName::BYTES_MAX - BRIDGE_SUFFIX.len()).collect();
    name + BRIDGE_SUFFIX
}
