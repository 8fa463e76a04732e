//! An end of a mirror that says whatever it likes: nothing outside the mirror is touched, nothing untrue is believed, nothing panics.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::sync::Arc;

use support::{BUFFER, Offices, answer, frames, hello, order};
use tieline_transfer::compress::Compressor;
use tieline_transfer::mirror::{FingerprintKey, ListingFault, MirrorRules, Record, RecordWriter};
use tieline_transfer::protocol::{
    FileTime, ReceiverMessage, Removed, SenderMessage, VERSION, Violation, WantedRun,
};
use tieline_transfer::{Outcome, Plan, ReceiveError, SendError, receive, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RULES: MirrorRules = MirrorRules { removes: true, by_content: false };
const KEY: FingerprintKey = FingerprintKey([7; FingerprintKey::LEN]);
const MIRROR: SenderMessage<'_> = SenderMessage::Mirror { rules: RULES, key: KEY };

/// Records of folders and of files with two octets, by their entries.
fn folder(path: &[u8]) -> Record<'_> {
    Record::Folder { path }
}

fn file(entry: u64, name: &[u8]) -> Record<'_> {
    let fingerprint = KEY.of(2, FileTime { seconds: 0, nanoseconds: 0 }, None);
    Record::File { entry, fingerprint, name }
}

/// One message with these records.
fn listing(records: &[Record<'_>]) -> SenderMessage<'static> {
    let (mut writer, mut octets) = (RecordWriter::default(), Vec::new());
    records.iter().for_each(|record| writer.add(*record));
    writer.emit(&mut octets);
    packed(&octets)
}

/// One message with these octets.
fn packed(octets: &[u8]) -> SenderMessage<'static> {
    let mut packed = Vec::new();
    Compressor::new().unwrap().compress(octets, &mut packed).unwrap();
    SenderMessage::Listing { len: u32::try_from(octets.len()).unwrap(), packed: packed.leak() }
}

/// What comes of these messages behind a hello for ten entries into the mirror.
async fn attack(
    offices: &Offices,
    messages: Vec<SenderMessage<'static>>,
) -> (Vec<ReceiverMessage<'static>>, Violation) {
    let (far, mut near) = support::by_hand(1 << 20);
    let sender = async {
        near.write_all(&frames([vec![hello(10, 0)], messages].concat())).await.unwrap();
        let mut answers = Vec::new();
        while let Some(answer) = answer(&mut near).await {
            answers.push(answer);
        }
        answers
    };
    let (answers, received) =
        tokio::join!(sender, receive(far, &offices.inbox, Some(b"mirror"), Arc::new(())));
    match received.unwrap().interruption {
        Some(ReceiveError::Violation(violation)) => (answers, violation),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_listing_that_cannot_be_one_ends_the_transfer() {
    let top = || folder(b"");
    let fault = Violation::Listing;
    let broken = SenderMessage::Listing { len: 100, packed: b"not compressed" };
    let longer = match listing(&[top()]) {
        SenderMessage::Listing { packed, .. } => SenderMessage::Listing { len: u32::MAX, packed },
        other => other,
    };
    let bomb = match packed(&vec![4; 900_000]) {
        SenderMessage::Listing { packed, .. } => SenderMessage::Listing { len: 50_000, packed },
        other => other,
    };
    for (messages, violation) in [
        (vec![listing(&[top()])], Violation::OutOfPlace(0x19)),
        (vec![SenderMessage::Listed], Violation::OutOfPlace(0x1a)),
        (vec![MIRROR, MIRROR], Violation::OutOfPlace(0x18)),
        (vec![MIRROR, SenderMessage::End], Violation::OutOfPlace(0x07)),
        (vec![MIRROR, listing(&[top()]), SenderMessage::Data(b"x")], Violation::OutOfPlace(0x04)),
        (vec![MIRROR, SenderMessage::Listed], fault(ListingFault::NoFolder)),
        (
            vec![MIRROR, listing(&[top()]), SenderMessage::Listed, SenderMessage::Listed],
            Violation::OutOfPlace(0x1a),
        ),
        (vec![MIRROR, broken], fault(ListingFault::Packed)),
        (vec![MIRROR, longer], fault(ListingFault::Packed)),
        (vec![MIRROR, bomb], fault(ListingFault::Packed)),
        (vec![MIRROR, listing(&[file(0, b"a")])], fault(ListingFault::NoFolder)),
        (vec![MIRROR, listing(&[folder(b"a")])], fault(ListingFault::NoFolder)),
        (vec![MIRROR, listing(&[top(), top()])], fault(ListingFault::NoFolder)),
        (vec![MIRROR, packed(b"\0\0\0\x02\x01\x09\0\0\0\0")], fault(ListingFault::Kind(9))),
        (vec![MIRROR, packed(b"\0\0\0\x02\x01\x02\0\0\0\x01n")], fault(ListingFault::CutShort)),
        (vec![MIRROR, packed(b"\0\0\0\x01\x01\0\0more")], fault(ListingFault::Trailing(4))),
        (vec![MIRROR, listing(&[top(), file(10, b"a")])], fault(ListingFault::Entry(10))),
        (vec![MIRROR, listing(&[top(), file(0, b"b"), file(1, b"a")])], fault(ListingFault::Order)),
        (vec![MIRROR, listing(&[top(), file(0, b"b"), file(1, b"b")])], fault(ListingFault::Order)),
    ] {
        let offices = Offices::new();
        let (answers, found) = attack(&offices, messages.clone()).await;
        assert_eq!(found, violation, "{messages:?}");
        assert!(matches!(answers.last(), Some(ReceiverMessage::Stop(_))), "{answers:?}");
    }
}

#[tokio::test]
async fn case_23_no_name_of_a_listing_leads_out_of_the_mirror() {
    let offices = Offices::new();
    fs::create_dir(offices.inside("private")).unwrap();
    fs::write(offices.inside("private/precious"), "x").unwrap();
    fs::write(offices.inside("beside"), "x").unwrap();
    for name in [&b".."[..], b".", b"", b"a/b", b"../private", b"a\0b", b"/"] {
        for record in [file(0, name), folder(name)] {
            if name.is_empty() || record == folder(b"a/b") {
                continue; // The mirror itself again, and a folder of it.
            }
            let records = [folder(b""), record];
            let (_, found) = attack(&offices, vec![MIRROR, listing(&records)]).await;
            assert_eq!(found, Violation::Listing(ListingFault::Name), "{records:?}");
        }
    }
    assert!(offices.inside("private/precious").exists() && offices.inside("beside").exists());
}

#[tokio::test]
async fn nothing_is_removed_before_everything_was_sent() {
    let offices = Offices::new();
    let (answers, _) =
        attack(&offices, vec![MIRROR, listing(&[folder(b"")]), SenderMessage::Listed, MIRROR]).await;
    assert_eq!(answers[1], ReceiverMessage::Checked);
    fs::write(offices.inside("mirror/kept"), "x").unwrap();
    attack(&offices, vec![MIRROR, listing(&[folder(b"")]), SenderMessage::Listed, MIRROR]).await;
    assert!(offices.inside("mirror/kept").exists());
}

/// What a sender of two files makes of a receiver that answers this to the listing.
async fn lie(removes: bool, answers: Vec<ReceiverMessage<'static>>) -> (Result<Outcome, SendError>, String) {
    let offices = Offices::new();
    for name in ["a", "b"] {
        offices.write(&format!("dir/{name}"), "x");
    }
    let rules = MirrorRules { removes, ..MirrorRules::default() };
    let plan = Plan::mirror(&offices.out("dir"), rules, &()).unwrap();
    let shown = format!("{answers:?}");
    let (near, mut far) = support::by_hand(BUFFER);
    let receiver = async {
        let mut out = Vec::new();
        ReceiverMessage::Welcome { version: VERSION }.emit(&mut out);
        far.write_all(&out).await.unwrap();
        // Hello, identify, mirror, listing, listed.
        for _ in 0..5 {
            let len = far.read_u32().await.unwrap() as usize;
            far.read_exact(&mut vec![0; len]).await.unwrap();
        }
        out.clear();
        answers.iter().for_each(|answer| answer.emit(&mut out));
        far.write_all(&out).await.unwrap();
        let _ = tokio::io::copy(&mut far, &mut tokio::io::sink()).await;
    };
    let (sent, ()) = tokio::join!(send(near, order(plan), Arc::new(())), receiver);
    (sent, shown)
}

#[tokio::test]
async fn a_receiver_cannot_want_what_was_not_listed_nor_be_done_before_it_has_looked() {
    let wanted = |first, count| ReceiverMessage::Wanted(WantedRun { first, count, has_old: false });
    let wrong = |first, count| Violation::Wanted { first, count };
    let removed = ReceiverMessage::Removed(Removed::default());
    for (removes, answers, violation) in [
        (true, vec![wanted(0, 3)], wrong(0, 3)),
        (true, vec![wanted(u64::MAX, 2)], wrong(u64::MAX, 2)),
        (true, vec![wanted(2, 1)], wrong(2, 1)),
        (true, vec![wanted(0, 2), wanted(1, 1)], wrong(1, 1)),
        (true, vec![ReceiverMessage::Checked, ReceiverMessage::Checked], wrong(0, 0)),
        (true, vec![ReceiverMessage::Done], Violation::DoneTooEarly(0)),
        (true, vec![removed, removed], Violation::OutOfPlace(0x4e)),
        (false, vec![removed], Violation::OutOfPlace(0x4e)),
    ] {
        let (sent, shown) = lie(removes, answers).await;
        let told = sent.unwrap().interruption.unwrap();
        assert!(matches!(told, SendError::Violation(found) if found == violation), "{shown}: {told}");
    }
}
