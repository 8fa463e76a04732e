//! The listing of a mirror, message by message: what is read from it is written as it came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_transfer::mirror::{ListingFault, RecordReader, RecordWriter};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    let (mut reader, mut again) = (RecordReader::default(), RecordReader::default());
    let mut writer = RecordWriter::default();
    for octets in messages {
        let mut seen = Vec::new();
        let read = reader.read(&octets, |record| {
            seen.push(format!("{record:?}"));
            writer.add(record);
            Ok::<_, ListingFault>(())
        });
        let mut out = Vec::new();
        writer.emit(&mut out);
        let mut seen_again = Vec::new();
        let each = |record: tieline_transfer::mirror::Record<'_>| {
            seen_again.push(format!("{record:?}"));
            Ok::<_, ListingFault>(())
        };
        again.read(&out, each).expect("our own");
        assert_eq!(seen, seen_again);
        if read.is_err() {
            return;
        }
    }
});
