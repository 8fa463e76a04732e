//! Two offices are joined by one command each.

#[path = "program/mod.rs"]
mod program;

use std::net::UdpSocket;

use program::Office;

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

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}
