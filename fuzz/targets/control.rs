//! Messages of the control stream and those that open streams: JSON behind a length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use tieline_wire::control::{
    ControlMessage, MESSAGE_LEN_MAX, PREFIX_LEN, StreamAnswer, StreamRequest, emit, len_of, parse,
    parse_control,
};

fuzz_target!(|bytes: &[u8]| {
    if let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_LEN>() {
        assert!(len_of(*prefix).is_ok_and(|len| len <= MESSAGE_LEN_MAX) || prefix[..2] != [0, 0]);
    }
    if let Ok(message) = parse_control(bytes) {
        assert!(parse::<ControlMessage>(bytes).is_ok());
        survives(&message);
    }
    if let Ok(request) = parse::<StreamRequest>(bytes) {
        survives(&request);
    }
    if let Ok(answer) = parse::<StreamAnswer>(bytes) {
        survives(&answer);
    }
});

/// What was read is written, unless that takes too much room, and is then read the same again.
fn survives<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &M) {
    let Ok(frame) = emit(message) else { return };
    let (prefix, json) = frame.split_first_chunk::<PREFIX_LEN>().expect("a prefix");
    assert_eq!(len_of(*prefix).expect("in bounds"), json.len());
    assert_eq!(&parse::<M>(json).expect("our own"), message);
}
