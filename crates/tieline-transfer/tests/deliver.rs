//! Two honest ends: what is sent arrives, once, whole, under its name.

mod support;

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use support::{BUFFER, Offices, SMALL_BUFFER, Watcher, noise, order, tree};
use tieline_transfer::inbox::TRANSFERS_MAX;
use tieline_transfer::path::PARTIAL_FOLDER;
use tieline_transfer::protocol::DATA_LEN_MAX;
use tieline_transfer::{
    Fate, NameFault, Obstacle, Outcome, Plan, ReceiveError, SendError, StopReason, receive, send,
};
use tokio::io::duplex;

#[tokio::test]
async fn files_of_every_critical_size_arrive_the_same() {
    let offices = Offices::new();
    let sizes = [0, 1, DATA_LEN_MAX - 1, DATA_LEN_MAX, DATA_LEN_MAX + 1, 3 * DATA_LEN_MAX, 300_001];
    let paths: Vec<PathBuf> =
        sizes.iter().map(|&size| offices.write(&format!("f{size}"), noise(size as u64, size))).collect();
    let outcome = offices.deliver(&paths).await;
    assert_eq!(outcome.totals.delivered.files, sizes.len() as u64);
    assert_eq!(outcome.totals.delivered.bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(offices.arrived(), tree(&offices.out("")));
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_tree_of_two_thousand_files_arrives_whole_with_its_empty_folders() {
    let offices = Offices::new();
    for number in 0..2000 {
        offices.write(
            &format!("tree/{}/{}/f{number}", number % 7, number % 31),
            noise(number, number as usize % 999),
        );
    }
    for empty in ["tree/empty/within/another", "tree/0/bare"] {
        fs::create_dir_all(offices.out(empty)).unwrap();
    }
    let outcome = offices.deliver(&[offices.out("tree")]).await;
    assert_eq!(outcome.totals.delivered.files, 2000);
    assert_eq!(offices.arrived(), tree(&offices.out("")));
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn more_paths_than_files_may_be_open_are_sent_at_once() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let offices = Offices::new();
    let count = usize::try_from(limit.current.unwrap_or(1024).min(1024)).unwrap() + 100;
    let paths: Vec<_> = (0..count).map(|number| offices.write(&format!("{number}/f{number}"), "x")).collect();
    let outcome = offices.deliver(&paths).await;
    assert_eq!(outcome.totals.delivered.files, count as u64);
}

#[tokio::test]
async fn a_big_file_arrives_the_same() {
    let offices = Offices::new();
    let path = offices.write("big", noise(1, 40_000_000));
    offices.deliver(&[path]).await;
    assert!(offices.arrived() == tree(&offices.out("")), "40 MB differ");
}

#[tokio::test]
async fn a_stream_that_holds_a_few_octets_is_no_deadlock() {
    let offices = Offices::new();
    for number in 0..300 {
        offices.write(&format!("tree/{number}"), noise(number, number as usize * 10));
    }
    let (sent, received) = offices.send_to(&[offices.out("tree")], None, SMALL_BUFFER).await;
    assert!(sent.unwrap().is_complete() && received.unwrap().is_complete());
    assert_eq!(offices.arrived(), tree(&offices.out("")));
}

#[tokio::test]
async fn names_are_octets_and_arrive_as_they_are() {
    let offices = Offices::new();
    for name in [
        &b"\xff\xfe"[..],
        b"umlaut \xc3\xa4",
        b"umlaut \xe4",
        b"a b",
        b"*?",
        b"-rf",
        &[b'x'; 255],
        b".hidden",
    ] {
        fs::write(offices.out("").join(OsStr::from_bytes(name)), name).unwrap();
    }
    let paths: Vec<_> = fs::read_dir(offices.out("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    offices.deliver(&paths).await;
    assert_eq!(offices.arrived(), tree(&offices.out("")));
}

#[tokio::test]
async fn permissions_are_kept_without_the_dangerous_ones_and_times_exactly() {
    let offices = Offices::new();
    for (name, mode, kept) in [
        ("private", 0o600, 0o600),
        ("plain", 0o644, 0o644),
        ("program", 0o755, 0o755),
        ("setuid", 0o6777, 0o755),
        ("sticky", 0o1666, 0o644),
        ("write-only", 0o222, 0o600),
    ] {
        let path = offices.write(&format!("{name}/file"), name);
        let times =
            [0, 1_700_000_000, 5_000_000_000].map(|seconds| UNIX_EPOCH + Duration::new(seconds, 123_456_789));
        let time = times[name.len() % 3];
        File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if name == "write-only" && fs::read(&path).is_err() {
            continue; // An ordinary user cannot send it; root's case is the one to see.
        }
        offices.deliver(&[path]).await;
        let arrived = fs::metadata(offices.inside("file")).unwrap();
        assert_eq!(arrived.mode() & 0o7777, kept, "{name}");
        assert_eq!(arrived.modified().unwrap(), time, "{name}");
        fs::remove_file(offices.inside("file")).unwrap();
    }
    let before_1970 = offices.write("old", "");
    let time = UNIX_EPOCH - Duration::from_secs(86_400);
    File::open(&before_1970).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    offices.deliver(&[before_1970]).await;
    assert_eq!(fs::metadata(offices.inside("old")).unwrap().mtime(), -86_400);
}

#[tokio::test]
async fn a_folder_keeps_its_permissions_and_stays_usable() {
    let offices = Offices::new();
    let path = offices.write("closed/file", "x").parent().unwrap().to_path_buf();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4555)).unwrap();
    offices.deliver(&[path]).await;
    // Group and others are also subject to the umask of whoever runs this.
    assert_eq!(fs::metadata(offices.inside("closed")).unwrap().mode() & 0o7700, 0o700);
}

#[tokio::test]
async fn the_same_again_is_already_there_and_another_of_the_name_is_kept_beside_it() {
    let offices = Offices::new();
    let path = offices.write("report.pdf", "first");
    let fate = |outcome: &Outcome| outcome.entries[0].fate;
    let name = |outcome: &Outcome| String::from_utf8(outcome.entries[0].final_name().unwrap()).unwrap();

    assert_eq!(fate(&offices.deliver(std::slice::from_ref(&path)).await), Fate::Delivered { copy: 1 });
    assert_eq!(fate(&offices.deliver(std::slice::from_ref(&path)).await), Fate::AlreadyThere { copy: 1 });
    fs::write(&path, "other").unwrap();
    let second = offices.deliver(std::slice::from_ref(&path)).await;
    assert_eq!((fate(&second), name(&second)), (Fate::Delivered { copy: 2 }, "report (2).pdf".into()));
    let again = offices.deliver(std::slice::from_ref(&path)).await;
    assert_eq!((fate(&again), name(&again)), (Fate::AlreadyThere { copy: 2 }, "report (2).pdf".into()));
    fs::write(&path, "third, longer").unwrap();
    assert_eq!(name(&offices.deliver(std::slice::from_ref(&path)).await), "report (3).pdf");

    assert_eq!(fs::read(offices.inside("report.pdf")).unwrap(), b"first");
    assert_eq!(fs::read(offices.inside("report (2).pdf")).unwrap(), b"other");
    assert_eq!(fs::read(offices.inside("report (3).pdf")).unwrap(), b"third, longer");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn what_is_no_file_is_neither_replaced_nor_followed_by_a_file_of_its_name() {
    let offices = Offices::new();
    let secret = offices.write("secret", "the same");
    let path = offices.write("a/name", "the same");
    fs::create_dir(offices.inside("name")).unwrap();
    std::os::unix::fs::symlink(&secret, offices.inside("name (2)")).unwrap();
    let outcome = offices.deliver(&[path]).await;
    assert_eq!(outcome.entries[0].fate, Fate::Delivered { copy: 3 });
    assert!(offices.inside("name").is_dir());
    assert!(offices.inside("name (2)").is_symlink());
}

#[tokio::test]
async fn ninety_nine_files_of_one_name_are_enough() {
    let offices = Offices::new();
    let path = offices.write("name", "new");
    fs::write(offices.inside("name"), "1").unwrap();
    for number in 2..=99 {
        fs::write(offices.inside(&format!("name ({number})")), number.to_string()).unwrap();
    }
    let (sent, received) = offices.send(&[path]).await;
    let outcome = sent.unwrap();
    assert_eq!(outcome.entries[0].fate.reason().unwrap(), Obstacle::TooManyCopies.to_string());
    assert!(!outcome.is_complete() && !received.unwrap().is_complete());
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_folder_below_the_inbox_is_made_and_used() {
    let offices = Offices::new();
    let path = offices.write("file", "x");
    for _ in 0..2 {
        let (sent, received) =
            offices.send_to(std::slice::from_ref(&path), Some(b"from/berlin"), BUFFER).await;
        assert!(sent.unwrap().is_complete() && received.unwrap().is_complete());
    }
    assert_eq!(fs::read(offices.inside("from/berlin/file")).unwrap(), b"x");
    assert_eq!(offices.arrived().len(), 3);
}

#[tokio::test]
async fn a_folder_outside_the_inbox_is_refused_to_both_ends() {
    let offices = Offices::new();
    let path = offices.write("file", "x");
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), offices.inside("link")).unwrap();
    fs::write(offices.inside("taken"), "").unwrap();
    let name = |fault: NameFault| StopReason::FolderName(fault.code());
    for (folder, reason) in [
        (&b"../up"[..], name(NameFault::Dots)),
        (b"/tmp", name(NameFault::Absolute)),
        (b"", name(NameFault::Empty)),
        (PARTIAL_FOLDER.as_bytes(), name(NameFault::Reserved)),
        (b"link/x", StopReason::Folder { errno: 40 }),
        (b"taken", StopReason::Folder { errno: 20 }),
    ] {
        let (sent, received) = offices.send_to(std::slice::from_ref(&path), Some(folder), BUFFER).await;
        assert!(matches!(sent, Err(SendError::Refused(told)) if told == reason), "{sent:?}");
        assert!(matches!(received, Err(ReceiveError::Refused(told)) if told == reason), "{received:?}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert_eq!(offices.arrived().len(), 1);
}

#[tokio::test]
async fn a_file_where_a_folder_is_needed_stops_what_belongs_there_and_nothing_else() {
    let offices = Offices::new();
    offices.write("tree/below/file", "x");
    offices.write("tree/other", "y");
    fs::create_dir(offices.inside("tree")).unwrap();
    fs::write(offices.inside("tree/below"), "in the way").unwrap();
    let (sent, _) = offices.send(&[offices.out("tree")]).await;
    let outcome = sent.unwrap();
    let in_the_way = Fate::from(tieline_transfer::protocol::Verdict::Failed(Obstacle::InTheWay));
    let fates: Vec<_> = outcome.entries.iter().map(|entry| entry.fate).collect();
    assert_eq!(fates[0], Fate::AlreadyThere { copy: 1 });
    assert_eq!(fates[1..], [in_the_way, in_the_way, Fate::Delivered { copy: 1 }]);
    assert_eq!(fs::read(offices.inside("tree/below")).unwrap(), b"in the way");
}

#[tokio::test]
async fn two_transfers_of_one_name_at_once_keep_both() {
    let offices = Offices::new();
    let (a, b) = (offices.write("a/name", noise(1, 100_000)), offices.write("b/name", noise(2, 100_000)));
    let paths = ([a.clone()], [b.clone()]);
    let (first, second) = tokio::join!(offices.send(&paths.0), offices.send(&paths.1));
    assert!(first.0.unwrap().is_complete() && second.0.unwrap().is_complete());
    let mut arrived: Vec<_> = offices.arrived().into_values().map(Option::unwrap).collect();
    let mut sent = vec![fs::read(a).unwrap(), fs::read(b).unwrap()];
    arrived.sort();
    sent.sort();
    assert!(arrived == sent);
}

#[tokio::test]
async fn one_transfer_too_many_is_told_that_the_far_end_is_busy() {
    let offices = Offices::new();
    let mut silent = Vec::new();
    let mut running = Vec::new();
    for _ in 0..TRANSFERS_MAX {
        let plan = Plan::scan(&[offices.write("file", "x")], &()).unwrap();
        let (near, far) = duplex(BUFFER);
        let inbox = Arc::clone(&offices.inbox);
        running.push(tokio::spawn(async move { receive(far, &inbox, None, Arc::new(())).await }));
        // A sender that stops after it was let in.
        silent.push((support::let_in(near).await, plan));
    }
    let (sent, received) = offices.send(&[offices.write("file", "x")]).await;
    let busy = StopReason::Busy { running: TRANSFERS_MAX };
    assert!(matches!(sent, Err(SendError::Refused(reason)) if reason == busy), "{sent:?}");
    assert!(matches!(received, Err(ReceiveError::Refused(reason)) if reason == busy));
    silent.clear();
    for transfer in running {
        transfer.await.unwrap().unwrap();
    }
    offices.deliver(&[offices.write("file", "x")]).await;
}

#[tokio::test]
async fn progress_shows_every_octet_and_every_settlement_at_both_ends() {
    let offices = Offices::new();
    for number in 0..20 {
        offices.write(&format!("tree/{number}"), noise(number, 10_000));
    }
    let plan = Plan::scan(&[offices.out("tree")], &()).unwrap();
    assert_eq!((plan.files(), plan.folders(), plan.bytes()), (20, 1, 200_000));
    let (near, far) = duplex(BUFFER);
    let (here, there) = (Arc::new(Watcher::default()), Arc::new(Watcher::default()));
    let (sent, received) = tokio::join!(
        send(near, order(plan), here.clone()),
        receive(far, &offices.inbox, None, there.clone())
    );
    assert!(sent.unwrap().is_complete() && received.unwrap().is_complete());
    for watcher in [here, there] {
        assert_eq!(*watcher.started.lock().unwrap(), [(21, 200_000)]);
        assert_eq!(watcher.files.lock().unwrap().len(), 20);
        assert_eq!(*watcher.moved.lock().unwrap(), 200_000);
        assert_eq!(watcher.settled.lock().unwrap().len(), 21);
    }
}

#[tokio::test]
async fn an_outcome_reads_well_as_a_row_and_as_json() {
    let offices = Offices::new();
    fs::write(offices.inside("a.txt"), "other").unwrap();
    offices.write("a.txt", "x");
    std::os::unix::fs::symlink("a.txt", offices.out("li\u{202e}nk")).unwrap();
    let (sent, _) = offices.send(&[offices.out("a.txt"), offices.out("li\u{202e}nk")]).await;
    let outcome = sent.unwrap();
    let rows: Vec<_> = outcome.entries.iter().map(ToString::to_string).collect();
    assert_eq!(
        rows,
        [
            "a.txt: delivered as a (2).txt",
            "li\\u{202e}nk: skipped: a symbolic link; name what it points to instead"
        ]
    );
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(
        json["entries"][0],
        serde_json::json!({
            "name": "a.txt", "kind": "file", "size": 1, "fate": "delivered", "final_name": "a (2).txt"
        })
    );
    assert_eq!(json["entries"][1]["reason"], "a symbolic link; name what it points to instead");
    assert_eq!(json["totals"]["skipped"]["files"], 1);
    assert_eq!(json["interruption"], serde_json::Value::Null);
    assert_eq!(outcome.undelivered().count(), 1);
}

#[tokio::test]
async fn transfers_can_be_spawned() {
    fn spawnable<T: Send>(future: T) -> T {
        future
    }
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("file", "x")], &()).unwrap();
    let (near, far) = duplex(BUFFER);
    let sending = spawnable(send(near, order(plan), Arc::new(())));
    let receiving = spawnable(receive(far, &offices.inbox, None, Arc::new(())));
    assert!(tokio::join!(sending, receiving).0.unwrap().is_complete());
    assert!(Path::new(&offices.inside("file")).exists());
}
