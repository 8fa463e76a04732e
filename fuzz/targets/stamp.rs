//! Measurement packets (STAMP, RFC 8762).
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_wire::stamp::{LEN, ReflectorPacket, SenderPacket};

fuzz_target!(|bytes: &[u8]| {
    let sender = SenderPacket::parse(bytes);
    let reflector = ReflectorPacket::parse(bytes);
    assert_eq!(sender.is_ok(), bytes.len() >= LEN);
    assert_eq!(reflector.is_ok(), bytes.len() >= LEN);
    if let (Ok(sender), Ok(reflector)) = (sender, reflector) {
        assert_eq!(SenderPacket::parse(&sender.emit()), Ok(sender));
        assert_eq!(ReflectorPacket::parse(&reflector.emit()), Ok(reflector));
        assert!(reflector.timestamp.seconds_since(reflector.received).is_finite());
    }
});
