//! Blocks that the far end compressed, or says that it did: nothing grows beyond what was announced.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_transfer::compress::Decompressor;

fuzz_target!(|blocks: Vec<(u16, Vec<u8>)>| {
    let mut decompressor = Decompressor::new().expect("memory");
    for (len, packed) in blocks {
        let (len, mut out) = (usize::from(len), b"before".to_vec());
        let result = decompressor.decompress(&packed, len, &mut out);
        assert_eq!(&out[..6], b"before");
        assert_eq!(out.len(), if result.is_ok() { 6 + len } else { 6 });
        if result.is_err() {
            return;
        }
    }
});
