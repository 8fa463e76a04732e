//! The other ends of an office's calls: when each packet came out of the network.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use tieline_io::scheduling::RealTime;

use super::Label;

/// Larger than any of our packets.
const PACKET_LEN_MAX: usize = 512;
/// Sockets that are looked at with one system call.
const EVENTS_MAX: usize = 64;
/// How long nothing may happen until it is looked whether all is over.
const LOOK_EACH: u16 = 50;

/// A packet that has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) label: Label,
    /// As [`super::now`].
    pub(super) arrived: u64,
}

impl Arrival {
    /// How long it was on its way.
    pub(super) fn delay_ms(&self) -> f64 {
        self.arrived.saturating_sub(self.label.sent) as f64 / 1e6
    }
}

/// Receives until it is over, and then so much longer.
pub(super) fn receive(
    sockets: &[UdpSocket],
    is_over: &AtomicBool,
    longer: Duration,
) -> io::Result<Vec<Arrival>> {
    let _real_time = RealTime::enter();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (place, socket) in (0..).zip(sockets) {
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, place))?;
    }
    let mut arrivals = Vec::new();
    let mut events = [EpollEvent::empty(); EVENTS_MAX];
    let mut end = None;
    loop {
        if is_over.load(Ordering::Relaxed)
            && Instant::now() >= *end.get_or_insert_with(|| Instant::now() + longer)
        {
            return Ok(arrivals);
        }
        let count = match epoll.wait(&mut events, EpollTimeout::from(LOOK_EACH)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            drain(&sockets[event.data() as usize], &mut arrivals)?;
        }
    }
}

/// Takes all that is there.
fn drain(socket: &UdpSocket, arrivals: &mut Vec<Arrival>) -> io::Result<()> {
    let mut packet = [0; PACKET_LEN_MAX];
    let mut control = cmsg_space!(TimeSpec);
    loop {
        let mut parts = [IoSliceMut::new(&mut packet)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let (len, arrived) = match received {
            Ok(message) => {
                let stamps = message.cmsgs()?;
                let stamp = |message| match message {
                    ControlMessageOwned::ScmTimestampns(time) => Some(nanoseconds(time)),
                    _ => None,
                };
                (message.bytes, stamps.filter_map(stamp).next())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            // A tunnel that has nowhere to send to says so to the phone, which goes on.
            Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => continue,
            Err(error) => return Err(error.into()),
        };
        let arrived =
            arrived.ok_or_else(|| io::Error::other("the kernel does not say when a packet arrived"))?;
        // What is no packet of ours is nothing that we have to judge.
        arrivals.extend(Label::parse(&packet[..len]).map(|label| Arrival { label, arrived }));
    }
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
