//! The figures of all runs: a table of medians for each case, and JSON with every one.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};
use tieline_bench::figures::median;
use tieline_bench::{machine, process};

use crate::case::Case;
use crate::contender::Contender;
use crate::metric::{Figures, Metric};
use crate::options::Options;

struct Run {
    round: u32,
    case: Case,
    contender: Contender,
    measured: Result<Figures, String>,
}

pub(crate) struct Report<'a> {
    options: &'a Options,
    machine: String,
    contenders: Vec<(Contender, String)>,
    missing: Vec<String>,
    runs: Vec<Run>,
}

impl<'a> Report<'a> {
    /// Of these contenders; `missing` says who else was wanted, and what for that is not installed.
    pub(crate) fn new(options: &'a Options, contenders: &[Contender], missing: Vec<String>) -> Self {
        let machine =
            format!("{}, {}", machine::description(), process::version("iperf3".as_ref(), "--version"));
        eprintln!("{machine}");
        let contenders =
            contenders.iter().map(|contender| (*contender, contender.version(options))).collect();
        Self { options, machine, contenders, missing, runs: Vec::new() }
    }

    /// Adds a run, says how it went, and saves all so far.
    pub(crate) fn add(
        &mut self,
        round: u32,
        case: Case,
        contender: Contender,
        measured: Result<Figures, String>,
    ) -> Result<(), String> {
        let said = match &measured {
            Ok(figures) => {
                figures.iter().map(|(metric, value)| said(*metric, *value)).collect::<Vec<_>>().join(", ")
            }
            Err(problem) => format!("FAILED: {problem}"),
        };
        eprintln!("{round} {:<8} {:<18} {said} (load {})", case.name(), contender.name(), machine::load());
        self.runs.push(Run { round, case, contender, measured });
        self.save()
    }

    pub(crate) fn markdown(&self) -> String {
        let options = self.options;
        let mut text = format!(
            "{}; {} ms one way, queue of 256 kB, {} s beside the load, medians of {}\n\n",
            self.machine,
            options.delay.as_millis(),
            options.seconds,
            options.rounds
        );
        for (contender, version) in &self.contenders {
            let _ = writeln!(text, "- {}: {version}", contender.name());
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
            .map(|run| format!("{} {} (round {})", run.case.name(), run.contender.name(), run.round))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join(", "))) }
    }

    fn table(&self, case: Case) -> String {
        let metrics = self.metrics(case);
        let names: Vec<&str> = metrics.iter().map(|metric| metric.name).collect();
        let mut text =
            format!("\n### {}: {}\n\n| | runs | {} |\n", case.name(), case.title(), names.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(names.len()));
        for contender in case.contenders() {
            let runs: Vec<&Run> =
                self.runs.iter().filter(|run| run.case == case && run.contender == *contender).collect();
            if runs.is_empty() {
                continue;
            }
            let good: Vec<&Figures> = runs.iter().filter_map(|run| run.measured.as_ref().ok()).collect();
            let cells: Vec<String> = metrics.iter().map(|metric| cell(*metric, &good)).collect();
            // One that failed sometimes has the median of its better runs: that is to be seen.
            let count = format!("{} of {}", good.len(), runs.len());
            let _ = writeln!(text, "| {} | {count} | {} |", contender.name(), cells.join(" | "));
        }
        text
    }

    /// Those that any run of the case has, in the order of the first that has them.
    fn metrics(&self, case: Case) -> Vec<Metric> {
        let mut metrics = Vec::new();
        let measured =
            self.runs.iter().filter(|run| run.case == case).filter_map(|run| run.measured.as_ref().ok());
        for (metric, _) in measured.flatten() {
            if !metrics.contains(metric) {
                metrics.push(*metric);
            }
        }
        metrics
    }

    fn save(&self) -> Result<(), String> {
        let Some(file) = &self.options.json else { return Ok(()) };
        let versions: serde_json::Map<String, Value> = self
            .contenders
            .iter()
            .map(|(contender, version)| (contender.name().to_owned(), json!(version)))
            .collect();
        let all = json!({
            "machine": self.machine,
            "seconds": self.options.seconds,
            "delay_ms": self.options.delay.as_millis() as u64,
            "versions": versions,
            "runs": self.runs.iter().map(Run::json).collect::<Vec<_>>(),
        });
        fs::write(file, format!("{all:#}\n")).map_err(|error| format!("{}: {error}", file.display()))
    }
}

impl Run {
    fn json(&self) -> Value {
        let mut run =
            json!({ "round": self.round, "case": self.case.name(), "contender": self.contender.name() });
        match &self.measured {
            // What never arrived has no number in JSON: null.
            Ok(figures) => figures.iter().for_each(|(metric, value)| run[metric.key] = json!(value)),
            Err(problem) => run["failed"] = json!(problem),
        }
        run
    }
}

fn said(metric: Metric, value: f64) -> String {
    format!("{} {value:.*}", metric.name, metric.digits)
}

fn cell(metric: Metric, runs: &[&Figures]) -> String {
    let values = runs.iter().flat_map(|figures| figures.iter()).filter(|(of, _)| *of == metric);
    let mut values: Vec<f64> = values.map(|(_, value)| *value).collect();
    median(&mut values).map_or("-".into(), |value| format!("{value:.*}", metric.digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{MOS, P99};

    #[test]
    fn medians_failures_and_what_is_missing_are_seen() {
        let options = Options { cases: vec![Case::Loss], ..Options::default() };
        let mut report = Report::new(&options, &[], vec!["tieline (tieline)".into()]);
        for (round, value) in [(1, 9.0), (2, 1.0), (3, 5.0)] {
            let measured = Ok(vec![(P99, value), (MOS, f64::INFINITY)]);
            report.add(round, Case::Loss, Contender::WireguardGo, measured).expect("no file");
        }
        report.add(1, Case::Loss, Contender::Tieline, Err("it ended".into())).expect("no file");
        let text = report.markdown();
        for row in [
            "- not installed: tieline (tieline)",
            "| | runs | p99, ms | MOS of the worst call |",
            "| wireguard-go | 3 of 3 | 5.0 | inf |",
            "| tieline | 0 of 1 | - | - |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
        assert!(report.complete().is_err());
    }
}
