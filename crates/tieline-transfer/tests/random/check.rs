//! Comparing what is there, and what both ends say, with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tieline_transfer::audit::{Entry, Event};
use tieline_transfer::outbox::after::After;
use tieline_transfer::outbox::rules::SENT_FOLDER;
use tieline_transfer::path::COPIES_MAX;
use tieline_transfer::receipt::TransferId;
use tieline_transfer::{Journal, Obstacle, RelativePath};

use crate::Life;
use crate::attempt::PAIR;
use crate::model::{Hash, Name};
use crate::receiver::INBOX;
use crate::support::kept::{log, proof_of, receipts};
use crate::support::{self, Tree};

type Result<T> = std::result::Result<T, String>;

/// How many versions of files came to each end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    delivered: u64,
    refused: u64,
    given_up: u64,
    /// Of those given up: how many are at the far end, which said so in vain before they were changed or removed.
    unheard: u64,
    /// And how many have their names there, which could not be said any more.
    unsaid: u64,
}

impl Ends {
    pub(crate) fn add(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.refused += more.refused;
        self.given_up += more.given_up;
        self.unheard += more.unheard;
        self.unsaid += more.unsaid;
    }
}

/// What one end says of all entries.
struct Account {
    by_entry: BTreeMap<(TransferId, u64), Entry>,
    /// What is delivered, and how often as new.
    delivered: BTreeMap<(Name, Hash), u32>,
    /// What is not tried any more.
    given_up: BTreeSet<Name>,
    /// What is said last of each name.
    last: BTreeMap<Name, Entry>,
}

/// Compares everything, after a last power cut.
pub(crate) fn check(life: &Life) -> Result<Ends> {
    let unfinished = life.receiver.disk.private_files();
    if unfinished > life.receiver.journal().partials(INBOX).unwrap().len() {
        return Err("something unfinished is left that the journal does not know".into());
    }
    life.receiver.disk.power_cycle();
    let inbox = files_below(life.receiver.disk.tree(), PAIR);
    let here = Account::of(life.sender.journal())?;
    let there = Account::of(life.receiver.journal())?;
    agree(life, &here, &there)?;
    let mut ends = Ends { unsaid: inbox_fits(life, &inbox, &there)?, ..Ends::default() };
    outbox_fits(life, &inbox, &here, &there)?;
    for (name, hash) in versions(life) {
        let version = (name.clone(), hash);
        let is_delivered = here.delivered.contains_key(&version);
        match (is_delivered, life.model.is_refused(&name)) {
            (true, true) => return Err(format!("`{name}` was delivered and is too deep")),
            (true, false) => ends.delivered += 1,
            (false, true) => ends.refused += 1,
            (false, false) => {
                ends.given_up += 1;
                ends.unheard += u64::from(there.delivered.contains_key(&version));
            }
        }
    }
    Ok(ends)
}

impl Account {
    fn of(journal: &Journal) -> Result<Self> {
        proof_of(journal).map_err(|broken| broken.to_string())?;
        let (mut by_entry, mut delivered, mut last) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut given_up = BTreeSet::new();
        for link in log(journal) {
            let entry = link.entry;
            let name = text(&entry.path);
            if entry.event == Event::GivenUp {
                // It is said of its last try as well that this was in vain.
                given_up.insert(name);
                continue;
            }
            if is_delivered(&entry) {
                let hash = entry.hash.ok_or("delivered without a hash")?;
                *delivered.entry((name.clone(), hash)).or_default() +=
                    u32::from(entry.event == Event::Delivered);
            }
            last.insert(name, entry.clone());
            if let Some(twice) = by_entry.insert((entry.transfer, entry.entry), entry) {
                return Err(format!("{twice:?} has two ends"));
            }
        }
        Ok(Self { by_entry, delivered, given_up, last })
    }
}

/// Both ends say the same of each entry, but of a transfer that was cut one may say nothing.
fn agree(life: &Life, here: &Account, there: &Account) -> Result<()> {
    for (key, near) in &here.by_entry {
        let Some(far) = there.by_entry.get(key) else {
            if is_delivered(near) || is_refused(near) {
                return Err(format!("only the sender has {near:?}"));
            }
            continue;
        };
        let both = |what: &str| Err(format!("{what}: {near:?} and {far:?}"));
        if near.path != far.path || is_delivered(near) != is_delivered(far) {
            return both("the logs differ");
        }
        let fact = |entry: &Entry| (entry.event, entry.size, entry.hash, entry.receipt);
        if is_delivered(near) && fact(near) != fact(far) {
            return both("the receipts differ");
        }
        // The sender may have given it up before it heard.
        if is_refused(near) && !is_refused(far) || is_refused(far) && !life.model.is_refused(&text(&far.path))
        {
            return both("one end refuses");
        }
    }
    let heard = there.by_entry.iter().filter(|((transfer, _), _)| !life.cut.contains(transfer));
    match heard.into_iter().find(|(key, _)| !here.by_entry.contains_key(key)) {
        Some((_, far)) => Err(format!("only the receiver has {far:?}, and nothing was cut")),
        None => Ok(()),
    }
}

/// What was called delivered is there, whole and once, and nothing else; how much is there that could not be said.
fn inbox_fits(life: &Life, inbox: &BTreeMap<Name, Hash>, there: &Account) -> Result<u64> {
    if let Some(((name, _), times)) = there.delivered.iter().find(|(_, times)| **times > 1) {
        return Err(format!("`{name}` was delivered {times} times"));
    }
    let receipts = receipts(life.receiver.journal());
    let logged = there.by_entry.values().filter(|entry| is_delivered(entry)).count();
    if receipts.len() != logged {
        return Err(format!("{} receipts, {logged} in the log", receipts.len()));
    }
    let mut said = BTreeSet::new();
    for receipt in receipts {
        let (name, final_name) = (text(&receipt.record.path), text(&receipt.record.final_name));
        let hash = receipt.record.hash;
        if inbox.get(&final_name) != Some(&hash) {
            return Err(format!("`{final_name}` is receipted and not there"));
        }
        if !life.model.history.get(&name).is_some_and(|known| known.contains(&hash)) {
            return Err(format!("`{name}` has a content that it never had"));
        }
        said.insert(final_name);
    }
    if let Some(lost) = life.receiver.said.iter().find(|name| !inbox.contains_key(&text(name))) {
        return Err(format!("`{}` was said to be there", text(lost)));
    }
    for name in life.model.history.keys() {
        let mut contents = BTreeSet::new();
        let copies = copies(name).filter_map(|copy| Some((inbox.get(&copy)?, copy)));
        for (hash, copy) in copies {
            if !contents.insert(hash) {
                return Err(format!("`{copy}` is there under another name as well"));
            }
        }
    }
    let unsaid: Vec<_> = inbox.iter().filter(|(name, _)| !said.contains(*name)).collect();
    let may_be = |name: &Name, hash: &Hash| {
        let of = |known: &&Name| {
            life.model.history[*known].contains(hash) && copies(known).any(|copy| copy == *name)
        };
        life.unsaid.iter().any(|known| of(&known))
    };
    if let Some((name, _)) = unsaid.iter().find(|(name, hash)| !may_be(name, hash)) {
        return Err(format!("`{name}` is there and nobody said so"));
    }
    Ok(unsaid.len() as u64)
}

/// What is in the outbox now is delivered, refused or given up, as the model says, and what is not there any more is delivered.
fn outbox_fits(life: &Life, inbox: &BTreeMap<Name, Hash>, here: &Account, there: &Account) -> Result<()> {
    let after = life.sender.after;
    let sent = files_below(support::tree(&life.sender.folder), SENT_FOLDER);
    let is_sent = |name: &Name, hash: &Hash| copies(name).any(|copy| sent.get(&copy) == Some(hash));
    let check_taken = |name: &Name, hash: &Hash| {
        if after == After::Keep || !here.delivered.contains_key(&(name.clone(), *hash)) {
            return Err(format!("`{name}` was taken away and not delivered"));
        }
        if after == After::Move && !is_sent(name, hash) {
            return Err(format!("`{name}` was taken away and not moved"));
        }
        Ok(())
    };
    life.model.taken.iter().try_for_each(|(name, hash)| check_taken(name, hash))?;
    for (name, hash) in &life.model.present {
        let Ok(content) = fs::read(life.sender.folder.join(name)) else {
            check_taken(name, hash)?;
            continue;
        };
        if blake3::hash(&content).as_bytes() != hash {
            return Err(format!("`{name}` of the outbox was altered"));
        }
        let above = |in_folder: &BTreeMap<Name, Hash>| {
            name.match_indices('/').any(|(end, _)| in_folder.contains_key(&name[..end]))
        };
        let is_delivered = here.delivered.contains_key(&(name.clone(), *hash));
        let last = |account: &Account, event, code| {
            let last = account.last.get(name);
            last.is_some_and(|entry| {
                entry.event == event && entry.reason.as_ref().is_some_and(|why| why.code == code)
            })
        };
        let both_say = |event, obstacle: Obstacle| {
            [here, there].into_iter().all(|account| last(account, event, obstacle.to_wire().0))
        };
        let fits = if life.model.is_refused(name) {
            !is_delivered && both_say(Event::Refused, Obstacle::Name(0))
        } else if above(inbox) {
            let is_given_up = here.given_up.contains(name);
            !is_delivered && is_given_up && both_say(Event::Failed, Obstacle::InTheWay)
        } else {
            is_delivered && (after == After::Keep || above(&sent))
        };
        if !fits {
            return Err(format!(
                "`{name}` stays in the outbox, delivered: {is_delivered}, {:?}",
                here.last.get(name)
            ));
        }
    }
    Ok(())
}

fn versions(life: &Life) -> impl Iterator<Item = (Name, Hash)> {
    life.model.history.iter().flat_map(|(name, hashes)| hashes.iter().map(|hash| (name.clone(), *hash)))
}

/// The names that a file of this name may get.
fn copies(name: &Name) -> impl Iterator<Item = Name> {
    let path = RelativePath::parse(name.as_bytes()).unwrap();
    (1..=COPIES_MAX).map(move |copy| text(path.copy(copy).as_bytes()))
}

/// Files below a folder and the hashes of their contents.
fn files_below(tree: Tree, folder: &str) -> BTreeMap<Name, Hash> {
    let above = format!("{folder}/");
    tree.into_iter()
        .filter_map(|(name, content)| {
            Some((text(&name).strip_prefix(&above)?.to_owned(), *blake3::hash(&content?).as_bytes()))
        })
        .collect()
}

fn is_delivered(entry: &Entry) -> bool {
    matches!(entry.event, Event::Delivered | Event::AlreadyThere)
}

/// Whether it is refused for good, and not for want of room.
fn is_refused(entry: &Entry) -> bool {
    let no_space = Obstacle::NoSpace { missing_bytes: 0 }.to_wire().0;
    entry.event == Event::Refused && entry.reason.as_ref().is_none_or(|why| why.code != no_space)
}

fn text(name: &[u8]) -> Name {
    String::from_utf8(name.into()).unwrap()
}
