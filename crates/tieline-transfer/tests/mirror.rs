//! A folder that is kept as another one is: what is sent of it, what is replaced and removed, and what never is.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod sim;
mod support;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use sim::{Careless, Random, SimDisk, Trouble, is_power_cut};
use support::{BUFFER, Offices, Tree, answer, by_hand, frames, hello, noise, order, receiver_keys, tree};
use tieline_transfer::audit::{Entry, Event};
use tieline_transfer::compress::Compressor;
use tieline_transfer::content::PIECE_LEN;
use tieline_transfer::mirror::{FingerprintKey, MirrorRules, Record, RecordWriter};
use tieline_transfer::protocol::{ReceiverMessage, Removed, SenderMessage};
use tieline_transfer::{
    Fate, Inbox, Journal, Obstacle, Outcome, Plan, ReceiveError, SendError, StopReason, receive, send,
};
use tokio::io::{AsyncWriteExt, duplex};

/// As large as files are that are asked about before they are sent.
const LARGE: usize = PIECE_LEN as usize + 5;

/// An office with a folder that is mirrored, and one that has the mirror.
struct Mirrored {
    offices: Offices,
    journal: Arc<Journal>,
    rules: MirrorRules,
}

impl Mirrored {
    fn new() -> Self {
        let mut offices = Offices::new();
        let journal = Arc::new(Journal::in_memory().unwrap());
        let inbox = Inbox::open(&offices.dir.path().join("in2"), "inbox", Arc::clone(&journal)).unwrap();
        offices.inbox = Arc::new(inbox.with_keys(receiver_keys()));
        fs::create_dir(offices.out("dir")).unwrap();
        Self { offices, journal, rules: MirrorRules::default() }
    }

    /// A path of the folder that is mirrored.
    fn here(&self, name: &str) -> PathBuf {
        self.offices.out("dir").join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.offices.dir.path().join("in2/mirror").join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.offices.write(&format!("dir/{name}"), content);
    }

    async fn sync_into(
        &self,
        folder: Option<&[u8]>,
        removes: bool,
    ) -> (Result<Outcome, SendError>, Result<tieline_transfer::Received, ReceiveError>) {
        let plan =
            Plan::mirror(&self.offices.out("dir"), MirrorRules { removes, ..self.rules }, &()).unwrap();
        let (near, far) = duplex(BUFFER);
        tokio::join!(
            send(near, order(plan), Arc::new(())),
            receive(far, &self.offices.inbox, folder, Arc::new(())),
        )
    }

    /// Syncs, and demands that all of it works.
    async fn sync(&self, removes: bool) -> Outcome {
        let (sent, received) = self.sync_into(Some(b"mirror"), removes).await;
        let (sent, received) = (sent.unwrap(), received.unwrap());
        assert!(sent.is_complete(), "{sent:#?}");
        assert!(received.is_complete(), "{received:#?}");
        self.offices.assert_nothing_unfinished();
        sent
    }

    /// Syncs, and counts the octets there and back.
    async fn sync_counted(&self) -> (Outcome, u64, u64) {
        let plan =
            Plan::mirror(&self.offices.out("dir"), MirrorRules { removes: true, by_content: false }, &())
                .unwrap();
        let ((near, mut between), (mut other, far)) = (duplex(BUFFER), duplex(BUFFER));
        let carried =
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut between, &mut other).await });
        let (sent, received) = tokio::join!(
            send(near, order(plan), Arc::new(())),
            receive(far, &self.offices.inbox, Some(b"mirror"), Arc::new(())),
        );
        assert!(received.unwrap().is_complete());
        let (there, back) = carried.await.unwrap().unwrap();
        (sent.unwrap(), there, back)
    }

    fn assert_same(&self) {
        assert_eq!(tree(&self.there("")), tree(&self.here("")));
    }

    /// The names in the log that are said to be removed, in its order.
    fn removed(&self) -> Vec<String> {
        let links = self.journal.kept_links(0).unwrap();
        let entries = links.iter().map(|link| Entry::parse(&link.entry).unwrap());
        let removed = entries.filter(|entry| entry.event == Event::Removed);
        removed.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    }
}

#[tokio::test]
async fn a_fiftieth_of_many_short_files_that_changed_costs_little_besides_what_changed() {
    const FILES: u64 = 1000;
    let mirrored = Mirrored::new();
    let content = |file: u64| noise(file, 12_500);
    for file in 0..FILES {
        mirrored.write(&format!("{}/{file}", file / 100), content(file));
    }
    mirrored.sync_counted().await;
    for file in (0..FILES).step_by(50) {
        let mut content = content(file);
        content[6000..6100].copy_from_slice(&noise(file + FILES, 100));
        mirrored.write(&format!("{}/{file}", file / 100), content);
    }
    let (sent, there, back) = mirrored.sync_counted().await;
    assert_eq!(counts(&sent), (20, 0, 980));
    mirrored.assert_same();
    // Five for each fingerprint, two for what its name adds; of each change two blocks at most, sums, hash and stamp.
    assert!(there < 7 * FILES + 20 * 620, "{there} octets there");
    assert!(back < 20 * 400, "{back} octets back");
}

/// How many files and folders were sent, and how many files were not.
fn counts(outcome: &Outcome) -> (u64, u64, u64) {
    let totals = &outcome.totals;
    (totals.delivered.files, totals.delivered.folders, totals.unchanged.files)
}

#[tokio::test]
async fn what_differs_is_sent_and_replaces_what_is_there_and_nothing_else_is() {
    let mirrored = Mirrored::new();
    for (name, len) in [("a", 10), ("below/deep/b", 5000), ("below/large", LARGE), ("zero", 0)] {
        mirrored.write(name, noise(len as u64, len));
    }
    fs::create_dir(mirrored.here("empty")).unwrap();
    assert_eq!(counts(&mirrored.sync(false).await), (4, 3, 0));
    mirrored.assert_same();
    assert_eq!(counts(&mirrored.sync(false).await), (0, 0, 4));
    mirrored.write("a", "changed");
    mirrored.write("below/large", noise(77, LARGE));
    mirrored.write("below/new", "new");
    assert_eq!(counts(&mirrored.sync(false).await), (3, 0, 2));
    mirrored.assert_same();
    assert_eq!(mirrored.sync(true).await.removed, Some(Removed::default()));
    // What somebody does to the mirror is undone.
    fs::write(mirrored.there("a"), "edited").unwrap();
    fs::remove_file(mirrored.there("below/deep/b")).unwrap();
    assert_eq!(counts(&mirrored.sync(false).await), (2, 0, 3));
    mirrored.assert_same();
}

#[tokio::test]
async fn a_file_is_told_by_its_size_and_time_and_by_having_arrived() {
    let mirrored = Mirrored::new();
    mirrored.write("file", "one");
    mirrored.sync(false).await;
    let set = |path: PathBuf, seconds: u64| {
        let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(seconds));
        File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    };
    set(mirrored.here("file"), 1000);
    let outcome = mirrored.sync(false).await;
    assert_eq!((outcome.totals.already_there.files, outcome.totals.unchanged.files), (1, 0), "another time");
    // The same size and time, but it did not come from here.
    mirrored.write("own", "mine");
    set(mirrored.here("own"), 2000);
    fs::write(mirrored.there("own"), "then").unwrap();
    set(mirrored.there("own"), 2000);
    assert_eq!(counts(&mirrored.sync(false).await).0, 1);
    mirrored.assert_same();
}

#[tokio::test]
async fn case_19_a_change_that_size_and_time_do_not_show_is_noticed_where_content_is_compared() {
    let set = |path: PathBuf| {
        let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1000));
        File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    };
    let mut mirrored = Mirrored::new();
    for name in ["a", "b", "c"] {
        mirrored.write(name, format!("{name} as it was"));
        set(mirrored.here(name));
    }
    mirrored.sync(false).await;
    mirrored.write("a", "a as it is.");
    fs::write(mirrored.there("b"), "b spoiled..").unwrap();
    set(mirrored.here("a"));
    set(mirrored.there("b"));
    assert_eq!(counts(&mirrored.sync(false).await), (0, 0, 3), "size and time are the same");
    mirrored.rules.by_content = true;
    assert_eq!(counts(&mirrored.sync(false).await), (2, 0, 1));
    mirrored.assert_same();
    assert_eq!(counts(&mirrored.sync(false).await), (0, 0, 3));
}

#[tokio::test]
async fn case_4_a_second_sync_into_a_mirror_is_refused_while_one_goes_on() {
    let mirrored = Mirrored::new();
    mirrored.write("file", "x");
    mirrored.sync(false).await;
    // One that has looked at the mirror, and sends nothing.
    let (far, mut near) = by_hand(BUFFER);
    let inbox = Arc::clone(&mirrored.offices.inbox);
    let first = tokio::spawn(async move { receive(far, &inbox, Some(b"mirror"), Arc::new(())).await });
    let (mut records, mut octets, mut packed) = (RecordWriter::default(), Vec::new(), Vec::new());
    records.add(Record::Folder { path: b"" });
    records.emit(&mut octets);
    Compressor::new().unwrap().compress(&octets, &mut packed).unwrap();
    let (rules, key) = (MirrorRules::default(), FingerprintKey([7; FingerprintKey::LEN]));
    let listing = SenderMessage::Listing { len: u32::try_from(octets.len()).unwrap(), packed: &packed };
    let begun = [hello(1, 0), SenderMessage::Mirror { rules, key }, listing, SenderMessage::Listed];
    near.write_all(&frames(begun)).await.unwrap();
    while answer(&mut near).await.unwrap() != ReceiverMessage::Checked {}
    let refused = match mirrored.sync_into(Some(b"mirror"), true).await.0 {
        Ok(outcome) => outcome.interruption.unwrap(),
        Err(error) => error,
    };
    assert!(matches!(refused, SendError::Refused(StopReason::MirrorBusy)), "{refused}");
    assert!(
        mirrored.sync_into(Some(b"other"), true).await.0.unwrap().is_complete(),
        "another mirror is free"
    );
    drop(near);
    assert!(first.await.unwrap().unwrap().interruption.is_some());
    mirrored.sync(true).await;
}

#[tokio::test]
async fn what_is_not_here_any_more_is_removed_only_if_wanted_and_is_logged() {
    let mirrored = Mirrored::new();
    for name in ["a", "b", "old/one", "old/deep/two", "stays/three"] {
        mirrored.write(name, name);
    }
    mirrored.sync(false).await;
    fs::remove_file(mirrored.here("b")).unwrap();
    fs::remove_dir_all(mirrored.here("old")).unwrap();
    fs::write(mirrored.there("stays/\u{7}own"), "made there").unwrap();
    assert_eq!(mirrored.sync(false).await.removed, None);
    assert!(mirrored.there("old/deep/two").exists() && mirrored.removed().is_empty());
    let removed = mirrored.sync(true).await.removed;
    assert_eq!(removed, Some(Removed { files: 4, folders: 2, left: 0 }));
    mirrored.assert_same();
    let mut logged = mirrored.removed();
    logged.sort();
    assert_eq!(logged, ["b", "old/deep/two", "old/one", "stays/\u{7}own"]);
}

#[tokio::test]
async fn a_file_and_a_folder_change_places() {
    let mirrored = Mirrored::new();
    mirrored.write("one/inside", "x");
    mirrored.write("two", "x");
    mirrored.sync(false).await;
    fs::remove_dir_all(mirrored.here("one")).unwrap();
    mirrored.write("one", "a file now");
    fs::remove_file(mirrored.here("two")).unwrap();
    mirrored.write("two/inside", "a folder now");
    // What is in the way is removed only if that is wanted.
    let sent = mirrored.sync_into(Some(b"mirror"), false).await.0.unwrap();
    let fates: Vec<Fate> = sent.undelivered().map(|entry| entry.fate).collect();
    assert_eq!(fates.len(), 3, "{sent:#?}");
    assert_eq!(fates[0], Fate::Refused(Obstacle::NotAFile));
    assert!(mirrored.there("one/inside").exists());
    mirrored.sync(true).await;
    mirrored.assert_same();
}

#[tokio::test]
async fn only_a_folder_that_a_sync_made_or_found_empty_is_a_mirror() {
    let mirrored = Mirrored::new();
    mirrored.write("file", "x");
    for (folder, reason) in [
        (None, StopReason::NoMirrorFolder),
        (Some(&b"theirs"[..]), StopReason::NotAMirror),
        (Some(b"mirror/inside"), StopReason::InsideMirror),
    ] {
        fs::create_dir_all(mirrored.there("../theirs")).unwrap();
        fs::write(mirrored.there("../theirs/precious"), "theirs").unwrap();
        mirrored.sync(true).await;
        for removes in [false, true] {
            let (sent, received) = mirrored.sync_into(folder, removes).await;
            let told = match &sent {
                Ok(outcome) => match &outcome.interruption {
                    Some(SendError::Refused(told)) => *told,
                    other => panic!("{other:?}"),
                },
                Err(SendError::Refused(told)) => *told,
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(told, reason);
            assert!(!received.is_ok_and(|received| received.is_complete()));
            assert_eq!(fs::read(mirrored.there("../theirs/precious")).unwrap(), b"theirs");
        }
        // What a refused sync made of its folder goes with the mirror's next one.
        mirrored.sync(true).await;
    }
    fs::create_dir(mirrored.there("../empty")).unwrap();
    assert!(mirrored.sync_into(Some(b"empty"), true).await.0.unwrap().is_complete());
}

#[tokio::test]
async fn case_24_nothing_outside_is_removed_by_way_of_a_link() {
    let mirrored = Mirrored::new();
    let outside = mirrored.offices.dir.path().join("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("below/precious"), "x").unwrap();
    mirrored.write("folder/inside", "x");
    mirrored.sync(true).await;
    symlink(&outside, mirrored.there("link")).unwrap();
    fs::create_dir(mirrored.there("old")).unwrap();
    symlink(&outside, mirrored.there("old/link")).unwrap();
    // A folder of the mirror is swapped for a link to somewhere else.
    fs::remove_dir_all(mirrored.there("folder")).unwrap();
    symlink(outside.join("below"), mirrored.there("folder")).unwrap();
    mirrored.sync(true).await;
    mirrored.assert_same();
    assert!(fs::symlink_metadata(mirrored.there("folder")).unwrap().is_dir());
    assert_eq!(fs::read(outside.join("below/precious")).unwrap(), b"x");
    // The mirror itself is.
    fs::remove_dir_all(mirrored.there("")).unwrap();
    symlink(&outside, mirrored.there(""))
        .unwrap_or_else(|_| symlink(&outside, mirrored.there("").parent().unwrap().join("mirror")).unwrap());
    let (sent, _) = mirrored.sync_into(Some(b"mirror"), true).await;
    assert!(sent.is_err(), "{sent:?}");
    assert_eq!(fs::read(outside.join("below/precious")).unwrap(), b"x");
}

#[tokio::test]
async fn what_is_not_sent_is_left_alone_there() {
    let mirrored = Mirrored::new();
    mirrored.write("name", "x");
    mirrored.sync(true).await;
    fs::remove_file(mirrored.here("name")).unwrap();
    symlink("elsewhere", mirrored.here("name")).unwrap();
    let (sent, _) = mirrored.sync_into(Some(b"mirror"), true).await;
    let sent = sent.unwrap();
    assert_eq!((sent.totals.skipped.files, sent.removed), (1, Some(Removed::default())));
    assert_eq!(fs::read(mirrored.there("name")).unwrap(), b"x");
}

#[tokio::test]
async fn thousands_of_files_that_did_not_change_cost_some_octets_each() {
    let mirrored = Mirrored::new();
    for number in 0..3000 {
        mirrored.write(&format!("{}/file {number}", number % 70), noise(number, 20));
    }
    assert_eq!(counts(&mirrored.sync(true).await), (3000, 70, 0));
    mirrored.assert_same();
    let (sent, there, back) = mirrored.sync_counted().await;
    assert_eq!(counts(&sent), (0, 0, 3000));
    assert!(there < 3000 * 16, "{there} octets");
    assert!(back < 200, "{back} octets");
}

#[tokio::test]
async fn a_small_file_that_changed_costs_what_changed_though_this_process_never_sent_it() {
    let mirrored = Mirrored::new();
    let mut content = noise(1, 200_000);
    mirrored.write("file", &content);
    mirrored.sync(false).await;
    content[100_000] ^= 1;
    mirrored.write("file", &content);
    let (sent, there, _) = mirrored.sync_counted().await;
    assert_eq!(counts(&sent), (1, 0, 0));
    mirrored.assert_same();
    assert!(there < 20_000, "{there} octets");
}

#[test]
fn case_5_power_cuts_while_a_mirror_is_filled_and_cleared_leave_each_file_whole_and_no_removal_unlogged() {
    let (before, after) = (version(1), version(2));
    let mut cuts = 0;
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut life = Life::new(seed);
        life.become_(&before);
        assert!(life.sync());
        life.become_(&after);
        let from = life.disk.calls();
        life.disk.plan(1 + random.below(120), Trouble::PowerCut);
        let said = life.sync();
        if life.disk.is_waiting() {
            assert!(life.disk.calls() - from < 120);
            life.disk.restart();
            continue;
        }
        cuts += 1;
        life.disk.power_cycle();
        life.check(&before, &after, said).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!((0..4).any(|_| life.sync()), "seed {seed}: never the same");
        life.disk.power_cycle();
        assert_eq!(life.mirror(), after, "seed {seed}");
    }
    assert!(cuts > 75, "{cuts}");
}

/// A folder's content: some files are in both versions, some change, some go and some come.
fn version(number: u64) -> Tree {
    let mut tree = Tree::new();
    let mut add = |name: &str, content: Vec<u8>| {
        let mut path = name.as_bytes();
        tree.insert(path.into(), Some(content));
        while let Some(slash) = path.iter().rposition(|&octet| octet == b'/') {
            path = &path[..slash];
            tree.insert(path.into(), None);
        }
    };
    for name in ["same", "folder/same"] {
        add(name, noise(9, 3000));
    }
    for (name, len) in [("changes", 5000), ("folder/changes", 4096), ("large", LARGE)] {
        add(name, noise(number, len));
    }
    for file in 0..4 {
        add(&format!("only {number}/{file}"), noise(file, 100));
    }
    if number == 1 {
        add("swaps/inside", noise(1, 10));
    } else {
        add("swaps", noise(2, 10));
    }
    tree
}

/// A receiving end with a mirror, on a disk that is simulated.
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

    fn become_(&self, version: &Tree) {
        let _ = fs::remove_dir_all(self.offices.out("dir"));
        fs::create_dir(self.offices.out("dir")).unwrap();
        for (name, content) in version {
            if let Some(content) = content {
                let path = format!("dir/{}", std::str::from_utf8(name).unwrap());
                let path = self.offices.write(&path, content);
                // The same content is the same file.
                let seconds = u64::from(content.iter().map(|octet| u32::from(*octet)).sum::<u32>());
                let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(seconds));
                File::options().write(true).open(path).unwrap().set_times(times).unwrap();
            }
        }
    }

    fn mirror(&self) -> Tree {
        let below = |(name, content): (Vec<u8>, _)| Some((name.strip_prefix(b"mirror/")?.to_vec(), content));
        self.disk.tree().into_iter().filter_map(below).collect()
    }

    /// Whether everything there is of one of the versions, and what has gone is in the log.
    fn check(&self, before: &Tree, after: &Tree, said: bool) -> Result<(), String> {
        let there = self.mirror();
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        for (name, content) in &there {
            if ![before, after].iter().any(|version| version.get(name) == Some(content)) {
                return Err(format!("`{}` is damaged, or was never sent", shown(name)));
            }
        }
        if said && there != *after {
            return Err("it was called complete".into());
        }
        let links = self.journal.kept_links(0).unwrap();
        let entries: Vec<Entry> = links.iter().map(|link| Entry::parse(&link.entry).unwrap()).collect();
        for (name, content) in before {
            let is_logged =
                || entries.iter().any(|entry| entry.event == Event::Removed && *entry.path == **name);
            if content.is_some() && !there.contains_key(name) && !is_logged() {
                return Err(format!("`{}` has gone without a trace", shown(name)));
            }
        }
        Ok(())
    }

    /// Starts the receiver and syncs; whether that is said to be complete.
    fn sync(&mut self) -> bool {
        let disk = Box::new(self.disk.clone());
        let open = || Inbox::on(disk, Path::new("simulated"), "in", Arc::clone(&self.journal));
        let inbox = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => Arc::new(opened.unwrap().with_keys(receiver_keys())),
            Err(panic) if is_power_cut(&*panic) => return false,
            Err(panic) => resume_unwind(panic),
        };
        let order = order(
            Plan::mirror(&self.offices.out("dir"), MirrorRules { removes: true, by_content: false }, &())
                .unwrap(),
        );
        let (near, far) = duplex(BUFFER);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sent, received) = runtime.block_on(async {
            let receiving =
                tokio::spawn(async move { receive(far, &inbox, Some(b"mirror"), Arc::new(())).await });
            tokio::join!(send(near, order, Arc::new(())), receiving)
        });
        if let Err(error) = received
            && let Ok(panic) = error.try_into_panic()
            && !is_power_cut(&*panic)
        {
            resume_unwind(panic);
        }
        sent.is_ok_and(|sent| sent.is_complete())
    }
}
