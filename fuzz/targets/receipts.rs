//! A group of receipts from the far end, and an entry of the audit log as it is kept: read, written again the same, never more than that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_transfer::audit::Entry;
use tieline_transfer::receipt::Group;

fuzz_target!(|input: &[u8]| {
    if let Ok(group) = Group::parse(input) {
        let mut out = Vec::new();
        group.emit(&mut out);
        assert_eq!(out, input);
    }
    if let Ok(entry) = Entry::parse(input) {
        let mut out = Vec::new();
        entry.emit(&mut out);
        assert_eq!(out, input);
    }
});
