//! Control's part in the paths of a line that has several: what goes by which, and what follows from what becomes of them.

use std::{net::SocketAddr, time::Instant};

use tieline_wire::{
    associated,
    label::{Label, LabelStackEntry, MplsTrafficClass},
    time::Now,
    wireguard::MessageType,
};

use super::{Control, Event, Outgoing, Transmit};
use crate::{
    counters::{Counters, Flow},
    greeting::FarEnd,
    paths::{self, Path, PathId, PathStatus, Paths},
};

/// Packets of streams between two looks that are more than the upkeep of a connection.
const STREAM_PACKETS_MIN: u64 = 8;

/// What had gone through the line when it was last looked.
#[derive(Debug, Default)]
pub(super) struct TrafficLook {
    /// Packets of the offices.
    ip: u64,
    /// Labelled packets that were not messages of control.
    labelled: u64,
    /// Messages of control, either way.
    pub(super) associated: u64,
}

impl Control {
    /// This end has so many sockets, at most [`crate::paths::PATHS_MAX`], and so many paths; to be said before anything else. If `copies_always`,
    /// voice always goes by two of them, otherwise while it is lost.
    pub fn set_sockets(&mut self, now: Instant, sockets: usize, copies_always: bool) {
        self.paths = Paths::new(now, sockets, self.session.address(), copies_always);
    }

    /// The far end may be reached at `address` by this path: [`crate::paths::Event::Dial`] asked for it.
    pub fn dial_path(&mut self, now: Now, path: PathId, address: SocketAddr) {
        self.paths.set_address(path, address);
        if self.session.status(now).address.is_none() {
            self.session.set_address(address);
            self.request_session(now);
        }
        self.follow_paths(now.monotonic);
    }

    /// Where the far end is: by the path that carries, if there are several.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.paths.address().or_else(|| self.session.address())
    }

    /// Where the far end is on the first path.
    #[must_use]
    pub fn first_address(&self) -> Option<SocketAddr> {
        self.paths.address_on(PathId::FIRST)
    }

    /// The addresses of the far end on all paths.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.paths.addresses()
    }

    /// How each path is; nothing if there is only one.
    #[must_use]
    pub fn path_status(&self, now: Instant) -> Vec<PathStatus> {
        self.paths.status(now)
    }

    pub(super) fn on_far_end(&mut self, now: Instant) {
        let far_end = self.greeting.far_end();
        let takes_paths = matches!(far_end, FarEnd::Tieline(hello) if hello.takes_paths);
        self.paths.handle_far_end(now, takes_paths);
        self.push_event(Event::FarEnd(far_end));
    }

    pub(super) fn settle_protection(&mut self, now: Instant) {
        let is_on = self.protection.is_on(now);
        if is_on {
            self.paths.handle_loss(now);
        }
        self.shared.protection.set_on(is_on);
    }

    /// Hands on what came of the paths. Packets must go by the new path at once, so the sending threads see it here and now.
    pub(super) fn follow_paths(&mut self, now: Instant) {
        self.session.set_roaming(!self.paths.are_watched());
        while let Some(heartbeat) = self.paths.poll_heartbeat(now) {
            let mut payload = Vec::with_capacity(associated::MESSAGE_LEN_MAX);
            associated::Message::PathHeartbeat(heartbeat).emit(&mut payload);
            self.traffic.associated += 1;
            let entry = LabelStackEntry::only(Label::ASSOCIATED, MplsTrafficClass::CONTROL);
            self.push_packet(Outgoing::ByPath { path: heartbeat.path, entry, payload });
        }
        while let Some(event) = self.paths.poll_event() {
            if let paths::Event::Carries { .. } = event {
                self.restart_path_mtu(now);
            }
            self.push_event(Event::Path(event));
        }
        let routes = self.paths.routes(now);
        if routes != self.routes {
            self.routes = routes;
            self.shared.set_routes(routes);
        }
    }

    /// Does what is due with the paths.
    pub(super) fn handle_path_timeout(&mut self, now: Instant) {
        if self.paths.wants_look(now) {
            let is_busy = self.traffic.look(&self.shared.counters);
            self.paths.handle_traffic(now, is_busy);
        }
        self.paths.handle_timeout(now);
        self.follow_paths(now);
    }

    /// The next handshake datagram: an answer by the path of the question, an initiation by the one that carries. If that is not known to be up
    /// and an initiation had no answer, the next go by all: the far end answers the one that comes first.
    pub(super) fn next_transmit(&mut self) -> Option<Transmit> {
        if let Some(transmit) = self.transmits.pop_front() {
            return Some(transmit);
        }
        let tieline_seal::Transmit { to, bytes } = self.session.poll_transmit()?;
        let is_ours = MessageType::of(&bytes) == Ok(MessageType::HandshakeInitiation);
        if !is_ours || !self.paths.are_several() {
            let socket = if is_ours { 0 } else { self.handshake_socket };
            return Some(Transmit { by: Path { socket, remote: to }, bytes });
        }
        let by = self.paths.for_initiation(self.session.initiations() > 1);
        self.transmits.extend(by.map(|by| Transmit { by, bytes: bytes.clone() }));
        self.transmits.pop_front()
    }
}

impl TrafficLook {
    /// Whether packets went through the line since the last look. What is not the offices' is a stream's: a file, or now and then that the
    /// connection is kept.
    fn look(&mut self, counters: &Counters) -> bool {
        let packets = |flows: [&Flow; 2]| flows.iter().map(|flow| flow.read().0).sum::<u64>();
        let ip = packets([&counters.ip_out, &counters.ip_in]);
        let labelled = packets([&counters.labelled_out, &counters.labelled_in]);
        let of_streams = labelled.saturating_sub(self.associated);
        let is_busy = ip > self.ip || of_streams >= self.labelled + STREAM_PACKETS_MIN;
        (self.ip, self.labelled) = (ip, of_streams);
        is_busy
    }
}
