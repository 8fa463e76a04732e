//! A stream of numbered packets from one place to another, and when which of them arrived: one clock on both sides.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tieline_io::namespace::NamespaceThread;

/// One packet each so often: gaps are known so exactly.
pub(crate) const INTERVAL: Duration = Duration::from_millis(5);

/// A packet that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) sent: Instant,
    pub(crate) arrived: Instant,
}

/// A stream that runs until it is dropped.
pub(crate) struct Probe {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Probe {
    /// Sends from an address of `from` to an address of `to`.
    pub(crate) fn start(from: (&NamespaceThread, IpAddr), to: (&NamespaceThread, IpAddr)) -> Self {
        let sender = bind(from.0, from.1);
        let receiver = bind(to.0, to.1);
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let target = receiver.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let began = Instant::now();
        let (sending, receiving, found) = (over.clone(), over.clone(), arrivals.clone());
        let threads = vec![
            std::thread::spawn(move || send(&sender, target, began, &sending)),
            std::thread::spawn(move || receive(&receiver, began, &receiving, &found)),
        ];
        Self { arrivals, over, threads }
    }

    /// The first to arrive of the packets sent after `since`; waits for it.
    pub(crate) fn first_since(&self, since: Instant, limit: Duration) -> Option<Arrival> {
        let deadline = Instant::now() + limit;
        loop {
            let arrivals = self.arrivals.lock().unwrap();
            let first =
                arrivals.iter().filter(|one| one.sent >= since).min_by_key(|one| one.arrived).copied();
            drop(arrivals);
            if first.is_some() || Instant::now() > deadline {
                return first;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many arrived since.
    pub(crate) fn count_since(&self, since: Instant) -> usize {
        self.arrivals.lock().unwrap().iter().filter(|one| one.arrived >= since).count()
    }

    /// How long the packets took that arrived since.
    pub(crate) fn delays_since(&self, since: Instant) -> Vec<Duration> {
        let arrivals = self.arrivals.lock().unwrap();
        let late = arrivals.iter().filter(|one| one.sent >= since);
        late.map(|one| one.arrived - one.sent).collect()
    }

    /// The longest time without an arrival since `since`.
    pub(crate) fn longest_gap_since(&self, since: Instant) -> Duration {
        let arrivals = self.arrivals.lock().unwrap();
        let mut times: Vec<Instant> =
            arrivals.iter().map(|one| one.arrived).filter(|arrived| *arrived >= since).collect();
        times.sort();
        times.insert(0, since);
        times.push(Instant::now());
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It says itself why it failed.
            let _ = thread.join();
        }
    }
}

fn bind(namespace: &NamespaceThread, address: IpAddr) -> UdpSocket {
    namespace.run(move || UdpSocket::bind((address, 0)).unwrap())
}

fn send(socket: &UdpSocket, target: SocketAddr, began: Instant, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap();
        // There may be no route at the moment: that is what is measured.
        let _ = socket.send_to(&nanoseconds.to_be_bytes(), target);
        std::thread::sleep(INTERVAL);
    }
}

fn receive(socket: &UdpSocket, began: Instant, over: &AtomicBool, arrivals: &Mutex<Vec<Arrival>>) {
    let mut packet = [0; 8];
    while !over.load(Ordering::Relaxed) {
        // Nothing came within the time out: look whether it is over.
        if socket.recv_from(&mut packet).is_err() {
            continue;
        }
        let arrived = Instant::now();
        let sent = began + Duration::from_nanos(u64::from_be_bytes(packet));
        arrivals.lock().unwrap().push(Arrival { sent, arrived });
    }
}
