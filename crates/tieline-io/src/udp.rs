//! One UDP socket for both IP versions, received in batches.
//!
//! The socket belongs to nobody: `&self` suffices for everything, so one thread may receive while others send. It never
//! blocks; wait with [`crate::wait`] or hand the descriptor to an event loop.
//!
//! An IPv6 wildcard carries IPv4 as well (RFC 3493 §5.3, `IPV6_V6ONLY` off); callers never see that: addresses go in and
//! come out canonical, IPv4 as IPv4. Where the system has no IPv6 the wildcard falls back to IPv4, and
//! [`UdpSocket::is_dual_stack`] says so. Datagrams leave with "don't fragment" set where the kernel can, so that path MTU
//! is found out instead of hidden.
//!
//! The kernel may join datagrams of one flow before it hands them over (`UDP_GRO`); [`ReceiveBuffers`] has room for that and
//! [`Datagrams`] takes them apart again.

mod fault;
mod sending;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

pub use self::fault::{SendFault, UdpError};
use self::sending::{Ancillary, send_message};
use crate::wait::wait_writable;

/// Receive buffer asked of the kernel: 50 ms of arrivals at 640 Mbit/s while the receiving thread is away.
pub const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Send buffer asked of the kernel. Small on purpose: a queue that is not ours is a queue without classes.
pub const SEND_BUFFER_BYTES: usize = 256 << 10;

/// How long [`UdpSocket::send_segments`] waits for room in the kernel's buffer: what that holds takes as long at 20 Mbit/s.
pub const SEND_WAIT_MAX: Duration = Duration::from_millis(100);

/// Receive operations that [`UdpSocket::recv_batch`] does with one system call.
pub const BATCH: usize = 32;

/// Octets of one receive operation: what `UDP_GRO` may hand over at once.
const SLOT_BYTES: usize = 1 << 16;

/// Datagrams that the kernel joins to one (`UDP_GRO_CNT_MAX`).
pub const DATAGRAMS_JOINED_MAX: usize = 64;

/// A UDP socket; IPv4 and IPv6 at once where it is bound to the IPv6 wildcard.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    state: UdpSocketState,
    family: Family,
    /// Datagrams that the kernel cuts apart in one go; 1: it does not, or its driver has refused.
    datagrams_per_send: AtomicUsize,
}

/// An ordinary socket for datagrams of the version of IP of `like`, all of which bear `mark`. Takes `CAP_NET_ADMIN`.
///
/// # Errors
///
/// What the kernel said.
pub fn marked_socket(like: IpAddr, mark: u32) -> io::Result<std::net::UdpSocket> {
    let any = if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    let any = SocketAddr::new(any, 0);
    let socket = Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_mark(mark)?;
    socket.set_nonblocking(true)?;
    socket.bind(&any.into())?;
    Ok(socket.into())
}

/// What the kernel does with many datagrams in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Datagrams of one size that one system call sends (`UDP_SEGMENT`); 1: it does not.
    pub datagrams_per_send: usize,
    /// Whether datagrams that follow one another are received as one (`UDP_GRO`).
    pub joins_received: bool,
    /// Octets that may wait to be received; [`RECEIVE_BUFFER_BYTES`] were asked for.
    pub receive_buffer_bytes: usize,
}

/// Where `SO_MEMINFO` has the drops.
const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6 { dual_stack: bool },
}

impl UdpSocket {
    /// Opens a socket and binds it to `address`; port 0 takes any free one.
    ///
    /// `[::]` receives both IP versions, or IPv4 only on a system without IPv6.
    ///
    /// # Errors
    ///
    /// [`UdpError`] names the address and whose move it is.
    pub fn bind(address: SocketAddr) -> Result<Self, UdpError> {
        match Self::bind_exactly(address) {
            Err(error) if address.ip().is_unspecified() && error.means_no_ipv6() => {
                Self::bind_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
            }
            result => result,
        }
    }

    fn bind_exactly(address: SocketAddr) -> Result<Self, UdpError> {
        let fault = |source| UdpError::new(address, source);
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(fault)?;
        let family = match address {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(v6) => {
                let dual_stack = v6.ip().is_unspecified();
                socket.set_only_v6(!dual_stack).map_err(fault)?;
                Family::V6 { dual_stack }
            }
        };
        socket.bind(&address.into()).map_err(fault)?;
        // Sets non-blocking, "don't fragment", and asks for ECN, destination and coalescing.
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(fault)?;
        decline_timestamps(&socket).map_err(fault)?;
        // The kernel clips what it does not grant (net.core.rmem_max); that is no reason not to run.
        // With CAP_NET_ADMIN it grants all.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
            let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        }
        let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
        let datagrams_per_send = AtomicUsize::new(state.max_gso_segments());
        Ok(Self { socket, state, family, datagrams_per_send })
    }

    /// Has all that is sent leave by the device of this name, whatever the routing table says, and takes only what comes by it
    /// (`SO_BINDTODEVICE`). A socket that has a device keeps it; if that is removed, the socket sends nothing any more.
    ///
    /// # Errors
    ///
    /// What the kernel said; `ENODEV` if there is no such device.
    pub fn bind_to_device(&self, name: &str) -> io::Result<()> {
        self.socket.bind_device(Some(name.as_bytes()))
    }

    /// Marks all that it sends from now on (`SO_MARK`), for rules of routing. Takes `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.socket.set_mark(mark)
    }

    /// Sends one datagram. An error says that this datagram was not sent, nothing more: the socket stays usable, see
    /// [`SendFault`].
    ///
    /// # Errors
    ///
    /// What the kernel said; `Unsupported` if the socket cannot reach that IP version.
    pub fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.send_marked(datagram, to, 0)
    }

    /// The same with the DS octet `ds`.
    ///
    /// # Errors
    ///
    /// As [`Self::send_to`]; a full buffer of the kernel's is not waited for.
    pub fn send_marked(&self, datagram: &[u8], to: SocketAddr, ds: u8) -> io::Result<()> {
        self.transmit(datagram, to, Ancillary { segment: None, ds })
    }

    /// Sends `datagrams`, a run of datagrams of `segment` octets each (the last may be shorter), all to one address and with the DS octet
    /// `ds`. One system call where the kernel segments (`UDP_SEGMENT`), else one per datagram.
    ///
    /// # Errors
    ///
    /// As [`Self::send_to`]; some of the run may have been sent before the one that was not. A full buffer of the kernel's is an
    /// error only after [`SEND_WAIT_MAX`]: until then the caller waits, and what comes after it waits in queues that are ours.
    pub fn send_segments(&self, datagrams: &[u8], segment: usize, to: SocketAddr, ds: u8) -> io::Result<()> {
        let segment = segment.max(1);
        let at_once = self.datagrams_per_send.load(Ordering::Relaxed).clamp(1, (SLOT_BYTES / segment).max(1));
        for run in datagrams.chunks(segment * at_once) {
            let together = u16::try_from(segment).ok().filter(|_| run.len() > segment);
            match self.transmit_waiting(run, to, Ancillary { segment: together, ds }) {
                Err(error) if together.is_some() && self.is_refusal(&error) => {
                    let alone = Ancillary { segment: None, ds };
                    run.chunks(segment).try_for_each(|one| self.transmit_waiting(one, to, alone))?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Whether a run was refused that may go one by one. A driver without segmentation says `EIO` and is not asked again; `EINVAL` is said
    /// of one run only, when the path takes no datagrams as long as these.
    fn is_refusal(&self, error: &io::Error) -> bool {
        if error.raw_os_error() == Some(libc::EIO) {
            tracing::debug!(%error, "segmentation offload refused");
            self.datagrams_per_send.store(1, Ordering::Relaxed);
            return true;
        }
        error.raw_os_error() == Some(libc::EINVAL)
    }

    fn transmit_waiting(&self, contents: &[u8], to: SocketAddr, ancillary: Ancillary) -> io::Result<()> {
        match self.transmit(contents, to, ancillary) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_writable(self.as_fd(), SEND_WAIT_MAX)?;
                self.transmit(contents, to, ancillary)
            }
            result => result,
        }
    }

    fn transmit(&self, contents: &[u8], to: SocketAddr, ancillary: Ancillary) -> io::Result<()> {
        send_message(self.as_fd(), contents, self.as_socket_address(to)?, ancillary)
    }

    /// The address as this socket must be given it.
    fn as_socket_address(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        match (self.family, to) {
            (Family::V4, SocketAddr::V4(_)) | (Family::V6 { .. }, SocketAddr::V6(_)) => Ok(to),
            (Family::V6 { dual_stack: true }, SocketAddr::V4(v4)) => {
                Ok(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into())
            }
            (Family::V4, SocketAddr::V6(_)) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an IPv6 address cannot be reached from an IPv4 socket",
            )),
            (Family::V6 { dual_stack: false }, SocketAddr::V4(_)) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an IPv4 address cannot be reached from a socket bound to one IPv6 address",
            )),
        }
    }

    /// Receives what has arrived, up to [`BATCH`] operations of the kernel, into `buffers`. The datagrams borrow the
    /// buffers and may be changed in place.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is there. Others do not end the socket either.
    pub fn recv_batch<'b>(&self, buffers: &'b mut ReceiveBuffers) -> io::Result<Datagrams<'b>> {
        let mut slots = buffers.octets.chunks_mut(SLOT_BYTES);
        let mut views: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        buffers.count = 0;
        buffers.count = self.state.recv(UdpSockRef::from(&self.socket), &mut views, &mut buffers.metas)?;
        Ok(buffers.datagrams())
    }

    /// The address the socket is bound to, canonical.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().map(canonical).ok_or_else(|| io::Error::other("the socket has no IP address"))
    }

    /// Whether both IP versions come and go here.
    #[must_use]
    pub fn is_dual_stack(&self) -> bool {
        self.family == Family::V6 { dual_stack: true }
    }

    /// What the kernel does with many datagrams in one go, and how much room it has for them.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity {
            datagrams_per_send: self.datagrams_per_send.load(Ordering::Relaxed),
            joins_received: self.state.gro_segments() > 1,
            // The kernel says twice as much as it was asked for: it counts what it needs itself.
            receive_buffer_bytes: self.socket.recv_buffer_size().map_or(0, |bytes| bytes / 2),
        }
    }

    /// How many datagrams the kernel has dropped because its receive buffer was full, since the socket was opened.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn dropped_by_kernel(&self) -> io::Result<u64> {
        let mut figures = [0_u32; DROPS + 1];
        let mut len = size_of_val(&figures) as libc::socklen_t;
        // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel writes at most the `len` octets that we lend it.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                figures.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result == 0 { Ok(figures[DROPS].into()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether the network may fragment what we send, because the kernel could not be told otherwise.
    #[must_use]
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Has the kernel say nothing of when datagrams came, which nobody asks: with it there is no room for their marks where quinn-udp has it
/// write what it says of them.
fn decline_timestamps(socket: &Socket) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads the number that we lend it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one batch, owned by a receiving thread. One MiB of address space, of which the kernel touches what arrives.
pub struct ReceiveBuffers {
    octets: Box<[u8]>,
    metas: [RecvMeta; BATCH],
    /// Operations of the last batch.
    count: usize,
}

impl ReceiveBuffers {
    /// The datagrams of the last batch once more, as whoever had them has left them.
    pub fn datagrams(&mut self) -> Datagrams<'_> {
        Datagrams {
            slots: self.octets.chunks_mut(SLOT_BYTES).zip(self.metas[..self.count].iter()),
            rest: &mut [],
            meta: RecvMeta::default(),
        }
    }

    /// Octets of the last batch.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.metas[..self.count].iter().map(|meta| meta.len).sum()
    }
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        let octets = vec![0; SLOT_BYTES * BATCH].into_boxed_slice();
        Self { octets, metas: [RecvMeta::default(); BATCH], count: 0 }
    }
}

/// One datagram that arrived.
#[derive(Debug)]
pub struct Datagram<'b> {
    /// Who sent it; IPv4 as IPv4.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, if the kernel says.
    pub to: Option<IpAddr>,
    /// What the path has marked it with (RFC 3168): the lower two bits of the DS octet.
    pub ecn: u8,
    /// What it carries; may be empty.
    pub octets: &'b mut [u8],
}

/// The datagrams of one batch, in the order of arrival.
pub struct Datagrams<'b> {
    slots: std::iter::Zip<std::slice::ChunksMut<'b, u8>, std::slice::Iter<'b, RecvMeta>>,
    rest: &'b mut [u8],
    meta: RecvMeta,
}

impl<'b> Iterator for Datagrams<'b> {
    type Item = Datagram<'b>;

    fn next(&mut self) -> Option<Datagram<'b>> {
        if self.rest.is_empty() {
            let (slot, meta) = self.slots.next()?;
            self.meta = *meta;
            self.rest = &mut slot[..meta.len.min(SLOT_BYTES)];
        }
        let length = self.meta.stride.clamp(1, SLOT_BYTES).min(self.rest.len());
        let (octets, rest) = std::mem::take(&mut self.rest).split_at_mut(length);
        self.rest = rest;
        let to = self.meta.dst_ip.map(|ip| ip.to_canonical());
        let ecn = self.meta.ecn.map_or(0, |ecn| ecn as u8);
        Some(Datagram { from: canonical(self.meta.addr), to, ecn, octets })
    }
}

/// An IPv4 address that came in IPv6 clothes (`::ffff:192.0.2.1`) as IPv4, every other one as it is.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_readable;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(5));

    fn receive(socket: &UdpSocket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut buffers = ReceiveBuffers::default();
        let mut received = Vec::new();
        while received.len() < count {
            wait_readable(&[socket.as_fd()], LIMIT).unwrap();
            let batch = socket.recv_batch(&mut buffers).expect("datagrams within the limit");
            received.extend(batch.map(|datagram| (datagram.from, datagram.octets.to_vec())));
        }
        received
    }

    fn loopback(socket: &UdpSocket) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()))
    }

    #[test]
    fn a_datagram_arrives_at_the_wildcard_with_a_canonical_address_and_is_answered() {
        let wildcard = UdpSocket::bind("[::]:0".parse().unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        sender.send_to(b"out", loopback(&wildcard)).unwrap();
        let (from, octets) = receive(&wildcard, 1).remove(0);
        assert_eq!((from, octets.as_slice()), (sender.local_addr().unwrap(), b"out".as_slice()));
        wildcard.send_to(b"back", from).unwrap();
        assert_eq!(receive(&sender, 1), [(loopback(&wildcard), b"back".to_vec())]);
    }

    #[test]
    fn segments_arrive_one_by_one_in_order_with_their_lengths() {
        let receiver = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let run: Vec<u8> = (0..100_u8).flat_map(|n| [n; 1200]).chain([200; 7]).collect();
        sender.send_segments(&run, 1200, receiver.local_addr().unwrap(), 0).unwrap();
        let received = receive(&receiver, 101);
        let expected: Vec<Vec<u8>> = run.chunks(1200).map(<[u8]>::to_vec).collect();
        assert_eq!(received.into_iter().map(|(_, octets)| octets).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn marks_go_with_the_datagrams_over_either_ip_version() {
        let wildcard = UdpSocket::bind("[::]:0".parse().unwrap()).unwrap();
        let (v4, v6) = (UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap(), "[::1]:0".parse().unwrap());
        let v6 = UdpSocket::bind(v6).unwrap();
        let to_v4 = loopback(&wildcard);
        let to_v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, to_v4.port()));
        let mut buffers = ReceiveBuffers::default();
        // From both versions to the wildcard, and from the wildcard to IPv4, which is another case for the kernel.
        let ways = [(&v4, &wildcard, to_v4), (&v6, &wildcard, to_v6), (&wildcard, &v4, loopback(&v4))];
        for (from, at, to) in ways {
            for (ds, ecn) in [(0, 0), (0xb8, 0), (0x02, 2), (0xb9, 1), (0x03, 3)] {
                from.send_segments(&[7; 250], 100, to, ds).unwrap();
                let mut seen = Vec::new();
                while seen.len() < 3 {
                    wait_readable(&[at.as_fd()], LIMIT).unwrap();
                    let batch = at.recv_batch(&mut buffers).expect("datagrams within the limit");
                    seen.extend(batch.map(|datagram| (datagram.octets.len(), datagram.ecn)));
                }
                assert_eq!(seen, [(100, ecn), (100, ecn), (50, ecn)], "{to} {ds:#x}");
            }
        }
    }

    #[test]
    fn what_the_kernel_has_no_room_for_is_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = receiver.local_addr().unwrap();
        assert_eq!(receiver.dropped_by_kernel().unwrap(), 0);
        receiver.socket.set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        (0..100).for_each(|_| sender.send_to(&[7; 1200], to).unwrap());
        let mut arrived = 0;
        let mut buffers = ReceiveBuffers::default();
        while let Ok(datagrams) = receiver.recv_batch(&mut buffers) {
            arrived += datagrams.count() as u64;
        }
        assert!(arrived < 100);
        assert_eq!(receiver.dropped_by_kernel().unwrap() + arrived, 100);
    }

    #[test]
    fn an_empty_datagram_arrives_as_an_empty_datagram() {
        let receiver = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        sender.send_to(b"", receiver.local_addr().unwrap()).unwrap();
        sender.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
        let lengths: Vec<usize> = receive(&receiver, 2).iter().map(|(_, octets)| octets.len()).collect();
        assert_eq!(lengths, [0, 1]);
    }

    #[test]
    fn the_largest_datagram_of_udp_arrives_whole() {
        let receiver = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let largest = vec![7; 65_507];
        sender.send_to(&largest, receiver.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&receiver, 1)[0].1, largest);
    }

    #[test]
    fn one_thread_receives_while_others_send_on_the_same_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = socket.local_addr().unwrap();
        std::thread::scope(|scope| {
            for name in 0..4_u8 {
                let socket = &socket;
                scope.spawn(move || (0..50).for_each(|_| socket.send_to(&[name], to).unwrap()));
            }
            let mut seen = [0; 4];
            receive(&socket, 200).iter().for_each(|(_, octets)| seen[usize::from(octets[0])] += 1);
            assert_eq!(seen, [50; 4]);
        });
    }

    #[test]
    fn a_taken_port_and_a_foreign_address_are_told_apart() {
        let first = UdpSocket::bind("[::]:0".parse().unwrap()).unwrap();
        let taken = UdpSocket::bind(first.local_addr().unwrap());
        assert!(matches!(taken, Err(UdpError::InUse { .. })), "{taken:?}");
        let foreign = UdpSocket::bind("192.0.2.1:0".parse().unwrap());
        assert!(matches!(foreign, Err(UdpError::NotOurs { .. })), "{foreign:?}");
    }

    #[test]
    fn nothing_to_receive_is_would_block() {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = socket.recv_batch(&mut ReceiveBuffers::default()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
