use proptest::prelude::*;
use tieline_wire::label::MplsTrafficClass;

use super::*;
use crate::{accept::AcceptTable, pieces::Pieces};

const MTU: usize = 1420;
const US: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);
/// Octets of the headers around a packet on the wire: Ethernet, IPv4, UDP, WireGuard.
const AROUND: usize = 18 + 28 + 32;
const UDP: u8 = 17;
const EF: u8 = 46 << 2;
const CS6: u8 = 48 << 2;
const AF41: u8 = 34 << 2;
const AF11: u8 = 10 << 2;
const ECT0: u8 = 2;

/// Queues on virtual time, and what left them.
struct World {
    queues: Queues,
    shared: Arc<Shared>,
    start: Instant,
    now: Instant,
    /// What the far end makes whole.
    pieces: Pieces,
    left: Vec<Left>,
}

struct Left {
    /// The source port.
    flow: u16,
    waited: Duration,
    octets: usize,
    class: ServiceClass,
    ds: u8,
}

impl World {
    fn new(bits_per_second: u64) -> Self {
        let shared = Arc::new(Shared::new(AcceptTable::default(), 0));
        let start = Instant::now();
        let rate = Rate::from_bits_per_second(bits_per_second);
        let queues = Queues::new(rate, MTU, Arc::clone(&shared), start);
        let pieces = Pieces::new(MTU, Arc::clone(&shared));
        Self { queues, shared, start, now: start, pieces, left: Vec::new() }
    }

    /// An IP packet of `len` octets that carries when it was made.
    fn send(&mut self, flow: u16, ds: u8, len: usize) {
        let made = (self.now - self.start).as_nanos() as u64;
        self.queues.enqueue_ip(self.now, len, |out| {
            out[..len].fill(0);
            out[..20]
                .copy_from_slice(&[0x45, ds, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9]);
            out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            out[20..22].copy_from_slice(&flow.to_be_bytes());
            out[28..36].copy_from_slice(&made.to_be_bytes());
            len
        });
    }

    /// Lets everything leave that may by now.
    fn release(&mut self) {
        while let Some(departure) = self.queues.poll_transmit(self.now) {
            let class = departure.class;
            let octets = [departure.front.octets(), departure.octets].concat();
            let is_piece = departure.label.is_some_and(|entry| entry.label == Label::PIECES);
            let is_ip = departure.label.is_none();
            self.queues.handle_sent(self.now, octets.len() + AROUND);
            if is_ip {
                self.arrive(class, &octets);
            } else if is_piece && let Some(whole) = self.pieces.handle_piece(self.now, &octets) {
                let whole = whole.to_vec();
                self.arrive(class, &whole);
            }
        }
    }

    /// Lets everything leave that waits, each packet at its time.
    fn drain(&mut self) {
        for _ in 0..PACKETS_MAX * 16 {
            let Some(timeout) = self.queues.poll_timeout() else { return };
            self.now = timeout.max(self.now);
            self.release();
        }
    }

    /// An IP packet is at the far end; others are of no interest here.
    fn arrive(&mut self, class: ServiceClass, packet: &[u8]) {
        if packet[0] >> 4 != 4 {
            return;
        }
        let made = Duration::from_nanos(u64::from_be_bytes(packet[28..36].try_into().unwrap()));
        let waited = self.now - self.start - made;
        let flow = u16::from_be_bytes([packet[20], packet[21]]);
        self.left.push(Left { flow, waited, octets: packet.len(), class, ds: packet[1] });
    }

    /// Goes on for `time`, in steps of 50 µs; `each` gives what is to leave at the step of that number.
    fn run(&mut self, time: Duration, mut each: impl FnMut(&mut Self, u32)) {
        for step in 0..(time.as_micros() / 50) as u32 {
            each(self, step);
            self.release();
            self.now += 50 * US;
        }
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.shared.counters.drops(reason)
    }

    fn longest_wait(&self, flow: impl Fn(u16) -> bool) -> Duration {
        self.left.iter().filter(|left| flow(left.flow)).map(|left| left.waited).max().unwrap()
    }

    fn octets(&self, flow: impl Fn(u16) -> bool) -> usize {
        self.left.iter().filter(|left| flow(left.flow)).map(|left| left.octets).sum()
    }

    fn waiting(&self, flow: u16) -> usize {
        self.queues
            .flows(self.now)
            .find(|report| report.key.is_some_and(|key| key.tuple.source.port() == flow))
            .map_or(0, |report| report.waiting)
    }

    /// Keeps so many packets of a flow waiting.
    fn keep_full(&mut self, flow: u16, ds: u8, packets: usize) {
        for _ in self.waiting(flow)..packets {
            self.send(flow, ds, MTU);
        }
    }
}

/// Every 20 ms a packet of each of so many calls, all in phase.
fn calls(world: &mut World, step: u32, count: u16) {
    if step.is_multiple_of(400) {
        (0..count).for_each(|call| world.send(100 + call, EF, 200));
    }
}

const IS_CALL: fn(u16) -> bool = |flow| flow >= 100;

#[test]
fn ten_calls_wait_for_one_packet_and_for_one_another_beside_a_full_line() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(5), |world, step| {
        world.keep_full(1, 0, 100);
        world.keep_full(2, 0, 100);
        calls(world, step, 10);
    });
    let heard = world.left.iter().filter(|left| IS_CALL(left.flow)).count();
    assert_eq!(heard, 2500, "none is lost");
    assert!(world.longest_wait(IS_CALL) < 2 * MS, "{:?}", world.longest_wait(IS_CALL));
    let rest = world.octets(|flow| !IS_CALL(flow)) * 8 / 5;
    assert!(rest > 16_500_000, "{rest} bit/s are left");
}

#[test]
fn a_question_beside_many_greedy_flows_waits_for_a_packet_or_two() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(5), |world, step| {
        (1..20).for_each(|flow| world.keep_full(flow, 0, 20));
        // When the twenty have begun, which are all new at first.
        if step % 1000 == 500 {
            world.send(100, 0, 80);
        }
    });
    assert!(world.longest_wait(IS_CALL) < 2 * MS, "{:?}", world.longest_wait(IS_CALL));
}

#[test]
fn a_question_of_the_standard_class_passes_bulk_as_well() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(2), |world, step| {
        world.keep_full(1, AF11, 100);
        if step.is_multiple_of(1000) {
            world.send(100, 0, 80);
        }
    });
    assert!(world.longest_wait(IS_CALL) < 2 * MS, "{:?}", world.longest_wait(IS_CALL));
}

#[test]
fn flows_of_a_class_share_it_equally_whatever_the_size_of_their_packets() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(5), |world, _| {
        world.keep_full(1, 0, 50);
        for _ in world.waiting(2)..200 {
            world.send(2, 0, 300);
        }
    });
    let share = world.octets(|flow| flow == 1) as f64 / world.octets(|_| true) as f64;
    assert!((0.49..0.51).contains(&share), "{share}");
}

#[test]
fn classes_share_the_line_by_their_weights() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(5), |world, _| {
        world.keep_full(1, AF41, 50);
        world.keep_full(2, 0, 50);
        world.keep_full(3, AF11, 50);
    });
    let all = world.octets(|_| true) as f64;
    let shares = [1, 2, 3].map(|flow| (world.octets(|other| other == flow) as f64 / all * 16.0).round());
    assert_eq!(shares, [8.0, 7.0, 1.0]);
}

#[test]
fn voice_beyond_half_of_the_line_goes_with_the_rest_and_none_is_dropped() {
    let mut world = World::new(2_000_000);
    // 14 calls: 1.6 Mbit/s with their headers, and a download.
    world.run(Duration::from_secs(2), |world, step| {
        world.keep_full(1, 0, 10);
        if step.is_multiple_of(400) {
            (0..14).for_each(|call| world.send(100 + call, EF, 200));
        }
    });
    let as_voice: usize =
        world.left.iter().filter(|left| left.class == ServiceClass::Voice).map(|left| left.octets).sum();
    assert!(as_voice * 8 / 2 < 800_000, "{as_voice}");
    assert!(world.octets(|flow| flow == 1) > 20_000, "the download goes on");
    assert_eq!(world.drops(DropReason::VoiceTooLate), 0);
}

#[test]
fn a_flood_that_is_marked_as_control_does_not_keep_calls_from_the_line() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(2), |world, step| {
        for _ in 0..2 {
            world.send(1, CS6, MTU);
        }
        calls(world, step, 10);
    });
    let heard = world.left.iter().filter(|left| IS_CALL(left.flow)).count();
    assert_eq!(heard, 1000);
    assert!(world.longest_wait(IS_CALL) < 30 * MS, "{:?}", world.longest_wait(IS_CALL));
    assert!(world.drops(DropReason::QueueFull) + world.drops(DropReason::QueueTooLong) > 1000);
}

#[test]
fn voice_that_waited_until_it_is_of_no_use_goes_and_is_counted() {
    let mut world = World::new(20_000_000);
    // The line is taken for 100 ms by what was staged.
    world.queues.handle_sent(world.now, 250_000);
    world.run(200 * MS, |world, step| calls(world, step, 1));
    assert!(
        (3..=5).contains(&world.drops(DropReason::VoiceTooLate)),
        "{}",
        world.drops(DropReason::VoiceTooLate)
    );
    assert!(world.longest_wait(IS_CALL) <= VOICE_WAIT_MAX);
}

#[test]
fn a_queue_that_stands_loses_packets_and_one_that_can_be_marked_is() {
    for (ds, lost) in [(0, true), (ECT0, false)] {
        let mut world = World::new(20_000_000);
        world.run(Duration::from_secs(3), |world, _| world.keep_full(1, ds, 100));
        let marked = world.left.iter().filter(|left| left.ds & 3 == 3).count();
        let dropped = world.drops(DropReason::QueueTooLong);
        if lost {
            assert!(dropped > 20 && marked == 0, "{dropped}");
        } else {
            assert!(marked > 20 && dropped == 0, "{marked}");
            assert_eq!(world.shared.counters.queue_marked.read().0, marked as u64);
        }
    }
}

#[test]
fn a_burst_is_not_punished() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(3), |world, step| {
        if step.is_multiple_of(4000) {
            (0..100).for_each(|_| world.send(1, 0, MTU));
        }
    });
    assert_eq!(world.left.len(), 1500);
}

#[test]
fn on_a_slow_line_three_packets_may_wait() {
    let mut world = World::new(1_000_000);
    world.run(Duration::from_secs(10), |world, step| {
        if step.is_multiple_of(1200) {
            (0..3).for_each(|_| world.send(1, 0, MTU));
        }
    });
    assert_eq!(world.drops(DropReason::QueueTooLong), 0);
}

#[test]
fn the_line_is_filled_to_the_share_that_the_shaper_leaves() {
    for bits in [1_000_000, 20_000_000, 500_000_000] {
        let mut world = World::new(bits);
        world.run(Duration::from_secs(1), |world, _| world.keep_full(1, 0, 200));
        let on_the_wire = world.left.iter().map(|left| left.octets + AROUND).sum::<usize>() as u64 * 8;
        let share = on_the_wire as f64 / bits as f64;
        assert!((0.955..0.985).contains(&share), "{share} of {bits}");
    }
}

#[test]
fn another_rate_counts_at_once() {
    let mut world = World::new(20_000_000);
    world.run(Duration::from_secs(1), |world, _| world.keep_full(1, 0, 100));
    let before = world.octets(|_| true);
    world.queues.set_rate(Rate::from_bits_per_second(10_000_000));
    world.run(Duration::from_secs(1), |world, _| world.keep_full(1, 0, 100));
    let after = world.octets(|_| true) - before;
    assert!((0.48..0.52).contains(&(after as f64 / before as f64)), "{after} of {before}");
}

#[test]
fn streams_are_held_back_and_not_dropped() {
    let mut world = World::new(20_000_000);
    let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
    world.run(Duration::from_secs(2), |world, _| {
        for _ in 0..world.queues.streams_room() {
            world.queues.enqueue_labelled(world.now, entry, &[0; 1400]);
        }
        world.keep_full(1, 0, 20);
    });
    let streams = world.queues.flows(world.now).find(|report| report.key.is_none()).unwrap();
    assert_eq!((streams.figures.dropped, streams.why), (0, Why::Own));
    assert!((4..=17).contains(&streams.waiting), "{}", streams.waiting);
    let share =
        streams.figures.octets as f64 / (streams.figures.octets as usize + world.octets(|_| true)) as f64;
    assert!((0.11..0.14).contains(&share), "one of eight parts beside the standard class: {share}");
}

#[test]
fn what_the_line_says_itself_goes_first() {
    let mut world = World::new(1_000_000);
    let entry = LabelStackEntry::only(Label::ASSOCIATED, MplsTrafficClass::CONTROL);
    world.keep_full(1, 0, 50);
    calls(&mut world, 0, 3);
    world.queues.enqueue_labelled(world.now, entry, b"hello");
    let first = world.queues.poll_transmit(world.now).unwrap();
    assert_eq!((first.octets, first.label, first.class), (&b"hello"[..], Some(entry), ServiceClass::Control));
}

#[test]
fn on_a_slow_line_voice_goes_between_the_pieces_of_long_packets() {
    for (bits, count, longest) in [(1_000_000, 3, 13 * MS), (2_000_000, 5, 12 * MS), (500_000, 1, 12 * MS)] {
        let mut world = World::new(bits);
        world.queues.set_cuts(true);
        world.run(Duration::from_secs(5), |world, step| {
            world.keep_full(1, 0, 20);
            calls(world, step, count);
        });
        let heard = world.left.iter().filter(|left| IS_CALL(left.flow)).count();
        assert_eq!(heard, usize::from(count) * 250);
        assert!(world.longest_wait(IS_CALL) < longest, "{:?} at {bits}", world.longest_wait(IS_CALL));
        assert!(world.octets(|flow| flow == 1) > 20_000, "the others get through, whole");
        assert_eq!(world.drops(DropReason::PieceLost), 0);
    }
}

#[test]
fn a_fast_line_cuts_nothing() {
    let mut world = World::new(5_000_000);
    world.queues.set_cuts(true);
    world.keep_full(1, 0, 20);
    while let Some(timeout) = world.queues.poll_timeout() {
        let departure = world.queues.poll_transmit(timeout).unwrap();
        assert!(departure.label.is_none() && departure.octets.len() == MTU);
        world.queues.handle_sent(timeout, MTU);
    }
}

#[test]
fn a_packet_of_streams_is_cut_with_its_label() {
    let mut world = World::new(1_000_000);
    world.queues.set_cuts(true);
    let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
    let packet: Vec<u8> = (0..1400).map(|number| number as u8).collect();
    world.queues.enqueue_labelled(world.now, entry, &packet);
    let mut whole = None;
    while let Some(timeout) = world.queues.poll_timeout() {
        let departure = world.queues.poll_transmit(timeout).unwrap();
        let label = LabelStackEntry::only(Label::PIECES, MplsTrafficClass::BULK);
        assert_eq!(departure.label, Some(label));
        let octets = [departure.front.octets(), departure.octets].concat();
        whole = world.pieces.handle_piece(timeout, &octets).map(|whole| whole.to_vec());
        world.queues.handle_sent(timeout, octets.len() + AROUND);
    }
    let mut label = [0; LabelStackEntry::LEN];
    entry.emit(&mut label);
    assert_eq!(whole.unwrap(), [&label[..], &packet].concat());
}

#[test]
fn acknowledgements_that_wait_give_way_to_later_ones_and_the_first_and_the_last_go() {
    let mut world = World::new(1_000_000);
    // The line is taken by what was sent before.
    world.queues.handle_sent(world.now, 12_500);
    let sent: Vec<_> = (0..50).map(|step| acks::tests::segment(1448 * step, 500, 0x10, &[], b"")).collect();
    for packet in &sent {
        world.queues.enqueue_ip(world.now, packet.len(), |out| {
            out[..packet.len()].copy_from_slice(packet);
            packet.len()
        });
    }
    let mut left = Vec::new();
    while let Some(timeout) = world.queues.poll_timeout() {
        left.push(world.queues.poll_transmit(timeout).unwrap().octets.to_vec());
        world.queues.handle_sent(timeout, 100);
    }
    assert_eq!(left, [sent[0].clone(), sent[49].clone()]);
    assert_eq!(world.shared.counters.acks_thinned.read().0, 48);
}

#[test]
fn a_packet_longer_than_the_line_carries_is_refused() {
    let mut world = World::new(1_000_000);
    world.send(1, 0, MTU + 1);
    let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
    world.queues.enqueue_labelled(world.now, entry, &[0; MTU + 1]);
    assert_eq!(world.drops(DropReason::TooLarge), 2);
    assert!(world.queues.is_empty() && world.queues.poll_timeout().is_none());
}

#[test]
fn a_flood_of_one_flow_takes_no_room_from_others() {
    let mut world = World::new(1_000_000);
    world.run(Duration::from_secs(3), |world, step| {
        for _ in 0..5 {
            world.send(1, 0, MTU);
        }
        if step.is_multiple_of(2000) {
            world.send(100, 0, 100);
        }
    });
    assert_eq!(world.left.iter().filter(|left| IS_CALL(left.flow)).count(), 30);
    assert!(world.queues.waiting <= 1_000_000 / 8 + 64 * MTU, "{}", world.queues.waiting);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 500, ..ProptestConfig::default() })]

    /// Whatever comes, everything is sent once or counted as dropped, and all places are free again at the end.
    #[test]
    fn nothing_is_lost_without_being_counted(
        rate in 8_000_u64..2_000_000_000,
        packets in proptest::collection::vec((0_u16..2000, any::<u8>(), 36_usize..=MTU, 0_u64..3_000), 1..6000),
    ) {
        let mut world = World::new(rate);
        world.queues.set_cuts(true);
        for (flow, ds, len, pause) in &packets {
            world.send(*flow, *ds, *len);
            world.now += *pause as u32 * US;
            world.release();
        }
        world.drain();
        let dropped: u64 = DropReason::ALL.into_iter().map(|reason| world.drops(reason)).sum();
        let thinned = world.shared.counters.acks_thinned.read().0;
        prop_assert_eq!(world.left.len() as u64 + dropped + thinned, packets.len() as u64);
        prop_assert!(world.queues.is_empty());
        let queues = &mut world.queues;
        queues.free_leaving();
        let places = std::iter::from_fn(|| queues.pool.take(STREAMS, world.now)).count();
        prop_assert_eq!(places, PACKETS_MAX);
    }
}

/// More flows than there are places for, of which many have just lost their last packet.
#[test]
fn flows_that_crowd_in_one_set_lose_no_packet() {
    let mut world = World::new(10_000_000);
    for round in 0..2000_u16 {
        for flow in 0..40 {
            world.send(round % 61 + flow * 100, 0, 400);
        }
        world.now += 5 * MS;
        world.release();
    }
    world.drain();
    assert!(world.queues.is_empty());
}

#[test]
fn voice_that_is_held_leaves_together_and_in_time() {
    let mut world = World::new(1_000_000);
    world.queues.set_voice_hold(4 * MS);
    world.send(1, EF, 60);
    world.release();
    assert!(world.left.is_empty());
    assert_eq!(world.queues.poll_timeout(), Some(world.now + 4 * MS));
    world.now += 2 * MS;
    (2..5).for_each(|flow| world.send(flow, EF, 60));
    // What is no voice does not wait.
    world.send(9, 0, 100);
    world.release();
    assert_eq!(world.left.iter().map(|left| left.flow).collect::<Vec<_>>(), [9]);
    world.now += 2 * MS;
    let departure = world.queues.poll_transmit(world.now).unwrap();
    assert_eq!((departure.class, departure.octets[21]), (ServiceClass::Voice, 1));
    let mut taken = Vec::new();
    world.queues.take_voice(world.now, |packet| {
        taken.push(packet[21]);
        packet[21] < 4
    });
    assert_eq!(taken, [2, 3, 4]);
    world.queues.handle_sent(world.now, 400);
    // Those of which something has left.
    assert_eq!(world.queues.calls(world.now), 3);
    // The one that was not taken is still there.
    world.now += 4 * MS;
    world.release();
    assert_eq!(world.left.last().map(|left| left.flow), Some(4));
    assert!(world.queues.is_empty());
}

#[test]
fn voice_may_take_all_of_a_line_that_nobody_else_wants() {
    let mut world = World::new(1_000_000);
    // 80 % of the line.
    world.run(2000 * MS, |world, step| {
        if step % 40 == 0 {
            world.send((step / 40 % 4) as u16, EF, 120);
        }
    });
    assert!(world.left.iter().all(|left| left.class == ServiceClass::Voice));
}

/// Control word and headers of a frame.
const FRONT: usize = 18;

impl World {
    /// Puts a frame into queues that have room for it, with an IP packet of `len` octets from port `flow`.
    fn send_frame(&mut self, flow: u16, ds: u8, priority: Dscp, len: usize) {
        let shape = FrameShape { len_max: FRONT + len, ip_at: FRONT, priority };
        let lan = LabelStackEntry::only(Label::FIRST_GIVEN_OUT, MplsTrafficClass::STANDARD);
        self.queues.enqueue_frame(self.now, lan, shape, |out| {
            out[..FRONT + len].fill(0);
            let packet = &mut out[FRONT..];
            packet[..20]
                .copy_from_slice(&[0x45, ds, 0, 0, 0, 0, 0x40, 0, 64, UDP, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9]);
            packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            packet[20..22].copy_from_slice(&flow.to_be_bytes());
            FRONT + len
        });
    }

    /// Queues of a line that is joined to an Ethernet.
    fn with_frames(bits_per_second: u64) -> Self {
        let mut world = Self::new(bits_per_second);
        let rate = world.queues.rate();
        world.queues = Queues::new(rate, MTU, Arc::clone(&world.shared), world.now).with_frames(FRONT + 1500);
        world.pieces = Pieces::new(FRONT + 1504, Arc::clone(&world.shared));
        world.queues.set_cuts(true);
        world
    }

    /// What leaves, class by class, and what the far end makes of it.
    fn departures(&mut self) -> Vec<(ServiceClass, Vec<u8>)> {
        let mut left = Vec::new();
        while let Some(timeout) = self.queues.poll_timeout() {
            self.now = timeout.max(self.now);
            let Some(departure) = self.queues.poll_transmit(self.now) else { continue };
            let (class, label) = (departure.class, departure.label.unwrap());
            let octets = [departure.front.octets(), departure.octets].concat();
            assert!(octets.len() + LabelStackEntry::LEN <= MTU, "longer than the medium takes");
            self.queues.handle_sent(self.now, octets.len() + AROUND);
            if label.label != Label::PIECES {
                assert_eq!(label.class, class.traffic_class());
                left.push((class, octets));
            } else if let Some(whole) = self.pieces.handle_piece(self.now, &octets) {
                left.push((class, whole[LabelStackEntry::LEN..].to_vec()));
            }
        }
        left
    }
}

#[test]
fn frames_are_served_by_the_packets_in_them_and_else_by_their_tag() {
    let mut world = World::with_frames(10_000_000);
    world.send_frame(1, AF11, Dscp::EF, 300);
    world.send_frame(2, 0, Dscp::DF, 300);
    world.send_frame(3, 0, Dscp::CS4, 300);
    world.send_frame(4, EF, Dscp::DF, 200);
    let classes: Vec<_> = world.departures().into_iter().map(|(class, _)| class).collect();
    let [voice, interactive, standard, bulk] =
        [ServiceClass::Voice, ServiceClass::Interactive, ServiceClass::Standard, ServiceClass::Bulk];
    assert_eq!(classes, [voice, interactive, standard, bulk]);
    assert_eq!(world.queues.flows(world.now).count(), 4, "they are told by what is in them");
}

#[test]
fn a_frame_longer_than_the_medium_takes_leaves_in_two_pieces_on_a_fast_line_too() {
    for ds in [0, EF] {
        let mut world = World::with_frames(1_000_000_000);
        for _ in 0..50 {
            world.send_frame(1, ds, Dscp::DF, 1500);
        }
        let left = world.departures();
        assert_eq!(left.len(), 50);
        assert!(left.iter().all(|(_, octets)| octets.len() == FRONT + 1500));
        assert_eq!(world.shared.piece_numbers.take(1), 101, "two pieces each");
    }
}

#[test]
fn a_frame_too_long_for_a_far_end_that_joins_no_pieces_is_dropped_and_counted() {
    let mut world = World::with_frames(10_000_000);
    world.queues.set_cuts(false);
    world.send_frame(1, 0, Dscp::DF, 1500);
    world.send_frame(1, 0, Dscp::DF, 1398);
    assert_eq!((world.departures().len(), world.drops(DropReason::TooLarge)), (1, 1));
}

#[test]
fn frames_that_wait_for_long_are_marked_in_their_packets() {
    let mut world = World::with_frames(1_000_000);
    for _ in 0..100 {
        world.send_frame(1, ECT0, Dscp::DF, 1000);
    }
    let left = world.departures();
    let marked = left.iter().filter(|(_, octets)| octets[FRONT + 1] & 3 == 3).count();
    assert!(marked > 0 && left.len() == 100, "{marked} of {}", left.len());
}
