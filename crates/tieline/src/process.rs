//! A line's end as a process of its own: running it here, starting it detached, taking it down.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::failure::{CommandError, Exit};
use tieline_io::{lock::FileLock, resident};
use tieline_node::{
    api::client::{Client, ClientError},
    config::Problems,
    engine::{self, PacketPathEnded},
    internet::{self, InternetError},
    node::{Node, Options, StartError},
    places::{LineName, Places, PlacesChoice},
    status::{FarEndKind, LineState, Status},
};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// How long a detached end may take until it answers.
const START_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long an end may take to go down.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// As much of the log of an end that failed to start is shown.
const LOG_SHOWN_BYTES: u64 = 64 * 1024;

/// Why an end was not brought up or down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// It cannot be brought up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It went down by itself.
    #[error(transparent)]
    PacketPath(#[from] PacketPathEnded),
    /// The detached process ended; it has said why.
    #[error("line {line} did not come up ({status}):\n{said}")]
    Ended {
        /// The line.
        line: LineName,
        /// How the process ended.
        status: ExitStatus,
        /// What it said last.
        said: String,
    },
    /// The detached process does not answer.
    #[error("line {line} was started but does not answer within {} s; its log is {}", START_WAIT_MAX.as_secs(), .log.display())]
    NoAnswer {
        /// The line.
        line: LineName,
        /// Its log.
        log: PathBuf,
    },
    /// What a killed process left cannot be undone.
    #[error("what an earlier process of the line has left on this machine cannot be undone")]
    Left(#[from] Box<InternetError>),
    /// It does not go down.
    #[error("line {line} does not go down; process {pid} runs it")]
    StillUp {
        /// The line.
        line: LineName,
        /// The process.
        pid: u32,
    },
    /// The running end was asked in vain.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system refused something.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs the end in this process until it is told to go down, by `down` or by a signal.
///
/// # Errors
///
/// [`UpError::Start`] or [`UpError::System`].
pub(crate) fn run_in_foreground(places: &Places, name: &LineName) -> Result<(), UpError> {
    runtime()?.block_on(async {
        let system = |source| UpError::System { what: "listen to signals", source };
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let node = Node::start(places, name, &Options::default()).await?;
        tracing::info!(line = %name, "the line's end is up");
        if let Err(error) = resident::release_code() {
            tracing::debug!(%error, "what was only needed to start stays in memory");
        }
        let commands = node.commands();
        // Not run by systemd: then nobody asks.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let ask_it_down = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            // Waits its turn behind other commands, which the running end goes on to serve meanwhile.
            let _ = commands.send(engine::Command::Down).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = node.run() => ended?,
            () = ask_it_down => {}
        }
        tracing::info!(line = %name, "the line's end is down");
        Ok(())
    })
}

/// A runtime of this one thread.
///
/// # Errors
///
/// [`UpError::System`].
pub(crate) fn runtime() -> Result<runtime::Runtime, UpError> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| UpError::System { what: "start the runtime", source })
}

/// Where a detached end logs.
#[must_use]
pub(crate) fn log_file(places: &Places, name: &LineName) -> PathBuf {
    places.runtime_dir().join(format!("{name}.log"))
}

/// Starts the end detached and waits until it answers.
///
/// # Errors
///
/// [`UpError`]; nothing runs then.
pub(crate) async fn start_detached(
    choice: &PlacesChoice,
    places: &Places,
    name: &LineName,
) -> Result<Status, UpError> {
    let system = |what| move |source| UpError::System { what, source };
    places.make_runtime_dir().map_err(StartError::Places)?;
    let lock = FileLock::holder(&places.files(name).lock);
    if lock
        .map_err(|error| UpError::System { what: "look at the lock", source: io::Error::other(error) })?
        .is_some()
    {
        // Before its log is cut.
        return Err(StartError::AlreadyUp { line: name.clone() }.into());
    }
    let log = log_file(places, name);
    let output = File::create(&log).map_err(system("make the log file"))?;
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let folder = |option: &str, folder: &Option<PathBuf>| {
        folder.iter().flat_map(|folder| [option.into(), folder.into()]).collect::<Vec<OsString>>()
    };
    let mut child = Command::new(program)
        .args(folder("--config-dir", &choice.config_dir))
        .args(folder("--runtime-dir", &choice.runtime_dir))
        .args(["up", "--foreground", "--detached", name.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .map_err(system("start the process"))?;
    wait_until_it_answers(places, name, &mut child, &log).await
}

/// Cuts this process loose from the terminal and session of whoever started it.
///
/// # Errors
///
/// [`UpError::System`].
pub(crate) fn detach() -> Result<(), UpError> {
    rustix::process::setsid()
        .map(drop)
        .map_err(|error| UpError::System { what: "leave the session", source: error.into() })
}

async fn wait_until_it_answers(
    places: &Places,
    name: &LineName,
    child: &mut Child,
    log: &Path,
) -> Result<Status, UpError> {
    let client = Client::new(&places.files(name).socket);
    let deadline = Instant::now() + START_WAIT_MAX;
    loop {
        match client.status().await {
            Ok(status) if status.pid == child.id() => return Ok(status),
            // Not yet, or it ended between listening and answering: then it has said why.
            Ok(_) | Err(ClientError::NotUp { .. } | ClientError::Connection(_)) => {}
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        }
        let ended =
            child.try_wait().map_err(|source| UpError::System { what: "watch the process", source })?;
        if let Some(status) = ended {
            return Err(UpError::Ended { line: name.clone(), status, said: last_words(log) });
        }
        if Instant::now() > deadline {
            // It must not come up behind our back after we said that it did not.
            let _ = child.kill();
            let _ = child.wait();
            return Err(UpError::NoAnswer { line: name.clone(), log: log.to_owned() });
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// What the process that failed has written.
fn last_words(log: &Path) -> String {
    let mut said = Vec::new();
    let read = File::open(log).and_then(|file| file.take(LOG_SHOWN_BYTES).read_to_end(&mut said));
    match read {
        Ok(_) => String::from_utf8_lossy(&said).trim_end().to_owned(),
        Err(error) => format!("(its log {} cannot be read: {error})", log.display()),
    }
}

/// Waits until the far end is there, or `patience` is over, and returns how things are then.
///
/// # Errors
///
/// [`UpError::Client`].
pub(crate) async fn wait_for_far_end(client: &Client, patience: Duration) -> Result<Status, UpError> {
    let deadline = Instant::now() + patience;
    loop {
        let status = client.status().await?;
        // A plain WireGuard peer never says its name.
        let is_known = status.far_end.name.is_some() || status.far_end.kind == FarEndKind::IpOnly;
        if (status.state == LineState::Up && is_known) || Instant::now() > deadline {
            return Ok(status);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Takes the end down and waits until its process is gone. Of one that was killed it undoes what that has left.
///
/// # Errors
///
/// [`UpError::Client`] if it is not up and has left nothing, [`UpError::StillUp`], [`UpError::Left`].
pub(crate) async fn take_down(places: &Places, name: &LineName) -> Result<(), UpError> {
    let files = places.files(name);
    let client = Client::new(&files.socket);
    let pid = match client.status().await {
        Ok(status) => status.pid,
        Err(error @ ClientError::NotUp { .. }) => {
            // Or one that comes up at this moment would lose what it has just set up.
            let Ok(_lock) = FileLock::try_acquire(&files.lock) else { return Err(error.into()) };
            let left = internet::restore(&files.changes, name).await.map_err(Box::new)?;
            return if left { Ok(()) } else { Err(error.into()) };
        }
        Err(error) => return Err(error.into()),
    };
    client.down().await?;
    let deadline = Instant::now() + STOP_WAIT_MAX;
    while let Some(_holder) = FileLock::holder(&files.lock)
        .map_err(|error| UpError::System { what: "look at the lock", source: io::Error::other(error) })?
    {
        if Instant::now() > deadline {
            return Err(UpError::StillUp { line: name.clone(), pid });
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

impl CommandError for UpError {
    fn exit(&self) -> Exit {
        match self {
            Self::Start(StartError::Config(_)) => Exit::Wrong,
            _ => Exit::Failed,
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Start(StartError::Config(problems)) => Some(problems),
            _ => None,
        }
    }
}

impl CommandError for ClientError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}
