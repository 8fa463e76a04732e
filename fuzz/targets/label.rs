//! Label stack entries and what the first nibble says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_wire::label::{Label, LabelStackEntry, MplsTrafficClass};
use tieline_wire::sealed::{Kind, LabelStackError, Labelled, padded_len};

fuzz_target!(|plaintext: &[u8]| {
    if let Ok((entry, rest)) = LabelStackEntry::parse(plaintext) {
        assert_eq!(entry.label, Label::new(entry.label.value()).expect("20 bits"));
        assert_eq!(entry.class, MplsTrafficClass::new(entry.class.value()).expect("three bits"));
        let mut out = [0xa5; LabelStackEntry::LEN];
        entry.emit(&mut out);
        assert_eq!([&out[..], rest].concat(), plaintext);
    }
    match Labelled::parse(plaintext) {
        Ok(labelled) => {
            assert!(labelled.entry.bottom);
            assert_eq!(labelled.payload, &plaintext[LabelStackEntry::LEN..]);
        }
        Err(LabelStackError::Truncated) => assert!(plaintext.len() < LabelStackEntry::LEN),
        Err(LabelStackError::Deep) => assert_eq!(plaintext[2] & 1, 0),
    }
    match Kind::of(plaintext) {
        Kind::Keepalive => assert!(plaintext.is_empty()),
        Kind::Ip => assert!([4, 6].contains(&(plaintext[0] >> 4))),
        Kind::Labelled => assert!(plaintext[0] < 0x10),
        Kind::Unknown(nibble) => assert_eq!(nibble, plaintext[0] >> 4),
    }
    let padded = padded_len(plaintext.len(), 1420);
    assert!(padded >= plaintext.len() && padded <= plaintext.len().max(1420));
});
