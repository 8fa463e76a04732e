//! Protected packets through two whole lines: sealed, some of them lost, opened, and handed on once; and what one end reports turns the
//! other's repair packets on.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod pair;

use std::time::Duration;

use pair::{End, MTU, connected, start};
use tieline_line::{Delivery, HEADROOM, Outgoing, TAILROOM, counters::DropReason, protection::Protector};
use tieline_wire::{
    label::{Label, LabelStackEntry, MplsTrafficClass},
    protected::PACKET_LEN_MAX,
    time::Now,
};

#[test]
fn what_is_lost_on_the_way_comes_all_the_same_and_nothing_twice() {
    let now = start();
    let [mut near, mut far] = introduced(now);
    let mut protector = Protector::new(near.shared.protection.stream(0).unwrap(), MTU);
    protector.set_on(true);
    let mut came = Vec::new();
    for number in 0..100 {
        let packet = packet(number, [10, 1, 0, 1]);
        let header = protector.handle_packet(now.monotonic, &packet).unwrap();
        let source = seal(&mut near, now, &[&header[..], &packet].concat());
        if number % 5 != 3 {
            came.extend(open(&mut far, &near, now, source.clone()));
            assert!(open(&mut far, &near, now, source).is_empty(), "a replay");
        }
        while let Some(repair) = protector.poll_transmit(now.monotonic).map(<[u8]>::to_vec) {
            let repair = seal(&mut near, now, &repair);
            came.extend(open(&mut far, &near, now, repair));
        }
    }
    came.sort();
    assert_eq!(came, (0..100).map(|number| packet(number, [10, 1, 0, 1])).collect::<Vec<_>>());
    let counts = far.shared.protection.received();
    assert_eq!((counts.received, counts.restored, counts.expected), (80, 20, 100));
}

#[test]
fn what_comes_protected_is_let_in_by_its_source_as_everything_is() {
    let now = start();
    let [mut near, mut far] = introduced(now);
    let mut protector = Protector::new(near.shared.protection.stream(0).unwrap(), MTU);
    let foreign = packet(1, [10, 9, 0, 1]);
    let nested = [&[0, 2, 0x1b, 0xff][..], &foreign].concat();
    for packet in [foreign, nested, vec![0x90; 40]] {
        let header = protector.handle_packet(now.monotonic, &packet).unwrap();
        let source = seal(&mut near, now, &[&header[..], &packet].concat());
        assert!(open(&mut far, &near, now, source).is_empty());
    }
    for reason in [DropReason::SourceNotAccepted, DropReason::UnknownLabel, DropReason::UnknownNibble] {
        assert_eq!(far.shared.counters.drops(reason), 1, "{reason:?}");
    }
}

#[test]
fn a_report_of_loss_turns_repair_packets_on_and_silence_turns_them_off() {
    let now = start();
    let [mut near, mut far] = introduced(now);
    let mut protector = Protector::new(near.shared.protection.stream(0).unwrap(), MTU);
    for number in 0..100 {
        let packet = packet(number, [10, 1, 0, 1]);
        let header = protector.handle_packet(now.monotonic, &packet).unwrap();
        let source = seal(&mut near, now, &[&header[..], &packet].concat());
        if number % 20 != 3 {
            open(&mut far, &near, now, source);
        }
    }
    let mut later = after(now, Duration::from_millis(500));
    let report = far.inbound.poll_protection_report(later.monotonic).unwrap();
    assert_eq!((report.expected, report.received), (100, 95));
    far.control.report_protection(report);
    let message = std::iter::from_fn(|| far.control.poll_packet()).find_map(|outgoing| match outgoing {
        Outgoing::Labelled { entry, payload } if payload[2..4] == [0x7f, 0xfe] => Some((entry, payload)),
        _ => None,
    });
    let (entry, payload) = message.expect("a report");
    assert_eq!(entry.label, Label::ASSOCIATED);
    assert!(!near.shared.protection.is_on());
    near.control.handle_associated(later, later, far.address, &payload);
    assert!(near.shared.protection.is_on());
    assert_eq!((near.control.protection().lost(), near.control.protection().loss_per_mille()), (5, Some(50)));
    later = after(later, Duration::from_secs(31));
    near.control.handle_timeout(later);
    assert!(!near.shared.protection.is_on());
}

/// Two ends that have told each other the labels that they give out.
fn introduced(now: Now) -> [End; 2] {
    let [near, far] = connected(now);
    near.shared.labels.set_far(far.shared.labels.give_out());
    far.shared.labels.set_far(near.shared.labels.give_out());
    [near, far]
}

fn after(now: Now, time: Duration) -> Now {
    Now { monotonic: now.monotonic + time, wall: now.wall + time }
}

/// A packet of IPv4 that says which one it is.
fn packet(number: u8, source: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![number; 60];
    packet[..10].copy_from_slice(&[0x45, 0xb8, 0, 60, 0, 0, 0, 0, 64, 17]);
    packet[10..12].copy_from_slice(&[0, 0]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&[10, 2, 0, 1]);
    packet
}

/// The datagram of a protected packet.
fn seal(end: &mut End, now: Now, protected: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0xa5; HEADROOM + protected.len() + TAILROOM];
    buffer[HEADROOM..HEADROOM + protected.len()].copy_from_slice(protected);
    let label = end.shared.labels.to_protect().expect("given out");
    let entry = LabelStackEntry::only(label, MplsTrafficClass::VOICE);
    let outcome = end.outbound.seal_labelled(now.monotonic, entry, &mut buffer, protected.len());
    outcome.datagram.expect("a session").1.to_vec()
}

/// What `end` hands on of a datagram of `from`.
fn open(end: &mut End, from: &End, now: Now, mut datagram: Vec<u8>) -> Vec<Vec<u8>> {
    let ip = |delivery: Delivery<'_>| match delivery {
        Delivery::Ip(packet) => Some(packet.to_vec()),
        _ => None,
    };
    let received = end.inbound.handle_datagram(now.monotonic, from.address, &mut datagram);
    let mut packets: Vec<_> = ip(received.delivery).into_iter().collect();
    let mut buffer = [0xa5; PACKET_LEN_MAX];
    while let Some(delivery) = end.inbound.poll_restored(now.monotonic, &mut buffer) {
        packets.extend(ip(delivery));
    }
    packets
}
