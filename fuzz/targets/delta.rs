//! The delta of two files by a signature that the far end made up: whatever it says, the operations make up the new file, octet by octet,
//! and name nothing outside the old one.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tieline_transfer::delta::{Matches, Operation, Operations, Signature, SumRequest};

fuzz_target!(|input: &[u8]| {
    read_operations(input);
    let Ok((request, rest)) = SumRequest::parse(input) else { return };
    let mut out = Vec::new();
    request.emit(&mut out);
    assert_eq!([&out[..], rest].concat(), input);
    let Some((sums, new)) = rest.split_at_checked(request.sums_len()) else { return };
    let signature = Signature::parse(request, sums.to_vec()).expect("as many as were asked for");
    let matches = Matches::find(&mut &new[..], new.len() as u64, &signature).expect("memory can be read");
    let operations = match matches.fine_request() {
        Some(request) => {
            let sums = new.iter().copied().cycle().take(request.sums_len()).collect();
            let fine = Signature::parse(request, sums).expect("as many as were asked for");
            matches.refine(&mut Cursor::new(new), &fine).expect("memory can be read")
        }
        None => matches.into_operations(),
    };
    check(&operations, new.len() as u64);
});

/// Operations as a receiver reads them, one after the other.
fn read_operations(mut input: &[u8]) {
    let (mut at, new_len) = (0, 1 << 40);
    while let Ok((operation, rest)) = Operation::parse(input, at, new_len) {
        let mut out = Vec::new();
        operation.emit(&mut out);
        assert_eq!([&out[..], rest].concat(), input);
        at += operation.len();
        assert!(at <= new_len);
        input = rest;
    }
}

fn check(operations: &Operations, new_len: u64) {
    let mut end = 0;
    for operation in operations.from_offset(0) {
        let (Operation::Copy { at, .. } | Operation::Literal { at, .. }) = operation;
        assert_eq!(at, end);
        let mut out = Vec::new();
        operation.emit(&mut out);
        assert_eq!(Operation::parse(&out, at, new_len), Ok((operation, &[][..])));
        end += operation.len();
    }
    assert_eq!(end, new_len);
}
