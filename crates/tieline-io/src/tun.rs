//! A network device whose other side is this process (Linux TUN).
//!
//! What the machine routes to the device is read here, one IP packet a read; what is written here the machine receives from
//! the device. No packet information header.
//!
//! A device made by [`TunDevice::create_with_offload`] does as a network card with segmentation offload: a packet may be of 64 KiB, to
//! be cut here, and may lack its checksum; before each packet, both ways, stands the kernel's `virtio_net_hdr`
//! ([`OFFLOAD_HEADER_LEN`] octets) that says so.
//!
//! One made by [`TunDevice::create_tap`] carries frames of Ethernet instead of IP packets: the other side of a card, for a bridge.
//!
//! It may have several queues ([`TunQueue`]), each with its flows. The kernel puts a packet into the queue to which the flow's last
//! packet in the other direction was written, and spreads flows without any by a hash: whoever writes decides where answers come out.
//!
//! **The device lives exactly as long as the [`TunDevice`]**: it is not persistent, so when the value is dropped, or the
//! process is killed in any way, the kernel closes the descriptor, removes the device, and with it its addresses and every
//! route through it. That is how a crash leaves nothing behind; there is no clean-up to be run, and none to be missed.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use socket2::{Domain, Socket, Type};

/// Where the kernel offers TUN devices.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// Octets of the longest device name (`IFNAMSIZ` less its NUL).
pub const NAME_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// Octets of the header before each packet of a device with offload.
pub const OFFLOAD_HEADER_LEN: usize = 10;

/// What the kernel leaves to this process, and takes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Every packet is whole.
    None,
    /// Checksums, and TCP in packets of up to 64 KiB.
    Tcp,
    /// UDP as well: runs of datagrams of one size (Linux 6.2 and newer).
    TcpAndUdp,
}

/// A TUN device of this process.
#[derive(Debug)]
pub struct TunDevice {
    queues: Vec<TunQueue>,
    name: String,
    index: u32,
    offload: Offload,
}

impl TunDevice {
    /// Makes the device, without addresses and not yet up, in the network namespace of the calling thread. `%d` in `name`
    /// takes the first free number.
    ///
    /// # Errors
    ///
    /// [`TunError`] says what is missing.
    pub fn create(name: &str, mtu: u16) -> Result<Self, TunError> {
        Self::open(name, mtu, libc::IFF_TUN | libc::IFF_NO_PI, 1)
    }

    /// Makes the device with as much offload as the kernel has; [`Self::offload`] says how much. Each packet, both ways, has
    /// [`OFFLOAD_HEADER_LEN`] octets before it, also if that is none. It has so many `queues`; none is as one.
    ///
    /// # Errors
    ///
    /// As [`Self::create`]; the kernel makes at most 256 queues.
    pub fn create_with_offload(name: &str, mtu: u16, queues: usize) -> Result<Self, TunError> {
        Self::open_with_offload(name, mtu, libc::IFF_TUN, queues)
    }

    /// Makes a device that carries frames of Ethernet, with packets of up to `mtu` octets in them; else as [`Self::create_with_offload`].
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn create_tap(name: &str, mtu: u16, queues: usize) -> Result<Self, TunError> {
        Self::open_with_offload(name, mtu, libc::IFF_TAP, queues)
    }

    fn open_with_offload(name: &str, mtu: u16, kind: libc::c_int, queues: usize) -> Result<Self, TunError> {
        let flags = kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        let mut device = Self::open(name, mtu, flags, queues)?;
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        let udp = TUN_F_USO4 | TUN_F_USO6;
        let offers = [(Offload::TcpAndUdp, tcp | udp), (Offload::Tcp, tcp)];
        // What one queue is told holds for the device.
        let first = &device.queue().file;
        let taken = offers.iter().find(|(_, features)| set_offload(first, *features).is_ok());
        device.offload = taken.map_or(Offload::None, |(offload, _)| *offload);
        Ok(device)
    }

    fn open(name: &str, mtu: u16, flags: libc::c_int, queues: usize) -> Result<Self, TunError> {
        check_name(name)?;
        let (first, name) = TunQueue::open(name, flags)?;
        let other = |source| TunError::Other { name: name.clone(), source };
        let index = configure(&name, mtu).map_err(other)?;
        let mut device = Self { queues: vec![first], name, index, offload: Offload::None };
        for _ in 1..queues {
            let (queue, _) = TunQueue::open(&device.name, flags)?;
            device.queues.push(queue);
        }
        Ok(device)
    }

    /// The queues, at least one. A packet may come out of any, and may be written to any.
    #[must_use]
    pub fn queues(&self) -> &[TunQueue] {
        &self.queues
    }

    /// The first queue, which is the only one of a device made by [`Self::create`].
    #[must_use]
    pub fn queue(&self) -> &TunQueue {
        &self.queues[0]
    }

    /// What the kernel leaves to this process, and takes from it.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Whether its cable is in, as the system sees it. A bridge forgets what it has learnt by a port whose cable is out.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn set_carrier(&self, is_in: bool) -> io::Result<()> {
        let carrier = libc::c_int::from(is_in);
        // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads one integer, which is what we lend it.
        match unsafe { libc::ioctl(self.queue().file.as_raw_fd(), libc::TUNSETCARRIER, &raw const carrier) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The device's name, with its number filled in.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's index, as [`crate::netlink`] takes it.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }
}

/// One queue of a device. Several threads may use it at once; it never blocks.
#[derive(Debug)]
pub struct TunQueue {
    file: File,
}

impl TunQueue {
    /// Opens a queue of the device `name`, which is made if it is not there; returns its name with the number filled in.
    fn open(name: &str, flags: libc::c_int) -> Result<(Self, String), TunError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(CLONE_DEVICE)
            .map_err(open_fault)?;
        let mut request = Request::named(name);
        request.set_flags(flags as libc::c_short);
        request.submit(&file, libc::TUNSETIFF).map_err(|source| create_fault(name, source))?;
        Ok((Self { file }, request.name()))
    }

    /// Reads one IP packet that the machine sends through the device; returns its length.
    ///
    /// A packet longer than `buffer` is cut, so lend at least the device's MTU; with offload, [`OFFLOAD_HEADER_LEN`] and 64 KiB.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; [`is_gone`] if the device was removed from under us. Others pass.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut *buffer))?)
    }

    /// Lets the machine receive one IP packet from the device.
    ///
    /// # Errors
    ///
    /// What the kernel said: `EINVAL` for what is not IP, `EIO` while the device is down, `WouldBlock` when it is full.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.file, packet))?;
        Ok(())
    }

    /// Lets the machine receive one IP packet that lies in parts, gathered by the kernel; with offload the first part is the header.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; `EINVAL` also for a header that does not fit its packet.
    pub fn write_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::writev(&self.file, parts))?;
        Ok(())
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether an error of reading or writing says that the device is no more, because somebody removed it. The descriptor is then
/// readable for ever without anything to read: stop waiting for it.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADFD | libc::EBADF))
}

/// Whether this process could make a device, without making one: for `doctor`.
///
/// # Errors
///
/// [`TunError::NoDriver`] or [`TunError::Forbidden`].
pub fn check_available() -> Result<(), TunError> {
    OpenOptions::new().read(true).write(true).open(CLONE_DEVICE).map_err(open_fault)?;
    let capabilities = rustix::thread::capabilities(None).map_err(|error| open_fault(error.into()))?;
    if capabilities.effective.contains(rustix::thread::CapabilitySet::NET_ADMIN) {
        Ok(())
    } else {
        Err(TunError::Forbidden { source: io::Error::from_raw_os_error(libc::EPERM) })
    }
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The kernel has no TUN driver, or the container does not show it.
    #[error(
        "/dev/net/tun is not there: the kernel lacks the TUN driver (`modprobe tun`) or this container does not pass it on"
    )]
    NoDriver {
        /// What the kernel said.
        source: io::Error,
    },
    /// We lack the right to make network devices.
    #[error("making a network device needs CAP_NET_ADMIN")]
    Forbidden {
        /// What the kernel said.
        source: io::Error,
    },
    /// Another device has the name.
    #[error("a network device named `{name}` is there already")]
    NameTaken {
        /// The name asked for.
        name: String,
    },
    /// No device can have the name.
    #[error("`{name}` cannot name a network device: 1 to 15 characters, no space, slash or colon")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// Anything else.
    #[error("cannot set up network device `{name}`")]
    Other {
        /// The name asked for.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

fn open_fault(source: io::Error) -> TunError {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => TunError::Forbidden { source },
        _ => TunError::NoDriver { source },
    }
}

fn create_fault(name: &str, source: io::Error) -> TunError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::Forbidden { source },
        Some(libc::EBUSY | libc::EEXIST) => TunError::NameTaken { name: name.to_owned() },
        // The kernel's word for "that device is none of the TUN kind".
        Some(libc::EINVAL) if index_of(name).is_ok() => TunError::NameTaken { name: name.to_owned() },
        _ => TunError::Other { name: name.to_owned(), source },
    }
}

fn check_name(name: &str) -> Result<(), TunError> {
    let forbidden = |octet: u8| octet <= b' ' || octet >= 0x7f || matches!(octet, b'/' | b':');
    let template = name.replacen("%d", "0", 1);
    let bad = name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || matches!(name, "." | "..")
        || name.bytes().any(forbidden)
        || template.contains('%');
    if bad { Err(TunError::BadName { name: name.to_owned() }) } else { Ok(()) }
}

/// Sets the MTU and returns the index.
fn configure(name: &str, mtu: u16) -> io::Result<u32> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut request = Request::named(name);
    request.set_mtu(mtu);
    request.submit(&socket, libc::SIOCSIFMTU)?;
    index_of(name)
}

// Newer than the library.
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;

fn set_offload(device: &File, features: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and this request takes a number, no memory.
    match unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn index_of(name: &str) -> io::Result<u32> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// `struct ifreq`: a device name and, after it, what the request is about.
struct Request(libc::ifreq);

impl Request {
    /// `name` was checked to leave room for the NUL.
    fn named(name: &str) -> Self {
        // SAFETY: `ifreq` is plain old data, for which all octets zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (slot, octet) in request.ifr_name[..NAME_BYTES_MAX].iter_mut().zip(name.bytes()) {
            *slot = octet.cast_signed() as libc::c_char;
        }
        Self(request)
    }

    fn set_flags(&mut self, flags: libc::c_short) {
        self.0.ifr_ifru.ifru_flags = flags;
    }

    fn set_mtu(&mut self, mtu: u16) {
        self.0.ifr_ifru.ifru_mtu = mtu.into();
    }

    /// For the requests that read and write at most one `ifreq`.
    fn submit(&mut self, descriptor: &impl AsFd, request: libc::Ioctl) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads and writes one `ifreq`, which
        // is what we lend it, for the two requests this is private to.
        match unsafe { libc::ioctl(descriptor.as_fd().as_raw_fd(), request, &raw mut self.0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn name(&self) -> String {
        let octets: Vec<u8> = self.0.ifr_name.iter().map(|&octet| octet as u8).collect();
        CStr::from_bytes_until_nul(&octets).unwrap_or_default().to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_can_have_are_refused_before_the_kernel_is_asked() {
        for name in ["", ".", "..", "a/b", "a b", "a:b", "0123456789abcdef", "a%sb", "a%d%d", "ä", "a\0b"] {
            assert!(matches!(TunDevice::create(name, 1420), Err(TunError::BadName { .. })), "{name:?}");
        }
        for name in ["tie0", "tie%d", "0123456789abcde"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn missing_driver_and_missing_right_are_told_apart() {
        let fault = |number| open_fault(io::Error::from_raw_os_error(number));
        assert!(matches!(fault(libc::ENOENT), TunError::NoDriver { .. }));
        assert!(matches!(fault(libc::ENXIO), TunError::NoDriver { .. }));
        assert!(matches!(fault(libc::EACCES), TunError::Forbidden { .. }));
        let refused = create_fault("x", io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(refused, TunError::Forbidden { .. }));
    }
}
