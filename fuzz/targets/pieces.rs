//! Payloads of label 17: no order of pieces gives a packet that is longer than the line carries, or ever panics.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_line::pieces::Pieces;

const LEN_MAX: usize = 600;

#[derive(Arbitrary, Debug)]
struct Row {
    payload: Vec<u8>,
    pause_ms: u16,
}

fuzz_target!(|rows: Vec<Row>| {
    let mut now = Instant::now();
    let mut pieces = Pieces::new(LEN_MAX, Arc::default());
    for row in rows {
        now += Duration::from_millis(row.pause_ms.into());
        if let Some(whole) = pieces.handle_piece(now, &row.payload) {
            assert!(whole.len() <= LEN_MAX);
        }
    }
});
