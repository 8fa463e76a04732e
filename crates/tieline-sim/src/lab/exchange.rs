//! The internet between the parties of a lab: one thread that takes IP packets from each party's device, and puts each into
//! the device of the party whose address it bears, by way of a [`Path`] for every direction.
//!
//! It sleeps until a device has something, a packet is due to arrive, or somebody wants something of it.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use tieline_io::tun::{self, TunDevice};
use tieline_io::wait::{Readable, WATCHED_MAX, Waker, wait_readable};

use super::capture::Capture;
use super::packet::{End, IpPacket};
use crate::nat::Nat;
use crate::path::{Path, PathCounters, PathModel};
use crate::worker::Turn;

/// Parties of one lab.
pub const PARTIES_MAX: usize = 15;
/// One place of the wait is the waker's.
const _: () = assert!(PARTIES_MAX < WATCHED_MAX);

/// Packets taken from one device before the others have their turn.
const BATCH: usize = 64;

/// Octets of the largest packet that a device hands over.
const PACKET_BYTES_MAX: usize = 1 << 16;

/// Buffers kept for the next packets.
const SPARE_BUFFERS_MAX: usize = 1024;

/// How long a capture may hold back what a reader of its file waits for.
const CAPTURE_DELAY_MAX: Duration = Duration::from_millis(200);

/// What became of packets that no path counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabCounters {
    /// Not IP.
    pub malformed: u64,
    /// From an address that is not the party's: what an access provider filters (RFC 2827).
    pub foreign_source: u64,
    /// To an address that nobody has, multicast among them.
    pub no_such_address: u64,
    /// Refused by a NAT, or without the ports that a NAT goes by.
    pub refused_by_nat: u64,
    /// The party's device did not take it.
    pub not_taken: u64,
}

/// The thread's own state.
pub(super) struct Exchange {
    seed: u64,
    parties: Vec<Party>,
    /// From each party (row) to each other (column).
    paths: Vec<Vec<Path<IpPacket>>>,
    scratch: Box<[u8]>,
    spare: Vec<Vec<u8>>,
    capture: Option<Capture>,
    capture_flushed: Instant,
    pub(super) counters: LabCounters,
}

struct Party {
    device: TunDevice,
    addresses: Vec<IpAddr>,
    nat: Option<Nat>,
    is_cut: bool,
    /// Somebody removed the device inside.
    is_gone: bool,
}

impl Turn for Exchange {
    fn turn(&mut self, waker: &Waker) {
        self.deliver();
        let readable = self.sleep(waker);
        self.collect(readable);
    }
}

impl Exchange {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            parties: Vec::new(),
            paths: Vec::new(),
            scratch: vec![0; PACKET_BYTES_MAX].into_boxed_slice(),
            spare: Vec::new(),
            capture: None,
            capture_flushed: Instant::now(),
            counters: LabCounters::default(),
        }
    }

    /// Joins a party with perfect paths to all others; gives the device back if there is no place.
    pub(super) fn attach(&mut self, device: TunDevice, addresses: Vec<IpAddr>) -> Result<usize, TunDevice> {
        if self.parties.len() >= PARTIES_MAX {
            return Err(device);
        }
        let new = self.parties.len();
        self.parties.push(Party { device, addresses, nat: None, is_cut: false, is_gone: false });
        let now = Instant::now();
        let path = |from: usize, to: usize| {
            let number = (from * PARTIES_MAX + to) as u64;
            Path::new(PathModel::default(), self.seed.wrapping_add(number), now)
        };
        for (from, row) in self.paths.iter_mut().enumerate() {
            row.push(path(from, new));
        }
        self.paths.push((0..=new).map(|to| path(new, to)).collect());
        self.apply_cuts();
        Ok(new)
    }

    pub(super) fn set_model(&mut self, from: usize, to: usize, model: PathModel) {
        self.paths[from][to].set_model(model);
    }

    pub(super) fn path_counters(&self, from: usize, to: usize) -> PathCounters {
        self.paths[from][to].counters()
    }

    pub(super) fn set_cut(&mut self, party: usize, is_cut: bool) {
        // What was due before the cut arrives before it.
        self.deliver();
        self.parties[party].is_cut = is_cut;
        self.apply_cuts();
    }

    /// A path is cut if either of its ends is.
    fn apply_cuts(&mut self) {
        for (from, row) in self.paths.iter_mut().enumerate() {
            for (to, path) in row.iter_mut().enumerate() {
                match self.parties[from].is_cut || self.parties[to].is_cut {
                    true => path.cut(),
                    false => path.restore(),
                }
            }
        }
    }

    pub(super) fn owner_of(&self, address: IpAddr) -> Option<usize> {
        self.parties.iter().position(|party| party.public_addresses().any(|own| own == address))
    }

    pub(super) fn readdress(&mut self, party: usize, old: IpAddr, new: IpAddr) {
        let addresses = &mut self.parties[party].addresses;
        addresses.retain(|address| *address != old);
        addresses.push(new);
    }

    pub(super) fn nat_mut(&mut self, party: usize) -> &mut Option<Nat> {
        &mut self.parties[party].nat
    }

    pub(super) fn capture_mut(&mut self) -> &mut Option<Capture> {
        &mut self.capture
    }

    fn sleep(&mut self, waker: &Waker) -> Readable {
        let timeout = self.next_arrival();
        let now = Instant::now();
        let mut limit = timeout.map(|at| at.saturating_duration_since(now));
        if let Some(capture) = &mut self.capture {
            if now.saturating_duration_since(self.capture_flushed) >= CAPTURE_DELAY_MAX {
                capture.flush();
                self.capture_flushed = now;
            }
            limit = Some(limit.map_or(CAPTURE_DELAY_MAX, |limit| limit.min(CAPTURE_DELAY_MAX)));
        }
        let mut descriptors: [BorrowedFd<'_>; WATCHED_MAX] = [waker.as_fd(); WATCHED_MAX];
        for (slot, party) in descriptors[1..].iter_mut().zip(&self.parties) {
            // The waker stands in for a device that is no more, which would never let us sleep.
            if !party.is_gone {
                *slot = party.device.queue().as_fd();
            }
        }
        // Fails only for descriptors that are not open, and these are ours.
        wait_readable(&descriptors[..=self.parties.len()], limit).unwrap_or_default()
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.paths.iter().flatten().filter_map(Path::poll_timeout).min()
    }

    /// Takes what the readable devices have, a batch of each.
    fn collect(&mut self, readable: Readable) {
        for from in 0..self.parties.len() {
            if !readable.contains(from + 1) {
                continue;
            }
            let now = Instant::now();
            for _ in 0..BATCH {
                let length = match self.parties[from].device.queue().read(&mut self.scratch) {
                    Ok(length) => length,
                    Err(error) => {
                        self.parties[from].is_gone = tun::is_gone(&error);
                        break;
                    }
                };
                let mut buffer = self.spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(&self.scratch[..length]);
                match IpPacket::parse(buffer) {
                    Ok(packet) => self.take(now, from, packet),
                    Err(buffer) => {
                        self.counters.malformed += 1;
                        self.keep_spare(buffer);
                    }
                }
            }
        }
    }

    fn take(&mut self, now: Instant, from: usize, mut packet: IpPacket) {
        let party = &mut self.parties[from];
        if !party.addresses.contains(&packet.address(End::Source)) {
            self.counters.foreign_source += 1;
            return self.keep_spare(packet.into_buffer());
        }
        if let Some(nat) = party.nat_for(&packet)
            && !translate_outwards(nat, now, &mut packet)
        {
            self.counters.refused_by_nat += 1;
            return self.keep_spare(packet.into_buffer());
        }
        let Some(to) = self.owner_of(packet.address(End::Destination)).filter(|to| *to != from) else {
            self.counters.no_such_address += 1;
            return self.keep_spare(packet.into_buffer());
        };
        if let Some(capture) = &mut self.capture {
            capture.record(SystemTime::now(), packet.octets());
        }
        self.paths[from][to].handle_datagram(now, packet);
    }

    /// Hands over what has arrived.
    fn deliver(&mut self) {
        let now = Instant::now();
        for from in 0..self.paths.len() {
            for to in 0..self.paths[from].len() {
                while let Some(packet) = self.paths[from][to].poll_datagram(now) {
                    self.hand_over(now, to, packet);
                }
            }
        }
    }

    fn hand_over(&mut self, now: Instant, to: usize, mut packet: IpPacket) {
        let party = &mut self.parties[to];
        if let Some(nat) = party.nat_to(&packet)
            && !translate_inwards(nat, now, &mut packet)
        {
            self.counters.refused_by_nat += 1;
        } else if party.device.queue().write(packet.octets()).is_err() {
            self.counters.not_taken += 1;
        }
        self.keep_spare(packet.into_buffer());
    }

    fn keep_spare(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX {
            self.spare.push(buffer);
        }
    }
}

impl Party {
    /// The addresses by which the others reach it.
    fn public_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let public = self.nat.as_ref().map(|nat| nat.config().public);
        let hidden = public.map(|public| public.is_ipv4());
        let own = self.addresses.iter().copied().filter(move |address| hidden != Some(address.is_ipv4()));
        own.chain(public)
    }

    /// The NAT that a packet of this party goes out through.
    fn nat_for(&mut self, packet: &IpPacket) -> Option<&mut Nat> {
        let source = packet.address(End::Source);
        self.nat.as_mut().filter(|nat| nat.config().public.is_ipv4() == source.is_ipv4())
    }

    /// The NAT that a packet to this party comes in through.
    fn nat_to(&mut self, packet: &IpPacket) -> Option<&mut Nat> {
        let destination = packet.address(End::Destination);
        self.nat.as_mut().filter(|nat| nat.config().public == destination)
    }
}

fn translate_outwards(nat: &mut Nat, now: Instant, packet: &mut IpPacket) -> bool {
    let ends = packet.socket_address(End::Source).zip(packet.socket_address(End::Destination));
    let Some(outside) = ends.and_then(|(inside, to)| nat.outwards(now, inside, to)) else { return false };
    packet.set_socket_address(End::Source, outside);
    true
}

fn translate_inwards(nat: &mut Nat, now: Instant, packet: &mut IpPacket) -> bool {
    let ends = packet.socket_address(End::Source).zip(packet.socket_address(End::Destination));
    let Some(inside) = ends.and_then(|(from, outside)| nat.inwards(now, from, outside.port())) else {
        return false;
    };
    packet.set_socket_address(End::Destination, inside);
    true
}
