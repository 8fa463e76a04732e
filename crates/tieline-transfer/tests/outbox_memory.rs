//! How much memory a million files take; in a process of its own, so that nothing else is counted.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::convert::Infallible;
use std::fs;
use std::time::Instant;

use tieline_transfer::RelativePath;
use tieline_transfer::outbox::{FILES_MAX, FileKind, Found, Outbox, Rules, Verdict};
use tieline_transfer::stamp::{STAMP_LEN, Stamp};

#[test]
fn case_29_a_file_that_is_kept_track_of_takes_less_than_a_hundred_octets() {
    let now = Instant::now();
    let mut outbox = Outbox::new(Rules::default(), now);
    let before = resident();
    for number in 0..FILES_MAX {
        let path = format!("department/of/long/names/{number:0>40}");
        let found = Found {
            path: RelativePath::parse(path.as_bytes()).unwrap(),
            kind: FileKind::File,
            size: 1,
            stamp: Stamp::from_bytes([7; STAMP_LEN]),
            is_complete: number % 2 == 0,
        };
        let verdict = outbox.handle_file(now, &found, |_, _| Ok::<_, Infallible>(false)).unwrap();
        assert_eq!(verdict, if found.is_complete { Verdict::Due } else { Verdict::Settling });
    }
    let each = (resident() - before) / FILES_MAX as u64;
    assert!(each < 100, "{each} octets for each file");
    assert_eq!(outbox.len(), FILES_MAX);
}

/// Octets of memory that the process has in use.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let row = status.lines().find_map(|row| row.strip_prefix("VmRSS:")).unwrap();
    row.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
