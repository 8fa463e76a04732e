//! Entries of packed calls, feedback on them and the labels they go under: what is read is written so that it is read the same again.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use tieline_wire::given_out::GivenOut;
use tieline_wire::packed::{Entry, Feedback};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    payload_len: u16,
    packed_calls: Option<u32>,
    protected: Option<u32>,
    octets: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    if let Ok((entry, rest)) = Entry::parse(input.octets, |_| Some(input.payload_len)) {
        let mut out = vec![0xa5; input.octets.len()];
        let len = entry.emit(&mut out).expect("no longer than it was");
        assert!(len <= input.octets.len() - rest.len());
        assert_eq!(Entry::parse(&out[..len], |_| Some(input.payload_len)), Ok((entry, &[][..])));
    }
    if let Ok(feedback) = Feedback::parse(input.octets) {
        assert_eq!(feedback.emit(), input.octets[..Feedback::LEN]);
        assert!(feedback.names(feedback.newest));
    }
    let labels = [("packed-calls", input.packed_calls), ("protected", input.protected)];
    let labels: BTreeMap<String, u32> =
        labels.into_iter().filter_map(|(name, label)| Some((name.to_owned(), label?))).collect();
    let given_out = GivenOut::parse(&labels);
    assert_eq!(GivenOut::parse(&given_out.emit()), given_out);
});
