//! `receipts`: what the ends of a line have signed for, what became of every file, and whether all of that is sound.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Write},
};

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::{
        accounts::AccountsStart,
        client::{Client, ClientError},
    },
    places::{LineName, Places},
};
use tieline_transfer::{
    Escaped, Journal, JournalError,
    audit::{EntryError, Link},
    export,
    journal::accounts::{KeptGroup, KeptLink},
    moment::Moment,
    proof::{Broken, Proof, Sound},
    receipt::{Group, GroupError, Receipt},
};
use tokio::runtime::Runtime;

use super::status::octets;
use crate::failure::{CommandError, Exit, Failure};
use crate::{output, process};

/// Show the receipts for files, and check them
///
/// For every file that arrived the receiving end signs a receipt: which content is stored there, under which name, since when. Both ends
/// keep it, and each keeps a log of what became of every file. What is kept is the newest million of each.
#[derive(Debug, Args)]
pub(crate) struct ReceiptsArgs {
    /// The line
    name: LineName,

    /// Check every signature, every receipt and the log, and say in a sentence whether all is sound
    #[arg(long, conflicts_with_all = ["csv", "since", "log"])]
    verify: bool,

    /// Show the log instead: what became of every file, also of those that did not arrive
    #[arg(long)]
    log: bool,

    /// Nothing from before this day, in UTC
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    since: Option<Moment>,

    /// As CSV with a header, for spreadsheets
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// As JSON, one object in a row
    #[arg(long)]
    pub(crate) json: bool,
}

fn date(text: &str) -> Result<Moment, String> {
    Moment::of_date(text).ok_or_else(|| "not a date such as 2026-11-28".to_owned())
}

/// Why receipts cannot be shown, or are not sound.
#[derive(Debug, thiserror::Error)]
enum ReceiptsError {
    /// The running line was asked in vain.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The line is not up, and its journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no journal.
    #[error("line {0} has no journal: it was never up here, so nothing was sent or received")]
    Never(LineName),
    /// What is kept is not sound.
    #[error("not sound: {0}")]
    Broken(#[from] Broken),
    /// A receipt cannot be shown.
    #[error("a group of receipts cannot be read: {0}; `tieline receipts --verify` says more")]
    Group(#[from] GroupError),
    /// An entry of the log cannot be shown.
    #[error("an entry of the log cannot be read: {0}; `tieline receipts --verify` says more")]
    Entry(#[from] EntryError),
    /// Nobody takes the rows.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl CommandError for ReceiptsError {
    fn exit(&self) -> Exit {
        match self {
            Self::Never(_) => Exit::Wrong,
            Self::Client(_)
            | Self::Journal(_)
            | Self::Broken(_)
            | Self::Group(_)
            | Self::Entry(_)
            | Self::Output(_) => Exit::Failed,
        }
    }

    fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Shows or checks.
///
/// # Errors
///
/// If what is kept cannot be read, or is not sound.
pub(crate) fn run(places: &Places, args: &ReceiptsArgs) -> Result<(), Failure> {
    let source = Source::of(places, &args.name)?;
    if args.verify {
        let checked = Checked::of(&check(&source)?);
        return Ok(output::report(args.json, &checked)?);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let is_wanted = |at: Moment| args.since.is_none_or(|since| at >= since);
    if args.log {
        let links = Pages::new(|after| source.links(after), |link: &KeptLink| link.number);
        let rows = links.map(|kept| Ok(kept?.link()?));
        let rows = rows.filter(|row: &Result<Link, ReceiptsError>| {
            row.as_ref().map_or(true, |link| is_wanted(link.entry.at))
        });
        write(args, &mut out, rows)?;
    } else {
        let groups = Pages::new(|after| source.groups(after), |group: &KeptGroup| group.last);
        let rows = Receipts { groups, receipts: VecDeque::new() };
        let rows =
            rows.filter(|row| row.as_ref().map_or(true, |receipt| is_wanted(receipt.record.delivered)));
        write(args, &mut out, rows)?;
    }
    out.flush().map_err(ReceiptsError::Output)?;
    Ok(())
}

fn write<R: export::Row + Readable>(
    args: &ReceiptsArgs,
    out: &mut impl Write,
    rows: impl Iterator<Item = Result<R, ReceiptsError>>,
) -> Result<(), ReceiptsError> {
    if args.csv {
        export::csv(out, rows).map(drop)
    } else if args.json {
        export::json(out, rows).map(drop)
    } else {
        for row in rows {
            row?.write(out)?;
        }
        Ok(())
    }
}

/// Checks what is there at one moment; what comes meanwhile is left for the next time.
fn check(source: &Source) -> Result<Sound, ReceiptsError> {
    let start = source.start()?;
    let keys = start.signing_keys.iter().filter_map(|key| key.parse().ok()).collect();
    let mut proof = Proof::new(keys, start.log_start());
    for group in Pages::new(|after| source.groups(after), |group: &KeptGroup| group.last) {
        let group = group?;
        if group.last > start.last_receipt {
            break;
        }
        proof.check_group(&group)?;
    }
    for link in Pages::new(|after| source.links(after), |link: &KeptLink| link.number) {
        let link = link?;
        if link.number > start.last_link {
            break;
        }
        proof.check_link(&link)?;
    }
    Ok(proof.finish()?)
}

/// Where receipts and log are: with the process of the line, or, if it is not up, in its journal.
enum Source {
    Line(Runtime, Client),
    Journal(Journal),
}

impl Source {
    fn of(places: &Places, line: &LineName) -> Result<Self, Failure> {
        let files = places.files(line);
        let (runtime, client) = (process::runtime()?, Client::new(&files.socket));
        match runtime.block_on(client.accounts_start()) {
            Err(ClientError::NotUp { .. }) if files.journal.exists() => {
                Ok(Self::Journal(Journal::open(&files.journal).map_err(ReceiptsError::from)?))
            }
            Err(ClientError::NotUp { .. }) => Err(ReceiptsError::Never(line.clone()).into()),
            Ok(_) => Ok(Self::Line(runtime, client)),
            Err(error) => Err(ReceiptsError::from(error).into()),
        }
    }

    fn start(&self) -> Result<AccountsStart, ReceiptsError> {
        Ok(match self {
            Self::Line(runtime, client) => runtime.block_on(client.accounts_start())?,
            Self::Journal(journal) => AccountsStart::of(journal)?,
        })
    }

    fn groups(&self, after: u64) -> Result<Vec<KeptGroup>, ReceiptsError> {
        Ok(match self {
            Self::Line(runtime, client) => runtime.block_on(client.receipts(after))?,
            Self::Journal(journal) => journal.kept_groups(after)?,
        })
    }

    fn links(&self, after: u64) -> Result<Vec<KeptLink>, ReceiptsError> {
        Ok(match self {
            Self::Line(runtime, client) => runtime.block_on(client.log(after))?,
            Self::Journal(journal) => journal.kept_links(after)?,
        })
    }
}

/// Rows that come in pages.
struct Pages<T, F, N> {
    page: VecDeque<T>,
    after: u64,
    fetch: F,
    number: N,
    has_failed: bool,
}

impl<T, F, N> Pages<T, F, N> {
    fn new(fetch: F, number: N) -> Self {
        Self { page: VecDeque::new(), after: 0, fetch, number, has_failed: false }
    }
}

impl<T, F, N> Iterator for Pages<T, F, N>
where
    F: Fn(u64) -> Result<Vec<T>, ReceiptsError>,
    N: Fn(&T) -> u64,
{
    type Item = Result<T, ReceiptsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.has_failed {
            match (self.fetch)(self.after) {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    self.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
        let row = self.page.pop_front()?;
        let number = (self.number)(&row);
        // Rows that do not go on would go round for ever.
        self.has_failed |= number <= self.after;
        self.after = number;
        Some(Ok(row))
    }
}

/// The receipts of groups, one by one.
struct Receipts<G> {
    groups: G,
    receipts: VecDeque<Receipt>,
}

impl<G: Iterator<Item = Result<KeptGroup, ReceiptsError>>> Iterator for Receipts<G> {
    type Item = Result<Receipt, ReceiptsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.receipts.is_empty() {
            let group = match self.groups.next()? {
                Ok(kept) => Group::parse(&kept.octets).map_err(ReceiptsError::from),
                Err(error) => Err(error),
            };
            match group {
                Ok(group) => self.receipts.extend(group.into_receipts()),
                Err(error) => return Some(Err(error)),
            }
        }
        self.receipts.pop_front().map(Ok)
    }
}

/// A row for people.
trait Readable {
    fn write(&self, out: &mut impl Write) -> io::Result<()>;
}

impl Readable for Receipt {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let record = &self.record;
        write!(out, "{}  {}  {}", record.delivered, Escaped(&record.path), octets(record.size))?;
        if record.final_name != record.path {
            write!(out, "  as {}", Escaped(&record.final_name))?;
        }
        writeln!(out)
    }
}

impl Readable for Link {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let entry = &self.entry;
        let (event, direction) = (entry.event.word(), entry.direction.word());
        write!(out, "{}  {direction}  {event}  {}  {}", entry.at, Escaped(&entry.path), octets(entry.size))?;
        match &entry.reason {
            Some(reason) => writeln!(out, "  {}", Escaped(reason.text.as_bytes())),
            None => writeln!(out),
        }
    }
}

/// What a check found sound.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Checked {
    sound: bool,
    receipts: u64,
    groups: u64,
    log_entries: u64,
    /// Number and hash of the last entry, to be kept elsewhere.
    log_last: String,
}

impl Checked {
    fn of(sound: &Sound) -> Self {
        Self {
            sound: true,
            receipts: sound.receipts,
            groups: sound.groups,
            log_entries: sound.log.links,
            log_last: sound.log.last.to_string(),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receipts, groups, log_entries, log_last, .. } = self;
        writeln!(
            f,
            "all is sound: {receipts} receipts under {groups} signatures, and {log_entries} entries of the log, of which the last is {log_last}"
        )
    }
}
