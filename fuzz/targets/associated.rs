//! Messages of the associated channel: what is read is written so that it is read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_wire::associated::{MESSAGE_LEN_MAX, Message};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    if let Message::Hello(hello) = &message
        && let Some(version) = hello.common_version(1, 7)
    {
        assert!((hello.version_min..=hello.version_max).contains(&version) && (1..=7).contains(&version));
    }
    let mut out = Vec::new();
    message.emit(&mut out);
    assert!(out.len() <= MESSAGE_LEN_MAX);
    assert_eq!(Message::parse(&out), Ok(message));
});
