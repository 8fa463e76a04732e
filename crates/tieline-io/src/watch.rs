//! What passes a network device, as a packet socket sees it; to look for packets that should not be there. And a way to send such ones.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Octets looked at of each packet.
const LOOK_BYTES: usize = 2048;
/// Packets looked at in one go: a busy device must not keep the looker for ever.
const LOOK_PACKETS_MAX: usize = 100_000;
/// Octets of packets that may wait to be looked at.
const BUFFER_BYTES: usize = 4 << 20;

/// Sees all that passes a device from now on.
#[derive(Debug)]
pub struct DeviceWatch(Socket);

impl DeviceWatch {
    /// Watches the device with this index in the network namespace of the calling thread. Takes `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn on(index: u32) -> io::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = Type::from(libc::SOCK_DGRAM);
        // Of no protocol until it is bound: it must see no other device's packets.
        let socket = Socket::new(Domain::PACKET, kind, None)?;
        socket.set_nonblocking(true)?;
        // Granted as far as it goes.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        // SAFETY: the address is zeroed and large enough for any kind; `sockaddr_ll` is one of them, of plain numbers, and its length is
        // told.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let link = storage.cast::<libc::sockaddr_ll>();
                (*link).sll_family = libc::AF_PACKET as u16;
                (*link).sll_protocol = all;
                (*link).sll_ifindex = index.cast_signed();
                *length = size_of::<libc::sockaddr_ll>() as u32;
                Ok(())
            })
        }?;
        socket.bind(&address)?;
        Ok(Self(socket))
    }

    /// How many packets passed, since it was last asked, that hold `token`.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn count(&self, token: &[u8]) -> io::Result<usize> {
        let mut count = 0;
        for _ in 0..LOOK_PACKETS_MAX {
            let mut buffer = [MaybeUninit::uninit(); LOOK_BYTES];
            let length = match self.0.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            // SAFETY: the kernel has written the first `length` octets.
            let packet = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            count += usize::from(packet.windows(token.len().max(1)).any(|window| window == token));
        }
        Ok(count)
    }
}

/// Sends `payload` as UDP so many times, from any port; by the device of that name, whatever routes say, if one is named.
///
/// # Errors
///
/// What the kernel said of the first that it did not send.
pub fn send_udp(payload: &[u8], times: usize, to: SocketAddr, by: Option<&str>) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(device) = by {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    socket.bind(&any.into())?;
    for _ in 0..times {
        socket.send_to(payload, &to.into())?;
    }
    Ok(())
}
