//! Two whole ends of a line on virtual time, in one thread, over a bad path: the same code that a node runs, without its clock,
//! sockets and threads. The same seed and the same calls give the same octets.
//!
//! ```text
//!   A ──▶ path ──▶ (NAT of B) ──▶ B          every datagram goes through one of two [`Path`]s;
//!   A ◀── path ◀── (NAT of B) ◀── B          who is at the address it is sent to when it arrives, gets it
//! ```
//!
//! An end is a machine: it has an address that may change, a clock that may be wrong, a process that may be killed, and a
//! memory of what a node writes to its disk. [`Side::Twin`] is a second machine with B's key. Whoever sits on the path is a
//! `stranger`: it has no key, but it can repeat, change and invent.
//!
//! Packets are numbered. That none arrives twice, altered, or without having been sent is checked with every arrival.

mod end;
mod ledger;
mod process;
mod stranger;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tieline_line::Event;
use tieline_seal::{InvitationSecret, PresharedKey, PrivateKey};

use self::end::End;
pub use self::end::{Kind, Memory, Setup};
use self::ledger::Ledger;
pub use self::process::MTU;
use self::process::Output;
use self::stranger::Tap;
use crate::nat::{Nat, NatConfig};
use crate::path::{Carried, Path, PathModel};

/// Events at one moment after which time must have gone on: more means that the ends keep each other busy without end.
const EVENTS_AT_ONCE_MAX: usize = 20_000;

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// One end.
    A,
    /// The other end.
    B,
    /// A second machine with the key of [`Side::B`].
    Twin,
}

impl Side {
    /// The two ends of a line.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];
    const ALL: [Self; 3] = [Self::A, Self::B, Self::Twin];

    /// The end at the far side.
    #[must_use]
    pub fn far(self) -> Self {
        if self.is_a() { Self::B } else { Self::A }
    }

    fn is_a(self) -> bool {
        self == Self::A
    }

    /// A host in the office of this end.
    #[must_use]
    pub fn host(self) -> Ipv4Addr {
        if self.is_a() { Ipv4Addr::new(10, 1, 0, 7) } else { Ipv4Addr::new(10, 2, 0, 7) }
    }

    /// The first address of this end's machine.
    #[must_use]
    pub fn home(self) -> SocketAddr {
        let ip = match self {
            Self::A => [192, 0, 2, 1],
            Self::B => [198, 51, 100, 1],
            Self::Twin => [203, 0, 113, 9],
        };
        (ip, 51820).into()
    }
}

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The source, as it is seen outside.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// What it carries.
    pub octets: Vec<u8>,
}

impl Carried for Datagram {
    fn octet_count(&self) -> usize {
        self.octets.octet_count()
    }

    fn bit_count(&self) -> usize {
        self.octets.bit_count()
    }

    fn flip_bit(&mut self, bit: usize) {
        self.octets.flip_bit(bit);
    }
}

/// Two ends, perhaps a third machine, and the path between them.
pub struct Ends {
    start: Instant,
    now: Instant,
    rng: ChaCha8Rng,
    machines: [End; 3],
    /// Towards A, and away from it.
    paths: [Path<Datagram>; 2],
    ledger: Ledger,
    tap: Tap,
    traffic: [Option<Traffic>; 3],
    /// Events at the present moment.
    at_once: usize,
}

struct Traffic {
    every: Duration,
    next: Instant,
}

impl Ends {
    /// Two tielines that know each other's key and address, not started yet, with `model` in both directions.
    #[must_use]
    pub fn new(seed: u64, model: &PathModel) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut key = || {
            let mut octets = [0; 32];
            rng.fill_bytes(&mut octets);
            PrivateKey::from_bytes(octets)
        };
        let (a, b) = (key(), key());
        let (public_a, public_b) = (a.public_key(), b.public_key());
        let mut octets = [0; 32];
        rng.fill_bytes(&mut octets);
        let preshared_key = PresharedKey::from_bytes(octets);
        // Only differences of instants matter, so where they begin changes nothing.
        let start = Instant::now();
        let machine = |side: Side, private_key: &PrivateKey, peer| {
            let known = tieline_seal::Peer::Known {
                public_key: peer,
                preshared_key: preshared_key.clone(),
                proof: None,
            };
            End::new(side, Setup::new(private_key.clone(), known, side.far().home()))
        };
        let machines = [
            machine(Side::A, &a, public_b),
            machine(Side::B, &b, public_a),
            machine(Side::Twin, &b, public_a),
        ];
        let paths = [rng.next_u64(), rng.next_u64()].map(|seed| Path::new(model.clone(), seed, start));
        Self {
            start,
            now: start,
            rng,
            machines,
            paths,
            ledger: Ledger::default(),
            tap: Tap::default(),
            traffic: [None, None, None],
            at_once: 0,
        }
    }

    /// Two tielines as [`Self::new`], both started, of which each has heard the other's hello.
    ///
    /// # Panics
    ///
    /// If that takes more than a minute.
    #[must_use]
    pub fn connected(seed: u64, model: &PathModel) -> Self {
        let mut ends = Self::new(seed, model);
        ends.start(Side::A);
        ends.start(Side::B);
        let known = |ends: &Self, side| {
            ends.far_end(side).is_some_and(|far| matches!(far, tieline_line::greeting::FarEnd::Tieline(_)))
        };
        let up =
            ends.run_until(Duration::from_secs(60), |ends| Side::BOTH.iter().all(|side| known(ends, *side)));
        up.expect("the ends find each other");
        ends
    }

    /// What makes the process of an end, from its next start on.
    pub fn setup(&mut self, side: Side) -> &mut Setup {
        &mut self.end(side).setup
    }

    /// B has invited whoever proves `secret`; A has the invitation. For ends that are not started yet.
    pub fn invite(&mut self, secret: &InvitationSecret) {
        let public_key = self.end(Side::B).setup.private_key.public_key();
        self.end(Side::A).setup.peer = tieline_seal::Peer::Known {
            public_key,
            preshared_key: secret.preshared_key(),
            proof: Some(secret.clone()),
        };
        self.end(Side::B).setup.peer = tieline_seal::Peer::Invited { secret: secret.clone() };
        self.end(Side::B).setup.dials = None;
    }

    /// Puts an end behind a NAT. What comes to its address from now on must have been asked for.
    pub fn set_nat(&mut self, side: Side, config: NatConfig) {
        let seed = self.rng.next_u64();
        let end = self.end(side);
        end.nat = Some(Nat::new(config, seed));
    }

    /// The NAT of an end forgets all it knows.
    pub fn forget_nat(&mut self, side: Side) {
        if let Some(nat) = &mut self.end(side).nat {
            nat.forget();
        }
    }

    /// Starts the process of an end with what it remembers.
    ///
    /// # Panics
    ///
    /// If it runs already.
    pub fn start(&mut self, side: Side) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let now = self.now_at(side);
        let out = self.end(side).start(now, seed);
        self.take(side, out);
    }

    /// Ends the process of an end as kill -9 does: nothing more is sent and nothing more is remembered.
    pub fn kill(&mut self, side: Side) {
        self.end(side).process = None;
    }

    /// Kills and starts at once.
    pub fn restart(&mut self, side: Side) {
        self.kill(side);
        self.start(side);
    }

    /// Whether an end runs.
    #[must_use]
    pub fn is_running(&self, side: Side) -> bool {
        self.of(side).process.is_some()
    }

    /// What an end's node has written to its disk.
    pub fn memory(&mut self, side: Side) -> &mut Memory {
        &mut self.end(side).memory
    }

    /// Gives an end's machine another address. Nobody is told.
    pub fn roam(&mut self, side: Side) {
        let host = self.rng.random_range(2..250);
        let port = self.rng.random_range(1024..u16::MAX);
        let end = self.end(side);
        let IpAddr::V4(ip) = end.address.ip() else { return };
        let [a, b, c, _] = ip.octets();
        end.address = ([a, b, c, host], port).into();
    }

    /// Gives an end's machine this address.
    pub fn set_address(&mut self, side: Side, address: SocketAddr) {
        self.end(side).address = address;
    }

    /// The address of an end's machine.
    #[must_use]
    pub fn address(&self, side: Side) -> SocketAddr {
        self.of(side).address
    }

    /// Sets what an end's wall clock is wrong by, in seconds.
    pub fn set_clock_error(&mut self, side: Side, seconds: i64) {
        self.end(side).clock_error = seconds;
    }

    /// Lets an end's packet path lose its reports to control, or not.
    pub fn set_hears_notices(&mut self, side: Side, hears: bool) {
        if let Some(end::Process::Tieline(tieline)) = &mut self.end(side).process {
            tieline.hears_notices = hears;
        }
    }

    /// Cuts the path both ways.
    pub fn cut(&mut self) {
        self.paths.iter_mut().for_each(Path::cut);
    }

    /// Cuts what goes towards `side` only.
    pub fn cut_towards(&mut self, side: Side) {
        self.paths[path_towards(side)].cut();
    }

    /// Joins the path again.
    pub fn restore(&mut self) {
        self.paths.iter_mut().for_each(Path::restore);
    }

    /// Changes what the path is like, both ways.
    pub fn set_model(&mut self, model: &PathModel) {
        self.paths.iter_mut().for_each(|path| path.set_model(model.clone()));
    }

    /// Time since the start of the run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Sends a numbered packet out of the office of `side`, and returns its number.
    pub fn send(&mut self, side: Side) -> u64 {
        let (number, packet) = self.ledger.next_packet(side);
        self.send_octets(side, &packet);
        number
    }

    /// Hands any octets to the sending half of `side`. A plain WireGuard peer seals them as they are.
    pub fn send_octets(&mut self, side: Side, packet: &[u8]) {
        let now = self.now_at(side);
        let mut out = Output::default();
        if let Some(process) = &mut self.end(side).process {
            process.send(now, packet, &mut out);
        }
        self.take(side, out);
    }

    /// Sends a numbered packet every so often from now on, or never.
    pub fn set_traffic(&mut self, side: Side, every: Option<Duration>) {
        let now = self.now;
        self.traffic[side as usize] = every.map(|every| Traffic { every, next: now });
    }

    /// When a packet arrived, since the start of the run.
    #[must_use]
    pub fn arrival(&self, number: u64) -> Option<Duration> {
        self.ledger.arrival(number)
    }

    /// How many of the packets sent by `side` have not arrived.
    #[must_use]
    pub fn missing(&self, side: Side) -> usize {
        self.ledger.missing(side)
    }

    /// Whether a packet numbered `first` or higher has arrived at `side`.
    #[must_use]
    pub fn reached_since(&self, side: Side, first: u64) -> bool {
        self.ledger.reached_since(side, first)
    }

    /// How many packets were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.ledger.sent()
    }

    /// Numbers of the packets that came out at `side` and were not asked for before, in their order.
    pub fn take_received(&mut self, side: Side) -> Vec<u64> {
        std::mem::take(&mut self.end(side).received)
    }

    /// All that `side` has reported and was not asked for before, with the time since the start of the run.
    pub fn take_events(&mut self, side: Side) -> Vec<(Duration, Event)> {
        std::mem::take(&mut self.end(side).events)
    }

    /// Lets time pass, with everything that happens in it.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time pass until `is_done`, and returns how long that took; `None` if `patience` is over before.
    pub fn run_until(
        &mut self,
        patience: Duration,
        mut is_done: impl FnMut(&mut Self) -> bool,
    ) -> Option<Duration> {
        let (begin, until) = (self.now, self.now + patience);
        loop {
            if is_done(self) {
                return Some(self.now - begin);
            }
            if !self.step(until) {
                return None;
            }
        }
    }

    /// Goes on to the next thing that happens and does it; false if there is none before `until`, which it is then.
    pub fn step(&mut self, until: Instant) -> bool {
        let next = self.next_event();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        if next > self.now {
            self.at_once = 0;
        }
        self.at_once += 1;
        assert!(self.at_once < EVENTS_AT_ONCE_MAX, "time stands still at {:?}", self.elapsed());
        self.now = next.max(self.now);
        self.deliver_due();
        self.fire_due();
        self.send_due();
        true
    }

    fn next_event(&self) -> Option<Instant> {
        let timers = Side::ALL.iter().filter_map(|side| self.of(*side).poll_timeout(self.now_at(*side)));
        let arrivals = self.paths.iter().filter_map(Path::poll_timeout);
        let traffic = self.traffic.iter().flatten().map(|traffic| traffic.next);
        timers.chain(arrivals).chain(traffic).min()
    }

    fn deliver_due(&mut self) {
        for index in 0..self.paths.len() {
            while let Some(datagram) = self.paths[index].poll_datagram(self.now) {
                self.tap.note(&datagram);
                self.arrive(datagram);
            }
        }
    }

    /// Gives a datagram to whoever is at its address, if anybody is.
    fn arrive(&mut self, mut datagram: Datagram) {
        let now = self.now;
        let found = Side::ALL.into_iter().find(|side| self.end(*side).is_at(now, &datagram));
        let Some(side) = found else { return };
        let now = self.now_at(side);
        let mut out = Output::default();
        if let Some(process) = &mut self.end(side).process {
            process.receive(now, datagram.from, &mut datagram.octets, &mut out);
        }
        self.take(side, out);
    }

    fn fire_due(&mut self) {
        for side in Side::ALL {
            let now = self.now_at(side);
            let peer = self.of(side).setup.dials.map(|peer| self.outside(peer));
            let out = self.end(side).handle_timeout(now, peer);
            self.take(side, out);
        }
    }

    /// What the name of a machine resolves to.
    fn outside(&self, address: SocketAddr) -> SocketAddr {
        let is_home = |side: &&Side| side.home() == address;
        Side::ALL.iter().find(is_home).map_or(address, |side| self.of(*side).address)
    }

    fn send_due(&mut self) {
        for side in Side::ALL {
            let now = self.now;
            let due = self.traffic[side as usize].as_mut().filter(|traffic| traffic.next <= now);
            if let Some(traffic) = due {
                traffic.next += traffic.every;
                self.send(side);
            }
        }
    }

    /// Does with the output of an end what its shell would do.
    fn take(&mut self, side: Side, out: Output) {
        let elapsed = self.elapsed();
        for packet in out.packets {
            let number = self.ledger.note_arrival(side, elapsed, &packet);
            self.end(side).received.push(number);
        }
        assert!(out.streams.is_empty(), "nobody sent anything under the label of streams");
        for event in out.events {
            self.end(side).on_event(elapsed, event);
        }
        let now = self.now_at(side);
        self.end(side).remember(now, out.timestamp);
        for (to, octets) in out.datagrams {
            let now = self.now;
            if let Some(from) = self.end(side).source(now, to) {
                self.launch(side, Datagram { from, to, octets });
            }
        }
    }

    fn launch(&mut self, from: Side, datagram: Datagram) {
        self.paths[path_towards(from.far())].handle_datagram(self.now, datagram);
    }

    fn now_at(&self, side: Side) -> tieline_wire::time::Now {
        self.of(side).now(self.now, self.start)
    }

    fn of(&self, side: Side) -> &End {
        &self.machines[side as usize]
    }

    fn end(&mut self, side: Side) -> &mut End {
        &mut self.machines[side as usize]
    }
}

fn path_towards(side: Side) -> usize {
    usize::from(!side.is_a())
}
