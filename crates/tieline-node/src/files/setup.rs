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
use crate::config::files::{Expected, InboxConfig, Metadata, Owner};
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
    let open = |name: &str, inbox: Inbox, expected: &[Expected], teller: Teller| {
        let inbox = Arc::new(inbox.with_keys(keys.clone()));
        Incoming::new(name, inbox, Arc::clone(journal), expected, teller)
    };
    let own = Inbox::open(&config.inbox, INBOX_NAME, Arc::clone(journal))?;
    let own = open("", own, &[], Teller::default());
    let pairs = config.files.iter().zip(tellers).filter_map(|(pair, teller)| {
        let (name, InboxConfig { folder, same_name }) = (pair.name.to_string(), pair.inbox.as_ref()?);
        let opened = Inbox::open(folder, &format!("{PAIR_INBOX_PREFIX}{name}"), Arc::clone(journal));
        Some(opened.map(|inbox| {
            let inbox = inbox.with_keep(keep(&pair.metadata)).with_same_name(*same_name);
            (name.clone(), open(&name, inbox, &pair.expect, teller.clone()))
        }))
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

/// What is read to tell owners by their names, if that is wanted.
pub(crate) fn account_files(config: &LineConfig) -> Vec<PathBuf> {
    let by_name = config.files.iter().any(|pair| pair.metadata.owner == Owner::Name);
    if by_name { vec!["/etc/passwd".into(), "/etc/group".into()] } else { Vec::new() }
}
