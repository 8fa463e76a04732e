//! A receiver that answers whatever it likes, written by hand: the sender believes nothing that cannot be true, and says so.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{BUFFER, Offices, noise, order};
use tieline_transfer::protocol::{
    PREFIX_LEN, ReceiverMessage, SenderMessage, VERSION, Verdict, Violation, frame_len,
};
use tieline_transfer::{Fate, Fault, Obstacle, Outcome, Plan, SendError, StopReason, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const WELCOME: ReceiverMessage<'_> = ReceiverMessage::Welcome { version: VERSION };
const YES: Verdict = Verdict::Delivered { copy: 1 };

#[tokio::test]
async fn a_receiver_cannot_confirm_what_it_was_not_sent() {
    let verdict = |entry, verdict| ReceiverMessage::Verdict { entry, verdict };
    let no = Verdict::Failed(Obstacle::HashMismatch);
    for (answers, violation) in [
        (vec![verdict(2, YES)], Violation::Verdict(2)),
        (vec![verdict(u64::MAX, no)], Violation::Verdict(u64::MAX)),
        (vec![verdict(0, YES), verdict(0, YES)], Violation::Verdict(0)),
        (vec![verdict(0, no), verdict(0, no)], Violation::Verdict(0)),
        (vec![verdict(0, YES), ReceiverMessage::Done], Violation::DoneTooEarly(1)),
        (vec![ReceiverMessage::Done], Violation::DoneTooEarly(2)),
        (vec![WELCOME], Violation::OutOfPlace(0x41)),
    ] {
        let shown = format!("{answers:?}");
        let outcome = after_everything(&frames([vec![WELCOME], answers].concat())).await;
        let told = outcome.interruption.as_ref().unwrap();
        assert!(matches!(told, SendError::Violation(found) if *found == violation), "{shown}: {told}");
        assert!(!outcome.is_complete(), "{shown}");
    }
}

#[tokio::test]
async fn a_file_is_not_believed_delivered_before_its_end_was_sent() {
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("big", noise(1, 10_000_000))], &()).unwrap();
    let (near, mut far) = support::by_hand(BUFFER);
    let liar = async {
        read_message(&mut far).await;
        far.write_all(&frames([WELCOME])).await.unwrap();
        read_message(&mut far).await;
        let early = ReceiverMessage::Verdict { entry: 0, verdict: YES };
        far.write_all(&frames([early])).await.unwrap();
        drain(&mut far).await;
    };
    let (sent, ()) = tokio::join!(send(near, order(plan), Arc::new(())), liar);
    let outcome = sent.unwrap();
    assert!(matches!(outcome.interruption, Some(SendError::Violation(Violation::Verdict(0)))));
    assert_eq!(outcome.entries[0].fate, Fate::NotSent);
}

#[tokio::test]
async fn a_file_that_the_receiver_cannot_store_is_not_sent_to_its_end_and_the_next_one_is() {
    let offices = Offices::new();
    let paths = [offices.write("a-big", noise(1, 50_000_000)), offices.write("b", "small")];
    let plan = Plan::scan(&paths, &()).unwrap();
    let (near, mut far) = support::by_hand(BUFFER);
    let full = Verdict::Failed(Obstacle::NoSpace { missing_bytes: 0 });
    let receiver = async {
        read_message(&mut far).await;
        far.write_all(&frames([WELCOME])).await.unwrap();
        read_message(&mut far).await;
        far.write_all(&frames([ReceiverMessage::Verdict { entry: 0, verdict: full }])).await.unwrap();
        let mut octets = 0;
        loop {
            let frame = read_message(&mut far).await;
            octets += frame.len();
            match SenderMessage::parse(&frame).unwrap() {
                SenderMessage::Abandon { code } => assert_eq!(code, 3),
                SenderMessage::End => break,
                _ => {}
            }
        }
        far.write_all(&frames([ReceiverMessage::Verdict { entry: 1, verdict: YES }, ReceiverMessage::Done]))
            .await
            .unwrap();
        octets
    };
    let (sent, octets) = tokio::join!(send(near, order(plan), Arc::new(())), receiver);
    let outcome = sent.unwrap();
    assert!(octets < 10_000_000, "{octets} octets of a file that was refused");
    assert_eq!(
        outcome.entries[0].fate,
        Fate::Failed(Fault::Receiver(Obstacle::NoSpace { missing_bytes: 0 }))
    );
    assert_eq!(outcome.entries[1].fate, Fate::Delivered { copy: 1 });
    assert!(!outcome.is_complete());
}

#[tokio::test]
async fn verdicts_of_a_later_version_are_not_taken_for_delivered() {
    let later = |entry| ReceiverMessage::Verdict { entry, verdict: Verdict::Other(77) };
    let reason = Verdict::Refused(Obstacle::Other { code: 999, detail: 5 });
    let unknown = ReceiverMessage::Unknown(0xee);
    let answers = [
        WELCOME,
        unknown,
        later(0),
        ReceiverMessage::Verdict { entry: 1, verdict: reason },
        unknown,
        ReceiverMessage::Done,
    ];
    let outcome = after_everything(&frames(answers)).await;
    assert!(outcome.interruption.is_none());
    assert!(!outcome.is_complete());
    assert_eq!(outcome.entries[0].fate, Fate::Failed(Fault::Verdict(77)));
    assert!(outcome.entries[1].to_string().contains("reason 999"), "{}", outcome.entries[1]);
}

#[tokio::test]
async fn a_stop_in_the_middle_is_told_with_its_reason() {
    let stop = ReceiverMessage::Stop(StopReason::Other { code: 500, detail: 1 });
    let first = ReceiverMessage::Verdict { entry: 0, verdict: YES };
    let outcome = after_everything(&frames([WELCOME, first, stop])).await;
    assert!(matches!(outcome.interruption, Some(SendError::Refused(StopReason::Other { code: 500, .. }))));
    assert_eq!(outcome.entries[0].fate, Fate::Delivered { copy: 1 });
    assert_eq!(outcome.entries[1].fate, Fate::Unconfirmed);
}

#[tokio::test]
async fn a_receiver_that_closes_its_ear_is_still_heard_for_the_reason() {
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("big", noise(1, 10_000_000))], &()).unwrap();
    // Two one-way streams: closing one does not close the other, as with QUIC.
    let (near_out, mut far_in) = duplex(BUFFER);
    let (mut far_out, near_in) = duplex(BUFFER);
    let receiver = async move {
        read_message(&mut far_in).await;
        far_out.write_all(&frames([WELCOME])).await.unwrap();
        read_message(&mut far_in).await;
        drop(far_in);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let stop = ReceiverMessage::Stop(StopReason::NoSpace { missing_bytes: 7 });
        far_out.write_all(&frames([stop])).await.unwrap();
        far_out
    };
    let stream = tokio::io::join(near_in, near_out);
    let (sent, _open) = tokio::join!(send(stream, order(plan), Arc::new(())), receiver);
    let interruption = sent.unwrap().interruption.unwrap();
    assert!(
        matches!(interruption, SendError::Refused(StopReason::NoSpace { missing_bytes: 7 })),
        "{interruption}"
    );
}

#[tokio::test]
async fn garbage_instead_of_a_welcome_delivers_nothing() {
    let mut long = frames([ReceiverMessage::Unknown(0x90)]);
    long[0] = 0xff;
    for (octets, violation) in [
        (frames([ReceiverMessage::Welcome { version: 2 }]), Violation::OutOfPlace(0x41)),
        (frames([ReceiverMessage::Welcome { version: 0 }]), Violation::OutOfPlace(0x41)),
        (frames([ReceiverMessage::Done]), Violation::OutOfPlace(0x43)),
        (frames([ReceiverMessage::Verdict { entry: 0, verdict: YES }]), Violation::OutOfPlace(0x42)),
        (b"\0\0\0\x01\x01".to_vec(), Violation::UnknownKind(1)),
        (b"\0\0\0\x02\x41\0".to_vec(), Violation::Truncated(0x41)),
        (b"\0\0\0\0".to_vec(), Violation::EmptyFrame),
        (long, Violation::FrameTooLong(0xff00_0001)),
    ] {
        let (sent, heard) = talk_to(&octets).await;
        assert!(matches!(sent, Err(SendError::Violation(found)) if found == violation), "{sent:?}");
        assert!(matches!(SenderMessage::parse(&heard[PREFIX_LEN..]), Ok(SenderMessage::Hello(_))));
    }
}

#[tokio::test]
async fn random_octets_after_the_welcome_end_the_transfer_without_a_false_word() {
    for seed in 0..200 {
        let len = usize::try_from(seed * 7 % 400).unwrap();
        // Half of them start with a length that is allowed, so that the rest is looked at.
        let start = if seed % 2 == 0 { vec![] } else { vec![0, 0, 0, 0x14, 0x42] };
        let octets = [frames([WELCOME]), start, noise(seed, len)].concat();
        let outcome = after_everything(&octets).await;
        assert!(outcome.interruption.is_some(), "seed {seed}");
        assert!(outcome.entries.iter().all(|entry| !entry.fate.is_delivered()), "seed {seed}");
    }
}

/// Octets of one answer after the other.
fn frames<'a>(messages: impl IntoIterator<Item = ReceiverMessage<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    messages.into_iter().for_each(|message| message.emit(&mut out));
    out
}

/// The next message that is about entries; receipts are another story.
async fn read_message(stream: &mut DuplexStream) -> Vec<u8> {
    loop {
        let mut prefix = [0; PREFIX_LEN];
        stream.read_exact(&mut prefix).await.unwrap();
        let mut frame = vec![0; frame_len(prefix).unwrap()];
        stream.read_exact(&mut frame).await.unwrap();
        if !matches!(SenderMessage::parse(&frame), Ok(SenderMessage::Identify { .. })) {
            return frame;
        }
    }
}

async fn drain(stream: &mut DuplexStream) -> Vec<u8> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    heard
}

/// Sends two small files to a receiver that gives the answers at once, and returns what the sender said before it hung up.
async fn talk_to(answers: &[u8]) -> (Result<Outcome, SendError>, Vec<u8>) {
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("a", "1"), offices.write("b", "2")], &()).unwrap();
    let (near, mut far) = support::by_hand(BUFFER);
    let receiver = async {
        far.write_all(answers).await.unwrap();
        drain(&mut far).await
    };
    tokio::join!(send(near, order(plan), Arc::new(())), receiver)
}

/// Takes two small files to their end, and only then gives the answers after the first, which is the welcome.
async fn after_everything(answers: &[u8]) -> Outcome {
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("a", "1"), offices.write("b", "2")], &()).unwrap();
    let (near, mut far) = support::by_hand(BUFFER);
    let (welcome, rest) = answers.split_at(frames([WELCOME]).len());
    let receiver = async {
        read_message(&mut far).await;
        far.write_all(welcome).await.unwrap();
        while SenderMessage::parse(&read_message(&mut far).await) != Ok(SenderMessage::End) {}
        // The sender may hang up as soon as it does not like what it hears.
        let _ = far.write_all(rest).await;
        far.shutdown().await.unwrap();
        drain(&mut far).await;
    };
    let everything = async { tokio::join!(send(near, order(plan), Arc::new(())), receiver) };
    let (sent, ()) = tokio::time::timeout(Duration::from_secs(30), everything).await.expect("nobody hangs");
    sent.unwrap()
}
