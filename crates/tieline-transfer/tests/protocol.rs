//! The messages, octet by octet: golden ones, every rejection, round trips, and anything at all.

use proptest::prelude::*;
use tieline_transfer::mirror::{FingerprintKey, MirrorRules};
use tieline_transfer::protocol::{
    DATA_LEN_MAX, FRAME_LEN_MAX, FileOffer, FileTime, FolderOffer, Hello, KeyFault, LinkOffer, PREFIX_LEN,
    ReceiverMessage, Removed, SenderMessage, Verdict, Violation, WantedRun, frame_len,
};
use tieline_transfer::receipt::{KEY_LEN, TransferId, VerifyingKey, WeakKey};
use tieline_transfer::{Obstacle, Stamp, StopReason};

const HASH: [u8; 32] = [0xab; 32];
const STAMP: Stamp = Stamp::from_bytes(*b"0123456789abcdef");

/// The body of a file, or of a question about one.
const FILE: &[u8] = b"\0\0\0\0\0\0\0\x020123456789abcdef\0\0\0\0\0\0\0\x03\0\0\x01\xa0\
\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff\0\x03a/\xff";

const KEY: [u8; KEY_LEN] = [0xcd; KEY_LEN];

fn key() -> VerifyingKey {
    VerifyingKey::from_bytes(KEY).expect("no weak key")
}

fn sender_golden() -> Vec<(SenderMessage<'static>, Vec<u8>)> {
    let hello = Hello { oldest: 1, newest: 0x0203, entries: 5, bytes: 0x0102_0304_0506_0708 };
    let folder = FolderOffer { entry: 1, mode: 0o755, path: b"a" };
    let modified = FileTime { seconds: -1, nanoseconds: 999_999_999 };
    let file = FileOffer { entry: 2, stamp: STAMP, size: 3, mode: 0o640, modified, path: b"a/\xff" };
    vec![
        (
            SenderMessage::Hello(hello),
            b"\0\0\0\x19\x01TLft\0\x01\x02\x03\0\0\0\0\0\0\0\x05\x01\x02\x03\x04\x05\x06\x07\x08".to_vec(),
        ),
        (SenderMessage::Folder(folder), b"\0\0\0\x10\x02\0\0\0\0\0\0\0\x01\0\0\x01\xed\0\x01a".to_vec()),
        (SenderMessage::File(file), [&b"\0\0\0\x36\x03"[..], FILE].concat()),
        (SenderMessage::Data(b"xyz"), b"\0\0\0\x04\x04xyz".to_vec()),
        (SenderMessage::FileEnd { hash: HASH }, [&b"\0\0\0\x21\x05"[..], &HASH].concat()),
        (SenderMessage::Abandon { code: 1 }, b"\0\0\0\x03\x06\0\x01".to_vec()),
        (SenderMessage::End, b"\0\0\0\x01\x07".to_vec()),
        (SenderMessage::Ask(file), [&b"\0\0\0\x36\x08"[..], FILE].concat()),
        (
            SenderMessage::Body { entry: 2, from: 0x0010_0000 },
            b"\0\0\0\x11\x09\0\0\0\0\0\0\0\x02\0\0\0\0\0\x10\0\0".to_vec(),
        ),
        (
            SenderMessage::Identify { transfer: TransferId(*b"0123456789abcdef"), key: key() },
            [&b"\0\0\0\x31\x0a0123456789abcdef"[..], &KEY].concat(),
        ),
        (SenderMessage::Claim { hash: HASH, offer: file }, [&b"\0\0\0\x56\x0b"[..], &HASH, FILE].concat()),
        (
            SenderMessage::WantSums { entry: 2, octets: b"which" },
            b"\0\0\0\x0e\x0c\0\0\0\0\0\0\0\x02which".to_vec(),
        ),
        (
            SenderMessage::Copy { from: 1, len: 0x0200 },
            b"\0\0\0\x11\x0d\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x02\0".to_vec(),
        ),
        (SenderMessage::Packed { len: 0x0100, octets: b"zst" }, b"\0\0\0\x08\x0e\0\0\x01\0zst".to_vec()),
        (
            SenderMessage::Attributes { entry: 2, items: b"\xff\0\x01x" },
            b"\0\0\0\x0d\x10\0\0\0\0\0\0\0\x02\xff\0\x01x".to_vec(),
        ),
        (SenderMessage::Hole { len: 0x0400_0000 }, b"\0\0\0\x09\x11\0\0\0\0\x04\0\0\0".to_vec()),
        (
            SenderMessage::Link(LinkOffer { entry: 2, modified, target: b"../x", path: b"a" }),
            b"\0\0\0\x1e\x12\0\0\0\0\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff\0\x04../x\0\x01a".to_vec(),
        ),
        (
            SenderMessage::Mirror {
                rules: MirrorRules { removes: true, by_content: true },
                key: FingerprintKey([7; 32]),
            },
            [&b"\0\0\0\x22\x18\x03"[..], &[7; 32]].concat(),
        ),
        (SenderMessage::Bundle { len: 9, packed: b"zip" }, b"\0\0\0\x08\x1b\0\0\0\x09zip".to_vec()),
        (
            SenderMessage::Listing { len: 258, packed: b"packed" },
            b"\0\0\0\x0b\x19\0\0\x01\x02packed".to_vec(),
        ),
        (SenderMessage::Listed, b"\0\0\0\x01\x1a".to_vec()),
        (SenderMessage::Unknown(0x80), b"\0\0\0\x01\x80".to_vec()),
    ]
}

fn receiver_golden() -> Vec<(ReceiverMessage<'static>, Vec<u8>)> {
    let verdict = |verdict| ReceiverMessage::Verdict { entry: 7, verdict };
    let golden = |what: u8, code: u8, detail: u8| {
        [&b"\0\0\0\x14\x42\0\0\0\0\0\0\0\x07"[..], &[what, 0, code, 0, 0, 0, 0, 0, 0, 0, detail]].concat()
    };
    vec![
        (ReceiverMessage::Welcome { version: 1 }, b"\0\0\0\x03\x41\0\x01".to_vec()),
        (verdict(Verdict::Delivered { copy: 1 }), golden(1, 0, 1)),
        (verdict(Verdict::AlreadyThere { copy: 2 }), golden(2, 0, 2)),
        (verdict(Verdict::Refused(Obstacle::Name(4))), golden(3, 1, 4)),
        (verdict(Verdict::Failed(Obstacle::NoSpace { missing_bytes: 9 })), golden(4, 2, 9)),
        (verdict(Verdict::Other(9)), golden(9, 0, 0)),
        (ReceiverMessage::Done, b"\0\0\0\x01\x43".to_vec()),
        (
            ReceiverMessage::Stop(StopReason::Busy { running: 4 }),
            b"\0\0\0\x0b\x44\0\x06\0\0\0\0\0\0\0\x04".to_vec(),
        ),
        (
            ReceiverMessage::Go { entry: 7, from: 0x0030_0000 },
            b"\0\0\0\x11\x45\0\0\0\0\0\0\0\x07\0\0\0\0\0\x30\0\0".to_vec(),
        ),
        (ReceiverMessage::Receipt(b"group"), b"\0\0\0\x06\x46group".to_vec()),
        (ReceiverMessage::Identify { key: key() }, [&b"\0\0\0\x21\x47"[..], &KEY].concat()),
        (
            ReceiverMessage::Sums { entry: 7, octets: b"sums" },
            b"\0\0\0\x0d\x48\0\0\0\0\0\0\0\x07sums".to_vec(),
        ),
        (
            ReceiverMessage::Wanted(WantedRun { first: 7, count: 3, has_old: true }),
            b"\0\0\0\x12\x4c\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x03\x01".to_vec(),
        ),
        (ReceiverMessage::Checked, b"\0\0\0\x01\x4d".to_vec()),
        (
            ReceiverMessage::Removed(Removed { files: 1, folders: 2, left: 3 }),
            b"\0\0\0\x19\x4e\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03".to_vec(),
        ),
        (ReceiverMessage::Bundle { len: 9, packed: b"zip" }, b"\0\0\0\x08\x4f\0\0\0\x09zip".to_vec()),
        (ReceiverMessage::Unknown(0xff), b"\0\0\0\x01\xff".to_vec()),
    ]
}

#[test]
fn sender_messages_have_their_octets_both_ways() {
    for (message, octets) in sender_golden() {
        let mut out = vec![0xa5; 3];
        message.emit(&mut out);
        assert_eq!(out, [&[0xa5; 3][..], &octets].concat(), "{message:?}");
        assert_eq!(SenderMessage::parse(&octets[PREFIX_LEN..]), Ok(message));
        assert_eq!(octets[PREFIX_LEN], message.kind());
    }
}

#[test]
fn receiver_messages_have_their_octets_both_ways() {
    for (message, octets) in receiver_golden() {
        let mut out = vec![0xa5; 3];
        message.emit(&mut out);
        assert_eq!(out, [&[0xa5; 3][..], &octets].concat(), "{message:?}");
        assert_eq!(ReceiverMessage::parse(&octets[PREFIX_LEN..]), Ok(message));
        assert_eq!(octets[PREFIX_LEN], message.kind());
    }
}

#[test]
fn every_shorter_body_is_refused_as_truncated() {
    for (message, octets) in sender_golden() {
        let shortest = match message {
            // Data of any length is data, and what is packed or an item is looked at later.
            SenderMessage::Data(_) => 2,
            SenderMessage::WantSums { .. } => 10,
            SenderMessage::Packed { .. } | SenderMessage::Listing { .. } | SenderMessage::Bundle { .. } => 6,
            SenderMessage::Attributes { .. } => 9,
            _ => octets.len() - PREFIX_LEN,
        };
        for len in 1..shortest {
            let frame = &octets[PREFIX_LEN..][..len];
            let expected = Err(Violation::Truncated(message.kind()));
            assert_eq!(SenderMessage::parse(frame), expected, "{message:?} cut to {len}");
        }
    }
    for (message, octets) in receiver_golden() {
        let shortest = match message {
            // Receipts and sums are looked at later.
            ReceiverMessage::Receipt(_) => 1,
            ReceiverMessage::Sums { .. } => 10,
            ReceiverMessage::Bundle { .. } => 6,
            _ => octets.len() - PREFIX_LEN,
        };
        for len in 1..shortest {
            let frame = &octets[PREFIX_LEN..][..len];
            let expected = Err(Violation::Truncated(message.kind()));
            assert_eq!(ReceiverMessage::parse(frame), expected, "{message:?} cut to {len}");
        }
    }
}

#[test]
fn a_key_that_proves_nothing_is_refused() {
    let weak = [0; KEY_LEN];
    let violation = Violation::Key(KeyFault::Weak(WeakKey(weak)));
    assert_eq!(SenderMessage::parse(&[&b"\x0a0123456789abcdef"[..], &weak].concat()), Err(violation));
    assert_eq!(ReceiverMessage::parse(&[&b"\x47"[..], &weak].concat()), Err(violation));
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    for (message, octets) in sender_golden() {
        let is_open = matches!(
            message,
            SenderMessage::Data(_)
                | SenderMessage::WantSums { .. }
                | SenderMessage::Packed { .. }
                | SenderMessage::Attributes { .. }
                | SenderMessage::Listing { .. }
                | SenderMessage::Bundle { .. }
        );
        if !is_open {
            let longer = [&octets[PREFIX_LEN..], b"later"].concat();
            assert_eq!(SenderMessage::parse(&longer), Ok(message));
        }
    }
    for (message, octets) in receiver_golden() {
        if matches!(
            message,
            ReceiverMessage::Receipt(_) | ReceiverMessage::Sums { .. } | ReceiverMessage::Bundle { .. }
        ) {
            continue;
        }
        let longer = [&octets[PREFIX_LEN..], b"later"].concat();
        assert_eq!(ReceiverMessage::parse(&longer), Ok(message));
    }
}

#[test]
fn kinds_of_a_later_version_are_ignored_only_where_they_say_they_may() {
    let known = |kind: u8| {
        let of_mirror = (0x18..=0x1b).contains(&kind) || (0x4c..=0x4f).contains(&kind);
        (1..=14).contains(&kind)
            || (0x10..=0x12).contains(&kind)
            || (0x41..=0x48).contains(&kind)
            || of_mirror
    };
    for kind in (0..=u8::MAX).filter(|&kind| !known(kind)) {
        let frame = [kind];
        let (sent, received) = (SenderMessage::parse(&frame), ReceiverMessage::parse(&frame));
        if kind >= 0x80 {
            assert_eq!(sent, Ok(SenderMessage::Unknown(kind)));
            assert_eq!(received, Ok(ReceiverMessage::Unknown(kind)));
        } else {
            assert_eq!(sent, Err(Violation::UnknownKind(kind)));
            assert_eq!(received, Err(Violation::UnknownKind(kind)));
        }
    }
    assert_eq!(SenderMessage::parse(&[0x43]), Err(Violation::UnknownKind(0x43)), "the other direction's");
    assert_eq!(ReceiverMessage::parse(&[0x07]), Err(Violation::UnknownKind(0x07)), "the other direction's");
}

#[test]
fn fields_outside_their_range_are_refused() {
    let mut hello = sender_golden()[0].1[PREFIX_LEN..].to_vec();
    hello[1] = b'X';
    assert_eq!(SenderMessage::parse(&hello), Err(Violation::Magic));
    hello[1] = b'T';
    hello[5..7].copy_from_slice(&[0xff, 0xff]);
    let field = Violation::Field { kind: 1, field: "oldest", value: 0xffff };
    assert_eq!(SenderMessage::parse(&hello), Err(field));

    let mut file = sender_golden()[2].1[PREFIX_LEN..].to_vec();
    file[45..49].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
    let field = Violation::Field { kind: 3, field: "nanoseconds", value: 1_000_000_000 };
    assert_eq!(SenderMessage::parse(&file), Err(field));

    for target in [&b""[..], b"a\0b", &[b'x'; 4096]] {
        let mut link = Vec::new();
        let modified = FileTime { seconds: 0, nanoseconds: 0 };
        SenderMessage::Link(LinkOffer { entry: 0, modified, target, path: b"a" }).emit(&mut link);
        let field = Violation::Field { kind: 0x12, field: "target", value: target.len() as u64 };
        assert_eq!(SenderMessage::parse(&link[PREFIX_LEN..]), Err(field));
    }
    let field = Violation::Field { kind: 0x18, field: "flags", value: 4 };
    assert_eq!(SenderMessage::parse(b"\x18\x04"), Err(field));

    for copy in [0, u64::from(u32::MAX) + 1] {
        let mut verdict = receiver_golden()[1].1[PREFIX_LEN..].to_vec();
        verdict[12..20].copy_from_slice(&copy.to_be_bytes());
        let field = Violation::Field { kind: 0x42, field: "copy", value: copy };
        assert_eq!(ReceiverMessage::parse(&verdict), Err(field));
    }
}

#[test]
fn frames_are_refused_by_their_prefix_alone() {
    assert_eq!(frame_len([0; 4]), Err(Violation::EmptyFrame));
    assert_eq!(frame_len([0, 0, 0, 1]), Ok(1));
    assert_eq!(frame_len([0, 1, 0, 1]), Ok(FRAME_LEN_MAX));
    assert_eq!(frame_len([0, 1, 0, 2]), Err(Violation::FrameTooLong(65538)));
    assert_eq!(frame_len([0xff; 4]), Err(Violation::FrameTooLong(u32::MAX)));
    assert_eq!(SenderMessage::parse(&[]), Err(Violation::EmptyFrame));
    assert_eq!(ReceiverMessage::parse(&[]), Err(Violation::EmptyFrame));
    let full = [&[4][..], &vec![7; DATA_LEN_MAX]].concat();
    assert!(SenderMessage::parse(&full).is_ok());
    assert_eq!(SenderMessage::parse(&[&full[..], &[7]].concat()), Err(Violation::FrameTooLong(65538)));
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..5000)
}

fn any_time() -> impl Strategy<Value = FileTime> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| FileTime { seconds, nanoseconds })
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let obstacle = || (any::<u16>(), 0..3_u64).prop_map(|(code, detail)| Obstacle::from_wire(code, detail));
    prop_oneof![
        (1..=u32::MAX).prop_map(|copy| Verdict::Delivered { copy }),
        (1..=u32::MAX).prop_map(|copy| Verdict::AlreadyThere { copy }),
        obstacle().prop_map(Verdict::Refused),
        obstacle().prop_map(Verdict::Failed),
        (5..=u8::MAX).prop_map(Verdict::Other),
    ]
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again(
        entry: u64,
        size: u64,
        mode: u32,
        modified in any_time(),
        path in any_path(),
        data in prop::collection::vec(any::<u8>(), 1..=DATA_LEN_MAX),
        versions: (u16, u16),
        code: u16,
        hash: [u8; 32],
    ) {
        let (oldest, newest) = (versions.0.min(versions.1), versions.0.max(versions.1));
        for message in [
            SenderMessage::Hello(Hello { oldest, newest, entries: entry, bytes: size }),
            SenderMessage::Folder(FolderOffer { entry, mode, path: &path }),
            SenderMessage::File(FileOffer { entry, stamp: STAMP, size, mode, modified, path: &path }),
            SenderMessage::Ask(FileOffer { entry, stamp: STAMP, size, mode, modified, path: &path }),
            SenderMessage::Body { entry, from: size },
            SenderMessage::Data(&data),
            SenderMessage::FileEnd { hash },
            SenderMessage::Abandon { code },
            SenderMessage::Attributes { entry, items: &path },
            SenderMessage::Hole { len: size },
            SenderMessage::Claim {
                hash,
                offer: FileOffer { entry, stamp: STAMP, size, mode, modified, path: &path },
            },
            SenderMessage::WantSums { entry, octets: &data },
            SenderMessage::Copy { from: entry / 2, len: size / 2 + 1 },
            SenderMessage::Packed { len: data.len(), octets: &data },
            SenderMessage::Link(LinkOffer { entry, modified, target: b"x", path: &path }),
        ] {
            let mut out = Vec::new();
            message.emit(&mut out);
            let (prefix, frame) = out.split_first_chunk().unwrap();
            prop_assert_eq!(frame_len(*prefix), Ok(frame.len()));
            prop_assert_eq!(SenderMessage::parse(frame), Ok(message));
        }
    }

    #[test]
    fn what_is_answered_is_parsed_again(entry: u64, verdict in any_verdict(), code: u16, detail: u64) {
        for message in [
            ReceiverMessage::Verdict { entry, verdict },
            ReceiverMessage::Stop(StopReason::from_wire(code, detail)),
            ReceiverMessage::Welcome { version: code },
            ReceiverMessage::Go { entry, from: detail },
        ] {
            let mut out = Vec::new();
            message.emit(&mut out);
            let (prefix, frame) = out.split_first_chunk().unwrap();
            prop_assert_eq!(frame_len(*prefix), Ok(frame.len()));
            prop_assert_eq!(ReceiverMessage::parse(frame), Ok(message));
        }
    }

    #[test]
    fn no_octets_at_all_make_a_parser_panic(mut frame in prop::collection::vec(any::<u8>(), 0..200), kind: u8) {
        let _ = (SenderMessage::parse(&frame), ReceiverMessage::parse(&frame));
        if let Some(first) = frame.first_mut() {
            // Most random kinds are unknown; the known ones are where the fields are.
            *first = [kind & 0x1f, 0x40 | (kind & 0x0f)][usize::from(kind >> 7)];
        }
        if let Ok(message) = SenderMessage::parse(&frame) {
            prop_assert!(frame.is_empty() || message.kind() == frame[0]);
        }
        let _ = ReceiverMessage::parse(&frame);
    }
}
