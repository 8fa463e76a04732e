//! Messages of the relay of discovery, and questions of mDNS that are asked of all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_wire::discovery::{PAYLOAD_LEN_MAX, Relayed, ask_all};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Relayed::parse(bytes) {
        assert!((1..=PAYLOAD_LEN_MAX).contains(&message.payload.len()));
        assert_eq!(message.emit().expect("our own"), bytes);
    }
    let mut message = bytes.to_vec();
    ask_all(&mut message);
    let once = message.clone();
    ask_all(&mut message);
    assert_eq!(message, once, "asking all twice is asking all");
});
