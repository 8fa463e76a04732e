use super::*;
use crate::protection::Protector;

const STREAM: StreamId = StreamId::of(5);

fn packet(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [0x45, high, low, 0xee]
}

fn source(stream: StreamId, number: u16) -> Vec<u8> {
    [&Position { stream, sequence: number }.emit_source()[..], &packet(number)].concat()
}

/// What `restorer` hands on of the source packet.
fn take(restorer: &mut Restorer, now: Instant, number: u16) -> bool {
    let source = source(STREAM, number);
    let taken = restorer.handle_packet(now, &source);
    assert!(taken.is_none_or(|taken| taken == packet(number)));
    taken.is_some()
}

/// The octets of `count` source packets, each with the repair packets behind it.
fn protected(now: Instant, stream: StreamId, count: u16) -> Vec<Vec<u8>> {
    let mut protector = Protector::new(stream, 1420);
    protector.set_on(true);
    let mut octets = Vec::new();
    for number in 0..count {
        let header = protector.handle_packet(now, &packet(number)).unwrap();
        octets.push([&header[..], &packet(number)].concat());
        while let Some(repair) = protector.poll_transmit(now) {
            octets.push(repair.to_vec());
        }
    }
    octets
}

#[test]
fn source_packets_are_handed_on_once_and_at_once_in_any_order() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    for number in [65_534, 65_535, 1, 0, 3, 1000] {
        assert!(take(&mut restorer, now, number), "{number}");
        assert!(!take(&mut restorer, now, number), "{number}");
    }
    assert_eq!((restorer.counts().copies, restorer.counts().received), (6, 6));
    assert_eq!(restorer.counts().expected, 1003);
    assert_eq!(restorer.poll_restored(now), None);
}

#[test]
fn a_lost_packet_is_made_again_by_the_next_repair_packet() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    for (at, octets) in protected(now, STREAM, 12).into_iter().enumerate() {
        // Source packets 0 to 3, with repair packets behind 1 and 3; the second one of each is lost.
        if [1, 4].contains(&at) {
            continue;
        }
        let handed_on = restorer.handle_packet(now, &octets).is_some();
        let restored = restorer.poll_restored(now).map(<[u8]>::to_vec);
        match at {
            2 => assert_eq!(restored, Some(packet(1).to_vec())),
            5 => assert_eq!(restored, Some(packet(3).to_vec())),
            _ => assert_eq!((handed_on, restored), (at % 3 != 2, None), "{at}"),
        }
        assert_eq!(restorer.poll_restored(now), None);
    }
    // Too late: it is there already.
    assert!(!take(&mut restorer, now, 1));
    assert_eq!((restorer.counts().restored, restorer.counts().copies), (2, 1));
}

#[test]
fn what_nobody_waits_for_any_more_is_dropped() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    let octets = protected(now, STREAM, 4);
    restorer.handle_packet(now, &octets[0]).unwrap();
    restorer.handle_packet(now, &octets[3]).unwrap();
    assert_eq!(restorer.handle_packet(now + OF_USE * 2, &octets[2]), None);
    assert_eq!(restorer.poll_restored(now + OF_USE * 2), None);
    assert_eq!(restorer.counts().too_late, 1);
}

#[test]
fn packets_of_all_lengths_are_made_again() {
    let now = Instant::now();
    let mut protector = Protector::new(STREAM, 1420);
    protector.set_on(true);
    let mut restorer = Restorer::default();
    let mut arrived = 0;
    for (at, len) in
        [20, 253, 254, 255, 600, 1, 700, 1400, 30, 1407].into_iter().cycle().take(100).enumerate()
    {
        let packet: Vec<u8> = (0..len).map(|octet: u32| (octet * 7 + at as u32) as u8).collect();
        let header = protector.handle_packet(now, &packet).unwrap();
        if at % 4 != 2 {
            let source = [&header[..], &packet].concat();
            assert_eq!(restorer.handle_packet(now, &source), Some(&packet[..]));
            arrived += 1;
        }
        while let Some(repair) = protector.poll_transmit(now) {
            restorer.handle_packet(now, repair);
        }
        while let Some(restored) = restorer.poll_restored(now) {
            assert!(
                restored.iter().enumerate().all(|(octet, value)| {
                    *value == (octet as u8).wrapping_mul(7).wrapping_add(restored[0])
                })
            );
            arrived += 1;
        }
    }
    assert!(arrived >= 95, "{arrived}");
}

#[test]
fn each_lane_counts_by_itself() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    let streams = [0, 1, 2, 3].map(|lane| StreamId::of_lane(lane, 5));
    let mut lanes = streams.map(|stream| protected(now, stream, 6).into_iter());
    let mut arrived = 0;
    for at in 0..9 {
        for lane in &mut lanes {
            let octets = lane.next().unwrap();
            if at != 1 {
                arrived += usize::from(restorer.handle_packet(now, &octets).is_some());
            }
            while restorer.poll_restored(now).is_some() {
                arrived += 1;
            }
        }
    }
    assert_eq!((arrived, restorer.counts().restored), (24, 4));
    let reports = std::iter::from_fn(|| restorer.poll_report(now + REPORT_INTERVAL));
    assert_eq!(reports.map(|report| report.stream).collect::<Vec<_>>(), streams);
}

#[test]
fn a_new_stream_begins_anew_and_the_old_one_does_not_come_back() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    assert!(take(&mut restorer, now, 700));
    let other = source(StreamId::of(6), 10);
    assert!(restorer.handle_packet(now, &other).is_some());
    assert!(!take(&mut restorer, now, 701));
    assert_eq!(restorer.counts().behind, 1);
    assert!(restorer.handle_packet(now, &source(StreamId::of(6), 11)).is_some());
}

#[test]
fn a_count_that_goes_back_is_believed_after_silence_only() {
    let mut now = Instant::now();
    let mut restorer = Restorer::default();
    assert!(take(&mut restorer, now, 20_000));
    for _ in 0..4 {
        now += SILENCE / 4;
        assert!(!take(&mut restorer, now, 10_000));
    }
    now += Duration::from_millis(1);
    assert!(take(&mut restorer, now, 10_001));
    assert!(take(&mut restorer, now, 10_000));
    assert_eq!(restorer.counts().behind, 4);
}

#[test]
fn a_pause_is_no_new_count() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    assert!(take(&mut restorer, now, 1));
    assert!(!take(&mut restorer, now + SILENCE * 10, 1));
    assert!(take(&mut restorer, now + SILENCE * 10, 2));
}

#[test]
fn nonsense_is_counted_and_hurts_nobody() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    for octets in [&[][..], &[0x10, 5, 0, 0], &[0x30, 5, 0, 0, 1], &[0x20, 5, 0, 0, 0, 0, 0, 1]] {
        assert_eq!(restorer.handle_packet(now, octets), None);
    }
    assert_eq!(restorer.counts().malformed, 4);
    // A repair packet that says of packets that are there that they were others, and one whose symbol has no packet.
    assert!(take(&mut restorer, now, 0));
    assert!(take(&mut restorer, now, 1));
    restorer.handle_packet(now, &[0x20, 5, 0, 1, 2, 0, 1, 9, 9, 9]);
    assert_eq!(restorer.counts().contradictions, 1);
    restorer.handle_packet(now, &[0x20, 5, 0, 2, 1, 0, 1, 0xff, 0xff, 9]);
    assert_eq!(restorer.poll_restored(now), None);
    assert_eq!(restorer.counts().malformed, 5);
    assert!(take(&mut restorer, now, 3));
}

#[test]
fn the_far_end_is_told_twice_a_second_while_packets_come() {
    let now = Instant::now();
    let mut restorer = Restorer::default();
    assert_eq!(restorer.poll_report(now), None);
    for (at, octets) in protected(now, STREAM, 100).iter().enumerate() {
        if at % 5 != 4 {
            restorer.handle_packet(now, octets);
        }
        while restorer.poll_restored(now).is_some() {}
    }
    assert_eq!(restorer.poll_report(now), None);
    let report = restorer.poll_report(now + REPORT_INTERVAL).unwrap();
    let counts = restorer.counts();
    assert_eq!(u64::from(report.received), counts.received);
    assert_eq!(u64::from(report.restored), counts.restored);
    assert!(report.restored > 0 && report.received + report.restored <= report.expected);
    assert_eq!((report.stream, report.expected), (STREAM, 100));
    assert_eq!(restorer.poll_report(now + REPORT_INTERVAL * 2), None);
}
