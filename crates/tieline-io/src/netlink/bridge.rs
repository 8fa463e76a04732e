//! Bridges: devices of which others are ports.

use rtnetlink::{LinkBridge, LinkUnspec, packet_route::link::LinkAttribute};

use super::{Netlink, NetlinkError};

impl Netlink {
    /// Makes a bridge without ports that is down.
    ///
    /// # Errors
    ///
    /// What the kernel said; [`NetlinkError::Exists`] if the name is taken.
    pub async fn add_bridge(&self, name: &str) -> Result<(), NetlinkError> {
        let result = self.handle.link().add(LinkBridge::new(name).build()).execute().await;
        result.map_err(|error| NetlinkError::new(format!("make the bridge `{name}`"), error))
    }

    /// Writes something on a device, by which it is known again.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index);
        let message = message.append_extra_attribute(LinkAttribute::IfAlias(alias.to_owned()));
        self.set_link(message.build(), &format!("write on network device {index} whose it is")).await
    }

    /// Makes a device a port of a bridge, or of none.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_bridge(&self, index: u32, bridge: Option<u32>) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index);
        let (message, what) = match bridge {
            Some(bridge) => (message.controller(bridge), "put network device"),
            None => (message.nocontroller(), "take network device"),
        };
        let what = format!("{what} {index} {} a bridge", if bridge.is_some() { "into" } else { "out of" });
        self.set_link(message.build(), &what).await
    }
}
