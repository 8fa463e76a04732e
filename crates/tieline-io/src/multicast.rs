//! Sockets for what is said to all of one network: multicast and broadcast of IPv4, through one device.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// To whom it is said: a multicast group, or everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's address, or the broadcast address.
    pub address: Ipv4Addr,
    /// The port that all listen at.
    pub port: u16,
    /// Hops that a packet may take; 1 stays on the network.
    pub hops: u8,
}

impl Group {
    /// Where to send.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        SocketAddrV4::new(self.address, self.port).into()
    }
}

/// A socket that hears what is said to `group` on `device`, beside other programs that do, and speaks from the group's port. What it
/// says itself to a multicast group it does not hear.
///
/// # Errors
///
/// What the kernel said: `PermissionDenied` for a port below 1024, `NotFound` or another if there is no such device.
pub fn listening(device: &str, group: Group) -> io::Result<UdpSocket> {
    let socket = on_device(device, group)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, group.port).into())?;
    if group.address.is_multicast() {
        let index = rustix::net::netdevice::name_to_index(&socket, device)?;
        socket.join_multicast_v4_n(&group.address, &InterfaceIndexOrAddress::Index(index))?;
    }
    Ok(socket.into())
}

/// A socket that asks `group` on `device` from a port of its own, and hears what is answered to it.
///
/// # Errors
///
/// What the kernel said.
pub fn asking(device: &str, group: Group) -> io::Result<UdpSocket> {
    let socket = on_device(device, group)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
    Ok(socket.into())
}

fn on_device(device: &str, group: Group) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // So that neither addresses nor routes of this machine need be known, and nothing of another network is heard.
    socket.bind_device(Some(device.as_bytes()))?;
    if group.address.is_multicast() {
        socket.set_multicast_loop_v4(false)?;
        socket.set_multicast_ttl_v4(group.hops.into())?;
    } else {
        socket.set_broadcast(true)?;
    }
    Ok(socket)
}
