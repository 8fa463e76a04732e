//! The demonstration: what is done, in the order in which it is done, and the report.
//!
//! Nothing here is staged: the ends are processes of this program, started as an administrator starts them, and every figure
//! is measured as it happens. Each step either prints what it found or ends the demonstration with the reason.

mod calls;
mod party;
pub(crate) mod stage;
mod web;

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rand::{TryRngCore, rngs::OsRng};
use tieline_node::{
    api::client::{Client, ClientError},
    status::Status,
};
use tieline_sim::lab::LabError;

use self::party::Party;
use self::stage::Stage;
use crate::commands::status::octets;
use crate::output;
use crate::process::{self, UpError};

/// Octets of the file that is sent if none is given.
const FILE_LEN: usize = 4_000_000;
/// How long the cable is out.
const CUT: Duration = Duration::from_secs(3);
/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Datagrams of rubbish that the third party sends.
const RUBBISH: usize = 200;

/// What is asked of the demonstration.
pub(crate) struct Script {
    /// What to send instead of random octets.
    pub(crate) send: Option<PathBuf>,
    /// Whether to stay at the end.
    pub(crate) keep: bool,
}

/// Why the demonstration ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The offices could not be made.
    #[error("the offices could not be made")]
    Lab(#[from] LabError),
    /// A command of this program failed.
    #[error("`tieline {command}` failed:\n{said}")]
    Command {
        /// Its arguments.
        command: String,
        /// What it said.
        said: String,
    },
    /// A running end was asked in vain.
    #[error("an end does not answer")]
    Client(#[from] ClientError),
    /// No runtime.
    #[error(transparent)]
    Process(#[from] UpError),
    /// Something took too long.
    #[error("{what} did not happen within {} s\n{log}", PATIENCE.as_secs())]
    TooLong {
        /// What was waited for.
        what: &'static str,
        /// What the ends logged.
        log: String,
    },
    /// Something went otherwise than it should.
    #[error("{0}")]
    Wrong(String),
    /// The system refused something.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl DemoError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Plays `script` on `stage` and prints the report as it goes.
///
/// # Errors
///
/// The first thing that did not go as it should.
pub(crate) fn run(mut stage: Stage, script: &Script) -> Result<(), DemoError> {
    say(&format!("{}\n", stage.describe()));
    let invitation = pair(&mut stage)?;
    bring_up(&mut stage)?;
    ping(&stage)?;
    calls::show(&mut stage)?;
    stage.fetch_page()?;
    send_both_ways(&stage, script.send.as_deref())?;
    pull_the_cable(&stage)?;
    let ignored = stage.third_party(&invitation)?;
    row("third party", &ignored);
    closing(&stage)?;
    if script.keep {
        keep(&stage)?;
    }
    stage.take_down()?;
    say("\nTaken down and cleaned up: nothing of it is left.\n");
    Ok(())
}

fn pair(stage: &mut Stage) -> Result<String, DemoError> {
    let (command, invitation) = stage.make_first_end()?;
    row("office A", &format!("tieline {command}"));
    row("", &format!("invitation: {}…", invitation.chars().take(40).collect::<String>()));
    let command = stage.join_second_end(&invitation)?;
    row("office B", &format!("tieline {command}"));
    Ok(invitation)
}

fn bring_up(stage: &mut Stage) -> Result<(), DemoError> {
    stage.a.start()?;
    wait_for(stage, "office A's end answering", |a, _| a.is_some())?;
    let started = Instant::now();
    stage.b.start()?;
    wait_for(stage, "the line coming up", |a, b| is_joined(a) && is_joined(b))?;
    let status = status_of(&stage.b)?;
    let took = started.elapsed();
    row(
        "line",
        &format!(
            "up {:.0} ms after office B started; the far end is {}",
            millis(took),
            status.far_end.name.unwrap_or_default()
        ),
    );
    Ok(())
}

fn is_joined(status: Option<&Status>) -> bool {
    status.is_some_and(|status| status.is_up() && status.far_end.streams && status.far_end.name.is_some())
}

fn ping(stage: &Stage) -> Result<(), DemoError> {
    let report = stage.b.json(&["ping", stage::LINE, "--count", "5", "--interval", "0.1", "--json"])?;
    let round_trips: Vec<f64> = report["round-trips-seconds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|trip| trip.as_f64())
        .collect();
    let least = round_trips.iter().copied().fold(f64::INFINITY, f64::min);
    row("ping", &format!("{} of 5 answered, {:.1} ms there and back", round_trips.len(), least * 1000.0));
    Ok(())
}

fn send_both_ways(stage: &Stage, path: Option<&Path>) -> Result<(), DemoError> {
    let own = stage.folder().join("photograph.raw");
    let path = match path {
        Some(path) => path,
        None => {
            let mut octets = vec![0; FILE_LEN];
            OsRng.try_fill_bytes(&mut octets).map_err(|error| DemoError::System {
                what: "draw random octets",
                source: io::Error::other(error),
            })?;
            fs::write(&own, octets).map_err(DemoError::system("write a file to send"))?;
            &own
        }
    };
    for (from, to) in [(&stage.a, &stage.b), (&stage.b, &stage.a)] {
        let started = Instant::now();
        let shown = path.display().to_string();
        let report =
            from.json(&["send", "--wait", stage::LINE, &shown, "--to", "from-the-other-office", "--json"])?;
        let took = started.elapsed();
        let delivered = &report["totals"]["delivered"];
        let bytes = delivered["bytes"].as_u64().unwrap_or(0);
        let rate = bytes as f64 * 8.0 / took.as_secs_f64() / 1e6;
        row(
            "files",
            &format!(
                "{} → {}: {} files, {}, verified and on disk after {:.2} s ({rate:.1} Mbit/s)",
                from.title(),
                to.title(),
                delivered["files"],
                octets(bytes),
                took.as_secs_f64()
            ),
        );
        if path == own {
            let arrived = to.inbox().join("from-the-other-office/photograph.raw");
            let same = fs::read(&own).and_then(|sent| Ok(sent == fs::read(arrived)?));
            if !same.map_err(DemoError::system("compare the files"))? {
                return Err(DemoError::Wrong("the file that arrived is not the file that was sent".into()));
            }
        }
    }
    Ok(())
}

fn pull_the_cable(stage: &Stage) -> Result<(), DemoError> {
    stage.cut()?;
    thread::sleep(CUT);
    let before = status_of(&stage.b)?;
    if before.quality.heard_seconds_ago.is_none_or(|ago| ago < CUT.as_secs_f64() / 2.0) {
        return Err(DemoError::Wrong("the cable is out, and yet the far end is heard".into()));
    }
    stage.restore()?;
    let restored = Instant::now();
    wait_for(stage, "the line coming back after the cut", |_, b| {
        let heard = b.and_then(|status| status.quality.heard_seconds_ago);
        heard.is_some_and(|ago| ago < restored.elapsed().as_secs_f64())
    })?;
    row(
        "cable",
        &format!(
            "out for {} s; heard again {:.0} ms after it was back",
            CUT.as_secs(),
            millis(restored.elapsed())
        ),
    );
    Ok(())
}

fn closing(stage: &Stage) -> Result<(), DemoError> {
    let (a, b) = (status_of(&stage.a)?, status_of(&stage.b)?);
    row(
        "carried",
        &format!(
            "{} from A to B, {} from B to A, all of it sealed",
            octets(b.traffic.sealed_bytes_in),
            octets(a.traffic.sealed_bytes_in)
        ),
    );
    for (title, status) in [("A", &a), ("B", &b)] {
        let dropped: Vec<String> =
            status.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let dropped = if dropped.is_empty() { "nothing".to_owned() } else { dropped.join(", ") };
        row("dropped", &format!("at {title}: {dropped}"));
    }
    row(
        "rights",
        &format!(
            "kept by A's process: {:?}; Landlock {}, seccomp {}",
            a.confinement.capabilities, a.confinement.landlock, a.confinement.seccomp
        ),
    );
    Ok(())
}

fn keep(stage: &Stage) -> Result<(), DemoError> {
    say("\nBoth offices go on running; Ctrl-C ends them. To look inside, in another terminal:\n");
    for line in stage.how_to_look_inside() {
        say(&format!("  {line}\n"));
    }
    process::runtime()?.block_on(tokio::signal::ctrl_c()).map_err(DemoError::system("wait for Ctrl-C"))
}

fn status_of(party: &Party) -> Result<Status, DemoError> {
    Ok(process::runtime()?.block_on(Client::new(&party.socket()).status())?)
}

/// Waits until `condition` holds for the status of A and B, as far as they answer.
fn wait_for(
    stage: &Stage,
    what: &'static str,
    condition: impl Fn(Option<&Status>, Option<&Status>) -> bool,
) -> Result<(), DemoError> {
    let (a, b) = (Client::new(&stage.a.socket()), Client::new(&stage.b.socket()));
    let deadline = Instant::now() + PATIENCE;
    let happened = process::runtime()?.block_on(async {
        while Instant::now() < deadline {
            let (a, b) = (a.status().await.ok(), b.status().await.ok());
            if condition(a.as_ref(), b.as_ref()) {
                return true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        false
    });
    if happened {
        return Ok(());
    }
    Err(DemoError::TooLong { what, log: format!("{}\n{}", stage.a.log(), stage.b.log()) })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn row(what: &str, found: &str) {
    say(&format!("{what:>12}  {found}\n"));
}

/// Prints at once, so that somebody who watches sees each step when it happens.
fn say(text: &str) {
    // Whoever closed the pipe has seen enough; the demonstration still cleans up.
    let _ = output::text(text);
}
