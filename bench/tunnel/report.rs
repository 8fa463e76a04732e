//! The figures of all runs: a table of medians to read, and JSON with every one.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tieline_bench::figures::median;
use tieline_bench::{machine, process};

use crate::metric::{Figures, METRICS, Metric};
use crate::offices::Cable;
use crate::options::Options;
use crate::peer::Peer;

/// One run of one tunnel.
struct Run {
    round: u32,
    cable: Cable,
    peer: Peer,
    measured: Result<Figures, String>,
}

pub(crate) struct Report {
    machine: String,
    seconds: u32,
    peers: Vec<(Peer, String)>,
    runs: Vec<Run>,
    json: Option<PathBuf>,
}

impl Report {
    pub(crate) fn new(options: &Options, peers: &[Peer]) -> Result<Self, String> {
        let peers = peers.iter().map(|peer| (*peer, peer.version(options))).collect();
        let iperf3 = process::version("iperf3".as_ref(), "--version");
        let machine = format!("{}, {iperf3}", machine::description());
        let report =
            Self { machine, seconds: options.seconds, peers, runs: vec![], json: options.json.clone() };
        eprintln!("{}", report.machine);
        report.save()?;
        Ok(report)
    }

    /// Adds a run, says how it went, and saves all so far.
    pub(crate) fn add(
        &mut self,
        round: u32,
        cable: Cable,
        peer: Peer,
        measured: Result<Figures, String>,
    ) -> Result<(), String> {
        let said = match &measured {
            Ok(figures) => METRICS
                .iter()
                .zip(figures)
                .map(|(metric, value)| cell(metric, *value))
                .collect::<Vec<_>>()
                .join(" "),
            Err(problem) => format!("FAILED: {problem}"),
        };
        eprintln!("{round} {:<5} {:<18} {said} (load {})", cable.name(), peer.name(), machine::load());
        self.runs.push(Run { round, cable, peer, measured });
        self.save()
    }

    /// Tables of medians, one for each cable.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}; {} s for each TCP measurement\n", self.machine, self.seconds);
        for (peer, version) in &self.peers {
            let _ = writeln!(text, "- {}: {version}", peer.name());
        }
        for cable in [Cable::Whole, Cable::Wire] {
            if self.runs.iter().any(|run| run.cable == cable) {
                text += &self.table(cable);
            }
        }
        text
    }

    /// # Errors
    ///
    /// Which runs failed.
    pub(crate) fn complete(&self) -> Result<(), String> {
        let failed: Vec<String> = self
            .runs
            .iter()
            .filter(|run| run.measured.is_err())
            .map(|run| format!("{} ({}, round {})", run.peer.name(), run.cable.name(), run.round))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join(", "))) }
    }

    fn table(&self, cable: Cable) -> String {
        let names: Vec<&str> = self.peers.iter().map(|(peer, _)| peer.name()).collect();
        let mut text = format!(
            "\n### Cable: {}\n\n| | {} | tieline to best peer | tieline-chacha20 to best peer |\n",
            cable.name(),
            names.join(" | ")
        );
        let _ = writeln!(text, "|---|{}---|---|", "---|".repeat(names.len()));
        // A tunnel that failed sometimes has the median of its better runs: that is to be seen.
        let counts: Vec<String> = self.peers.iter().map(|(peer, _)| self.count(cable, *peer)).collect();
        let _ = writeln!(text, "| runs measured | {} | - | - |", counts.join(" | "));
        for (place, metric) in METRICS.iter().enumerate() {
            let medians: Vec<(Peer, Option<f64>)> =
                self.peers.iter().map(|(peer, _)| (*peer, self.median_of(cable, *peer, place))).collect();
            let cells: Vec<String> = medians.iter().map(|(_, value)| cell(metric, *value)).collect();
            let ratios = [Peer::Tieline, Peer::TielineChaCha20]
                .map(|ours| ratio(metric, &medians, ours).unwrap_or("-".into()));
            let _ = writeln!(text, "| {} | {} | {} |", metric.name, cells.join(" | "), ratios.join(" | "));
        }
        text
    }

    /// How many of its runs were measured.
    fn count(&self, cable: Cable, peer: Peer) -> String {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.cable == cable && run.peer == peer).collect();
        format!("{} of {}", runs.iter().filter(|run| run.measured.is_ok()).count(), runs.len())
    }

    fn median_of(&self, cable: Cable, peer: Peer, place: usize) -> Option<f64> {
        let of_peer = self.runs.iter().filter(|run| run.cable == cable && run.peer == peer);
        let mut values: Vec<f64> = of_peer.filter_map(|run| run.measured.as_ref().ok()?[place]).collect();
        median(&mut values)
    }

    fn save(&self) -> Result<(), String> {
        let Some(file) = &self.json else { return Ok(()) };
        let versions: serde_json::Map<String, Value> =
            self.peers.iter().map(|(peer, version)| (peer.name().to_owned(), json!(version))).collect();
        let runs: Vec<Value> = self.runs.iter().map(Run::json).collect();
        let all = json!({
            "machine": self.machine, "seconds": self.seconds, "versions": versions, "runs": runs,
        });
        fs::write(file, format!("{all:#}\n")).map_err(|error| format!("{}: {error}", file.display()))
    }
}

impl Run {
    fn json(&self) -> Value {
        let mut run = json!({ "round": self.round, "cable": self.cable.name(), "peer": self.peer.name() });
        match &self.measured {
            Ok(figures) => {
                for (metric, value) in METRICS.iter().zip(figures) {
                    run[metric.key] = json!(value);
                }
            }
            Err(problem) => run["failed"] = json!(problem),
        }
        run
    }
}

fn cell(metric: &Metric, value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.*}", metric.digits))
}

/// What one of ours has of what the best of the tunnels that people use has, and who that is.
fn ratio(metric: &Metric, medians: &[(Peer, Option<f64>)], ours: Peer) -> Option<String> {
    let ours = medians.iter().find(|(peer, _)| *peer == ours)?.1?;
    let competitors = medians.iter().filter(|(peer, _)| peer.is_competitor());
    let values = competitors.filter_map(|(peer, value)| Some((*peer, (*value)?)));
    let (best, theirs) = if metric.more_is_better {
        values.max_by(|one, other| one.1.total_cmp(&other.1))?
    } else {
        values.min_by(|one, other| one.1.total_cmp(&other.1))?
    };
    (theirs > 0.0).then(|| format!("{:.2} x {}", ours / theirs, best.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_failed_are_seen_beside_the_medians() {
        let run = |round, measured| Run { round, cable: Cable::Wire, peer: Peer::Tinc, measured };
        let runs = vec![run(1, Ok([Some(2.0); METRICS.len()])), run(2, Err("it ended".into()))];
        let peers = vec![(Peer::Tinc, "1.0".into())];
        let report = Report { machine: String::new(), seconds: 1, peers, runs, json: None };
        assert!(report.markdown().contains("| runs measured | 1 of 2 |"), "{}", report.markdown());
    }

    #[test]
    fn the_best_peer_is_a_tunnel_and_the_best_way_is_that_of_the_metric() {
        let medians = [
            (Peer::Veth, Some(90.0)),
            (Peer::Tieline, Some(6.0)),
            (Peer::Fastd, Some(2.0)),
            (Peer::Openvpn, Some(3.0)),
            (Peer::Nebula, None),
        ];
        assert_eq!(ratio(&METRICS[0], &medians, Peer::Tieline).as_deref(), Some("2.00 x openvpn"));
        assert_eq!(ratio(&METRICS[5], &medians, Peer::Tieline).as_deref(), Some("3.00 x fastd"));
        assert_eq!(ratio(&METRICS[0], &medians[..2], Peer::Tieline), None);
    }
}
