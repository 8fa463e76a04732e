//! The outbox on virtual time: a folder that is a map, and a caller that does as it is told.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::stamp::STAMP_LEN;

const SECOND: Duration = Duration::from_secs(1);
const HALF: Duration = Duration::from_millis(500);

#[test]
fn a_file_that_was_there_before_the_start_is_due_after_the_settle_time() {
    let mut world = World::new();
    world.write("old", 1);
    assert_eq!(world.run(SECOND), [""; 0]);
    assert_eq!(world.run(SECOND), ["2s old 1"]);
    assert_eq!(world.run(3600 * SECOND), [""; 0]);
}

#[test]
fn a_file_settles_when_it_has_stayed_the_same() {
    let mut world = World::new();
    world.run(10 * SECOND);
    for version in 1..=5 {
        world.write("log", version);
        world.hint(Hint::Changed(path("log")));
        assert_eq!(world.run(3 * HALF), [""; 0], "{version}");
    }
    assert_eq!(world.run(2 * SECOND), ["18s log 5"]);
}

#[test]
fn case_20_a_change_without_a_hint_is_seen_at_the_next_look() {
    let mut world = World::new();
    world.write("log", 1);
    world.run(SECOND);
    world.write("log", 2);
    assert_eq!(world.run(2 * SECOND), [""; 0]);
    assert_eq!(world.run(2 * SECOND), ["4s log 2"]);
}

#[test]
fn case_18_what_is_renamed_in_is_due_at_once_and_what_is_written_again_settles_again() {
    let mut world = World::new();
    world.run(10 * SECOND);
    world.write("a", 1);
    world.hint(Hint::Arrived(path("a")));
    assert_eq!(world.run(Duration::ZERO), ["10s a 1"]);
    world.write("a", 2);
    world.hint(Hint::Changed(path("a")));
    assert_eq!(world.run(SECOND), [""; 0]);
    assert_eq!(world.run(SECOND), ["12s a 2"]);
    world.hint(Hint::Changed(path("a")));
    world.hint(Hint::Everything);
    assert_eq!(world.run(3600 * SECOND), [""; 0]);
}

#[test]
fn what_is_marked_as_done_is_due_when_the_marker_is_seen() {
    let mut world = World::new();
    world.run(10 * SECOND);
    world.write("a", 1);
    world.hint(Hint::Changed(path("a")));
    assert_eq!(world.run(SECOND), [""; 0]);
    world.marked.push(path("a"));
    world.hint(Hint::Arrived(path("a.done")));
    assert_eq!(world.run(Duration::ZERO), ["11s a 1"]);
}

#[test]
fn what_the_journal_knows_is_not_due_until_it_changes() {
    let mut world = World::new();
    world.write("a", 1);
    world.journal.push((path("a"), stamp(1)));
    world.hint(Hint::Arrived(path("a")));
    assert_eq!(world.run(10 * SECOND), [""; 0]);
    assert_eq!(world.asked, 1, "the journal is asked once for each version");
    world.write("a", 2);
    world.hint(Hint::Everything);
    assert_eq!(world.run(10 * SECOND), ["12s a 2"]);
    assert_eq!(world.asked, 2);
}

#[test]
fn a_journal_that_cannot_be_asked_is_asked_again() {
    let mut outbox = Outbox::new(Rules::default(), Instant::now());
    let now = outbox.epoch + 10 * SECOND;
    let found = found("a", 1, true);
    assert_eq!(outbox.handle_file(now, &found, |_, _| Err("disk")), Err("disk"));
    assert_eq!(outbox.handle_file(now, &found, |_, _| Ok::<_, Infallible>(false)), Ok(Verdict::Due));
}

#[test]
fn what_could_not_be_sent_settles_anew() {
    let mut world = World::new();
    world.write("a", 1);
    assert_eq!(world.run(10 * SECOND), ["2s a 1"]);
    world.outbox.retry(world.now, path("a"));
    assert_eq!(world.run(10 * SECOND), ["12s a 1"]);
}

#[test]
fn what_is_gone_is_forgotten_by_a_complete_scan_only() {
    let mut world = World::new();
    world.write("a", 1);
    world.run(10 * SECOND);
    world.files.clear();
    world.scans_are_complete = false;
    world.hint(Hint::Everything);
    world.run(10 * SECOND);
    assert_eq!(world.outbox.len(), 1);
    world.scans_are_complete = true;
    world.hint(Hint::Everything);
    world.run(10 * SECOND);
    assert!(world.outbox.is_empty());
}

#[test]
fn a_file_that_goes_on_changing_for_a_day_is_reported() {
    let mut world = World::new();
    for version in 0..24 * 3600 - 1 {
        world.write("log", version);
        world.run(SECOND);
    }
    assert_eq!(world.restless, None);
    world.write("log", 24 * 3600);
    world.run(3 * HALF);
    assert_eq!(world.restless, Some(RESTLESS_AFTER));
    assert_eq!(world.run(3 * SECOND).len(), 1, "it is sent when it settles after all");
    world.restless = None;
    world.write("log", 1);
    world.hint(Hint::Everything);
    world.run(HALF);
    assert_eq!(world.restless, None, "and then counts anew");
}

#[test]
fn case_20_a_new_folder_is_looked_at_once_more_after_the_settle_time() {
    let mut world = World::new();
    world.run(10 * SECOND);
    world.hint(Hint::Folder(path("new")));
    world.run(Duration::ZERO);
    world.write("new/a", 1);
    assert_eq!(world.run(10 * SECOND), ["14s new/a 1"]);
}

#[test]
fn names_that_are_ignored_are_not_even_looked_at() {
    let mut world = World::new();
    world.run(10 * SECOND);
    for name in ["a.tmp", "sent/a", "x/.a.swp"] {
        world.hint(Hint::Arrived(path(name)));
    }
    assert_eq!(world.outbox.poll_look(world.now), None);
}

#[test]
fn case_20_more_looks_than_are_kept_become_one_scan_and_nothing_is_lost() {
    let mut world = World::new();
    world.run(10 * SECOND);
    for number in 0..3 * LOOKS_MAX {
        world.write(&format!("{number}"), 1);
        world.hint(Hint::Arrived(path(&format!("{number}"))));
    }
    let looked = world.run(Duration::ZERO);
    assert_eq!(looked.len(), LOOKS_MAX);
    assert_eq!(world.run(5 * SECOND).len(), 2 * LOOKS_MAX);
}

#[test]
fn after_a_scan_there_is_a_rest_as_long_as_it_took() {
    let mut outbox = Outbox::new(Rules::default(), Instant::now());
    let start = outbox.epoch;
    assert_eq!(outbox.poll_look(start), Some(Look::Everything));
    outbox.handle_hint(start + SECOND, Hint::Everything);
    assert_eq!((outbox.poll_look(start + SECOND), outbox.next_look()), (None, None), "one scan at a time");
    outbox.end_scan(start + 30 * SECOND, true);
    assert_eq!(outbox.next_look(), Some(start + 60 * SECOND));
    assert_eq!(outbox.poll_look(start + 59 * SECOND), None);
    assert_eq!(outbox.poll_look(start + 60 * SECOND), Some(Look::Everything));
}

#[test]
fn the_files_that_are_kept_track_of_are_bounded() {
    let mut outbox = Outbox::new(Rules::default(), Instant::now());
    let now = outbox.epoch;
    let verdict = |outbox: &mut Outbox, number: usize| {
        outbox
            .handle_file(now, &found(&number.to_string(), 1, true), |_, _| Ok::<_, Infallible>(false))
            .unwrap()
    };
    for number in 0..FILES_MAX {
        assert_eq!(verdict(&mut outbox, number), Verdict::Due);
    }
    assert_eq!(verdict(&mut outbox, FILES_MAX), Verdict::NoRoom);
    assert_eq!(verdict(&mut outbox, 0), Verdict::Known);
}

/// What may happen to one of a few files.
#[derive(Clone, Debug)]
enum Event {
    Write { file: u8, hinted: bool },
    RenameIn { file: u8 },
    Remove { file: u8 },
    Scan,
    Pass(u16),
}

fn events() -> impl Strategy<Value = Event> {
    let file = 0..4_u8;
    prop_oneof![
        3 => (file.clone(), any::<bool>()).prop_map(|(file, hinted)| Event::Write { file, hinted }),
        1 => file.clone().prop_map(|file| Event::RenameIn { file }),
        1 => file.prop_map(|file| Event::Remove { file }),
        1 => Just(Event::Scan),
        4 => (0..3000_u16).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn every_file_that_stays_unchanged_long_enough_is_due_exactly_once(
        events in proptest::collection::vec(events(), 0..60),
    ) {
        let mut world = World::new();
        let mut dues = Vec::new();
        let mut written_at = BTreeMap::new();
        for (version, event) in (1..).zip(events) {
            match event {
                Event::Write { file, hinted } => {
                    let name = file.to_string();
                    world.write(&name, version);
                    written_at.insert(version, world.now);
                    if hinted {
                        world.hint(Hint::Changed(path(&name)));
                    }
                }
                Event::RenameIn { file } => {
                    world.write(&file.to_string(), version);
                    world.hint(Hint::Arrived(path(&file.to_string())));
                    // Else what is written to it next would be taken for what arrived.
                    world.run(Duration::ZERO);
                }
                Event::Remove { file } => drop(world.files.remove(&path(&file.to_string()))),
                Event::Scan => world.hint(Hint::Everything),
                Event::Pass(milliseconds) => {
                    world.run(Duration::from_millis(milliseconds.into()));
                }
            }
            dues.append(&mut world.due);
        }
        world.hint(Hint::Everything);
        world.run(10 * SECOND);
        dues.append(&mut world.due);
        let mut versions: Vec<u32> = dues.iter().map(|due| due.2).collect();
        versions.sort_unstable();
        let count = versions.len();
        versions.dedup();
        prop_assert_eq!(versions.len(), count, "a version was due twice: {:?}", &dues);
        for (file, version) in &world.files {
            prop_assert!(versions.contains(version), "`{}` {} was never due", file, version);
        }
        for (at, _, version) in &dues {
            let early = written_at.get(version).is_some_and(|written| *at - *written < rules::SETTLE_DEFAULT);
            prop_assert!(!early, "version {} was due early", version);
        }
    }
}

/// An outbox, the folder it is about, and the caller between them.
struct World {
    outbox: Outbox,
    start: Instant,
    now: Instant,
    /// Each file with its version.
    files: BTreeMap<RelativePath, u32>,
    marked: Vec<RelativePath>,
    journal: Vec<(RelativePath, Stamp)>,
    asked: usize,
    scans_are_complete: bool,
    due: Vec<(Instant, RelativePath, u32)>,
    restless: Option<Duration>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            outbox: Outbox::new(Rules::default(), now),
            start: now,
            now,
            files: BTreeMap::new(),
            marked: Vec::new(),
            journal: Vec::new(),
            asked: 0,
            scans_are_complete: true,
            due: Vec::new(),
            restless: None,
        }
    }

    fn write(&mut self, name: &str, version: u32) {
        self.files.insert(path(name), version);
    }

    fn hint(&mut self, hint: Hint) {
        self.outbox.handle_hint(self.now, hint);
    }

    /// Lets `time` pass, looks whenever a look is wanted, and returns what has become due.
    fn run(&mut self, time: Duration) -> Vec<String> {
        let (from, until) = (self.due.len(), self.now + time);
        loop {
            while let Some(look) = self.outbox.poll_look(self.now) {
                self.look(&look);
            }
            match self.outbox.next_look() {
                Some(next) if next <= until => self.now = next,
                _ => break,
            }
        }
        self.now = until;
        let shown = |(at, path, version): &(Instant, RelativePath, u32)| {
            format!("{:?} {path} {version}", *at - self.start)
        };
        self.due[from..].iter().map(shown).collect()
    }

    fn look(&mut self, look: &Look) {
        for (path, &version) in &self.files {
            let (is_there, arrived) = match look {
                Look::Everything => (true, false),
                Look::At { path: at, arrived } => {
                    let below = path.as_bytes().strip_prefix(at.as_bytes());
                    (below.is_some_and(|below| matches!(below, [] | [b'/', ..])), *arrived)
                }
            };
            if !is_there {
                continue;
            }
            let is_complete = arrived || self.marked.contains(path);
            let found = found(&path.to_string(), version, is_complete);
            let is_known = |path: &RelativePath, stamp: &Stamp| {
                self.asked += 1;
                Ok::<_, Infallible>(self.journal.contains(&(path.clone(), *stamp)))
            };
            match self.outbox.handle_file(self.now, &found, is_known).unwrap() {
                Verdict::Due => self.due.push((self.now, path.clone(), version)),
                Verdict::Restless { since } => self.restless = Some(since),
                Verdict::Known | Verdict::Settling => {}
                Verdict::NoRoom => panic!("a few files only"),
            }
        }
        if *look == Look::Everything {
            self.outbox.end_scan(self.now, self.scans_are_complete);
        }
    }
}

fn path(name: &str) -> RelativePath {
    RelativePath::parse(name.as_bytes()).unwrap()
}

fn stamp(version: u32) -> Stamp {
    let mut octets = [0; STAMP_LEN];
    octets[..4].copy_from_slice(&version.to_be_bytes());
    Stamp::from_bytes(octets)
}

fn found(name: &str, version: u32, is_complete: bool) -> Found {
    Found { path: path(name), kind: FileKind::File, size: 1, stamp: stamp(version), is_complete }
}
