use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn id(number: usize) -> PathId {
    PathId::new(number).unwrap()
}

/// The address of an end on a path.
fn address(end: usize, path: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, (10 * end + path) as u8], 51_820))
}

/// What is on its way: from which end, by which path, when it arrives.
struct Underway {
    to: usize,
    arrives: Instant,
    from: Path,
    heartbeat: Heartbeat,
}

/// Two ends with two paths between them, on virtual time.
struct World {
    now: Instant,
    ends: [Paths; 2],
    /// Whether heartbeats pass, by sending end and path.
    passes: [[bool; 2]; 2],
    delay: [Duration; 2],
    /// Every so many heartbeats of a path are lost; 0: none.
    loses_each: [u32; 2],
    underway: Vec<Underway>,
    events: [Vec<(Instant, Event)>; 2],
    sent: [[usize; 2]; 2],
    is_busy: bool,
    /// Whether the end with the number runs.
    runs: [bool; 2],
    /// Where the first end's second path comes from.
    second_address: SocketAddr,
}

impl World {
    /// Both ends have a socket for each path, or only the first does.
    fn new(sockets_of_far_end: usize) -> Self {
        let now = Instant::now();
        let mut ends = [2, sockets_of_far_end].map(|sockets| Paths::new(now, sockets, None, false));
        for (end, paths) in ends.iter_mut().enumerate() {
            paths.set_address(id(0), address(1 - end, 0));
            if end == 0 {
                paths.set_address(id(1), address(1, if sockets_of_far_end == 2 { 1 } else { 0 }));
            }
            paths.handle_far_end(now, true);
        }
        Self {
            now,
            ends,
            passes: [[true; 2]; 2],
            delay: [15 * MS, 25 * MS],
            loses_each: [0; 2],
            underway: Vec::new(),
            events: [Vec::new(), Vec::new()],
            sent: [[0; 2]; 2],
            is_busy: true,
            runs: [true; 2],
            second_address: address(0, 1),
        }
    }

    fn set_cut(&mut self, path: usize, is_cut: bool) {
        self.passes.iter_mut().for_each(|of_end| of_end[path] = !is_cut);
    }

    fn drain(&mut self, end: usize) {
        let sockets = self.ends[1].sockets;
        while let Some(heartbeat) = self.ends[end].poll_heartbeat(self.now) {
            let path = heartbeat.path.number();
            self.sent[end][path] += 1;
            let lost = self.loses_each[path];
            let is_lost = lost > 0 && heartbeat.sequence.is_multiple_of(lost);
            if !self.passes[end][path] || is_lost {
                continue;
            }
            let remote = match (end, path) {
                (0, 1) => self.second_address,
                _ => address(end, if end == 1 && sockets == 1 { 0 } else { path }),
            };
            let socket = if end == 0 && sockets == 1 { 0 } else { path };
            let from = Path { socket, remote };
            self.underway.push(Underway {
                to: 1 - end,
                arrives: self.now + self.delay[path],
                from,
                heartbeat,
            });
        }
        while let Some(event) = self.ends[end].poll_event() {
            self.events[end].push((self.now, event));
        }
    }

    fn run(&mut self, time: Duration) {
        let end_of_run = self.now + time;
        loop {
            for end in [0, 1] {
                if self.runs[end] {
                    self.drain(end);
                }
            }
            let arrives = self.underway.iter().filter(|one| self.runs[one.to]).map(|one| one.arrives).min();
            let timer = |end: usize| self.ends[end].poll_timeout().filter(|_| self.runs[end]);
            let timers = [timer(0), timer(1)];
            let next = timers.into_iter().flatten().chain(arrives).min().unwrap_or(end_of_run);
            if next > end_of_run {
                self.now = end_of_run;
                return;
            }
            self.now = self.now.max(next);
            if let Some(at) =
                self.underway.iter().position(|one| self.runs[one.to] && one.arrives <= self.now)
            {
                let Underway { to, arrives, from, heartbeat } = self.underway.remove(at);
                self.ends[to].handle_heartbeat(self.now, arrives, from, &heartbeat).unwrap();
                continue;
            }
            for (end, timer) in timers.into_iter().enumerate() {
                if timer.is_some_and(|at| at <= self.now) {
                    let paths = &mut self.ends[end];
                    if paths.wants_look(self.now) {
                        paths.handle_traffic(self.now, self.is_busy);
                    }
                    paths.handle_timeout(self.now);
                    self.drain(end);
                    let next = self.ends[end].poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "no progress at end {end}");
                }
            }
        }
    }

    fn carrying(&self) -> [usize; 2] {
        [0, 1].map(|end| self.ends[end].carrying.number())
    }

    /// When an end went from one path to another since `after`.
    fn carries(&self, end: usize, after: Instant) -> Vec<(Duration, usize)> {
        let of = |(at, event): &(Instant, Event)| match event {
            Event::Carries { path, .. } => Some((at.saturating_duration_since(after), path.number())),
            _ => None,
        };
        self.events[end].iter().filter(|(at, _)| *at >= after).filter_map(of).collect()
    }

    fn status(&self, end: usize, path: usize) -> PathStatus {
        self.ends[end].status(self.now)[path]
    }
}

#[test]
fn both_paths_come_up_and_the_first_carries() {
    for sockets in [1, 2] {
        let mut world = World::new(sockets);
        world.run(2 * SECOND);
        assert_eq!(world.carrying(), [0, 0]);
        for end in [0, 1] {
            for path in [0, 1] {
                let status = world.status(end, path);
                assert!(status.is_up && status.is_heard, "{status:?}");
                let round_trip = 2 * world.delay[path];
                assert!(status.round_trip.unwrap().abs_diff(round_trip) < MS, "{status:?}");
                assert_eq!((status.lost_in, status.lost_out), (Some(0), Some(0)));
                assert_eq!((status.carries, status.far_end_uses), (path == 0, path == 0));
                assert!(!status.copies);
            }
            assert!(world.carries(end, world.now - 2 * SECOND).is_empty());
        }
    }
}

#[test]
fn end_with_one_socket_learns_where_the_other_path_comes_from_and_answers_there() {
    let mut world = World::new(1);
    assert!(!world.ends[1].are_several());
    assert_eq!(world.ends[1].routes(world.now), Routes::default(), "as with one path");
    world.run(SECOND);
    let all = world.ends[1].routes(world.now).all;
    let expected = |path| Some(Path { socket: 0, remote: address(0, path) });
    assert_eq!(all, [expected(0), expected(1), None, None]);
}

#[test]
fn both_ends_leave_a_path_that_is_cut_silently_within_200_ms_whenever_that_happens() {
    for phase in 0..50 {
        let mut world = World::new(2);
        world.run(10 * SECOND + phase * MS);
        world.set_cut(0, true);
        let cut = world.now;
        world.run(SECOND);
        for end in [0, 1] {
            let [(after, path)] = world.carries(end, cut)[..] else { panic!("{:?}", world.events) };
            assert!(path == 1 && after <= Duration::from_millis(150), "{after:?}");
        }
    }
}

#[test]
fn an_end_that_hears_all_leaves_the_path_when_it_is_told_that_it_is_not_heard() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    world.passes[0][0] = false;
    let cut = world.now;
    world.run(SECOND);
    let [(after, path)] = world.carries(0, cut)[..] else { panic!("{:?}", world.events) };
    assert!(path == 1 && after <= Duration::from_millis(200), "{after:?}");
    assert!(world.status(0, 0).is_heard && !world.status(0, 0).is_up);
    assert_eq!(world.carrying(), [1, 1], "nor does the other end use a path on which it hears nothing");
}

#[test]
fn a_path_that_is_back_carries_again_after_some_seconds_and_later_each_time_that_it_fails() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    let mut expected = RETURN_AFTER_MIN;
    for _ in 0..4 {
        world.set_cut(0, true);
        world.run(2 * SECOND);
        assert_eq!(world.carrying(), [1, 1]);
        world.set_cut(0, false);
        let back = world.now;
        world.run(expected - SECOND / 2);
        assert_eq!(world.carrying(), [1, 1], "not yet");
        world.run(3 * SECOND);
        assert_eq!(world.carrying(), [0, 0], "{expected:?} after {back:?}: {:?}", world.events);
        world.run(SECOND);
        expected *= 2;
    }
}

#[test]
fn a_path_that_was_good_for_long_has_its_past_forgiven() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    for _ in 0..3 {
        world.set_cut(0, true);
        world.run(2 * SECOND);
        world.set_cut(0, false);
        world.run(60 * SECOND);
    }
    world.run(RETURN_AFTER_MAX);
    world.set_cut(0, true);
    world.run(2 * SECOND);
    world.set_cut(0, false);
    world.run(RETURN_AFTER_MIN + 2 * SECOND);
    assert_eq!(world.carrying(), [0, 0]);
}

#[test]
fn the_path_that_stands_by_may_fail_and_nothing_changes() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    world.set_cut(1, true);
    let cut = world.now;
    world.run(10 * SECOND);
    assert_eq!(world.carrying(), [0, 0]);
    assert!(world.carries(0, cut).is_empty() && !world.status(0, 1).is_up);
    world.set_cut(1, false);
    world.run(3 * SECOND);
    assert!(world.status(0, 1).is_up && world.status(1, 1).is_up);
}

#[test]
fn where_no_path_is_up_the_last_one_carries_on_until_one_is() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    world.set_cut(0, true);
    world.set_cut(1, true);
    // The silence of one is known a little before that of the other.
    world.run(SECOND);
    let known = world.now;
    world.run(20 * SECOND);
    assert!(world.carries(0, known).is_empty() && world.carries(1, known).is_empty());
    for path in [1, 0] {
        world.set_cut(path, false);
        world.run(3 * SECOND);
        assert_eq!(world.carrying(), [path; 2]);
        world.set_cut(path, true);
        world.run(SECOND);
    }
}

#[test]
fn heartbeats_are_seldom_while_nothing_goes_through_the_line_and_quick_at_both_ends_when_one_sees_packets() {
    let mut world = World::new(2);
    world.is_busy = false;
    world.run(10 * SECOND);
    let before = world.sent;
    world.run(60 * SECOND);
    let slow = world.sent[0][0] - before[0][0];
    assert!((58..=62).contains(&slow), "{slow}");
    let looks = |world: &mut World, end: usize| world.ends[end].handle_traffic(world.now, true);
    looks(&mut world, 0);
    let before = world.sent;
    world.run(2 * SECOND);
    for end in [0, 1] {
        let quick = world.sent[end][1] - before[end][1];
        assert!((48..=52).contains(&quick), "{quick} of end {end}");
    }
    world.run(20 * SECOND);
    let before = world.sent;
    world.run(10 * SECOND);
    let slow = world.sent[1][0] - before[1][0];
    assert!((9..=11).contains(&slow), "they are slow again: {slow}");
}

#[test]
fn a_path_that_dies_while_nothing_is_said_is_left_soon_after_packets_go_again() {
    let mut world = World::new(2);
    world.is_busy = false;
    world.run(60 * SECOND);
    world.set_cut(0, true);
    world.run(SECOND);
    assert_eq!(world.carrying(), [0, 0]);
    world.is_busy = true;
    let now = world.now;
    world.ends[0].handle_traffic(now, true);
    world.run(SECOND);
    let [(after, 1)] = world.carries(0, now)[..] else { panic!("{:?}", world.events) };
    assert!(after < Duration::from_millis(250), "{after:?}");
}

#[test]
fn an_end_that_did_not_run_for_a_while_looks_at_what_came_before_it_believes_in_silence() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    let last = |pulse: &Pulse| pulse.silent_at(world.ends[0].quick_since).unwrap();
    let late = world.ends[0].pulses[..2].iter().map(last).max().unwrap() + LATE;
    let said = Said { carries: true, wants_copies: false, is_busy: true, interval: INTERVAL_QUICK };
    let [first, second] = [0, 1].map(|path| world.ends[1].pulses[path].send(late, id(path), &said));
    let paths = &mut world.ends[0];
    paths.handle_traffic(late, true);
    paths.handle_timeout(late);
    while paths.poll_heartbeat(late).is_some() {}
    assert!(paths.poll_timeout() > Some(late));
    for (path, heartbeat) in [first, second].into_iter().enumerate() {
        let hears = Some(tieline_wire::path_heartbeat::Hears { sequence: 1, age: SECOND });
        let heartbeat = Heartbeat { hears, ..heartbeat };
        let from = Path { socket: path, remote: address(1, path) };
        paths.handle_heartbeat(late, late - 10 * MS, from, &heartbeat).unwrap();
    }
    paths.handle_timeout(late + GRACE);
    assert_eq!(paths.poll_event(), None);
    paths.handle_timeout(late + SILENCE_QUICK);
    let down = |path| Event::Changed { path: id(path), is_up: false };
    let events: Vec<_> = std::iter::from_fn(|| paths.poll_event()).collect();
    assert!(events.contains(&down(0)) && events.contains(&down(1)), "{events:?}");
}

#[test]
fn loss_of_heartbeats_is_seen_at_both_ends_of_the_path_and_keeps_a_path_from_carrying_again() {
    let mut world = World::new(2);
    world.run(10 * SECOND);
    world.set_cut(0, true);
    world.run(SECOND);
    world.set_cut(0, false);
    world.loses_each[0] = 4;
    world.run(30 * SECOND);
    let status = world.status(0, 0);
    let (lost_in, lost_out) = (status.lost_in.unwrap(), status.lost_out.unwrap());
    assert!((230..=270).contains(&lost_in) && (230..=270).contains(&lost_out), "{status:?}");
    assert_eq!(world.carrying(), [1, 1]);
    world.loses_each[0] = 0;
    world.run(10 * SECOND);
    assert_eq!(world.carrying(), [0, 0]);
}

#[test]
fn a_path_whose_address_changes_moves_by_its_heartbeats_alone() {
    for sockets in [1, 2] {
        let mut world = World::new(sockets);
        world.run(10 * SECOND);
        world.second_address = "198.51.100.9:4711".parse().unwrap();
        let changed = world.now;
        world.run(SECOND);
        let all = world.ends[1].routes(world.now).all;
        assert_eq!(all[1].unwrap().remote, world.second_address);
        assert_eq!(all[0].unwrap().remote, address(0, 0));
        let moved = Event::Moved { path: id(1), to: world.second_address };
        assert!(world.events[1].iter().any(|(at, event)| *at >= changed && *event == moved));
        assert!(world.status(0, 1).is_up && world.status(1, 1).is_up);
    }
}

#[test]
fn heartbeat_by_another_socket_or_of_a_far_end_that_takes_none_is_refused() {
    let mut world = World::new(2);
    world.run(SECOND);
    let heartbeat = world.ends[1].pulses[1].send(
        world.now,
        id(1),
        &Said { carries: false, wants_copies: false, is_busy: false, interval: SECOND },
    );
    let by = |socket| Path { socket, remote: address(1, 1) };
    let now = world.now;
    let paths = &mut world.ends[0];
    assert_eq!(paths.handle_heartbeat(now, now, by(0), &heartbeat), Err(Misplaced));
    assert_eq!(paths.handle_heartbeat(now, now, by(1), &heartbeat), Ok(()));
    paths.handle_far_end(now, false);
    assert_eq!(paths.handle_heartbeat(now, now, by(1), &heartbeat), Err(Misplaced));
    assert_eq!(paths.poll_heartbeat(now + 10 * SECOND), None);
}

#[test]
fn a_heartbeat_that_was_overtaken_moves_nothing() {
    let mut world = World::new(1);
    world.run(SECOND);
    let said = Said { carries: false, wants_copies: false, is_busy: true, interval: INTERVAL_QUICK };
    let now = world.now;
    let [late, newer] = [(); 2].map(|()| world.ends[0].pulses[1].send(now, id(1), &said));
    let from = |port| Path::from(SocketAddr::from(([192, 0, 2, 1], port)));
    world.ends[1].handle_heartbeat(now, now, from(2), &newer).unwrap();
    let lost = world.status(1, 1).lost_in;
    world.ends[1].handle_heartbeat(now, now, from(1), &late).unwrap();
    assert_eq!(world.ends[1].addresses[1], Some(from(2).remote));
    assert!(world.status(1, 1).lost_in < lost, "it was late and not lost");
}

#[test]
fn a_far_end_that_is_started_anew_is_understood_at_once() {
    let mut world = World::new(1);
    world.run(60 * SECOND);
    let now = world.now;
    world.ends[1] = Paths::new(now, 1, Some(address(0, 0)), false);
    world.ends[1].handle_far_end(now, true);
    world.ends[0].handle_far_end(now, true);
    world.run(2 * SECOND);
    for end in [0, 1] {
        assert!(world.status(end, 0).is_up && world.status(end, 1).is_up);
    }
}

#[test]
fn voice_goes_by_two_paths_always_if_either_end_wants_it_and_for_a_while_after_a_loss() {
    let mut world = World::new(2);
    world.run(SECOND);
    let copies =
        |world: &World, end: usize| world.ends[end].routes(world.now).copying.map(|path| path.socket);
    assert_eq!([copies(&world, 0), copies(&world, 1)], [None, None]);
    let now = world.now;
    world.ends[0].handle_loss(now);
    assert_eq!([copies(&world, 0), copies(&world, 1)], [Some(1), None]);
    world.loses_each[0] = 40;
    world.run(100 * SECOND);
    assert_eq!(copies(&world, 0), Some(1), "heartbeats are lost, so voice would be");
    world.loses_each[0] = 0;
    world.run(LOSSY_TIME + 10 * SECOND);
    assert_eq!(copies(&world, 0), None);
    world.ends[1].copies_always = true;
    world.run(SECOND);
    assert_eq!([copies(&world, 0), copies(&world, 1)], [Some(1), Some(1)]);
    world.set_cut(1, true);
    world.run(SECOND);
    assert_eq!([copies(&world, 0), copies(&world, 1)], [None, None], "there is one path");
}

#[test]
fn without_heartbeats_packets_go_by_the_path_of_the_last_handshake() {
    let now = Instant::now();
    let mut paths = Paths::new(now, 2, Some(address(1, 0)), false);
    paths.set_address(id(1), address(1, 1));
    let carrying = |paths: &Paths| paths.routes(now).carrying;
    let by = |socket, remote| Path { socket, remote };
    assert_eq!(carrying(&paths), Some(by(0, address(1, 0))));
    let all: Vec<_> = paths.for_initiation(false).collect();
    assert_eq!(all, [by(0, address(1, 0))]);
    let all: Vec<_> = paths.for_initiation(true).collect();
    assert_eq!(all, [by(0, address(1, 0)), by(1, address(1, 1))], "one had no answer");
    paths.handle_session(by(1, address(1, 1)));
    assert_eq!(carrying(&paths), Some(by(1, address(1, 1))));
    paths.handle_far_end(now, false);
    assert_eq!(paths.poll_heartbeat(now), None, "plain WireGuard hears of no paths");
    assert_eq!(carrying(&paths), Some(by(1, address(1, 1))));
}

#[test]
fn address_that_is_not_known_is_asked_for_and_again_while_the_path_is_down() {
    let now = Instant::now();
    let mut paths = Paths::new(now, 2, Some(address(1, 0)), false);
    paths.handle_timeout(now);
    assert_eq!(paths.poll_event(), Some(Event::Dial(id(1))));
    assert_eq!(paths.poll_timeout(), Some(now + DIAL_INTERVAL));
    paths.handle_timeout(now + DIAL_INTERVAL);
    assert_eq!(paths.poll_event(), Some(Event::Dial(id(1))));
    assert_eq!(paths.poll_event(), None);
    let alone = Paths::new(now, 1, Some(address(1, 0)), false);
    assert_eq!(alone.poll_timeout(), None, "a line with one path has no timers");
    assert!(alone.status(now).is_empty() && !alone.are_several());
}

#[test]
fn a_path_that_the_far_end_has_shown_is_forgotten_when_it_is_not_heard_for_long() {
    let mut world = World::new(1);
    world.run(10 * SECOND);
    world.set_cut(1, true);
    world.run(FORGET_AFTER + 5 * SECOND);
    assert_eq!(world.ends[1].addresses[1], None);
    assert!(world.ends[0].addresses[1].is_some(), "it is configured there");
    world.set_cut(1, false);
    world.run(3 * SECOND);
    assert!(world.status(1, 1).is_up && world.status(0, 1).is_up);
}
