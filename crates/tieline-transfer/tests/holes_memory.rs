//! A file that is nearly all hole costs neither end memory by its size. A program of its own, so that nothing else is measured.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use support::Offices;

/// With `TIELINE_TEST_GIB` it is as many: 100 take some minutes.
const GIB: u64 = 4;
/// Of both ends together, who share this process.
const MEMORY_MAX_KIB: u64 = 2 * 64 * 1024;

#[tokio::test]
async fn case_28_a_file_of_gibibytes_that_is_hole_needs_little_memory_and_little_room() {
    let offices = Offices::new();
    let size = std::env::var("TIELINE_TEST_GIB").map_or(GIB, |gib| gib.parse().unwrap()) << 30;
    let file = File::create(offices.out("f")).unwrap();
    for part in 0..4 {
        file.write_all_at(&support::noise(part, 256 * 1024), part * (size / 4)).unwrap();
    }
    file.set_len(size).unwrap();
    if file.metadata().unwrap().blocks() * 512 >= size {
        return; // This file system has no holes.
    }
    offices.deliver(&[offices.out("f")]).await;
    let arrived = fs::metadata(offices.inside("f")).unwrap();
    assert_eq!(arrived.len(), size);
    assert!(arrived.blocks() * 512 < 4 << 20, "{} blocks", arrived.blocks());
    let memory = peak_kib();
    println!("{memory} KiB at most");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let row = status.lines().find(|row| row.starts_with("VmHWM")).unwrap();
    row.split_whitespace().nth(1).unwrap().parse().unwrap()
}
