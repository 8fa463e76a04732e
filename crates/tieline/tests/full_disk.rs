//! A receiving end whose disk is full: both ends say so, and it goes on by itself when there is room.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::process::{Command, Stdio};

use program::Office;
use program::ends::{line, noise, wait_for};

/// A file system of 4 MiB in a mount namespace of its own, full but for less than a file of 2 MiB, until somebody makes the file `room`.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size=4m tmpfs "$INBOX" && head -c 3500000 /dev/zero > "$INBOX/other" || exit 1
(until [ -e "$ROOM" ]; do sleep 0.1; done; rm "$INBOX/other") &
exec "$@"
"#;

fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_full_disk_pauses_with_a_plain_message_at_both_ends_and_resumes_by_itself() {
    if !unshare("mount -t tmpfs tmpfs /tmp").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: file systems cannot be mounted in a namespace here");
        return;
    }
    let plain = |_: &Office| String::new();
    let (near, mut far) = line(plain, plain);
    near.wait_until_up();
    far.wait_until_up();
    far.kill();
    let folder = tempfile::tempdir().expect("a folder");
    let (inbox, room) = (far.kept("inbox"), folder.path().join("room"));
    far.start_as(|program| {
        let mut command = unshare(ON_A_SMALL_DISK);
        command.env("INBOX", &inbox).env("ROOM", &room).arg(program);
        command
    });
    far.wait_until_up();
    let file = folder.path().join("large");
    fs::write(&file, noise(2 << 20)).expect("written");
    near.send(&file);
    wait_for("both ends say so", || {
        let sender = near.outbox("").is_some_and(|outbox| {
            outbox["trouble"].as_str().is_some_and(|trouble| trouble.contains("receiving disk"))
        });
        sender && far.succeed(&["transfers", "line"]).contains("trouble    its disk is full")
    });
    let alarms = far.status()["alarms"].clone();
    assert!(alarms[0].as_str().is_some_and(|alarm| alarm.contains("its disk is full")), "{alarms}");

    fs::write(&room, "").expect("room is made");
    wait_for("it is receipted", || near.fates("large").last().is_some_and(|fate| fate == "delivered"));
    assert!(!far.succeed(&["transfers", "line"]).contains("trouble"));
    wait_for("nothing waits", || near.figure("waiting-files") == Some(0));
}
