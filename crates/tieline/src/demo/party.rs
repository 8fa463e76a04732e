//! One end in the demonstration: its folders, its process, and where both live.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tieline_io::namespace::NamespaceThread;

use super::{DemoError, stage::LINE};

/// How long an end may take to go down.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

/// One end.
pub(crate) struct Party {
    title: &'static str,
    folder: PathBuf,
    program: PathBuf,
    namespace: Option<NamespaceThread>,
    running: Option<Child>,
}

impl Party {
    /// An end that keeps everything below `folder` and runs in `namespace`, or where this process runs.
    pub(crate) fn new(
        title: &'static str,
        folder: PathBuf,
        namespace: Option<NamespaceThread>,
    ) -> Result<Self, DemoError> {
        fs::create_dir_all(&folder).map_err(DemoError::system("make a folder"))?;
        let program = std::env::current_exe().map_err(DemoError::system("find this program"))?;
        Ok(Self { title, folder, program, namespace, running: None })
    }

    /// What it is called in the report.
    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    /// Where its API listens once it is up.
    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime_dir().join(format!("{LINE}.sock"))
    }

    /// Where files arrive.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.config_dir().join(LINE).join("inbox")
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.folder.join("etc")
    }

    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// What its process has logged.
    pub(crate) fn log(&self) -> String {
        let logged = fs::read(self.log_file()).unwrap_or_default();
        format!("{}:\n{}", self.title, String::from_utf8_lossy(&logged))
    }

    /// Runs a subcommand to its end and returns what it reported.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value, DemoError> {
        let output = self.output(arguments).map_err(DemoError::system("run this program"))?;
        let failed = |said: String| DemoError::Command { command: arguments.join(" "), said };
        if !output.status.success() {
            let said = [&output.stderr[..], &output.stdout].concat();
            return Err(failed(String::from_utf8_lossy(&said).into_owned()));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("its report is no JSON: {error}")))
    }

    /// Starts the end.
    pub(crate) fn start(&mut self) -> Result<(), DemoError> {
        let log = File::create(self.log_file()).map_err(DemoError::system("make a log"))?;
        let arguments = self.arguments(&["up", "--foreground", LINE]);
        let started = match &self.namespace {
            Some(namespace) => namespace
                .command(&self.program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn(),
            None => Command::new(&self.program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn(),
        };
        self.running = Some(started.map_err(DemoError::system("start an end"))?);
        Ok(())
    }

    /// Takes the end down and waits until its process has ended.
    pub(crate) fn stop(&mut self) -> Result<(), DemoError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        // It may be going down already: Ctrl-C reaches every process of the terminal.
        self.output(&["down", LINE]).map_err(DemoError::system("run this program"))?;
        let deadline = Instant::now() + STOP_WAIT_MAX;
        while Instant::now() < deadline {
            if running.try_wait().map_err(DemoError::system("watch an end"))?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = running.kill();
        let _ = running.wait();
        Err(DemoError::Wrong(format!("{} did not go down when it was told to\n{}", self.title, self.log())))
    }

    fn output(&self, arguments: &[&str]) -> io::Result<Output> {
        let arguments = self.arguments(arguments);
        match &self.namespace {
            Some(namespace) => namespace.command(&self.program).args(arguments).output(),
            None => Command::new(&self.program).args(arguments).stdin(Stdio::null()).output(),
        }
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<std::ffi::OsString> {
        let folder = |option: &str, folder: &Path| [option.into(), folder.into()];
        let mut all = Vec::new();
        all.extend(folder("--config-dir", &self.config_dir()));
        all.extend(folder("--runtime-dir", &self.runtime_dir()));
        all.extend(arguments.iter().map(Into::into));
        all
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended by itself.
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}
