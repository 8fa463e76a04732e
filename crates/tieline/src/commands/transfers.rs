//! `transfers`, `pause`, `resume`: what waits to be sent, seen and steered.

use std::{fmt, io::IsTerminal, time::Duration};

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::{Client, ClientError},
    files::incoming::IncomingStatus,
    files::outgoing::{NextFile, OutgoingStatus, queue::PRIORITY_DEFAULT},
    places::{LineName, Places},
};
use tokio::time::{Instant, sleep};

use super::status::octets;
use crate::args::Reporting;
use crate::failure::Failure;
use crate::{output, process};

/// How often `--follow` looks.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Show what waits to be sent
///
/// One paragraph for each outbox: what waits, what is on its way and how fast, what was delivered since the line came up, and what is
/// in the way. And one for each inbox: what arrived, what is in the way, and what was expected and has not come.
#[derive(Debug, Args)]
pub(crate) struct TransfersArgs {
    /// The line
    name: LineName,

    /// Show it again every second, until it is interrupted
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Stop sending from an outbox
///
/// What is under way is cut and goes on where it was after `tieline resume`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Go on sending from an outbox that was stopped
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The line
    name: LineName,

    /// The name of the pair of folders; the line's own outbox if none is given
    #[arg(value_name = "PAIR", default_value = "")]
    outbox: String,
}

/// The outboxes at one moment.
#[derive(Debug, Serialize)]
struct Transfers {
    outboxes: Vec<OutgoingStatus>,
    inboxes: Vec<IncomingStatus>,
    /// Octets of files in a second since the last look, for each of them.
    #[serde(skip)]
    rates: Vec<Option<f64>>,
}

/// Shows them, once or until interrupted.
///
/// # Errors
///
/// If the line is not up.
pub(crate) fn run(places: &Places, args: &TransfersArgs) -> Result<(), Failure> {
    let client = Client::new(&places.files(&args.name).socket);
    process::runtime()?.block_on(async {
        let mut last: Option<(Instant, Vec<OutgoingStatus>)> = None;
        loop {
            let (now, outboxes) = (Instant::now(), client.transfers().await?);
            let rates = outboxes.iter().enumerate().map(|(index, outbox)| {
                let (then, before) = last.as_ref()?;
                let moved = outbox.moved_bytes.checked_sub(before.get(index)?.moved_bytes)?;
                Some(moved as f64 / (now - *then).as_secs_f64())
            });
            let inboxes = match client.inboxes().await {
                // The process of the line is older than this program.
                Err(ClientError::Refused(_)) => Vec::new(),
                inboxes => inboxes?,
            };
            let transfers = Transfers { rates: rates.collect(), outboxes, inboxes };
            if args.follow && !args.reporting.json && std::io::stdout().is_terminal() {
                output::text("\x1b[H\x1b[J")?;
            }
            output::report(args.reporting.json, &transfers)?;
            if !args.follow {
                return Ok(());
            }
            last = Some((now, transfers.outboxes));
            sleep(FOLLOW_EVERY).await;
        }
    })
}

/// Stops an outbox.
///
/// # Errors
///
/// If the line is not up or has no such outbox.
pub(crate) fn pause(places: &Places, args: &PauseArgs) -> Result<(), Failure> {
    set_paused(places, &args.which, true)
}

/// Lets an outbox go on.
///
/// # Errors
///
/// If the line is not up or has no such outbox.
pub(crate) fn resume(places: &Places, args: &ResumeArgs) -> Result<(), Failure> {
    set_paused(places, &args.which, false)
}

fn set_paused(places: &Places, which: &Which, is_paused: bool) -> Result<(), Failure> {
    let client = Client::new(&places.files(&which.name).socket);
    Ok(process::runtime()?.block_on(client.set_paused(&which.outbox, is_paused))?)
}

impl fmt::Display for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (outbox, rate) in self.outboxes.iter().zip(&self.rates) {
            let name = if outbox.name.is_empty() { "own" } else { &outbox.name };
            writeln!(f, "{name}: {}", outbox.folder.display())?;
            if outbox.priority != 0 && outbox.priority != PRIORITY_DEFAULT {
                writeln!(f, "  priority   {}", outbox.priority)?;
            }
            let paused = match (outbox.is_paused, outbox.is_off) {
                (true, _) => ", paused",
                (false, true) => ", not at this time of day",
                (false, false) => "",
            };
            let waiting = octets(outbox.waiting_bytes);
            writeln!(f, "  waiting    {} files, {waiting}{paused}", outbox.waiting_files)?;
            if let Some(current) = &outbox.current {
                let rate = rate.map(|rate| pace(outbox.waiting_bytes, rate)).unwrap_or_default();
                let limit =
                    outbox.limit.map(|limit| format!(", limit: {}", limit.words())).unwrap_or_default();
                writeln!(f, "  sending    {current}{rate}{limit}")?;
            }
            for NextFile { name, size, is_first } in &outbox.next {
                let first = if *is_first { ", before all others" } else { "" };
                writeln!(f, "  next       {name}, {}{first}", octets(*size))?;
            }
            let delivered = octets(outbox.delivered_bytes);
            writeln!(f, "  delivered  {} files, {delivered} since the line came up", outbox.delivered_files)?;
            if let Some(trouble) = &outbox.trouble {
                writeln!(f, "  trouble    {trouble}")?;
            }
            for refused in &outbox.refused {
                writeln!(f, "  refused    {refused}")?;
            }
        }
        self.inboxes.iter().try_for_each(|inbox| write_inbox(f, inbox))
    }
}

fn write_inbox(f: &mut fmt::Formatter<'_>, inbox: &IncomingStatus) -> fmt::Result {
    let name = if inbox.name.is_empty() { "own" } else { &inbox.name };
    writeln!(f, "{name}, inbox: {}", inbox.folder.display())?;
    if let Some(current) = &inbox.current {
        writeln!(f, "  receiving  {current}")?;
    }
    let received = octets(inbox.received_bytes);
    writeln!(f, "  received   {} files, {received} since the line came up", inbox.received_files)?;
    if let Some(trouble) = &inbox.trouble {
        writeln!(f, "  trouble    {trouble}")?;
    }
    inbox.late.iter().try_for_each(|late| writeln!(f, "  late       {late}"))
}

/// How fast it goes, and how long all of it takes at that pace.
fn pace(waiting_bytes: u64, rate: f64) -> String {
    if rate < 1.0 {
        return ", nothing moves at the moment".to_owned();
    }
    let seconds = (waiting_bytes as f64 / rate).ceil() as u64;
    let left = match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    };
    format!(", {}/s, {left} left", octets(rate as u64))
}

#[cfg(test)]
mod tests {
    use tieline_node::files::{expected::Late, limit::Limit};

    use super::*;

    #[test]
    fn a_pace_says_how_long_the_rest_takes() {
        for (waiting, rate, expected) in [
            (0, 0.0, ", nothing moves at the moment"),
            (10_000_000, 1_000_000.0, ", 1.0 MB/s, 10 s left"),
            (75_000_001, 1_000_000.0, ", 1.0 MB/s, 1 min 16 s left"),
            (7_500_000_000, 1_000_000.0, ", 1.0 MB/s, 2 h 5 min left"),
        ] {
            assert_eq!(pace(waiting, rate), expected);
        }
    }

    #[test]
    fn a_page_has_what_waits_and_what_is_in_the_way() {
        let outbox = OutgoingStatus {
            folder: "/srv/out".into(),
            waiting_files: 2,
            waiting_bytes: 3_000_000,
            current: Some("a".into()),
            trouble: Some("the far end's disk is full".into()),
            refused: vec!["b: refused".into()],
            limit: Some(Limit::FarEnd),
            is_paused: true,
            priority: 7,
            next: vec![
                NextFile { name: "c".into(), size: 1000, is_first: true },
                NextFile { name: "d".into(), size: 2000, is_first: false },
            ],
            ..OutgoingStatus::default()
        };
        let inbox = IncomingStatus {
            name: "mail".into(),
            folder: "/srv/in".into(),
            received_files: 1,
            received_bytes: 2000,
            current: Some("e".into()),
            trouble: Some("its disk is full".into()),
            late: vec![Late { name: "*.csv".into(), by: "18:00".into() }],
        };
        let (rates, inboxes) = (vec![Some(1_000_000.0)], vec![inbox]);
        let page = Transfers { outboxes: vec![outbox], inboxes, rates }.to_string();
        assert_eq!(
            page,
            "own: /srv/out\n  priority   7\n  waiting    2 files, 3.0 MB, paused\n  sending    a, 1.0 MB/s, 3 s left, limit: far end\n  \
             next       c, 1.0 kB, before all others\n  next       d, 2.0 kB\n  \
             delivered  0 files, 0 B since the line came up\n  trouble    the far end's disk is full\n  \
             refused    b: refused\nmail, inbox: /srv/in\n  receiving  e\n  \
             received   1 files, 2.0 kB since the line came up\n  trouble    its disk is full\n  \
             late       `*.csv` was expected by 18:00 and has not come\n"
        );
    }
}
