//! One end of a line: its files, and the process of the real program that runs it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::{NamespaceCommand, NamespaceThread};

use crate::threads;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tieline");
/// What every end calls its line.
pub(crate) const LINE: &str = "berlin";
/// How long anything may take that must happen. Only a test that fails waits so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Nobody in particular.
const USER: u32 = 65534;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// One end. Dropped, its process is killed.
pub(crate) struct End {
    namespace: NamespaceThread,
    folder: PathBuf,
    process: Option<Child>,
    /// Packet threads for each direction, if that is not left to the program.
    threads: Option<usize>,
    /// The copy of the program that an ordinary user runs, if one does.
    of_user: Option<String>,
}

impl End {
    /// An end that will run in `namespace` and keep everything below `folder`, which is made.
    pub(crate) fn new(namespace: &NamespaceThread, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        Self {
            namespace: namespace.clone(),
            folder: folder.to_owned(),
            process: None,
            threads: None,
            of_user: None,
        }
    }

    /// Another end with a copy of this one's files, as when somebody restores a backup on a second machine.
    pub(crate) fn copied_to(&self, namespace: &NamespaceThread, folder: &Path) -> Self {
        let copy = Self::new(namespace, folder);
        fs::create_dir_all(copy.config_dir()).unwrap();
        for entry in fs::read_dir(self.config_dir()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.config_dir().join(entry.file_name())).unwrap();
            }
        }
        copy
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.folder.join("etc")
    }

    /// The configuration.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config_dir().join(format!("{LINE}.toml"))
    }

    pub(crate) fn inbox(&self) -> PathBuf {
        self.config_dir().join(LINE).join("inbox")
    }

    /// Adds a row before the configuration's tables.
    pub(crate) fn configure(&self, row: &str) {
        let text = fs::read_to_string(self.config_file()).unwrap();
        fs::write(self.config_file(), format!("{row}\n{text}")).unwrap();
    }

    /// Adds tables behind those of the configuration.
    pub(crate) fn append(&self, tables: &str) {
        let text = fs::read_to_string(self.config_file()).unwrap();
        fs::write(self.config_file(), format!("{text}\n{tables}\n")).unwrap();
    }

    /// The program with this end's folders, to be run where the end is.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> NamespaceCommand {
        match &self.of_user {
            None => self.command_of(PROGRAM, arguments),
            Some(program) => self.unprivileged(program, arguments),
        }
    }

    /// From now on an ordinary user runs it, who owns all its files. Takes `setpriv`.
    pub(crate) fn give_to_user(&mut self) {
        let program = self.folder.join("tieline");
        // By a process of its own: what another thread starts meanwhile must not hold the copy open for writing.
        assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
        for folder in self.folder.ancestors().take(2) {
            // In a user namespace there is no other user to give it to, and none is needed.
            if is_privileged() {
                chown(folder, Some(USER), Some(USER)).unwrap();
            }
        }
        self.of_user = Some(program.into_os_string().into_string().unwrap());
    }

    /// A copy of the program without any right that an ordinary user does not have.
    pub(crate) fn unprivileged<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> NamespaceCommand {
        let user = USER.to_string();
        let mut all: Vec<OsString> =
            ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"].map(Into::into).into();
        if is_privileged() {
            all.extend(
                [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]
                    .map(Into::into),
            );
        }
        all.extend(["--".into(), program.into()]);
        all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self.command_of("setpriv", all).stdin(Stdio::null())
    }

    /// The same with a program in front of it, or a copy of it.
    pub(crate) fn command_of<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> NamespaceCommand {
        self.namespace
            .command(program)
            .args(arguments)
            .env("TIELINE_CONFIG_DIR", self.config_dir())
            .env("TIELINE_RUNTIME_DIR", self.folder.join("run"))
            .env("NO_COLOR", "1")
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program to its end, which must be a good one, and returns what it wrote.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "tieline {} ended with {}\n{}{}\nlog of this end:\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// From now on it runs with so many packet threads for each direction, not by the program but by the same library.
    pub(crate) fn use_threads(&mut self, threads: usize) {
        self.threads = Some(threads);
    }

    /// Starts the end's process and returns when it was started; it may need longer to be up.
    pub(crate) fn spawn(&mut self) -> Instant {
        self.spawn_notifying(None)
    }

    /// Starts the end's process, waits until it tells the system that it is up, and returns when it did.
    pub(crate) fn start(&mut self) -> Instant {
        fs::create_dir_all(&self.folder).unwrap();
        let socket = self.folder.join("notify");
        // What a killed run left.
        let _ = fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket).unwrap();
        notified.set_read_timeout(Some(LIMIT)).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        self.spawn_notifying(Some(&socket));
        let mut message = [0; 256];
        let length = match notified.recv(&mut message) {
            Ok(length) => length,
            Err(error) => panic!("the end does not come up ({error}); its log:\n{}", self.log()),
        };
        let up = Instant::now();
        assert_eq!(std::str::from_utf8(&message[..length]).unwrap().trim(), "READY=1");
        up
    }

    fn spawn_notifying(&mut self, socket: Option<&Path>) -> Instant {
        assert!(self.process.is_none(), "one process at a time");
        let mut log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        writeln!(log, "--- started").unwrap();
        let command = match self.threads {
            None => self.command(["-v", "up", "--foreground", LINE]),
            Some(threads) => {
                let ourselves = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
                self.command_of(&ourselves, [""; 0]).env(threads::VARIABLE, threads.to_string())
            }
        };
        let mut command = command.stdin(Stdio::null());
        command = command.stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(socket) = socket {
            command = command.env("NOTIFY_SOCKET", socket);
        }
        let started = Instant::now();
        self.process = Some(command.spawn().unwrap());
        started
    }

    /// Process id of the end that runs.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the end runs").id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the end runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// `tieline down`, and the end of the process.
    pub(crate) fn down(&mut self) {
        self.must(&["down", LINE]);
        let mut process = self.process.take().expect("the end runs");
        assert!(process.wait().unwrap().success(), "the end went down badly; its log:\n{}", self.log());
    }

    /// `tieline status --json`; it answers also while the far end is not there.
    pub(crate) fn status(&self) -> Value {
        let output = self.run(&["status", LINE, "--json"]);
        let status = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "status is no JSON ({error}):\n{}{}\nlog of this end:\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                self.log()
            )
        });
        match status {
            Value::Array(mut lines) if lines.len() == 1 => lines.remove(0),
            status => status,
        }
    }

    /// Packets dropped for `reason` since the process started.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.status()["drops"][reason].as_u64().unwrap_or(0)
    }

    /// Waits until the status is as wanted.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_longer_for(LIMIT, what, wanted)
    }

    /// Waits so long until the status is as wanted.
    pub(crate) fn wait_longer_for(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "not in {limit:?}: {what}\n{status:#}\nlog of this end:\n{}",
                self.log()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the far end has introduced itself and everything it offers is routed.
    pub(crate) fn wait_until_joined(&self) -> Value {
        self.wait_for("joined", |status| {
            status["state"] == "up"
                && status["far-end"]["kind"] == "tieline"
                && status["far-end"]["streams"] == true
                && !status["far-end"]["software"].is_null()
        })
    }

    /// What the process has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Whether there are other users.
fn is_privileged() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().nth(2) != Some("1"))
}
