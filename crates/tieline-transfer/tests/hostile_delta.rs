//! An end that lies about old versions, sums and packed data: what it says is refused, or shows by the hash, and costs no more memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use support::{BUFFER, Offices, attack, frames, hello, noise, order};
use tieline_transfer::compress::{COMPRESS_BLOCK_LEN_MAX, Compressor};
use tieline_transfer::delta::{DeltaViolation, Key, Signature, SumRequest};
use tieline_transfer::protocol::{
    ASKED_SMALL_MAX, DATA_LEN_MAX, FileOffer, FileTime, PREFIX_LEN, ReceiverMessage, SUMS_OPEN_MAX,
    SenderMessage, VERSION, Verdict, Violation, frame_len,
};
use tieline_transfer::{Obstacle, Plan, ReceiveError, SendError, Stamp, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const LEN: u64 = 100_000;
const HASH: [u8; 32] = [9; 32];

#[tokio::test]
async fn packed_data_that_is_not_what_it_says_ends_the_transfer() {
    let bomb = {
        let mut packed = Vec::new();
        Compressor::new().unwrap().compress(&vec![0; COMPRESS_BLOCK_LEN_MAX], &mut packed).unwrap();
        packed
    };
    for (len, octets) in [(1, &b"no zstd at all"[..]), (1, &bomb), (DATA_LEN_MAX, &bomb)] {
        let packed = SenderMessage::Packed { len, octets };
        for before in [vec![SenderMessage::File(offer(0))], vec![]] {
            let messages = [vec![hello(3, 0)], before, vec![packed]].concat();
            assert_eq!(violation(&Offices::new(), messages).await, Violation::Packed(len));
        }
    }
}

#[tokio::test]
async fn packed_data_beyond_the_size_or_out_of_place_ends_the_transfer() {
    let pack = |data: &[u8]| {
        let mut packed = Vec::new();
        Compressor::new().unwrap().compress(data, &mut packed).unwrap();
        packed
    };
    let octets = pack(b"xyz");
    let packed = SenderMessage::Packed { len: 3, octets: &octets };
    let file = SenderMessage::File(FileOffer { size: 2, ..offer(0) });
    let messages = vec![hello(3, 0), file, packed];
    assert_eq!(violation(&Offices::new(), messages).await, Violation::BeyondSize(0));
    let messages = vec![hello(3, 0), packed];
    assert_eq!(violation(&Offices::new(), messages).await, Violation::OutOfPlace(0x04));
}

#[tokio::test]
async fn copies_of_what_there_is_not_end_the_transfer() {
    let ask = SenderMessage::Ask(offer(0));
    let body = SenderMessage::Body { entry: 0, from: 0 };
    let copy = |from, len| SenderMessage::Copy { from, len };
    for (old, messages, expected) in [
        (false, vec![ask, body, copy(0, 1)], Violation::Copy { entry: 0, from: 0 }),
        (true, vec![ask, body, copy(LEN, 1)], Violation::Copy { entry: 0, from: LEN }),
        (true, vec![ask, body, copy(1, LEN)], Violation::Copy { entry: 0, from: 1 }),
        (true, vec![ask, body, copy(0, LEN), copy(0, 1)], Violation::BeyondSize(0)),
        (true, vec![SenderMessage::File(offer(0)), copy(0, 1)], Violation::Copy { entry: 0, from: 0 }),
        (true, vec![copy(0, 1)], Violation::OutOfPlace(0x0d)),
    ] {
        let offices = Offices::new();
        if old {
            fs::write(offices.inside("a"), noise(1, LEN as usize)).unwrap();
        }
        let shown = format!("{messages:?}");
        let messages = [vec![hello(3, 0)], messages].concat();
        assert_eq!(violation(&offices, messages).await, expected, "{shown}");
        offices.assert_nothing_unfinished();
    }
}

#[tokio::test]
async fn a_file_made_of_something_else_than_its_hash_says_gets_no_name() {
    let offices = Offices::new();
    fs::write(offices.inside("a"), noise(1, LEN as usize)).unwrap();
    let copy = |from, len| SenderMessage::Copy { from, len };
    let messages = vec![
        hello(3, 0),
        SenderMessage::Ask(offer(0)),
        SenderMessage::Body { entry: 0, from: 0 },
        copy(LEN / 2, LEN / 2),
        copy(0, LEN / 2),
        SenderMessage::FileEnd { hash: HASH },
        SenderMessage::End,
    ];
    let (answers, received) = attack(&offices, &frames(messages)).await;
    assert!(received.unwrap().interruption.is_none());
    let failed = ReceiverMessage::Verdict { entry: 0, verdict: Verdict::Failed(Obstacle::OldVersion) };
    assert!(answers.contains(&failed), "{answers:?}");
    assert_eq!(offices.arrived().len(), 1);
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn sums_are_wanted_once_and_only_of_what_there_is() {
    let ask = SenderMessage::Ask(offer(0));
    let request = {
        let mut octets = Vec::new();
        SumRequest::whole(Key::new([1; 32]), LEN, LEN).emit(&mut octets);
        octets
    };
    let beyond = {
        let mut octets = Vec::new();
        SumRequest::whole(Key::new([1; 32]), LEN * 5, LEN).emit(&mut octets);
        octets
    };
    let many = [&request[..SumRequest::HEADER_LEN - 4], &[0xff; 4]].concat();
    let want = |octets| SenderMessage::WantSums { entry: 0, octets };
    let longer = [&request[..], b"x"].concat();
    for (old, messages, expected) in [
        (true, vec![ask, want(&request[..9]), want(&request[9..]), want(&request)], Violation::Sums(0)),
        (false, vec![ask, want(&request)], Violation::Sums(0)),
        (true, vec![want(&request)], Violation::Sums(0)),
        (true, vec![ask, want(&longer)], Violation::Sums(0)),
        (true, vec![ask, want(&many)], Violation::Delta(DeltaViolation::Ranges(u32::MAX))),
        (true, vec![ask, want(&request[..9]), SenderMessage::End], Violation::OutOfPlace(0x07)),
        // What goes beyond the end of the old version is answered with no sums, and is no crime: it may have become shorter.
        (true, vec![ask, want(&beyond), SenderMessage::End], Violation::OutOfPlace(0x07)),
    ] {
        let offices = Offices::new();
        if old {
            fs::write(offices.inside("a"), noise(1, LEN as usize)).unwrap();
        }
        let shown = format!("{messages:?}");
        let messages = [vec![hello(3, 0)], messages].concat();
        assert_eq!(violation(&offices, messages).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_claim_of_what_nobody_sent_is_answered_like_a_question() {
    let offices = Offices::new();
    let claim = SenderMessage::Claim { hash: HASH, offer: offer(0) };
    let messages = vec![hello(3, 0), claim, SenderMessage::Body { entry: 0, from: LEN }];
    let wrong = Violation::Answer { entry: 0, from: LEN };
    assert_eq!(violation(&offices, messages).await, wrong);
    let questions = (0..=ASKED_SMALL_MAX as u64).map(|entry| SenderMessage::Ask(offer(entry)));
    let messages = [vec![hello(2000, 0)], questions.collect()].concat();
    assert_eq!(violation(&offices, messages).await, Violation::TooManyAsked);
}

#[tokio::test]
async fn what_is_compared_for_long_holds_nothing_else_up() {
    let offices = Offices::new();
    let old = noise(1, 64 << 20);
    let new = [&old[..], b"and more"].concat();
    let paths = [offices.write("a", &new), offices.write("b", noise(2, 2 << 20))];
    let request = SumRequest::whole(Key::new([5; Key::LEN]), old.len() as u64, new.len() as u64);
    let mut octets = Vec::new();
    request.emit(&mut octets);
    octets.extend(Signature::of(request, &mut std::io::Cursor::new(&old)).unwrap().sums());
    let plan = Plan::scan(&paths, &()).unwrap();
    let (near, mut far) = support::by_hand(BUFFER);
    let receiver = async move {
        // Hello, identify, and what is asked about both files.
        for _ in 0..4 {
            read_message(&mut far).await;
        }
        let mut answers = Vec::new();
        let sums = octets.chunks(30_000).map(|octets| ReceiverMessage::Sums { entry: 0, octets });
        let go = [0, 1].map(|entry| ReceiverMessage::Go { entry, from: 0 });
        for message in [ReceiverMessage::Welcome { version: VERSION }].into_iter().chain(sums).chain(go) {
            message.emit(&mut answers);
        }
        far.write_all(&answers).await.unwrap();
        let mut begun = Vec::new();
        while begun.len() < 2 {
            let frame = read_message(&mut far).await;
            if let SenderMessage::Body { entry, .. } = SenderMessage::parse(&frame).unwrap() {
                begun.push(entry);
            }
        }
        begun
    };
    let both = async { tokio::join!(send(near, order(plan), Arc::new(())), receiver) };
    let (_, begun) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody hangs");
    assert_eq!(begun, [1, 0], "the second file does not wait for the first one");
}

#[tokio::test]
async fn sums_that_were_not_asked_for_or_are_too_many_end_the_transfer() {
    let sums = |entry, octets| ReceiverMessage::Sums { entry, octets };
    let go = ReceiverMessage::Go { entry: 0, from: 0 };
    let flood = vec![7; 60_000];
    let many = SUMS_OPEN_MAX / flood.len() + 1;
    for (answers, expected) in [
        (vec![sums(1, &b"x"[..])], Violation::Sums(1)),
        (vec![sums(u64::MAX, b"x")], Violation::Sums(u64::MAX)),
        (vec![sums(0, b"x"), go], Violation::Delta(DeltaViolation::Truncated)),
        (vec![sums(0, &flood); many], Violation::Sums(0)),
        (vec![go, sums(0, b"x")], Violation::Sums(0)),
    ] {
        let offices = Offices::new();
        let plan = Plan::scan(&[offices.write("big", noise(1, 40_000_000))], &()).unwrap();
        let (near, mut far) = support::by_hand(BUFFER);
        let liar = async {
            let welcome = ReceiverMessage::Welcome { version: VERSION };
            let mut octets = Vec::new();
            // Up to the question: hello, identify, ask.
            for _ in 0..3 {
                read_message(&mut far).await;
            }
            [vec![welcome], answers].concat().iter().for_each(|message| message.emit(&mut octets));
            let (mut reader, mut writer) = tokio::io::split(far);
            let mut sink = tokio::io::sink();
            let _ = tokio::join!(writer.write_all(&octets), tokio::io::copy(&mut reader, &mut sink));
        };
        let both = async { tokio::join!(send(near, order(plan), Arc::new(())), liar) };
        let (sent, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody hangs");
        let interruption = sent.unwrap().interruption.unwrap();
        assert!(matches!(interruption, SendError::Violation(found) if found == expected), "{interruption}");
    }
}

/// A short file, so that nothing of it is in the journal.
fn offer(entry: u64) -> FileOffer<'static> {
    let modified = FileTime { seconds: 0, nanoseconds: 0 };
    FileOffer { entry, stamp: Stamp::from_bytes([7; 16]), size: LEN, mode: 0o644, modified, path: b"a" }
}

/// The violation by which the receiver ends the transfer.
async fn violation(offices: &Offices, messages: Vec<SenderMessage<'_>>) -> Violation {
    let (_, received) = attack(offices, &frames(messages)).await;
    match received.unwrap().interruption {
        Some(ReceiveError::Violation(violation)) => violation,
        other => panic!("{other:?}"),
    }
}

async fn read_message(stream: &mut DuplexStream) -> Vec<u8> {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await.unwrap();
    let mut frame = vec![0; frame_len(prefix).unwrap()];
    stream.read_exact(&mut frame).await.unwrap();
    frame
}
