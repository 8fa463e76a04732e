//! The two threads that move packets, and what they share with control.
//!
//! ```text
//!  device ─┐                                                    ┌─▶ device
//!  streams ┼─▶ sending thread: seal ─▶ medium ─▶ receiving thread: open ─┼─▶ streams
//!  control ┘                                                    └─▶ control
//! ```
//!
//! The sending thread serves control first, then streams, then the device, at most 32 packets (`TURN`) of each at a time. It
//! sleeps on the device and on a waker; the receiving thread sleeps on the socket. Control is reached through a bounded
//! queue only, and never waited for.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use crossbeam_queue::ArrayQueue;
use tieline_io::{
    tun::{self, TunDevice},
    udp::{ReceiveBuffers, UdpSocket},
    wait::{Waker, wait_readable},
};
use tieline_line::{
    Delivery, HEADROOM, Inbound, Outbound, Outcome, Outgoing, Shared, TAILROOM, counters::DropReason,
};
use tieline_wire::{
    label::{Label, LabelStackEntry, MplsTrafficClass},
    time::Now,
};
use tokio::sync::mpsc;

use crate::streams::channel::StreamChannel;

/// Packets that one source may send before the next is served.
const TURN: usize = 32;
/// Reports that wait for control; more are dropped and counted.
pub const REPORTS_MAX: usize = 256;
/// Handshake messages that wait for control; more are dropped and counted. Anybody may send them, so they have a queue of their own:
/// a flood must not keep back what the far end says.
pub const HANDSHAKES_MAX: usize = 256;

/// A handshake message that came in.
#[derive(Debug)]
pub struct Handshake {
    /// Who sent it.
    pub from: SocketAddr,
    /// The datagram as it came.
    pub datagram: Vec<u8>,
}

/// What the packet path reports to control.
#[derive(Debug)]
pub enum Report {
    /// A message of the associated channel.
    Associated {
        /// When it came.
        arrived: Now,
        /// Who sent it.
        from: SocketAddr,
        /// The message.
        message: Vec<u8>,
    },
    /// A hint of the session layer.
    Notice(tieline_line::Notice),
    /// There is something to send and no session.
    SessionNeeded,
    /// Somebody removed the network device.
    DeviceGone,
    /// A thread of the packet path has ended by itself, which it never should.
    ThreadEnded,
}

/// Where the packet path reports to.
#[derive(Clone, Debug)]
pub struct ToControl {
    /// What it saw and what it wants.
    pub reports: mpsc::Sender<Report>,
    /// Handshake messages.
    pub handshakes: mpsc::Sender<Handshake>,
}

/// What the threads work with and control sees of them.
#[derive(Debug)]
pub struct Ports {
    /// The medium.
    pub socket: UdpSocket,
    /// The network device, unless this is a bare line.
    pub device: Option<TunDevice>,
    /// Packets of control for the sending thread.
    pub outgoing: ArrayQueue<Outgoing>,
    /// Label 16.
    pub streams: Arc<StreamChannel>,
    /// Wakes the sending thread.
    pub sending: Arc<Waker>,
    /// Wakes the receiving thread; only to stop it.
    pub receiving: Waker,
    /// The line's counters.
    pub shared: Arc<Shared>,
    /// The largest packet of the line.
    pub mtu: usize,
    stopping: AtomicBool,
}

impl Ports {
    /// Puts together what the threads work with.
    ///
    /// # Errors
    ///
    /// If the kernel gives no descriptor for a waker.
    pub fn new(
        socket: UdpSocket,
        device: Option<TunDevice>,
        streams: Arc<StreamChannel>,
        sending: Arc<Waker>,
        shared: Arc<Shared>,
        mtu: usize,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket,
            device,
            outgoing: ArrayQueue::new(tieline_line::control::OUTGOING_MAX),
            streams,
            sending,
            receiving: Waker::new()?,
            shared,
            mtu,
            stopping: AtomicBool::new(false),
        }))
    }
}

/// The running threads.
#[derive(Debug)]
pub struct PacketPath {
    ports: Arc<Ports>,
    threads: [Option<JoinHandle<()>>; 2],
}

impl PacketPath {
    /// Starts both threads.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(
        ports: Arc<Ports>,
        outbound: Outbound,
        inbound: Inbound,
        control: ToControl,
    ) -> io::Result<Self> {
        let sender = Sender {
            buffer: vec![0; HEADROOM + ports.mtu + TAILROOM].into_boxed_slice(),
            ports: Arc::clone(&ports),
            outbound,
            reports: control.reports.clone(),
            device_is_gone: false,
        };
        let receiver = Receiver { ports: Arc::clone(&ports), inbound, control };
        let mut path = Self { ports, threads: [None, None] };
        path.threads[0] = Some(thread::Builder::new().name("send".into()).spawn(move || sender.run())?);
        path.threads[1] = Some(thread::Builder::new().name("receive".into()).spawn(move || receiver.run())?);
        Ok(path)
    }
}

impl Drop for PacketPath {
    fn drop(&mut self) {
        self.ports.stopping.store(true, Ordering::Release);
        self.ports.sending.wake();
        self.ports.receiving.wake();
        for thread in self.threads.iter_mut().filter_map(Option::take) {
            // A thread that panicked has said so; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

/// Lives as long as a thread, and tells control if that ends before it is asked to.
struct Watch {
    ports: Arc<Ports>,
    reports: mpsc::Sender<Report>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ports.stopping.load(Ordering::Acquire) {
            // Control that is gone needs no telling.
            let _ = self.reports.blocking_send(Report::ThreadEnded);
        }
    }
}

struct Sender {
    ports: Arc<Ports>,
    outbound: Outbound,
    reports: mpsc::Sender<Report>,
    buffer: Box<[u8]>,
    /// Somebody removed the device: its descriptor is readable for ever, without anything to read.
    device_is_gone: bool,
}

impl Sender {
    fn run(mut self) {
        let ports = Arc::clone(&self.ports);
        let _watch = Watch { ports: Arc::clone(&ports), reports: self.reports.clone() };
        while !ports.stopping.load(Ordering::Acquire) {
            let busy = self.send_control() | self.send_staged() | self.send_streams() | self.send_device();
            if !busy {
                self.sleep();
                // Cleared before the next look, so that no wake is lost: not even for what waits for a session.
                ports.sending.clear();
            }
        }
        // What control said last, such as that this end goes down.
        self.send_control();
    }

    fn sleep(&self) {
        let waited = match self.ports.device.as_ref().filter(|_| !self.device_is_gone) {
            Some(device) => wait_readable(&[self.ports.sending.as_fd(), device.as_fd()], None),
            None => wait_readable(&[self.ports.sending.as_fd()], None),
        };
        if let Err(error) = waited {
            tracing::error!(%error, "the sending thread cannot wait");
        }
    }

    fn send_control(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let mut busy = false;
        for outgoing in std::iter::from_fn(|| ports.outgoing.pop()).take(TURN) {
            busy = true;
            let now = Instant::now();
            let outcome = match outgoing {
                Outgoing::Keepalive => self.outbound.seal_keepalive(now, &mut self.buffer),
                Outgoing::Labelled { entry, payload } => match self.lay_down(&payload) {
                    Some(len) => self.outbound.seal_labelled(now, entry, &mut self.buffer, len),
                    None => continue,
                },
            };
            finish(&ports, &self.reports, outcome);
        }
        busy
    }

    fn send_staged(&mut self) -> bool {
        let now = Instant::now();
        let mut busy = false;
        for _ in 0..TURN {
            let Some(outcome) = self.outbound.poll_staged(now, &mut self.buffer) else { break };
            finish(&self.ports, &self.reports, outcome);
            busy = true;
        }
        busy
    }

    fn send_streams(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
        let now = Instant::now();
        let mut busy = false;
        for packet in std::iter::from_fn(|| ports.streams.poll_packet()).take(TURN) {
            busy = true;
            let Some(len) = self.lay_down(&packet) else { continue };
            drop(packet);
            let outcome = self.outbound.seal_labelled(now, entry, &mut self.buffer, len);
            finish(&ports, &self.reports, outcome);
        }
        if busy {
            ports.streams.wake_senders();
        }
        busy
    }

    /// Puts `packet` where it can be sealed and returns its length; one that is too large is dropped and counted.
    fn lay_down(&mut self, packet: &[u8]) -> Option<usize> {
        let Some(place) =
            self.buffer[HEADROOM..].get_mut(..packet.len()).filter(|_| packet.len() <= self.ports.mtu)
        else {
            self.ports.shared.counters.dropped(DropReason::TooLarge);
            return None;
        };
        place.copy_from_slice(packet);
        Some(packet.len())
    }

    fn send_device(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let Some(device) = ports.device.as_ref().filter(|_| !self.device_is_gone) else { return false };
        let now = Instant::now();
        let mut busy = false;
        for _ in 0..TURN {
            let room = HEADROOM..HEADROOM + ports.mtu;
            match device.read(&mut self.buffer[room]) {
                Ok(len) => {
                    busy = true;
                    let outcome = self.outbound.seal_ip(now, &mut self.buffer, len);
                    finish(&ports, &self.reports, outcome);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if tun::is_gone(&error) => {
                    // Said once, so it may wait until control has room for it.
                    self.device_is_gone = self.reports.try_send(Report::DeviceGone).is_ok();
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "the device gives no packet");
                    break;
                }
            }
        }
        busy
    }
}

/// Sends what was sealed and passes on what control must know.
fn finish(ports: &Ports, reports: &mpsc::Sender<Report>, outcome: Outcome<'_>) {
    if let Some((to, datagram)) = outcome.datagram
        && ports.socket.send_to(datagram, to).is_err()
    {
        ports.shared.counters.dropped(DropReason::MediumRefused);
    }
    if let Some(notice) = outcome.notice {
        report(ports, reports, Report::Notice(notice));
    }
    if outcome.session_needed {
        report(ports, reports, Report::SessionNeeded);
    }
}

fn report(ports: &Ports, reports: &mpsc::Sender<Report>, report: Report) {
    if reports.try_send(report).is_err() {
        ports.shared.counters.dropped(DropReason::ControlQueueFull);
    }
}

struct Receiver {
    ports: Arc<Ports>,
    inbound: Inbound,
    control: ToControl,
}

impl Receiver {
    fn run(mut self) {
        let ports = Arc::clone(&self.ports);
        let _watch = Watch { ports: Arc::clone(&ports), reports: self.control.reports.clone() };
        let mut buffers = ReceiveBuffers::default();
        while !ports.stopping.load(Ordering::Acquire) {
            match ports.socket.recv_batch(&mut buffers) {
                Ok(datagrams) => {
                    let now = Now::from_system();
                    for datagram in datagrams {
                        self.receive(now, datagram.from, datagram.octets);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.sleep(),
                // An ICMP answer to something sent earlier, for instance; the socket stays usable.
                Err(error) => tracing::debug!(%error, "the socket gives no datagram"),
            }
        }
    }

    fn sleep(&self) {
        if let Err(error) = wait_readable(&[self.ports.socket.as_fd(), self.ports.receiving.as_fd()], None) {
            tracing::error!(%error, "the receiving thread cannot wait");
        }
    }

    fn receive(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8]) {
        let ports = &self.ports;
        let received = self.inbound.handle_datagram(now.monotonic, from, datagram);
        let notice = received.notice;
        match received.delivery {
            Delivery::Nothing => {}
            Delivery::Ip(packet) => {
                let written = ports.device.as_ref().map(|device| device.write(packet));
                if !matches!(written, Some(Ok(()))) {
                    ports.shared.counters.dropped(DropReason::NoDevice);
                }
            }
            Delivery::Streams(packet) => {
                if ports.streams.deliver(packet).is_err() {
                    ports.shared.counters.dropped(DropReason::ChannelQueueFull);
                }
            }
            Delivery::Associated(message) => {
                let message = message.to_vec();
                report(ports, &self.control.reports, Report::Associated { arrived: now, from, message });
            }
            Delivery::Handshake => {
                let handshake = Handshake { from, datagram: datagram.to_vec() };
                if self.control.handshakes.try_send(handshake).is_err() {
                    ports.shared.counters.dropped(DropReason::ControlQueueFull);
                }
            }
        }
        if let Some(notice) = notice {
            report(ports, &self.control.reports, Report::Notice(notice));
        }
    }
}
