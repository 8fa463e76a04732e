//! A receiving thread: opens what the medium brings and gives it to the device, to the streams and to control.
//!
//! Where there are several, one after the other takes a batch from the socket. What costs most, the opening, each does for itself; then
//! it waits until the batches before its own are delivered ([`Order`]). So nothing overtakes anything, and one replay window sees all. A
//! small batch is not worth waking another thread for: who has it keeps the socket until it is delivered.

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tieline_io::{
    tun::{Offload, TunDevice},
    udp::{BATCH, DATAGRAMS_JOINED_MAX, ReceiveBuffers},
    wait::wait_readable,
};
use tieline_line::{
    Authentic, Bundle, Delivery, Inbound, Opener, Outgoing, Received, calls::Calls, counters::DropReason,
    flow, join::Joiner, marks, paths::Path, pieces::Pieces,
};
use tieline_wire::{
    associated,
    ds::Ecn,
    label::{Label, LabelStackEntry, MplsTrafficClass},
    packed::Feedback,
    path_heartbeat::PATHS_MAX,
    protected::PACKET_LEN_MAX,
    time::Now,
    transport::is_udp,
};

use super::{Handshake, Ports, Report, ToControl, Watch, lan::LanPort, pace::Pace, report, waking::Waking};

/// Octets of a batch from which on another thread may take the next one meanwhile: opening them takes longer than waking it.
const SHARED_OCTETS: usize = 64 << 10;

/// What the receiving threads of a line have in common.
pub(super) struct Order {
    /// Whoever has it takes the next batch from the socket.
    socket: Mutex<Socket>,
    delivery: Mutex<Deliverer>,
    /// Told when a batch was delivered.
    delivered: Condvar,
}

struct Socket {
    /// From which one the next batch is taken, where there are several.
    next: usize,
    /// How many had nothing, one after the other.
    empty: usize,
    pace: Pace,
    waking: Waking,
    /// Batches taken that were not delivered at once.
    taken: u64,
}

impl Socket {
    fn new(now: Instant) -> Self {
        Self { next: 0, empty: 0, pace: Pace::of_receiving(now), waking: Waking::new(now), taken: 0 }
    }
}

impl Socket {
    /// A batch came from one of `count` sockets: the next comes from the next one.
    fn on_batch(&mut self, count: usize) {
        (self.next, self.empty) = ((self.next + 1) % count, 0);
    }

    /// Nothing was there. Whether that is so of all `count`.
    fn on_nothing(&mut self, count: usize) -> bool {
        (self.next, self.empty) = ((self.next + 1) % count, self.empty + 1);
        if self.empty < count {
            return false;
        }
        self.empty = 0;
        true
    }
}

/// Delivers packets in the order of their arrival.
struct Deliverer {
    inbound: Inbound,
    pieces: Pieces,
    /// Where packets are restored that came packed.
    unpacked: Vec<u8>,
    out: Out,
    /// Batches delivered of those that were not at once.
    delivered: u64,
}

/// To where packets are delivered.
struct Out {
    ports: Arc<Ports>,
    control: ToControl,
    calls: Calls,
    /// Packets given to the streams, of which they were not told.
    for_streams: usize,
}

/// What is joined for each of the two devices.
struct Joiners<'b> {
    routed: Joiner<'b>,
    lan: Joiner<'b>,
}

impl Joiners<'_> {
    fn new(joins_udp: bool) -> Self {
        Self { routed: Joiner::new(joins_udp), lan: Joiner::new(joins_udp) }
    }
}

impl Order {
    pub(super) fn new(ports: Arc<Ports>, inbound: Inbound, control: ToControl) -> Arc<Self> {
        let frame_len = ports.lan.as_ref().map_or(0, |lan| LabelStackEntry::LEN + lan.packet_len_max());
        let pieces = Pieces::new(ports.mtu.max(frame_len), Arc::clone(&ports.shared));
        Arc::new(Self {
            socket: Mutex::new(Socket::new(Instant::now())),
            delivery: Mutex::new(Deliverer {
                inbound,
                pieces,
                unpacked: vec![0; ports.mtu],
                out: Out { ports, control, calls: Calls::default(), for_streams: 0 },
                delivered: 0,
            }),
            delivered: Condvar::new(),
        })
    }

    /// Waits until all batches before number `batch` are delivered.
    fn turn_of(&self, batch: u64) -> MutexGuard<'_, Deliverer> {
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |deliverer: &mut Deliverer| deliverer.delivered < batch;
        self.delivered.wait_while(delivery, is_early).unwrap_or_else(PoisonError::into_inner)
    }
}

/// One receiving thread.
pub(super) struct Receiver {
    ports: Arc<Ports>,
    order: Arc<Order>,
    /// Whether it is the only one.
    is_alone: bool,
    opener: Opener,
    buffers: ReceiveBuffers,
    /// What was opened of the batch.
    opened: Vec<Option<Authentic>>,
    joins_udp: bool,
}

impl Receiver {
    pub(super) fn new(ports: Arc<Ports>, order: Arc<Order>, is_alone: bool, opener: Opener) -> Self {
        let devices = ports.device.iter().chain(ports.lan.as_ref().map(LanPort::device));
        let joins_udp = devices.map(TunDevice::offload).all(|offload| offload == Offload::TcpAndUdp);
        let opened = Vec::with_capacity(if is_alone { 0 } else { BATCH * DATAGRAMS_JOINED_MAX });
        Self { ports, order, is_alone, opener, buffers: ReceiveBuffers::default(), opened, joins_udp }
    }

    pub(super) fn run(mut self) {
        let (ports, order) = (Arc::clone(&self.ports), Arc::clone(&self.order));
        let reports = order.turn_of(0).out.control.reports.clone();
        let _watch = Watch { ports: Arc::clone(&ports), reports };
        while !ports.stopping.load(Ordering::Acquire) {
            let mut socket = order.socket.lock().unwrap_or_else(PoisonError::into_inner);
            let mut is_done = false;
            let from = socket.next;
            match ports.medium.recv_batch(from, &mut self.buffers) {
                Ok(datagrams) => {
                    let count = datagrams.count();
                    socket.pace.count(count);
                    socket.on_batch(ports.medium.count());
                    // A lone one was all there was: waiting for the next finds out as well whether there are more.
                    is_done = count == 1;
                    if !self.is_alone && self.buffers.octets() >= SHARED_OCTETS {
                        let batch = socket.taken;
                        socket.taken += 1;
                        drop(socket);
                        self.open_and_deliver(from, batch);
                        continue;
                    }
                    let mut deliverer = order.turn_of(socket.taken);
                    self.deliver_sealed(from, &mut deliverer);
                    socket.waking.count(std::mem::take(&mut deliverer.out.for_streams));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_done = socket.on_nothing(ports.medium.count());
                }
                // An ICMP answer to something sent earlier, for instance; the socket stays usable.
                Err(error) => tracing::debug!(%error, "the socket gives no datagram"),
            }
            let now = Instant::now();
            if socket.waking.is_due(now) {
                ports.streams.wake_reader();
            }
            let owed = socket.waking.wait(now);
            let Socket { pace, next, .. } = &mut *socket;
            pace.rest(is_done, |limit| match limit {
                Some(pause) => thread::sleep(pause),
                None => *next = self.sleep(owed).unwrap_or(*next),
            });
        }
    }

    /// Until something comes, or the streams are to be told. Returns at which socket something is.
    fn sleep(&self, limit: Option<Duration>) -> Option<usize> {
        let medium = &self.ports.medium;
        let mut watched = [self.ports.receiving.as_fd(); PATHS_MAX + 1];
        watched.iter_mut().zip(medium.descriptors()).for_each(|(place, socket)| *place = socket);
        match wait_readable(&watched[..=medium.count()], limit) {
            Ok(readable) => (0..medium.count()).find(|socket| readable.contains(*socket)),
            Err(error) => {
                tracing::error!(%error, "the receiving thread cannot wait");
                None
            }
        }
    }

    /// Opens and delivers a batch datagram by datagram.
    fn deliver_sealed(&mut self, socket: usize, deliverer: &mut Deliverer) {
        let now = Now::from_system();
        let mut joiner = Joiners::new(self.joins_udp);
        for datagram in self.buffers.datagrams() {
            let from = Path { socket, remote: datagram.from };
            let received = deliverer.inbound.handle_datagram(now.monotonic, from.remote, datagram.octets);
            let received = deliverer.carry_over(datagram.ecn, received);
            deliverer.receive(now, from, received, &mut joiner);
            deliverer.deliver_restored(now, from);
        }
        deliverer.out.write(&mut joiner);
        deliverer.out.watch_calls(now);
        deliverer.report_protection(now);
    }

    /// Opens a batch while others are at theirs, and delivers it in its turn.
    fn open_and_deliver(&mut self, socket: usize, batch: u64) {
        let now = Now::from_system();
        self.opened.clear();
        for datagram in self.buffers.datagrams() {
            self.opened.push(self.opener.open(now.monotonic, datagram.octets).ok());
        }
        let mut deliverer = self.order.turn_of(batch);
        let mut joiner = Joiners::new(self.joins_udp);
        for (datagram, opened) in self.buffers.datagrams().zip(&self.opened) {
            // What was not opened has been counted.
            if let Some(authentic) = *opened {
                let (from, octets) = (Path { socket, remote: datagram.from }, datagram.octets);
                let received =
                    deliverer.inbound.handle_authentic(now.monotonic, from.remote, octets, authentic);
                let received = deliverer.carry_over(datagram.ecn, received);
                deliverer.receive(now, from, received, &mut joiner);
                deliverer.deliver_restored(now, from);
            }
        }
        deliverer.out.write(&mut joiner);
        deliverer.out.watch_calls(now);
        deliverer.report_protection(now);
        if std::mem::take(&mut deliverer.out.for_streams) > 0 {
            self.ports.streams.wake_reader();
        }
        deliverer.delivered += 1;
        self.order.delivered.notify_all();
    }
}

impl Deliverer {
    /// Gives a packet the mark that the path has set around it, or drops it.
    fn carry_over<'b>(&self, ecn: u8, mut received: Received<'b>) -> Received<'b> {
        let outer = Ecn::from_bits(ecn);
        if outer != Ecn::NotEct
            && let Delivery::Ip(packet) = &mut received.delivery
            && !marks::carry_over(outer, packet)
        {
            self.out.ports.shared.counters.dropped(DropReason::CongestionUnheard);
            received.delivery = Delivery::Nothing;
        }
        received
    }

    fn receive<'b>(&mut self, now: Now, from: Path, received: Received<'b>, joiner: &mut Joiners<'b>) {
        if let Some(notice) = received.notice {
            report(
                &self.out.ports,
                &self.out.control.reports,
                Report::Notice { socket: from.socket, notice },
            );
        }
        match received.delivery {
            Delivery::Piece(piece) => {
                // What came before it goes first.
                self.out.write(joiner);
                self.receive_piece(now, from, piece);
            }
            Delivery::Packed(bundle) => {
                self.out.write(joiner);
                let Self { inbound, unpacked, out, .. } = self;
                receive_packed(now, from, &bundle, inbound, unpacked, out);
            }
            other => self.out.deliver(now, from, other, joiner),
        }
    }

    fn receive_piece(&mut self, now: Now, from: Path, piece: &[u8]) {
        let Some(whole) = self.pieces.handle_piece(now.monotonic, piece) else { return };
        // It lies in a buffer of its own, so it is written before the next one comes.
        let mut joiner = Joiners::new(false);
        match self.inbound.handle_whole(whole) {
            Delivery::Packed(bundle) => {
                receive_packed(now, from, &bundle, &mut self.inbound, &mut self.unpacked, &mut self.out);
            }
            other => self.out.deliver(now, from, other, &mut joiner),
        }
        self.out.write(&mut joiner);
    }

    /// Delivers what was made again of lost packets.
    fn deliver_restored(&mut self, now: Now, from: Path) {
        if !self.inbound.has_restored() {
            return;
        }
        let mut restored = [0; PACKET_LEN_MAX];
        while let Some(delivery) = self.inbound.poll_restored(now.monotonic, &mut restored) {
            let mut joiner = Joiners::new(false);
            match delivery {
                Delivery::Packed(bundle) => {
                    receive_packed(now, from, &bundle, &mut self.inbound, &mut self.unpacked, &mut self.out);
                }
                other => self.out.deliver(now, from, other, &mut joiner),
            }
            self.out.write(&mut joiner);
        }
    }

    /// Has the far end told how its protected packets arrive, when it is time.
    fn report_protection(&mut self, now: Now) {
        while let Some(arrival) = self.inbound.poll_protection_report(now.monotonic) {
            report(&self.out.ports, &self.out.control.reports, Report::Protection(arrival));
        }
    }
}

/// Each packet lies where the next one will, so it is written before that comes.
fn receive_packed(
    now: Now,
    from: Path,
    bundle: &Bundle<'_>,
    inbound: &mut Inbound,
    unpacked: &mut [u8],
    out: &mut Out,
) {
    inbound.unpack(now.monotonic, bundle, unpacked, |packet| {
        let mut joiner = Joiners::new(false);
        out.deliver(now, from, Delivery::Ip(packet), &mut joiner);
        out.write(&mut joiner);
    });
    while let Some(feedback) = inbound.poll_packing_feedback(now.monotonic) {
        out.send_feedback(feedback);
    }
}

impl Out {
    fn deliver<'b>(&mut self, now: Now, from: Path, delivery: Delivery<'b>, joiner: &mut Joiners<'b>) {
        let ports = &self.ports;
        match delivery {
            // Of pieces and bundles only whole packets come here.
            Delivery::Nothing | Delivery::Piece(_) | Delivery::Packed(_) => {}
            Delivery::Ip(packet) => {
                self.calls.handle_packet(now, packet);
                if let Err(packet) = joiner.routed.push(packet) {
                    self.write_routed(&mut joiner.routed);
                    // An empty joiner takes everything.
                    let _ = joiner.routed.push(packet);
                }
            }
            Delivery::Lan(frame) => self.deliver_frame(now, frame, &mut joiner.lan),
            Delivery::Streams(packet) => {
                if ports.streams.deliver(packet).is_err() {
                    ports.shared.counters.dropped(DropReason::ChannelQueueFull);
                }
                self.for_streams += 1;
            }
            Delivery::Associated(message) => {
                let message = message.to_vec();
                report(ports, &self.control.reports, Report::Associated { arrived: now, from, message });
            }
            Delivery::Handshake(datagram) => {
                let handshake = Handshake { from, datagram: datagram.to_vec() };
                if self.control.handshakes.try_send(handshake).is_err() {
                    ports.shared.counters.dropped(DropReason::ControlQueueFull);
                }
            }
        }
    }

    /// Has the sending thread tell the far end what arrived of packed calls. What is lost of it is said again with the next.
    fn send_feedback(&self, feedback: Feedback) {
        let mut payload = Vec::new();
        associated::Message::Packing(feedback).emit(&mut payload);
        let entry = LabelStackEntry::only(Label::ASSOCIATED, MplsTrafficClass::CONTROL);
        if self.ports.outgoing.push(Outgoing::Labelled { entry, payload }).is_err() {
            self.ports.shared.counters.dropped(DropReason::ControlQueueFull);
        } else if let Some(first) = self.ports.senders.first() {
            first.wake();
        }
    }

    /// Looks at all calls, if their time has come, and shows what is known of them.
    fn watch_calls(&mut self, now: Now) {
        if self.calls.poll_timeout().is_some_and(|turn| turn <= now.monotonic) {
            self.calls.handle_timeout(now, self.ports.shared.one_way_delay());
            self.ports.calls.incoming.store(Arc::new(self.calls.snapshot()));
        }
    }

    /// Gives a frame to the device in the office's bridge, if it belongs there.
    fn deliver_frame<'b>(&mut self, now: Now, frame: &'b mut [u8], joiner: &mut Joiner<'b>) {
        let Some(lan) = &self.ports.lan else {
            return self.ports.shared.counters.dropped(DropReason::NoDevice);
        };
        let to_control = (&*self.ports, &self.control.reports);
        let Some(link_len) = lan.admit(now.monotonic, frame, to_control) else { return };
        let (link, packet) = frame.split_at_mut(link_len);
        if is_udp(packet) {
            self.calls.handle_packet(now, packet);
        }
        if let Err(packet) = joiner.push_frame(link, packet) {
            self.write_lan(joiner);
            let _ = joiner.push_frame(link, packet);
        }
    }

    /// Writes what was joined to the devices.
    fn write(&self, joiner: &mut Joiners<'_>) {
        self.write_routed(&mut joiner.routed);
        self.write_lan(&mut joiner.lan);
    }

    /// Writes what was joined to the device, by the queue that all packets of the flow go by: so what comes back comes out there.
    fn write_routed(&self, joiner: &mut Joiner<'_>) {
        let count = joiner.count();
        let written = joiner.flush(|parts| {
            let device = self.ports.device.as_ref()?;
            // The offload header is the first part.
            let flow = parts.get(1).map_or(0, |packet| flow::hash(packet));
            let queues = device.queues();
            queues[flow as usize % queues.len()].write_parts(parts).ok()
        });
        self.count_unwritten(written.flatten(), count);
    }

    fn write_lan(&self, joiner: &mut Joiner<'_>) {
        let count = joiner.count();
        let written = joiner.flush(|parts| self.ports.lan.as_ref()?.write(parts).ok());
        self.count_unwritten(written.flatten(), count);
    }

    fn count_unwritten(&self, written: Option<()>, count: usize) {
        if written.is_none() {
            for _ in 0..count {
                self.ports.shared.counters.dropped(DropReason::NoDevice);
            }
        }
    }
}
