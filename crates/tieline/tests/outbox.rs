//! The outbox of a line: what is put into it arrives by itself, whichever process is killed meanwhile.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use program::Office;

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// A file that takes some seconds at [`RATE`].
const LARGE: usize = 40 << 20;
/// Such that there is time to kill somebody in the middle.
const RATE: &str = "\n[transfer]\npolicy = \"fixed\"\nrate = \"80 Mbit/s\"\n";
/// What may be sent again after a kill.
const AGAIN_MAX: u64 = 8 << 20;

/// An end whose process is ours, so that we may kill it.
struct End {
    office: Office,
    process: Option<Child>,
}

impl End {
    fn new(office: Office) -> Self {
        let mut end = Self { office, process: None };
        end.start();
        end
    }

    fn start(&mut self) {
        self.process = Some(self.office.start_quiet(&["up", "line", "--foreground"]));
    }

    /// As by `kill -9`.
    fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("gone");
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.office.config().join("line").join(name)
    }

    /// A figure of its own outbox; none while its process does not answer.
    fn figure(&self, key: &str) -> Option<u64> {
        let told = self.office.run(&["transfers", "line", "--json"]);
        let transfers: serde_json::Value = serde_json::from_str(&told.out).ok()?;
        transfers["outboxes"][0][key].as_u64()
    }

    fn send(&self, file: &Path) {
        let told = self.office.run(&["send", "line", file.to_str().expect("a name")]);
        assert_eq!(told.status, 0, "{}", told.err);
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

/// Two ends of a line without a network device.
fn line() -> (End, End) {
    let (near, far) = (Office::new(), Office::new());
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let listen = format!("127.0.0.1:{port}");
    let made = near.json(&["new", "line", "--bare", "--no-up", "--listen", &listen, "--json"]);
    let invitation = made["invitation"].as_str().expect("an invitation");
    far.json(&["join", invitation, "--bare", "--no-up", "--listen", "127.0.0.1:0", "--json"]);
    for office in [&near, &far] {
        let config = office.config().join("line.toml");
        fs::write(&config, office.read("line.toml") + RATE).expect("written");
    }
    (End::new(near), End::new(far))
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Octets of the unfinished file that have arrived at an end and were written.
fn written(end: &End) -> u64 {
    let entries = fs::read_dir(end.kept("inbox/.tieline-partial")).expect("the private folder");
    entries.map(|entry| entry.expect("an entry").metadata().map_or(0, |status| status.len())).sum()
}

/// Octets that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

#[test]
fn what_is_sent_arrives_and_leaves_the_outbox_and_a_line_that_is_down_takes_it_as_well() {
    let (near, mut far) = line();
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
fn either_end_killed_in_the_middle_of_a_large_file_goes_on_where_it_was() {
    let (mut near, mut far) = line();
    let folder = tempfile::tempdir().expect("a folder");
    let content = noise(LARGE);
    for (name, victim) in [("receiver-killed", "far"), ("sender-killed", "near")] {
        let file = folder.path().join(name);
        fs::write(&file, &content).expect("written");
        wait_for("it answers", || near.figure("moved-bytes").is_some());
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
            wait_for("it answers", || near.figure("moved-bytes").is_some());
            0
        };
        let arrived = written(&far);
        let whole = far.kept("inbox").join(name);
        wait_for("all of it is there", || whole.exists());
        assert!(fs::read(&whole).expect("read") == content, "{name}: not what was sent");
        let rest = near.figure("moved-bytes").expect("it answers") - moved;
        let again = arrived + rest - LARGE as u64;
        assert!(again <= AGAIN_MAX, "{name}: {again} octets that had arrived were sent again");
        let partials = fs::read_dir(far.kept("inbox/.tieline-partial")).expect("the private folder").count();
        assert_eq!(partials, 0, "{name}");
    }
}
