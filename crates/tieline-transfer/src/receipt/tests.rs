//! Receipts: golden octets, every rejection, every change noticed, round trips.

use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const RECEIVER: [u8; KEY_LEN] = [7; KEY_LEN];
const SENDER: [u8; KEY_LEN] = [8; KEY_LEN];

#[test]
fn a_group_has_its_octets_both_ways() {
    let (group, octets) = (group(), golden());
    let mut out = vec![0xa5; 3];
    group.emit(&mut out);
    assert_eq!(HEXLOWER.encode(&out[3..]), HEXLOWER.encode(&octets));
    assert_eq!(out[..3], [0xa5; 3]);
    assert_eq!(Group::parse(&octets), Ok(group.clone()));
    assert_eq!(group.verify(&receiver().public()), Ok(()));
    assert_eq!(HEXLOWER.encode(&group.digest()), DIGEST);
    assert_eq!(blake3::hash(&octets), group.digest());
}

#[test]
fn a_change_of_any_bit_is_noticed() {
    let octets = golden();
    for bit in 0..octets.len() * 8 {
        let mut altered = octets.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let is_noticed = match Group::parse(&altered) {
            Err(_) => true,
            Ok(group) => group.verify(&receiver().public()).is_err(),
        };
        assert!(is_noticed, "bit {bit}");
    }
}

#[test]
fn a_change_of_any_field_is_noticed() {
    type Change = fn(&mut Group);
    let changes: [(&str, Change); 16] = [
        ("sender", |group| group.sender = group.receiver),
        ("arrival", |group| group.records[0].arrival = Arrival::AlreadyThere),
        ("transfer", |group| group.records[0].transfer.0[15] ^= 1),
        ("entry", |group| group.records[0].entry += 1),
        ("size", |group| group.records[0].size += 1),
        ("hash", |group| group.records[0].hash[31] ^= 1),
        ("modified seconds", |group| group.records[0].modified = moment(1, 999_999_999)),
        ("modified nanoseconds", |group| group.records[0].modified = moment(-1, 999_999_998)),
        ("delivered seconds", |group| group.records[0].delivered = moment(1_795_858_201, 5)),
        ("delivered nanoseconds", |group| group.records[0].delivered = moment(1_795_858_200, 6)),
        ("path", |group| group.records[1].path = (*b"caf\xe8").into()),
        ("final name", |group| group.records[0].final_name = (*b"a/b (2).txt").into()),
        ("order", |group| group.records.swap(0, 1)),
        ("a record less", |group| group.records.truncate(1)),
        ("a record more", |group| group.records.push(group.records[0].clone())),
        ("signature", |group| group.signature[0] ^= 1),
    ];
    let key = receiver().public();
    for (field, change) in changes {
        let mut altered = group();
        change(&mut altered);
        assert_eq!(altered.verify(&key), Err(VerifyError::Signature(key)), "{field}");
    }
}

#[test]
fn what_ends_a_path_does_not_begin_a_name() {
    let with_names = |path: &[u8], name: &[u8]| {
        let mut records = records();
        (records[0].path, records[0].final_name) = (path.into(), name.into());
        receiver().sign(sender().public(), records).unwrap()
    };
    let mut moved = with_names(b"ab", b"c");
    (moved.records[0].path, moved.records[0].final_name) = ((*b"a").into(), (*b"bc").into());
    assert!(moved.verify(&receiver().public()).is_err());
}

#[test]
fn a_group_is_verified_for_its_receiver_only() {
    let (ours, theirs) = (receiver().public(), sender().public());
    let expected = VerifyError::Receiver { found: ours, expected: theirs };
    assert_eq!(group().verify(&theirs), Err(expected));
    assert!(
        expected.to_string().contains(&ours.to_string())
            && expected.to_string().contains(&theirs.to_string())
    );

    let mut claimed = group();
    claimed.receiver = theirs;
    assert_eq!(claimed.verify(&theirs), Err(VerifyError::Signature(theirs)));
}

#[test]
fn a_key_that_is_no_point_verifies_nothing() {
    let mut group = group();
    // y = 2 is on no point of the curve.
    let mut octets = [0; KEY_LEN];
    octets[0] = 2;
    group.receiver = VerifyingKey::from_bytes(octets).unwrap();
    assert_eq!(group.verify(&group.receiver), Err(VerifyError::Signature(group.receiver)));
}

#[test]
fn every_other_way_to_write_a_group_is_refused_with_its_reason() {
    let field = |record, field, value| GroupError::Field { record, field, value };
    let second = HEADER_LEN + RECORD_LEN_MIN + b"a/b.txt".len();
    let weak = [0; KEY_LEN];
    let cases: [(&str, usize, &[u8], GroupError); 15] = [
        ("magic", 0, b"T", GroupError::Magic),
        ("version", 17, b"2", GroupError::Version(b'2')),
        ("receiver", 18, &weak, GroupError::Key(WeakKey(weak))),
        ("sender", 50, &weak, GroupError::Key(WeakKey(weak))),
        ("no record", 82, &[0, 0], GroupError::Count(0)),
        ("too many records", 82, &[0x04, 0x01], GroupError::Count(1025)),
        ("more records than octets", 82, &[0x04, 0x00], GroupError::Truncated),
        ("what below", HEADER_LEN, &[0], field(0, "what", 0)),
        ("what above", second, &[3], field(1, "what", 3)),
        (
            "modified",
            HEADER_LEN + 73,
            &[0x3b, 0x9a, 0xca, 0x00],
            field(0, "modified nanoseconds", 1_000_000_000),
        ),
        ("delivered", HEADER_LEN + 85, &[0xff; 4], field(0, "delivered nanoseconds", 0xffff_ffff)),
        ("no path", HEADER_LEN + 89, &[0, 0], field(0, "path length", 0)),
        ("long path", HEADER_LEN + 89, &[0x10, 0x01], field(0, "path length", 4097)),
        ("long name", second + 91 + 4, &[0x10, 0x01], field(1, "final name length", 4097)),
        ("path repeated", second + 91 + 4, b"\0\x04caf\xe9", GroupError::Repeated(1)),
    ];
    for (what, at, octets, error) in cases {
        let mut altered = golden();
        altered[at..at + octets.len()].copy_from_slice(octets);
        assert_eq!(Group::parse(&altered), Err(error), "{what}");
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(
        GroupError::Version(0x1b).to_string(),
        "receipts of version `\\x1b`; this tieline knows version `1` only"
    );
}

#[test]
fn a_group_is_neither_shorter_nor_longer() {
    let octets = golden();
    for len in 0..octets.len() {
        assert_eq!(Group::parse(&octets[..len]), Err(GroupError::Truncated), "cut to {len}");
    }
    assert_eq!(Group::parse(&[&octets[..], b"ab"].concat()), Err(GroupError::Trailing(2)));
}

#[test]
fn nothing_beyond_the_limits_is_signed() {
    let sign = |records| receiver().sign(sender().public(), records).map(|_| ());
    let named = |path: usize, name: usize| {
        let [mut record, _]: [Record; 2] = records().try_into().unwrap();
        (record.path, record.final_name) = (vec![b'p'; path].into(), vec![b'n'; name].into());
        record
    };
    let field = |field, value| Err(GroupError::Field { record: 1, field, value });
    assert_eq!(sign(vec![]), Err(GroupError::Count(0)));
    assert_eq!(sign(vec![named(1, 1); RECORDS_MAX + 1]), Err(GroupError::Count(RECORDS_MAX + 1)));
    for (path, name, expected) in [
        (1, 1, Ok(())),
        (NAME_LEN_MAX, NAME_LEN_MAX, Ok(())),
        (0, 1, field("path length", 0)),
        (1, 0, field("final name length", 0)),
        (NAME_LEN_MAX + 1, 1, field("path length", 4097)),
        (1, NAME_LEN_MAX + 1, field("final name length", 4097)),
        (1, 70_000, field("final name length", 70_000)),
    ] {
        assert_eq!(sign(vec![named(1, 1), named(path, name)]), expected, "{path} and {name}");
    }
}

#[test]
fn the_longest_group_is_as_long_as_said() {
    let [mut record, _]: [Record; 2] = records().try_into().unwrap();
    record.path = vec![b'p'; NAME_LEN_MAX].into();
    record.final_name = vec![b'n'; NAME_LEN_MAX].into();
    let group = receiver().sign(sender().public(), vec![record; RECORDS_MAX]).unwrap();
    let mut octets = Vec::new();
    group.emit(&mut octets);
    assert_eq!(octets.len(), GROUP_LEN_MAX);
    let parsed = Group::parse(&octets).unwrap();
    assert_eq!(parsed.verify(&receiver().public()), Ok(()));
}

#[test]
fn a_receipt_by_itself_says_what_it_needs_of_its_group() {
    let group = group();
    let receipts: Vec<Receipt> = group.clone().into_receipts().collect();
    assert_eq!(receipts.len(), 2);
    for (receipt, record) in receipts.into_iter().zip(group.records()) {
        assert_eq!((receipt.receiver, receipt.sender), (receiver().public(), sender().public()));
        assert_eq!((receipt.group, &receipt.record), (group.digest(), record));
    }
}

proptest! {
    #[test]
    fn parse_is_the_inverse_of_emit(records in vec(any_record(), 1..5)) {
        let group = receiver().sign(sender().public(), records).unwrap();
        let mut octets = Vec::new();
        group.emit(&mut octets);
        let parsed = Group::parse(&octets).unwrap();
        prop_assert_eq!(parsed.verify(&receiver().public()), Ok(()));
        prop_assert_eq!(parsed, group);
    }

    #[test]
    fn whatever_is_parsed_is_written_in_no_other_way(at in 0..golden().len(), octets in vec(any::<u8>(), 0..6)) {
        let mut altered = golden();
        let end = (at + octets.len()).min(altered.len());
        altered.splice(at..end, octets);
        if let Ok(group) = Group::parse(&altered) {
            let mut again = Vec::new();
            group.emit(&mut again);
            prop_assert_eq!(again, altered);
        }
    }

    #[test]
    fn octets_of_any_kind_are_a_group_or_an_error(octets in vec(any::<u8>(), 0..400)) {
        let header = &golden()[..HEADER_LEN];
        prop_assert!(Group::parse(&octets).is_err());
        // Random octets have no group's signature, whatever else they have.
        let parsed = Group::parse(&[header, &octets].concat());
        prop_assert!(parsed.is_err() || parsed.is_ok_and(|group| group.verify(&receiver().public()).is_err()));
    }
}

fn receiver() -> SigningKey {
    SigningKey::from_line_secret(&RECEIVER)
}

fn sender() -> SigningKey {
    SigningKey::from_line_secret(&SENDER)
}

fn moment(seconds: i64, nanoseconds: u32) -> Moment {
    Moment::new(seconds, nanoseconds).unwrap()
}

fn records() -> Vec<Record> {
    let first = Record {
        arrival: Arrival::Delivered,
        transfer: TransferId(*b"0123456789abcdef"),
        entry: 3,
        size: 0x0102_0304_0506_0708,
        hash: [0xab; HASH_LEN],
        modified: moment(-1, 999_999_999),
        delivered: moment(1_795_858_200, 5),
        path: (*b"a/b.txt").into(),
        final_name: (*b"a/b.txt").into(),
    };
    let second = Record {
        arrival: Arrival::AlreadyThere,
        entry: 4,
        size: 0,
        hash: [0xcd; HASH_LEN],
        path: (*b"caf\xe9").into(),
        final_name: (*b"\n (2)").into(),
        ..first.clone()
    };
    vec![first, second]
}

fn group() -> Group {
    receiver().sign(sender().public(), records()).unwrap()
}

fn golden() -> Vec<u8> {
    [
        &b"tieline receipt v1"[..],
        &hex(RECEIVER_PUBLIC),
        &hex(SENDER_PUBLIC),
        b"\0\x02",
        b"\x01",
        b"0123456789abcdef",
        b"\0\0\0\0\0\0\0\x03",
        b"\x01\x02\x03\x04\x05\x06\x07\x08",
        &[0xab; 32],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff",
        b"\0\0\0\0\x6b\x0a\x9f\x18\0\0\0\x05",
        b"\0\x07a/b.txt",
        b"\0\0",
        b"\x02",
        b"0123456789abcdef",
        b"\0\0\0\0\0\0\0\x04",
        b"\0\0\0\0\0\0\0\0",
        &[0xcd; 32],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff",
        b"\0\0\0\0\x6b\x0a\x9f\x18\0\0\0\x05",
        b"\0\x04caf\xe9",
        b"\0\x05\n (2)",
        &hex(SIGNATURE),
    ]
    .concat()
}

// Computed by other programs than this one: BLAKE3 from its paper, Ed25519 by OpenSSL.
const RECEIVER_PUBLIC: &str = "1d9c8e8f0c6aff25b742fa5e71416b2ce49d9da8047ba04af538270e33ae7985";
const SENDER_PUBLIC: &str = "61c18887de55096cd640bba1df8d84e14f50f1a2c0629794d7aac99379532a73";
const SIGNATURE: &str = concat!(
    "d8ce3405355799d4916db48a32a3b279ed30d7cc12357f9b4d02c964d28cb09a",
    "cc56b010624c3eed9955fbf4451cdf266245baabc111cf16f695ea3a4d661e0e",
);
const DIGEST: &str = "f3f52ba74122513b7ba1f627ca3f59b709618b8d31f3ac7d9da2c714278e6843";

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn any_moment() -> impl Strategy<Value = Moment> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| moment(seconds, nanoseconds))
}

prop_compose! {
    fn any_record()(
        is_new in any::<bool>(),
        transfer in any::<[u8; 16]>(),
        (entry, size) in any::<(u64, u64)>(),
        hash in any::<[u8; HASH_LEN]>(),
        (modified, delivered) in (any_moment(), any_moment()),
        path in vec(any::<u8>(), 1..40),
        other_name in proptest::option::of(vec(any::<u8>(), 1..40)),
    ) -> Record {
        let arrival = if is_new { Arrival::Delivered } else { Arrival::AlreadyThere };
        let final_name = other_name.unwrap_or_else(|| path.clone()).into();
        let transfer = TransferId(transfer);
        Record { arrival, transfer, entry, size, hash, modified, delivered, path: path.into(), final_name }
    }
}
