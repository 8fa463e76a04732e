//! A folder that is kept at the far end as it is here, and what happens to a file whose name is taken there, from one confined process to
//! the other.

#[path = "program/mod.rs"]
mod program;

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use program::Office;
use program::ends::{End, line, noise, wait_for};
use serde_json::Value;

fn nothing(_: &Office) -> String {
    String::new()
}

/// Syncs `dir`, with `more` arguments, and returns the exit status and what is said.
fn sync(end: &End, dir: &Path, folder: &str, more: &[&str]) -> (i32, Value) {
    let dir = dir.to_str().expect("a name");
    let told = end.office.run(&[&["sync", "line", dir, folder, "--json"], more].concat());
    let mut said = serde_json::Deserializer::from_str(&told.out).into_iter::<Value>();
    let said = said.next().and_then(Result::ok);
    (told.status, said.unwrap_or_else(|| panic!("{}{}", told.out, told.err)))
}

fn files(said: &Value, fate: &str) -> u64 {
    said["totals"][fate]["files"].as_u64().expect("a number")
}

/// Whether two folders have the same files with the same content.
fn is_same(one: &Path, other: &Path) -> bool {
    let names = |folder: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    names(one) == names(other)
        && names(one).iter().all(|name| {
            let (one, other) = (one.join(name), other.join(name));
            match one.is_dir() {
                true => other.is_dir() && is_same(&one, &other),
                false => fs::read(one).expect("a file") == fs::read(other).expect("a file"),
            }
        })
}

#[test]
fn a_folder_at_the_far_end_is_kept_as_the_one_here() {
    let (near, mut far) = line(nothing, nothing);
    near.wait_until_up();
    far.wait_until_up();
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("plans");
    fs::create_dir_all(dir.join("old/deep")).expect("made");
    for (name, len) in [("a", 10), ("b", 100_000), ("large", 3 << 20), ("old/one", 5), ("old/deep/two", 5)] {
        fs::write(dir.join(name), noise(len)).expect("written");
    }
    let mirror = far.kept("inbox/copies/plans");

    let (status, said) = sync(&near, &dir, "copies/plans", &[]);
    assert_eq!((status, files(&said, "delivered")), (0, 5), "{said}");
    assert!(is_same(&dir, &mirror));
    let (status, said) = sync(&near, &dir, "copies/plans", &[]);
    assert_eq!((status, files(&said, "delivered"), files(&said, "unchanged")), (0, 0, 5), "{said}");

    // What is a mirror is known after a kill.
    far.kill();
    far.start();
    far.wait_until_up();
    fs::write(dir.join("a"), "changed").expect("written");
    fs::remove_dir_all(dir.join("old")).expect("removed");
    let (status, said) = sync(&near, &dir, "copies/plans", &[]);
    assert_eq!((status, files(&said, "delivered"), &said["removed"]), (0, 1, &Value::Null), "{said}");
    assert!(mirror.join("old/deep/two").exists());
    let (status, said) = sync(&near, &dir, "copies/plans", &["--delete"]);
    let removed = &said["removed"];
    assert_eq!(
        (status, removed["files"].as_u64(), removed["folders"].as_u64()),
        (0, Some(2), Some(2)),
        "{said}"
    );
    assert!(is_same(&dir, &mirror));
    assert_eq!(far.fates("old/deep/two").last().map(String::as_str), Some("removed"));
    far.succeed(&["receipts", "line", "--verify"]);
    near.succeed(&["receipts", "line", "--verify"]);

    // A folder of theirs is not touched.
    fs::create_dir(far.kept("inbox/theirs")).expect("made");
    fs::write(far.kept("inbox/theirs/precious"), "x").expect("written");
    let told = near.office.run(&["sync", "line", dir.to_str().expect("a name"), "theirs", "--delete"]);
    assert_eq!(told.status, 1);
    assert!(
        told.err.contains("is no mirror") || told.out.contains("is no mirror"),
        "{}{}",
        told.out,
        told.err
    );
    assert!(far.kept("inbox/theirs/precious").exists());
    let told = near.office.run(&["sync", "line", "/nowhere at all", "copies/plans", "--delete"]);
    assert_eq!(told.status, 2, "{}{}", told.out, told.err);
    assert!(is_same(&dir, &mirror));
}

#[test]
fn case_21_a_pair_keeps_the_newest_of_two_files_of_a_name() {
    let folders = tempfile::tempdir().expect("a folder");
    let config = |way: &str, more: &str| {
        let path = folders.path().join(way).display().to_string();
        format!("\n[[files]]\nname = \"pair\"\n{way} = \"{path}\"\n{more}")
    };
    let (near, far) = line(
        |_| config("outbox", "settle = \"0s\"\nafter = \"remove\"\n"),
        |_| config("inbox", "same-name = \"newest\"\n"),
    );
    near.wait_until_up();
    far.wait_until_up();
    let put = |content: &str, hours_ago: u64| {
        let staged = folders.path().join("staged");
        fs::write(&staged, content).expect("written");
        let time = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
        let file = File::options().write(true).open(&staged).expect("opened");
        file.set_times(FileTimes::new().set_modified(time)).expect("an old file");
        fs::rename(&staged, folders.path().join("outbox/report")).expect("renamed in");
    };
    let there = || fs::read_to_string(folders.path().join("inbox/report")).unwrap_or_default();
    put("first", 3);
    wait_for("the first is there", || there() == "first");
    put("newer", 2);
    wait_for("the newer one replaces it", || there() == "newer");
    put("older", 4);
    wait_for("it is refused", || far.fates("report").last().is_some_and(|fate| fate == "refused"));
    assert_eq!(there(), "newer");
    assert!(folders.path().join("outbox/report").exists(), "what is refused stays");
    assert_eq!(fs::read_dir(folders.path().join("inbox")).expect("a folder").count(), 2);
}
