//! A thread that owns something which waits for descriptors and time, and lets others speak to it between two waits.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use tieline_io::wait::{Waker, wait_precisely};

/// Requests that may wait; whoever makes one waits for its answer anyway.
const REQUESTS_MAX: usize = 16;

type Request<S> = Box<dyn FnOnce(&mut S) + Send>;

/// What a [`Worker`]'s thread does, over and over.
pub(crate) trait Turn: Send + 'static {
    /// Waits until there is something to do or `waker` is set, and does it.
    fn turn(&mut self, waker: &Waker);
}

/// A running thread; dropping this stops it and drops its state.
pub(crate) struct Worker<S> {
    requests: Option<SyncSender<Request<S>>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl<S: Turn> Worker<S> {
    pub(crate) fn spawn(name: &str, state: S) -> io::Result<Self> {
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let waker = Arc::new(Waker::new()?);
        let own_waker = Arc::clone(&waker);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(state, &own_waker, &inbox))?;
        Ok(Self { requests: Some(requests), waker, thread: Some(thread) })
    }

    /// Has the thread do something between two turns and waits for the answer.
    pub(crate) fn ask<T: Send + 'static>(&self, request: impl FnOnce(&mut S) -> T + Send + 'static) -> T {
        let (answer, answered) = sync_channel(1);
        let request: Request<S> = Box::new(move |state| {
            // The receiver waits below.
            let _ = answer.send(request(state));
        });
        let requests = self.requests.as_ref().expect("open until dropped");
        requests.send(request).expect("the thread takes requests until this is dropped");
        self.waker.wake();
        answered.recv().expect("every request is answered")
    }
}

fn work<S: Turn>(mut state: S, waker: &Waker, inbox: &Receiver<Request<S>>) {
    // Without it packets arrive up to 50 µs late; all works all the same.
    let _ = wait_precisely();
    loop {
        state.turn(waker);
        waker.clear();
        loop {
            match inbox.try_recv() {
                Ok(request) => request(&mut state),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}

impl<S> Drop for Worker<S> {
    fn drop(&mut self) {
        self.requests = None;
        self.waker.wake();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
