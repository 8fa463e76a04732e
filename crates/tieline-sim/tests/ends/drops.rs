//! What is not let in, and what is not sent, each counted by its reason.

use tieline_line::counters::DropReason;
use tieline_line::outbound::STAGED_PACKETS_MAX;
use tieline_sim::ends::{Ends, Kind, MTU, Side};
use tieline_wire::label::{Label, LabelStackEntry, MplsTrafficClass};

use crate::{MS, SECOND, path};

/// A far end that has the key and sends whatever it likes.
fn hostile() -> Ends {
    let mut ends = Ends::new(1, &path(15 * MS));
    ends.setup(Side::B).kind = Kind::WireGuard;
    ends.start(Side::A);
    ends.start(Side::B);
    ends.advance(SECOND);
    ends
}

fn labelled(entry: LabelStackEntry, payload: &[u8]) -> Vec<u8> {
    let mut octets = [0; LabelStackEntry::LEN];
    entry.emit(&mut octets);
    octets.iter().chain(payload).copied().collect()
}

fn ipv4(source: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&Side::A.host().octets());
    packet
}

#[test]
fn what_a_far_end_may_not_send_is_dropped_and_counted_by_its_reason() {
    let associated = LabelStackEntry::only(Label::ASSOCIATED, MplsTrafficClass::CONTROL);
    let unknown = LabelStackEntry::only(Label::new(4711).unwrap(), MplsTrafficClass::BULK);
    let deep = LabelStackEntry { bottom: false, ..associated };
    let cases: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("a source in nobody's office", ipv4([10, 9, 0, 1]), DropReason::SourceNotAccepted),
        ("our own office as the source", ipv4(Side::A.host().octets()), DropReason::SourceNotAccepted),
        ("IPv6 that was not offered", [vec![0x60], vec![0; 39]].concat(), DropReason::SourceNotAccepted),
        ("a header longer than the packet", vec![0x45, 0, 0], DropReason::MalformedIp),
        (
            "a total length beyond the end",
            {
                let mut p = ipv4([10, 2, 0, 1]);
                p[2] = 4;
                p
            },
            DropReason::MalformedIp,
        ),
        ("a nibble of nothing", vec![0x10, 2, 3], DropReason::UnknownNibble),
        ("another nibble of nothing", vec![0xff; 40], DropReason::UnknownNibble),
        ("half a label", vec![0, 0], DropReason::MalformedLabelStack),
        ("two labels", labelled(deep, &[0; 8]), DropReason::MalformedLabelStack),
        ("a label of no channel", labelled(unknown, b"hello"), DropReason::UnknownLabel),
        ("an associated channel without header", labelled(associated, &[]), DropReason::MalformedMessage),
        (
            "a hello cut short",
            labelled(associated, &[0x10, 0, 0x7f, 0xf8, 1, 1]),
            DropReason::MalformedMessage,
        ),
        (
            "a channel type of nobody",
            labelled(associated, &[0x10, 0, 0x7f, 0xff]),
            DropReason::MalformedMessage,
        ),
        (
            "an alert of no meaning",
            labelled(associated, &[0x10, 0, 0x7f, 0xfb, 9, 9, 0, 0]),
            DropReason::MalformedMessage,
        ),
    ];
    let mut ends = hostile();
    for (what, packet, reason) in cases {
        let before = DropReason::ALL.map(|reason| ends.drops(Side::A, reason));
        ends.send_octets(Side::B, &packet);
        ends.advance(20 * MS);
        for (index, each) in DropReason::ALL.into_iter().enumerate() {
            let expected = before[index] + u64::from(each == reason);
            assert_eq!(ends.drops(Side::A, each), expected, "{what}: {each:?}");
        }
        assert!(ends.take_received(Side::A).is_empty(), "{what}");
    }
    let number = ends.send(Side::B);
    ends.advance(20 * MS);
    assert!(ends.arrival(number).is_some(), "what is allowed goes on");
}

#[test]
fn what_waits_for_a_session_is_bounded_and_the_newest_are_kept() {
    let mut ends = Ends::new(2, &path(15 * MS));
    ends.start(Side::A);
    let sent: Vec<u64> = (0..STAGED_PACKETS_MAX + 30).map(|_| ends.send(Side::A)).collect();
    assert_eq!(ends.drops(Side::A, DropReason::StagedQueueFull), 30);
    ends.start(Side::B);
    ends.advance(SECOND);
    let arrived = ends.take_received(Side::B);
    assert_eq!(arrived, sent[30..], "in their order, the oldest dropped");
}

#[test]
fn what_has_waited_for_too_long_is_not_sent_any_more() {
    let mut ends = Ends::new(3, &path(15 * MS));
    ends.start(Side::A);
    let old = ends.send(Side::A);
    ends.advance(5900 * MS);
    let new = ends.send(Side::A);
    ends.start(Side::B);
    ends.advance(SECOND);
    assert_eq!(ends.arrival(old), None);
    assert!(ends.arrival(new).is_some());
    assert_eq!(ends.drops(Side::A, DropReason::StagedTooLong), 1);
}

#[test]
fn packets_that_the_line_does_not_carry_are_counted_and_not_sent() {
    let mut ends = Ends::connected(4, &path(15 * MS));
    ends.send_octets(Side::A, &[0x45, 0, 0, 20]);
    ends.send_octets(Side::A, &[]);
    assert_eq!(ends.drops(Side::A, DropReason::NotIp), 2);
    let mut long = vec![0; MTU];
    long[0] = 0x45;
    long[2..4].copy_from_slice(&(MTU as u16).to_be_bytes());
    ends.send_octets(Side::A, &long);
    assert_eq!(ends.drops(Side::A, DropReason::TooLarge), 0, "a packet of the MTU is carried");
}

#[test]
fn a_probe_longer_than_our_packets_is_not_answered_and_breaks_nothing() {
    let associated = LabelStackEntry::only(Label::ASSOCIATED, MplsTrafficClass::CONTROL);
    let probe = [&[0x10, 0, 0x7f, 0xf9][..], &[0; 4 * MTU]].concat();
    let mut ends = hostile();
    ends.send_octets(Side::B, &labelled(associated, &probe));
    ends.advance(20 * MS);
    assert_eq!(ends.drops(Side::A, DropReason::TooLarge), 1);
    let number = ends.send(Side::A);
    ends.advance(20 * MS);
    assert!(ends.arrival(number).is_some());
}

#[test]
fn a_stranger_who_repeats_forges_and_floods_is_dropped_and_heard_by_nobody() {
    let mut ends = Ends::connected(5, &path(15 * MS));
    for side in Side::BOTH {
        ends.set_traffic(side, Some(100 * MS));
    }
    for _ in 0..300 {
        ends.replay(3);
        ends.forge(3);
        ends.flood(Side::A, 2);
        ends.flood(Side::B, 2);
        ends.advance(700 * MS);
    }
    for side in Side::BOTH {
        ends.set_traffic(side, None);
    }
    ends.advance(SECOND);
    assert_eq!([ends.missing(Side::A), ends.missing(Side::B)], [0, 0]);
    for side in Side::BOTH {
        let events = ends.take_events(side);
        assert_eq!(crate::alarms(&events), []);
        assert!(ends.session_drops(side, tieline_seal::DropReason::Replayed) > 0);
        assert!(ends.session_drops(side, tieline_seal::DropReason::NotAuthentic) > 0);
        let status = ends.status(side).unwrap();
        assert_eq!(status.address, Some(side.far().home()), "nobody moved");
    }
}

#[test]
fn a_goodbye_is_heard_and_the_line_is_there_again_when_its_end_is() {
    let mut ends = Ends::connected(6, &path(15 * MS));
    ends.take_events(Side::B);
    ends.with_control(Side::A, |control, _| control.say_goodbye());
    ends.kill(Side::A);
    ends.advance(SECOND);
    let is_goodbye = |event: &tieline_line::Event| matches!(event, tieline_line::Event::Goodbye);
    assert_eq!(ends.take_events(Side::B).iter().filter(|(_, event)| is_goodbye(event)).count(), 1);
    ends.start(Side::A);
    let took = crate::until_arrival(&mut ends, Side::B, 10 * SECOND);
    assert!(took.is_some_and(|took| took <= 160 * MS), "{took:?}");
}
