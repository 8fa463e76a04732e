//! One end of the common Ethernet on virtual time.

use proptest::prelude::{prop_assert_eq, proptest};

use super::*;
use crate::accept::AcceptTable;

const LINE: [u8; 8] = *b"the line";
const END: [u8; 8] = *b"this end";
const MS: Duration = Duration::from_millis(1);

/// One end, and its clock.
struct World {
    lan: Lan,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let config = Config {
            line: LINE,
            end: END,
            device: MacAddress([0xfe, 0, 0, 0, 0, 1]),
            probes_from: MacAddress([0xfe, 0, 0, 0, 0, 2]),
            dhcp: false,
            router_advertisements: false,
            storm_limit: 100,
        };
        let now = Instant::now();
        let shared = Arc::new(Shared::new(AcceptTable::default(), 0));
        Self { lan: Lan::new(config, now, shared), now }
    }

    fn near(&mut self, octets: &[u8]) -> Verdict {
        self.now += MS;
        self.lan.handle_near(self.now, &EthernetFrame::parse(octets).unwrap(), 1)
    }

    fn far(&mut self, octets: &[u8]) -> bool {
        self.now += MS;
        self.lan.handle_far(self.now, &EthernetFrame::parse(octets).unwrap())
    }

    fn blocked(&self, reason: Blocked) -> u64 {
        self.lan.shared.lan.read(reason)
    }

    fn alarms(&mut self) -> Vec<LanAlarm> {
        std::iter::from_fn(|| self.lan.poll_alarm()).collect()
    }
}

fn card(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn frame(to: [u8; 6], from: u8, ethertype: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &card(from), &ethertype.to_be_bytes(), content].concat()
}

/// To `to` from the card `from`, of a type for experiments.
fn any(to: [u8; 6], from: u8) -> Vec<u8> {
    frame(to, from, 0x88b6, &[0; 46])
}

const ALL: [u8; 6] = [0xff; 6];

/// The host `from` asks for, or answers for, addresses 10.0.0.x.
fn arp(operation: u8, from: u8, sender: u8, target: u8) -> Vec<u8> {
    let mut packet = vec![0, 1, 0x08, 0, 6, 4, 0, operation];
    packet.extend(card(from));
    packet.extend(if sender == 0 { [0; 4] } else { [10, 0, 0, sender] });
    packet.extend([0; 6]);
    packet.extend([10, 0, 0, target]);
    frame(ALL, from, EthernetFrame::ARP, &packet)
}

#[test]
fn frames_go_to_where_their_host_is_and_nowhere_else() {
    let mut world = World::new();
    assert_eq!(world.near(&any(card(9), 1)), Verdict::Forward, "nobody knows where that is");
    assert!(world.far(&any(card(1), 9)));
    assert_eq!(world.near(&any(card(1), 2)), Verdict::Stay, "it is here");
    assert_eq!(world.near(&any(card(9), 2)), Verdict::Forward);
    assert!(!world.far(&any(card(9), 8)), "it is there");
    assert_eq!(world.blocked(Blocked::SameSide), 2);
    let mut tagged = any(card(1), 2);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(world.near(&tagged), Verdict::Forward, "in another VLAN it is another host");
}

#[test]
fn what_is_for_the_next_switch_or_comes_from_the_device_itself_stays() {
    let mut world = World::new();
    assert_eq!(world.near(&any([1, 0x80, 0xc2, 0, 0, 0], 1)), Verdict::Stay);
    assert!(!world.far(&any([1, 0x80, 0xc2, 0, 0, 0x0e], 9)));
    assert_eq!(world.blocked(Blocked::LinkLocal), 2);
    let mut own = any(ALL, 1);
    own[6..12].copy_from_slice(&[0xfe, 0, 0, 0, 0, 1]);
    assert_eq!(world.near(&own), Verdict::Stay);
}

#[test]
fn who_asks_for_a_known_far_host_is_answered_here_until_it_was_silent_for_a_minute() {
    let mut world = World::new();
    assert_eq!(world.near(&arp(1, 1, 1, 9)), Verdict::Forward, "not known yet");
    assert!(world.far(&arp(2, 9, 9, 1)));
    let Verdict::Answer(answer) = world.near(&arp(1, 1, 1, 9)) else { panic!("it is known") };
    let answer = Arp::parse(&EthernetFrame::parse(answer.octets()).unwrap()).unwrap();
    assert_eq!((answer.sender.0, answer.sender_ip.octets()), (card(9), [10, 0, 0, 9]));
    assert_eq!(world.lan.shared.lan.answered.load(Ordering::Relaxed), 1);
    assert_eq!(world.near(&arp(1, 1, 0, 9)), Verdict::Forward, "who looks for another with the address");
    assert_eq!(world.near(&arp(1, 9, 9, 9)), Verdict::Forward, "who says that it has it");
    let mut alone = arp(1, 1, 1, 9);
    alone[..6].copy_from_slice(&card(9));
    world.far(&arp(2, 9, 9, 1));
    assert_eq!(world.near(&alone), Verdict::Forward, "who wants to know whether it is still there");
    world.now += neighbours::NEIGHBOUR_KEPT;
    assert_eq!(world.near(&arp(1, 1, 1, 9)), Verdict::Forward, "it was silent for long");
}

#[test]
fn a_host_of_this_office_answers_for_itself() {
    let mut world = World::new();
    world.far(&arp(2, 9, 9, 1));
    world.near(&arp(2, 3, 9, 1));
    assert_eq!(world.near(&arp(1, 1, 1, 9)), Verdict::Forward, "the address has moved here");
}

#[test]
fn a_probe_of_this_line_is_a_loop_and_closes_it_until_there_was_none_for_a_while() {
    for (end, sign) in [(END, LoopSign::OwnProbe), (*b"far end!", LoopSign::FarProbe)] {
        let mut world = World::new();
        let probe = |line| LoopProbe { line, end }.emit(MacAddress(card(7))).unwrap();
        assert_eq!(world.near(probe(*b"a second").octets()), Verdict::Forward, "that of another line");
        assert_eq!(world.alarms(), []);
        for _ in 0..5 {
            assert_eq!(world.near(probe(LINE).octets()), Verdict::Stay);
            world.now += guard::PROBE_INTERVAL;
            assert_eq!(world.near(&any(ALL, 1)), Verdict::Stay);
            assert!(!world.far(&any(ALL, 9)));
        }
        assert_eq!(world.alarms(), [LanAlarm::Loop(sign)], "told once");
        assert_eq!(world.blocked(Blocked::Loop), 10);
        world.now += guard::CLOSED_FOR;
        assert_eq!(world.near(&any(ALL, 1)), Verdict::Forward);
    }
}

#[test]
fn the_cable_is_out_for_a_while_when_a_loop_is_found_and_not_again_while_it_lasts() {
    let mut world = World::new();
    assert!(world.lan.is_plugged(world.now));
    let start = world.now;
    for second in 0..10 {
        world.now = start + Duration::from_secs(second);
        world.lan.on_loop(world.now, LoopSign::FarProbe);
        assert_eq!(world.lan.is_plugged(world.now), second >= 3, "{second} s");
    }
}

#[test]
fn after_a_loop_nobody_is_taken_to_be_where_it_was_seen_by_the_other_way() {
    let mut world = World::new();
    world.near(&any(ALL, 9));
    assert_eq!(world.near(&any(card(9), 1)), Verdict::Stay, "it was heard here");
    world.lan.on_loop(world.now, LoopSign::FarProbe);
    world.now += guard::CLOSED_FOR;
    assert_eq!(world.near(&any(card(9), 1)), Verdict::Forward);
}

#[test]
fn a_host_that_is_here_and_there_again_and_again_is_a_loop_without_any_probe() {
    let mut world = World::new();
    for _ in 0..10 {
        world.near(&any(ALL, 1));
        world.far(&any(ALL, 1));
    }
    assert_eq!(world.alarms(), [LanAlarm::Loop(LoopSign::BackAndForth(MacAddress(card(1))))]);
    assert!(world.blocked(Blocked::Loop) > 10);
}

#[test]
fn probes_are_sent_every_second_and_say_whose_they_are() {
    let mut world = World::new();
    let mut sent = 0;
    for _ in 0..100 {
        if let Some(probe) = world.lan.poll_probe(world.now) {
            let frame = EthernetFrame::parse(probe.octets()).unwrap();
            assert_eq!(LoopProbe::parse(&frame), Some(LoopProbe { line: LINE, end: END }));
            sent += 1;
        }
        assert!(world.lan.poll_timeout() > world.now);
        world.now += 100 * MS;
    }
    assert_eq!(sent, 10);
}

#[test]
fn a_storm_from_either_office_is_limited_and_told_with_who_sends_it() {
    let mut world = World::new();
    let passed = (0..3000).filter(|_| world.near(&any(ALL, 1)) == Verdict::Forward).count();
    assert!((300..400).contains(&passed), "{passed} in three seconds");
    let passed = (0..3000).filter(|_| world.far(&any([1, 0, 0x5e, 0, 0, 9], 9))).count();
    assert!((300..400).contains(&passed), "{passed} in three seconds");
    let told = |side, kind, from| LanAlarm::Storm { side, kind, source: MacAddress(card(from)), limit: 100 };
    assert_eq!(
        world.alarms(),
        [told(Side::Near, StormKind::Broadcast, 1), told(Side::Far, StormKind::Multicast, 9)]
    );
    let unknown = (0..1000).filter(|_| world.near(&any(card(77), 1)) == Verdict::Forward).count();
    assert!((100..200).contains(&unknown), "{unknown} in a second");
}

#[test]
fn alarms_that_nobody_takes_have_a_bound() {
    let mut world = World::new();
    for _ in 0..100 {
        world.lan.on_loop(world.now, LoopSign::OwnProbe);
        world.now += guard::CLOSED_FOR;
    }
    assert_eq!(world.alarms().len(), ALARMS_MAX);
}

proptest! {
    /// Whatever is sent by whomever: tables keep their bounds, and a frame that is not forwarded is counted, answered, or a probe.
    #[test]
    fn every_frame_is_forwarded_or_accounted_for(
        frames in proptest::collection::vec((proptest::arbitrary::any::<bool>(), proptest::collection::vec(proptest::arbitrary::any::<u8>(), 14..80), 0..6_u8), 0..300)
    ) {
        let mut world = World::new();
        let total = |world: &World| {
            let blocked: u64 = Blocked::ALL.iter().map(|reason| world.blocked(*reason)).sum();
            blocked + world.lan.shared.lan.answered.load(Ordering::Relaxed)
        };
        for (is_near, mut octets, kind) in frames {
            octets[6] &= 0xfe;
            let ethertypes = [[0x08, 0], [0x86, 0xdd], [0x08, 6], [0x81, 0], [0x88, 0xb5], [0, 40]];
            octets[12..14].copy_from_slice(&ethertypes[usize::from(kind)]);
            if EthernetFrame::parse(&octets).is_err() {
                continue;
            }
            let before = total(&world);
            let forwarded = if is_near { world.near(&octets) == Verdict::Forward } else { world.far(&octets) };
            prop_assert_eq!(total(&world) - before, u64::from(!forwarded));
        }
    }
}
