//! The rows of a wg-quick file: sections, keys, values, places.

use zeroize::Zeroizing;

use crate::config::Mistake;
use crate::config::document::At;
use crate::config::problems::Collector;
use crate::config::suggest;

const INTERFACE_KEYS: [&str; 12] = [
    "PrivateKey",
    "ListenPort",
    "Address",
    "MTU",
    "DNS",
    "Table",
    "SaveConfig",
    "FwMark",
    "PreUp",
    "PostUp",
    "PreDown",
    "PostDown",
];

const PEER_KEYS: [&str; 5] = ["PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"];

/// The two kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Interface,
    Peer,
}

/// A value, erased when dropped, with its place and its key as written.
pub(super) type Value = At<Zeroizing<String>>;

/// One `Key = Value`.
pub(super) struct Row {
    pub(super) section: Section,
    pub(super) value: Value,
}

/// Where the reader is.
enum Reading {
    Outside,
    In(Section),
    /// In a section that was noted as wrong; its rows are not looked at.
    Skipped,
}

/// Returns the rows of the one interface and the one peer; whatever else there is, is noted.
pub(super) fn read(text: &str, problems: &mut Collector<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut reading = Reading::Outside;
    let mut peers = 0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or_default();
        let trimmed = content.trim();
        let offset = start + (content.len() - content.trim_start().len());
        start += line.len();
        if trimmed.is_empty() {
            continue;
        }
        let place = At { value: (), span: offset..offset + trimmed.len(), key: String::new() };
        if let Some(name) = trimmed.strip_prefix('[') {
            reading = section(name, &place, &mut peers, problems);
            continue;
        }
        let row = trimmed.split_once('=').filter(|(key, _)| is_key(key.trim()));
        match (&reading, row) {
            (Reading::Skipped, _) => {}
            // What the row says is not told: it may be a secret.
            (Reading::Outside | Reading::In(_), None) => problems.add(&place.span, None, Mistake::NotARow),
            (Reading::Outside, Some(_)) => problems.add(&place.span, None, Mistake::OutsideSection),
            (Reading::In(section), Some((key, value))) => {
                let gap = trimmed.len() - value.trim_start().len();
                let span = offset + gap..offset + trimmed.len();
                let value =
                    At { value: Zeroizing::new(value.trim().to_owned()), span, key: key.trim().to_owned() };
                rows.push(Row { section: *section, value });
            }
        }
    }
    rows
}

/// Returns the entries of a list, each with its place; empty ones are none.
pub(super) fn entries(list: &Value) -> Vec<At<String>> {
    let mut entries = Vec::new();
    let mut start = list.span.start;
    for entry in list.value.split(',') {
        let trimmed = entry.trim();
        if !trimmed.is_empty() {
            let offset = start + (entry.len() - entry.trim_start().len());
            let span = offset..offset + trimmed.len();
            entries.push(At { value: trimmed.to_owned(), span, key: list.key.clone() });
        }
        start += entry.len() + ",".len();
    }
    entries
}

impl Section {
    /// The mistake of a key that this section does not have.
    pub(super) fn unknown(self, key: &str) -> Mistake {
        let known: &[&'static str] = match self {
            Self::Interface => &INTERFACE_KEYS,
            Self::Peer => &PEER_KEYS,
        };
        Mistake::UnknownKey { meant: suggest::nearest(key, known), known: known.join(", ") }
    }
}

fn section(name: &str, place: &At<()>, peers: &mut usize, problems: &mut Collector<'_>) -> Reading {
    let name = name.strip_suffix(']').unwrap_or(name).trim();
    if name.eq_ignore_ascii_case("interface") {
        return Reading::In(Section::Interface);
    }
    if !name.eq_ignore_ascii_case("peer") {
        problems.add(
            &place.span,
            None,
            Mistake::UnknownSection(if is_key(name) { name.to_owned() } else { "…".to_owned() }),
        );
        return Reading::Skipped;
    }
    *peers += 1;
    if *peers == 1 {
        return Reading::In(Section::Peer);
    }
    problems.add(&place.span, None, Mistake::SecondPeer);
    Reading::Skipped
}

/// Whether a word can be the name of something, and is no base64 that lost what stood before it.
fn is_key(word: &str) -> bool {
    const CHARACTERS_MAX: usize = 24;
    (1..=CHARACTERS_MAX).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
