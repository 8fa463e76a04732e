//! Connections from one office to another over one line, on virtual time: QUIC as it is, only the clock and the wire are models.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use noq_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event, FourTuple,
    StreamEvent, StreamId, congestion::CubicConfig,
};
use tieline_sim::path::{Carried, Path, PathModel};

use super::super::Limits;
use crate::streams::{
    channel::{far_address, local_address},
    identity::Identity,
    lanes::BLOCK_LEN,
    transport_config,
};

/// The largest packet of label 16 on a wire of 1500 octets.
const PACKET_LEN_MAX: u16 = 1436;
/// What the sealed line adds to it.
const WIRE_OVERHEAD: usize = 64;
/// A call, as the bottleneck sees it.
const CALL_BYTES: usize = 200;
const CALL_EACH: Duration = Duration::from_millis(20);

/// Who decides how fast a connection sends.
pub(super) enum Congestion {
    Ours(Limits),
    Cubic,
}

/// The line, the connections over it, and a call.
pub(super) struct World {
    now: Instant,
    there: Path<Parcel>,
    back: Path<Parcel>,
    flows: Vec<Flow>,
    next_call: Instant,
    /// How long each packet of the call was in the queue.
    pub(super) calls: Vec<Duration>,
    measured_from: Instant,
    /// Offered to the line, and dropped in front of it, before the measurement.
    before: (u64, u64),
}

#[derive(Clone)]
struct Parcel {
    /// None: of the call, sent then.
    flow: Option<usize>,
    sent: Instant,
    octets: Vec<u8>,
}

impl Carried for Parcel {
    fn octet_count(&self) -> usize {
        self.octets.len()
    }

    fn bit_count(&self) -> usize {
        self.octets.bit_count()
    }

    fn flip_bit(&mut self, bit: usize) {
        self.octets.flip_bit(bit);
    }
}

struct Flow {
    sender: Party,
    receiver: Party,
    lane_count: u8,
    /// The streams, and what QUIC took for them.
    lanes: Vec<StreamId>,
    written: usize,
    /// The streams at the receiver, and what was read of them.
    came: Vec<StreamId>,
    read: usize,
    sends: bool,
    reads: bool,
    /// Read before the measurement.
    read_before: usize,
}

struct Party {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
}

impl World {
    /// A line like `model` there, and a perfect one of the same length back.
    pub(super) fn new(model: &PathModel, delay_back: Duration, seed: u64) -> Self {
        let now = Instant::now();
        let back = PathModel { delay: delay_back, ..PathModel::default() };
        let mut world = Self {
            now,
            there: Path::new(PathModel::default(), seed, now),
            back: Path::new(back, seed, now),
            flows: Vec::new(),
            next_call: now,
            calls: Vec::new(),
            measured_from: now,
            before: (0, 0),
        };
        world.set_model(model);
        world
    }

    pub(super) fn set_model(&mut self, model: &PathModel) {
        self.there.set_model(PathModel { overhead: WIRE_OVERHEAD, ..model.clone() });
    }

    /// A connection more, which sends as much as it may over one stream.
    pub(super) fn add(&mut self, congestion: Congestion) -> usize {
        self.add_with_lanes(congestion, 1)
    }

    /// The same over so many lanes, as a transfer of files has them.
    pub(super) fn add_with_lanes(&mut self, congestion: Congestion, lane_count: u8) -> usize {
        let seed = self.flows.len() as u8;
        let limits =
            if let Congestion::Ours(limits) = &congestion { limits.clone() } else { Limits::default() };
        let mut transport = transport_config(PACKET_LEN_MAX, &limits, false);
        if let Congestion::Cubic = congestion {
            transport.congestion_controller_factory(Arc::new(CubicConfig::default()));
        }
        let transport = Arc::new(transport);
        let (client, server) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let mut accepts = server.server_config(client.fingerprint()).unwrap();
        accepts.transport_config(Arc::clone(&transport));
        let mut connects = client.client_config(server.fingerprint()).unwrap();
        connects.transport_config(transport);
        let endpoint = |seed, accepts| {
            let mut config = EndpointConfig::default();
            config.rng_seed(Some([seed; 32]));
            Endpoint::new(Arc::new(config), accepts, true)
        };
        let mut sender = endpoint(2 * seed, None);
        let connection = sender.connect(self.now, connects, far_address(), "tieline").unwrap();
        let receiver = endpoint(2 * seed + 1, Some(Arc::new(accepts)));
        self.flows.push(Flow {
            sender: Party { endpoint: sender, connection: Some(connection) },
            receiver: Party { endpoint: receiver, connection: None },
            lane_count,
            lanes: Vec::new(),
            written: 0,
            came: Vec::new(),
            read: 0,
            sends: true,
            reads: true,
            read_before: 0,
        });
        self.flows.len() - 1
    }

    /// The application has nothing more to send, beyond what QUIC has already.
    pub(super) fn stop(&mut self, flow: usize) {
        self.flows[flow].sends = false;
    }

    pub(super) fn resume(&mut self, flow: usize) {
        self.flows[flow].sends = true;
    }

    /// Whether the far end reads what comes.
    pub(super) fn set_reading(&mut self, flow: usize, reads: bool) {
        self.flows[flow].reads = reads;
    }

    /// A message of the control stream.
    pub(super) fn say_a_little(&mut self, flow: usize) {
        self.flows[flow].write(&[0; 100]);
    }

    pub(super) fn cut(&mut self, is_cut: bool) {
        for path in [&mut self.there, &mut self.back] {
            if is_cut { path.cut() } else { path.restore() }
        }
    }

    /// As the line does after a cut.
    pub(super) fn wake_up(&mut self) {
        for flow in &mut self.flows {
            for party in [&mut flow.sender, &mut flow.receiver] {
                if let Some((_, connection)) = &mut party.connection {
                    connection.handle_network_change(None, self.now);
                }
            }
        }
    }

    /// Lets time go by.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.deliver();
            self.call();
            self.drive();
            let next = [self.there.poll_timeout(), self.back.poll_timeout(), Some(self.next_call)];
            let parties = self.flows.iter().flat_map(|flow| [&flow.sender, &flow.receiver]);
            let next = next.into_iter().chain(parties.map(Party::timeout)).flatten().min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                Some(_) | None => break,
            }
        }
        self.now = end;
    }

    pub(super) fn begin_measurement(&mut self) {
        self.measured_from = self.now;
        self.flows.iter_mut().for_each(|flow| flow.read_before = flow.read);
        let counters = self.there.counters();
        self.before = (counters.offered, counters.queue_full);
    }

    /// Mbit/s that were read of a connection since the measurement began.
    pub(super) fn rate(&self, flow: usize) -> f64 {
        let flow = &self.flows[flow];
        (flow.read - flow.read_before) as f64 * 8e-6 / (self.now - self.measured_from).as_secs_f64()
    }

    /// The rate during `time`.
    pub(super) fn measure(&mut self, flow: usize, time: Duration) -> f64 {
        self.begin_measurement();
        self.run(time);
        self.rate(flow)
    }

    /// The part of all packets since the measurement began that found the queue full.
    pub(super) fn dropped(&self) -> f64 {
        let counters = self.there.counters();
        (counters.queue_full - self.before.1) as f64 / (counters.offered - self.before.0) as f64
    }

    /// How long a packet of the call waited, at this quantile.
    pub(super) fn call_delay(&self, quantile: f64) -> Duration {
        let mut delays = self.calls.clone();
        delays.sort();
        delays[((delays.len() - 1) as f64 * quantile) as usize]
    }

    fn deliver(&mut self) {
        while let Some(parcel) = self.there.poll_datagram(self.now) {
            match parcel.flow {
                Some(flow) => self.flows[flow].receiver.receive(self.now, &parcel.octets),
                None => self.calls.push((self.now - parcel.sent).saturating_sub(self.there.model().delay)),
            }
        }
        while let Some(parcel) = self.back.poll_datagram(self.now) {
            let flow = parcel.flow.expect("the call is one-way");
            self.flows[flow].sender.receive(self.now, &parcel.octets);
        }
    }

    fn call(&mut self) {
        while self.next_call <= self.now {
            let parcel = Parcel { flow: None, sent: self.now, octets: vec![0; CALL_BYTES] };
            self.there.handle_datagram(self.now, parcel);
            self.next_call += CALL_EACH;
        }
    }

    fn drive(&mut self) {
        let now = self.now;
        for (number, flow) in self.flows.iter_mut().enumerate() {
            flow.write_and_read();
            let parcel = |octets: &[u8]| Parcel { flow: Some(number), sent: now, octets: octets.to_vec() };
            flow.sender.send(now, |octets| self.there.handle_datagram(now, parcel(octets)));
            flow.receiver.send(now, |octets| self.back.handle_datagram(now, parcel(octets)));
        }
    }
}

impl Flow {
    fn write_and_read(&mut self) {
        for event in self.sender.events() {
            if let Event::Connected = event {
                let (_, connection) = self.sender.connection.as_mut().unwrap();
                self.lanes =
                    (0..self.lane_count).map(|_| connection.streams().open(Dir::Uni).unwrap()).collect();
            }
        }
        while self.sends && self.write(&[0; 16 << 10]) > 0 {}
        for event in self.receiver.events() {
            if let Event::Stream(StreamEvent::Opened { dir }) = event {
                let (_, connection) = self.receiver.connection.as_mut().unwrap();
                self.came.extend(std::iter::from_fn(|| connection.streams().accept(dir)));
            }
        }
        while self.reads && self.read() > 0 {}
    }

    /// Octets that QUIC took.
    fn write(&mut self, octets: &[u8]) -> usize {
        let (lane, left) = self.turn(self.written);
        let (Some((_, connection)), Some(lane)) = (&mut self.sender.connection, self.lanes.get(lane)) else {
            return 0;
        };
        let octets = &octets[..left.min(octets.len())];
        let written = connection.send_stream(*lane).write(octets).unwrap_or(0);
        self.written += written;
        written
    }

    /// Octets that QUIC gave.
    fn read(&mut self) -> usize {
        let (lane, mut left) = self.turn(self.read);
        let (Some((_, connection)), Some(lane)) = (&mut self.receiver.connection, self.came.get(lane)) else {
            return 0;
        };
        let before = self.read;
        let mut lane = connection.recv_stream(*lane);
        let mut chunks = lane.read(true).unwrap();
        while let Ok(Some(chunk)) = chunks.next(left) {
            self.read += chunk.bytes.len();
            left -= chunk.bytes.len();
            if left == 0 {
                break;
            }
        }
        let _ = chunks.finalize();
        self.read - before
    }

    /// The lane whose turn it is after so many octets, and how many go there.
    fn turn(&self, octets: usize) -> (usize, usize) {
        (octets / BLOCK_LEN % usize::from(self.lane_count), BLOCK_LEN - octets % BLOCK_LEN)
    }
}

impl Party {
    fn receive(&mut self, now: Instant, octets: &[u8]) {
        let mut answer = Vec::new();
        let path = FourTuple::new(far_address(), Some(local_address().ip()));
        match self.endpoint.handle(now, path, None, octets.into(), &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.connection = Some(self.endpoint.accept(incoming, now, &mut answer, None).unwrap());
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    fn events(&mut self) -> Vec<Event> {
        let Some((_, connection)) = &mut self.connection else { return Vec::new() };
        let events: Vec<Event> = std::iter::from_fn(|| connection.poll()).collect();
        for event in &events {
            if let Event::ConnectionLost { reason } = event {
                panic!("the connection is lost: {reason}");
            }
        }
        events
    }

    fn timeout(&self) -> Option<Instant> {
        self.connection.as_ref().and_then(|(_, connection)| connection.poll_timeout())
    }

    fn send(&mut self, now: Instant, mut out: impl FnMut(&[u8])) {
        let Some((handle, connection)) = &mut self.connection else { return };
        if connection.poll_timeout().is_some_and(|due| due <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let mut packet = Vec::new();
        while connection.poll_transmit(now, NonZeroUsize::MIN, &mut packet).is_some() {
            out(&packet);
            packet.clear();
        }
    }
}
