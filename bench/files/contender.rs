//! Who carries files from office A to office B, and how each is started and told to.

mod daemon;
mod ssh;
mod tieline;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_bench::line;
use tieline_bench::offices::{Congestion, Office, Offices};
use tieline_bench::process::{self, Daemon};
use tieline_io::namespace::NamespaceCommand;

use crate::case::Case;
use crate::content::NAME;
use crate::options::Options;

/// What `timeout` says when time was up.
const TIME_IS_UP: i32 = 124;
/// How long a program may take to end after it was told so.
const ENDS_WITHIN: &str = "--kill-after=5";
/// How long a daemon may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Tieline,
    RsyncSsh,
    RsyncDaemon,
    Scp,
    TarSsh,
    Syq,
    Qcp,
    Sendme,
}

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) contender: Contender,
    /// None if it cannot be told.
    pub(crate) congestion: Option<Congestion>,
    /// Whether in a tunnel of wireguard-go.
    pub(crate) is_carried: bool,
}

/// What is to be done, where everything is already in its place.
pub(crate) struct Job<'a> {
    pub(crate) case: Case,
    /// The folder that is sent.
    pub(crate) source: &'a Path,
    /// The folder in which it is to appear.
    pub(crate) target: PathBuf,
    pub(crate) congestion: Option<Congestion>,
    pub(crate) options: &'a Options,
}

/// A contender whose daemons are up.
pub(crate) struct Running {
    contender: Contender,
    daemons: Vec<Daemon>,
    /// The program, if it is not named by the contender's own name.
    program: PathBuf,
}

impl Contender {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Tieline,
        Self::RsyncSsh,
        Self::RsyncDaemon,
        Self::Scp,
        Self::TarSsh,
        Self::Syq,
        Self::Qcp,
        Self::Sendme,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tieline => "tieline",
            Self::RsyncSsh => "rsync-ssh",
            Self::RsyncDaemon => "rsync-daemon",
            Self::Scp => "scp",
            Self::TarSsh => "tar-ssh",
            Self::Syq => "syq",
            Self::Qcp => "qcp",
            Self::Sendme => "sendme",
        }
    }

    /// Whether it sends less when the far end has an old version.
    pub(crate) fn knows_old_versions(self) -> bool {
        matches!(self, Self::Tieline | Self::RsyncSsh | Self::RsyncDaemon | Self::Syq)
    }

    /// Whether what arrived is on the disk when it says that it is done.
    pub(crate) fn is_durable(self) -> bool {
        matches!(self, Self::Tieline | Self::RsyncSsh | Self::RsyncDaemon)
    }

    /// Whether it can be told what decides how fast it sends: who uses TCP by the system, qcp by an option.
    pub(crate) fn has_congestion_control(self) -> bool {
        !matches!(self, Self::Tieline | Self::Sendme)
    }

    /// The programs it needs, the one that knows its version first.
    pub(crate) fn programs(self, options: &Options) -> Vec<PathBuf> {
        let with_ssh = |program: &Path| vec![program.to_owned(), "ssh".into(), ssh::SSHD.into()];
        match self {
            Self::Tieline => vec![options.tieline.clone()],
            Self::RsyncSsh => with_ssh("rsync".as_ref()),
            Self::RsyncDaemon => vec!["rsync".into()],
            Self::Scp => vec!["ssh".into(), "scp".into(), ssh::SSHD.into()],
            Self::TarSsh => with_ssh("tar".as_ref()),
            Self::Syq => with_ssh(&options.syq),
            Self::Qcp => with_ssh(&options.qcp),
            Self::Sendme => vec![options.sendme.clone()],
        }
    }

    /// What its program calls itself.
    pub(crate) fn version(self, options: &Options) -> String {
        let argument = if self == Self::Scp { "-V" } else { "--version" };
        process::version(&self.programs(options)[0], argument)
    }

    /// Starts what has to run before there is anything to send.
    ///
    /// # Errors
    ///
    /// What went wrong, in words; nothing is left running.
    pub(crate) fn start(self, options: &Options, case: Case, offices: &Offices) -> Result<Running, String> {
        let program = self.programs(options).swap_remove(0);
        let daemons = match self {
            Self::Tieline => tieline::start(options, case, offices)?,
            Self::RsyncSsh | Self::Scp | Self::TarSsh | Self::Syq | Self::Qcp => {
                vec![ssh::start(offices, &program)?]
            }
            Self::RsyncDaemon => vec![daemon::start_rsync(offices)?],
            Self::Sendme => vec![],
        };
        Ok(Running { contender: self, daemons, program })
    }

    /// The folder of office B in which what is sent appears.
    pub(crate) fn target(self, offices: &Offices) -> PathBuf {
        match self {
            Self::Tieline => line::inbox(&offices.b),
            _ => offices.b.folder.join("target"),
        }
    }
}

impl Running {
    /// Sends it all, and waits until the sender knows that it is there.
    ///
    /// # Errors
    ///
    /// What the program said.
    pub(crate) fn transfer(&self, offices: &Offices, job: &Job<'_>) -> Result<(), String> {
        let target = job.target.display().to_string();
        let address = offices.b.address;
        let remote = format!("{}:{target}/", ssh::HOST);
        let config = offices.a.folder.join(ssh::CONFIG).display().to_string();
        let rsh = format!("ssh -F {config}");
        let limited = |program: &Path| limited(offices.a.command("timeout"), job.options.limit).arg(program);
        let compress = if job.case.is_delta() { "-az" } else { "-a" };
        let command = match self.contender {
            Contender::Tieline => return tieline::transfer(&self.program, offices, job),
            Contender::Sendme => return daemon::sendme(&self.program, offices, job),
            Contender::RsyncSsh => {
                limited(&self.program).args([compress, "--fsync", "-e", &rsh]).arg(job.source).arg(&remote)
            }
            Contender::RsyncDaemon => {
                let there = format!("rsync://{address}:{}/target/", daemon::RSYNC_PORT);
                limited(&self.program).args([compress, "--fsync"]).arg(job.source).arg(there)
            }
            Contender::Scp => {
                limited("scp".as_ref()).args(["-q", "-r", "-p", "-F", &config]).arg(job.source).arg(&remote)
            }
            Contender::TarSsh => {
                let (folder, name) = (job.source.parent(), job.source.file_name());
                let script =
                    format!("tar -C \"$0\" -cf - \"$1\" | {rsh} {} \"tar -C '{target}' -xf -\"", ssh::HOST);
                let shell = limited("sh".as_ref()).args(["-c", &script]);
                shell.arg(folder.unwrap_or(job.source)).arg(name.unwrap_or_default())
            }
            Contender::Syq => {
                let command =
                    limited(&self.program).args(["cp", "--no-progress", "--rsh", &rsh, "--syq-path"]);
                let command = command.arg(&self.program).arg(job.source);
                command.args(["--to", ssh::HOST, "--into", &target]).env("HOME", &offices.a.folder)
            }
            Contender::Qcp => {
                // Once for itself, to look up the name, and once for ssh.
                let command = limited(&self.program).args(["--quiet", "--ssh-config", &config]);
                let command = command.args(["-S", "-F", "-S", &config]).args(qcp_tuning(job));
                // Told so of a single file, it puts it nowhere.
                let command = if job.source.is_dir() { command.arg("--recurse") } else { command };
                command.arg(job.source).arg(&remote).env("HOME", &offices.a.folder)
            }
        };
        finish(command)
    }

    /// Puts one file into the outbox and waits until its receipt is there; for others the same as [`Self::transfer`].
    ///
    /// # Errors
    ///
    /// What did not happen.
    pub(crate) fn deliver_one(&self, offices: &Offices, job: &Job<'_>) -> Result<(), String> {
        match self.contender {
            Contender::Tieline => tieline::put_into_outbox(offices, job),
            _ => self.transfer(offices, job),
        }
    }

    /// Brings the far end to an old version, which is not measured.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub(crate) fn seed(&self, offices: &Offices, old: &Job<'_>) -> Result<(), String> {
        match self.contender {
            // It has to know what it sent.
            Contender::Tieline => tieline::transfer(&self.program, offices, old),
            _ => crate::content::copy(old.source, &old.target.join(NAME)).map_err(|error| error.to_string()),
        }
    }

    /// The most memory that the larger of the daemons had, in KiB.
    pub(crate) fn peak_kib(&self) -> Result<Option<u64>, String> {
        let peaks = self.daemons.iter().map(Daemon::peak_kib).collect::<Result<Vec<_>, _>>()?;
        Ok(peaks.into_iter().max())
    }

    /// What the daemons said last.
    pub(crate) fn logs(&self) -> String {
        self.daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n")
    }
}

/// What qcp is to be told of a path: its rate in octets each second, its round trip, and how to send.
fn qcp_tuning(job: &Job<'_>) -> Vec<String> {
    let rate = job.options.line_mbit * 1_000_000 / 8;
    let mut tuning = vec![format!("--rx={rate}"), format!("--rtt={}", job.options.round_trip.as_millis())];
    tuning.extend(job.congestion.map(|congestion| format!("--congestion={}", congestion.name())));
    tuning
}

/// Gives a program no more than its time: it and what it started are ended then.
fn limited(timeout: NamespaceCommand, limit: Duration) -> NamespaceCommand {
    timeout.arg(ENDS_WITHIN).arg(limit.as_secs().to_string())
}

/// Runs it to its end, which must be a good one.
fn finish(command: NamespaceCommand) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    if output.status.code() == Some(TIME_IS_UP) {
        return Err("time is up".into());
    }
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Err(format!("{}: {}", output.status, said.concat().trim()))
}

/// Waits until a daemon of an office listens.
fn wait_for_port(office: &Office, port: u16, daemon: &Daemon) -> Result<(), String> {
    let deadline = Instant::now() + LISTENS_WITHIN;
    while Instant::now() < deadline {
        if office.listens_on(port) {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    Err(format!("nothing listens on port {port} within {LISTENS_WITHIN:?}\n{}", daemon.log()))
}
