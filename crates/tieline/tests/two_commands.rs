//! Two offices are joined by one command each.

#[path = "program/mod.rs"]
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use program::Office;

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// An office whose line is taken down when the test ends, however it ends.
struct Running(Office);

impl Drop for Running {
    fn drop(&mut self) {
        let told = self.0.run(&["down", "line"]);
        assert!(std::thread::panicking() || told.status == 0, "{}", told.err);
    }
}

#[test]
fn new_and_join_bring_a_line_up_without_root() {
    let (berlin, oslo) = (Running(Office::new()), Running(Office::new()));
    let listen = format!("127.0.0.1:{}", free_port());
    let made = berlin.0.json(&["new", "line", "--bare", "--listen", &listen, "--json"]);
    assert_eq!(made["comes-up"], true);
    assert_eq!(made["not-up"], serde_json::Value::Null);
    assert_eq!(berlin.0.run(&["status", "line"]).status, 1, "the other end is not there yet");

    let invitation = made["invitation"].as_str().expect("an invitation");
    let joined = oslo.0.json(&["join", invitation, "--bare", "--listen", "127.0.0.1:0", "--json"]);
    assert_eq!(joined["status"]["line"], "line");
    assert_eq!(joined["status"]["far-end"]["public-key"], made["public-key"]);
    for office in [&berlin, &oslo] {
        assert_eq!(office.0.run(&["status", "line"]).status, 0);
        assert!(!office.0.read("line.key").contains("invitation ="), "the invitation is void");
    }
}

#[test]
fn a_line_that_cannot_come_up_is_made_all_the_same_and_says_why() {
    let office = Office::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound").to_string();
    let told = office.run(&["new", "line", "--bare", "--listen", &listen, "--json"]);
    assert_eq!(told.status, 1, "{}", told.out);
    let made: serde_json::Value = serde_json::from_str(&told.out).expect("one document");
    assert!(made["invitation"].is_string());
    let why = made["not-up"].as_str().expect("a reason");
    assert!(why.contains("`tieline up line` tries again"), "{why}");
    assert_eq!(office.files(), ["line.key", "line.toml"]);
}

#[test]
fn a_pipe_says_which_end_was_taken_down() {
    let (berlin, oslo) = (Running(Office::new()), Running(Office::new()));
    join(&berlin.0, &oslo.0);
    let mut at_berlin = berlin.0.start(&["pipe", "line"]);
    let mut at_oslo = oslo.0.start(&["pipe", "line"]);
    check_row(&mut at_berlin, &mut at_oslo);
    check_row(&mut at_oslo, &mut at_berlin);
    assert_eq!(oslo.0.run(&["down", "line"]).status, 0);
    for (pipe, reason) in [
        (at_berlin, "tieline: the far end was taken down before the pipe had ended"),
        (at_oslo, "tieline: the line was taken down at this end before the pipe had ended"),
    ] {
        let (status, said) = ended(pipe);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(oslo.0.run(&["up", "line"]).status, 0);
}

#[test]
fn a_ping_that_does_not_fit_is_told_what_does() {
    let (berlin, oslo) = (Running(Office::new()), Running(Office::new()));
    join(&berlin.0, &oslo.0);
    let told = berlin.0.run(&["ping", "line", "-c", "1", "-s", "1421"]);
    assert_eq!(told.status, 2, "{}", told.err);
    assert!(told.err.contains("a packet of 1421 octets does not fit"), "{}", told.err);
    assert!(told.err.contains("the largest on this line has 1420"), "{}", told.err);
    let report = berlin.0.json(&["ping", "line", "-c", "2", "-i", "0.01", "-s", "1420", "--json"]);
    assert_eq!((&report["probes-sent"], &report["probes-answered"]), (&2.into(), &2.into()));
    assert_eq!(report["round-trips-seconds"].as_array().map(Vec::len), Some(2));
}

/// Makes a line between two offices, which is up then.
fn join(berlin: &Office, oslo: &Office) {
    let listen = format!("127.0.0.1:{}", free_port());
    let made = berlin.json(&["new", "line", "--bare", "--listen", &listen, "--json"]);
    let invitation = made["invitation"].as_str().expect("an invitation");
    oslo.json(&["join", invitation, "--bare", "--listen", "127.0.0.1:0", "--json"]);
}

/// A row that goes into one end of a pipe comes out at the other.
fn check_row(from: &mut Child, to: &mut Child) {
    from.stdin.as_mut().expect("piped").write_all(b"hello\n").expect("it is open");
    let mut row = String::new();
    BufReader::new(to.stdout.as_mut().expect("piped")).read_line(&mut row).expect("it is open");
    assert_eq!(row, "hello\n");
}

/// How a program ended, and what it said on standard error; one that does not end is killed.
fn ended(mut program: Child) -> (ExitStatus, String) {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = program.try_wait().expect("our child") {
            break status;
        }
        if Instant::now() > deadline {
            program.kill().expect("our child");
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    program.stderr.expect("piped").read_to_string(&mut said).expect("text");
    (status, said)
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}
