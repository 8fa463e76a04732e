//! What the sending end of a file transfer says: the receiver reads it, and paths in it stay below the inbox.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_transfer::RelativePath;
use tieline_transfer::protocol::{PREFIX_LEN, SenderMessage, frame_len};

fuzz_target!(|frame: &[u8]| {
    let Ok(message) = SenderMessage::parse(frame) else { return };
    if let SenderMessage::File(file) | SenderMessage::Ask(file) | SenderMessage::Claim { offer: file, .. } =
        &message
    {
        check_path(file.path);
    }
    if let SenderMessage::Folder(folder) = &message {
        check_path(folder.path);
    }
    if matches!(message, SenderMessage::Unknown(_)) {
        return;
    }
    let mut out = Vec::new();
    message.emit(&mut out);
    let (prefix, body) = out.split_first_chunk::<PREFIX_LEN>().expect("a prefix");
    assert_eq!(frame_len(*prefix).expect("in bounds"), body.len());
    assert_eq!(SenderMessage::parse(body), Ok(message));
});

fn check_path(path: &[u8]) {
    let Ok(parsed) = RelativePath::parse(path) else { return };
    assert_eq!(parsed.as_bytes(), path);
    assert_eq!(parsed.components().count(), parsed.depth());
    for component in parsed.components() {
        assert!(!component.is_empty() && component != b"." && component != b"..");
        assert!(!component.contains(&b'/') && !component.contains(&0));
    }
    assert_ne!(path.first(), Some(&b'/'));
    for copy in [1, 2, u32::MAX] {
        let name = parsed.copy(copy);
        assert_eq!(RelativePath::parse(name.as_bytes()).expect("a copy's name").depth(), parsed.depth());
    }
}
