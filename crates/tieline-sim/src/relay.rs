//! A bad path between UDP addresses of this machine, where no namespaces may be made: one end, or both, send to the relay
//! instead of to each other.
//!
//! Whoever sends to [`Relay::address`] reaches the target, each by a port and a path of its own, so the target tells senders
//! apart and its answers find back. Only the UDP payload passes; [`PathModel::overhead`] stands in for the headers.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use tieline_io::udp::{ReceiveBuffers, UdpError, UdpSocket};
use tieline_io::wait::{Readable, WATCHED_MAX, Waker, wait_readable};

use crate::path::{Path, PathCounters, PathModel};
use crate::worker::{Turn, Worker};

/// Senders at once; a further one takes the place of the one longest silent.
pub const SENDERS_MAX: usize = 8;
const _: () = assert!(SENDERS_MAX + OWN_PLACES <= WATCHED_MAX);

/// Places of a wait: the waker's, the front's, then the senders'.
const FRONT_PLACE: usize = 1;
const OWN_PLACES: usize = 2;

/// A running relay; dropping it closes its ports.
pub struct Relay {
    address: SocketAddr,
    worker: Worker<Switch>,
}

/// What became of the datagrams of all senders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// Towards the target.
    pub inwards: PathCounters,
    /// Back to the senders.
    pub outwards: PathCounters,
    /// Datagrams that a socket did not take, or that came to a sender's port from others than the target.
    pub refused: u64,
}

impl Relay {
    /// Opens a port on `front` (loopback, port 0 for any) whose datagrams reach `target` by way of `model`, both ways alike.
    ///
    /// # Errors
    ///
    /// What the system said about the sockets or the thread.
    pub fn spawn(
        front: SocketAddr,
        target: SocketAddr,
        model: PathModel,
        seed: u64,
    ) -> Result<Self, UdpError> {
        let other = |source| UdpError::Other { address: front, source };
        let socket = UdpSocket::bind(front)?;
        let address = socket.local_addr().map_err(other)?;
        let table = Table {
            target,
            model,
            seed,
            senders: Vec::new(),
            senders_seen: 0,
            is_cut: false,
            gone: RelayCounters::default(),
        };
        let switch = Switch { front: socket, buffers: ReceiveBuffers::default(), table };
        Ok(Self { address, worker: Worker::spawn("relay", switch).map_err(other)? })
    }

    /// Where to send instead of to the target.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes both directions like `model`, from now on.
    pub fn set_path(&self, model: PathModel) {
        self.worker.ask(|switch| {
            switch.table.paths_mut().for_each(|path| path.set_model(model.clone()));
            switch.table.model = model;
        });
    }

    /// Cuts the path: what is sent or would arrive from now on is lost.
    pub fn cut(&self) {
        self.worker.ask(|switch| {
            switch.deliver();
            switch.table.is_cut = true;
            switch.table.paths_mut().for_each(Path::cut);
        });
    }

    /// Joins a cut path again.
    pub fn restore(&self) {
        self.worker.ask(|switch| {
            switch.table.is_cut = false;
            switch.table.paths_mut().for_each(Path::restore);
        });
    }

    /// From now on the target sees every sender at another address, as after a NAT forgot; what is on its way to the old ones
    /// is lost.
    pub fn readdress(&self) {
        self.worker.ask(|switch| while switch.table.bury(0).is_some() {});
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counters(&self) -> RelayCounters {
        self.worker.ask(|switch| switch.table.senders.iter().fold(switch.table.gone, RelayCounters::with))
    }
}

impl RelayCounters {
    fn with(self, sender: &Sender) -> Self {
        Self {
            inwards: self.inwards + sender.inwards.counters(),
            outwards: self.outwards + sender.outwards.counters(),
            refused: self.refused,
        }
    }
}

/// The thread's own state.
struct Switch {
    front: UdpSocket,
    buffers: ReceiveBuffers,
    table: Table,
}

/// The senders, and what they share.
struct Table {
    target: SocketAddr,
    model: PathModel,
    seed: u64,
    senders: Vec<Sender>,
    senders_seen: u64,
    is_cut: bool,
    /// Counts of senders that are gone, and what was refused.
    gone: RelayCounters,
}

/// Somebody who sent to the front.
struct Sender {
    address: SocketAddr,
    /// Its port towards the target.
    socket: UdpSocket,
    inwards: Path<Vec<u8>>,
    outwards: Path<Vec<u8>>,
    last_heard: Instant,
}

impl Turn for Switch {
    fn turn(&mut self, waker: &Waker) {
        self.deliver();
        let readable = self.sleep(waker);
        let now = Instant::now();
        // The senders first: the front may change their places.
        for place in 0..self.table.senders.len() {
            if readable.contains(OWN_PLACES + place) {
                self.collect_answers(now, place);
            }
        }
        if readable.contains(FRONT_PLACE) {
            self.collect_front(now);
        }
    }
}

impl Switch {
    fn sleep(&self, waker: &Waker) -> Readable {
        let senders = &self.table.senders;
        let paths = senders.iter().flat_map(|sender| [&sender.inwards, &sender.outwards]);
        let timeout = paths.filter_map(Path::poll_timeout).min();
        let limit = timeout.map(|at| at.saturating_duration_since(Instant::now()));
        let mut descriptors: [BorrowedFd<'_>; WATCHED_MAX] = [waker.as_fd(); WATCHED_MAX];
        descriptors[FRONT_PLACE] = self.front.as_fd();
        for (slot, sender) in descriptors[OWN_PLACES..].iter_mut().zip(senders) {
            *slot = sender.socket.as_fd();
        }
        // Fails only for descriptors that are not open, and these are ours.
        wait_readable(&descriptors[..OWN_PLACES + senders.len()], limit).unwrap_or_default()
    }

    fn collect_answers(&mut self, now: Instant, place: usize) {
        let sender = &mut self.table.senders[place];
        let Ok(batch) = sender.socket.recv_batch(&mut self.buffers) else { return };
        for datagram in batch {
            if datagram.from == self.table.target {
                sender.outwards.handle_datagram(now, datagram.octets.to_vec());
            } else {
                self.table.gone.refused += 1;
            }
        }
    }

    fn collect_front(&mut self, now: Instant) {
        let Ok(batch) = self.front.recv_batch(&mut self.buffers) else { return };
        for datagram in batch {
            match self.table.sender(now, datagram.from) {
                Ok(sender) => sender.inwards.handle_datagram(now, datagram.octets.to_vec()),
                Err(_) => self.table.gone.refused += 1,
            }
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        let Table { senders, target, gone, .. } = &mut self.table;
        for sender in senders {
            while let Some(datagram) = sender.inwards.poll_datagram(now) {
                gone.refused += u64::from(sender.socket.send_to(&datagram, *target).is_err());
            }
            while let Some(datagram) = sender.outwards.poll_datagram(now) {
                gone.refused += u64::from(self.front.send_to(&datagram, sender.address).is_err());
            }
        }
    }
}

impl Table {
    /// The sender at `address`, a new one if it has not sent before.
    fn sender(&mut self, now: Instant, address: SocketAddr) -> Result<&mut Sender, UdpError> {
        let place = match self.senders.iter().position(|sender| sender.address == address) {
            Some(place) => place,
            None => self.add(now, address)?,
        };
        let sender = &mut self.senders[place];
        sender.last_heard = now;
        Ok(sender)
    }

    fn add(&mut self, now: Instant, address: SocketAddr) -> Result<usize, UdpError> {
        let socket = UdpSocket::bind(SocketAddr::new(self.target.ip(), 0))?;
        if self.senders.len() >= SENDERS_MAX {
            let longest_silent = (0..self.senders.len()).min_by_key(|place| self.senders[*place].last_heard);
            longest_silent.and_then(|place| self.bury(place));
        }
        let seed = self.seed.wrapping_add(self.senders_seen * 2);
        self.senders_seen += 1;
        let path = |seed| {
            let mut path = Path::new(self.model.clone(), seed, now);
            if self.is_cut {
                path.cut();
            }
            path
        };
        let (inwards, outwards) = (path(seed), path(seed.wrapping_add(1)));
        self.senders.push(Sender { address, socket, inwards, outwards, last_heard: now });
        Ok(self.senders.len() - 1)
    }

    /// Takes a sender away and keeps its counts.
    fn bury(&mut self, place: usize) -> Option<()> {
        let sender = (place < self.senders.len()).then(|| self.senders.swap_remove(place))?;
        self.gone = self.gone.with(&sender);
        Some(())
    }

    fn paths_mut(&mut self) -> impl Iterator<Item = &mut Path<Vec<u8>>> {
        self.senders.iter_mut().flat_map(|sender| [&mut sender.inwards, &mut sender.outwards])
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Socket;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn socket() -> Socket {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }

    fn relay(target: &Socket, model: PathModel) -> Relay {
        Relay::spawn("127.0.0.1:0".parse().unwrap(), target.local_addr().unwrap(), model, 1).unwrap()
    }

    fn receive(socket: &Socket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (length, from) = socket.recv_from(&mut buffer).expect("a datagram in time");
        (buffer[..length].to_vec(), from)
    }

    #[test]
    fn senders_reach_the_target_each_at_an_address_of_its_own_and_are_answered() {
        let (target, one, two) = (socket(), socket(), socket());
        let relay = relay(&target, PathModel::default());
        one.send_to(b"one", relay.address()).unwrap();
        let (payload, from_one) = receive(&target);
        assert_eq!(payload, b"one");
        two.send_to(b"two", relay.address()).unwrap();
        let (payload, from_two) = receive(&target);
        assert_eq!(payload, b"two");
        assert_ne!(from_one, from_two);
        target.send_to(b"to one", from_one).unwrap();
        target.send_to(b"to two", from_two).unwrap();
        assert_eq!(receive(&one), (b"to one".to_vec(), relay.address()));
        assert_eq!(receive(&two), (b"to two".to_vec(), relay.address()));
    }

    #[test]
    fn datagrams_take_at_least_the_modelled_delay() {
        let (target, sender) = (socket(), socket());
        let relay = relay(&target, PathModel { delay: Duration::from_millis(15), ..PathModel::default() });
        let begin = Instant::now();
        sender.send_to(b"there", relay.address()).unwrap();
        let (_, from) = receive(&target);
        target.send_to(b"back", from).unwrap();
        receive(&sender);
        assert!(begin.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_cut_relay_loses_and_a_restored_one_carries() {
        let (target, sender) = (socket(), socket());
        let relay = relay(&target, PathModel::default());
        sender.send_to(b"before", relay.address()).unwrap();
        assert_eq!(receive(&target).0, b"before");
        relay.cut();
        sender.send_to(b"during", relay.address()).unwrap();
        let newcomer = socket();
        newcomer.send_to(b"during", relay.address()).unwrap();
        let begin = Instant::now();
        while relay.counters().inwards.cut < 2 {
            assert!(begin.elapsed() < LIMIT, "{:?}", relay.counters());
        }
        relay.restore();
        sender.send_to(b"after", relay.address()).unwrap();
        assert_eq!(receive(&target).0, b"after");
    }

    #[test]
    fn after_a_change_of_address_the_target_sees_the_sender_elsewhere() {
        let (target, sender) = (socket(), socket());
        let relay = relay(&target, PathModel::default());
        sender.send_to(b"before", relay.address()).unwrap();
        let (_, before) = receive(&target);
        relay.readdress();
        sender.send_to(b"after", relay.address()).unwrap();
        let (_, after) = receive(&target);
        assert_ne!(before, after);
        assert_eq!(relay.counters().inwards.delivered, 2);
    }

    #[test]
    fn an_answer_from_another_than_the_target_is_refused() {
        let (target, sender, stranger) = (socket(), socket(), socket());
        let relay = relay(&target, PathModel::default());
        sender.send_to(b"hello", relay.address()).unwrap();
        let (_, port) = receive(&target);
        stranger.send_to(b"forged", port).unwrap();
        target.send_to(b"real", port).unwrap();
        assert_eq!(receive(&sender).0, b"real");
        assert_eq!(relay.counters().refused, 1);
    }

    #[test]
    fn one_sender_too_many_takes_the_place_of_the_longest_silent() {
        let target = socket();
        let relay = relay(&target, PathModel::default());
        let senders: Vec<Socket> = (0..=SENDERS_MAX).map(|_| socket()).collect();
        let ports: Vec<SocketAddr> = senders
            .iter()
            .map(|sender| {
                sender.send_to(b"x", relay.address()).unwrap();
                receive(&target).1
            })
            .collect();
        senders[1].send_to(b"still here", relay.address()).unwrap();
        assert_eq!(receive(&target).1, ports[1]);
        senders[0].send_to(b"again", relay.address()).unwrap();
        assert_ne!(receive(&target).1, ports[0]);
    }
}
