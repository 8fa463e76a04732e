//! The sockets of a line: one for each path of this end.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use tieline_io::udp::{Capacity, Datagrams, ReceiveBuffers, UdpError, UdpSocket};
use tieline_line::paths::{Path, PathId};

use crate::config::PathConfig;

/// The sockets, by the number of their path; there is one at least.
#[derive(Debug)]
pub struct Medium {
    first: Bound,
    further: Vec<Bound>,
}

/// A socket that is to use one device, or any.
#[derive(Debug)]
struct Bound {
    socket: UdpSocket,
    device: Option<String>,
    /// Whether it uses its device: before that it would send by others, and the path would seem to be there.
    is_ready: AtomicBool,
}

impl Bound {
    fn open(listen: SocketAddr, device: Option<String>) -> Result<Self, UdpError> {
        let is_ready = AtomicBool::new(device.is_none());
        Ok(Self { socket: UdpSocket::bind(listen)?, device, is_ready })
    }

    fn make_ready(&self) -> io::Result<()> {
        if let Some(device) = self.device.as_deref().filter(|_| !self.is_ready()) {
            self.socket.bind_to_device(device)?;
            self.is_ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }
}

impl Medium {
    /// Opens all sockets. A device that is not there yet is no error: the line comes up by the other paths.
    ///
    /// # Errors
    ///
    /// Which address cannot be listened on.
    pub fn open(first: SocketAddr, further: &[PathConfig]) -> Result<Self, UdpError> {
        let first = Bound::open(first, None)?;
        let open = |path: &PathConfig| Bound::open(path.listen, path.device.clone());
        let further = further.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { first, further })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.further.len()
    }

    /// The socket of the first path.
    #[must_use]
    pub fn first(&self) -> &UdpSocket {
        &self.first.socket
    }

    /// Has the path's socket use its device, if it does not yet.
    ///
    /// # Errors
    ///
    /// What the kernel said; `ENODEV` if the device is not there.
    pub fn make_ready(&self, path: PathId) -> io::Result<()> {
        self.socket(path.number()).make_ready()
    }

    /// Marks all that is sent, by every path, for rules of routing.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::set_mark`].
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.all().try_for_each(|bound| bound.socket.set_mark(mark))
    }

    /// The device that the path is to use, if not the routing table decides.
    #[must_use]
    pub fn device(&self, path: usize) -> Option<&str> {
        self.socket(path).device.as_deref()
    }

    /// Sends one datagram with the DS octet `ds`.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send_marked`]; `NotConnected` while the path's device is not there.
    pub fn send_to(&self, datagram: &[u8], by: Path, ds: u8) -> io::Result<()> {
        self.ready(by)?.send_marked(datagram, by.remote, ds)
    }

    /// Sends a run of datagrams with the DS octet `ds`.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send_segments`]; `NotConnected` while the path's device is not there.
    pub fn send_segments(&self, datagrams: &[u8], segment: usize, by: Path, ds: u8) -> io::Result<()> {
        self.ready(by)?.send_segments(datagrams, segment, by.remote, ds)
    }

    /// Receives what has arrived at one socket.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv_batch`]; `WouldBlock` also while the path's device is not there.
    pub fn recv_batch<'b>(
        &self,
        socket: usize,
        buffers: &'b mut ReceiveBuffers,
    ) -> io::Result<Datagrams<'b>> {
        match self.socket(socket) {
            bound if bound.is_ready() => bound.socket.recv_batch(buffers),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The descriptor of each socket, in order.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all().map(|bound| bound.socket.as_fd())
    }

    /// The address that each socket is bound to, in order.
    pub fn local_addresses(&self) -> impl Iterator<Item = Option<SocketAddr>> + '_ {
        self.all().map(|bound| bound.socket.local_addr().ok())
    }

    /// What the kernel does for many datagrams; it is the same for all sockets.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.first.socket.capacity()
    }

    /// How many datagrams the kernel has dropped because a receive buffer was full.
    #[must_use]
    pub fn dropped_by_kernel(&self) -> u64 {
        self.all().filter_map(|bound| bound.socket.dropped_by_kernel().ok()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Bound> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// A number that there is no socket for names the first: a path that the far end has shown.
    fn socket(&self, number: usize) -> &Bound {
        number.checked_sub(1).and_then(|further| self.further.get(further)).unwrap_or(&self.first)
    }

    fn ready(&self, by: Path) -> io::Result<&UdpSocket> {
        let bound = self.socket(by.socket);
        if bound.is_ready() { Ok(&bound.socket) } else { Err(io::ErrorKind::NotConnected.into()) }
    }
}
