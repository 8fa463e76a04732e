//! Two whole lines with two paths between them: what control makes of heartbeats, handshakes and moves.

mod pair;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use pair::{End, connected, start};
use tieline_line::{
    Event, HEADROOM, Outgoing, TAILROOM,
    paths::{self, Path, PathId, Routes},
};
use tieline_wire::{
    associated::{Hello, Message},
    time::Now,
    wireguard::MessageType,
};

const STEP: Duration = Duration::from_millis(10);

/// The ends of a line between which every message arrives after a step, by the path that it left by.
struct World {
    now: Now,
    near: End,
    far: End,
    /// Whether messages of a path arrive.
    passes: [bool; 2],
    events: Vec<Event>,
}

impl World {
    /// The first end has two sockets and dials by both, the second has one; they know each other.
    fn introduced(takes_paths: bool) -> Self {
        let now = start();
        let [mut near, mut far] = connected(now);
        near.control.set_sockets(now.monotonic, 2, false);
        near.control.dial_path(now, second(), far.address);
        for (end, other) in [(&mut near, 2), (&mut far, 1)] {
            let hello = Message::Hello(Hello {
                version_min: 1,
                version_max: 1,
                answer_wanted: false,
                joins_pieces: true,
                takes_paths,
                carries_ecn: false,
                answers_mtu_probes: false,
                instance: other,
                certificate: [other as u8; 32],
                announcement: None,
            });
            let mut octets = Vec::new();
            hello.emit(&mut octets);
            let from = if other == 2 { SocketAddr::from(([192, 0, 2, 2], 51_820)) } else { first_address() };
            end.control.handle_associated(now, now, from, &octets);
        }
        Self { now, near, far, passes: [true; 2], events: Vec::new() }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now.monotonic + time;
        while self.now.monotonic < until {
            let heard = [messages(&mut self.near), messages(&mut self.far)];
            self.now = Now { monotonic: self.now.monotonic + STEP, wall: self.now.wall + STEP };
            let [near, far] = heard;
            for (path, message) in near.into_iter().filter(|(path, _)| self.passes[path.number()]) {
                let remote = if path == PathId::FIRST { first_address() } else { second_address() };
                self.far.control.handle_associated(self.now, self.now, remote, &message);
            }
            for (path, message) in far.into_iter().filter(|(path, _)| self.passes[path.number()]) {
                let from = Path { socket: path.number(), remote: self.far.address };
                self.near.control.handle_associated(self.now, self.now, from, &message);
            }
            for end in [&mut self.near, &mut self.far] {
                if end.control.poll_timeout(self.now).is_some_and(|at| at <= self.now.monotonic) {
                    end.control.handle_timeout(self.now);
                }
            }
            self.events.extend(std::iter::from_fn(|| self.near.control.poll_event()));
        }
    }
}

fn second() -> PathId {
    PathId::new(1).expect("a path")
}

/// Where the first end's two paths come from.
fn first_address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51_820))
}

fn second_address() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], 51_821))
}

/// What control has to say, by which path; what goes by the one that carries is not looked at.
fn messages(end: &mut End) -> Vec<(PathId, Vec<u8>)> {
    let packets = std::iter::from_fn(|| end.control.poll_packet());
    let by_path = |outgoing| match outgoing {
        Outgoing::ByPath { path, payload, .. } => Some((path, payload)),
        Outgoing::Keepalive | Outgoing::Labelled { .. } => None,
    };
    packets.filter_map(by_path).collect()
}

fn sealed(end: &mut End, now: Instant) -> Vec<u8> {
    let mut buffer = vec![0; HEADROOM + TAILROOM];
    end.outbound.seal_keepalive(now, &mut buffer).datagram.expect("a session").1.to_vec()
}

#[test]
fn both_ends_send_by_the_first_path_and_by_the_second_when_that_is_cut() {
    let mut world = World::introduced(true);
    world.run(Duration::from_secs(2));
    let by = |socket, remote| Some(Path { socket, remote });
    assert_eq!(world.near.shared.routes().carrying, by(0, world.far.address));
    assert_eq!(world.far.shared.routes().all[..2], [by(0, first_address()), by(0, second_address())]);
    assert_eq!(world.far.shared.routes().carrying, by(0, first_address()));
    let version = world.far.shared.routes_version();
    world.passes[0] = false;
    world.run(Duration::from_secs(4));
    assert_eq!(world.near.shared.routes().carrying, by(1, world.far.address));
    assert_eq!(world.far.shared.routes().carrying, by(0, second_address()));
    assert_ne!(world.far.shared.routes_version(), version);
    assert_eq!(world.far.control.address(), Some(second_address()));
    let changed =
        |event: &Event| matches!(event, Event::Path(paths::Event::Carries { path, .. }) if *path == second());
    assert!(world.events.iter().any(changed), "{:?}", world.events);
}

#[test]
fn far_end_that_takes_no_paths_hears_of_none() {
    let mut world = World::introduced(false);
    let heard: Vec<_> = messages(&mut world.near);
    assert!(heard.is_empty());
    world.run(Duration::from_secs(5));
    assert_eq!(world.far.shared.routes(), Routes::default());
    assert_eq!(world.near.shared.routes().carrying, Some(world.far.address.into()));
}

#[test]
fn packets_by_the_second_path_move_nobody_and_come_once() {
    let mut world = World::introduced(true);
    world.run(Duration::from_secs(2));
    let now = world.now.monotonic;
    let datagram = sealed(&mut world.near, now);
    for from in [second_address(), first_address()] {
        let mut copy = datagram.clone();
        let received = world.far.inbound.handle_datagram(now, from, &mut copy);
        assert!(received.notice.is_none(), "{received:?}");
    }
    let drops = world.far.control.session().drops();
    assert_eq!(drops.of(tieline_seal::DropReason::SecondCopy), 1);
    assert_eq!(drops.of(tieline_seal::DropReason::Replayed), 0);
}

#[test]
fn initiations_without_an_answer_go_by_all_paths_and_the_answer_by_the_path_of_the_question() {
    let mut world = World::introduced(true);
    world.run(Duration::from_secs(2));
    world.passes = [false; 2];
    let mut initiations = Vec::new();
    for _ in 0..60 {
        world.run(Duration::from_millis(100));
        initiations.extend(std::iter::from_fn(|| world.near.control.poll_datagram()));
        while world.far.control.poll_datagram().is_some() {}
    }
    let sockets: Vec<_> = initiations.iter().map(|initiation| initiation.by.socket).collect();
    assert!(sockets.contains(&0) && sockets.contains(&1), "{sockets:?}");
    let last = initiations.last().expect("an initiation");
    assert_eq!(last.by, Path { socket: 1, remote: world.far.address });
    world.far.control.handle_handshake(world.now, second_address(), &last.bytes);
    // It has initiations of its own, to the path that carries.
    let mut datagrams = std::iter::from_fn(|| world.far.control.poll_datagram());
    let is_answer = |bytes: &[u8]| MessageType::of(bytes) == Ok(MessageType::HandshakeResponse);
    let answer = datagrams.find(|datagram| is_answer(&datagram.bytes)).expect("an answer");
    assert_eq!(answer.by, second_address().into());
    let by = Path { socket: 1, remote: world.far.address };
    world.near.control.handle_handshake(world.now, by, &answer.bytes);
    assert_eq!(world.near.shared.routes().carrying, Some(by), "no heartbeat knows better");
}

#[test]
fn a_heartbeat_that_belongs_to_no_path_is_dropped_and_counted() {
    let mut world = World::introduced(true);
    world.run(Duration::from_secs(1));
    let (path, message) = messages(&mut world.far).pop().unwrap_or_else(|| {
        world.far.control.handle_timeout(Now {
            monotonic: world.now.monotonic + Duration::from_secs(2),
            wall: world.now.wall,
        });
        messages(&mut world.far).pop().expect("a heartbeat")
    });
    let elsewhere = Path { socket: 1 - path.number(), remote: world.far.address };
    world.near.control.handle_associated(world.now, world.now, elsewhere, &message);
    let dropped = tieline_line::counters::DropReason::PathElsewhere;
    assert_eq!(world.near.shared.counters.drops(dropped), 1);
}
