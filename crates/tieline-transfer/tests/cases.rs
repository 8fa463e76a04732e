//! What else may happen to a file on its way and belongs nowhere else; `docs/files.md` has the list of all cases with their tests.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod sim;
mod support;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sim::{Careless, SimDisk};
use support::kept::{log, receipts};
use support::{BUFFER, Offices, Watcher, frames, hello, noise, order, order_into, receiver_keys};
use tieline_transfer::audit::Event;
use tieline_transfer::content::PIECE_LEN;
use tieline_transfer::outbox::{FileKind, Found, Hint, Look, Outbox, Rules, Verdict as OutboxVerdict};
use tieline_transfer::protocol::{FileOffer, FileTime, SenderMessage};
use tieline_transfer::{
    EntryReport, Fate, Fault, Inbox, Journal, Obstacle, Outcome, Plan, Progress, RelativePath, Stamp,
    receive, send,
};
use tokio::io::{AsyncWriteExt, duplex};

const PIECE: usize = PIECE_LEN as usize;

#[tokio::test]
async fn case_9_when_a_file_is_called_settled_its_receipt_is_in_the_journal_on_the_disk() {
    /// Opens what is on the disk at that moment, as it is found after a power cut.
    struct AfterCut {
        journal: PathBuf,
        seen: AtomicU64,
    }
    impl Progress for AfterCut {
        fn settled(&self, entry: &EntryReport) {
            let cut = tempfile::tempdir().unwrap();
            for ending in ["", "-wal"] {
                let name = format!("journal{ending}");
                fs::copy(self.journal.with_file_name(&name), cut.path().join(&name)).unwrap();
            }
            let journal = Journal::open(&cut.path().join("journal")).unwrap();
            let path = RelativePath::parse(&entry.name).unwrap();
            let delivered = journal.delivered("out", &path).unwrap().unwrap();
            assert_eq!(delivered.size, entry.size);
            let is_its = |receipt: &tieline_transfer::receipt::Receipt| receipt.record.path == entry.name;
            assert!(receipts(&journal).iter().any(is_its));
            assert!(log(&journal).iter().any(|link| link.entry.path == entry.name));
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }
    let offices = Offices::new();
    let paths: Vec<_> =
        [0, 1, 300_000, 3_000_000].map(|len| offices.write(&len.to_string(), noise(1, len))).to_vec();
    let at = offices.dir.path().join("journal");
    let journal = Arc::new(Journal::open(&at).unwrap());
    let watch = Arc::new(AfterCut { journal: at, seen: AtomicU64::new(0) });
    let (near, far) = duplex(BUFFER);
    let plan = Plan::scan(&paths, &()).unwrap();
    let (sent, _) = tokio::join!(
        send(near, order_into(plan, journal), watch.clone()),
        receive(far, &offices.inbox, None, Arc::new(()))
    );
    assert!(sent.unwrap().is_complete());
    assert_eq!(watch.seen.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn case_12_a_file_that_gives_an_error_when_it_is_read_is_reported_and_the_rest_arrives() {
    let offices = Offices::new();
    let paths = [offices.write("a", "1"), "/proc/self/mem".into(), offices.write("z", "2")];
    let outcome = offices.send(&paths).await.0.unwrap();
    let fates: Vec<_> = outcome.entries.iter().map(|entry| entry.fate).collect();
    assert!(matches!(fates[1], Fate::Failed(Fault::Source(_))), "{:?}", outcome.entries[1]);
    assert!(outcome.entries[1].to_string().contains("Input/output error"), "{}", outcome.entries[1]);
    assert_eq!([fates[0], fates[2]], [Fate::Delivered { copy: 1 }; 2]);
    assert_eq!(offices.arrived().len(), 2);
}

#[tokio::test]
async fn case_14_a_name_too_long_for_the_far_file_system_is_reported_and_the_rest_arrives() {
    let disk = SimDisk::new(0, Careless::Nothing);
    // As eCryptfs has it.
    disk.limit(143, u64::MAX);
    let long = "x".repeat(144);
    let files = [(&*long, 10), ("y", 10), ("z/y", 3 * PIECE)];
    let (outcome, there) = send_to(&disk, &files).await;
    let fate =
        |name: &str| outcome.entries.iter().find(|entry| *entry.name == *name.as_bytes()).unwrap().fate;
    assert_eq!(fate(&long), Fate::Failed(Fault::Receiver(Obstacle::NameTooLong)));
    assert!([fate("y"), fate("z/y")].iter().all(Fate::is_delivered));
    assert_eq!(there, 2);
}

#[tokio::test]
async fn case_15_a_file_too_big_for_the_far_file_system_is_reported_and_the_rest_arrives() {
    let disk = SimDisk::new(0, Careless::Nothing);
    disk.limit(255, 2 * PIECE_LEN);
    let (outcome, there) = send_to(&disk, &[("big", 2 * PIECE + 1), ("fits", 2 * PIECE), ("y", 10)]).await;
    let fates: Vec<_> = outcome.entries.iter().map(|entry| entry.fate).collect();
    assert_eq!(fates[0], Fate::Failed(Fault::Receiver(Obstacle::FileTooBig)));
    assert!(fates[1..].iter().all(Fate::is_delivered), "{fates:?}");
    assert_eq!((there, disk.private_files()), (2, 0));
}

#[tokio::test]
async fn case_16_a_slow_disk_slows_the_sender_and_nobody_else() {
    /// Lets nothing pass until the gate is opened.
    struct SlowDisk(Mutex<mpsc::Receiver<()>>);
    impl Progress for SlowDisk {
        fn moved(&self, _bytes: u64) {
            let _ = self.0.lock().unwrap().recv();
        }
    }
    /// What both ends hold between them in their queues, and the stream.
    const ON_THE_WAY_MAX: u64 = 6 << 20;
    let offices = Offices::new();
    let path = offices.write("large", noise(1, 24 * PIECE));
    let (opener, gate) = mpsc::channel();
    let (near, far) = duplex(BUFFER);
    let (read, slow) = (Arc::new(Watcher::default()), Arc::new(SlowDisk(Mutex::new(gate))));
    let order = order(Plan::scan(&[path], &()).unwrap());
    let inbox = Arc::clone(&offices.inbox);
    let receiving = tokio::spawn(async move { receive(far, &inbox, None, slow).await });
    let sending = tokio::spawn(send(near, order, read.clone()));
    let mut before = u64::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = *read.moved.lock().unwrap();
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    assert!(before < ON_THE_WAY_MAX, "{before} octets were read for a disk that takes none");
    offices.deliver(&[offices.write("small", "x")]).await;
    drop(opener);
    assert!(sending.await.unwrap().unwrap().is_complete());
    assert!(receiving.await.unwrap().unwrap().is_complete());
}

#[tokio::test]
async fn case_19_a_change_that_the_time_does_not_show_is_sent_and_a_time_without_a_change_sends_nothing() {
    let offices = Offices::new();
    let journal = Arc::new(Journal::in_memory().unwrap());
    let path = offices.write("file", noise(1, 2 * PIECE));
    let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let set_time = |time| File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    set_time(time);
    let deliver = async || {
        let (near, far) = duplex(BUFFER);
        let watcher = Arc::new(Watcher::default());
        let plan = Plan::scan(std::slice::from_ref(&path), &()).unwrap();
        let (sent, _) = tokio::join!(
            send(near, order_into(plan, Arc::clone(&journal)), Arc::new(())),
            receive(far, &offices.inbox, None, watcher.clone())
        );
        let moved = *watcher.moved.lock().unwrap();
        (sent.unwrap().entries[0].fate, moved)
    };
    let all = 2 * PIECE_LEN;
    assert_eq!(deliver().await, (Fate::Delivered { copy: 1 }, all));
    fs::write(&path, noise(2, 2 * PIECE)).unwrap();
    set_time(time);
    assert_eq!(deliver().await, (Fate::Delivered { copy: 2 }, all), "the same size and the same time");
    set_time(time + Duration::from_secs(5));
    let (fate, _) = deliver().await;
    assert_eq!(fate, Fate::AlreadyThere { copy: 2 }, "another time alone");
    assert_eq!(deliver().await, (Fate::AlreadyThere { copy: 2 }, 0), "nothing at all");
    assert_eq!(offices.arrived().len(), 2);
}

#[tokio::test]
async fn case_26_a_transfer_that_is_played_again_changes_nothing() {
    let offices = Offices::new();
    let offer = |entry, path| FileOffer {
        entry,
        stamp: Stamp::from_bytes([7; 16]),
        size: 3,
        mode: 0o644,
        modified: FileTime { seconds: 0, nanoseconds: 0 },
        path,
    };
    let hash = *blake3::hash(b"abc").as_bytes();
    let mut messages = vec![hello(2, 6)];
    for (entry, path) in [(0, &b"a"[..]), (1, b"b/a")] {
        messages.push(SenderMessage::File(offer(entry, path)));
        messages.extend([SenderMessage::Data(b"abc"), SenderMessage::FileEnd { hash }]);
    }
    messages.push(SenderMessage::End);
    let octets = frames(messages);
    let mut there = None;
    for _ in 0..3 {
        let (far, mut near) = support::by_hand(BUFFER);
        near.write_all(&octets).await.unwrap();
        assert!(receive(far, &offices.inbox, None, Arc::new(())).await.unwrap().is_complete());
        assert_eq!(there.get_or_insert_with(|| offices.arrived()), &offices.arrived());
    }
}

/// `TIELINE_SOAK=1`, as by `cargo xtask soak`, has it be a hundred thousand.
#[tokio::test]
async fn case_29_thousands_of_files_of_one_folder_arrive_all() {
    let count = if std::env::var_os("TIELINE_SOAK").is_some() { 100_000 } else { 2_500 };
    let offices = Offices::new();
    for number in 0..count {
        offices.write(&format!("flat/{number}"), number.to_string());
    }
    let outcome = offices.deliver(&[offices.out("flat")]).await;
    assert_eq!(outcome.totals.delivered.files, count);
    let arrived = offices.arrived();
    assert_eq!(arrived.len() as u64, count + 1, "and the folder");
    let mut whole = (0..count).map(|number| (format!("flat/{number}"), number.to_string().into_bytes()));
    assert!(whole.all(|(name, content)| arrived[name.as_bytes()] == Some(content)));
}

#[tokio::test]
async fn case_31_times_before_1970_after_2038_and_in_whole_seconds_arrive_and_decide_nothing() {
    let offices = Offices::new();
    for (name, seconds, nanoseconds) in [
        ("before 1970", -1_i64, 999_999_999_u32),
        ("long before", -2_000_000_000, 1),
        ("after 2038", 1 << 32, 5),
        ("in the future", 4_000_000_000, 0),
        ("in two seconds", 1_000_000_002, 0),
    ] {
        let path = offices.write(name, name);
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
        let time = time + Duration::from_nanos(nanoseconds.into());
        File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        let source = fs::metadata(&path).unwrap();
        offices.deliver(std::slice::from_ref(&path)).await;
        let arrived = fs::metadata(offices.inside(name)).unwrap();
        assert_eq!((arrived.mtime(), arrived.mtime_nsec()), (source.mtime(), source.mtime_nsec()), "{name}");
        // An older time is no older content, and a newer one no newer.
        fs::write(&path, "another").unwrap();
        File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        let again = offices.deliver(&[path]).await;
        assert_eq!(again.entries[0].fate, Fate::Delivered { copy: 2 }, "{name}");
    }
}

#[test]
fn case_32_an_outbox_that_slept_for_hours_looks_once_and_goes_on() {
    let start = Instant::now();
    let mut outbox = Outbox::new(Rules::default(), start);
    let found = Found {
        path: RelativePath::parse(b"file").unwrap(),
        kind: FileKind::File,
        size: 1,
        stamp: Stamp::from_bytes([1; 16]),
        is_complete: false,
    };
    let see = |outbox: &mut Outbox, now| {
        outbox.handle_file(now, &found, |_, _| Ok::<_, std::convert::Infallible>(false)).unwrap()
    };
    assert_eq!(outbox.poll_look(start), Some(Look::Everything));
    assert_eq!(see(&mut outbox, start), OutboxVerdict::Settling);
    outbox.end_scan(start, true);
    // A clock that counts the sleep, and one that stood still: it is due when it was seen the same, and once.
    let awake = start + Duration::from_hours(10);
    outbox.handle_hint(awake, Hint::Everything);
    let mut due = 0;
    while let Some(look) = outbox.poll_look(awake) {
        due += u32::from(see(&mut outbox, awake) == OutboxVerdict::Due);
        if look == Look::Everything {
            outbox.end_scan(awake, true);
        }
    }
    assert_eq!((due, outbox.next_look()), (1, None));
}

/// Sends files of these names and sizes to a receiver on `disk`; how many are there then.
async fn send_to(disk: &SimDisk, files: &[(&str, usize)]) -> (Outcome, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut contents = BTreeMap::new();
    for (name, len) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = noise(*len as u64, *len);
        fs::write(path, &content).unwrap();
        contents.insert(name.as_bytes().to_vec(), content);
    }
    let journal = Arc::new(Journal::in_memory().unwrap());
    let inbox =
        Inbox::on(Box::new(disk.clone()), Path::new("simulated"), "in", Arc::clone(&journal)).unwrap();
    let inbox = Arc::new(inbox.with_keys(receiver_keys()));
    let paths = files.iter().map(|(name, len)| (RelativePath::parse(name.as_bytes()).unwrap(), *len as u64));
    let plan = Plan::of_files(dir.path().into(), paths.collect());
    let (near, far) = duplex(BUFFER);
    let (sent, received) =
        tokio::join!(send(near, order(plan), Arc::new(())), receive(far, &inbox, None, Arc::new(())));
    received.unwrap();
    let there: Vec<_> =
        disk.tree().into_iter().filter_map(|(name, content)| Some((name, content?))).collect();
    assert!(there.iter().all(|(name, content)| contents.get(name) == Some(content)));
    let failed = log(&journal).iter().filter(|link| link.entry.event == Event::Failed).count();
    assert_eq!(failed + there.len(), files.len(), "the receiving end says so too");
    (sent.unwrap(), there.len())
}
