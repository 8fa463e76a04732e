//! The service `files`: what leaves one office arrives in the other.

pub mod inboxes;
pub mod outgoing;
mod pace;
pub(crate) mod setup;
pub mod watch;

use std::sync::Arc;

use outgoing::{Handle, OutgoingConfig, OutgoingStatus};
use tieline_transfer::{Journal, receipt::LineKeys};
use tokio::task::JoinHandle;

use crate::config::TransferConfig;
use crate::streams::Streams;

/// The outboxes of a line at work; clones are the same.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outboxes: Vec<Arc<Handle>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Files {
    /// Begins to empty these outboxes; must be called on the runtime that is to do it.
    #[must_use]
    pub fn start(
        outboxes: Vec<OutgoingConfig>,
        streams: &Streams,
        journal: &Arc<Journal>,
        keys: &LineKeys,
    ) -> Self {
        let started = outboxes
            .into_iter()
            .map(|config| outgoing::start(config, streams.clone(), Arc::clone(journal), keys.clone()));
        let (outboxes, tasks) = started.unzip();
        Self(Arc::new(Inner { outboxes, tasks }))
    }

    /// Holds the line to how much of it files may take; to be spawned.
    pub async fn follow(self, config: TransferConfig, streams: Streams) {
        pace::follow(config, streams.limits().clone(), self).await;
    }

    /// Stops all outboxes because of the time of day, or lets them go on.
    fn set_off(&self, is_off: bool) {
        self.0.outboxes.iter().for_each(|outbox| outbox.set_off(is_off));
    }

    /// What is going on in each outbox.
    #[must_use]
    pub fn status(&self) -> Vec<OutgoingStatus> {
        self.0.outboxes.iter().map(|outbox| outbox.status()).collect()
    }

    /// Stops the outbox of that name, or lets it go on. Returns whether there is one.
    #[must_use]
    pub fn set_paused(&self, name: &str, is_paused: bool) -> bool {
        let outbox = self.0.outboxes.iter().find(|outbox| outbox.status().name == name);
        outbox.map(|outbox| outbox.set_paused(is_paused)).is_some()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
