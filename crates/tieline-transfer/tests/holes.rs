//! Holes stay holes, and the content is the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use support::{BUFFER, Mark, Offices, Watcher, frames, hello, noise, order, order_into};
use tieline_transfer::holes::HOLE_LEN_MAX;
use tieline_transfer::protocol::{FileOffer, FileTime, SenderMessage, Violation};
use tieline_transfer::{Fate, Journal, Plan, ReceiveError, Received, Stamp, receive, send, spool};
use tokio::io::{AsyncWriteExt, duplex};

const MIB: u64 = 1 << 20;

/// A name, a size, and the data with its places; the rest is holes.
type Case<'a> = (&'a str, u64, &'a [(u64, &'a [u8])]);

/// Makes a file of `size` octets with data at these places only; false where the file system has no holes.
fn make(path: &Path, size: u64, data: &[(u64, &[u8])]) -> bool {
    let file = File::create(path).unwrap();
    data.iter().for_each(|(at, octets)| file.write_all_at(octets, *at).unwrap());
    file.set_len(size).unwrap();
    file.sync_all().unwrap();
    room(path) < size
}

/// Octets that a file takes.
fn room(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn hash(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    hasher.finalize()
}

#[tokio::test]
async fn case_28_holes_stay_holes_at_the_start_in_the_middle_at_the_end_and_all_over() {
    let offices = Offices::new();
    let data = noise(1, 100_000);
    let cases: [Case<'_>; 6] = [
        ("start", 20 * MIB, &[(20 * MIB - 100_000, &data)]),
        ("middle", 20 * MIB, &[(0, &data), (15 * MIB + 4096, &data)]),
        ("end", 20 * MIB + 1, &[(0, &data), (MIB, &data)]),
        ("all", 200 * MIB + 3, &[]),
        ("small", MIB, &[(500_000, &data[..9])]),
        ("none", 100_000, &[(0, &data)]),
    ];
    for (name, size, data) in cases {
        if !make(&offices.out(name), size, data) && name != "none" {
            return; // This file system has no holes.
        }
    }
    let watcher = Arc::new(Watcher::default());
    let paths: Vec<_> = cases.iter().map(|(name, ..)| offices.out(name)).collect();
    let (near, far) = duplex(BUFFER);
    let plan = Plan::scan(&paths, &()).unwrap();
    let (sent, received) = tokio::join!(
        send(near, order(plan), watcher.clone()),
        receive(far, &offices.inbox, None, Arc::new(()))
    );
    assert!(sent.unwrap().is_complete() && received.unwrap().is_complete());
    let moved = *watcher.moved.lock().unwrap();
    assert!(moved < 3 * MIB, "{moved} octets are no hole");
    for (name, size, _) in cases {
        let arrived = offices.inside(name);
        assert_eq!(fs::metadata(&arrived).unwrap().len(), size, "{name}");
        assert!(room(&arrived) <= room(&offices.out(name)) + MIB, "{name} takes {}", room(&arrived));
        assert_eq!(hash(&arrived), hash(&offices.out(name)), "{name}");
    }
}

#[tokio::test]
async fn case_28_a_file_with_holes_needs_no_more_room_than_its_data() {
    let offices = Offices::new();
    let free = offices.inbox.free_bytes().unwrap();
    // Larger than the disk; abandoned after the first look at it, as hashing all of it takes its time.
    let size = free.saturating_mul(2).min(1 << 43);
    if !make(&offices.out("large"), size, &[(0, b"x")]) {
        return;
    }
    let plan = Plan::scan(&[offices.out("large")], &()).unwrap();
    let mark = Mark::at(1);
    let (near, far) = duplex(BUFFER);
    let sending = send(near, order(plan), mark.clone());
    let receiving = receive(far, &offices.inbox, None, Arc::new(()));
    tokio::select! {
        ended = async { tokio::join!(sending, receiving) } => panic!("refused: {ended:?}"),
        () = mark.reached.notified() => {}
    }
}

#[tokio::test]
async fn what_was_cut_in_a_hole_goes_on_there_and_shows_nothing_of_before() {
    let offices = Offices::new();
    let (size, data) = (400 * MIB, noise(1, 5_000_000));
    if !make(&offices.out("f"), size, &[(0, &data), (300 * MIB, &data)]) {
        return;
    }
    let journal = Arc::new(Journal::in_memory().unwrap());
    for at in [4_000_000, 6_000_000] {
        let plan = Plan::scan(&[offices.out("f")], &()).unwrap();
        let mark = Mark::at(at);
        let (near, far) = duplex(BUFFER);
        let sending = send(near, order_into(plan, Arc::clone(&journal)), mark.clone());
        let receiving = receive(far, &offices.inbox, None, Arc::new(()));
        tokio::select! {
            ended = async { tokio::join!(sending, receiving) } => panic!("not cut: {ended:?}"),
            () = mark.reached.notified() => {}
        }
    }
    let plan = Plan::scan(&[offices.out("f")], &()).unwrap();
    let (near, far) = duplex(BUFFER);
    let (sent, received) = tokio::join!(
        send(near, order_into(plan, journal), Arc::new(())),
        receive(far, &offices.inbox, None, Arc::new(()))
    );
    assert_eq!(sent.unwrap().entries[0].fate, Fate::Delivered { copy: 1 });
    assert!(received.unwrap().is_complete());
    assert_eq!(hash(&offices.inside("f")), hash(&offices.out("f")));
    assert!(room(&offices.inside("f")) < 20 * MIB);
}

#[tokio::test]
async fn a_hole_where_data_was_of_a_cut_transfer_is_empty() {
    let offices = Offices::new();
    let size = 3 * MIB;
    let offer = |entry| FileOffer { path: b"f", ..offer(entry, size) };
    let whole = noise(1, 2_500_000);
    let cut = [SenderMessage::Ask(offer(0)), SenderMessage::Body { entry: 0, from: 0 }];
    let cut = cut.into_iter().chain(whole.chunks(60_000).map(SenderMessage::Data));
    let _ = attack(&offices, cut.collect()).await;
    // Whatever of it was held, the rest is said to be a hole now.
    for from in [0, MIB, 2 * MIB] {
        let hash =
            *blake3::hash(&[&whole[..from as usize], &vec![0; (size - from) as usize]].concat()).as_bytes();
        let rest = [
            SenderMessage::Ask(offer(0)),
            SenderMessage::Body { entry: 0, from },
            SenderMessage::Hole { len: size - from },
            SenderMessage::FileEnd { hash },
            SenderMessage::End,
        ];
        if attack(&offices, rest.into()).await.is_ok_and(|received| received.is_complete()) {
            assert_eq!(blake3::Hash::from_bytes(hash), self::hash(&offices.inside("f")));
            return;
        }
    }
    panic!("it goes on nowhere");
}

#[tokio::test]
async fn a_hole_beyond_the_size_or_out_of_measure_is_a_violation() {
    for (len, violation) in [
        (0, Violation::Hole(0)),
        (1001, Violation::BeyondSize(0)),
        (HOLE_LEN_MAX + 1, Violation::Hole(HOLE_LEN_MAX + 1)),
        (u64::MAX, Violation::Hole(u64::MAX)),
    ] {
        let offices = Offices::new();
        for path in [&b"f"[..], b"../refused"] {
            let offer = SenderMessage::File(FileOffer { path, ..offer(0, 1000) });
            let received = attack(&offices, vec![offer, SenderMessage::Hole { len }]).await.unwrap();
            let found = received.interruption.unwrap();
            assert!(matches!(found, ReceiveError::Violation(found) if found == violation), "{found:?}");
        }
        offices.assert_nothing_unfinished();
        assert_eq!(offices.arrived().len(), 0);
    }
}

#[tokio::test]
async fn a_hole_that_was_no_hole_is_another_hash_and_nothing_is_published() {
    let offices = Offices::new();
    let offer = SenderMessage::File(FileOffer { path: b"f", ..offer(0, 1000) });
    let end = SenderMessage::FileEnd { hash: *blake3::hash(&noise(1, 1000)).as_bytes() };
    let received = attack(&offices, vec![offer, SenderMessage::Hole { len: 1000 }, end, SenderMessage::End]);
    assert_eq!(received.await.unwrap().totals.failed.files, 1);
    assert_eq!(offices.arrived().len(), 0);
}

#[test]
fn what_is_copied_into_an_outbox_keeps_its_holes() {
    let offices = Offices::new();
    if !make(&offices.out("f"), 100 * MIB + 7, &[(MIB, b"x"), (50 * MIB, &noise(1, 70_000))]) {
        return;
    }
    let outbox = offices.dir.path().join("outbox");
    fs::create_dir(&outbox).unwrap();
    let plan = Plan::scan(&[offices.out("f")], &()).unwrap();
    let mark = spool::Mark { is_first: false };
    spool::put(&plan, &outbox, None, mark, &()).unwrap();
    assert_eq!(hash(&outbox.join("f")), hash(&offices.out("f")));
    assert!(room(&outbox.join("f")) < MIB);
}

fn offer(entry: u64, size: u64) -> FileOffer<'static> {
    let (stamp, modified) = (Stamp::from_bytes([7; 16]), FileTime { seconds: 0, nanoseconds: 0 });
    FileOffer { entry, stamp, size, mode: 0o644, modified, path: b"" }
}

/// Sends whatever it is told to, and what the receiver made of it.
async fn attack(offices: &Offices, messages: Vec<SenderMessage<'_>>) -> Result<Received, ReceiveError> {
    let (far, mut near) = support::by_hand(16 * 1024 * 1024);
    let octets = frames(std::iter::once(hello(10, 0)).chain(messages));
    near.write_all(&octets).await.unwrap();
    near.shutdown().await.unwrap();
    receive(far, &offices.inbox, None, Arc::new(())).await
}
