//! Telling people: hooks, webhooks, and what is expected.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use program::ends::{line, wait_for};
use serde_json::Value;
use tieline_transfer::Journal;
use tieline_transfer::journal::expected::ExpectedDays;

/// BLAKE3 of `content`.
const BLAKE3_OF_CONTENT: &str = "3fba5250be9ac259c56e7250c526bc83bacb4be825f2799d3d59e5b4878dd74e";

/// A program that notes what it is told, as one row.
fn hook(folder: &Path, name: &str) -> String {
    let (program, notes) = (folder.join(name), folder.join(format!("{name}.notes")));
    let script = format!(
        "#!/bin/sh\nread row\necho \"$TIELINE_EVENT $TIELINE_DIRECTION $TIELINE_FILE $* $row\" >> {}\necho said\n",
        notes.display()
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made a program");
    program.display().to_string()
}

fn notes(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(format!("{name}.notes"))).unwrap_or_default()
}

/// A server of HTTP that hands on what is posted to it.
fn server() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (posts, posted) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut octets = Vec::new();
            while !octets.ends_with(b"}") {
                let mut some = [0; 4096];
                let len = stream.read(&mut some).expect("a request");
                octets.extend(&some[..len]);
            }
            stream.write_all(b"HTTP/1.1 204 Thanks\r\n\r\n").expect("answered");
            let request = String::from_utf8(octets).expect("text");
            let (_, body) = request.split_once("\r\n\r\n").expect("a body");
            if posts.send(serde_json::from_str(body).expect("JSON")).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}/told"), posted)
}

#[test]
fn hooks_and_a_webhook_are_told_at_both_ends_though_both_are_confined() {
    let folders = tempfile::tempdir().expect("a folder");
    let (out, inbox) = (folders.path().join("out"), folders.path().join("in"));
    let (sent, received) = (hook(folders.path(), "sent"), hook(folders.path(), "received"));
    let (address, posted) = server();
    let near_config = format!(
        "\n[[files]]\nname = \"mail\"\noutbox = {out:?}\nsettle = \"0s\"\nwebhook = \"{address}\"\n\
         on-delivered = \"{sent} one 'two three' $HOME\"\n"
    );
    let far_config =
        format!("\n[[files]]\nname = \"mail\"\ninbox = {inbox:?}\non-delivered = \"{received}\"\n");
    let (near, _far) = line(|_| near_config, |_| far_config);
    near.wait_until_up();
    let status = near.status();
    assert_eq!(status["confinement"]["seccomp"], "in force", "or this shows nothing");
    wait_for("the outbox is made", || out.exists());
    fs::write(out.join("a b"), "content").expect("written");
    wait_for("the file is there", || inbox.join("a b").exists());

    wait_for("both hooks have run", || {
        ["sent", "received"].iter().all(|name| notes(folders.path(), name).ends_with("}\n"))
    });
    let at_sender = notes(folders.path(), "sent");
    let start = format!("delivered sent {}/a b one two three $HOME {{", out.display());
    assert!(at_sender.starts_with(&start), "{at_sender}");
    let at_receiver = notes(folders.path(), "received");
    let start = format!("delivered received {}/a b  {{", inbox.display());
    assert!(at_receiver.starts_with(&start), "{at_receiver}");

    let told = posted.recv_timeout(program::ends::PATIENCE).expect("the webhook was told");
    assert_eq!((&told["event"], &told["direction"]), (&"delivered".into(), &"sent".into()));
    assert_eq!(
        (&told["line"], &told["pair"], &told["path"]),
        (&"line".into(), &"mail".into(), &"a b".into())
    );
    assert_eq!(told["size"], 7);
    assert_eq!(told["blake3"], BLAKE3_OF_CONTENT);
    assert!(posted.try_recv().is_err(), "told once");
}

#[test]
fn what_is_expected_and_does_not_come_is_an_alarm_until_it_comes() {
    let folders = tempfile::tempdir().expect("a folder");
    let (out, inbox) = (folders.path().join("out"), folders.path().join("in"));
    let (address, posted) = server();
    let near_config = format!("\n[[files]]\nname = \"pay\"\noutbox = {out:?}\nsettle = \"0s\"\n");
    let far_config = |by: &str| {
        format!(
            "\n[[files]]\nname = \"pay\"\ninbox = {inbox:?}\nwebhook = \"{address}\"\n\
             expect = [{{ name = \"pay*.csv\", by = \"{by}\" }}]\n"
        )
    };
    // Whoever begins to expect something after its time is told the next day. So it is known from before, as on the day before.
    let (near, mut far) = line(|_| near_config, |_| far_config("00:00"));
    near.wait_until_up();
    far.wait_until_up();
    assert_eq!(far.status()["alarms"], Value::Array(Vec::new()));
    far.kill();
    let journal = Journal::open(&far.kept("journal")).expect("the journal");
    let before = journal.expected_days("pay", "00:00 pay*.csv").expect("read").expect("it is remembered");
    let yesterday = ExpectedDays { arrived: before.arrived - 1, ..before };
    journal.remember_expected("pay", "00:00 pay*.csv", yesterday).expect("written");
    drop(journal);
    far.start();
    far.wait_until_up();

    let told = posted.recv_timeout(program::ends::PATIENCE).expect("the webhook was told");
    assert_eq!((&told["event"], &told["path"]), (&"expected".into(), &"pay*.csv".into()));
    let alarms = far.status()["alarms"].clone();
    assert!(alarms[0].as_str().is_some_and(|alarm| alarm.contains("expected by 00:00")), "{alarms}");
    let shown = far.succeed(&["transfers", "line"]);
    assert!(shown.contains("late       `pay*.csv` was expected by 00:00 and has not come"), "{shown}");

    fs::write(out.join("pay-1.csv"), "1").expect("written");
    wait_for("it has come", || inbox.join("pay-1.csv").exists());
    wait_for("the alarm is over", || !far.succeed(&["transfers", "line"]).contains("late"));
    let told = posted.recv_timeout(program::ends::PATIENCE).expect("the webhook was told");
    assert_eq!(told["event"], "delivered");
}
