//! A sender that sends whatever it likes, written by hand: nothing leaves the inbox, nothing half is published, nothing panics.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::time::Duration;

use support::{BUFFER, Offices, answer, frames, hello, noise, tree};
use tieline_transfer::protocol::{
    DATA_LEN_MAX, ENTRIES_MAX, FileOffer, FileTime, FolderOffer, Hello, ReceiverMessage, SenderMessage,
    Verdict, Violation,
};
use tieline_transfer::{NameFault, Obstacle, ReceiveError, Received, Stamp, StopReason, receive};
use tokio::io::{AsyncWriteExt, duplex};

const STAMP: Stamp = Stamp::from_bytes([7; 16]);

#[tokio::test]
async fn case_23_no_name_leads_out_of_the_inbox_or_into_the_private_folder() {
    let offices = Offices::new();
    let long = [b'x'; 256];
    let endless = [b'y'; 60_000];
    let names: [(&[u8], NameFault); 12] = [
        (b"../out", NameFault::Dots),
        (b"a/../../out", NameFault::Dots),
        (b"..", NameFault::Dots),
        (b".", NameFault::Dots),
        (b"/tmp/out", NameFault::Absolute),
        (b"", NameFault::Empty),
        (b"a//b", NameFault::EmptyComponent),
        (b"a\0b", NameFault::Control),
        (b"a\x1b[1mb", NameFault::Control),
        (b".tieline-partial/0", NameFault::Reserved),
        (&long, NameFault::ComponentTooLong),
        (&endless, NameFault::PathTooLong),
    ];
    for (number, (path, fault)) in (0_u64..).zip(names) {
        for folder in [false, true] {
            let offer = if folder { vec![folder_offer(number, path)] } else { file(number, path, b"x") };
            let (answers, received) =
                attack(&offices, [vec![hello(20, 0)], offer, vec![SenderMessage::End]].concat()).await;
            let refused = Verdict::Refused(Obstacle::Name(fault.code()));
            let expected =
                [ReceiverMessage::Verdict { entry: number, verdict: refused }, ReceiverMessage::Done];
            assert_eq!(answers, expected, "{fault}");
            let received = received.unwrap();
            assert!(received.interruption.is_none() && !received.is_complete());
        }
    }
    assert_eq!(tree(offices.dir.path()).len(), 3, "only out, in and its private folder");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_refused_name_costs_the_others_nothing() {
    let offices = Offices::new();
    let messages =
        [vec![hello(3, 0)], file(0, b"a", b"1"), file(1, b"../b", b"2"), file(2, b"c", b"3")].concat();
    let (answers, _) = attack(&offices, [messages, vec![SenderMessage::End]].concat()).await;
    assert_eq!(answers.len(), 4);
    assert_eq!(offices.arrived().into_keys().collect::<Vec<_>>(), [b"a", b"c"]);
}

#[tokio::test]
async fn case_24_links_planted_in_the_inbox_are_not_written_through() {
    let offices = Offices::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("target"), "untouched").unwrap();
    symlink(outside.path(), offices.inside("folder")).unwrap();
    symlink(outside.path().join("target"), offices.inside("file")).unwrap();
    symlink(outside.path().join("new"), offices.inside("dangling")).unwrap();
    let messages = [
        vec![hello(9, 0)],
        file(0, b"folder/x", b"evil"),
        vec![folder_offer(1, b"folder/y"), folder_offer(2, b"folder")],
        file(3, b"file", b"evil"),
        file(4, b"dangling", b"evil"),
        vec![SenderMessage::End],
    ];
    let (answers, _) = attack(&offices, messages.concat()).await;
    let linked = Verdict::Failed(Obstacle::Link);
    let beside = Verdict::Delivered { copy: 2 };
    assert_eq!(verdicts(&answers), [(0, linked), (1, linked), (2, linked), (3, beside), (4, beside)]);
    assert_eq!(tree(outside.path()).into_values().collect::<Vec<_>>(), [Some(b"untouched".to_vec())]);
    assert!(offices.inside("file").is_symlink() && offices.inside("dangling").is_symlink());
}

#[tokio::test]
async fn case_24_a_folder_swapped_for_a_link_in_the_middle_is_not_written_through() {
    let offices = Offices::new();
    let outside = tempfile::tempdir().unwrap();
    let (far, mut near) = support::by_hand(BUFFER);
    let attacker = async {
        let start = [vec![hello(9, 0), folder_offer(0, b"a")], file(1, b"a/before", b"x")].concat();
        near.write_all(&frames(start)).await.unwrap();
        // Welcome and both verdicts: the folder is there and in use.
        for _ in 0..3 {
            answer(&mut near).await.unwrap();
        }
        near.write_all(&frames(file(2, b"a/after", b"evil")[..2].iter().copied())).await.unwrap();
        fs::rename(offices.inside("a"), offices.inside("moved")).unwrap();
        symlink(outside.path(), offices.inside("a")).unwrap();
        let end = [file(2, b"a/after", b"evil")[2], SenderMessage::End];
        near.write_all(&frames(end)).await.unwrap();
        let last = answer(&mut near).await;
        assert_eq!(
            last,
            Some(ReceiverMessage::Verdict { entry: 2, verdict: Verdict::Failed(Obstacle::Link) })
        );
        answer(&mut near).await
    };
    let (done, received) = tokio::join!(attacker, receive(far, &offices.inbox, None, Arc::new(())));
    assert_eq!(done, Some(ReceiverMessage::Done));
    assert_eq!(received.unwrap().totals.failed.files, 1);
    assert_eq!(tree(outside.path()).len(), 0);
    offices.assert_nothing_unfinished();
}

/// Somebody who may write in the inbox swaps a folder for a link and back as fast as possible, all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_24_a_folder_that_flickers_between_folder_and_link_is_never_written_through() {
    let offices = Offices::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(offices.inside("a")).unwrap();
    symlink(outside.path(), offices.inside("b")).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (stop, a, b) = (Arc::clone(&stop), offices.inside("a"), offices.inside("b"));
        std::thread::spawn(move || {
            let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::fs::renameat_with(cwd, &a, cwd, &b, exchange).unwrap();
            }
        })
    };
    let names: Vec<String> = (0..400).map(|number| format!("a/{number}")).collect();
    let mut messages = vec![hello(400, 0)];
    for (number, name) in (0..).zip(&names) {
        messages.extend(file(number, name.as_bytes(), b"evil"));
    }
    messages.push(SenderMessage::End);
    let (answers, received) = attack(&offices, messages).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    let totals = received.unwrap().totals;
    assert_eq!(answers.len(), 401);
    assert_eq!(totals.delivered.files + totals.failed.files, 400);
    assert_eq!(tree(outside.path()).len(), 0, "{totals:?}");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn case_24_a_hard_link_in_the_inbox_is_not_written_to() {
    let offices = Offices::new();
    let precious = offices.write("precious", "precious");
    fs::hard_link(&precious, offices.inside("name")).unwrap();
    let messages = [vec![hello(1, 0)], file(0, b"name", b"evil"), vec![SenderMessage::End]].concat();
    let (answers, _) = attack(&offices, messages).await;
    assert_eq!(verdicts(&answers), [(0, Verdict::Delivered { copy: 2 })]);
    assert_eq!(fs::read(precious).unwrap(), b"precious");
}

#[tokio::test]
async fn case_26_a_wrong_hash_or_too_little_data_publishes_nothing() {
    let offices = Offices::new();
    let offer = |entry, path, size| SenderMessage::File(FileOffer { entry, size, ..an_offer(path) });
    let hash = |data: &[u8]| SenderMessage::FileEnd { hash: *blake3::hash(data).as_bytes() };
    let messages = vec![
        hello(9, 0),
        offer(0, b"wrong-hash", 4),
        SenderMessage::Data(b"good"),
        hash(b"evil"),
        offer(1, b"too-short", 5),
        SenderMessage::Data(b"good"),
        hash(b"good"),
        offer(2, b"nothing", 5),
        hash(b""),
        offer(3, b"given-up", 5),
        SenderMessage::Data(b"half"),
        SenderMessage::Abandon { code: 1 },
        offer(4, b"good", 4),
        SenderMessage::Data(b"go"),
        SenderMessage::Data(b"od"),
        hash(b"good"),
        SenderMessage::End,
    ];
    let (answers, received) = attack(&offices, messages).await;
    let short = Verdict::Failed(Obstacle::TooShort);
    assert_eq!(
        verdicts(&answers),
        [
            (0, Verdict::Failed(Obstacle::HashMismatch)),
            (1, short),
            (2, short),
            (4, Verdict::Delivered { copy: 1 })
        ]
    );
    assert_eq!(received.unwrap().totals.failed.files, 4);
    assert_eq!(offices.arrived().into_keys().collect::<Vec<_>>(), [b"good"]);
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn case_26_whatever_breaks_the_protocol_ends_the_transfer_and_only_whole_files_stay() {
    let offer = |entry, size| SenderMessage::File(FileOffer { entry, size, ..an_offer(b"file") });
    let end = SenderMessage::FileEnd { hash: [0; 32] };
    let abandon = SenderMessage::Abandon { code: 1 };
    let data = SenderMessage::Data(b"12345");
    let out_of_place = |message: SenderMessage<'_>| Violation::OutOfPlace(message.kind());
    let entry = |entry| Violation::Entry { entry, announced: 3 };
    let cases: Vec<(Vec<SenderMessage<'_>>, Violation)> = vec![
        (vec![data], out_of_place(data)),
        (vec![end], out_of_place(end)),
        (vec![abandon], out_of_place(abandon)),
        (vec![hello(1, 1)], out_of_place(hello(1, 1))),
        (vec![offer(1, 5), hello(1, 1)], out_of_place(hello(1, 1))),
        (vec![offer(1, 5), offer(2, 5)], out_of_place(offer(2, 5))),
        (vec![offer(1, 5), folder_offer(2, b"x")], out_of_place(folder_offer(2, b"x"))),
        (vec![offer(1, 5), SenderMessage::End], out_of_place(SenderMessage::End)),
        (vec![offer(1, 4), data], Violation::BeyondSize(1)),
        (vec![offer(1, 0), data], Violation::BeyondSize(1)),
        (vec![offer(1, 5), data, SenderMessage::Data(b"6")], Violation::BeyondSize(1)),
        (vec![offer(0, 5)], entry(0)),
        (vec![offer(3, 5)], entry(3)),
        (vec![folder_offer(0, b"x")], entry(0)),
        (vec![offer(u64::MAX, 5)], entry(u64::MAX)),
        (vec![SenderMessage::Unknown(0x41)], Violation::UnknownKind(0x41)),
        (vec![SenderMessage::Unknown(0x33)], Violation::UnknownKind(0x33)),
    ];
    for (messages, violation) in cases {
        let offices = Offices::new();
        let shown = format!("{messages:?}");
        let start = [vec![hello(3, 0)], file(0, b"whole", b"x")].concat();
        let (answers, received) = attack(&offices, [start, messages].concat()).await;
        let received = received.unwrap();
        let told = received.interruption.as_ref().unwrap();
        assert!(matches!(told, ReceiveError::Violation(found) if *found == violation), "{shown}: {told}");
        let stop = ReceiverMessage::Stop(StopReason::Violation { code: violation.code() });
        assert_eq!(answers.last(), Some(&stop), "{shown}");
        assert!(!received.is_complete());
        assert_eq!(offices.arrived().into_keys().collect::<Vec<_>>(), [b"whole"], "{shown}");
        offices.assert_nothing_unfinished();
    }
}

#[tokio::test]
async fn a_sender_that_broke_the_protocol_and_hangs_on_is_told_at_once() {
    let offices = Offices::new();
    let (far, mut near) = support::by_hand(BUFFER);
    let attacker = async {
        near.write_all(&frames([hello(3, 0), SenderMessage::Data(b"stray")])).await.unwrap();
        // Nothing more is sent, and nothing closed.
        let told = [answer(&mut near).await, answer(&mut near).await];
        (told[1], near)
    };
    let both = async { tokio::join!(attacker, receive(far, &offices.inbox, None, Arc::new(()))) };
    let ((told, _near), received) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("nobody waits for more of it");
    assert!(matches!(told, Some(ReceiverMessage::Stop(StopReason::Violation { .. }))), "{told:?}");
    assert!(matches!(received.unwrap().interruption, Some(ReceiveError::Violation(_))));
}

#[tokio::test]
async fn a_sender_that_can_no_longer_be_told_is_no_longer_listened_to() {
    let offices = Offices::new();
    let (mut near_out, far_in) = duplex(BUFFER);
    let (far_out, near_in) = duplex(BUFFER);
    drop(near_in);
    near_out.write_all(&frames([hello(3, 0), folder_offer(0, b"folder")])).await.unwrap();
    let receiving = receive(tokio::io::join(far_in, far_out), &offices.inbox, None, Arc::new(()));
    let received = tokio::time::timeout(Duration::from_secs(20), receiving).await.expect("it does not wait");
    assert!(matches!(received, Err(ReceiveError::Stream(_))), "not even the welcome: {received:?}");

    let (mut near_out, far_in) = duplex(BUFFER);
    let (far_out, mut near_in) = duplex(BUFFER);
    let attacker = async {
        near_out.write_all(&frames([hello(3, 0)])).await.unwrap();
        answer(&mut near_in).await.unwrap();
        drop(near_in);
        near_out.write_all(&frames([folder_offer(0, b"folder")])).await.unwrap();
        near_out
    };
    let receiving = receive(tokio::io::join(far_in, far_out), &offices.inbox, None, Arc::new(()));
    let both = async { tokio::join!(attacker, receiving) };
    let (_open, received) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("it does not wait");
    assert!(matches!(received.unwrap().interruption, Some(ReceiveError::Stream(_))));
}

#[tokio::test]
async fn case_26_data_of_a_refused_file_is_not_endless_either() {
    let offices = Offices::new();
    let offer = SenderMessage::File(FileOffer { size: 4, ..an_offer(b"../x") });
    let messages = vec![hello(1, 0), offer, SenderMessage::Data(b"1234"), SenderMessage::Data(b"5")];
    let (_, received) = attack(&offices, messages).await;
    let interruption = received.unwrap().interruption.unwrap();
    assert!(matches!(interruption, ReceiveError::Violation(Violation::BeyondSize(0))), "{interruption}");
}

#[tokio::test]
async fn case_3_messages_of_a_later_version_are_passed_over_anywhere() {
    let offices = Offices::new();
    let later = SenderMessage::Unknown(0x99);
    let messages = file(0, b"file", b"x").into_iter().flat_map(|message| [later, message, later]);
    let messages = [hello(1, 0)].into_iter().chain(messages).chain([SenderMessage::End]).collect();
    let (answers, received) = attack(&offices, messages).await;
    assert_eq!(verdicts(&answers), [(0, Verdict::Delivered { copy: 1 })]);
    assert!(received.unwrap().is_complete());
}

#[tokio::test]
async fn case_26_sizes_and_counts_that_cannot_be_are_refused_at_once_with_what_is_missing() {
    let offices = Offices::new();
    let (answers, received) = attack(&offices, vec![hello(1, 1 << 63)]).await;
    let Some(ReceiverMessage::Stop(StopReason::NoSpace { missing_bytes })) = answers.first() else {
        panic!("{answers:?}")
    };
    let free = offices.inbox.free_bytes().unwrap();
    assert!(((1 << 63) - free).abs_diff(*missing_bytes) < 1 << 40, "{missing_bytes} missing, {free} free");
    assert!(matches!(received, Err(ReceiveError::Refused(StopReason::NoSpace { .. }))));

    let (answers, _) = attack(&offices, vec![hello(1_000_000_000, 0)]).await;
    let limit = ENTRIES_MAX;
    assert_eq!(answers, [ReceiverMessage::Stop(StopReason::TooManyEntries { limit })]);

    let offer = SenderMessage::File(FileOffer { size: u64::MAX, ..an_offer(b"huge") });
    let messages = [vec![hello(2, 0), offer, SenderMessage::Data(b"x"), SenderMessage::Abandon { code: 3 }]];
    let messages = [messages.concat(), file(1, b"small", b"x"), vec![SenderMessage::End]].concat();
    let (answers, _) = attack(&offices, messages).await;
    let verdicts = verdicts(&answers);
    assert!(
        matches!(verdicts[0], (0, Verdict::Refused(Obstacle::NoSpace { missing_bytes })) if missing_bytes > 1 << 62)
    );
    assert_eq!(verdicts[1], (1, Verdict::Delivered { copy: 1 }));
}

#[tokio::test]
async fn a_stream_that_is_no_transfer_is_refused() {
    for (octets, violation) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], Violation::FrameTooLong(0x4745_5420)),
        (b"\0\0\0\0", Violation::EmptyFrame),
        (b"\0\0\0\x19\x01XXXX\0\x01\0\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0", Violation::Magic),
        (b"\0\0\0\x01\x07", Violation::OutOfPlace(7)),
        (b"\0\0\0\x01\x80", Violation::OutOfPlace(0x80)),
        (b"\0\0\0\x05\x01TLft", Violation::Truncated(1)),
    ] {
        let offices = Offices::new();
        let (answers, received) = support::attack(&offices, octets).await;
        assert!(
            matches!(received, Err(ReceiveError::Violation(found)) if found == violation),
            "{received:?}"
        );
        assert_eq!(answers, [ReceiverMessage::Stop(StopReason::Violation { code: violation.code() })]);
    }
}

#[tokio::test]
async fn case_3_versions_are_negotiated_or_refused() {
    let offices = Offices::new();
    let hello = |oldest, newest| SenderMessage::Hello(Hello { oldest, newest, entries: 0, bytes: 0 });
    let (answers, received) = attack(&offices, vec![hello(1, 9), SenderMessage::End]).await;
    assert_eq!(answers, [ReceiverMessage::Done], "the welcome named version 1");
    assert!(received.unwrap().is_complete());
    for (oldest, newest) in [(2, 9), (0, 0)] {
        let (answers, _) = attack(&offices, vec![hello(oldest, newest)]).await;
        assert_eq!(answers, [ReceiverMessage::Stop(StopReason::Version { newest: 1 })]);
    }
}

#[tokio::test]
async fn case_27_a_sender_that_never_listens_holds_nothing_once_the_caller_gives_up() {
    let offices = Offices::new();
    let (near, far) = duplex(64);
    let (mut near_reader, mut near_writer) = tokio::io::split(near);
    let names: Vec<String> = (0..5000).map(|number| format!("{number}")).collect();
    let flood = async {
        let mut messages = vec![hello(5000, 0)];
        for (number, name) in (0..).zip(&names) {
            messages.push(folder_offer(number, name.as_bytes()));
        }
        near_writer.write_all(&frames(messages)).await
    };
    let receiving = receive(far, &offices.inbox, None, Arc::new(()));
    let stuck =
        tokio::time::timeout(Duration::from_millis(1500), async { tokio::join!(flood, receiving) }).await;
    assert!(stuck.is_err(), "back-pressure has to reach the sender");
    drop((answer(&mut near_reader).await, near_reader));
    let made = offices.arrived().len();
    assert!(made < 2000, "{made} were taken in though not one verdict was read");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn case_27_a_silent_sender_leaves_nothing_when_it_is_dropped() {
    let offices = Offices::new();
    let half = noise(1, DATA_LEN_MAX);
    let offer = SenderMessage::File(FileOffer { size: 1 << 20, ..an_offer(b"half") });
    let (far, mut near) = support::by_hand(BUFFER * 4);
    near.write_all(&frames([hello(1, 0), offer, SenderMessage::Data(&half)])).await.unwrap();
    let receiving = receive(far, &offices.inbox, None, Arc::new(()));
    let waited = tokio::time::timeout(Duration::from_millis(300), receiving).await;
    assert!(waited.is_err(), "it waits for as long as its caller does");
    offices.assert_nothing_unfinished();
    assert_eq!(offices.arrived().len(), 0);
    // The lock of the inbox is free again as soon as the threads are gone.
    let (path, Offices { dir, inbox }) = (offices.inbox.path().to_path_buf(), offices);
    drop(inbox);
    let reopened = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        support::open_inbox(&path).is_ok()
    });
    assert!(reopened);
    drop(dir);
}

#[tokio::test]
async fn permission_bits_and_times_of_any_value_do_no_harm() {
    let offices = Offices::new();
    let modified = |seconds| FileTime { seconds, nanoseconds: 999_999_999 };
    let odd = |entry, path, seconds| {
        let offer =
            FileOffer { entry, stamp: STAMP, size: 0, mode: u32::MAX, modified: modified(seconds), path };
        [SenderMessage::File(offer), SenderMessage::FileEnd { hash: *blake3::hash(b"").as_bytes() }]
    };
    let folder = SenderMessage::Folder(FolderOffer { entry: 2, mode: u32::MAX, path: b"folder" });
    let messages = [
        &[hello(3, 0)],
        &odd(0, b"past", i64::MIN)[..],
        &odd(1, b"future", i64::MAX),
        &[folder, SenderMessage::End],
    ];
    let (answers, _) = attack(&offices, messages.concat()).await;
    assert!(verdicts(&answers).iter().all(|(_, verdict)| *verdict == Verdict::Delivered { copy: 1 }));
    for name in ["past", "future", "folder"] {
        let mode = fs::metadata(offices.inside(name)).unwrap().mode();
        assert_eq!(mode & 0o7022, 0, "{name}: {mode:o}");
    }
}

fn an_offer(path: &[u8]) -> FileOffer<'_> {
    let modified = FileTime { seconds: 0, nanoseconds: 0 };
    FileOffer { entry: 0, stamp: STAMP, size: 1, mode: 0o644, modified, path }
}

fn folder_offer(entry: u64, path: &[u8]) -> SenderMessage<'_> {
    SenderMessage::Folder(FolderOffer { entry, mode: 0o755, path })
}

/// The three messages of a small honest file.
fn file<'a>(entry: u64, path: &'a [u8], data: &'a [u8]) -> Vec<SenderMessage<'a>> {
    vec![
        SenderMessage::File(FileOffer { entry, size: data.len() as u64, ..an_offer(path) }),
        SenderMessage::Data(data),
        SenderMessage::FileEnd { hash: *blake3::hash(data).as_bytes() },
    ]
}

fn verdicts(answers: &[ReceiverMessage]) -> Vec<(u64, Verdict)> {
    let mut verdicts: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            ReceiverMessage::Verdict { entry, verdict } => Some((*entry, *verdict)),
            _ => None,
        })
        .collect();
    verdicts.sort_by_key(|(entry, _)| *entry);
    verdicts
}

/// Sends the messages and closes; returns the answers without the welcome, and what the receiver says of it.
async fn attack(
    offices: &Offices,
    messages: Vec<SenderMessage<'_>>,
) -> (Vec<ReceiverMessage<'static>>, Result<Received, ReceiveError>) {
    support::attack(offices, &frames(messages)).await
}
