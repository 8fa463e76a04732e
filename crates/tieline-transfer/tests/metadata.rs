//! What files keep besides their content, as the two ends are configured.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, statat, utimensat};
use support::{BUFFER, Offices, noise, order, order_into};
use tieline_transfer::metadata::{Carry, Keep};
use tieline_transfer::{
    Fate, Fault, Journal, Obstacle, Outcome, Plan, RelativePath, Skip, Stamp, receive, send,
};
use tokio::io::duplex;

/// Two offices of which the receiving one keeps that.
fn offices(keep: Keep) -> Offices {
    let Offices { dir, inbox } = Offices::new();
    let inbox = Arc::new(Arc::into_inner(inbox).unwrap().with_keep(keep));
    Offices { dir, inbox }
}

fn set_time(path: &std::path::Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[tokio::test]
async fn a_file_whose_time_or_mode_is_not_kept_gets_that_of_its_arrival_and_a_plain_one() {
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    for (times, modes) in [(true, true), (true, false), (false, true), (false, false)] {
        let offices = offices(Keep { times, modes, ..Keep::default() });
        let before = SystemTime::now() - Duration::from_secs(1);
        for (name, size) in [("small", 10), ("large", 2_000_000)] {
            let path = offices.write(&format!("folder/{name}"), noise(1, size));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
            set_time(&path, then);
        }
        fs::set_permissions(offices.out("folder"), fs::Permissions::from_mode(0o700)).unwrap();
        set_time(&offices.out("folder"), then);
        offices.deliver(&[offices.out("folder")]).await;
        for (name, kept, plain) in
            [("folder", 0o700, 0o755), ("folder/small", 0o750, 0o644), ("folder/large", 0o750, 0o644)]
        {
            let meta = fs::metadata(offices.inside(name)).unwrap();
            let modified = meta.modified().unwrap();
            assert_eq!(modified == then, times, "{name}");
            assert_eq!(modified > before, !times, "{name}");
            // What others may do with a new folder is also up to whoever runs this.
            let mask = if name == "folder" { 0o700 } else { 0o7777 };
            assert_eq!(meta.mode() & mask, if modes { kept } else { plain } & mask, "{name}");
        }
    }
}

#[tokio::test]
async fn case_30_times_of_folders_are_given_back_when_all_is_in_them() {
    let offices = offices(Keep::default());
    let folders = ["tree", "tree/a", "tree/a/b", "tree/empty"];
    fs::create_dir_all(offices.out("tree/empty")).unwrap();
    offices.write("tree/a/b/large", noise(1, 3_000_000));
    (0..300).for_each(|number| drop(offices.write(&format!("tree/a/{number}"), "x")));
    let time_of = |number: u64| UNIX_EPOCH + Duration::new(1_000_000_000 + number, 77);
    let set = |from: u64| {
        for (number, folder) in (from..).zip(folders) {
            set_time(&offices.out(folder), time_of(number));
        }
    };
    set(0);
    offices.deliver(&[offices.out("tree")]).await;
    let times = || folders.map(|folder| fs::metadata(offices.inside(folder)).unwrap().modified().unwrap());
    assert_eq!(times(), [0, 1, 2, 3].map(time_of));
    offices.write("tree/a/more", "x");
    set(10);
    offices.deliver(&[offices.out("tree")]).await;
    assert_eq!(times(), [10, 11, 12, 13].map(time_of), "of folders that were there, too");
}

/// Sends all of `folder` with that, and returns what became of it.
async fn send_all(offices: &Offices, folder: &str, carry: Carry) -> Outcome {
    let plan = Plan::scan_with(&[offices.out(folder)], carry, &()).unwrap();
    let (near, far) = duplex(BUFFER);
    let (sent, received) =
        tokio::join!(send(near, order(plan), Arc::new(())), receive(far, &offices.inbox, None, Arc::new(())));
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert_eq!(sent.totals.delivered, received.totals.delivered);
    assert!(sent.interruption.is_none() && received.interruption.is_none());
    sent
}

const LINKS: Carry = Carry { links: true };

fn with_links() -> Keep {
    Keep { links: true, ..Keep::default() }
}

#[tokio::test]
async fn case_30_links_arrive_as_the_text_they_are_wherever_they_lead() {
    let offices = offices(with_links());
    offices.write("tree/file", "content");
    let long = "x/".repeat(2000);
    let targets = [
        ("inside", "file"),
        ("dangling", "nowhere"),
        ("absolute", "/etc/passwd"),
        ("out", "../../../../etc/shadow"),
        ("itself", "itself"),
        ("folder", "/"),
        ("odd", "a\nb\u{1b}[1m"),
        ("long", &long),
    ];
    for (name, target) in targets {
        symlink(target, offices.out("tree").join(name)).unwrap();
    }
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, offices.out("tree/dangling"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let outcome = send_all(&offices, "tree", LINKS).await;
    assert!(outcome.is_complete(), "{outcome:?}");
    for (name, target) in targets {
        let arrived = offices.inside("tree").join(name);
        assert_eq!(fs::read_link(&arrived).unwrap().as_os_str(), target, "{name}");
    }
    let dangling = fs::symlink_metadata(offices.inside("tree/dangling")).unwrap();
    assert_eq!(dangling.modified().unwrap(), then);
    let again = send_all(&offices, "tree", LINKS).await;
    assert_eq!(again.totals.already_there.files, 9, "{again:?}");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_link_whose_name_is_taken_gets_a_number_and_follows_nothing() {
    let offices = offices(with_links());
    fs::create_dir(offices.out("tree")).unwrap();
    fs::create_dir(offices.inside("tree")).unwrap();
    let elsewhere = offices.write("elsewhere/file", "untouched");
    symlink("new", offices.out("tree/a")).unwrap();
    symlink("old", offices.inside("tree/a")).unwrap();
    symlink("new", offices.out("tree/b")).unwrap();
    fs::write(offices.inside("tree/b"), "new").unwrap();
    // A file never goes through a link of its name, nor a link through a folder that is one.
    offices.write("tree/c", "content");
    symlink(&elsewhere, offices.inside("tree/c")).unwrap();
    fs::create_dir(offices.out("tree/d")).unwrap();
    symlink("x", offices.out("tree/d/link")).unwrap();
    symlink(elsewhere.parent().unwrap(), offices.inside("tree/d")).unwrap();
    let outcome = send_all(&offices, "tree", LINKS).await;
    let fates: Vec<_> = outcome.entries.iter().map(|entry| entry.fate).collect();
    let (second, there) = (Fate::Delivered { copy: 2 }, Fate::AlreadyThere { copy: 1 });
    let linked = Fate::Failed(Fault::Receiver(Obstacle::Link));
    assert_eq!(fates, [there, second, second, second, linked, linked]);
    for name in ["a (2)", "b (2)"] {
        assert_eq!(fs::read_link(offices.inside("tree").join(name)).unwrap().as_os_str(), "new");
    }
    assert_eq!(fs::read_link(offices.inside("tree/a")).unwrap().as_os_str(), "old");
    assert_eq!(fs::read_dir(elsewhere.parent().unwrap()).unwrap().count(), 1);
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn links_are_sent_and_taken_only_where_both_ends_say_so() {
    for (sent, taken) in [(false, true), (true, false)] {
        let offices = offices(Keep { links: taken, ..Keep::default() });
        fs::create_dir(offices.out("tree")).unwrap();
        symlink("x", offices.out("tree/link")).unwrap();
        let outcome = send_all(&offices, "tree", Carry { links: sent }).await;
        let expected = if sent { Fate::Refused(Obstacle::LinksRefused) } else { Fate::Skipped(Skip::Link) };
        assert_eq!(outcome.entries[1].fate, expected);
        assert!(offices.inside("tree/link").symlink_metadata().is_err());
    }
}

#[tokio::test]
async fn a_link_has_a_receipt_for_its_text_and_files_of_an_outbox_may_be_links() {
    let offices = offices(with_links());
    symlink("target", offices.out("link")).unwrap();
    offices.write("file", "x");
    let path = |name: &str| RelativePath::parse(name.as_bytes()).unwrap();
    let plan = Plan::of_files(offices.out(""), vec![(path("link"), 6), (path("file"), 1)]).with_carry(LINKS);
    let journal = Arc::new(Journal::in_memory().unwrap());
    let (near, far) = duplex(BUFFER);
    let (sent, _) = tokio::join!(
        send(near, order_into(plan, Arc::clone(&journal)), Arc::new(())),
        receive(far, &offices.inbox, None, Arc::new(()))
    );
    assert!(sent.unwrap().is_complete());
    let delivered = journal.delivered("out", &path("link")).unwrap().unwrap();
    assert_eq!((delivered.size, delivered.hash), (6, *blake3::hash(b"target").as_bytes()));
    assert_eq!(
        delivered.stamp,
        Stamp::of(&statat(CWD, offices.out("link"), AtFlags::SYMLINK_NOFOLLOW).unwrap())
    );
    let groups = journal.kept_groups(0).unwrap();
    assert!(!groups.is_empty());
}
