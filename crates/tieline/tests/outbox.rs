//! The outbox of a line: what is put into it arrives by itself, whichever process is killed meanwhile.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::time::Duration;

use program::Office;
use program::ends::{End, line, noise, wait_for};

/// A file that takes some seconds at [`RATE`].
const LARGE: usize = 40 << 20;
/// Such that there is time to kill somebody in the middle.
const RATE: &str = "\n[transfer]\npolicy = \"fixed\"\nrate = \"80 Mbit/s\"\n";
/// What may be sent again after a kill.
const AGAIN_MAX: u64 = 8 << 20;

fn slow(_: &Office) -> String {
    RATE.to_owned()
}

/// Octets of the unfinished file that have arrived at an end and were written.
fn written(end: &End) -> u64 {
    end.unfinished().iter().map(fs::Metadata::len).sum()
}

#[test]
fn what_is_sent_arrives_and_leaves_the_outbox_and_a_line_that_is_down_takes_it_as_well() {
    let (near, mut far) = line(slow, slow);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    far.kill();
    fs::write(&file, "first").expect("written");
    near.send(&file);
    fs::write(&file, "second").expect("the original may change at once");
    near.send(&file);
    far.start();
    let arrived = |name: &str| fs::read_to_string(far.kept("inbox").join(name)).ok();
    wait_for("both are there", || arrived("report").is_some() && arrived("report (2)").is_some());
    assert_eq!(
        (arrived("report").as_deref(), arrived("report (2)").as_deref()),
        (Some("first"), Some("second"))
    );
    wait_for("the outbox is empty", || {
        !near.kept("outbox/report").exists() && !near.kept("outbox/report (2)").exists()
    });
    assert!(file.exists());
}

#[test]
fn case_1_either_end_killed_in_the_middle_of_a_large_file_goes_on_where_it_was() {
    let (mut near, mut far) = line(slow, slow);
    let folder = tempfile::tempdir().expect("a folder");
    let mut content = noise(LARGE);
    for (name, victim) in [("receiver-killed", "far"), ("sender-killed", "near")] {
        // What the far end has already under another name would not be sent.
        content[0] ^= 1;
        let file = folder.path().join(name);
        fs::write(&file, &content).expect("written");
        near.wait_until_up();
        let before = near.figure("moved-bytes").expect("it answers");
        near.send(&file);
        let half = LARGE as u64 / 2;
        wait_for("half of it is sent", || {
            near.figure("moved-bytes").is_some_and(|moved| moved - before >= half)
        });
        let moved = if victim == "far" {
            far.kill();
            // What was handed to QUIC counts as moved; it takes no more soon after.
            let mut moved = 0;
            wait_for("nothing moves any more", || {
                let last = std::mem::replace(&mut moved, near.figure("moved-bytes").expect("it answers"));
                std::thread::sleep(Duration::from_millis(500));
                last == moved
            });
            far.start();
            moved
        } else {
            near.kill();
            near.start();
            near.wait_until_up();
            0
        };
        let arrived = written(&far);
        let whole = far.kept("inbox").join(name);
        wait_for("all of it is there", || whole.exists());
        assert!(fs::read(&whole).expect("read") == content, "{name}: not what was sent");
        let rest = near.figure("moved-bytes").expect("it answers") - moved;
        let again = arrived + rest - LARGE as u64;
        assert!(again <= AGAIN_MAX, "{name}: {again} octets that had arrived were sent again");
        assert_eq!(far.unfinished().len(), 0, "{name}");
    }
}
