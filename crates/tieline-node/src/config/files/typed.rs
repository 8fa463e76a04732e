//! `[[files]]` and `[transfer]` as values that cannot hold nonsense.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use tieline_transfer::SameName;
use tieline_transfer::outbox::{Rules, after::After};
use tieline_transfer::schedule::{Limit, Schedule};

use super::super::document::At;
use super::super::duration::parse_duration;
use super::super::excerpt::excerpt;
use super::super::mistake::Mistake;
use super::super::problems::Collector;
use super::super::typed::{absolute_path, convert_each, convert_one, convert_or, convert_some};
use super::words::words;
use super::written::{WrittenExpected, WrittenFiles, WrittenTransfer};
use super::{
    COMMAND_LEN_MAX, Expected, FilesConfig, Hooks, InboxConfig, Metadata, OutboxConfig, Owner, PairName,
    Policy, TransferConfig, WEBHOOK_LEN_MAX,
};
use crate::files::outgoing::queue::PRIORITY_DEFAULT;
use crate::files::watch::RESCAN_DEFAULT;

/// A word of the file and what it means; the first of several is the default.
pub(in super::super) type Word<T> = (&'static str, T);

const AFTER: &[Word<After>] = &[("move", After::Move), ("keep", After::Keep), ("remove", After::Remove)];
const SAME_NAME: &[Word<SameName>] =
    &[("keep-both", SameName::KeepBoth), ("newest", SameName::Newest), ("refuse", SameName::Refuse)];
const OWNER: &[Word<Owner>] = &[("none", Owner::None), ("name", Owner::Name), ("number", Owner::Number)];
const LINKS: &[Word<bool>] = &[("skip", false), ("text", true)];
const POLICY: &[Word<Policy>] =
    &[("fair", Policy::Fair), ("fixed", Policy::Fixed), ("trickle", Policy::Trickle)];

/// The longest settle time: a file that is written to once an hour is a log, and never whole.
const SETTLE_MAX: Duration = Duration::from_hours(1);
/// The shortest time between two scans: with less, nothing else would be done.
const RESCAN_MIN: Duration = Duration::from_secs(1);
/// The longest: what no hint was given of is found within a day.
const RESCAN_MAX: Duration = Duration::from_hours(24);

/// Turns all pairs over; `inbox` is where files of `tieline send` arrive.
pub(in super::super) fn files(
    written: Vec<WrittenFiles>,
    inbox: &Path,
    problems: &mut Collector<'_>,
) -> Vec<FilesConfig> {
    let mut names = Vec::new();
    let mut folders = vec![inbox.to_path_buf()];
    let pairs = written.into_iter();
    pairs.filter_map(|pair| convert_pair(pair, &mut names, &mut folders, problems)).collect()
}

/// Turns `[transfer]` over.
pub(in super::super) fn transfer(written: WrittenTransfer, problems: &mut Collector<'_>) -> TransferConfig {
    let has_rate = written.rate.is_some();
    TransferConfig {
        policy: choice(written.policy, POLICY, problems),
        rate: convert_some(written.rate, problems, |text| Ok(text.parse()?)),
        schedule: convert_some(written.schedule, problems, |text| {
            let schedule = Schedule::parse(text)?;
            let has_share = schedule.limits().any(|limit| matches!(limit, Limit::Share(_)));
            if has_share && !has_rate { Err(Mistake::ShareOfNothing) } else { Ok(schedule) }
        }),
    }
}

/// `None` without a name, which was noted then.
fn convert_pair(
    written: WrittenFiles,
    names: &mut Vec<PairName>,
    folders: &mut Vec<PathBuf>,
    problems: &mut Collector<'_>,
) -> Option<FilesConfig> {
    let name = written.name.and_then(|name| new_name(name, names, problems));
    let outbox = written.outbox.and_then(|folder| new_folder(folder, folders, problems));
    let inbox = written.inbox.and_then(|folder| new_folder(folder, folders, problems));
    let default = Rules::default();
    let links = choice(written.links, LINKS, problems);
    let rules = Rules {
        settle: convert_or(written.settle, default.settle, problems, |text| {
            parse_duration(text, Duration::ZERO..=SETTLE_MAX)
        }),
        ignore: match written.ignore {
            Some(list) => {
                let patterns = convert_each(list, problems, |text| Ok(text.parse()?));
                patterns.into_iter().map(|pattern| pattern.value).collect()
            }
            None => default.ignore,
        },
        done_suffix: convert_or(written.done_suffix, default.done_suffix, problems, |text| {
            if text.is_empty() { Ok(None) } else { Ok(Some(text.parse()?)) }
        }),
        links,
    };
    let rescan = convert_or(written.rescan, RESCAN_DEFAULT, problems, |text| {
        parse_duration(text, RESCAN_MIN..=RESCAN_MAX)
    });
    let priority = written.priority.and_then(|priority| u8::try_from(priority.value).ok());
    let priority = priority.unwrap_or(PRIORITY_DEFAULT);
    let after = choice(written.after, AFTER, problems);
    let same_name = choice(written.same_name, SAME_NAME, problems);
    let metadata = Metadata {
        owner: choice(written.owner, OWNER, problems),
        times: written.times.is_none_or(|times| times.value),
        modes: written.modes.is_none_or(|modes| modes.value),
        xattrs: written.xattrs.is_some_and(|xattrs| xattrs.value),
        links,
    };
    let hooks = Hooks {
        delivered: convert_some(written.on_delivered, problems, command),
        failed: convert_some(written.on_failed, problems, command),
        waiting: convert_some(written.on_waiting, problems, command),
    };
    let webhook = convert_some(written.webhook, problems, webhook);
    let expect = written.expect.into_iter().filter_map(|file| expected(file, problems)).collect();
    let outbox = outbox.map(|folder| OutboxConfig { folder, rules, rescan, after, priority });
    let inbox = inbox.map(|folder| InboxConfig { folder, same_name });
    Some(FilesConfig { name: name?, outbox, inbox, metadata, expect, hooks, webhook })
}

fn new_name(
    written: At<String>,
    names: &mut Vec<PairName>,
    problems: &mut Collector<'_>,
) -> Option<PairName> {
    let place = written.clone().map(drop);
    let name: PairName = convert_one(written, problems, |text| Ok(text.parse()?))?;
    // People say names aloud, so case does not tell two pairs apart.
    if names.iter().any(|other| other.as_str().eq_ignore_ascii_case(name.as_str())) {
        place.wrong(problems, Mistake::Duplicate { value: name.to_string() });
    }
    names.push(name.clone());
    Some(name)
}

/// A folder that shares no file with those seen before; else a file would be sent twice, or back to where it came from.
fn new_folder(
    written: At<String>,
    folders: &mut Vec<PathBuf>,
    problems: &mut Collector<'_>,
) -> Option<PathBuf> {
    let place = written.clone().map(drop);
    let folder = convert_one(written, problems, absolute_path)?;
    if let Some(other) = folders.iter().find(|other| folder.starts_with(other) || other.starts_with(&folder))
    {
        place.wrong(problems, Mistake::FoldersOverlap { one: folder.clone(), other: other.clone() });
    }
    folders.push(folder.clone());
    Some(folder)
}

fn expected(written: WrittenExpected, problems: &mut Collector<'_>) -> Option<Expected> {
    let name = convert_some(written.name, problems, |text| Ok(text.parse()?));
    let by = convert_some(written.by, problems, |text| Ok(text.parse()?));
    Some(Expected { name: name?, by: by? })
}

pub(in crate::config) fn choice<T: Copy>(
    written: Option<At<String>>,
    words: &[Word<T>],
    problems: &mut Collector<'_>,
) -> T {
    let (_, default) = words[0];
    convert_or(written, default, problems, |text| match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            Err(Mistake::Choice { known: known.join(" or "), found: excerpt(text) })
        }
    })
}

/// A program and its arguments, quoted as in a shell. What only a shell could do is left to one that is named.
fn command(text: &str) -> Result<Vec<String>, Mistake> {
    let fits = text.len() <= COMMAND_LEN_MAX && !text.contains('\0');
    let words = words(text).filter(|words| fits && words.first().is_some_and(|word| !word.is_empty()));
    words.ok_or(Mistake::Command { max: COMMAND_LEN_MAX })
}

fn webhook(text: &str) -> Result<Uri, Mistake> {
    let uri = text.parse::<Uri>().ok().filter(|_| text.len() <= WEBHOOK_LEN_MAX);
    let has_host = |uri: &Uri| uri.host().is_some_and(|host| !host.is_empty());
    match uri {
        Some(uri) if uri.scheme_str() == Some("http") && has_host(&uri) => Ok(uri),
        _ => Err(Mistake::Webhook(excerpt(text))),
    }
}
