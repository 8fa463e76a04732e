//! From the configuration to outboxes and inboxes.

use std::path::PathBuf;
use std::sync::Arc;

use tieline_transfer::metadata::{Carry, Keep};
use tieline_transfer::outbox::{Rules, after::After};
use tieline_transfer::receipt::LineKeys;
use tieline_transfer::{Inbox, InboxError, Journal};

use super::inboxes::Inboxes;
use super::outgoing::OutgoingConfig;
use super::outgoing::queue::PRIORITY_DEFAULT;
use super::watch::RESCAN_DEFAULT;
use crate::config::files::{Metadata, Owner, SameName};
use crate::config::{FilesConfig, LineConfig};
use crate::places::LineFiles;

/// The line's own inbox in the journal.
const INBOX_NAME: &str = "inbox";
/// Before the name of a pair, that of its inbox in the journal.
const PAIR_INBOX_PREFIX: &str = "pair:";

/// The outbox that every line has, from which what is delivered is removed, as from a mailbox; and those of pairs.
pub(crate) fn outboxes(files: &LineFiles, config: &LineConfig) -> Vec<OutgoingConfig> {
    let own = OutgoingConfig {
        name: String::new(),
        folder: files.outbox.clone(),
        rules: Rules::default(),
        rescan: RESCAN_DEFAULT,
        after: After::Remove,
        priority: PRIORITY_DEFAULT,
        carry: Carry::default(),
    };
    let of_pair = |pair: &FilesConfig| {
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
        })
    };
    std::iter::once(own).chain(config.files.iter().filter_map(of_pair)).collect()
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
) -> Result<Inboxes, InboxError> {
    let open = |folder, name: &str, keep| {
        let inbox = Inbox::open(folder, name, Arc::clone(journal))?;
        Ok::<_, InboxError>(Arc::new(inbox.with_keys(keys.clone()).with_keep(keep)))
    };
    let own = open(&config.inbox, INBOX_NAME, Keep::default())?;
    let pairs = config.files.iter().filter_map(|pair| Some((pair, pair.inbox.as_ref()?)));
    let pairs = pairs.map(|(pair, inbox)| {
        let name = pair.name.to_string();
        let opened = open(&inbox.folder, &format!("{PAIR_INBOX_PREFIX}{name}"), keep(&pair.metadata))?;
        Ok((name, opened))
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
    let hooks = &pair.hooks;
    let wanted = [
        ("same-name", pair.inbox.as_ref().is_some_and(|inbox| inbox.same_name != SameName::KeepBoth)),
        ("expect", !pair.expect.is_empty()),
        ("on-delivered", hooks.delivered.is_some()),
        ("on-failed", hooks.failed.is_some()),
        ("on-waiting", hooks.waiting.is_some()),
        ("webhook", pair.webhook.is_some()),
    ];
    wanted.into_iter().find(|(_, is_wanted)| *is_wanted).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::{Expected, Hooks, InboxConfig, OutboxConfig};

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
        let changes: [(&str, Change); 6] = [
            ("same-name", |pair| pair.inbox.as_mut().unwrap().same_name = SameName::Newest),
            ("expect", |pair| {
                pair.expect.push(Expected { name: "*".parse().unwrap(), by: "18:00".parse().unwrap() });
            }),
            ("on-delivered", |pair| pair.hooks.delivered = Some("true".into())),
            ("on-failed", |pair| pair.hooks.failed = Some("true".into())),
            ("on-waiting", |pair| pair.hooks.waiting = Some("true".into())),
            ("webhook", |pair| pair.webhook = Some("http://host/".into())),
        ];
        for (key, change) in changes {
            let mut pair = pair();
            change(&mut pair);
            assert_eq!(key_not_yet(&pair), Some(key));
        }
    }
}
