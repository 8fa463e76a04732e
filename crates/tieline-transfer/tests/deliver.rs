//! Two honest ends: what is sent arrives, once, whole, under its name.

mod support;

use std::path::PathBuf;

use support::{Offices, noise, tree};
use tieline_transfer::protocol::DATA_LEN_MAX;

#[tokio::test]
async fn files_of_every_critical_size_arrive_the_same() {
    let offices = Offices::new();
    let sizes = [0, 1, DATA_LEN_MAX - 1, DATA_LEN_MAX, DATA_LEN_MAX + 1, 3 * DATA_LEN_MAX, 300_001];
    let paths: Vec<PathBuf> =
        sizes.iter().map(|&size| offices.write(&format!("f{size}"), noise(size as u64, size))).collect();
    let outcome = offices.deliver(&paths).await;
    assert_eq!(outcome.totals.delivered.files, sizes.len() as u64);
    assert_eq!(outcome.totals.delivered.bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(offices.arrived(), tree(&offices.out("")));
    offices.assert_nothing_unfinished();
}
