//! The paths of a line that has several, as two offices with two providers each have: one carries, the others stand by.
//!
//! On each path both ends send heartbeats ([`tieline_wire::path_heartbeat`]): often while packets go through the line, so that a path that is
//! cut is known within [`SILENCE_QUICK`], seldom while none do. A path is *up* if the far end is heard on it and says that it hears us. Each end
//! decides for what it sends:
//!
//! ```text
//!  the path that carries is down ──▶ the first that is up carries, at once
//!  an earlier one is up again    ──▶ it carries, once it was good for a while: longer each time that it failed
//!  none is up                    ──▶ nothing changes; whichever path brings a handshake carries
//! ```
//!
//! A path has a number, the same at both ends, and at each end one socket. An end that has sockets of its own for its paths dials by them; one
//! that has one socket only learns from the heartbeats that there are paths, and where they come from. While there are
//! several, only heartbeats say where the far end is: other packets may come from anywhere.
//!
//! What it is not: it sends nothing and asks no clock. To a far end that does not take paths (plain WireGuard, an older
//! tieline) no heartbeat is sent; its line has one path at a time, that of the last handshake.
//!
//! Read first: RFC 5880 §6.8 (detection of a failure, and that a failure is told).

mod pulse;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tieline_wire::path_heartbeat::Heartbeat;
pub use tieline_wire::path_heartbeat::{PATHS_MAX, PathId};

use self::pulse::Pulse;

/// From one heartbeat to the next while packets go through the line.
pub const INTERVAL_QUICK: Duration = Duration::from_millis(40);
/// While none do: often enough for any NAT, and for a path that comes back.
pub const INTERVAL_SLOW: Duration = Duration::from_secs(1);
/// Heartbeats that are missed before a path counts as silent.
const MISSED_MAX: u32 = 3;
/// What a heartbeat may be late by, as timers of busy machines are.
const ALLOWANCE: Duration = Duration::from_millis(10);
/// Silence after which a path is down while packets go through the line.
pub const SILENCE_QUICK: Duration = Duration::from_millis(
    INTERVAL_QUICK.as_millis() as u64 * MISSED_MAX as u64 + ALLOWANCE.as_millis() as u64,
);
/// Packets keep the heartbeats quick for so long.
const BUSY_TIME: Duration = Duration::from_secs(5);
/// How often it is looked whether packets go through the line.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a path that failed must be good before it carries again; twice as long each time, up to the most.
pub const RETURN_AFTER_MIN: Duration = Duration::from_secs(5);
/// The most; a path that was good for as long has its past forgiven.
pub const RETURN_AFTER_MAX: Duration = Duration::from_secs(320);
/// A path that loses more of its heartbeats, in thousandths, is not good.
const LOST_MAX: u16 = 50;
/// A timer that is so late says that this end did not run: what came meanwhile is looked at first.
const LATE: Duration = Duration::from_millis(20);
/// How long it has for that.
const GRACE: Duration = Duration::from_millis(10);
/// How often the address of a path that is down is asked for.
const DIAL_INTERVAL: Duration = Duration::from_secs(30);
/// A path that the far end has shown us is forgotten after so long without a heartbeat.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// Voice that was lost goes by two paths for so long.
const LOSSY_TIME: Duration = Duration::from_secs(30);
/// Events that wait; of each path there are few between two looks.
const EVENTS_MAX: usize = 4 * PATHS_MAX;

/// Where a datagram comes from or goes to: by which of this end's sockets, and which address of the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Which socket; the first is 0.
    pub socket: usize,
    /// The address at the far end.
    pub remote: SocketAddr,
}

impl From<SocketAddr> for Path {
    /// By the first socket.
    fn from(remote: SocketAddr) -> Self {
        Self { socket: 0, remote }
    }
}

/// By which paths the sending threads send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// By which packets go; none: to where the session says, by the first socket.
    pub carrying: Option<Path>,
    /// By which voice goes a second time.
    pub copying: Option<Path>,
    /// All, by number, for heartbeats.
    pub all: [Option<Path>; PATHS_MAX],
}

/// What became of the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The path is up, or no longer.
    Changed {
        /// Which one.
        path: PathId,
        /// Whether both ends hear each other on it.
        is_up: bool,
    },
    /// The far end of the path has another address.
    Moved {
        /// Which one.
        path: PathId,
        /// The new address.
        to: SocketAddr,
    },
    /// Packets go by another path.
    Carries {
        /// By this one.
        path: PathId,
        /// And not by this one any more.
        before: PathId,
    },
    /// The far end's address on this path is to be looked up.
    Dial(PathId),
}

/// How a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Which one.
    pub path: PathId,
    /// By which socket it leaves.
    pub socket: usize,
    /// Where the far end is.
    pub remote: Option<SocketAddr>,
    /// Whether packets go by it.
    pub carries: bool,
    /// Whether the far end's packets come by it.
    pub far_end_uses: bool,
    /// Whether voice goes by it a second time.
    pub copies: bool,
    /// Whether both ends hear each other on it.
    pub is_up: bool,
    /// Whether this end hears the far end on it.
    pub is_heard: bool,
    /// Since when it is up, or is not.
    pub since: Instant,
    /// The last round trip of a heartbeat.
    pub round_trip: Option<Duration>,
    /// Of the far end's last heartbeats those that did not come, in thousandths.
    pub lost_in: Option<u16>,
    /// Of ours those that did not arrive there, in thousandths.
    pub lost_out: Option<u16>,
}

/// A heartbeat came by another socket than its path has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced;

/// The paths of one line.
#[derive(Debug)]
pub struct Paths {
    /// Sockets of this end; each is that of the path with its number.
    sockets: usize,
    addresses: [Option<SocketAddr>; PATHS_MAX],
    pulses: [Pulse; PATHS_MAX],
    dialled: [Option<Instant>; PATHS_MAX],
    carrying: PathId,
    /// Whether the far end understands heartbeats.
    is_taken: bool,
    copies_always: bool,
    /// Until when voice goes by two paths because it was lost.
    lossy_until: Option<Instant>,
    /// When packets last went through the line.
    busy: Option<Instant>,
    /// Since when heartbeats are quick, if they are.
    quick_since: Option<Instant>,
    looked: Instant,
    /// Until when silence is not believed, after this end did not run.
    grace: Option<Instant>,
    /// When consequences were last drawn.
    settled: Instant,
    events: VecDeque<Event>,
}

impl Paths {
    /// The paths of an end with so many sockets, at most [`PATHS_MAX`]; `first` is where the far end is on the first of them, if that is known.
    /// `copies_always`: voice always goes by two paths, otherwise while it is lost.
    #[must_use]
    pub fn new(now: Instant, sockets: usize, first: Option<SocketAddr>, copies_always: bool) -> Self {
        Self {
            sockets: sockets.clamp(1, PATHS_MAX),
            addresses: [first, None, None, None],
            pulses: std::array::from_fn(|_| Pulse::new(now)),
            dialled: [None; PATHS_MAX],
            carrying: PathId::FIRST,
            is_taken: false,
            copies_always,
            lossy_until: None,
            busy: None,
            quick_since: None,
            looked: now,
            grace: None,
            settled: now,
            events: VecDeque::new(),
        }
    }

    /// Whether the line has, or may have, more than one path.
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.ids().count() > 1
    }

    /// Whether heartbeats are exchanged: then only they say where the far end is.
    #[must_use]
    pub fn are_watched(&self) -> bool {
        self.is_taken && self.are_several()
    }

    /// What the far end is has been found out; another process there knows nothing of what was.
    pub fn handle_far_end(&mut self, now: Instant, takes_paths: bool) {
        self.is_taken = takes_paths;
        for id in all_ids() {
            self.pulses[id.number()].forget_far_end(now);
            if id.number() >= self.sockets {
                self.addresses[id.number()] = None;
            }
        }
        if self.addresses[self.carrying.number()].is_none() {
            self.carry_by(PathId::FIRST);
        }
    }

    /// A session was agreed with `by`, or an authentic packet came from there while there was one path: unless heartbeats know better, packets
    /// go there.
    pub fn handle_session(&mut self, by: Path) {
        if self.are_watched() && self.pulse(self.carrying).is_up() {
            return;
        }
        let known = self.ids().find(|id| self.path(*id) == Some(by));
        let id = known.or(PathId::new(by.socket)).unwrap_or(PathId::FIRST);
        self.set_address(id, by.remote);
        self.carry_by(id);
    }

    /// The far end is at `address` on this path, as a look-up found.
    pub fn set_address(&mut self, path: PathId, address: SocketAddr) {
        self.addresses[path.number()] = Some(address);
    }

    /// Voice is lost: for a while it goes by two paths. What is lost of it then nobody sees, so what is lost of the heartbeats prolongs that.
    pub fn handle_loss(&mut self, now: Instant) {
        self.lossy_until = Some(now + LOSSY_TIME);
    }

    /// Takes a heartbeat that came from `from` at `arrived`.
    ///
    /// # Errors
    ///
    /// If its path has another socket here.
    pub fn handle_heartbeat(
        &mut self,
        now: Instant,
        arrived: Instant,
        from: Path,
        heartbeat: &Heartbeat,
    ) -> Result<(), Misplaced> {
        let id = heartbeat.path;
        if !self.is_taken || from.socket != self.socket(id) {
            return Err(Misplaced);
        }
        if !self.pulses[id.number()].handle_heartbeat(now, arrived, heartbeat) {
            return Ok(());
        }
        if id == self.carrying && heartbeat.lost_per_mille > 0 && self.is_lossy(now) {
            self.handle_loss(now);
        }
        if self.addresses[id.number()] != Some(from.remote) {
            self.set_address(id, from.remote);
            self.push_event(Event::Moved { path: id, to: from.remote });
        }
        self.settle(now);
        Ok(())
    }

    /// Whether it is time to look whether packets go through the line, for [`Self::handle_traffic`].
    #[must_use]
    pub fn wants_look(&self, now: Instant) -> bool {
        self.are_watched() && now >= self.looked + LOOK_INTERVAL
    }

    /// Packets did or did not go through the line since the last look.
    pub fn handle_traffic(&mut self, now: Instant, is_busy: bool) {
        self.looked = now;
        if is_busy {
            self.busy = Some(now);
        }
        self.settle_pace(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.are_watched() {
            self.settle(now);
        }
        self.dial(now);
    }

    /// When to call [`Self::handle_timeout`] next, after all heartbeats that are due were polled.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dial = self.own().filter(|id| self.wants_dial(*id)).map(|id| self.dial_at(id)).min();
        if !self.are_watched() {
            return dial;
        }
        let settled = self.settled;
        let pulses = self.ids().filter(|id| self.path(*id).is_some()).flat_map(move |id| {
            let pulse = self.pulse(id);
            // One whose time has come and that loses too much is looked at again with its next heartbeat.
            let returns = pulse.good_at().filter(|at| id < self.carrying && *at > settled);
            let silent =
                pulse.silent_at(self.quick_since).map(|at| self.grace.map_or(at, |grace| at.max(grace)));
            [silent, pulse.due(), returns]
        });
        pulses.flatten().chain([self.looked + LOOK_INTERVAL]).chain(dial).min()
    }

    /// The next heartbeat to send, and by which path.
    pub fn poll_heartbeat(&mut self, now: Instant) -> Option<Heartbeat> {
        if !self.are_watched() {
            return None;
        }
        let is_due = |id: &PathId| self.pulse(*id).due().is_none_or(|due| due <= now);
        let id = self.ids().filter(|id| self.path(*id).is_some()).find(is_due)?;
        let interval = self.interval(id);
        let (carries, wants_copies, is_busy) = (id == self.carrying, self.copies_always, self.is_busy(now));
        let said = Said { carries, wants_copies, is_busy, interval };
        Some(self.pulses[id.number()].send(now, id, &said))
    }

    /// The next thing that became of the paths.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// By which paths initiations of handshakes go: that which carries, and if that is not known to be up and one had no answer, all of them.
    pub fn for_initiation(&self, was_unanswered: bool) -> impl Iterator<Item = Path> {
        let is_known = self.are_watched() && self.pulse(self.carrying).is_up();
        let by_all = was_unanswered && !is_known;
        let carrying = self.routes_carrying();
        self.ids().filter_map(|id| self.path(id)).filter(move |path| by_all || carrying == Some(*path))
    }

    /// By which paths packets go.
    #[must_use]
    pub fn routes(&self, now: Instant) -> Routes {
        if !self.are_several() {
            return Routes::default();
        }
        let copies = self.copying(now).and_then(|id| self.path(id));
        let all = std::array::from_fn(|number| PathId::new(number).and_then(|id| self.path(id)));
        Routes { carrying: self.routes_carrying(), copying: copies, all }
    }

    /// Where packets go, if the line has several paths.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.routes_carrying().filter(|_| self.are_several()).map(|path| path.remote)
    }

    /// Where the far end is on one path.
    #[must_use]
    pub fn address_on(&self, path: PathId) -> Option<SocketAddr> {
        self.addresses[path.number()]
    }

    /// Whether both ends hear each other on a path.
    #[must_use]
    pub fn is_up(&self, path: PathId) -> bool {
        self.pulse(path).is_up()
    }

    /// Where the far end is on all paths.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied().flatten()
    }

    /// How each path is; nothing if there is one only.
    #[must_use]
    pub fn status(&self, now: Instant) -> Vec<PathStatus> {
        if !self.are_several() {
            return Vec::new();
        }
        let copying = self.copying(now);
        let of = |id: PathId| {
            let pulse = self.pulse(id);
            PathStatus {
                path: id,
                socket: self.socket(id),
                remote: self.addresses[id.number()],
                carries: id == self.carrying,
                far_end_uses: pulse.said().is_some_and(|said| said.carries),
                copies: copying == Some(id),
                is_up: pulse.is_up(),
                is_heard: pulse.is_heard(),
                since: pulse.since(),
                round_trip: pulse.round_trip(),
                lost_in: pulse.lost_in(),
                lost_out: pulse.lost_out(),
            }
        };
        self.ids().map(of).collect()
    }

    /// The paths that this end dials, and those that the far end has shown.
    fn ids(&self) -> impl Iterator<Item = PathId> + Clone + '_ {
        all_ids().filter(|id| id.number() < self.sockets || self.addresses[id.number()].is_some())
    }

    fn own(&self) -> impl Iterator<Item = PathId> + use<> {
        let sockets = self.sockets;
        all_ids().filter(move |id| id.number() < sockets)
    }

    fn pulse(&self, id: PathId) -> &Pulse {
        &self.pulses[id.number()]
    }

    /// The socket of a path: its own, or the first for a path that the far end has shown.
    fn socket(&self, id: PathId) -> usize {
        if id.number() < self.sockets { id.number() } else { 0 }
    }

    fn path(&self, id: PathId) -> Option<Path> {
        let remote = self.addresses[id.number()]?;
        Some(Path { socket: self.socket(id), remote })
    }

    fn routes_carrying(&self) -> Option<Path> {
        self.path(self.carrying).or_else(|| self.ids().find_map(|id| self.path(id)))
    }

    /// The path by which voice goes a second time.
    fn copying(&self, now: Instant) -> Option<PathId> {
        let mut up = self.ids().filter(|id| self.pulse(*id).is_up());
        let is_wanted = self.copies_always
            || self.is_lossy(now)
            || up.clone().any(|id| self.pulse(id).said().is_some_and(|said| said.wants_copies));
        up.find(|id| *id != self.carrying).filter(|_| is_wanted)
    }

    fn is_lossy(&self, now: Instant) -> bool {
        self.lossy_until.is_some_and(|until| now < until)
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.busy.is_some_and(|busy| now.saturating_duration_since(busy) < BUSY_TIME)
    }

    /// Nobody listens on a path that is down, so a heartbeat in a second is enough to see it come back.
    fn interval(&self, id: PathId) -> Duration {
        match self.quick_since.is_some() && self.pulse(id).is_heard() {
            true => INTERVAL_QUICK,
            false => INTERVAL_SLOW,
        }
    }

    /// Whether this call comes so late that what arrived meanwhile is to be looked at before silence is believed.
    fn was_asleep(&mut self, now: Instant) -> bool {
        if let Some(grace) = self.grace {
            if now < grace {
                return true;
            }
            self.grace = None;
            return false;
        }
        let silent = self.ids().filter_map(|id| self.pulse(id).silent_at(self.quick_since)).min();
        let is_late = silent.is_some_and(|at| now.saturating_duration_since(at) >= LATE);
        if is_late {
            self.grace = Some(now + GRACE);
        }
        is_late
    }

    /// Draws the consequences of what was heard, or was not.
    fn settle(&mut self, now: Instant) {
        self.settled = now;
        self.settle_pace(now);
        let was_asleep = self.was_asleep(now);
        for id in all_ids() {
            let pulse = &mut self.pulses[id.number()];
            if !was_asleep {
                pulse.handle_silence(now, self.quick_since);
            }
            if let Some(is_up) = pulse.poll_change(now) {
                self.push_event(Event::Changed { path: id, is_up });
            }
            let shown = id.number() >= self.sockets;
            if shown && self.pulse(id).is_silent_for(now, FORGET_AFTER) {
                self.addresses[id.number()] = None;
            }
        }
        self.choose(now);
    }

    fn choose(&mut self, now: Instant) {
        let best = if self.pulse(self.carrying).is_up() {
            self.ids().find(|id| *id < self.carrying && self.pulse(*id).is_good(now))
        } else {
            self.ids().find(|id| self.pulse(*id).is_up())
        };
        if let Some(best) = best {
            self.carry_by(best);
        }
    }

    fn carry_by(&mut self, path: PathId) {
        let before = std::mem::replace(&mut self.carrying, path);
        if before != path {
            self.push_event(Event::Carries { path, before });
        }
    }

    /// Heartbeats are quick while packets go through the line, as either end sees it.
    fn settle_pace(&mut self, now: Instant) {
        let is_asked = self.ids().any(|id| self.pulse(id).said().is_some_and(|said| said.is_busy));
        let is_quick = self.is_busy(now) || is_asked;
        if is_quick && self.quick_since.is_none() {
            self.quick_since = Some(now);
            self.pulses.iter_mut().for_each(|pulse| pulse.hurry(now));
        } else if !is_quick {
            self.quick_since = None;
        }
    }

    fn dial(&mut self, now: Instant) {
        for id in self.own() {
            if self.wants_dial(id) && self.dial_at(id) <= now {
                self.dialled[id.number()] = Some(now);
                self.push_event(Event::Dial(id));
            }
        }
    }

    /// Where the far end is on the first path is looked for with the session, unless another path has that.
    fn wants_dial(&self, id: PathId) -> bool {
        let is_first = id == PathId::FIRST && !(self.are_watched() && self.pulse(self.carrying).is_up());
        self.sockets > 1 && !is_first && !self.pulse(id).is_up()
    }

    fn dial_at(&self, id: PathId) -> Instant {
        let since = self.pulse(id).since();
        let first = if self.addresses[id.number()].is_some() { since + DIAL_INTERVAL } else { since };
        self.dialled[id.number()].map_or(first, |dialled| (dialled + DIAL_INTERVAL).max(since))
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// What an end says of itself with a heartbeat.
#[derive(Clone, Copy, Debug)]
struct Said {
    carries: bool,
    wants_copies: bool,
    is_busy: bool,
    interval: Duration,
}

fn all_ids() -> impl Iterator<Item = PathId> + Clone {
    (0..PATHS_MAX).filter_map(PathId::new)
}
