//! Rate reports: what is read is written so that it is read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_wire::rate_report::{LEN, RateReport};

fuzz_target!(|bytes: &[u8]| {
    let report = RateReport::parse(bytes);
    assert_eq!(report.is_ok(), bytes.len() >= LEN);
    if let Ok(report) = report {
        assert_eq!(RateReport::parse(&report.emit()), Ok(report));
    }
});
