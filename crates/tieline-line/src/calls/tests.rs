use std::time::{Instant, UNIX_EPOCH};

use proptest::prelude::*;

use super::{codec::Codec, *};

/// One phone that speaks, packet by packet.
struct Phone {
    host: u8,
    port: u16,
    ssrc: u32,
    payload_type: u8,
    payload: usize,
    step: u32,
}

impl Phone {
    fn g711(host: u8) -> Self {
        Self { host, port: 16384, ssrc: u32::from(host), payload_type: 0, payload: 160, step: 160 }
    }

    fn packet(&self, n: u16) -> Vec<u8> {
        let udp_len = (8 + 12 + self.payload) as u16;
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, self.host, 10, 2, 0, 9];
        packet[2..4].copy_from_slice(&(20 + udp_len).to_be_bytes());
        packet.extend([0x9c, 0x40]);
        packet.extend(self.port.to_be_bytes());
        packet.extend(udp_len.to_be_bytes());
        packet.extend([0, 0, 0x80, self.payload_type]);
        packet.extend(n.to_be_bytes());
        packet.extend(u32::from(n).wrapping_mul(self.step).to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.resize(packet.len() + self.payload, 0xd5);
        packet
    }
}

/// The calls of a line and the clock.
struct Scene {
    calls: Calls,
    now: Now,
    delay: Option<Duration>,
}

impl Scene {
    fn new() -> Self {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) };
        Self { calls: Calls::default(), now, delay: Some(Duration::from_millis(20)) }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        while self.calls.poll_timeout().is_some_and(|turn| turn <= self.now.monotonic) {
            self.calls.handle_timeout(self.now, self.delay);
        }
    }

    /// Packets of 20 ms, those of which `arrives` says so.
    fn speak(&mut self, phones: &[Phone], numbers: std::ops::Range<u16>, arrives: impl Fn(u16) -> bool) {
        for n in numbers {
            for phone in phones {
                if arrives(n) {
                    self.calls.handle_packet(self.now, &phone.packet(n));
                }
            }
            self.pass(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_good_call_is_followed_rated_and_kept() {
    let mut scene = Scene::new();
    scene.speak(&[Phone::g711(7)], 0..1500, |_| true);
    let snapshot = scene.calls.snapshot();
    let [stream] = &snapshot.streams[..] else { panic!("{snapshot:?}") };
    assert_eq!(stream.tuple.source, "10.1.0.7:40000".parse().unwrap());
    assert_eq!(stream.codec, Codec::G711);
    assert_eq!((stream.tally.expected, stream.tally.lost(), stream.tally.late), (1496, 0, 0));
    // 20 ms in the packet, 20 ms of line, 60 ms of buffer: the 100 ms of the table.
    assert_eq!((stream.rating.mos() * 100.0).round(), 436.0);
    assert_eq!(stream.rating_now, stream.rating_worst);
    scene.pass(IDLE_MAX);
    let snapshot = scene.calls.snapshot();
    assert_eq!((snapshot.streams.len(), snapshot.ended.len()), (0, 1));
    assert_eq!(scene.calls.poll_timeout(), None, "no calls, nothing to do");
    let [hour] = &snapshot.hours[..] else { panic!("{snapshot:?}") };
    assert_eq!((hour.streams, hour.expected, hour.lost), (1, 1496, 0));
}

#[test]
fn loss_is_rated_as_the_table_says() {
    let mut scene = Scene::new();
    scene.speak(&[Phone::g711(7)], 0..5005, |n| n % 50 != 10);
    let stream = scene.calls.snapshot().streams[0];
    assert_eq!(stream.tally.lost(), 100);
    assert_eq!((stream.rating.mos() * 100.0).round(), 415.0, "2 % at 100 ms");
}

#[test]
fn worst_interval_is_remembered_and_now_forgets() {
    let mut scene = Scene::new();
    scene.speak(&[Phone::g711(7)], 0..2000, |n| !(1000..1100).contains(&n));
    let stream = scene.calls.snapshot().streams[0];
    assert!(stream.rating_worst.unwrap().mos() < 2.0);
    assert!(stream.rating_now.unwrap().mos() > 4.3);
    assert!(stream.rating_worst < Some(stream.rating) && Some(stream.rating) < stream.rating_now);
}

#[test]
fn without_a_known_delay_the_rest_is_rated() {
    let mut scene = Scene::new();
    scene.delay = None;
    scene.speak(&[Phone::g711(7)], 0..500, |_| true);
    let stream = scene.calls.snapshot().streams[0];
    assert_eq!(stream.delay, None);
    assert!(stream.rating.mos() > 4.36);
}

#[test]
fn tones_are_no_other_codec_and_a_change_of_codec_is_one() {
    let mut scene = Scene::new();
    let voice = || Phone::g711(7);
    scene.speak(&[voice()], 0..100, |_| true);
    // A key is held: all packets of the tone have the timestamp of its beginning.
    scene.speak(&[Phone { payload_type: 101, payload: 4, step: 0, ..voice() }], 100..115, |_| true);
    scene.speak(&[voice()], 115..300, |_| true);
    let stream = scene.calls.snapshot().streams[0];
    assert_eq!((stream.payload_type, stream.tally.lost(), stream.tally.late), (0, 0, 0));
    assert!(stream.jitter < Duration::from_micros(100));
    let opus = Phone { payload_type: 111, payload: 60, step: 960, ..voice() };
    scene.speak(&[opus], 300..600, |_| true);
    let stream = scene.calls.snapshot().streams[0];
    assert_eq!((stream.codec, stream.tally.lost(), stream.tally.late), (Codec::Opus, 0, 0));
}

#[test]
fn a_call_that_is_handed_on_stays_one_stream() {
    let mut scene = Scene::new();
    scene.speak(&[Phone::g711(7)], 0..200, |_| true);
    scene.speak(&[Phone { ssrc: 99, ..Phone::g711(7) }], 30_000..30_200, |_| true);
    let stream = scene.calls.snapshot().streams[0];
    assert_eq!((stream.tally.expected, stream.tally.lost()), (392, 0));
}

#[test]
fn what_is_no_call_is_not_followed() {
    let mut scene = Scene::new();
    let mut tcp = Phone::g711(7);
    let odd = Phone { port: 16385, ..Phone::g711(8) };
    let large = Phone { payload: 1000, ..Phone::g711(9) };
    scene.speak(&[odd, large], 0..200, |_| true);
    for n in 0..200 {
        tcp.ssrc = n.into();
        let mut packet = tcp.packet(n);
        packet[9] = transport::TCP;
        scene.calls.handle_packet(scene.now, &packet);
        scene.pass(Duration::from_millis(20));
    }
    assert_eq!(scene.calls.snapshot(), Snapshot::default());
    assert_eq!(scene.calls.poll_timeout(), None);
}

#[test]
fn many_calls_at_once_are_all_found_though_their_places_collide() {
    let mut scene = Scene::new();
    let phones: Vec<_> = (0..100).map(Phone::g711).collect();
    scene.speak(&phones, 0..100, |_| true);
    assert_eq!(scene.calls.snapshot().streams.len(), 100);
}

#[test]
fn of_too_many_streams_the_longest_silent_goes_and_is_counted() {
    let mut scene = Scene::new();
    let phone = |n: u16| Phone { port: 2 * n + 10_000, ..Phone::g711(7) };
    for n in 0..300 {
        scene.speak(&[phone(n)], 0..5, |_| true);
    }
    let snapshot = scene.calls.snapshot();
    assert_eq!(snapshot.streams.len(), STREAMS_MAX);
    assert_eq!((snapshot.ended.len() as u64, snapshot.unfollowed), (44, 44));
    let ports: Vec<_> = snapshot.ended.iter().map(|ended| ended.tuple.destination.port()).collect();
    assert!(ports.is_sorted() && ports[0] == 10_000, "{ports:?}");
    for n in 300..1500 {
        scene.speak(&[phone(n)], 0..5, |_| true);
    }
    assert_eq!(scene.calls.snapshot().ended.len(), ENDED_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, in whatever order: nothing panics, and every count is possible.
    #[test]
    fn nothing_that_arrives_upsets_it(
        arrivals in prop::collection::vec((0u8..4, 0u8..3, any::<u16>(), any::<u32>(), 0u64..3000, any::<bool>()), 1..300),
    ) {
        let mut scene = Scene::new();
        scene.speak(&[Phone::g711(0), Phone::g711(1)], 0..10, |_| true);
        for (host, ssrc, number, step, millis, is_close) in arrivals {
            let number = if is_close { 10 + number % 100 } else { number };
            let phone = Phone { ssrc: ssrc.into(), step: step % 100_000, payload_type: (step % 128) as u8, ..Phone::g711(host) };
            scene.calls.handle_packet(scene.now, &phone.packet(number));
            scene.pass(Duration::from_millis(millis));
        }
        scene.pass(IDLE_MAX);
        let snapshot = scene.calls.snapshot();
        prop_assert!(snapshot.streams.is_empty());
        for stream in snapshot.ended {
            let tally = stream.tally;
            prop_assert!(tally.received <= tally.expected && tally.late <= tally.received);
            prop_assert!(tally.settled == tally.expected && tally.missed == tally.lost() + tally.late, "{tally:?}");
            prop_assert!((1.0..=4.5).contains(&stream.rating.mos()));
        }
    }
}
