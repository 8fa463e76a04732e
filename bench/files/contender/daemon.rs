//! Contenders with a daemon of their own: rsync's, and sendme, whose sender waits for a receiver.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_bench::process::Daemon;

use super::{Job, finish, limited, wait_for_port};
use tieline_bench::offices::Offices;

pub(super) const RSYNC_PORT: u16 = 8730;
/// How often it is looked whether the sender is ready.
const LOOK_EACH: Duration = Duration::from_millis(5);

/// Starts rsync as a daemon that takes what comes into the target folder.
///
/// # Errors
///
/// What went wrong.
pub(super) fn start_rsync(offices: &Offices) -> Result<Daemon, String> {
    let b = &offices.b;
    let target = super::Contender::RsyncDaemon.target(offices);
    // No name server answers here, and it would wait for one.
    let settings = b.write(
        "rsyncd.conf",
        &format!(
            "reverse lookup = no\nuse chroot = no\nuid = root\ngid = root\n[target]\npath = {}\nread only = no\n",
            target.display()
        ),
    )?;
    let command = b.command("rsync").args(["--daemon", "--no-detach", "--log-file=/dev/stdout"]);
    let command = command.arg(format!("--port={RSYNC_PORT}")).arg(format!("--address={}", b.address));
    let daemon =
        Daemon::start(command.arg(format!("--config={}", settings.display())), b.folder.join("rsyncd.log"))?;
    wait_for_port(b, RSYNC_PORT, &daemon)?;
    Ok(daemon)
}

/// Offers the folder in office A, and fetches it from office B. The time of both counts.
///
/// # Errors
///
/// What either said.
pub(super) fn sendme(program: &Path, offices: &Offices, job: &Job<'_>) -> Result<(), String> {
    let (a, b) = (&offices.a, &offices.b);
    let offer = a.command(program).args([
        "send",
        "--no-progress",
        "--relay",
        "disabled",
        "--ticket-type",
        "addresses",
    ]);
    let offer = offer.arg(job.source).current_dir(&a.folder).env("HOME", &a.folder);
    let log = a.folder.join("sendme.log");
    let sender = Daemon::start(offer, log.clone())?;
    let deadline = Instant::now() + job.options.limit;
    let ticket = loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(ticket) = said.split_whitespace().find(|word| word.starts_with("blob")) {
            break ticket.to_owned();
        }
        if Instant::now() > deadline {
            return Err(format!("sendme gives no ticket: {}", sender.log()));
        }
        sleep(LOOK_EACH);
    };
    let fetch = limited(b.command("timeout"), job.options.limit).arg(program).args([
        "receive",
        "--no-progress",
        "--relay",
        "disabled",
    ]);
    finish(fetch.arg(ticket).current_dir(&job.target).env("HOME", &b.folder))
        .map_err(|error| format!("{error}\n{}", sender.log()))
}
