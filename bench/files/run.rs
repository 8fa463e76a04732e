//! One run: fresh offices, one contestant, one case.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tieline_bench::offices::Offices;
use tieline_bench::process::{self, Daemon};
use tieline_sim::path::{PathCounters, PathModel};

use crate::case::Case;
use crate::contender::{Contender, Contestant, Job, Running};
use crate::content::{self, Content, NAME};
use crate::options::Options;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Octets of IP packets that were sent into the path, there and back, without what its queue dropped.
    pub(crate) wire: [f64; 2],
    /// Seconds of all processes of both ends.
    pub(crate) processor: f64,
    /// The most memory that an end had, if it is a daemon that is there all the time.
    pub(crate) peak_kib: Option<u64>,
}

/// Does it all, and compares what arrived.
///
/// # Errors
///
/// What went wrong; what is not right is not compared with what is.
pub(crate) fn run(
    options: &Options,
    case: Case,
    content: &Content,
    contestant: Contestant,
    round: u32,
) -> Result<Figures, String> {
    let before = process::children_seconds()?;
    let (offices, tunnel) = between(options, case, contestant, round)?;
    let target = contestant.contender.target(&offices);
    if contestant.contender != Contender::Tieline {
        fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    }
    let running = contestant.contender.start(options, case, &offices)?;
    let done = timed(options, case, content, contestant, &offices, &running)
        .map_err(|problem| format!("{problem}\n{}", running.logs()));
    // Of what the daemons used the kernel tells when they have ended.
    drop((running, tunnel, offices));
    let figures = done?;
    Ok(Figures { processor: process::children_seconds()? - before, ..figures })
}

/// The offices, with what the contestant needs between them.
fn between(
    options: &Options,
    case: Case,
    contestant: Contestant,
    round: u32,
) -> Result<(Offices, Vec<Daemon>), String> {
    let model = PathModel {
        loss: case.loss(),
        ..PathModel::internet(options.line_mbit * 1_000_000, options.round_trip / 2)
    };
    let mut offices = Offices::new(options.seed + u64::from(round), [model.clone(), model])?;
    let tunnel = if contestant.is_carried { offices.dig(&options.wireguard_go)? } else { vec![] };
    if let Some(congestion) = contestant.congestion {
        offices.use_congestion_control(congestion)?;
    }
    Ok((offices, tunnel))
}

fn timed(
    options: &Options,
    case: Case,
    content: &Content,
    contestant: Contestant,
    offices: &Offices,
    running: &Running,
) -> Result<Figures, String> {
    let target = contestant.contender.target(offices);
    let fault = |error: std::io::Error| format!("cannot place what is sent: {error}");
    // Mirrors go by where a file was, so both versions are sent from one place.
    let source = offices.a.folder.join("source").join(NAME);
    let congestion = contestant.congestion;
    let job = |source| Job { case, source, target: target.clone(), congestion, options };
    if let Some(old) = &content.old {
        content::copy(old, &source).map_err(fault)?;
        running.seed(offices, &job(&source))?;
    }
    content::copy(&content.new, &source).map_err(fault)?;
    sync(&target)?;
    let counted = offices.counters()?;
    let begin = Instant::now();
    match case {
        Case::Tiny => running.deliver_one(offices, &job(&source.join("large")))?,
        _ => running.transfer(offices, &job(&source))?,
    }
    if !contestant.contender.is_durable() {
        sync(&target)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let after = offices.counters()?;
    let peak_kib = running.peak_kib()?;
    compare(case, content, &target)?;
    let wire = [0, 1].map(|way| sent(counted[way], after[way]));
    Ok(Figures { seconds, wire, processor: 0.0, peak_kib })
}

fn compare(case: Case, content: &Content, target: &Path) -> Result<(), String> {
    if case != Case::Tiny {
        return content::compare(&content.new, &target.join(NAME));
    }
    let read = |file: &Path| fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    // The outbox gives it the name under which it was put there; others keep its own.
    let arrived = [NAME, "large"].map(|name| target.join(name)).into_iter().find(|file| file.is_file());
    let arrived = arrived.ok_or("nothing has arrived")?;
    if read(&arrived)? == read(&content.new.join("large"))? {
        Ok(())
    } else {
        Err("it is not what was sent".into())
    }
}

/// Brings all of the file system to the disk; both offices have the same.
fn sync(folder: &Path) -> Result<(), String> {
    let status = std::process::Command::new("sync").arg("--file-system").arg(folder).status();
    match status.map_err(|error| format!("sync: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("sync: {status}")),
    }
}

/// Octets that were sent one way, of which those that were lost are only counted as packets.
fn sent(before: PathCounters, after: PathCounters) -> f64 {
    let octets = (after.octets_delivered - before.octets_delivered) as f64;
    let packets = (after.delivered - before.delivered) as f64;
    let lost = (after.lost - before.lost) as f64;
    octets * (1.0 + lost / packets.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_counts_as_large_as_what_arrives() {
        let before = PathCounters { octets_delivered: 100, delivered: 1, ..PathCounters::default() };
        let after =
            PathCounters { octets_delivered: 9100, delivered: 10, lost: 1, ..PathCounters::default() };
        assert_eq!(sent(before, before), 0.0);
        assert_eq!(sent(before, after), 10_000.0);
    }
}
