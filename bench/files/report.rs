//! The figures of all runs as tables of medians.

use std::fmt::Write;

use tieline_bench::figures::median;
use tieline_bench::machine;

use crate::case::Case;
use crate::contender::{Contender, Contestant};
use crate::options::Options;
use crate::run::Figures;

struct Run {
    case: Case,
    /// Octets of the files.
    octets: u64,
    contestant: Contestant,
    measured: Result<Figures, String>,
}

pub(crate) struct Report<'a> {
    options: &'a Options,
    machine: String,
    contenders: Vec<Contender>,
    missing: Vec<String>,
    runs: Vec<Run>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(options: &'a Options, (contenders, missing): (Vec<Contender>, Vec<String>)) -> Self {
        let machine = machine::description();
        eprintln!("{machine}");
        Self { options, machine, contenders, missing, runs: Vec::new() }
    }

    pub(crate) fn contenders(&self) -> &[Contender] {
        &self.contenders
    }

    /// Adds a run and says how it went.
    pub(crate) fn add(
        &mut self,
        case: Case,
        octets: u64,
        contestant: Contestant,
        measured: Result<Figures, String>,
    ) {
        let said = match &measured {
            Ok(figures) => format!("{:.2} s, {:.1} MB", figures.seconds, megabytes(figures.wire)),
            Err(problem) => format!("FAILED: {problem}"),
        };
        eprintln!("{:<8} {:<32} {said} (load {})", case.name(), name(contestant), machine::load());
        self.runs.push(Run { case, octets, contestant, measured });
    }

    /// The rivals that were the fastest on the bare path, in their order.
    pub(crate) fn fastest_rivals(&self, case: Case, count: usize) -> Vec<Contestant> {
        let mut rivals: Vec<(f64, Contestant)> = self
            .contestants(case)
            .into_iter()
            .filter(|contestant| contestant.contender != Contender::Tieline && !contestant.is_carried)
            .filter_map(|contestant| Some((self.median_seconds(case, contestant)?, contestant)))
            .collect();
        rivals.sort_by(|one, other| one.0.total_cmp(&other.0));
        rivals.into_iter().take(count).map(|(_, contestant)| contestant).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let options = self.options;
        let mut text = format!(
            "{}; path of {} Mbit/s, {} ms there and back; medians of {} (the least to the most)\n\n",
            self.machine,
            options.line_mbit,
            options.round_trip.as_millis(),
            options.rounds
        );
        for contender in &self.contenders {
            let synced = if contender.is_durable() { "" } else { "; a `sync` is added to its time" };
            let _ = writeln!(text, "- {}: {}{synced}", contender.name(), contender.version(options));
        }
        for missing in &self.missing {
            let _ = writeln!(text, "- not installed: {missing}");
        }
        for case in &options.cases {
            text += &self.table(*case);
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
            .map(|run| format!("{} {}", run.case.name(), name(run.contestant)))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join(", "))) }
    }

    fn table(&self, case: Case) -> String {
        let mut text = format!("\n### {}: {}\n\n", case.name(), case.title(self.options));
        text += "| | runs | seconds | to tieline | Mbit/s | MB on the wire | processor s, both ends | peak MiB of an end |\n";
        text += "|---|---|---|---|---|---|---|---|\n";
        let contestants = self.contestants(case);
        let ours = contestants
            .iter()
            .find(|contestant| contestant.contender == Contender::Tieline)
            .and_then(|contestant| self.median_seconds(case, *contestant));
        for contestant in contestants {
            text += &self.row(case, contestant, ours);
        }
        text
    }

    /// A contestant that failed sometimes has the median of its better runs: that is to be seen.
    fn row(&self, case: Case, contestant: Contestant, ours: Option<f64>) -> String {
        let runs: Vec<&Run> = self.runs_of(case, contestant).collect();
        let good: Vec<&Figures> = runs.iter().filter_map(|run| run.measured.as_ref().ok()).collect();
        let count = format!("{} of {}", good.len(), runs.len());
        let Some(seconds) = self.median_seconds(case, contestant) else {
            let why = runs.iter().find_map(|run| run.measured.as_ref().err());
            let why = why.and_then(|problem| problem.lines().next()).unwrap_or_default().replace('|', "/");
            return format!("| {} | {count} | {why} | - | - | - | - | - |\n", name(contestant));
        };
        let of = |figure: fn(&Figures) -> f64| {
            median(&mut good.iter().map(|figures| figure(figures)).collect::<Vec<_>>()).unwrap_or_default()
        };
        let all = || good.iter().map(|figures| figures.seconds);
        let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        let ratio = ours.map_or("-".into(), |ours| format!("{:.2} ×", seconds / ours));
        let peak = good.iter().filter_map(|figures| figures.peak_kib).max();
        let is_ours = contestant.contender == Contender::Tieline;
        let peak = peak.filter(|_| is_ours).map_or("-".into(), |kib| format!("{:.0}", kib as f64 / 1024.0));
        format!(
            "| {} | {count} | {seconds:.2} ({least:.2} to {most:.2}) | {ratio} | {:.1} | {:.2} | {:.1} | {peak} |\n",
            name(contestant),
            runs.first().map_or(0, |run| run.octets) as f64 * 8e-6 / seconds,
            of(|figures| megabytes(figures.wire)),
            of(|figures| figures.processor),
        )
    }

    /// Those that have runs of the case, in the order of their first.
    fn contestants(&self, case: Case) -> Vec<Contestant> {
        let mut found = Vec::new();
        for run in self.runs.iter().filter(|run| run.case == case) {
            if !found.contains(&run.contestant) {
                found.push(run.contestant);
            }
        }
        found
    }

    fn runs_of(&self, case: Case, contestant: Contestant) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.case == case && run.contestant == contestant)
    }

    fn median_seconds(&self, case: Case, contestant: Contestant) -> Option<f64> {
        let measured = self.runs_of(case, contestant).filter_map(|run| run.measured.as_ref().ok());
        median(&mut measured.map(|figures| figures.seconds).collect::<Vec<_>>())
    }
}

/// There and back.
fn megabytes(wire: [f64; 2]) -> f64 {
    (wire[0] + wire[1]) / 1e6
}

fn name(contestant: Contestant) -> String {
    let congestion = contestant.congestion.map(|congestion| format!(", {}", congestion.name()));
    let carried = if contestant.is_carried { ", in wireguard-go" } else { "" };
    format!("{}{}{carried}", contestant.contender.name(), congestion.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tieline_bench::offices::Congestion;

    fn contestant(contender: Contender, congestion: Option<Congestion>) -> Contestant {
        Contestant { contender, congestion, is_carried: false }
    }

    fn figures(seconds: f64) -> Result<Figures, String> {
        Ok(Figures { seconds, wire: [1e6, 5e5], processor: 1.0, peak_kib: None })
    }

    #[test]
    fn medians_failures_and_what_is_missing_are_seen() {
        let options = Options { cases: vec![Case::Clean], ..Options::default() };
        let mut report = Report::new(&options, (vec![Contender::Tieline], vec!["qcp (qcp)".into()]));
        let scp = contestant(Contender::Scp, Some(Congestion::Bbr));
        let tar = contestant(Contender::TarSsh, Some(Congestion::Bbr));
        for seconds in [2.0, 9.0, 4.0] {
            report.add(Case::Clean, 1_000_000, contestant(Contender::Tieline, None), figures(seconds));
        }
        report.add(Case::Clean, 1_000_000, scp, figures(8.0));
        report.add(Case::Clean, 1_000_000, scp, Err("it | ended\nlog".into()));
        report.add(Case::Clean, 1_000_000, tar, Err("it | ended\nlog".into()));
        let text = report.markdown();
        for row in [
            "- not installed: qcp (qcp)",
            "| tieline | 3 of 3 | 4.00 (2.00 to 9.00) | 1.00 × | 2.0 | 1.50 | 1.0 | - |",
            "| scp, bbr | 1 of 2 | 8.00 (8.00 to 8.00) | 2.00 × |",
            "| tar-ssh, bbr | 0 of 1 | it / ended | - |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
        assert_eq!(report.fastest_rivals(Case::Clean, 5), [scp], "only those that were measured");
        assert!(report.complete().is_err());
    }
}
