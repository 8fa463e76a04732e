//! TAI64N labels: order in octets is order in time, and whatever clock and label do, the next one is greater.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use tieline_wire::tai64n::{RESOLUTION_NANOSECONDS, Tai64N};

fuzz_target!(|input: ([u8; Tai64N::LEN], u64, u32)| {
    let (octets, seconds, nanoseconds) = input;

    let label = Tai64N::from_bytes(octets);
    assert_eq!(label.to_bytes(), octets);
    let next = label.next();
    assert!(next >= label);
    if octets[..8] != [0xff; 8] {
        assert!(next > label, "{label:?} has a successor");
    }
    if let Some(wall) = label.to_wall() {
        let _ = Tai64N::from_wall(wall);
    }

    let since_1970 = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds.into()));
    if let Some(wall) = UNIX_EPOCH.checked_add(since_1970)
        && let Some(coarse) = Tai64N::from_wall(wall).to_wall()
    {
        let lost = wall.duration_since(coarse).expect("rounded down");
        assert!(lost < Duration::from_nanos(RESOLUTION_NANOSECONDS.into()));
    }
});
