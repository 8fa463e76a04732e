//! `flows`: what goes out over a shaped line, flow by flow.

use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::Client,
    flows::{FlowStatus, FlowsStatus},
    places::{LineName, Places},
};
use tokio::time::{Instant, sleep};

use super::table::table;
use crate::args::Reporting;
use crate::failure::Failure;
use crate::{output, process};

/// The time over which rates are counted, and how often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Flows that people are shown.
const SHOWN_MAX: usize = 40;

/// Show what goes out over the line, flow by flow
///
/// One row for each flow of the last half minute: between whom, as what it is served and why, how fast it is, how long its packets wait,
/// and how many were dropped. There is a queue, and so something to see, once `rate.out` says what the line carries. What comes in is shown
/// at the other end.
#[derive(Debug, Args)]
pub(crate) struct FlowsArgs {
    /// The line
    name: LineName,

    /// Show it again every second, until it is interrupted
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// What goes out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Flows {
    rate: Option<u64>,
    flows: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    #[serde(flatten)]
    flow: FlowStatus,
    /// Over the last second.
    bits_per_second: f64,
}

/// Looks twice, a second apart, and tells.
///
/// # Errors
///
/// If the line is not up.
pub(crate) fn run(places: &Places, args: &FlowsArgs) -> Result<(), Failure> {
    let client = Client::new(&places.files(&args.name).socket);
    process::runtime()?.block_on(async {
        let (mut then, mut before) = (Instant::now(), client.flows().await?);
        loop {
            if before.rate.is_some() {
                sleep(LOOK_EVERY).await;
            }
            let (now, status) = (Instant::now(), client.flows().await?);
            let flows = Flows::new(&before, &status, (now - then).as_secs_f64());
            if args.follow && !args.reporting.json && std::io::stdout().is_terminal() {
                output::text("\x1b[H\x1b[J")?;
            }
            output::report(args.reporting.json, &flows)?;
            if !args.follow || status.rate.is_none() {
                return Ok(());
            }
            (then, before) = (now, status);
        }
    })
}

impl Flows {
    fn new(before: &FlowsStatus, status: &FlowsStatus, seconds: f64) -> Self {
        let bytes_before = |flow: &FlowStatus| {
            let is_same = |other: &&FlowStatus| {
                (&other.protocol, other.from, other.to, other.dscp)
                    == (&flow.protocol, flow.from, flow.to, flow.dscp)
            };
            before.flows.iter().find(is_same).map_or(0, |other| other.bytes)
        };
        let flows = status.flows.iter().map(|flow| Row {
            bits_per_second: flow.bytes.saturating_sub(bytes_before(flow)) as f64 * 8.0 / seconds,
            flow: flow.clone(),
        });
        Self { rate: status.rate, flows: flows.collect() }
    }
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rate) = self.rate else {
            return writeln!(
                f,
                "The line's rate is not known, so everything is sent at once and nothing is queued here. Say in the configuration what it \
                 carries: rate.out = \"20 Mbit/s\"."
            );
        };
        writeln!(f, "{} flows out, on a line of {}", self.flows.len(), rate_text(rate as f64))?;
        f.write_str(&table(HEADS, self.flows.iter().take(SHOWN_MAX).map(cells)))?;
        if self.flows.len() > SHOWN_MAX {
            writeln!(f, "… and {} more; --json has them all", self.flows.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}

const HEADS: [&str; 8] = ["class", "why", "", "from", "to", "rate", "waits", "dropped, marked"];

fn cells(Row { flow, bits_per_second }: &Row) -> [String; 8] {
    let address = |address: Option<std::net::SocketAddr>| match address {
        Some(address) if address.port() == 0 => address.ip().to_string(),
        Some(address) => address.to_string(),
        None => String::new(),
    };
    [
        flow.class.clone(),
        flow.why.clone(),
        flow.protocol.clone(),
        address(flow.from),
        address(flow.to),
        rate_text(*bits_per_second),
        format!("{:.1} ms", flow.delay_seconds * 1000.0),
        format!("{}, {}", flow.dropped, flow.marked),
    ]
}

fn rate_text(bits_per_second: f64) -> String {
    if bits_per_second >= 1e6 {
        format!("{:.1} Mbit/s", bits_per_second / 1e6)
    } else {
        format!("{:.0} kbit/s", bits_per_second / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(class: &str, port: u16, bytes: u64) -> FlowStatus {
        FlowStatus {
            protocol: "udp".into(),
            from: Some(([10, 1, 0, 7], port).into()),
            to: Some(([10, 2, 0, 9], 6000).into()),
            dscp: 0,
            class: class.into(),
            why: "looks like a call".into(),
            packets: 50,
            bytes,
            dropped: 3,
            marked: 1,
            delay_seconds: 0.0012,
            waiting: 0,
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let before = FlowsStatus { rate: Some(20_000_000), flows: vec![flow("voice", 4000, 1000)] };
        let status = FlowsStatus {
            rate: Some(20_000_000),
            flows: vec![flow("voice", 4000, 11_000), flow("bulk", 5000, 250_000)],
        };
        let text = Flows::new(&before, &status, 1.0).to_string();
        assert!(text.starts_with("2 flows out, on a line of 20.0 Mbit/s\n"), "{text}");
        assert!(
            text.contains(
                "voice  looks like a call  udp  10.1.0.7:4000  10.2.0.9:6000  80 kbit/s   1.2 ms  3, 1"
            ),
            "{text}"
        );
        assert!(text.contains("2.0 Mbit/s"), "{text}");
    }

    #[test]
    fn a_line_without_a_rate_says_what_to_do() {
        let status = FlowsStatus::default();
        let text = Flows::new(&status, &status, 1.0).to_string();
        assert!(text.contains("rate.out = \"20 Mbit/s\""), "{text}");
    }
}
