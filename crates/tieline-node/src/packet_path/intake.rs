//! What the machine sends through the device, in an order in which a lone packet passes a stream.
//!
//! The device has many queues, and the kernel keeps all packets of a flow in one of them ([`tieline_io::tun`]). Those queues that bring
//! little go first. While the thread pauses because there is much to do, it still wakes for them. So a question, a keystroke or a voice
//! packet does not wait behind a transfer of files, unless its flow happens to share a queue with it.

use std::{
    array, io,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use tieline_io::{
    tun::{OFFLOAD_HEADER_LEN, TunQueue},
    wait::{WATCHED_MAX, WatchSet},
};
use tieline_wire::ethernet::LINK_LEN_MAX;

use super::pace::Rate;

/// Queues of each device that one thread has: as many as it can wait for together with its waker. The more there are, the less often two
/// flows share one.
pub const QUEUES: usize = (WATCHED_MAX - 1) / 2;
/// Queues of one thread, of both devices.
const ALL_QUEUES: usize = QUEUES * 2;

/// A queue that brings more packets than these in a millisecond is a stream; packets of TCP have up to 64 KiB here.
const LONE_PACKETS: u32 = 8;
/// Packets that one queue may give before the next is served.
const TURN_PACKETS: usize = 32;
/// Octets that one queue may give before the next is served: the longest packet.
const TURN_OCTETS: usize = 64 << 10;
/// Octets of one look at all queues: some 100 µs at full speed. A lone packet that comes meanwhile waits for that long.
const LOOK_OCTETS: usize = 128 << 10;
/// The longest packet of a device, or frame.
const PACKET_LEN_MAX: usize = 65_535 + LINK_LEN_MAX;

/// From which device a packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The line's own: an IP packet.
    Routed,
    /// The one in the office's bridge: a frame.
    Lan,
}

/// The queues of one thread.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'q> {
    /// Of the device that packets are routed to.
    pub routed: &'q [TunQueue],
    /// Of the device in the office's bridge.
    pub lan: &'q [TunQueue],
}

impl<'q> Sources<'q> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routed.len() + self.lan.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn iter(&self) -> impl Iterator<Item = &'q TunQueue> + use<'q> {
        self.routed.iter().chain(self.lan)
    }

    /// A queue, and of which device it is.
    fn queue(&self, index: usize) -> (Source, &'q TunQueue) {
        match index.checked_sub(self.routed.len()) {
            None => (Source::Routed, &self.routed[index]),
            Some(index) => (Source::Lan, &self.lan[index]),
        }
    }
}

/// Takes packets from the queues of one thread.
#[derive(Debug)]
pub struct Intake {
    /// All queues, and what is waited for as well.
    all: WatchSet,
    /// Those queues that bring little.
    lone: WatchSet,
    rates: [Rate; ALL_QUEUES],
    /// Which queues had something when they were last looked at.
    ready: [bool; ALL_QUEUES],
    /// Those of a device that somebody removed: they are readable for ever.
    is_gone: [bool; ALL_QUEUES],
    /// Whether that was just now, by a wait.
    is_fresh: bool,
    /// The queue that is served first among its like.
    first: usize,
    /// What was read last, with the offload header before it.
    packet: Box<[u8]>,
}

impl Intake {
    /// Nothing has come yet of `queues`, at most [`QUEUES`] of each device; [`Self::wait`] also ends when `also` is readable.
    ///
    /// # Errors
    ///
    /// What the kernel said; in practice, too many open files.
    pub fn new(now: Instant, queues: Sources<'_>, also: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let descriptors: Vec<_> = queues.iter().map(AsFd::as_fd).collect();
        Ok(Self {
            lone: WatchSet::new(&descriptors)?,
            all: WatchSet::new(&descriptors.into_iter().chain(also).collect::<Vec<_>>())?,
            rates: [Rate::new(now); ALL_QUEUES],
            ready: [false; ALL_QUEUES],
            is_gone: [false; ALL_QUEUES],
            is_fresh: false,
            first: 0,
            packet: vec![0; OFFLOAD_HEADER_LEN + PACKET_LEN_MAX].into_boxed_slice(),
        })
    }

    /// Somebody removed a device: its queues are not waited for any more.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn forget(&mut self, queues: Sources<'_>, gone: Source) -> io::Result<()> {
        for (index, queue) in queues.iter().enumerate() {
            if queues.queue(index).0 == gone {
                self.is_gone[index] = true;
                self.ready[index] = false;
                self.all.set_watched(index, queue.as_fd(), false)?;
            }
        }
        Ok(())
    }

    /// Sleeps until a queue has something, that which is waited for as well is readable, or `limit` has passed.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let readable = self.all.wait(limit)?;
        self.ready = array::from_fn(|index| readable.contains(index));
        self.is_fresh = true;
        Ok(())
    }

    /// Sleeps until one of the `queues` that bring little has something, or `limit` has passed; whether there is something.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn wait_for_lone(&mut self, queues: Sources<'_>, limit: Duration) -> io::Result<bool> {
        let now = Instant::now();
        let mut are_any = false;
        for (index, queue) in queues.iter().enumerate() {
            let is_lone = !self.is_gone[index] && !self.rates[index].is_above(LONE_PACKETS, now);
            self.lone.set_watched(index, queue.as_fd(), is_lone)?;
            are_any |= is_lone;
        }
        if !are_any {
            thread::sleep(limit);
            return Ok(false);
        }
        let readable = self.lone.wait(Some(limit))?;
        self.ready = array::from_fn(|index| readable.contains(index));
        self.is_fresh = true;
        Ok(!readable.is_empty())
    }

    /// Gives what the queues have to `take`, each packet with the offload header before it, until they are empty or have had their turn.
    /// Those that bring little come first. Returns whether there was anything.
    ///
    /// # Errors
    ///
    /// What the kernel said of a queue of that device; what the others have is still there.
    pub fn take(
        &mut self,
        queues: Sources<'_>,
        now: Instant,
        mut take: impl FnMut(Source, &mut [u8]) -> ControlFlow<()>,
    ) -> Result<bool, (Source, io::Error)> {
        if queues.is_empty() {
            return Ok(false);
        }
        if !std::mem::take(&mut self.is_fresh) {
            let (source, _) = queues.queue(0);
            self.wait(Some(Duration::ZERO)).map_err(|error| (source, error))?;
            self.is_fresh = false;
        }
        let is_lone: [bool; ALL_QUEUES] =
            array::from_fn(|index| !self.rates[index].is_above(LONE_PACKETS, now));
        let first = self.first;
        let round = || (first..queues.len()).chain(0..first);
        let in_order =
            round().filter(|index| is_lone[*index]).chain(round().filter(|index| !is_lone[*index]));
        let mut octets = 0;
        let mut found = false;
        for index in in_order.filter(|index| self.ready[*index]) {
            if octets >= LOOK_OCTETS {
                // It is the first next time.
                self.first = index;
                break;
            }
            let of_this = octets;
            let (source, queue) = queues.queue(index);
            for _ in 0..TURN_PACKETS {
                match queue.read(&mut self.packet) {
                    Ok(len) => {
                        found = true;
                        octets += len;
                        self.rates[index].count(1);
                        if take(source, &mut self.packet[..len]).is_break() {
                            return Ok(true);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err((source, error)),
                }
                if octets - of_this >= TURN_OCTETS {
                    break;
                }
            }
        }
        Ok(found)
    }
}
