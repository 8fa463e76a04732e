//! Two ends of a line without a network device, run by processes of ours.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Office;

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An end whose process is ours, so that we may kill it.
pub struct End {
    pub office: Office,
    process: Option<Child>,
}

impl End {
    pub fn new(office: Office) -> Self {
        let mut end = Self { office, process: None };
        end.start();
        end
    }

    pub fn start(&mut self) {
        self.process = Some(self.office.start_quiet(&["up", "line", "--foreground"]));
    }

    /// Starts it by way of another program, which is made to run the program that it is given.
    pub fn start_as(&mut self, wrap: impl FnOnce(&str) -> Command) {
        let wrapped = self.office.wrapped(wrap, &["up", "line", "--foreground"]);
        self.process = Some(wrapped);
    }

    /// As by `kill -9`.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("gone");
    }

    /// Where the line keeps its own folders.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.office.config().join("line").join(name)
    }

    /// What its outbox of that name says; none while its process does not answer.
    pub fn outbox(&self, name: &str) -> Option<Value> {
        let told = self.office.run(&["transfers", "line", "--json"]);
        let transfers: Value = serde_json::from_str(&told.out).ok()?;
        transfers["outboxes"].as_array()?.iter().find(|outbox| outbox["name"] == name).cloned()
    }

    /// A figure of its own outbox; none while its process does not answer.
    pub fn figure(&self, key: &str) -> Option<u64> {
        self.outbox("")?[key].as_u64()
    }

    /// What `status` says, whether the far end is there or not.
    pub fn status(&self) -> Value {
        let told = self.office.run(&["status", "line", "--json"]);
        serde_json::from_str(&told.out).expect("JSON")
    }

    pub fn wait_until_up(&self) {
        wait_for("it answers", || self.figure("moved-bytes").is_some());
    }

    /// Sends a file by way of the outbox.
    pub fn send(&self, file: &Path) {
        self.succeed(&["send", "line", file.to_str().expect("a name")]);
    }

    /// Runs a command that must succeed, and returns what it says.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let told = self.office.run(arguments);
        assert_eq!(told.status, 0, "{arguments:?}: {}{}", told.out, told.err);
        told.out
    }

    /// What its log says, in order: what happened, and to which file.
    pub fn log(&self) -> Vec<(String, String)> {
        let rows = self.succeed(&["receipts", "line", "--log", "--json"]);
        let row = |row: &str| {
            let row: Value = serde_json::from_str(row).expect("JSON");
            let text = |key: &str| row[key].as_str().expect(key).to_owned();
            (text("event"), text("path"))
        };
        rows.lines().map(row).collect()
    }

    /// What its log says of one file.
    pub fn fates(&self, path: &str) -> Vec<String> {
        self.log().into_iter().filter(|(_, name)| name == path).map(|(event, _)| event).collect()
    }

    /// Files that have not arrived whole.
    pub fn unfinished(&self) -> Vec<fs::Metadata> {
        let entries = fs::read_dir(self.kept("inbox/.tieline-partial")).expect("the private folder");
        entries.filter_map(|entry| entry.expect("an entry").metadata().ok()).collect()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Two ends of a line, with this in the configuration of the near and of the far one.
pub fn line(
    near_config: impl FnOnce(&Office) -> String,
    far_config: impl FnOnce(&Office) -> String,
) -> (End, End) {
    let (near, far) = (Office::new(), Office::new());
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let listen = format!("127.0.0.1:{port}");
    let made = near.json(&["new", "line", "--bare", "--no-up", "--listen", &listen, "--json"]);
    let invitation = made["invitation"].as_str().expect("an invitation");
    far.json(&["join", invitation, "--bare", "--no-up", "--listen", "127.0.0.1:0", "--json"]);
    let (near_config, far_config) = (near_config(&near), far_config(&far));
    for (office, config) in [(&near, near_config), (&far, far_config)] {
        fs::write(office.config().join("line.toml"), office.read("line.toml") + &config).expect("written");
    }
    (End::new(near), End::new(far))
}

pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Octets that do not repeat.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}
