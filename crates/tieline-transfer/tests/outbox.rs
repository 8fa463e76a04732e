//! The outbox over real folders.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
use tempfile::TempDir;
use tieline_transfer::RelativePath;
use tieline_transfer::outbox::{FileKind, Look, Outbox, Rules, Scan, Sight, Trouble, Verdict};

#[test]
fn every_file_is_found_and_what_is_not_to_be_sent_is_not() {
    let outbox = Folder::new();
    for name in ["b", "a/b/c", "a/b.txt", "a/.hidden", "ä"] {
        outbox.write(name);
    }
    for name in ["x.tmp", ".x.swp", "old.part/inside", "sent/x", "a/.tieline-partial/1"] {
        outbox.write(name);
    }
    fs::create_dir(outbox.dir.path().join("empty")).unwrap();
    assert_eq!(outbox.files(), ["a/.hidden", "a/b.txt", "a/b/c", "b", "ä"]);
    assert_eq!(outbox.troubles(), [""; 0]);
}

#[test]
fn links_are_never_followed_and_found_only_if_they_are_to_be_sent() {
    let outbox = Folder::new();
    let elsewhere = Folder::new();
    elsewhere.write("secret");
    outbox.write("folder/file");
    symlink(elsewhere.dir.path(), outbox.dir.path().join("folder/link")).unwrap();
    symlink("nowhere", outbox.dir.path().join("dangling")).unwrap();
    assert_eq!(outbox.files(), ["folder/file"]);
    assert_eq!(outbox.troubles().len(), 2);
    let rules = Rules { links: true, ..Rules::default() };
    let links = outbox.sights(&rules, Look::Everything).into_iter().filter_map(|sight| match sight {
        Sight::File(found) if found.kind == FileKind::Link => Some(found.path.to_string()),
        _ => None,
    });
    assert_eq!(links.collect::<Vec<_>>(), ["dangling", "folder/link"]);
    // Neither is a link above what is looked at.
    let below_link = Look::At { path: path("folder/link/secret"), arrived: false };
    assert_eq!(outbox.sights(&rules, below_link), []);
}

#[test]
fn what_cannot_be_sent_is_reported_and_does_not_stop_the_rest() {
    let outbox = Folder::new();
    outbox.write("good");
    outbox.write("new\nline");
    mknodat(CWD, outbox.dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    outbox.write("Report.txt");
    outbox.write("report.TXT");
    outbox.write("lonely.done");
    assert_eq!(outbox.files(), ["Report.txt", "good", "report.TXT"]);
    let troubles = outbox.troubles();
    for sentence in [
        "`new\\u{a}line` is not sent: the name has a control character",
        "`pipe` is not sent: a named pipe",
        "`Report.txt` and `report.TXT` are one name where case",
        "`lonely.done` marks a file that is not there",
    ] {
        assert!(troubles.iter().any(|trouble| trouble.contains(sentence)), "{sentence}: {troubles:?}");
    }
    assert_eq!(troubles.len(), 4);
}

#[test]
fn a_folder_that_cannot_be_read_is_reported_and_does_not_stop_the_rest() {
    let outbox = Folder::new();
    outbox.write("closed/file");
    outbox.write("open/file");
    let closed = outbox.dir.path().join("closed");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let is_root = fs::read_dir(&closed).is_ok();
    let (files, troubles) = (outbox.files(), outbox.troubles());
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    if is_root {
        assert_eq!(files, ["closed/file", "open/file"]);
    } else {
        assert_eq!(files, ["open/file"]);
        assert!(troubles[0].contains("`closed` cannot be read: Permission denied"), "{troubles:?}");
    }
}

#[test]
fn an_outbox_that_is_gone_is_reported_and_not_taken_for_an_empty_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rules = Rules::default();
    // Any descriptor that cannot be read as a folder stands for a medium that has failed.
    let mut scan = Scan::new(file.as_file().as_fd(), &rules, Look::Everything);
    assert!(matches!(scan.next(), Some(Sight::Trouble(Trouble::Unreadable { path: None, .. }))));
    assert_eq!(scan.next(), None);
    assert!(!scan.is_complete());
}

#[test]
fn case_18_a_marker_counts_if_it_is_no_older_than_the_file() {
    let outbox = Folder::new();
    outbox.write("a.csv");
    outbox.write("a.csv.done");
    outbox.write("b.csv.done");
    std::thread::sleep(Duration::from_millis(20));
    outbox.write("b.csv");
    for look in [Look::Everything, look_at("a.csv"), look_at("b.csv")] {
        for sight in outbox.sights(&Rules::default(), look) {
            let Sight::File(found) = sight else { panic!("{sight:?}") };
            assert_eq!(found.is_complete, found.path == path("a.csv"), "{found:?}");
        }
    }
}

#[test]
fn a_look_finds_the_file_or_what_is_below_the_folder_or_nothing() {
    let outbox = Folder::new();
    for name in ["a/b/c", "a/d", "e"] {
        outbox.write(name);
    }
    for (at, files) in [("a", vec!["a/b/c", "a/d"]), ("a/d", vec!["a/d"]), ("f", vec![]), ("e/f", vec![])] {
        let look = Look::At { path: path(at), arrived: true };
        let mut found = Vec::new();
        for sight in outbox.sights(&Rules::default(), look) {
            let Sight::File(file) = sight else { panic!("{sight:?}") };
            assert!(file.is_complete);
            found.push(file.path.to_string());
        }
        found.sort();
        assert_eq!(found, files, "{at}");
    }
}

#[test]
fn a_tree_deeper_than_a_path_may_be_is_reported_at_its_end() {
    let outbox = Folder::new();
    let deep = vec!["d"; 300].join("/");
    fs::create_dir_all(outbox.dir.path().join(&deep)).unwrap();
    let troubles = outbox.troubles();
    assert_eq!(troubles.len(), 1);
    assert!(troubles[0].contains("256 folders deep"), "{troubles:?}");
}

#[test]
fn case_18_a_file_that_is_written_to_settles_and_is_due_once() {
    let folder = Folder::new();
    let start = Instant::now();
    let mut outbox = Outbox::new(Rules::default(), start);
    folder.write("a");
    let mut dues = Vec::new();
    let mut look = |outbox: &mut Outbox, second: u64| {
        let now = start + Duration::from_secs(second);
        while let Some(look) = outbox.poll_look(now) {
            let mut scan = Scan::new(folder.fd.as_fd(), outbox.rules(), look.clone());
            let sights: Vec<_> = scan.by_ref().collect();
            let is_complete = scan.is_complete();
            for sight in sights {
                let Sight::File(found) = sight else { panic!("{sight:?}") };
                let verdict = outbox.handle_file(now, &found, |_, _| Ok::<_, Infallible>(false)).unwrap();
                if verdict == Verdict::Due {
                    dues.push((second, found.size));
                }
            }
            if look == Look::Everything {
                outbox.end_scan(now, is_complete);
            }
        }
    };
    look(&mut outbox, 0);
    fs::write(folder.dir.path().join("a"), "longer than before").unwrap();
    for second in 2..100 {
        look(&mut outbox, second);
    }
    assert_eq!(dues, [(4, 18)]);
}

#[test]
fn case_29_a_flat_folder_of_a_hundred_thousand_files_is_walked() {
    let folder = Folder::new();
    for number in 0..100_000 {
        fs::File::create(folder.dir.path().join(format!("{number}"))).unwrap();
    }
    let rules = Rules::default();
    let mut scan = Scan::new(folder.fd.as_fd(), &rules, Look::Everything);
    assert_eq!(scan.by_ref().filter(|sight| matches!(sight, Sight::File(_))).count(), 100_000);
    assert!(scan.is_complete());
}

struct Folder {
    dir: TempDir,
    fd: OwnedFd,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fd = openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Self { dir, fd }
    }

    fn write(&self, name: &str) {
        let path = self.dir.path().join(Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }

    fn sights(&self, rules: &Rules, look: Look) -> Vec<Sight> {
        let mut sights: Vec<_> = Scan::new(self.fd.as_fd(), rules, look).collect();
        sights.sort_by_key(|sight| match sight {
            Sight::File(found) => found.path.to_string(),
            Sight::Trouble(trouble) => trouble.to_string(),
        });
        sights
    }

    fn files(&self) -> Vec<String> {
        let sights = self.sights(&Rules::default(), Look::Everything);
        let file = |sight| match sight {
            Sight::File(found) => Some(found.path.to_string()),
            Sight::Trouble(_) => None,
        };
        sights.into_iter().filter_map(file).collect()
    }

    fn troubles(&self) -> Vec<String> {
        let sights = self.sights(&Rules::default(), Look::Everything);
        let trouble = |sight| match sight {
            Sight::File(_) => None,
            Sight::Trouble(trouble) => Some(trouble.to_string()),
        };
        sights.into_iter().filter_map(trouble).collect()
    }
}

fn path(name: &str) -> RelativePath {
    RelativePath::parse(name.as_bytes()).unwrap()
}

fn look_at(name: &str) -> Look {
    Look::At { path: path(name), arrived: false }
}
