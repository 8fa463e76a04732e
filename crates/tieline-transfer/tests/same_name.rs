//! A file arrives whose name is taken: what the policy of the inbox makes of it, and what is left after a power cut.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod sim;
mod support;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use sim::{Careless, SimDisk, Trouble, is_power_cut};
use support::{BUFFER, Offices, noise, order, receiver_keys};
use tieline_transfer::content::PIECE_LEN;
use tieline_transfer::{Fate, Inbox, Journal, Obstacle, Outcome, Plan, SameName, receive, send};
use tokio::io::duplex;

/// As large as files are that are asked about before they are sent.
const LARGE: usize = PIECE_LEN as usize + 5;

/// Two offices, with this policy at the receiving end.
fn offices(policy: SameName) -> Offices {
    let mut offices = Offices::new();
    let path = offices.dir.path().join("in2");
    let journal = Arc::new(Journal::in_memory().unwrap());
    let inbox = Inbox::open(&path, "inbox", journal).unwrap();
    offices.inbox = Arc::new(inbox.with_keys(receiver_keys()).with_same_name(policy));
    offices
}

fn inside(offices: &Offices, name: &str) -> PathBuf {
    offices.dir.path().join("in2").join(name)
}

/// Writes a file that was modified then.
fn write(path: &Path, content: &[u8], modified: u64) {
    fs::write(path, content).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(modified);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Sends `content`, modified then, as `file`, and says what became of it.
async fn offer(offices: &Offices, content: &[u8], modified: u64) -> Fate {
    write(&offices.out("file"), content, modified);
    let (sent, received) = offices.send(&[offices.out("file")]).await;
    let (sent, received): (Outcome, _) = (sent.unwrap(), received.unwrap());
    assert_eq!(sent.totals, received.totals);
    offices.assert_nothing_unfinished();
    assert_eq!(fs::read_dir(inside(offices, ".tieline-partial")).unwrap().count(), 0);
    sent.entries[0].fate
}

const NEW: Fate = Fate::Delivered { copy: 1 };
const THERE: Fate = Fate::AlreadyThere { copy: 1 };

#[tokio::test]
async fn case_21_the_newest_has_the_name_and_an_older_one_is_refused() {
    for large in [1, LARGE] {
        let offices = offices(SameName::Newest);
        let content = |seed| noise(seed, large);
        let there = || fs::read(inside(&offices, "file")).unwrap();
        assert_eq!(offer(&offices, &content(1), 1000).await, NEW);
        assert_eq!(offer(&offices, &content(2), 2000).await, NEW);
        assert!(there() == content(2), "replaced");
        for (content, modified) in [(content(3), 1999), (content(3), 2000), (noise(3, large + 1), 1)] {
            let refused = Fate::Refused(Obstacle::NotNewer);
            assert_eq!(offer(&offices, &content, modified).await, refused, "{modified}");
        }
        assert!(there() == content(2), "kept");
        assert_eq!(offer(&offices, &content(2), 3000).await, THERE, "the same content");
        // Somebody works with the file here, by a clock of his own.
        write(&inside(&offices, "file"), b"edited", 5000);
        assert_eq!(offer(&offices, &content(4), 4000).await, Fate::Refused(Obstacle::NotNewer));
        assert_eq!(offer(&offices, &content(4), 5001).await, NEW);
        assert!(there() == content(4));
        assert_eq!(fs::read_dir(inside(&offices, "")).unwrap().count(), 2, "nothing beside it");
    }
}

#[tokio::test]
async fn case_21_a_second_file_of_a_name_is_refused_where_that_is_wanted() {
    for large in [1, LARGE] {
        let offices = offices(SameName::Refuse);
        assert_eq!(offer(&offices, &noise(1, large), 1000).await, NEW);
        for (content, modified) in [(noise(2, large), 2000), (noise(2, large + 1), 3000)] {
            assert_eq!(offer(&offices, &content, modified).await, Fate::Refused(Obstacle::NameTaken));
        }
        assert_eq!(offer(&offices, &noise(1, large), 4000).await, THERE);
        assert!(fs::read(inside(&offices, "file")).unwrap() == noise(1, large));
        fs::remove_file(inside(&offices, "file")).unwrap();
        assert_eq!(offer(&offices, &noise(2, large), 2000).await, NEW, "the name is free");
    }
}

#[tokio::test]
async fn case_21_what_is_no_file_is_never_replaced() {
    for policy in [SameName::Newest, SameName::Refuse] {
        for large in [1, LARGE] {
            let offices = offices(policy);
            let (name, target) = (inside(&offices, "file"), offices.out("target"));
            write(&target, b"target", 1);
            let refused = Fate::Refused(Obstacle::NotAFile);
            symlink(&target, &name).unwrap();
            assert_eq!(offer(&offices, &noise(1, large), 9000).await, refused);
            assert_eq!(fs::read_link(&name).unwrap(), target);
            fs::remove_file(&name).unwrap();
            fs::create_dir(&name).unwrap();
            assert_eq!(offer(&offices, &noise(1, large), 9000).await, refused);
            assert!(name.is_dir());
            fs::remove_dir(&name).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            assert_eq!(offer(&offices, &noise(1, large), 9000).await, refused);
            assert_eq!(fs::read(&target).unwrap(), b"target");
        }
    }
}

#[tokio::test]
async fn case_21_twins_by_case_or_spelling_are_kept_and_counted() {
    for policy in [SameName::KeepBoth, SameName::Newest, SameName::Refuse] {
        let offices = offices(policy);
        for name in [
            "tree/Büro.txt",
            "tree/bu\u{308}ro.TXT",
            "tree/BÜRO.txt",
            "tree/buero.txt",
            "tree/below/BÜRO.txt",
        ] {
            offices.write(name, name);
        }
        offices.deliver(&[offices.out("tree")]).await;
        assert_eq!(fs::read_dir(inside(&offices, "tree")).unwrap().count(), 5);
        assert_eq!(offices.inbox.take_twins(), 2);
        // What is replaced, or there already, is no new name.
        offices.write("tree/Büro.txt", "a newer one");
        offices.send(&[offices.out("tree")]).await.0.unwrap();
        assert_eq!(offices.inbox.take_twins(), 0, "{policy:?}");
    }
}

#[tokio::test]
async fn case_22_names_that_look_like_our_own_are_replaced_and_refused_as_others_are() {
    let offices = offices(SameName::Newest);
    for name in ["t0", "1", "file (2)"] {
        offices.write(&format!("tree/{name}"), "old");
        offices.deliver(&[offices.out("tree")]).await;
        write(&offices.out(&format!("tree/{name}")), name.as_bytes(), 9_000_000_000);
        offices.deliver(&[offices.out("tree")]).await;
        assert_eq!(fs::read(inside(&offices, &format!("tree/{name}"))).unwrap(), name.as_bytes());
    }
    offices.write("private/.TIELINE-partial", "x");
    let (sent, _) = offices.send(&[offices.out("private")]).await;
    assert!(!sent.unwrap().is_complete());
}

#[test]
fn case_5_a_file_that_is_replaced_is_the_old_or_the_new_one_after_every_power_cut() {
    let mut replaced = 0;
    for (seed, large) in
        (0..).zip([1, 5000, LARGE]).flat_map(|(seed, len)| [(2 * seed, len), (2 * seed + 1, len)])
    {
        let (old, new) = (noise(1, large), noise(2, large));
        for at in 1.. {
            let mut life = Life::new(seed * 1000 + at);
            life.send(&old, 1000);
            assert_eq!(life.content(), Some(old.clone()));
            life.disk.plan(at, Trouble::PowerCut);
            let said = life.send(&new, 2000);
            if life.disk.is_waiting() {
                break;
            }
            life.disk.power_cycle();
            let left = life.content();
            assert!(left.as_ref() == Some(&old) || left.as_ref() == Some(&new), "gone or torn, cut at {at}");
            assert!(!said || left.as_ref() == Some(&new), "called delivered, cut at {at}");
            replaced += u64::from(left.as_ref() == Some(&new));
            assert!((0..4).any(|_| life.send(&new, 2000)), "never delivered, cut at {at}");
            assert_eq!(life.disk.private_files(), 0);
            life.disk.power_cycle();
            assert!(life.content() == Some(new.clone()), "delivered and lost, cut at {at}");
            // What is refused changes nothing, whenever the power goes.
            life.disk.plan(at, Trouble::PowerCut);
            assert!(!life.send(&old, 1000));
            life.disk.power_cycle();
            assert!(life.content() == Some(new.clone()), "an older one has come through, cut at {at}");
        }
    }
    assert!(replaced > 0, "some cuts come after the renaming");
}

/// A receiving end that keeps the newest, on a disk that is simulated.
struct Life {
    disk: SimDisk,
    journal: Arc<Journal>,
    offices: Offices,
}

impl Life {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed, Careless::Nothing);
        Self { disk, journal: Arc::new(Journal::in_memory().unwrap()), offices: Offices::new() }
    }

    fn content(&self) -> Option<Vec<u8>> {
        self.disk.tree().remove(&b"file"[..]).flatten()
    }

    /// Starts the receiver and sends; whether the file is said to be there.
    fn send(&mut self, content: &[u8], modified: u64) -> bool {
        write(&self.offices.out("file"), content, modified);
        let disk = Box::new(self.disk.clone());
        let open = || Inbox::on(disk, Path::new("simulated"), "in", Arc::clone(&self.journal));
        let inbox = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => opened.unwrap().with_keys(receiver_keys()).with_same_name(SameName::Newest),
            Err(panic) if is_power_cut(&*panic) => return false,
            Err(panic) => resume_unwind(panic),
        };
        let inbox = Arc::new(inbox);
        let order = order(Plan::scan(&[self.offices.out("file")], &()).unwrap());
        let (near, far) = duplex(BUFFER);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sent, received) = runtime.block_on(async {
            let receiving = tokio::spawn(async move { receive(far, &inbox, None, Arc::new(())).await });
            tokio::join!(send(near, order, Arc::new(())), receiving)
        });
        if let Err(error) = received {
            let panic = error.into_panic();
            if !is_power_cut(&*panic) {
                resume_unwind(panic);
            }
        }
        sent.is_ok_and(|sent| sent.is_complete())
    }
}
