//! What a far end that has gone mad can say.

use std::time::Instant;

use tieline_wire::{
    label::Label,
    packed::{ENTRIES_MAX, Feedback},
};

use super::calls::{Call, G711};
use super::pair::MTU;
use crate::packing::{Bundle, FEEDBACK_INTERVAL, Packer, UnpackError, Unpacker};

const LABEL: Label = Label::FIRST_GIVEN_OUT;

/// What comes of a bundle of these entries, with the window of the first references.
fn opened(unpacker: &mut Unpacker, entries: &[u8]) -> Vec<Result<Vec<u8>, UnpackError>> {
    let (now, mut out) = (Instant::now(), [0x5a; MTU]);
    let bundle = [&[0], entries].concat();
    let mut entries = unpacker.open(&bundle);
    std::iter::from_fn(|| entries.next(now, &mut out).map(|result| result.map(|len| out[..len].to_vec())))
        .collect()
}

/// An entry that makes the first packet of a call reference `serial`.
fn reference(serial: u32) -> (Vec<u8>, Vec<u8>) {
    let mut rng = rand::SeedableRng::seed_from_u64(0);
    let packet = Call::with(G711, 0).next_packet(&mut rng, &mut 0).unwrap();
    let mut entry = vec![0xc0];
    entry.extend(serial.to_be_bytes());
    entry.extend([0, 160, 0, 1]);
    entry.extend(&packet);
    (entry, packet)
}

#[test]
fn nothing_at_all_is_no_bundle() {
    assert_eq!(opened(&mut Unpacker::new(LABEL, MTU), &[]), [Err(UnpackError::Malformed)]);
    let mut unpacker = Unpacker::new(LABEL, MTU);
    let mut entries = unpacker.open(&[]);
    assert_eq!(entries.next(Instant::now(), &mut [0; MTU]), Some(Err(UnpackError::Malformed)));
    assert_eq!(entries.next(Instant::now(), &mut [0; MTU]), None);
}

#[test]
fn what_is_coded_against_nothing_is_refused_with_all_behind_it() {
    let mut unpacker = Unpacker::new(LABEL, MTU);
    let (entry, packet) = reference(0);
    let unknown = [0x00, 0x01, 0];
    let bundle = [&entry[..], &unknown, &entry].concat();
    assert_eq!(opened(&mut unpacker, &bundle), [Ok(packet), Err(UnpackError::UnknownReference)]);
}

#[test]
fn entries_are_bounded() {
    let mut unpacker = Unpacker::new(LABEL, MTU);
    let (entry, _) = reference(0);
    assert_eq!(opened(&mut unpacker, &entry).len(), 1);
    // Of no payload, the cheapest there is: four octets that become forty.
    let empty = [0x40, 0x00, 1, 0];
    let results = opened(&mut unpacker, &empty.repeat(ENTRIES_MAX));
    assert!(
        results.len() == ENTRIES_MAX && results.iter().all(|result| result.as_ref().unwrap().len() == 40)
    );
    let results = opened(&mut unpacker, &empty.repeat(ENTRIES_MAX + 1));
    assert_eq!(results[ENTRIES_MAX..], [Err(UnpackError::Malformed)]);
}

#[test]
fn no_packet_is_longer_than_the_line_carries() {
    let mut unpacker = Unpacker::new(LABEL, 300);
    let (entry, _) = reference(0);
    assert!(opened(&mut unpacker, &entry)[0].is_ok());
    for (len, is_taken) in [(260, true), (261, false)] {
        let entry = [&[0x40, 0x00, 1, 0xe1, (len - 256) as u8], &vec![7; len][..]].concat();
        let result = opened(&mut unpacker, &entry).remove(0);
        assert_eq!(result.is_ok(), is_taken);
        assert!(is_taken || result == Err(UnpackError::TooLarge));
    }
}

#[test]
fn what_is_no_call_becomes_no_reference() {
    let mut unpacker = Unpacker::new(LABEL, MTU);
    let (mut entry, _) = reference(0);
    // The protocol is TCP.
    entry[9 + 9] = 6;
    assert_eq!(opened(&mut unpacker, &entry), [Err(UnpackError::Malformed)]);
    assert_eq!(unpacker.poll_timeout(), None);
}

#[test]
fn an_old_reference_does_not_replace_a_new_one_of_its_place() {
    let mut unpacker = Unpacker::new(LABEL, MTU);
    for serial in [1024, 0] {
        assert!(opened(&mut unpacker, &reference(serial).0)[0].is_ok());
    }
    let now = Instant::now() + FEEDBACK_INTERVAL;
    assert_eq!(unpacker.poll_feedback(now), Some(Feedback { label: LABEL, newest: 1024, before: 0 }));
    let mut coded = |window: u8, number: u8| {
        let bundle = [&[window, number, 0x00, 0], &[7; 160][..]].concat();
        unpacker.open(&bundle).next(now, &mut [0; MTU]).unwrap()
    };
    let results =
        [(1, 4), (2, 4), (0, 4), (3, 4), (1, 0), (0, 0)].map(|(window, number)| coded(window, number).ok());
    assert_eq!(results, [Some(200), Some(200), None, None, None, None]);
}

#[test]
fn references_in_any_order_are_acknowledged_once_in_a_while() {
    let mut unpacker = Unpacker::new(LABEL, MTU);
    let now = Instant::now();
    let mut said = Vec::new();
    for serial in [70, 72, 71, 0, 69, 136, 400, 400] {
        let entry = reference(serial).0;
        let bundle = [&[0], &entry[..]].concat();
        let mut entries = unpacker.open(&bundle);
        assert!(entries.next(now, &mut [0; MTU]).unwrap().is_ok());
        said.extend(unpacker.poll_feedback(now));
    }
    assert_eq!(said, [Feedback { label: LABEL, newest: 70, before: 0 }]);
    assert_eq!(unpacker.poll_timeout(), Some(now + FEEDBACK_INTERVAL));
    let last = unpacker.poll_feedback(now + FEEDBACK_INTERVAL).unwrap();
    assert_eq!((last.newest, last.before), (400, 0));
    let mut unpacker = Unpacker::new(LABEL, MTU);
    for serial in [70, 72, 71, 0, 6, 69, 136] {
        assert!(opened(&mut unpacker, &reference(serial).0)[0].is_ok());
    }
    let last = unpacker.poll_feedback(Instant::now()).unwrap();
    let named: Vec<u32> = (0..140).filter(|serial| last.names(*serial)).collect();
    assert_eq!(named, [72, 136]);
}

#[test]
fn answers_about_what_was_never_sent_or_of_another_label_change_nothing() {
    let mut packer = Packer::new(LABEL, MTU);
    let mut call = Call::with(G711, 0);
    let mut rng = rand::SeedableRng::seed_from_u64(0);
    let other = Label::new(LABEL.value() + 1).unwrap();
    for round in 0..200 {
        let packet = call.next_packet(&mut rng, &mut 0).unwrap();
        let mut room = [0; MTU];
        let mut bundle = Bundle::new(&mut room);
        assert!(packer.push(Instant::now(), &packet, &mut bundle));
        assert!(bundle.len() > packet.len(), "{round}");
        packer.handle_feedback(&Feedback { label: LABEL, newest: 1000, before: u64::MAX });
        packer.handle_feedback(&Feedback { label: other, newest: 0, before: u64::MAX });
    }
}
