//! The program under test, run in folders of its own.

// Each test file uses its part of it.
#![allow(dead_code, unreachable_pub)]

pub mod ends;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tieline");

/// One office: its folders, which nobody else has.
pub struct Office {
    folder: tempfile::TempDir,
}

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Office {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    pub fn run(&self, arguments: &[&str]) -> Told {
        self.run_with_input(arguments, &[])
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Told {
        tell(self.command(arguments), input)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("TIELINE_CONFIG_DIR", self.config());
        command.env("TIELINE_RUNTIME_DIR", self.folder.path().join("runtime"));
        command
    }

    /// Starts a command with all its streams piped.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program runs")
    }

    /// Starts a command that nobody listens to.
    pub fn start_quiet(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program runs")
    }

    /// Starts a command by way of another program.
    pub fn wrapped(&self, wrap: impl FnOnce(&str) -> Command, arguments: &[&str]) -> Child {
        let mut command = wrap(PROGRAM);
        command.args(arguments).env_remove("TIELINE_LOG");
        command.env("TIELINE_CONFIG_DIR", self.config());
        command.env("TIELINE_RUNTIME_DIR", self.folder.path().join("runtime"));
        command.spawn().expect("the program runs")
    }

    /// Runs a command that must succeed and report JSON.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let told = self.run(arguments);
        assert_eq!(told.status, 0, "{arguments:?}: {}", told.err);
        serde_json::from_str(&told.out).expect("JSON")
    }

    /// The names of the files in the configuration folder, in order; a missing folder has none.
    pub fn files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.config()) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.config().join(file)).expect(file)
    }

    pub fn mode(&self, file: &str) -> u32 {
        std::fs::metadata(self.config().join(file)).expect(file).permissions().mode() & 0o777
    }
}

/// Runs the program without folders of its own.
pub fn run(arguments: &[&str], input: &[u8]) -> Told {
    tell(command(arguments), input)
}

pub fn run_with_variable(arguments: &[&str], variable: &str, value: &str) -> Told {
    let mut command = command(arguments);
    command.env(variable, value);
    tell(command, &[])
}

/// Runs the program with standard output into a file, and returns what it said on standard error.
pub fn run_into(arguments: &[&str], file: File) -> String {
    let output = command(arguments).stdout(file).stdin(Stdio::null()).output().expect("the program runs");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn run_other(program: &str, arguments: &[&str], input: &[u8]) -> Told {
    let mut command = Command::new(program);
    command.args(arguments);
    tell(command, input)
}

/// Whether a program is not installed; says so, so that the test counts as skipped to whoever reads.
pub fn skip_without(program: &str) -> bool {
    let missing = Command::new(program).arg("--version").output().is_err();
    if missing {
        eprintln!("skipped: {program} is not installed");
    }
    missing
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_remove("TIELINE_LOG")
        .env_remove("TIELINE_CONFIG_DIR")
        .env_remove("TIELINE_RUNTIME_DIR");
    command
}

fn tell(mut command: Command, input: &[u8]) -> Told {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // A program that needs no input may be gone before it is written.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    Told {
        status: status.code().expect("not killed"),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}
