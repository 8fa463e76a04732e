//! `doctor`: looks for the reason why a line does not do what it should, and says in a sentence what to do.

use std::fmt;

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::{Client, ClientError},
    config::Line,
    places::{LineName, Places},
};

use crate::args::Reporting;
use crate::doctor::{self, Finding, Severity};
use crate::failure::{CommandError, Exit, Failure};
use crate::{output, process};

/// Look for the reason why a line does not work
///
/// Checks the configuration, the rights, the port and the network here, asks the running end what it has seen, and measures the
/// path. Changes nothing, but with --cut-line. The exit status is 0 if nothing is wrong.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The line
    name: LineName,

    /// Where the internet is reached by way of the far end: close that way for a second, and look whether anything leaves by this end's own
    #[arg(long)]
    cut_line: bool,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Something is wrong; the report has said what.
#[derive(Debug, thiserror::Error)]
#[error("something is wrong with the line")]
struct Sick;

impl CommandError for Sick {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_silent(&self) -> bool {
        true
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
struct Diagnosis {
    line: LineName,
    findings: Vec<Finding>,
}

/// Looks and tells.
///
/// # Errors
///
/// If anything is wrong.
pub(crate) fn run(places: &Places, args: &DoctorArgs) -> Result<(), Failure> {
    let line = Line::load(places, &args.name)?;
    let findings = process::runtime()?.block_on(async {
        let client = Client::new(&places.files(&args.name).socket);
        let mut findings = doctor::check_machine(&line.config);
        match client.status().await {
            Ok(status) => {
                findings.extend(doctor::check_running(&line.config, &status));
                findings.extend(doctor::check_path(&client, &status).await);
            }
            Err(ClientError::NotUp { .. }) => findings.extend(doctor::check_before_start(&line.config)),
            Err(error) => findings.push(Finding::fault("no-answer-here", error.to_string())),
        }
        findings.extend(doctor::leak::check(&line.config, args.cut_line).await);
        findings
    });
    let sick = findings.iter().any(|finding| finding.severity == Severity::Fault);
    output::report(args.reporting.json, &Diagnosis { line: args.name.clone(), findings })?;
    if sick { Err(Sick.into()) } else { Ok(()) }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.severity {
                Severity::Good => "ok",
                Severity::Hint => "note",
                Severity::Fault => "WRONG",
            };
            writeln!(f, "{mark:>6}  {}", finding.sentence)?;
        }
        if self.findings.iter().all(|finding| finding.severity != Severity::Fault) {
            writeln!(f, "\nNothing is wrong with the line {} as far as this end can tell.", self.line)?;
        }
        Ok(())
    }
}
