//! The audit log: golden octets, every rejection, and whatever may be done to a log behind its back.

use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

// Computed by another program than this one: BLAKE3 from its paper.
const FIRST_HASH: &str = "fca89193f25fdca359d7e562d1ac2f0a8268e216f5c211fcdc162904eaf5c3b0";
const SECOND_HASH: &str = "a4122b6093d05009b32f486db18c339656cf53980f1108ed3967f7229074ef43";

#[test]
fn entries_have_their_octets_both_ways() {
    for (entry, octets) in [(refused(), refused_octets()), (offered(), offered_octets())] {
        let mut out = vec![0xa5; 3];
        entry.emit(&mut out);
        assert_eq!(out, [&[0xa5; 3][..], &octets].concat());
        assert_eq!(Entry::parse(&octets), Ok(entry));
    }
}

#[test]
fn links_have_their_hashes_and_continue_each_other() {
    let mut chain = Chain::new(Mark::START);
    let (first, second) = (chain.append(refused()), chain.append(offered()));
    assert_eq!((first.number, first.previous), (1, [0; HASH_LEN]));
    assert_eq!((second.number, second.previous), (2, first.hash));
    assert_eq!(HEXLOWER.encode(&first.hash), FIRST_HASH);
    assert_eq!(HEXLOWER.encode(&second.hash), SECOND_HASH);
    assert_eq!(chain.last(), second.mark());
}

#[test]
fn every_event_and_direction_keeps_its_number() {
    for (code, event) in (1..).zip(Event::ALL) {
        for (way, direction) in [(1, Direction::Sent), (2, Direction::Received)] {
            let mut out = Vec::new();
            Entry { event, direction, ..offered() }.emit(&mut out);
            assert_eq!(out[..2], [code, way], "{} {}", event.word(), direction.word());
            assert_eq!(
                Entry::parse(&out).map(|entry| (entry.event, entry.direction)),
                Ok((event, direction))
            );
        }
    }
}

#[test]
fn every_other_way_to_write_an_entry_is_refused_with_its_reason() {
    let field = |field, value| EntryError::Field { field, value };
    let text_at = 49 + b"a/b.txt".len() + 32 + 2;
    let cases: [(&str, usize, &[u8], EntryError); 10] = [
        ("event below", 0, &[0], field("event", 0)),
        ("event above", 0, &[9], field("event", 9)),
        ("direction below", 1, &[0], field("direction", 0)),
        ("direction above", 1, &[3], field("direction", 3)),
        ("unknown field", 2, &[0x0f], field("optional fields", 0x0f)),
        ("nanoseconds", 11, &[0x3b, 0x9a, 0xca, 0x00], field("nanoseconds", 1_000_000_000)),
        ("long path", 47, &[0x10, 0x01], field("path length", 4097)),
        ("long text", text_at, &[0x04, 0x01], field("text length", 1025)),
        ("text that is none", text_at + 2, &[0xff], EntryError::Text),
        ("a field more than said", 2, &[0x03], EntryError::Trailing(32)),
    ];
    for (what, at, octets, error) in cases {
        let mut altered = refused_octets();
        altered[at..at + octets.len()].copy_from_slice(octets);
        assert_eq!(Entry::parse(&altered), Err(error), "{what}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn an_entry_is_neither_shorter_nor_longer() {
    for octets in [refused_octets(), offered_octets()] {
        for len in 0..octets.len() {
            assert_eq!(Entry::parse(&octets[..len]), Err(EntryError::Truncated), "cut to {len}");
        }
        assert_eq!(Entry::parse(&[&octets[..], b"ab"].concat()), Err(EntryError::Trailing(2)));
    }
}

#[test]
fn a_log_that_nobody_touched_is_sound() {
    let log = log(5);
    let last = log[4].mark();
    let sound = Ok(Verified { links: 5, last });
    assert_eq!(verify(Mark::START, log.clone(), None), sound);
    assert_eq!(verify(Mark::START, log.clone(), Some(last)), sound);
    assert_eq!(verify(Mark::START, log.clone(), Some(log[1].mark())), sound, "it has grown since");
    assert_eq!(verify(log[1].mark(), log[2..].to_vec(), Some(last)), Ok(Verified { links: 3, last }));
    assert_eq!(verify(Mark::START, [], None), Ok(Verified { links: 0, last: Mark::START }));
}

#[test]
fn a_chain_goes_on_after_a_restart() {
    let mut log = log(3);
    let mut again = Chain::new(log[2].mark());
    log.push(again.append(refused()));
    assert_eq!(verify(Mark::START, log, None).map(|verified| verified.links), Ok(4));
}

#[test]
fn a_change_of_any_field_is_noticed() {
    type Change = fn(&mut Link);
    let changes: [(&str, Change); 18] = [
        ("previous", |link| link.previous[0] ^= 1),
        ("hash", |link| link.hash[31] ^= 1),
        ("seconds", |link| link.entry.at = moment(1_795_858_201, 5)),
        ("nanoseconds", |link| link.entry.at = moment(1_795_858_200, 6)),
        ("event", |link| link.entry.event = Event::Delivered),
        ("direction", |link| link.entry.direction = Direction::Sent),
        ("transfer", |link| link.entry.transfer.0[15] ^= 1),
        ("entry", |link| link.entry.entry += 1),
        ("path", |link| link.entry.path = (*b"a/b.txu").into()),
        ("size", |link| link.entry.size -= 1),
        ("content", |link| link.entry.hash = Some([0xac; HASH_LEN])),
        ("no content", |link| link.entry.hash = None),
        ("reason code", |link| reason_of(link).code += 1),
        ("reason text", |link| reason_of(link).text.make_ascii_uppercase()),
        ("no reason", |link| link.entry.reason = None),
        ("receipt", |link| link.entry.receipt = Some([0xce; HASH_LEN])),
        ("no receipt", |link| link.entry.receipt = None),
        ("content as receipt", |link| {
            link.entry.reason = None;
            link.entry.receipt = link.entry.hash.take();
        }),
    ];
    for (field, change) in changes {
        let mut log = log(5);
        change(&mut log[2]);
        let expected = Break { sound: 2, fault: Fault::Altered { number: 3 } };
        assert_eq!(verify(Mark::START, log, None), Err(expected), "{field}");
    }
}

#[test]
fn a_log_out_of_order_or_with_a_hole_is_broken_where_it_is() {
    let whole = log(5);
    let pick = |places: &[usize]| places.iter().map(|&place| whole[place].clone()).collect::<Vec<_>>();
    for (places, sound, fault, sentence) in [
        (
            &[1, 2, 3, 4][..],
            0,
            Fault::Gap { found: 2 },
            "up to link 0; then link 2 follows: what was between is gone",
        ),
        (&[0, 1, 3, 4], 2, Fault::Gap { found: 4 }, "up to link 2; then link 4 follows"),
        (&[0, 2, 1, 3, 4], 1, Fault::Gap { found: 3 }, "up to link 1; then link 3 follows"),
        (
            &[0, 1, 1, 2, 3, 4],
            2,
            Fault::Order { found: 2 },
            "up to link 2; then link 2 stands out of order, or twice",
        ),
        (
            &[0, 1, 2, 0],
            3,
            Fault::Order { found: 1 },
            "up to link 3; then link 1 stands out of order, or twice",
        ),
    ] {
        let found = verify(Mark::START, pick(places), None).unwrap_err();
        assert_eq!(found, Break { sound, fault }, "{places:?}");
        assert!(found.to_string().contains(sentence), "{found}");
    }
}

#[test]
fn a_link_that_was_replaced_with_its_hash_is_noticed_by_the_next() {
    let mut log = log(5);
    log[2] = Chain::new(log[1].mark()).append(offered());
    let found = verify(Mark::START, log, None).unwrap_err();
    assert_eq!(found, Break { sound: 3, fault: Fault::Unlinked { number: 4 } });
    assert!(found.to_string().contains("link 4 continues another link than the one before it"), "{found}");
}

#[test]
fn an_end_that_was_cut_off_or_written_anew_is_noticed_by_who_knew_it() {
    let whole = log(5);
    let known = whole[4].mark();
    let cut = whole[..3].to_vec();
    assert!(verify(Mark::START, cut.clone(), None).is_ok(), "nobody else can know");
    let found = verify(Mark::START, cut, Some(known)).unwrap_err();
    assert_eq!(found, Break { sound: 3, fault: Fault::Cut { known: 5 } });
    assert!(found.to_string().contains("known to go on to link 5: its end was cut off"), "{found}");
    let found = verify(Mark::START, [], Some(known)).unwrap_err();
    assert_eq!(found, Break { sound: 0, fault: Fault::Cut { known: 5 } });

    let mut chain = Chain::new(Mark::START);
    let anew: Vec<Link> = whole.iter().map(|_| chain.append(offered())).collect();
    assert!(verify(Mark::START, anew.clone(), None).is_ok(), "nobody else can know");
    let found = verify(Mark::START, anew.clone(), Some(known)).unwrap_err();
    assert_eq!(found, Break { sound: 4, fault: Fault::Replaced { number: 5 } });
    let found = verify(anew[4].mark(), [], Some(known)).unwrap_err();
    assert_eq!(found, Break { sound: 5, fault: Fault::Replaced { number: 5 } });
}

#[test]
fn a_verifier_stays_at_the_last_sound_link() {
    let log = log(3);
    let mut verifier = Verifier::new(Mark::START, None);
    verifier.check(&log[0]).unwrap();
    assert!(verifier.check(&log[2]).is_err());
    assert_eq!(verifier.finish(), Ok(Verified { links: 1, last: log[0].mark() }));
}

#[test]
fn what_is_too_long_is_cut_at_a_character_and_still_logged() {
    let text = "ü".repeat(TEXT_LEN_MAX);
    let long = Entry {
        path: vec![b'p'; 70_000].into(),
        reason: Some(Reason { code: 6, text: format!("x{text}") }),
        ..refused()
    };
    let link = Chain::new(Mark::START).append(long.clone());
    assert_eq!(link.entry.path.len(), PATH_LEN_MAX);
    assert_eq!(link.entry.reason.as_ref().map(|reason| reason.text.len()), Some(TEXT_LEN_MAX - 1));
    let (mut kept, mut whole) = (Vec::new(), Vec::new());
    link.entry.emit(&mut kept);
    long.emit(&mut whole);
    assert_eq!(kept, whole);
    assert_eq!(Entry::parse(&kept), Ok(link.entry.clone()));
    assert_eq!(verify(Mark::START, [link], None).map(|verified| verified.links), Ok(1));
}

#[test]
fn octets_put_behind_a_full_path_or_text_are_noticed() {
    let full = Entry {
        path: vec![b'p'; PATH_LEN_MAX].into(),
        reason: Some(Reason { code: 6, text: "t".repeat(TEXT_LEN_MAX) }),
        ..refused()
    };
    let link = Chain::new(Mark::START).append(full);
    let (mut longer_path, mut longer_text) = (link.clone(), link);
    longer_path.entry.path = vec![b'p'; PATH_LEN_MAX + 1].into();
    reason_of(&mut longer_text).text.push('t');
    for altered in [longer_path, longer_text] {
        let expected = Break { sound: 0, fault: Fault::Altered { number: 1 } };
        assert_eq!(verify(Mark::START, [altered], None), Err(expected));
    }
}

#[test]
fn a_log_that_claims_to_be_full_is_no_panic_but_a_break() {
    let end = Mark { number: u64::MAX, hash: [1; HASH_LEN] };
    let link = Chain::new(end).append(offered());
    let expected = Break { sound: u64::MAX, fault: Fault::Order { found: u64::MAX } };
    assert_eq!(verify(end, [link], None), Err(expected));
}

proptest! {
    #[test]
    fn parse_is_the_inverse_of_emit(entry in any_entry()) {
        let mut octets = Vec::new();
        entry.emit(&mut octets);
        prop_assert_eq!(Entry::parse(&octets), Ok(entry));
    }

    #[test]
    fn whatever_is_parsed_is_written_in_no_other_way(at in 0..refused_octets().len(), octets in vec(any::<u8>(), 0..6)) {
        let mut altered = refused_octets();
        let end = (at + octets.len()).min(altered.len());
        altered.splice(at..end, octets);
        if let Ok(entry) = Entry::parse(&altered) {
            let mut again = Vec::new();
            entry.emit(&mut again);
            prop_assert_eq!(again, altered);
        }
    }

    #[test]
    fn no_link_can_be_dropped_moved_or_replaced_in_secret(
        entries in vec(any_entry(), 2..8),
        (from, to) in any::<(prop::sample::Index, prop::sample::Index)>(),
        other in any_entry(),
    ) {
        let mut chain = Chain::new(Mark::START);
        let log: Vec<Link> = entries.into_iter().map(|entry| chain.append(entry)).collect();
        let (from, to) = (from.index(log.len()), to.index(log.len()));
        let known = Some(chain.last());
        prop_assert!(verify(Mark::START, log.clone(), known).is_ok());

        let mut dropped = log.clone();
        dropped.remove(from);
        prop_assert!(verify(Mark::START, dropped, known).is_err());

        let mut moved = log.clone();
        moved.swap(from, to);
        prop_assert_eq!(verify(Mark::START, moved, known).is_ok(), from == to);

        let mut replaced = log;
        let is_other = replaced[from].entry != other;
        let before = if from == 0 { Mark::START } else { replaced[from - 1].mark() };
        replaced[from] = Chain::new(before).append(other);
        prop_assert_eq!(verify(Mark::START, replaced, known).is_err(), is_other);
    }
}

fn moment(seconds: i64, nanoseconds: u32) -> Moment {
    Moment::new(seconds, nanoseconds).unwrap()
}

fn refused() -> Entry {
    Entry {
        at: moment(1_795_858_200, 5),
        event: Event::Refused,
        direction: Direction::Received,
        transfer: TransferId(*b"0123456789abcdef"),
        entry: 3,
        path: (*b"a/b.txt").into(),
        size: 0x0102_0304_0506_0708,
        hash: Some([0xab; HASH_LEN]),
        reason: Some(Reason { code: 1, text: "too bïg".into() }),
        receipt: Some([0xcd; HASH_LEN]),
    }
}

fn refused_octets() -> Vec<u8> {
    [
        &b"\x04\x02\x07"[..],
        b"\0\0\0\0\x6b\x0a\x9f\x18\0\0\0\x05",
        b"0123456789abcdef",
        b"\0\0\0\0\0\0\0\x03",
        b"\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\0\x07a/b.txt",
        &[0xab; 32],
        b"\0\x01\0\x08too b\xc3\xafg",
        &[0xcd; 32],
    ]
    .concat()
}

fn offered() -> Entry {
    Entry {
        at: moment(-1, 999_999_999),
        event: Event::Offered,
        direction: Direction::Sent,
        transfer: TransferId(*b"fedcba9876543210"),
        entry: 9,
        path: [].into(),
        size: 0,
        hash: None,
        reason: None,
        receipt: None,
    }
}

fn offered_octets() -> Vec<u8> {
    [
        &b"\x01\x01\x00"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff",
        b"fedcba9876543210",
        b"\0\0\0\0\0\0\0\x09",
        b"\0\0\0\0\0\0\0\0",
        b"\0\0",
    ]
    .concat()
}

/// Links of the same entry, so that only their places tell them apart.
fn log(links: usize) -> Vec<Link> {
    let mut chain = Chain::new(Mark::START);
    (0..links).map(|_| chain.append(refused())).collect()
}

fn reason_of(link: &mut Link) -> &mut Reason {
    link.entry.reason.as_mut().unwrap()
}

prop_compose! {
    fn any_entry()(
        event in prop::sample::select(Event::ALL.to_vec()),
        direction in prop::sample::select(vec![Direction::Sent, Direction::Received]),
        (seconds, nanoseconds) in (any::<i64>(), 0..1_000_000_000_u32),
        transfer in any::<[u8; 16]>(),
        (entry, size) in any::<(u64, u64)>(),
        path in vec(any::<u8>(), 0..40),
        (hash, receipt) in any::<(Option<[u8; HASH_LEN]>, Option<[u8; HASH_LEN]>)>(),
        reason in proptest::option::of((any::<u16>(), ".{0,20}")),
    ) -> Entry {
        let reason = reason.map(|(code, text)| Reason { code, text });
        let (at, transfer, path) = (moment(seconds, nanoseconds), TransferId(transfer), path.into());
        Entry { at, event, direction, transfer, entry, path, size, hash, reason, receipt }
    }
}
