//! Links: the machine's network devices.

use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{LinkUnspec, LinkVeth};

use super::{Netlink, NetlinkError, undone};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name in this namespace.
    pub name: String,
    /// Its MTU, in octets.
    pub mtu: u32,
    /// Whether it was set up (not whether its cable is in).
    pub is_up: bool,
    /// Whether it is the loopback device.
    pub is_loopback: bool,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// The bridge, or what else, whose port it is.
    pub controller: Option<u32>,
    /// What somebody has written on it.
    pub alias: Option<String>,
    /// The address of its card; none if it has no Ethernet.
    pub card: Option<[u8; 6]>,
}

impl Netlink {
    /// Lists the devices.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.handle.link().get().execute().try_collect::<Vec<_>>().await;
        let answers = answers.map_err(|error| NetlinkError::new("list the network devices", error))?;
        Ok(answers.into_iter().map(Link::from_message).collect())
    }

    /// Finds a device by its name.
    ///
    /// # Errors
    ///
    /// What the kernel said; a name that nothing bears is `Ok(None)`.
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let answer = self.handle.link().get().match_name(name).execute().try_next().await;
        match answer.map_err(|error| NetlinkError::new(format!("look up network device `{name}`"), error)) {
            Ok(message) => Ok(message.map(Link::from_message)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn link_is_up(&self, index: u32) -> Result<bool, NetlinkError> {
        let answer = self.handle.link().get().match_index(index).execute().try_next().await;
        let answer =
            answer.map_err(|error| NetlinkError::new(format!("look up network device {index}"), error))?;
        Ok(answer.is_some_and(|message| Link::from_message(message).is_up))
    }

    /// Sets a device up, with `mtu` octets if given.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_link_up(&self, index: u32, mtu: Option<u32>) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).up();
        let message = if let Some(mtu) = mtu { message.mtu(mtu) } else { message };
        self.set_link(message.build(), &format!("set up network device {index}")).await
    }

    /// Gives a device another address of its card.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_card(&self, index: u32, card: [u8; 6]) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).address(card.to_vec()).build();
        self.set_link(message, &format!("set the address of network device {index}")).await
    }

    /// Sets a device down.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_link_down(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).down().build();
        self.set_link(message, &format!("set down network device {index}")).await
    }

    /// Bounds the kernel's own queue in front of a device; for TUN, the packets that wait to be read.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_queue_length(&self, index: u32, packets: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).txqueuelen(packets).build();
        self.set_link(message, &format!("set the queue length of network device {index}")).await
    }

    /// Sets the loopback device up; in a new namespace it is down.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn set_loopback_up(&self) -> Result<(), NetlinkError> {
        /// The kernel gives it this index in every namespace.
        const LOOPBACK_INDEX: u32 = 1;
        self.set_link_up(LOOPBACK_INDEX, None).await
    }

    /// Makes a cable with a device at each end.
    ///
    /// # Errors
    ///
    /// What the kernel said; [`NetlinkError::Exists`] if one of the names is taken.
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<(), NetlinkError> {
        let request = self.handle.link().add(LinkVeth::new(name, peer).build());
        let what = || format!("make the cable from `{name}` to `{peer}`");
        request.execute().await.map_err(|error| NetlinkError::new(what(), error))
    }

    /// Moves a device to another network namespace. It arrives there down and without addresses.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn move_link(&self, index: u32, namespace: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd()).build();
        self.set_link(message, &format!("move network device {index} to another namespace")).await
    }

    /// Removes a device; returns whether it was there.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn remove_link(&self, index: u32) -> Result<bool, NetlinkError> {
        let result = self.handle.link().del(index).execute().await;
        undone(result.map_err(|error| NetlinkError::new(format!("remove network device {index}"), error)))
    }

    pub(super) async fn set_link(&self, message: LinkMessage, what: &str) -> Result<(), NetlinkError> {
        let result = self.handle.link().set(message).execute().await;
        result.map_err(|error| NetlinkError::new(what, error))
    }
}

impl Link {
    fn from_message(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mtu: 0,
            is_up: flags.contains(LinkFlags::Up),
            is_loopback: flags.contains(LinkFlags::Loopback),
            is_bridge: false,
            controller: None,
            alias: None,
            card: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) => link.controller = Some(index).filter(|index| *index != 0),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Address(address) => link.card = address.try_into().ok(),
                LinkAttribute::LinkInfo(infos) => {
                    link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                }
                _ => {}
            }
        }
        link
    }
}
