//! The two threads that move packets, and what they share with control.
//!
//! ```text
//!  device ─┐                                                    ┌─▶ device
//!  streams ┼─▶ sending thread: seal ─▶ medium ─▶ receiving thread: open ─┼─▶ streams
//!  control ┘                                                    └─▶ control
//! ```
//!
//! The sending thread serves control first, then streams, then the device, a bounded turn of each at a time. It
//! sleeps on the device and on a waker; the receiving thread sleeps on the socket. Control is reached through bounded
//! queues only, and never waited for.
//!
//! Both work in batches. What the device gives in one piece of up to 64 KiB is cut, sealed and sent in one pass over one buffer
//! (`run`); what arrives is opened where it lies, and segments that follow one another are joined and written
//! at once. Nothing waits for a batch to fill: a batch is what is there.

mod receiver;
mod run;
mod sender;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_queue::ArrayQueue;
use receiver::Receiver;
use sender::Sender;
use tieline_io::{tun::TunDevice, udp::UdpSocket, wait::Waker};
use tieline_line::{Inbound, Outbound, Outgoing, Shared, counters::DropReason};
use tieline_wire::time::Now;
use tokio::sync::mpsc;

use crate::streams::channel::StreamChannel;

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
        let sender = Sender::new(Arc::clone(&ports), outbound, control.reports.clone());
        let receiver = Receiver::new(Arc::clone(&ports), inbound, control);
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

fn report(ports: &Ports, reports: &mpsc::Sender<Report>, report: Report) {
    if reports.try_send(report).is_err() {
        ports.shared.counters.dropped(DropReason::ControlQueueFull);
    }
}
