//! From the configuration to outboxes and inboxes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tieline_transfer::metadata::{Carry, Keep};
use tieline_transfer::outbox::{Rules, after::After};
use tieline_transfer::receipt::LineKeys;
use tieline_transfer::{Inbox, InboxError, Journal};

use super::inboxes::Inboxes;
use super::incoming::Incoming;
use super::notices::{self, Teller, helper::Helper};
use super::outgoing::OutgoingConfig;
use super::outgoing::queue::PRIORITY_DEFAULT;
use super::watch::RESCAN_DEFAULT;
use crate::config::files::{Expected, Metadata, Owner, SameName};
use crate::config::{FilesConfig, LineConfig};
use crate::places::LineFiles;

/// The line's own inbox in the journal.
const INBOX_NAME: &str = "inbox";
/// Before the name of a pair, that of its inbox in the journal.
const PAIR_INBOX_PREFIX: &str = "pair:";

/// The outbox that every line has, from which what is delivered is removed, as from a mailbox; and those of pairs.
pub(crate) fn outboxes(files: &LineFiles, config: &LineConfig, tellers: &[Teller]) -> Vec<OutgoingConfig> {
    let own = OutgoingConfig {
        name: String::new(),
        folder: files.outbox.clone(),
        rules: Rules::default(),
        rescan: RESCAN_DEFAULT,
        after: After::Remove,
        priority: PRIORITY_DEFAULT,
        carry: Carry::default(),
        teller: Teller::default(),
    };
    let of_pair = |(pair, teller): (&FilesConfig, &Teller)| {
        let outbox = pair.outbox.clone()?;
        let (name, rules) = (pair.name.to_string(), outbox.rules);
        Some(OutgoingConfig {
            name,
            folder: outbox.folder,
            rules,
            rescan: outbox.rescan,
            after: outbox.after,
            priority: outbox.priority,
            carry: carry(&pair.metadata),
            teller: teller.clone(),
        })
    };
    std::iter::once(own).chain(config.files.iter().zip(tellers).filter_map(of_pair)).collect()
}

/// Opens the line's own inbox and those of its pairs.
///
/// # Errors
///
/// That of the first that cannot be opened.
pub(crate) fn open_inboxes(
    config: &LineConfig,
    journal: &Arc<Journal>,
    keys: &LineKeys,
    tellers: &[Teller],
) -> Result<Inboxes, InboxError> {
    let open = |folder, name: &str, key: &str, keep, expected: &[Expected], teller: Teller| {
        let inbox = Inbox::open(folder, key, Arc::clone(journal))?;
        let inbox = Arc::new(inbox.with_keys(keys.clone()).with_keep(keep));
        Ok::<_, InboxError>(Incoming::new(name, inbox, Arc::clone(journal), expected, teller))
    };
    let own = open(&config.inbox, "", INBOX_NAME, Keep::default(), &[], Teller::default())?;
    let pairs = config.files.iter().zip(tellers).filter_map(|(pair, teller)| {
        let (name, folder) = (pair.name.to_string(), &pair.inbox.as_ref()?.folder);
        let key = format!("{PAIR_INBOX_PREFIX}{name}");
        let opened = open(folder, &name, &key, keep(&pair.metadata), &pair.expect, teller.clone());
        Some(opened.map(|inbox| (name, inbox)))
    });
    Ok(Inboxes::new(own, pairs.collect::<Result<_, InboxError>>()?))
}

fn carry(metadata: &Metadata) -> Carry {
    Carry { links: metadata.links, owner: metadata.owner, xattrs: metadata.xattrs }
}

fn keep(metadata: &Metadata) -> Keep {
    let Metadata { owner, times, modes, xattrs, links } = *metadata;
    Keep { times, modes, links, owner, xattrs }
}

/// Starts the helper that runs the hooks of a line, if it has any.
///
/// # Errors
///
/// What the system said.
pub(crate) fn start_helper(config: &LineConfig) -> io::Result<Option<Helper>> {
    let commands = notices::commands(&config.files);
    (!commands.is_empty()).then(|| Helper::start(&commands)).transpose()
}

/// The TCP ports that webhooks are told at.
pub(crate) fn webhook_ports(config: &LineConfig) -> impl Iterator<Item = u16> {
    config.files.iter().filter_map(|pair| pair.webhook.as_ref()).map(notices::port)
}

/// The folders of all pairs: what the process has to reach besides the line's own.
pub(crate) fn pair_folders(config: &LineConfig) -> impl Iterator<Item = PathBuf> {
    config.files.iter().flat_map(|pair| {
        let outbox = pair.outbox.as_ref().map(|outbox| outbox.folder.clone());
        let inbox = pair.inbox.as_ref().map(|inbox| inbox.folder.clone());
        outbox.into_iter().chain(inbox)
    })
}

/// Whether files that arrive are given to their owners, which not everybody may.
pub(crate) fn gives_owners(config: &LineConfig) -> bool {
    config.files.iter().any(|pair| pair.inbox.is_some() && pair.metadata.owner != Owner::None)
}

/// The first pair, with its key, that asks for what is not built yet and would be without effect.
pub(crate) fn not_yet(config: &LineConfig) -> Option<(String, &'static str)> {
    config.files.iter().find_map(|pair| Some((pair.name.to_string(), key_not_yet(pair)?)))
}

fn key_not_yet(pair: &FilesConfig) -> Option<&'static str> {
    let wanted =
        [("same-name", pair.inbox.as_ref().is_some_and(|inbox| inbox.same_name != SameName::KeepBoth))];
    wanted.into_iter().find(|(_, is_wanted)| *is_wanted).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::{Hooks, InboxConfig, Metadata, OutboxConfig};

    fn pair() -> FilesConfig {
        let outbox = OutboxConfig {
            folder: "/out".into(),
            rules: Rules::default(),
            rescan: RESCAN_DEFAULT,
            after: After::Move,
            priority: PRIORITY_DEFAULT,
        };
        FilesConfig {
            name: "pair".parse().unwrap(),
            outbox: Some(outbox),
            inbox: Some(InboxConfig { folder: "/in".into(), same_name: SameName::KeepBoth }),
            metadata: Metadata { owner: Owner::None, times: true, modes: true, xattrs: false, links: false },
            expect: Vec::new(),
            hooks: Hooks { delivered: None, failed: None, waiting: None },
            webhook: None,
        }
    }

    #[test]
    fn what_is_not_built_yet_is_named_and_nothing_else() {
        assert_eq!(key_not_yet(&pair()), None);
        type Change = fn(&mut FilesConfig);
        let changes: [(&str, Change); 1] =
            [("same-name", |pair| pair.inbox.as_mut().unwrap().same_name = SameName::Newest)];
        for (key, change) in changes {
            let mut pair = pair();
            change(&mut pair);
            assert_eq!(key_not_yet(&pair), Some(key));
        }
    }
}
