//! What the sender does about sources that are not plain, not there, not readable, or not still.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::{BUFFER, Offices, noise, order};
use tieline_transfer::{
    EntryReport, Fate, Fault, NameFault, Outcome, Plan, PlanError, Progress, RelativePath, Skip, SourceFault,
    receive, send,
};
use tokio::io::duplex;

#[tokio::test]
async fn what_is_neither_file_nor_folder_is_skipped_by_name_and_the_rest_arrives() {
    let offices = Offices::new();
    let file = offices.write("tree/file", "x");
    symlink(&file, offices.out("tree/link")).unwrap();
    symlink("/nowhere", offices.out("tree/dangling")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        offices.out("tree/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let _listener = UnixListener::bind(offices.out("tree/socket")).unwrap();
    fs::write(offices.out("tree/new\nline"), "x").unwrap();
    fs::create_dir(offices.out("tree/.tieline-partial")).unwrap();
    let (sent, received) = offices.send(&[offices.out("tree"), "/dev/null".into()]).await;
    let outcome = sent.unwrap();
    assert!(!outcome.is_complete());
    assert!(received.unwrap().is_complete(), "the receiver has got all that was offered");
    let skipped = skips(&outcome);
    assert_eq!(
        skipped,
        [
            ("null", Skip::Device),
            ("tree/.tieline-partial", Skip::Name(NameFault::Reserved)),
            ("tree/dangling", Skip::Link),
            ("tree/link", Skip::Link),
            ("tree/new\nline", Skip::Name(NameFault::Control)),
            ("tree/pipe", Skip::Pipe),
            ("tree/socket", Skip::Socket),
        ]
    );
    assert_eq!(outcome.totals.skipped.files, 7);
    assert_eq!(offices.arrived().len(), 2);
}

#[tokio::test]
async fn a_link_named_by_the_user_is_skipped_too_and_says_what_to_do() {
    let offices = Offices::new();
    symlink(offices.write("file", "x"), offices.out("link")).unwrap();
    let outcome = offices.send(&[offices.out("link")]).await.0.unwrap();
    assert_eq!(skips(&outcome), [("link", Skip::Link)]);
    assert!(outcome.entries[0].to_string().contains("name what it points to instead"));
}

#[tokio::test]
async fn a_missing_path_is_reported_and_the_rest_arrives() {
    let offices = Offices::new();
    let paths = [offices.out("missing"), offices.out("no/folder/either"), offices.write("file", "x")];
    let outcome = offices.send(&paths).await.0.unwrap();
    assert!(!outcome.is_complete());
    let rows: Vec<_> = outcome.entries.iter().map(ToString::to_string).collect();
    assert_eq!(rows[0], "file: delivered");
    assert!(rows[1].starts_with("missing: failed: cannot be read: No such file"), "{}", rows[1]);
    assert!(rows[2].starts_with("either: failed: cannot be read: No such file"), "{}", rows[2]);
}

#[test]
fn two_paths_of_one_name_are_refused_before_anything_is_sent() {
    let offices = Offices::new();
    let (a, b) = (offices.write("a/name", "x"), offices.write("b/name", "y"));
    let error = Plan::scan(&[a.clone(), offices.write("other", ""), b.clone()], &()).unwrap_err();
    assert!(matches!(&error, PlanError::SameName { first, second, .. } if *first == a && *second == b));
    assert!(error.to_string().contains("both arrive as `name`"), "{error}");
    let twice = Plan::scan(&[a.clone(), a], &());
    assert!(matches!(twice, Err(PlanError::SameName { .. })));
}

#[test]
fn paths_without_a_name_of_their_own_get_the_one_they_really_have() {
    let offices = Offices::new();
    offices.write("tree/below/file", "x");
    let plan = Plan::scan(&[offices.out("tree/below/..")], &()).unwrap();
    assert_eq!((plan.files(), plan.folders()), (1, 2));
    assert!(matches!(Plan::scan(&["/".into()], &()), Err(PlanError::Name { .. })));
    assert!(matches!(Plan::scan(&[], &()), Err(PlanError::Nothing)));
    let missing = Plan::scan(&[offices.out("missing/..")], &());
    assert!(matches!(missing, Err(PlanError::Unnamed { .. })));
}

#[tokio::test]
async fn case_29_a_tree_deeper_than_the_bound_is_sent_down_to_it_and_the_rest_is_named() {
    let offices = Offices::new();
    let mut path = offices.out("0");
    for depth in 1..300 {
        path.push((depth % 10).to_string());
    }
    fs::create_dir_all(&path).unwrap();
    let outcome = offices.send(&[offices.out("0")]).await.0.unwrap();
    assert_eq!(outcome.totals.delivered.folders, 256);
    assert!(matches!(
        outcome.undelivered().next().unwrap().fate,
        Fate::Skipped(Skip::Name(NameFault::TooDeep))
    ));
    assert_eq!(outcome.undelivered().count(), 1);
}

#[test]
fn the_order_of_a_plan_does_not_depend_on_the_file_system() {
    let names_of = |names: &[&str]| {
        let offices = Offices::new();
        names.iter().for_each(|name| drop(offices.write(&format!("tree/{name}"), "x")));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(offices.deliver(&[offices.out("tree")]));
        outcome
            .entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect::<Vec<_>>()
    };
    let forwards = names_of(&["b/1", "b/2", "a", "c/d/e", "B"]);
    let backwards = names_of(&["B", "c/d/e", "a", "b/2", "b/1"]);
    assert_eq!(forwards, backwards);
    let expected =
        ["tree", "tree/B", "tree/a", "tree/b", "tree/b/1", "tree/b/2", "tree/c", "tree/c/d", "tree/c/d/e"];
    assert_eq!(forwards, expected);
}

#[test]
fn case_12_unreadable_files_and_folders_are_reported_and_the_rest_arrives() {
    without_root_rights();
    let offices = Offices::new();
    for name in ["tree/a", "tree/locked", "tree/shut/inside", "tree/z"] {
        offices.write(name, "x");
    }
    let close =
        |name, mode| fs::set_permissions(offices.out(name), fs::Permissions::from_mode(mode)).unwrap();
    close("tree/locked", 0);
    close("tree/shut", 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(offices.send(&[offices.out("tree")])).0.unwrap();
    close("tree/shut", 0o755);
    let denied = Fate::Failed(Fault::Source(SourceFault::Unreadable { errno: 13 }));
    let failed: Vec<_> = outcome.undelivered().map(|entry| (&*entry.name, entry.fate)).collect();
    assert_eq!(failed, [(&b"tree/locked"[..], denied), (b"tree/shut", denied)]);
    assert!(outcome.undelivered().next().unwrap().to_string().ends_with("Permission denied (os error 13)"));
    assert_eq!(outcome.totals.delivered.files, 2);
}

#[tokio::test]
async fn files_whose_size_does_not_tell_their_length_are_never_published() {
    let offices = Offices::new();
    let outcome = offices.send(&["/proc/self/status".into(), "/proc/self/mem".into()]).await.0.unwrap();
    assert_eq!(outcome.entries[0].fate, CHANGED);
    assert!(matches!(outcome.entries[1].fate, Fate::Failed(Fault::Source(_))), "{:?}", outcome.entries[1]);
    assert_eq!(offices.arrived().len(), 0);
    offices.assert_nothing_unfinished();
}

const CHANGED: Fate = Fate::Failed(Fault::Source(SourceFault::Changed));

/// Sends `victim` between two still files, does `change` to it when its first data has left, and demands that it is reported.
async fn assert_noticed(what: &str, change: impl Fn(&Path) + Send + Sync + 'static) {
    struct Meddler<F> {
        victim: PathBuf,
        change: F,
        done: AtomicBool,
    }
    impl<F: Fn(&Path) + Send + Sync> Progress for Meddler<F> {
        fn file(&self, name: &RelativePath, _size: u64) {
            if name.as_bytes() == b"tree/m" && !self.done.swap(true, Ordering::Relaxed) {
                (self.change)(&self.victim);
            }
        }
    }
    let offices = Offices::new();
    let victim = offices.write("tree/m", noise(1, 200_000));
    offices.write("tree/a", noise(2, 1000));
    offices.write("tree/z", noise(3, 1000));
    let meddler = Arc::new(Meddler { victim, change, done: AtomicBool::new(false) });
    let plan = Plan::scan(&[offices.out("tree")], &()).unwrap();
    let (near, far) = duplex(BUFFER);
    let (sent, received) = tokio::join!(
        send(near, order(plan), meddler.clone()),
        receive(far, &offices.inbox, None, Arc::new(()))
    );
    let outcome = sent.unwrap();
    assert!(meddler.done.load(Ordering::Relaxed));
    let undelivered: Vec<&EntryReport> = outcome.undelivered().collect();
    assert_eq!(undelivered.len(), 1, "{what}");
    assert_eq!((&*undelivered[0].name, undelivered[0].fate), (&b"tree/m"[..], CHANGED), "{what}");
    assert_eq!(received.unwrap().totals.failed.files, 1, "{what}");
    let arrived: Vec<_> = offices.arrived().into_keys().collect();
    assert_eq!(arrived, [&b"tree"[..], b"tree/a", b"tree/z"], "{what}");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn case_17_a_source_that_changes_while_it_is_read_is_reported_and_never_published() {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
    assert_noticed("grows", move |path| {
        let mut file = open(path);
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"more").unwrap();
    })
    .await;
    assert_noticed("shrinks", move |path| open(path).set_len(150_000).unwrap()).await;
    assert_noticed("is emptied", move |path| open(path).set_len(0).unwrap()).await;
    assert_noticed("is rewritten in place", move |path| open(path).write_all(b"other").unwrap()).await;
    assert_noticed("is rewritten and its time set back", move |path| {
        let mut file = open(path);
        let modified = file.metadata().unwrap().modified().unwrap();
        let mut first = [0];
        file.read_exact(&mut first).unwrap();
        file.rewind().unwrap();
        file.write_all(&[first[0] ^ 1]).unwrap();
        file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    })
    .await;
    assert_noticed("is touched", |path| {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
    })
    .await;
    assert_noticed("is replaced by rename", |path| {
        let other = path.with_extension("new");
        fs::write(&other, noise(9, 200_000)).unwrap();
        fs::rename(other, path).unwrap();
    })
    .await;
    assert_noticed("is elsewhere, with the folder that it was in", |path| {
        let tree = path.parent().unwrap();
        let old = tree.with_extension("old");
        fs::rename(tree, &old).unwrap();
        fs::create_dir(tree).unwrap();
        fs::rename(old.join("z"), tree.join("z")).unwrap();
    })
    .await;
    assert_noticed("is deleted", |path| fs::remove_file(path).unwrap()).await;
    assert_noticed("becomes a folder", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    })
    .await;
    assert_noticed("becomes a link", |path| {
        let other = path.parent().unwrap().parent().unwrap().join("moved");
        fs::rename(path, &other).unwrap();
        symlink(other, path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn case_17_what_became_something_else_between_the_passes_is_not_followed_and_not_waited_for() {
    let offices = Offices::new();
    let secret = offices.write("secret/file", "secret");
    for name in ["tree/deleted", "tree/folder/file", "tree/link", "tree/pipe"] {
        offices.write(name, "x");
    }
    let plan = Plan::scan(&[offices.out("tree")], &()).unwrap();
    for name in ["tree/deleted", "tree/link", "tree/pipe"] {
        fs::remove_file(offices.out(name)).unwrap();
    }
    symlink(&secret, offices.out("tree/link")).unwrap();
    let (pipe, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, offices.out("tree/pipe"), pipe, mode, 0).unwrap();
    // The folder on the way is swapped for a link to one that has a file of the same name.
    fs::rename(offices.out("tree/folder"), offices.out("tree/old")).unwrap();
    symlink(secret.parent().unwrap(), offices.out("tree/folder")).unwrap();

    let (near, far) = duplex(BUFFER);
    let (sent, _) =
        tokio::join!(send(near, order(plan), Arc::new(())), receive(far, &offices.inbox, None, Arc::new(())));
    let outcome = sent.unwrap();
    let undelivered: Vec<_> =
        outcome.undelivered().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
    assert_eq!(undelivered, ["tree/deleted", "tree/folder/file", "tree/link", "tree/pipe"]);
    assert_eq!(offices.arrived().into_keys().collect::<Vec<_>>(), [&b"tree"[..], b"tree/folder"]);
}

fn skips(outcome: &Outcome) -> Vec<(&str, Skip)> {
    let mut skips: Vec<_> = outcome
        .entries
        .iter()
        .filter_map(|entry| match entry.fate {
            Fate::Skipped(skip) => Some((std::str::from_utf8(&entry.name).unwrap(), skip)),
            _ => None,
        })
        .collect();
    skips.sort_by_key(|(name, _)| *name);
    skips
}

/// Makes file permissions count for this test's thread and those it starts, also if root runs it.
fn without_root_rights() {
    let mut sets = capabilities(None).unwrap();
    let overriding = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    sets.effective.remove(overriding);
    set_capabilities(None, sets).unwrap();
}
