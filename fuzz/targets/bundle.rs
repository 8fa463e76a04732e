//! Frames that the far end put together, or says that it did: none of them is empty, or a bundle, or longer than it may be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_transfer::bundle::{BUNDLE_LEN_MAX, Bundler, Unbundler};
use tieline_transfer::protocol::{FRAME_LEN_MAX, PREFIX_LEN, SenderMessage};

fuzz_target!(|bundles: Vec<(bool, u32, Vec<u8>)>| {
    let mut bundler = Bundler::new(|len, packed, out| SenderMessage::Bundle { len, packed }.emit(out));
    let mut unbundler = Unbundler::default();
    for (is_honest, len, octets) in bundles {
        // What is compressed as it should be may still be no frames.
        let mut out = Vec::new();
        if is_honest {
            bundler.add(&mut out, |frame| frame.extend_from_slice(&octets));
            bundler.flush(&mut out);
        }
        let opened = match out.get(PREFIX_LEN..).map(SenderMessage::parse) {
            Some(Ok(SenderMessage::Bundle { len, packed })) => unbundler.open(len, packed),
            _ => unbundler.open(len, &octets),
        };
        if opened.is_err() {
            return;
        }
        let mut octets = 0;
        while let Ok(Some(frame)) = unbundler.take() {
            assert!(!frame.is_empty() && frame.len() <= FRAME_LEN_MAX);
            assert!(!matches!(SenderMessage::parse(frame), Ok(SenderMessage::Bundle { .. })));
            octets += PREFIX_LEN + frame.len();
        }
        assert!(octets <= BUNDLE_LEN_MAX);
    }
});
