//! The stream ends after every possible octet, or the future is dropped there: nothing half is under a final name, nothing is left
//! over, nothing is confirmed that is not there.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use support::{BUFFER, Mark, Offices, Tree, frames, hello, noise, open_inbox, order};
use tieline_transfer::path::PARTIAL_FOLDER;
use tieline_transfer::protocol::{
    FileOffer, FileTime, FolderOffer, ReceiverMessage, SenderMessage, VERSION, Verdict,
};
use tieline_transfer::{Fate, Plan, Progress, ReceiveError, RelativePath, SendError, Stamp, receive, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::Notify;

/// A whole transfer of a folder with three files, as a sender sends it, and what is there after it.
fn transfer() -> (Vec<u8>, Tree) {
    let contents = [noise(1, 70), Vec::new(), noise(2, 50)];
    let names: [&[u8]; 3] = [b"tree/a", b"tree/empty", b"tree/z"];
    let mut messages =
        vec![hello(4, 120), SenderMessage::Folder(FolderOffer { entry: 0, mode: 0o755, path: b"tree" })];
    let mut there = BTreeMap::from([(b"tree".to_vec(), None)]);
    for ((entry, path), content) in (1..).zip(names).zip(&contents) {
        let (size, modified) = (content.len() as u64, FileTime { seconds: 0, nanoseconds: 0 });
        messages.push(SenderMessage::File(FileOffer {
            entry,
            stamp: Stamp::from_bytes([7; 16]),
            size,
            mode: 0o644,
            modified,
            path,
        }));
        messages.extend(content.chunks(32).map(SenderMessage::Data));
        messages.push(SenderMessage::FileEnd { hash: *blake3::hash(content).as_bytes() });
        there.insert(path.to_vec(), Some(content.clone()));
    }
    messages.push(SenderMessage::End);
    (frames(messages), there)
}

#[tokio::test]
async fn a_sender_cut_off_after_any_octet_leaves_whole_files_only() {
    let (octets, there) = transfer();
    let mut most = 0;
    for cut in 0..octets.len() {
        let offices = Offices::new();
        let (far, mut near) = support::by_hand(BUFFER);
        near.write_all(&octets[..cut]).await.unwrap();
        near.shutdown().await.unwrap();
        let received = receive(far, &offices.inbox, None, Arc::new(())).await;
        let interruption = match received {
            Err(error) => error,
            Ok(received) => {
                assert!(!received.is_complete(), "cut after {cut}");
                received.interruption.unwrap()
            }
        };
        assert!(matches!(interruption, ReceiveError::Stream(_)), "cut after {cut}: {interruption}");
        for (name, content) in offices.arrived() {
            assert_eq!(there.get(&name), Some(&content), "cut after {cut}");
        }
        offices.assert_nothing_unfinished();
        most = most.max(offices.arrived().len());
    }
    assert_eq!(most, 4, "whole files are kept even if the end is missing");
}

#[tokio::test]
async fn a_receiver_dropped_at_any_point_leaves_whole_files_only_and_frees_the_inbox() {
    let (octets, there) = transfer();
    for cut in (0..octets.len()).step_by(7) {
        let offices = Offices::new();
        let (far, mut near) = support::by_hand(BUFFER);
        near.write_all(&octets[..cut]).await.unwrap();
        let receiving = receive(far, &offices.inbox, None, Arc::new(()));
        // The sender says no more, and the caller waits for no longer than this.
        let _ = tokio::time::timeout(Duration::from_millis(cut as u64 % 5), receiving).await;
        // Its threads hold the lock of the inbox until they have cleaned up.
        let Offices { dir, inbox } = offices;
        let path = inbox.path().to_path_buf();
        drop(inbox);
        let reopened = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            open_inbox(&path).ok()
        });
        let offices = Offices { dir, inbox: Arc::new(reopened.expect("the lock is free")) };
        assert_eq!(offices.inbox.leftovers(), 0, "dropped after {cut}");
        for (name, content) in offices.arrived() {
            assert_eq!(there.get(&name), Some(&content), "dropped after {cut}");
        }
    }
}

#[tokio::test]
async fn a_receiver_cut_off_after_any_octet_confirms_only_what_was_heard_whole() {
    let yes = |entry| ReceiverMessage::Verdict { entry, verdict: Verdict::Delivered { copy: 1 } };
    let mut answers = Vec::new();
    let mut ends = Vec::new();
    for message in
        [ReceiverMessage::Welcome { version: VERSION }, yes(0), yes(1), yes(2), ReceiverMessage::Done]
    {
        message.emit(&mut answers);
        ends.push(answers.len());
    }
    let offices = Offices::new();
    let paths = ["a", "b", "c"].map(|name| offices.write(name, name));
    for cut in 0..answers.len() {
        let plan = Plan::scan(&paths, &()).unwrap();
        let (near, mut far) = support::by_hand(BUFFER);
        let receiver = async {
            let (welcome, rest) = answers[..cut].split_at(cut.min(ends[0]));
            far.write_all(welcome).await.unwrap();
            if cut >= ends[0] {
                let mut heard = Vec::new();
                while !heard.ends_with(b"\0\0\0\x01\x07") {
                    far.read_buf(&mut heard).await.unwrap();
                }
            }
            far.write_all(rest).await.unwrap();
            far.shutdown().await.unwrap();
            let _ = far.read_to_end(&mut Vec::new()).await;
        };
        let (sent, ()) = tokio::join!(send(near, order(plan), Arc::new(())), receiver);
        let heard = ends.iter().filter(|&&end| end <= cut).count();
        if heard == 0 {
            assert!(matches!(sent, Err(SendError::Stream(_))), "cut after {cut}");
            continue;
        }
        let outcome = sent.unwrap();
        assert!(matches!(outcome.interruption, Some(SendError::Stream(_))), "cut after {cut}");
        assert_eq!(outcome.is_complete(), heard == 4, "all were confirmed, only the farewell is missing");
        for (index, entry) in outcome.entries.iter().enumerate() {
            let expected = if index + 1 < heard { Fate::Delivered { copy: 1 } } else { Fate::Unconfirmed };
            assert_eq!(entry.fate, expected, "cut after {cut}");
        }
    }
}

#[tokio::test]
async fn both_ends_cut_in_the_middle_agree_afterwards_when_it_is_sent_again() {
    for cut in [1, 20_000, 70_000, 333_333, 900_000] {
        let offices = Offices::new();
        for number in 0..40 {
            offices.write(&format!("tree/{number}"), noise(number, 30_000));
        }
        let plan = Plan::scan(&[offices.out("tree")], &()).unwrap();
        let (near, mut middle_near) = duplex(4096);
        let (mut middle_far, far) = duplex(4096);
        let cable = async {
            let (mut near_in, mut near_out) = tokio::io::split(&mut middle_near);
            let (mut far_in, mut far_out) = tokio::io::split(&mut middle_far);
            let forth = async {
                let mut limited = (&mut near_in).take(cut);
                tokio::io::copy(&mut limited, &mut far_out).await
            };
            tokio::select! {
                forth = forth => assert_eq!(forth.unwrap(), cut),
                back = tokio::io::copy(&mut far_in, &mut near_out) => panic!("{back:?}"),
            }
            drop((middle_near, middle_far));
        };
        let (sent, received, ()) = tokio::join!(
            send(near, order(plan), Arc::new(())),
            receive(far, &offices.inbox, None, Arc::new(())),
            cable
        );
        offices.assert_nothing_unfinished();
        let there = offices.arrived();
        match sent {
            Ok(outcome) => {
                assert!(!outcome.is_complete());
                for entry in outcome.entries.iter().filter(|entry| entry.fate.is_delivered()) {
                    assert!(there.contains_key(&*entry.name), "{entry:?} was confirmed");
                }
                assert!(received.unwrap().totals.delivered.files >= outcome.totals.delivered.files);
            }
            Err(error) => assert!(matches!(error, SendError::Stream(_)), "{error}"),
        }
        let again = offices.deliver(&[offices.out("tree")]).await;
        assert_eq!(again.totals.already_there.files, there.len().saturating_sub(1) as u64);
        assert_eq!(offices.arrived().len(), 41, "nothing twice");
        assert!(!offices.inside(PARTIAL_FOLDER).join("0").exists());
    }
}

#[tokio::test]
async fn a_sender_dropped_in_the_middle_ends_its_thread_and_the_receiver() {
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("big", noise(1, 30_000_000))], &()).unwrap();
    let (near, far) = duplex(BUFFER);
    let mark = Mark::at(1_000_000);
    let sending = send(near, order(plan), mark.clone());
    let sending = async {
        tokio::select! {
            sent = sending => panic!("{sent:?}"),
            () = mark.reached.notified() => {}
        }
    };
    let ((), received) = tokio::join!(sending, receive(far, &offices.inbox, None, Arc::new(())));
    assert!(matches!(received.unwrap().interruption, Some(ReceiveError::Stream(_))));
    assert_eq!(offices.arrived().len(), 0);
    assert_eq!(fs::read_dir(offices.inside(PARTIAL_FOLDER)).unwrap().count(), 1, "it may go on");
    for _ in 0..500 {
        if Arc::strong_count(&mark) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the reading thread goes on");
}

#[tokio::test]
async fn a_watcher_that_panics_takes_its_end_down_and_does_not_hang_the_other() {
    struct Fragile;
    impl Progress for Fragile {
        fn file(&self, _name: &RelativePath, _size: u64) {
            panic!("a fault in the caller's own code");
        }
    }
    let offices = Offices::new();
    let path = offices.write("file", "x");
    for fragile_sender in [true, false] {
        let plan = Plan::scan(std::slice::from_ref(&path), &()).unwrap();
        let (near, far) = duplex(BUFFER);
        let inbox = Arc::clone(&offices.inbox);
        let watch = |fragile| -> Arc<dyn Progress> { if fragile { Arc::new(Fragile) } else { Arc::new(()) } };
        let sending = tokio::spawn(send(near, order(plan), watch(fragile_sender)));
        let there = watch(!fragile_sender);
        let receiving = tokio::spawn(async move { receive(far, &inbox, None, there).await });
        let both = async { tokio::join!(sending, receiving) };
        let (sent, received) =
            tokio::time::timeout(Duration::from_secs(20), both).await.expect("nobody hangs");
        assert_eq!(sent.is_err(), fragile_sender, "the panic is not swallowed");
        assert_eq!(received.is_err(), !fragile_sender, "the panic is not swallowed");
        offices.assert_nothing_unfinished();
        assert_eq!(offices.arrived().len(), 0);
    }
}

#[tokio::test]
async fn what_was_still_waiting_for_the_disk_is_forgotten_when_the_future_is_dropped() {
    /// A slow disk: the first data stays on its way until the gate is opened.
    struct SlowDisk {
        arrived: AtomicU64,
        reached: Notify,
        gate: Mutex<mpsc::Receiver<()>>,
    }
    impl Progress for SlowDisk {
        fn moved(&self, bytes: u64) {
            self.arrived.fetch_add(bytes, Ordering::Relaxed);
            self.reached.notify_one();
            let _ = self.gate.lock().unwrap().recv();
        }
    }
    let offices = Offices::new();
    let (opener, gate) = mpsc::channel();
    let disk =
        Arc::new(SlowDisk { arrived: AtomicU64::new(0), reached: Notify::new(), gate: Mutex::new(gate) });
    let (octets, _) = transfer();
    let (far, mut near) = support::by_hand(BUFFER);
    near.write_all(&octets).await.unwrap();
    tokio::select! {
        received = receive(far, &offices.inbox, None, disk.clone()) => panic!("{received:?}"),
        () = disk.reached.notified() => {}
    }
    drop(opener);
    while Arc::strong_count(&disk) > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(disk.arrived.load(Ordering::Relaxed), 32, "one frame of the first file");
    offices.assert_nothing_unfinished();
    assert!(offices.arrived().values().all(Option::is_none), "a folder, but no file");
}
