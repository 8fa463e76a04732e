//! Where the two halves of a pipe meet, at the end that accepts connections.
//!
//! Either half may come first: the far end's request waits for somebody here, or somebody here waits for it. One of each
//! may wait at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Circuit;

/// The meeting place.
#[derive(Debug, Default)]
pub(super) struct Meeting(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    taken: bool,
    here: Option<oneshot::Sender<Circuit>>,
    far: Option<oneshot::Sender<oneshot::Sender<Circuit>>>,
}

/// Keeps a second pipe from being asked for at this end; gives the place back when dropped.
#[derive(Debug)]
pub(super) struct Place<'m>(&'m Meeting);

impl Meeting {
    /// The one place of this end, unless it is taken.
    pub(super) fn take_place(&self) -> Option<Place<'_>> {
        let mut waiting = self.lock();
        if waiting.taken {
            return None;
        }
        waiting.taken = true;
        Some(Place(self))
    }

    /// For this end: waits until the far end's request is there, and returns its stream.
    pub(super) async fn wait_for_far_end(&self) -> Option<Circuit> {
        let (give, take) = oneshot::channel();
        {
            let mut waiting = self.lock();
            // A request that waited may be gone by now; then the next one finds us.
            let far = waiting.far.take();
            waiting.here = match far {
                Some(far) => far.send(give).err(),
                None => Some(give),
            };
        }
        take.await.ok()
    }

    /// For the far end's request: waits until somebody is here, and returns whom to give the stream to.
    pub(super) async fn wait_for_here(&self) -> Option<oneshot::Sender<Circuit>> {
        let taken = {
            let mut waiting = self.lock();
            match waiting.here.take().filter(|here| !here.is_closed()) {
                Some(here) => return Some(here),
                None => {
                    let (give, take) = oneshot::channel();
                    waiting.far = Some(give);
                    take
                }
            }
        };
        taken.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.taken = false;
        waiting.here = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_pipe_at_a_time() {
        let meeting = Meeting::default();
        let place = meeting.take_place().unwrap();
        assert!(meeting.take_place().is_none());
        drop(place);
        assert!(meeting.take_place().is_some());
    }

    #[tokio::test]
    async fn request_that_came_first_is_found_by_the_one_who_comes_later() {
        let meeting = Meeting::default();
        let (here, _) = tokio::join!(meeting.wait_for_here(), async {
            tokio::task::yield_now().await;
            tokio::time::timeout(std::time::Duration::from_millis(10), meeting.wait_for_far_end()).await.ok()
        });
        assert!(here.is_some());
    }

    #[tokio::test]
    async fn one_who_left_is_not_found() {
        let meeting = Meeting::default();
        {
            let _place = meeting.take_place().unwrap();
            let waiting = meeting.wait_for_far_end();
            let _ = tokio::time::timeout(std::time::Duration::from_millis(5), waiting).await;
        }
        let found = tokio::time::timeout(std::time::Duration::from_millis(5), meeting.wait_for_here()).await;
        assert!(found.is_err(), "nobody is here");
    }
}
