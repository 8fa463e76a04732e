//! What files keep besides their content, as the two ends are configured.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Offices, noise};
use tieline_transfer::metadata::Keep;

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
        let offices = offices(Keep { times, modes });
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
