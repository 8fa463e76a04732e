//! Killed processes, and disks that are full, out of inodes, read-only or not the same: real ones, in a mount namespace of its own.
//!
//! The program starts itself again inside new user and mount namespaces, where it may mount small file systems; where the
//! system does not allow that, the tests that need it are reported as ignored, by name.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use support::{BUFFER, Mark, Offices, Tree, noise, open_inbox, order, order_into, tree};
use tempfile::TempDir;
use tieline_transfer::path::PARTIAL_FOLDER;
use tieline_transfer::{
    EntryReport, Fate, Fault, Inbox, Journal, Obstacle, Outcome, Plan, Progress, ReceiveError, Received,
    SendError, StopReason, receive, send,
};
use tokio::io::{duplex, join, stdin, stdout};

/// Set in the process that runs inside the namespaces.
const INSIDE: &str = "TIELINE_TRANSFER_TEST_INSIDE";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some("--receive-into") => return run(receive_here(PathBuf::from(&arguments[2]))),
        Some("--send-from") => return run(send_from_here(PathBuf::from(&arguments[2]))),
        _ => {}
    }
    let namespaces = ["--user", "--map-root-user", "--mount"];
    let inside = env::var_os(INSIDE).is_some();
    if !inside
        && Command::new("unshare")
            .args(namespaces)
            .arg("true")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    {
        let mut again = Command::new("unshare");
        again.args(namespaces).arg("--").arg(env::current_exe().unwrap()).args(&arguments[1..]);
        panic!("{}", again.env(INSIDE, "1").exec());
    }
    let anywhere = |name: &str, test: fn()| trial(name, test);
    let mounting = |name: &str, test: fn()| trial(name, test).with_ignored_flag(!inside);
    let traced = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    let trials = vec![
        anywhere("case_1_a_killed_receiver_leaves_whole_files_and_the_next_one_goes_on", killed_receiver),
        anywhere(
            "case_2_a_receiver_that_is_killed_five_times_a_second_comes_to_its_end",
            killed_again_and_again,
        ),
        anywhere("case_1_a_killed_sender_leaves_whole_files_and_nothing_unfinished", killed_sender),
        trial(
            "case_5_nothing_is_called_delivered_before_its_data_its_name_and_its_folder_are_synced",
            order_of_durability,
        )
        .with_ignored_flag(!traced),
        mounting("case_11_what_does_not_fit_is_refused_before_it_is_sent", does_not_fit),
        mounting("case_11_a_disk_that_fills_up_in_the_middle_fails_one_file_and_takes_the_next", fills_up),
        mounting("case_11_a_disk_that_was_filled_meanwhile_takes_what_still_fits", filled_before),
        mounting("case_13_a_disk_without_inodes_says_that_it_is_full", no_inodes),
        mounting("case_12_a_disk_that_became_read_only_says_so", read_only),
        mounting("another_disk_inside_the_inbox_says_so", other_file_system),
    ];
    if !traced {
        eprintln!("strace is not installed: the test that watches the order of syncs is ignored");
    }
    if !inside {
        eprintln!("no user and mount namespaces here: the tests that mount file systems are ignored");
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

// ---- killed processes ----

const KILL_EVERY: Duration = Duration::from_millis(200);
/// More than enough, also where a process needs most of its life to start.
const KILLS_MAX: u32 = 300;

async fn receive_here(inbox: PathBuf) -> ExitCode {
    let journal = Arc::new(Journal::open(&inbox.with_file_name("journal")).unwrap());
    let inbox = Arc::new(Inbox::open(&inbox, "inbox", journal).unwrap());
    match receive(join(stdin(), stdout()), &inbox, None, Arc::new(())).await {
        Ok(received) if received.is_complete() => ExitCode::SUCCESS,
        other => panic!("{other:?}"),
    }
}

async fn send_from_here(path: PathBuf) -> ExitCode {
    let plan = Plan::scan(&[path], &()).unwrap();
    send(join(stdin(), stdout()), order(plan), Arc::new(())).await.unwrap();
    ExitCode::SUCCESS
}

fn child(role: &str, path: &Path) -> tokio::process::Child {
    spawn(&mut tokio::process::Command::new(env::current_exe().unwrap()), role, path)
}

fn spawn(command: &mut tokio::process::Command, role: &str, path: &Path) -> tokio::process::Child {
    command
        .arg(role)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Thirty small files and a big one: 4.4 MB.
fn office_with_files() -> (Offices, PathBuf, Tree) {
    let offices = Offices::new();
    for number in 0..30 {
        offices.write(&format!("tree/{number}"), noise(number, 80_000));
    }
    offices.write("tree/big", noise(99, 2_000_000));
    let (path, files) = (offices.out("tree"), tree(&offices.out("")));
    (offices, path, files)
}

fn assert_whole(offices: &Offices, files: &Tree) {
    for (name, content) in offices.arrived() {
        assert!(files.get(&name) == Some(&content), "{} is not whole", String::from_utf8_lossy(&name));
    }
}

fn killed_receiver() {
    let mut leftovers = 0;
    for at in [1, 100_000, 900_000, 1_500_000, 2_500_000, 4_300_000] {
        let (Offices { dir, inbox }, path, files) = office_with_files();
        let inside = inbox.path().to_path_buf();
        drop(inbox);
        let outcome = run(async {
            let mut receiver = child("--receive-into", &inside);
            let stream = join(receiver.stdout.take().unwrap(), receiver.stdin.take().unwrap());
            let mark = Mark::at(at);
            let plan = Plan::scan(std::slice::from_ref(&path), &()).unwrap();
            let sending = send(stream, order(plan), mark.clone());
            let killing = async {
                mark.reached.notified().await;
                receiver.kill().await.unwrap();
            };
            tokio::join!(sending, killing).0
        });
        let confirmed: Vec<EntryReport> = match outcome {
            Ok(outcome) => {
                assert!(matches!(outcome.interruption, Some(SendError::Stream(_))), "{outcome:?}");
                assert!(!outcome.is_complete());
                outcome.entries.into_iter().filter(|entry| entry.fate.is_delivered()).collect()
            }
            // Killed before its welcome was heard.
            Err(error) => {
                assert!(matches!(error, SendError::Stream(_)), "{error}");
                Vec::new()
            }
        };
        let offices =
            Offices { dir, inbox: Arc::new(open_inbox(&inside).expect("the lock died with its holder")) };
        leftovers += offices.inbox.leftovers();
        assert_eq!(fs::read_dir(offices.inside(PARTIAL_FOLDER)).unwrap().count(), 0);
        assert_whole(&offices, &files);
        let there = offices.arrived();
        for entry in confirmed {
            assert!(there.contains_key(&*entry.name), "{entry:?} was confirmed");
        }
        run(offices.deliver(&[path]));
        assert!(offices.arrived() == files, "killed at {at}");
    }
    assert!(leftovers > 0, "no kill hit an unfinished file");
}

/// Every life brings something, so the last one comes.
fn killed_again_and_again() {
    let (Offices { dir, inbox }, path, _) = office_with_files();
    let inside = inbox.path().to_path_buf();
    drop(inbox);
    fs::write(path.join("big"), noise(98, 96 << 20)).unwrap();
    let files = tree(&dir.path().join("out"));
    let journal = Arc::new(Journal::in_memory().unwrap());
    let mut kills = 0;
    let is_complete = run(async {
        while kills < KILLS_MAX {
            let mut receiver = child("--receive-into", &inside);
            let stream = join(receiver.stdout.take().unwrap(), receiver.stdin.take().unwrap());
            let plan = Plan::scan(std::slice::from_ref(&path), &()).unwrap();
            let order = order_into(plan, Arc::clone(&journal));
            let mut sending = std::pin::pin!(send(stream, order, Arc::new(())));
            match tokio::time::timeout(KILL_EVERY, &mut sending).await {
                Ok(outcome) => return outcome.unwrap().is_complete(),
                Err(_elapsed) => kills += 1,
            }
            // In the middle, with its stream still there.
            receiver.kill().await.unwrap();
        }
        false
    });
    assert!(is_complete, "not after {kills} kills");
    assert!(kills > 0, "nobody was killed");
    let offices = Offices { dir, inbox: Arc::new(open_inbox(&inside).unwrap()) };
    assert!(offices.arrived() == files, "after {kills} kills");
}

fn killed_sender() {
    for at in [1, 900_000, 2_500_000] {
        let (offices, path, files) = office_with_files();
        let received = run(async {
            let mut sender = child("--send-from", &path);
            let stream = join(sender.stdout.take().unwrap(), sender.stdin.take().unwrap());
            let mark = Mark::at(at);
            let receiving = receive(stream, &offices.inbox, None, mark.clone());
            let killing = async {
                mark.reached.notified().await;
                sender.kill().await.unwrap();
            };
            tokio::join!(receiving, killing).0.unwrap()
        });
        assert!(matches!(received.interruption, Some(ReceiveError::Stream(_))), "{received:?}");
        // Only what the journal knows stays: by a number.
        for entry in fs::read_dir(offices.inside(PARTIAL_FOLDER)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.parse::<u64>().is_ok(), "{name}");
        }
        assert_whole(&offices, &files);
        assert_eq!(offices.arrived().values().flatten().count() as u64, received.totals.delivered.files);
    }
}

// ---- the order of what survives a power cut ----

/// What the receiver asks of the kernel, seen by strace: data, name and folder reach the disk in this order before the word does.
fn order_of_durability() {
    let (Offices { dir, inbox }, ..) = office_with_files();
    let inside = inbox.path().to_path_buf();
    drop(inbox);
    let trace = dir.path().join("trace");
    let mut command = tokio::process::Command::new("strace");
    command
        .args(["-f", "-y", "-s", "8", "-e", "trace=fsync,fdatasync,renameat2,write,pwrite64", "-o"])
        .arg(&trace);
    let outcome = run(async {
        let mut receiver = spawn(command.arg(env::current_exe().unwrap()), "--receive-into", &inside);
        let stream = join(receiver.stdout.take().unwrap(), receiver.stdin.take().unwrap());
        let plan = Plan::scan(&[dir.path().join("out/tree/big")], &()).unwrap();
        let outcome = send(stream, order(plan), Arc::new(())).await.unwrap();
        assert!(receiver.wait().await.unwrap().success());
        outcome
    });
    assert!(outcome.is_complete());
    let trace = fs::read_to_string(trace).unwrap();
    let inside = inside.canonicalize().unwrap();
    let (data, folder) =
        (format!("<{}/{PARTIAL_FOLDER}/1>", inside.display()), format!("<{}>", inside.display()));
    let steps: [(&str, &str); 6] = [
        (" fsync(", &data),
        ("sync(", "/journal-wal>"),
        ("renameat2(", "RENAME_NOREPLACE"),
        (" fsync(", &folder),
        ("sync(", "/journal-wal>"),
        ("write(1<", r#""\0\0\0\24B"#),
    ];
    let last_write =
        trace.lines().enumerate().filter(|(_, row)| row.contains("write") && row.contains(&data));
    let (written, _) = last_write.last().unwrap();
    let mut rows = trace.lines().skip(written);
    for (call, what) in steps {
        let found = rows.any(|row| row.contains(call) && row.contains(what));
        assert!(found, "no {call} of {what} in its place in\n{trace}");
    }
}

// ---- disks ----

/// An inbox on a file system of its own.
struct SmallDisk {
    dir: TempDir,
    offices: Offices,
}

impl SmallDisk {
    /// `options` as for tmpfs: `size=1m`, `nr_inodes=20`.
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(&["-t", "tmpfs", "-o", options, "none"], dir.path());
        let inbox = Arc::new(open_inbox(&dir.path().join("in")).unwrap());
        let offices = Offices { inbox, ..Offices::new() };
        Self { dir, offices }
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    fn arrived(&self) -> Vec<String> {
        let mut tree = tree(&self.dir.path().join("in"));
        tree.remove(PARTIAL_FOLDER.as_bytes());
        tree.into_keys().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    fn send(&self, paths: &[PathBuf]) -> Results {
        self.send_watched(paths, Arc::new(()), Arc::new(()))
    }

    fn send_watched(&self, paths: &[PathBuf], here: Arc<dyn Progress>, there: Arc<dyn Progress>) -> Results {
        let plan = Plan::scan(paths, &()).unwrap();
        let (near, far) = duplex(BUFFER);
        run(async {
            tokio::join!(send(near, order(plan), here), receive(far, &self.offices.inbox, None, there))
        })
    }
}

type Results = (Result<Outcome, SendError>, Result<Received, ReceiveError>);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the inbox still holds it open. It goes with the namespace at the latest.
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(mounted.success(), "mount {arguments:?}");
}

fn failed_there(obstacle: Obstacle) -> Fate {
    Fate::Failed(Fault::Receiver(obstacle))
}

fn does_not_fit() {
    let disk = SmallDisk::new("size=1m");
    let big = disk.offices.write("big", noise(1, 3 << 20));
    let (sent, received) = disk.send(std::slice::from_ref(&big));
    let Err(SendError::Refused(StopReason::NoSpace { missing_bytes })) = sent else { panic!("{sent:?}") };
    assert!((2 << 20..3 << 20).contains(&missing_bytes), "{missing_bytes}");
    assert!(matches!(received, Err(ReceiveError::Refused(StopReason::NoSpace { .. }))));
    assert!(disk.arrived().is_empty());
    // The receiver holds nothing of it, so what fits is taken.
    let (sent, _) = disk.send(&[disk.offices.write("small", "x")]);
    assert!(sent.unwrap().is_complete());
}

fn fills_up() {
    /// Somebody else takes all the room when the big file has begun, and gives it back when that has failed.
    struct Filler {
        at: PathBuf,
        done: AtomicBool,
    }
    impl Progress for Filler {
        fn moved(&self, bytes: u64) {
            if bytes > 1000 && !self.done.swap(true, Ordering::Relaxed) {
                fs::write(&self.at, noise(2, 4 << 20)).unwrap_err();
            }
        }
        fn settled(&self, entry: &EntryReport) {
            if *entry.name == *b"tree/b-big" {
                fs::remove_file(&self.at).unwrap();
            }
        }
    }
    let disk = SmallDisk::new("size=2m");
    disk.offices.write("tree/a", noise(3, 1000));
    disk.offices.write("tree/b-big", noise(4, 1 << 20));
    let filler = Arc::new(Filler { at: disk.inside("filler"), done: AtomicBool::new(false) });
    let (sent, received) = disk.send_watched(&[disk.offices.out("tree")], Arc::new(()), filler);
    let outcome = sent.unwrap();
    let fates: Vec<_> = outcome.entries.iter().map(|entry| entry.fate).collect();
    let delivered = Fate::Delivered { copy: 1 };
    assert_eq!(fates, [delivered, delivered, failed_there(Obstacle::NoSpace { missing_bytes: 0 })]);
    assert!(outcome.entries[2].to_string().contains("no space left on the receiving disk"));
    assert!(outcome.interruption.is_none());
    assert_eq!(received.unwrap().totals, outcome.totals);
    assert_eq!(disk.arrived(), ["tree", "tree/a"]);
    assert_eq!(fs::read_dir(disk.inside(PARTIAL_FOLDER)).unwrap().count(), 0, "the space is free again");
    let (sent, _) = disk.send(&[disk.offices.out("tree")]);
    assert!(sent.unwrap().is_complete(), "and it works when there is room");
}

/// The disk is full between the first pass and the offers: each file is refused by itself, and smaller ones are taken.
fn filled_before() {
    struct Filler(PathBuf);
    impl Progress for Filler {
        fn started(&self, _entries: u64, _bytes: u64) {
            fs::write(&self.0, noise(2, 1 << 20)).unwrap();
        }
    }
    let disk = SmallDisk::new("size=2m");
    for (name, len) in [("tree/a", 1000), ("tree/b-big", 3 << 19), ("tree/c", 1000)] {
        disk.offices.write(name, noise(4, len));
    }
    let filler = Arc::new(Filler(disk.inside("filler")));
    let (sent, _) = disk.send_watched(&[disk.offices.out("tree")], Arc::new(()), filler);
    let outcome = sent.unwrap();
    let undelivered: Vec<_> = outcome.undelivered().collect();
    assert_eq!(undelivered.len(), 1);
    let Fate::Refused(Obstacle::NoSpace { missing_bytes }) = undelivered[0].fate else {
        panic!("{undelivered:?}")
    };
    assert!((1 << 19..1 << 20).contains(&missing_bytes), "{missing_bytes}");
    assert_eq!(disk.arrived(), ["filler", "tree", "tree/a", "tree/c"]);
}

fn no_inodes() {
    let disk = SmallDisk::new("size=1m,nr_inodes=8");
    let paths: Vec<_> = (0..20).map(|number| disk.offices.write(&format!("{number:02}"), "x")).collect();
    let (sent, _) = disk.send(&paths);
    let outcome = sent.unwrap();
    assert!(outcome.interruption.is_none());
    assert!(outcome.totals.delivered.files > 0);
    let undelivered: Vec<_> = outcome.undelivered().collect();
    assert_eq!(undelivered.len() as u64 + outcome.totals.delivered.files, 20);
    assert!(
        undelivered.iter().all(|entry| entry.fate == failed_there(Obstacle::NoSpace { missing_bytes: 0 })),
        "{undelivered:?}"
    );
    assert_eq!(fs::read_dir(disk.inside(PARTIAL_FOLDER)).unwrap().count(), 0);
}

fn read_only() {
    let disk = SmallDisk::new("size=1m");
    mount(&["-o", "remount,bind,ro"], disk.dir.path());
    disk.offices.write("tree/file", "x");
    let (sent, _) = disk.send(&[disk.offices.out("tree")]);
    let outcome = sent.unwrap();
    assert!(
        outcome.entries.iter().all(|entry| entry.fate == failed_there(Obstacle::ReadOnly)),
        "{outcome:?}"
    );
    let error = open_inbox(&disk.dir.path().join("new")).unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
}

fn other_file_system() {
    let disk = SmallDisk::new("size=1m");
    fs::create_dir(disk.inside("tree")).unwrap();
    mount(&["-t", "tmpfs", "none"], &disk.inside("tree"));
    disk.offices.write("tree/file", "x");
    let (sent, _) = disk.send(&[disk.offices.out("tree")]);
    let outcome = sent.unwrap();
    assert_eq!(outcome.entries[1].fate, failed_there(Obstacle::OtherFileSystem));
    assert_eq!(disk.arrived(), ["tree"]);
    assert_eq!(fs::read_dir(disk.inside(PARTIAL_FOLDER)).unwrap().count(), 0);
}
