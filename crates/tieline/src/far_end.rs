//! What the running line knows of the far end, for a command whose stream depends on it.

use std::{convert::Infallible, time::Duration};

use tieline_node::{
    api::client::{Client, ClientError},
    status::LineState,
};
use tokio::time::{Instant, sleep};

/// How often somebody who waits through a cut asks whether it is over.
const SILENCE_POLL: Duration = Duration::from_secs(1);
/// How long after a break its reason may take to be known: the far end's goodbye comes a little later.
const REASON_WAIT_MAX: Duration = Duration::from_secs(1);
const REASON_POLL: Duration = Duration::from_millis(50);

/// Who ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TakenDown {
    /// The other.
    #[error("the far end was taken down")]
    FarEnd,
    /// This one.
    #[error("the line was taken down at this end")]
    ThisEnd,
}

/// Which end was taken down, if that is why a stream over the line of `client` broke.
pub(crate) async fn taken_down(client: &Client) -> Option<TakenDown> {
    let until = Instant::now() + REASON_WAIT_MAX;
    while Instant::now() < until {
        match client.status().await {
            Ok(status) if status.far_end.taken_down => return Some(TakenDown::FarEnd),
            Err(ClientError::NotUp { .. }) => return Some(TakenDown::ThisEnd),
            Ok(_) | Err(_) => sleep(REASON_POLL).await,
        }
    }
    None
}

/// Says once that the far end is not heard any more, and once that it is back, for as long as it is polled.
pub(crate) async fn tell_silence(client: &Client) -> Infallible {
    let mut was_silent = false;
    loop {
        sleep(SILENCE_POLL).await;
        // A line that does not answer has nothing to tell; if it has ended, so has the stream.
        let Ok(status) = client.status().await else { continue };
        let is_silent = status.state == LineState::Silent;
        if is_silent && !was_silent {
            tracing::warn!("the far end is not heard any more; waiting until it is back, Ctrl-C gives up");
        } else if was_silent && !is_silent {
            tracing::info!("the far end is heard again");
        }
        was_silent = is_silent;
    }
}
