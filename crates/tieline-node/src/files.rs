//! The service `files`: what leaves one office arrives in the other.

pub mod inboxes;
pub mod outgoing;
mod pace;
pub(crate) mod setup;
pub mod turns;
pub mod watch;

use std::sync::Arc;

use outgoing::cancel::{CancelError, Cancelled};
use outgoing::{Handle, OutgoingConfig, OutgoingStatus};
use tieline_transfer::{Journal, RelativePath, receipt::LineKeys};
use tokio::task::JoinHandle;
use turns::Turns;

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
        let places = Turns::places(outboxes.len());
        let started = outboxes.into_iter().zip(places).map(|(config, place)| {
            outgoing::start(config, streams.clone(), Arc::clone(journal), keys.clone(), place)
        });
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
        self.outbox(name).map(|outbox| outbox.set_paused(is_paused)).is_some()
    }

    /// Gives up what waits or is under way under `paths` of the outbox of that name.
    ///
    /// # Errors
    ///
    /// [`CancelError`]; nothing is given up then.
    pub async fn cancel(&self, name: &str, paths: Vec<RelativePath>) -> Result<Cancelled, CancelError> {
        let outbox = self.outbox(name).ok_or_else(|| CancelError::NoOutbox(name.to_owned()))?;
        outbox.cancel(paths).await
    }

    fn outbox(&self, name: &str) -> Option<&Arc<Handle>> {
        self.0.outboxes.iter().find(|outbox| outbox.status().name == name)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
