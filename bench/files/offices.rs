//! Two offices, the path between them, and the two ends of their line.

use std::fs::{self, File};
use std::io::{Read, copy};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tieline_io::namespace::{NamespaceCommand, NamespaceThread};
use tieline_sim::lab::{Lab, LabConfig, Office, OfficeConfig};
use tieline_sim::path::{PathCounters, PathModel};

use crate::Options;

const LINE: &str = "bench";
const NAMES: [&str; 2] = ["office-a", "office-b"];
const PORT: u16 = 51820;
/// How long the ends may take to be up.
const UP_WITHIN: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The kernel counts processor time in these (`USER_HZ`; 100 a second on every Linux that we know).
const TICKS_PER_SECOND: f64 = 100.0;

/// What one file took.
pub(crate) struct Measured {
    pub(crate) rate_mbit: f64,
    pub(crate) seconds: f64,
    /// Octets that were sent into the path for each of the file, not those that its queue dropped.
    pub(crate) offered: f64,
    /// Octets that arrived for each of the file.
    pub(crate) delivered: f64,
    /// Seconds of both ends' processes.
    pub(crate) processor: [f64; 2],
}

/// Both offices; dropped, all is gone.
pub(crate) struct Offices {
    // Ends before the lab they run in, the lab before its files.
    ends: Vec<End>,
    lab: Lab,
    folder: TempDir,
    model: PathModel,
}

struct End {
    namespace: NamespaceThread,
    folder: PathBuf,
    program: String,
    process: Option<Child>,
}

impl Offices {
    /// Makes the offices of one round and brings the line between them up.
    pub(crate) fn new(options: &Options, round: usize) -> Result<Self, String> {
        let fault = |error: tieline_sim::lab::LabError| error.to_string();
        let folder =
            tempfile::Builder::new().prefix("tieline-files").tempdir().map_err(|error| error.to_string())?;
        let lab = Lab::new(LabConfig { seed: options.seed + round as u64 }).map_err(fault)?;
        let mut offices = Vec::new();
        for (name, number) in NAMES.into_iter().zip(1..) {
            offices.push(lab.office(name, OfficeConfig::numbered(number)).map_err(fault)?);
        }
        let model = PathModel {
            loss: options.loss,
            ..PathModel::internet(options.line_mbit * 1_000_000, options.round_trip / 2)
        };
        lab.set_path(NAMES[0], NAMES[1], &model).map_err(fault)?;
        let ends = offices.iter().map(|office| End::new(office, folder.path(), &options.tieline));
        let mut offices = Self { ends: ends.collect::<Result<_, _>>()?, lab, folder, model };
        offices.bring_up(options)?;
        Ok(offices)
    }

    fn bring_up(&mut self, options: &Options) -> Result<(), String> {
        let address = format!("198.51.100.1:{PORT}");
        let listen = format!("0.0.0.0:{PORT}");
        let new = ["new", LINE, "--no-up", "--json", "--listen", &listen, "--address", &address];
        let made: Value =
            serde_json::from_str(&self.ends[0].must(&new)?).map_err(|error| error.to_string())?;
        let invitation = made["invitation"].as_str().ok_or("there is no invitation")?;
        self.ends[1].must(&["join", invitation, "--no-up", "--name", LINE])?;
        for end in &mut self.ends {
            end.start(&options.policy, options.rate_mbit)?;
        }
        let deadline = Instant::now() + UP_WITHIN;
        // Without an end that runs, `send` would bring up one of its own.
        while !self.ends.iter().all(End::is_up) {
            if Instant::now() > deadline {
                return Err(format!("the ends do not come up\n{}", self.logs()));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        // Makes the connection, as a line that is up has one.
        let first = self.file("first", 1)?;
        let sent = self.ends[0].must(&["send", "--wait", LINE, &first.display().to_string()]);
        sent.map(drop).map_err(|problem| format!("{problem}\n{}", self.logs()))
    }

    /// Sends a file of so many random MiB, and compares what arrived.
    pub(crate) fn send(&self, mib: u64) -> Result<Measured, String> {
        let file = self.file("random", mib << 20)?;
        let before = (self.counters()?, self.processor()?);
        let begin = Instant::now();
        let sent = self.ends[0].must(&["send", "--wait", LINE, &file.display().to_string()]);
        sent.map_err(|problem| format!("{problem}\n{}", self.logs()))?;
        let seconds = begin.elapsed().as_secs_f64();
        let after = (self.counters()?, self.processor()?);
        let arrived = self.ends[1].folder.join("etc").join(LINE).join("inbox").join("random");
        let same = std::process::Command::new("cmp").arg(&file).arg(&arrived).status();
        if !same.is_ok_and(|status| status.success()) {
            return Err(format!("{} is not what was sent", arrived.display()));
        }
        let octets = (mib << 20) as f64;
        let delivered = (after.0.octets_delivered - before.0.octets_delivered) as f64;
        let packets = (after.0.delivered - before.0.delivered) as f64;
        let lost = (after.0.lost - before.0.lost) as f64;
        Ok(Measured {
            rate_mbit: octets * 8e-6 / seconds,
            seconds,
            offered: delivered * (packets + lost) / packets / octets,
            delivered: delivered / octets,
            processor: [0, 1].map(|end| after.1[end] - before.1[end]),
        })
    }

    fn logs(&self) -> String {
        self.ends.iter().map(End::log).collect()
    }

    fn counters(&self) -> Result<PathCounters, String> {
        // What is on its way is counted when it arrives.
        std::thread::sleep(self.model.delay * 2);
        self.lab.path_counters(NAMES[0], NAMES[1]).map_err(|error| error.to_string())
    }

    fn processor(&self) -> Result<[f64; 2], String> {
        Ok([self.ends[0].processor_seconds()?, self.ends[1].processor_seconds()?])
    }

    fn file(&self, name: &str, octets: u64) -> Result<PathBuf, String> {
        let path = self.folder.path().join(name);
        let made = File::open("/dev/urandom")
            .and_then(|source| copy(&mut source.take(octets), &mut File::create(&path)?));
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl End {
    fn new(office: &Office, folder: &Path, program: &str) -> Result<Self, String> {
        let folder = folder.join(office.name());
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { namespace: office.gateway().clone(), folder, program: program.to_owned(), process: None })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> NamespaceCommand {
        self.namespace
            .command(program)
            .args(arguments)
            .env("TIELINE_CONFIG_DIR", self.folder.join("etc"))
            .env("TIELINE_RUNTIME_DIR", self.folder.join("run"))
            .env("NO_COLOR", "1")
    }

    /// Runs the program to its end, which must be a good one.
    fn must(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(&self.program, arguments).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("tieline {}: {text}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
    }

    fn start(&mut self, policy: &str, rate_mbit: u64) -> Result<(), String> {
        let ourselves = std::env::current_exe().map_err(|error| error.to_string())?;
        let file = File::create(self.folder.join("log")).map_err(|error| error.to_string())?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let rate = rate_mbit.to_string();
        let command = self.command(&ourselves.display().to_string(), &["end", LINE, policy, &rate]);
        let process = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        self.process = Some(process.map_err(|error| format!("cannot start an end: {error}"))?);
        Ok(())
    }

    /// Whether it can be talked to.
    fn is_up(&self) -> bool {
        self.folder.join("run").join(format!("{LINE}.sock")).exists()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Seconds of processor time of the end's process, of all its threads.
    fn processor_seconds(&self) -> Result<f64, String> {
        let id = self.process.as_ref().map(Child::id).ok_or("the end runs")?;
        let text = fs::read_to_string(format!("/proc/{id}/stat")).map_err(|error| error.to_string())?;
        // The second field is a name that may hold anything; user and system time are the 14th and 15th.
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Option<u64> =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
        ticks.map(|ticks| ticks as f64 / TICKS_PER_SECOND).ok_or(format!("not understood: {text}"))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
