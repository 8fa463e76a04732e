//! What the receiving end of a file transfer answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_transfer::protocol::{PREFIX_LEN, ReceiverMessage, frame_len};

fuzz_target!(|frame: &[u8]| {
    let Ok(message) = ReceiverMessage::parse(frame) else { return };
    if matches!(message, ReceiverMessage::Unknown(_)) {
        return;
    }
    let mut out = Vec::new();
    message.emit(&mut out);
    let (prefix, body) = out.split_first_chunk::<PREFIX_LEN>().expect("a prefix");
    assert_eq!(frame_len(*prefix).expect("in bounds"), body.len());
    let again = ReceiverMessage::parse(body).expect("our own");
    let mut once_more = Vec::new();
    again.emit(&mut once_more);
    assert_eq!(once_more, out);
});
