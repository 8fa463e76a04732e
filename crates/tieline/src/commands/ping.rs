//! `ping`: the round trip to the far end, through the line.

use std::{fmt, time::Duration};

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::Client,
    places::{LineName, Places},
    status::FarEndKind,
};
use tokio::time::sleep;

use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::{output, process};

/// Measure the round trip to the far end
///
/// The probes go through the sealed line and are answered by the far end's tieline. The exit status is 0 if all were answered.
#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// The line
    name: LineName,

    /// How many probes
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,

    /// Seconds between probes
    #[arg(short, long, default_value_t = 0.5, value_parser = interval)]
    interval: f64,

    /// Octets of the packet that carries the probe, up to the MTU of the line
    #[arg(short, long, default_value_t = 0)]
    size: u16,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.01..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.01 to 3600".to_owned()) }
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Measured {
    line: LineName,
    probes_sent: u16,
    probes_answered: u16,
    round_trips_seconds: Vec<Option<f64>>,
}

/// Not everything was answered.
#[derive(Debug, thiserror::Error)]
enum PingError {
    #[error("{lost} of {sent} probes were not answered; `tieline doctor` looks for the reason")]
    Lost { lost: u16, sent: u16 },
    #[error(
        "the far end is plain WireGuard, which answers no probes; use the system's `ping` to an address behind it"
    )]
    IpOnly,
    #[error(
        "a packet of {size} octets does not fit: the largest on this line has {largest}; give --size that or less"
    )]
    TooLarge { size: u16, largest: u16 },
}

impl CommandError for PingError {
    fn exit(&self) -> Exit {
        match self {
            Self::Lost { .. } | Self::IpOnly => Exit::Failed,
            Self::TooLarge { .. } => Exit::Wrong,
        }
    }

    fn is_in_report(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Measures and tells.
///
/// # Errors
///
/// If the line is not up, or a probe was not answered.
pub(crate) fn run(places: &Places, args: &PingArgs) -> Result<(), Failure> {
    let client = Client::new(&places.files(&args.name).socket);
    process::runtime()?.block_on(async {
        let status = client.status().await?;
        if args.size > status.here.mtu {
            return Err(PingError::TooLarge { size: args.size, largest: status.here.mtu }.into());
        }
        if status.far_end.kind == FarEndKind::IpOnly {
            return Err(PingError::IpOnly.into());
        }
        let mut round_trips = Vec::new();
        for number in 0..args.count {
            if number > 0 {
                sleep(Duration::from_secs_f64(args.interval)).await;
            }
            let pong = client.ping(args.size).await?;
            round_trips.push(pong.round_trip_seconds);
        }
        let answered = u16::try_from(round_trips.iter().flatten().count()).unwrap_or(args.count);
        let measured = Measured {
            line: args.name.clone(),
            probes_sent: args.count,
            probes_answered: answered,
            round_trips_seconds: round_trips,
        };
        output::report(args.reporting.json, &measured)?;
        match args.count - answered {
            0 => Ok(()),
            lost => Err(PingError::Lost { lost, sent: args.count }.into()),
        }
    })
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, round_trip) in self.round_trips_seconds.iter().enumerate() {
            match round_trip {
                Some(seconds) => writeln!(f, "{:>3}  {:.2} ms", number + 1, seconds * 1000.0)?,
                None => writeln!(f, "{:>3}  no answer", number + 1)?,
            }
        }
        writeln!(f, "{} of {} answered", self.probes_answered, self.probes_sent)
    }
}
