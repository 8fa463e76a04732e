//! The threads that move packets, and what they share with control. There is one for each direction, or several where there are
//! processors for them: then each sends the flows of its own queues of the device (`sender`), and those that receive take turns
//! (`receiver`).
//!
//! ```text
//!  device ─┐                                                    ┌─▶ device
//!  streams ┼─▶ sending thread: seal ─▶ medium ─▶ receiving thread: open ─┼─▶ streams
//!  control ┘                                                    └─▶ control
//! ```
//!
//! The first sending thread serves control, then what waited for a session, then streams, then the device, a bounded turn of each at
//! a time; the others have the device only. They sleep on the device and on a waker, a receiving thread on the socket. Control is reached through bounded
//! queues only, and never waited for.
//!
//! Where it is known what the line carries, what a sending thread takes waits in its queues ([`tieline_line::queue`]) until its turn, and
//! leaves no faster than the line carries it.
//!
//! All work in batches. What the device gives in one piece of up to 64 KiB is cut, sealed and sent in one pass over one buffer
//! (`run`); what arrives is opened where it lies, and segments that follow one another are joined and written
//! at once. No lone packet waits for a batch to fill: a batch is what is there.
//!
//! Where they may, they run in real time: what comes for them on a busy machine does not wait for the slices of other
//! programs. In exchange they rest often (`pace`).

pub mod intake;
pub mod lan;
pub mod medium;
pub mod pace;
mod packing;
mod protection;
mod receiver;
mod run;
mod sealer;
mod sender;
mod waking;

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self as blocking, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use intake::Source;
use lan::LanPort;
use medium::Medium;
use receiver::{Order, Receiver};
use sender::Sender;
use tieline_io::{tun::TunDevice, wait::Waker};
use tieline_line::{
    Inbound, Outbound, Outgoing, Shared, class::ServiceClass, counters::DropReason, lan::LanAlarm,
    marks::OuterDscp, paths::Path, queue::Rate,
};
use tieline_wire::{protection_report::ProtectionReport, time::Now};
use tokio::sync::{mpsc, oneshot};

use crate::{calls::Watched, flows::FlowsStatus, streams::channel::StreamChannel};

/// Reports that wait for control; more are dropped and counted.
pub const REPORTS_MAX: usize = 256;
/// Handshake messages that wait for control; more are dropped and counted. Anybody may send them, so they have a queue of their own:
/// a flood must not keep back what the far end says.
pub const HANDSHAKES_MAX: usize = 256;

/// Who may wait to be told of the flows.
const FLOW_REQUESTS_MAX: usize = 4;
/// How long the threads may take to end. They end at once, unless the medium takes nothing: then the sending thread waits for it with
/// each run of datagrams that it has begun to send.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);

/// A handshake message that came in.
#[derive(Debug)]
pub struct Handshake {
    /// Who sent it, and by which socket it came.
    pub from: Path,
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
        /// Who sent it, and by which socket it came.
        from: Path,
        /// The message.
        message: Vec<u8>,
    },
    /// A hint of the session layer.
    Notice {
        /// By which socket came what it was seen in; of what is sent, the first.
        socket: usize,
        /// The hint.
        notice: tieline_line::Notice,
    },
    /// How the far end's protected packets arrive.
    Protection(ProtectionReport),
    /// There is something to send and no session.
    SessionNeeded,
    /// The Ethernet of the offices needs somebody's attention.
    Lan(LanAlarm),
    /// Somebody removed the network device.
    DeviceGone(Source),
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

/// The network devices of a line.
#[derive(Debug, Default)]
pub struct Devices {
    /// To which packets are routed.
    pub routed: Option<TunDevice>,
    /// In the office's bridge.
    pub lan: Option<LanPort>,
}

/// What the threads work with and control sees of them.
#[derive(Debug)]
pub struct Ports {
    /// The medium.
    pub medium: Medium,
    /// The network device, unless this is a bare line.
    pub device: Option<TunDevice>,
    /// The device in the office's bridge, if the line is joined to that.
    pub lan: Option<LanPort>,
    /// Packets of control for the sending thread.
    pub outgoing: ArrayQueue<Outgoing>,
    /// Label 16.
    pub streams: Arc<StreamChannel>,
    /// Wakes the sending threads, one each; the first one serves control and the streams.
    pub senders: Vec<Arc<Waker>>,
    /// Wakes the receiving threads; only to stop them.
    pub receiving: Waker,
    /// The line's counters.
    pub shared: Arc<Shared>,
    /// What the threads know of the calls.
    pub calls: Watched,
    /// Who wants to know of the flows that go out.
    flow_requests: ArrayQueue<oneshot::Sender<FlowsStatus>>,
    /// The largest packet of the line.
    pub mtu: usize,
    /// What the line carries of what we send; see [`Self::set_rate`].
    rate: AtomicU64,
    /// For how long packets have waited for the line so far, in nanoseconds.
    backlogged: AtomicU64,
    /// Which code point goes around packets.
    pub outer_dscp: OuterDscp,
    /// Whether the far end carries marks of congestion over.
    pub far_end_carries_ecn: AtomicBool,
    /// Whether the far end makes packets whole that come in pieces.
    pub far_end_joins: AtomicBool,
    stopping: AtomicBool,
}

impl Ports {
    /// Puts together what the threads work with; `sending` wakes the first that sends. There are as many threads for each direction as the
    /// devices have queues for ([`intake::QUEUES`] each), at least one.
    ///
    /// # Errors
    ///
    /// If the kernel gives no descriptor for a waker.
    pub fn new(
        medium: Medium,
        Devices { routed: device, lan }: Devices,
        streams: Arc<StreamChannel>,
        sending: Arc<Waker>,
        shared: Arc<Shared>,
        mtu: usize,
        outer_dscp: OuterDscp,
    ) -> io::Result<Arc<Self>> {
        let queues =
            device.as_ref().or(lan.as_ref().map(LanPort::device)).map_or(0, |device| device.queues().len());
        let lanes = (queues / intake::QUEUES).max(1);
        let mut senders = vec![sending];
        for _ in 1..lanes {
            senders.push(Arc::new(Waker::new()?));
        }
        Ok(Arc::new(Self {
            medium,
            device,
            lan,
            outgoing: ArrayQueue::new(tieline_line::control::OUTGOING_MAX),
            streams,
            senders,
            receiving: Waker::new()?,
            shared,
            calls: Watched::new(lanes),
            flow_requests: ArrayQueue::new(FLOW_REQUESTS_MAX),
            mtu,
            rate: AtomicU64::new(0),
            backlogged: AtomicU64::new(0),
            outer_dscp,
            far_end_carries_ecn: AtomicBool::new(false),
            far_end_joins: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }))
    }

    /// The DS octet of a datagram with the IP packet `packet`, which is served as `class` if that is known.
    fn mark_around(&self, class: Option<ServiceClass>, packet: &[u8]) -> u8 {
        self.outer_dscp.around_ip(class, packet, self.far_end_carries_ecn.load(Ordering::Relaxed))
    }

    /// Threads for each direction.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.senders.len()
    }

    /// What the line carries of what we send, if that is known: then the sending threads queue and shape it.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        let bits = self.rate.load(Ordering::Relaxed);
        (bits > 0).then(|| Rate::from_bits_per_second(bits))
    }

    /// For how long packets have waited for the line so far.
    #[must_use]
    pub fn backlogged(&self) -> Duration {
        Duration::from_nanos(self.backlogged.load(Ordering::Relaxed))
    }

    /// From now on the line carries `rate`; none: it is not known, and everything is sent at once. Whether that is another rate than before.
    pub fn set_rate(&self, rate: Option<Rate>) -> bool {
        let bits = rate.map_or(0, Rate::bits_per_second);
        self.rate.swap(bits, Ordering::Relaxed) != bits
    }

    /// Has the sending thread say what goes out; on a line that is not shaped, nothing is known of it. The oldest of too many who ask
    /// hears nothing.
    pub fn ask_for_flows(&self, reply: oneshot::Sender<FlowsStatus>) {
        self.flow_requests.force_push(reply);
        self.senders[0].wake();
    }

    /// Wakes all that send: there is a session, or something of control.
    pub fn wake_senders(&self) {
        self.senders.iter().for_each(|sender| sender.wake());
    }
}

/// The running threads.
#[derive(Debug)]
pub struct PacketPath {
    ports: Arc<Ports>,
    threads: Vec<Thread>,
}

impl PacketPath {
    /// Starts the threads, of the caller's class of scheduling.
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
        let (lanes, opener, reports) = (ports.lanes(), inbound.opener(), control.reports.clone());
        let order = Order::new(Arc::clone(&ports), inbound, control);
        let mut path = Self { ports: Arc::clone(&ports), threads: Vec::new() };
        for lane in 0..lanes {
            let sender = Sender::new(Arc::clone(&ports), lane, outbound.another(), reports.clone())?;
            let receiver = Receiver::new(Arc::clone(&ports), Arc::clone(&order), lanes == 1, opener.clone());
            path.threads.push(Thread::start("send", move || sender.run())?);
            path.threads.push(Thread::start("receive", move || receiver.run())?);
        }
        Ok(path)
    }
}

impl Drop for PacketPath {
    fn drop(&mut self) {
        self.ports.stopping.store(true, Ordering::Release);
        self.ports.wake_senders();
        self.ports.receiving.wake();
        let until = Instant::now() + STOP_WAIT_MAX;
        for thread in self.threads.drain(..) {
            thread.end(until);
        }
    }
}

/// A thread that ends soon after it is told to.
#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    /// Disconnected when it has ended.
    running: blocking::Receiver<Infallible>,
}

impl Thread {
    fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (alive, running) = blocking::channel();
        let handle = thread::Builder::new().name(name.into()).spawn(move || {
            let _alive = alive;
            work();
        })?;
        Ok(Self { handle, running })
    }

    /// Waits until it has ended, at most `until`; then it is left to itself, and ends with the process at the latest.
    fn end(self, until: Instant) {
        match self.running.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    thread = self.handle.thread().name(),
                    "a thread of the packet path does not end: the medium takes nothing, so the far end may not hear that this end goes down"
                );
            }
            // A thread that panicked has said so; there is nothing left to stop.
            Ok(_) | Err(RecvTimeoutError::Disconnected) => drop(self.handle.join()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_that_does_not_end_is_not_waited_for_without_end() {
        let (release, held) = blocking::channel::<Infallible>();
        let stuck = Thread::start("stuck", move || {
            let _ = held.recv();
        })
        .unwrap();
        let begin = Instant::now();
        stuck.end(begin + Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(20), "it had its time");
        drop(release);
    }

    #[test]
    fn thread_that_ends_is_waited_for() {
        let ended = Arc::new(AtomicBool::new(false));
        let sets = Arc::clone(&ended);
        let thread = Thread::start("ending", move || {
            thread::sleep(Duration::from_millis(20));
            sets.store(true, Ordering::Release);
        });
        thread.unwrap().end(Instant::now() + STOP_WAIT_MAX);
        assert!(ended.load(Ordering::Acquire));
    }
}
