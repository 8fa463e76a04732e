//! How a packet thread sleeps: until a descriptor is readable, another thread wakes it, or time is up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Descriptors that one wait can watch.
pub const WATCHED_MAX: usize = 32;

/// Wakes a thread that waits in [`wait_readable`] on this waker's descriptor.
///
/// Any thread may call [`Waker::wake`]. The waiting thread calls [`Waker::clear`] after it woke and *before* it looks at its
/// queues; then a wake is never lost: whoever puts something into a queue afterwards finds the waker clear and sets it.
#[derive(Debug)]
pub struct Waker {
    descriptor: OwnedFd,
    set: AtomicBool,
}

impl Waker {
    /// Makes a waker that is not set.
    ///
    /// # Errors
    ///
    /// What the kernel said; in practice, too many open files.
    pub fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { descriptor, set: AtomicBool::new(false) })
    }

    /// Wakes the waiting thread, or keeps it from falling asleep. No system call if it is set already.
    pub fn wake(&self) {
        if !self.set.swap(true, Ordering::AcqRel) {
            // Can fail only if the counter were full, and then the waker is set anyway.
            let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// Takes the wake back; called by the woken thread before it looks at its queues.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // The descriptor first: a wake between the two leaves it set with nobody told, never told with nobody set.
        let _ = rustix::io::read(&self.descriptor, &mut count);
        self.set.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Which of the descriptors given to [`wait_readable`] are readable, by their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readable(u32);

impl Readable {
    /// Whether the descriptor at `place` has something to read, or has failed (reading it says how).
    #[must_use]
    pub fn contains(self, place: usize) -> bool {
        place < WATCHED_MAX && self.0 & (1 << place) != 0
    }

    /// Whether the time was up first.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Sleeps until one of `descriptors` is readable or `limit` has passed (`None`: without limit). Signals do not end it.
///
/// # Errors
///
/// More than [`WATCHED_MAX`] descriptors, or what the kernel said.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Readable> {
    if descriptors.len() > WATCHED_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than one wait can watch"));
    }
    let Some(first) = descriptors.first() else {
        std::thread::sleep(limit.unwrap_or_default());
        return Ok(Readable::default());
    };
    let mut watched: [PollFd<'_>; WATCHED_MAX] = std::array::from_fn(|place| {
        PollFd::from_borrowed_fd(*descriptors.get(place).unwrap_or(first), PollFlags::IN)
    });
    let watched = &mut watched[..descriptors.len()];
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let left = deadline.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(watched, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let bits = watched.iter().enumerate().filter(|(_, polled)| !polled.revents().is_empty());
    Ok(Readable(bits.fold(0, |bits, (place, _)| bits | 1 << place)))
}

/// Descriptors that are waited for again and again. The kernel keeps the list, so a wait costs the same however many there are.
#[derive(Debug)]
pub struct WatchSet {
    epoll: OwnedFd,
    /// Those that are waited for, by their place.
    watched: Readable,
}

impl WatchSet {
    /// Watches `descriptors`, which are known by their places from now on.
    ///
    /// # Errors
    ///
    /// More than [`WATCHED_MAX`] descriptors, or what the kernel said.
    pub fn new(descriptors: &[BorrowedFd<'_>]) -> io::Result<Self> {
        if descriptors.len() > WATCHED_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than one set watches"));
        }
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (place, descriptor) in descriptors.iter().enumerate() {
            epoll::add(&epoll, descriptor, EventData::new_u64(place as u64), EventFlags::IN)?;
        }
        let watched = descriptors.iter().enumerate().fold(0, |bits, (place, _)| bits | 1 << place);
        Ok(Self { epoll, watched: Readable(watched) })
    }

    /// From now on waits for `descriptor`, which is that at `place`, or does not. No system call if that is so already.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn set_watched(
        &mut self,
        place: usize,
        descriptor: BorrowedFd<'_>,
        is_watched: bool,
    ) -> io::Result<()> {
        if self.watched.contains(place) == is_watched || place >= WATCHED_MAX {
            return Ok(());
        }
        let flags = if is_watched { EventFlags::IN } else { EventFlags::empty() };
        epoll::modify(&self.epoll, descriptor, EventData::new_u64(place as u64), flags)?;
        self.watched.0 ^= 1 << place;
        Ok(())
    }

    /// Sleeps until one of those that are watched is readable or `limit` has passed (`None`: without limit). Signals do not end it.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Readable> {
        // The set itself is waited for, since not all kernels let the time for its events be shorter than a millisecond.
        if limit != Some(Duration::ZERO) && wait_readable(&[self.epoll.as_fd()], limit)?.is_empty() {
            return Ok(Readable::default());
        }
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [nothing; WATCHED_MAX];
        let count = epoll::wait(&self.epoll, &mut events[..], Some(&timespec(Duration::ZERO)))?;
        let bits = events[..count]
            .iter()
            .fold(0, |bits, event| bits | 1_u32 << (event.data.u64() % WATCHED_MAX as u64));
        Ok(Readable(bits & self.watched.0))
    }
}

/// Sleeps until `descriptor` takes what is written to it, or `limit` has passed.
///
/// # Errors
///
/// What the kernel said.
pub fn wait_writable(descriptor: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let left = timespec(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)], Some(&left)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Asks the kernel to end this thread's waits on time. By default it may let them run 50 µs over, to wake for several at once;
/// a thread that sends at a rate cannot have that.
///
/// # Errors
///
/// What the kernel said.
pub fn wait_precisely() -> io::Result<()> {
    const SLACK: std::num::NonZeroU64 = std::num::NonZeroU64::new(1_000).expect("not zero");
    Ok(rustix::thread::set_current_timer_slack(Some(SLACK))?)
}

fn timespec(duration: Duration) -> Timespec {
    // A time beyond what the kernel can count is no limit that anybody will see.
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn a_wake_from_another_thread_ends_the_wait() {
        let waker = Waker::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            assert!(wait_readable(&[waker.as_fd()], LIMIT).unwrap().contains(0));
        });
    }

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_a_cleared_one_is_gone() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        assert!(wait_readable(&[waker.as_fd()], LIMIT).unwrap().contains(0));
        waker.clear();
        assert!(wait_readable(&[waker.as_fd()], Some(Duration::ZERO)).unwrap().is_empty());
    }

    #[test]
    fn time_is_up_when_nothing_happens() {
        let waker = Waker::new().unwrap();
        let begin = Instant::now();
        let readable = wait_readable(&[waker.as_fd()], Some(Duration::from_millis(20))).unwrap();
        assert!(readable.is_empty() && begin.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn the_readable_descriptor_is_told_by_its_place() {
        let (quiet, busy) = (Waker::new().unwrap(), Waker::new().unwrap());
        busy.wake();
        let readable = wait_readable(&[quiet.as_fd(), busy.as_fd()], LIMIT).unwrap();
        assert_eq!((readable.contains(0), readable.contains(1)), (false, true));
    }

    #[test]
    fn a_set_tells_which_of_those_that_are_watched_are_readable() {
        let wakers: Vec<_> = (0..WATCHED_MAX).map(|_| Waker::new().unwrap()).collect();
        let descriptors: Vec<_> = wakers.iter().map(Waker::as_fd).collect();
        let mut set = WatchSet::new(&descriptors).unwrap();
        assert!(set.wait(Some(Duration::from_millis(1))).unwrap().is_empty());
        let readable = |set: &WatchSet| {
            let readable = set.wait(Some(Duration::from_millis(1))).unwrap();
            (0..WATCHED_MAX).filter(|place| readable.contains(*place)).collect::<Vec<_>>()
        };
        wakers[3].wake();
        wakers[15].wake();
        assert_eq!(readable(&set), [3, 15]);
        assert_eq!(readable(&set), [3, 15], "until it is read");
        set.set_watched(3, descriptors[3], false).unwrap();
        assert_eq!(readable(&set), [15]);
        wakers[15].clear();
        assert_eq!(readable(&set), [0; 0]);
        set.set_watched(3, descriptors[3], true).unwrap();
        assert_eq!(readable(&set), [3]);
        assert!(WatchSet::new(&[descriptors[0]; WATCHED_MAX + 1]).is_err());
    }

    #[test]
    fn a_set_ends_its_wait_when_it_is_woken_and_in_time() {
        let waker = Waker::new().unwrap();
        let set = WatchSet::new(&[waker.as_fd()]).unwrap();
        let begin = Instant::now();
        assert!(set.wait(Some(Duration::from_micros(300))).unwrap().is_empty());
        assert!(begin.elapsed() >= Duration::from_micros(300));
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            assert!(set.wait(LIMIT).unwrap().contains(0));
        });
    }

    #[test]
    fn a_precise_wait_is_asked_for_by_this_thread_only() {
        let slack = || rustix::thread::current_timer_slack().unwrap();
        std::thread::spawn(move || {
            wait_precisely().unwrap();
            assert_eq!(slack(), 1_000);
        })
        .join()
        .unwrap();
        assert_ne!(slack(), 1_000);
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let waker = Waker::new().unwrap();
        assert!(wait_readable(&[waker.as_fd(); WATCHED_MAX + 1], LIMIT).is_err());
    }

    /// A lost wake shows as a wait that runs into its limit with something in the queue.
    #[test]
    fn no_wake_is_lost_between_producers_and_a_consumer() {
        const PRODUCERS: usize = 3;
        const EACH: usize = 20_000;
        let (waker, queue) = (Waker::new().unwrap(), Mutex::new(VecDeque::new()));
        std::thread::scope(|scope| {
            for _ in 0..PRODUCERS {
                scope.spawn(|| {
                    for item in 0..EACH {
                        queue.lock().unwrap().push_back(item);
                        waker.wake();
                    }
                });
            }
            let mut taken = 0;
            while taken < PRODUCERS * EACH {
                let readable = wait_readable(&[waker.as_fd()], LIMIT).unwrap();
                assert!(
                    !readable.is_empty(),
                    "asleep with {taken} taken and {} queued",
                    queue.lock().unwrap().len()
                );
                waker.clear();
                taken += queue.lock().unwrap().drain(..).count();
            }
        });
    }
}
