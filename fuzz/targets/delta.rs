//! The delta of two files by a signature that the far end made up: whatever it says, the operations make up the new file, octet by octet,
//! and name nothing outside the old one.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tieline_transfer::delta::{Matches, Operation, Operations, Signature, SumRequest};

fuzz_target!(|input: &[u8]| {
    let announced = SumRequest::announced_len(input);
    let Ok((request, rest)) = SumRequest::parse(input) else { return };
    let mut out = Vec::new();
    request.emit(&mut out);
    assert_eq!([&out[..], rest].concat(), input);
    assert_eq!(announced, Ok(Some(out.len())));
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

fn check(operations: &Operations, new_len: u64) {
    let mut end = 0;
    for operation in operations.from_offset(0) {
        let (Operation::Copy { at, .. } | Operation::Literal { at, .. }) = operation;
        assert_eq!(at, end);
        end += operation.len();
    }
    assert_eq!(end, new_len);
}
