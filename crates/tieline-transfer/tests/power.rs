//! The power of the receiving end goes, its disk fails or is full, at any call of the disk: what was called delivered is there, nothing
//! damaged or double has a final name, and in the end everything arrives.
//!
//! The threads of a receiver are as free here as ever, so the calls before a cut are not the same for the same seed each time; what they
//! leave is.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod sim;
mod support;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sim::{Careless, Random, SimDisk, Trouble, is_power_cut};
use support::{BUFFER, Tree, Watcher, noise, order_into, receiver_keys};
use tempfile::TempDir;
use tieline_transfer::content::PIECE_LEN;
use tieline_transfer::metadata::{Carry, Keep, Owner};
use tieline_transfer::path::DEPTH_MAX;
use tieline_transfer::{EntryKind, EntryReport, Inbox, Journal, Plan, RelativePath, receive, send};
use tokio::io::duplex;
use tokio::runtime::Runtime;

const PIECE: usize = PIECE_LEN as usize;
const WITH_LINKS: Keep = Keep { times: true, modes: true, links: true, owner: Owner::None, xattrs: false };
const CUTS: u64 = 1000;
/// Cuts of one life, at most.
const CUTS_IN_A_LIFE: u64 = 3;
/// Attempts without a cut after which everything has arrived: one finds out what was lost, the next brings it.
const ATTEMPTS_MAX: u64 = 4;
/// A transfer takes much less.
const HANGS_AFTER: Duration = Duration::from_secs(30);

#[test]
fn case_5_a_thousand_power_cuts_leave_what_was_called_delivered_and_nothing_damaged() {
    let sources = Source::all();
    let (seeds, cuts) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |threads| threads.get().min(4)) {
            scope.spawn(|| {
                while cuts.load(Ordering::Relaxed) < CUTS {
                    let seed = seeds.fetch_add(1, Ordering::Relaxed);
                    match live(&sources, seed, Careless::Nothing) {
                        Ok(more) => cuts.fetch_add(more, Ordering::Relaxed),
                        Err(broken) => panic!("seed {seed}: {broken}"),
                    };
                }
            });
        }
    });
}

#[test]
fn case_6_a_disk_that_does_not_sync_folders_is_found_out() {
    assert!(is_found_out(Careless::FolderSyncs));
}

#[test]
fn case_7_an_error_at_any_call_is_never_called_delivered_and_what_it_lost_is_not_believed() {
    for source in &Source::all() {
        trouble_at_every_call(source, Trouble::Io);
    }
}

#[test]
fn case_7_what_an_error_lost_before_a_kill_is_not_believed_after_a_power_cut() {
    let source = Source::held();
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut life = Life::new(&source, seed, Careless::Nothing);
        let lost_at = 1 + random.below(source.calls);
        life.disk.plan(lost_at, Trouble::Loss);
        life.disk.plan(lost_at + random.below(source.calls), Trouble::PowerCut);
        life.attempt();
        life.disk.restart();
        life.disk.plan(1 + random.below(source.calls), Trouble::PowerCut);
        life.attempt();
        let lived = life.cut().and_then(|()| life.come_to_an_end());
        lived.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

#[test]
fn case_8_a_disk_that_has_names_before_data_is_found_out() {
    assert!(is_found_out(Careless::FileSyncs));
}

#[test]
fn case_8_no_file_without_its_data_has_a_name_even_if_names_are_durable_at_once() {
    assert!(!is_found_out(Careless::NamesFirst));
}

#[test]
fn case_11_a_disk_that_is_full_at_any_call_takes_everything_when_it_has_room() {
    for source in &Source::all() {
        trouble_at_every_call(source, Trouble::Full);
    }
}

#[test]
fn case_1_a_receiver_that_ends_at_any_call_leaves_no_sender_waiting() {
    let dir = tempfile::tempdir().unwrap();
    // Below the folder of the receiver too deep: it answers the question about it with a verdict.
    let too_deep = vec!["x"; DEPTH_MAX].join("/");
    for (name, len) in [("a", 5), (&*too_deep, PIECE + 1)] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(1, len)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for at in 1.. {
        let disk = SimDisk::new(at, Careless::Nothing);
        let inbox = Inbox::on(Box::new(disk.clone()), Path::new("simulated"), "in", journal()).unwrap();
        let inbox = Arc::new(inbox.with_keys(receiver_keys()));
        disk.plan(at, Trouble::PowerCut);
        let files = ["a", &too_deep].map(|name| (RelativePath::parse(name.as_bytes()).unwrap(), 1)).to_vec();
        let order = order_into(Plan::of_files(dir.path().into(), files), journal());
        let (near, far) = duplex(BUFFER);
        runtime.block_on(async {
            let receiving =
                tokio::spawn(async move { receive(far, &inbox, Some(b"pair"), Arc::new(())).await });
            let both = async { tokio::join!(send(near, order, Arc::new(())), receiving) };
            let (_sent, received) = tokio::time::timeout(HANGS_AFTER, both).await.expect("nobody hangs");
            if let Err(error) = received {
                expect_power_cut(error.into_panic());
            }
        });
        if disk.is_waiting() {
            assert!(at > 8, "there were calls before");
            return;
        }
    }
}

/// One call after the other goes wrong, and then the power goes as well.
fn trouble_at_every_call(source: &Source, trouble: Trouble) {
    for at in 1.. {
        let mut life = Life::new(source, at, Careless::Nothing);
        life.disk.plan(at, trouble);
        life.attempt();
        if life.disk.is_waiting() {
            assert!(at > 20, "there were calls before");
            return;
        }
        let lived = life.cut().and_then(|()| life.come_to_an_end());
        lived.unwrap_or_else(|broken| panic!("{trouble:?} at call {at} of {}: {broken}", source.calls));
    }
}

/// Whether a hundred lives show that the disk does not do what it says.
fn is_found_out(careless: Careless) -> bool {
    let sources = Source::all();
    (0..100).any(|seed| live(&sources, seed, careless).is_err())
}

/// Sends until everything is there, with cuts in between; how many.
fn live(sources: &[Source], seed: u64, careless: Careless) -> Result<u64, String> {
    let mut random = Random::new(!seed);
    let source = &sources[usize::try_from(seed).unwrap() % sources.len()];
    let mut life = Life::new(source, seed, careless);
    let mut cuts = 0;
    for _ in 0..=random.below(CUTS_IN_A_LIFE) {
        life.disk.plan(1 + random.below(source.calls), Trouble::PowerCut);
        life.attempt();
        if life.disk.is_off() && random.below(4) == 0 {
            life.disk.restart();
        } else if life.disk.is_off() {
            cuts += 1;
            life.cut()?;
        }
        if random.coin() {
            life.sent = journal();
        }
    }
    life.come_to_an_end()?;
    Ok(cuts)
}

/// Files to be sent.
struct Source {
    dir: TempDir,
    files: Tree,
    /// Calls of the disk of an attempt that is not disturbed.
    calls: u64,
}

impl Source {
    /// Groups of small files; large ones that go on where they were, more of the former as they take less time.
    fn all() -> Vec<Self> {
        let small = || {
            let mut files: Vec<(String, Vec<u8>)> = [0, 1, 4095, 4096, 4097, 20_000, 20_000, 300_000]
                .into_iter()
                .enumerate()
                .map(|(number, len)| (format!("tree/{}/{number}", number % 3), noise(len as u64, len)))
                .collect();
            files.extend((0..9).map(|number| (format!("tree/deep/er/{number}"), noise(number, 5000))));
            files
        };
        let large = vec![
            ("tree/a".into(), noise(1, 10)),
            ("tree/large".into(), noise(2, 2 * PIECE + 5)),
            ("tree/z".into(), noise(3, PIECE + 4097)),
        ];
        let mut sources: Vec<Self> =
            [small(), large, small(), small(), small()].into_iter().map(Self::new).collect();
        sources.push(Self::held());
        sources.push(Self::holes_and_links());
        sources
    }

    /// One file that is held in three parts, and more.
    fn held() -> Self {
        Self::new(vec![("tree/held".into(), noise(4, 13 * PIECE + 1))])
    }

    /// A file with holes that is held in parts, and links.
    fn holes_and_links() -> Self {
        let (start, middle) = (noise(5, 100_000), noise(6, 5000));
        let gaps = [vec![0; 6 * PIECE], vec![0; 4 * PIECE + 7]];
        let holes = [start, gaps[0].clone(), middle, gaps[1].clone()].concat();
        let links = [("tree/dangling", "nowhere"), ("tree/up", "../../x")];
        Self::with_links(vec![("tree/holes".into(), holes)], &links)
    }

    fn new(contents: Vec<(String, Vec<u8>)>) -> Self {
        Self::with_links(contents, &[])
    }

    /// Pieces of zeros are holes.
    fn with_links(contents: Vec<(String, Vec<u8>)>, links: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in contents {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            for (number, piece) in content.chunks(PIECE).enumerate() {
                if piece.iter().any(|octet| *octet != 0) {
                    file.write_all_at(piece, (number * PIECE) as u64).unwrap();
                }
            }
            file.set_len(content.len() as u64).unwrap();
        }
        let mut files = support::tree(dir.path());
        for (name, target) in links {
            symlink(target, dir.path().join(name)).unwrap();
            files.insert(name.as_bytes().into(), Some(target.as_bytes().into()));
        }
        let mut source = Self { dir, files, calls: 0 };
        let mut life = Life::new(&source, 0, Careless::Nothing);
        assert!(life.attempt());
        source.calls = life.disk.calls();
        source
    }
}

/// A receiving end with its disk and its journal, and what it said.
struct Life<'s> {
    source: &'s Source,
    runtime: Runtime,
    disk: SimDisk,
    /// The journals keep what was committed, over every cut.
    received: Arc<Journal>,
    sent: Arc<Journal>,
    /// Everything that was called delivered, by its final name.
    delivered: BTreeMap<Vec<u8>, EntryKind>,
    /// What the sender made of the last attempt, for whoever reads why a test failed.
    last: String,
}

fn journal() -> Arc<Journal> {
    Arc::new(Journal::in_memory().unwrap())
}

impl<'s> Life<'s> {
    fn new(source: &'s Source, seed: u64, careless: Careless) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let disk = SimDisk::new(seed, careless);
        let (delivered, last) = (BTreeMap::new(), String::new());
        Self { source, runtime, disk, received: journal(), sent: journal(), delivered, last }
    }

    /// Starts the receiver and sends everything, as far as that comes; whether all of it is said to be there.
    fn attempt(&mut self) -> bool {
        let disk = Box::new(self.disk.clone());
        let open = || Inbox::on(disk, Path::new("simulated"), "in", Arc::clone(&self.received));
        let inbox = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(inbox)) => Arc::new(inbox.with_keys(receiver_keys()).with_keep(WITH_LINKS)),
            Ok(Err(_)) => return false,
            Err(panic) => {
                expect_power_cut(panic);
                return false;
            }
        };
        let carry = Carry { links: true, ..Carry::default() };
        let plan = Plan::scan_with(&[self.source.dir.path().join("tree")], carry, &()).unwrap();
        let order = order_into(plan, Arc::clone(&self.sent));
        let (near, far) = duplex(BUFFER);
        let watcher = Arc::new(Watcher::default());
        let watching = Arc::clone(&watcher);
        let (sent, received) = self.runtime.block_on(async {
            let receiving = tokio::spawn(async move { receive(far, &inbox, None, watching).await });
            tokio::join!(send(near, order, Arc::new(())), receiving)
        });
        if let Err(error) = received {
            expect_power_cut(error.into_panic());
        }
        let is_complete = sent.as_ref().is_ok_and(|sent| sent.is_complete());
        self.last = match &sent {
            Ok(sent) => format!("{:?} {:?}", sent.interruption, sent.undelivered().collect::<Vec<_>>()),
            Err(error) => error.to_string(),
        };
        // What the receiver said may not have been heard.
        let said = std::mem::take(&mut *watcher.settled.lock().unwrap());
        for entry in said.into_iter().chain(sent.into_iter().flat_map(|sent| sent.entries)) {
            self.note(&entry);
        }
        is_complete
    }

    fn note(&mut self, entry: &EntryReport) {
        if let Some(name) = entry.final_name() {
            self.delivered.insert(name, entry.kind);
        }
    }

    /// The power goes, if it has not gone yet, and comes back.
    fn cut(&mut self) -> Result<(), String> {
        self.disk.power_cycle();
        let there = self.disk.tree();
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        for (name, content) in &there {
            match self.source.files.get(name) {
                None => return Err(format!("`{}` is there and was never sent", shown(name))),
                Some(sent) if sent != content => return Err(format!("`{}` is damaged", shown(name))),
                Some(_) => {}
            }
        }
        match self.delivered.keys().find(|&name| !there.contains_key(name)) {
            Some(name) => Err(format!("`{}` was called delivered and is not there", shown(name))),
            None => Ok(()),
        }
    }

    /// Nothing disturbs any more: everything arrives, and stays.
    fn come_to_an_end(&mut self) -> Result<(), String> {
        self.disk.restart();
        if !(0..ATTEMPTS_MAX).any(|_| self.attempt()) {
            return Err(format!("not everything is there after {ATTEMPTS_MAX} attempts: {}", self.last));
        }
        if self.disk.private_files() > 0 {
            return Err("something unfinished is left".into());
        }
        self.cut()?;
        let missing = self.source.files.keys().find(|&name| !self.delivered.contains_key(name));
        match missing {
            Some(name) => Err(format!("`{}` was never called delivered", String::from_utf8_lossy(name))),
            None => Ok(()),
        }
    }
}

fn expect_power_cut(panic: Box<dyn Any + Send>) {
    if !is_power_cut(&*panic) {
        resume_unwind(panic);
    }
}
