//! The service `files`: what leaves one office arrives in the other.

pub mod expected;
pub mod inboxes;
pub mod incoming;
pub mod limit;
pub mod notices;
pub mod outgoing;
mod pace;
pub(crate) mod setup;
pub mod turns;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use inboxes::Inboxes;
use incoming::IncomingStatus;
use limit::Gauge;
use outgoing::cancel::{CancelError, Cancelled};
use outgoing::{Handle, OutgoingConfig, OutgoingStatus};
use tieline_transfer::{Journal, RelativePath, receipt::LineKeys};
use tokio::task::JoinHandle;
use turns::Turns;

use crate::config::TransferConfig;
use crate::streams::Streams;
use crate::streams::congestion::Limits;

/// How often it is looked whether what is expected has come.
const EXPECTED_EVERY: Duration = Duration::from_secs(20);

/// The outboxes and inboxes of a line at work; clones are the same.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outboxes: Vec<Arc<Handle>>,
    inboxes: Inboxes,
    gauge: Arc<Gauge>,
    limits: Limits,
    tasks: Vec<JoinHandle<()>>,
}

impl Files {
    /// Begins to empty these outboxes; must be called on the runtime that is to do it.
    #[must_use]
    pub fn start(
        outboxes: Vec<OutgoingConfig>,
        inboxes: Inboxes,
        streams: &Streams,
        journal: &Arc<Journal>,
        keys: &LineKeys,
    ) -> Self {
        let places = Turns::places(outboxes.len());
        let started = outboxes.into_iter().zip(places).map(|(config, place)| {
            outgoing::start(config, streams.clone(), Arc::clone(journal), keys.clone(), place)
        });
        let (outboxes, mut tasks): (Vec<_>, Vec<_>) = started.unzip();
        tasks.push(tokio::spawn(watch_expected(inboxes.clone())));
        let (gauge, looked_at) = (Arc::new(Gauge::default()), streams.clone());
        let looking = Arc::clone(&gauge);
        tasks.push(tokio::spawn(async move { looking.follow(&looked_at).await }));
        Self(Arc::new(Inner { outboxes, inboxes, gauge, limits: streams.limits().clone(), tasks }))
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
        let why = || self.0.gauge.limit(&self.0.limits);
        self.0
            .outboxes
            .iter()
            .map(|outbox| OutgoingStatus { limit: outbox.limit(why), ..outbox.status() })
            .collect()
    }

    /// What is going on in each inbox.
    #[must_use]
    pub fn inboxes(&self) -> Vec<IncomingStatus> {
        self.0.inboxes.all().map(|inbox| inbox.status()).collect()
    }

    /// What needs somebody's attention, in sentences.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let of_inbox = |inbox: IncomingStatus| {
            let IncomingStatus { folder, trouble, late, .. } = inbox;
            let folder = folder.display().to_string();
            let late = late.into_iter().map(|late| late.to_string());
            late.chain(trouble).map(move |alarm| format!("inbox {folder}: {alarm}")).collect::<Vec<_>>()
        };
        self.inboxes().into_iter().flat_map(of_inbox).collect()
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

/// Looks now and then whether what is expected has come; ends if nothing is.
async fn watch_expected(inboxes: Inboxes) {
    while inboxes.all().any(|inbox| inbox.expects()) {
        let checked = inboxes.clone();
        let check = move || checked.all().for_each(|inbox| inbox.check_expected());
        if tokio::task::spawn_blocking(check).await.is_err() {
            return;
        }
        tokio::time::sleep(EXPECTED_EVERY).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
