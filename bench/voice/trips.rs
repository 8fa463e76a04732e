//! Small questions and answers beside everything else, as DNS and the listing of a folder are: each of another port, so a flow of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tieline_bench::figures::percentile;
use tieline_bench::offices::Offices;
use tieline_io::scheduling::RealTime;
use tieline_sim::calls::{Window, now};

const PORT: u16 = 53;
const QUESTION_LEN: usize = 40;
const ANSWER_LEN: usize = 200;
/// Ports that take turns.
const SOCKETS: usize = 50;
const EACH: Duration = Duration::from_millis(50);
/// An answer that took longer is none.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether all is over.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// Questions that go on.
pub(crate) struct Trips {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    asking: Option<JoinHandle<Vec<(u64, f64)>>>,
}

/// When each question was asked, and after how many ms it was answered, if it was.
pub(crate) struct Answers(Vec<(u64, f64)>);

impl Trips {
    /// Has the first office ask the second.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn start(offices: &Offices) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("round trips: {error}");
        let address = SocketAddr::from((offices.b.address, PORT));
        let server = offices.b.namespace.run(move || UdpSocket::bind(address)).map_err(fault)?;
        let own = SocketAddr::from((offices.a.address, 0));
        let open = move || (0..SOCKETS).map(|_| open(own, address)).collect::<Result<Vec<_>, _>>();
        let sockets = offices.a.namespace.run(open).map_err(fault)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, end) = (Arc::clone(&is_over), Arc::clone(&is_over));
        let answering = std::thread::spawn(move || answer(&server, &over));
        let asking = std::thread::spawn(move || ask(sockets, &end));
        Ok(Self { is_over, threads: vec![answering], asking: Some(asking) })
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// If a thread panicked.
    pub(crate) fn finish(mut self) -> Result<Answers, String> {
        self.is_over.store(true, Ordering::Relaxed);
        let asking = self.asking.take().ok_or("it is over")?;
        Ok(Answers(asking.join().map_err(|_| "a thread of round trips panicked")?))
    }
}

impl Drop for Trips {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // What panicked was told already.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Answers {
    /// Of those that were asked in the window; what was not answered took for ever.
    pub(crate) fn ms(&self, window: Window, share: f64) -> Option<f64> {
        let mut times: Vec<f64> =
            self.0.iter().filter(|(asked, _)| window.contains(*asked)).map(|(_, ms)| *ms).collect();
        percentile(&mut times, share)
    }
}

fn open(own: SocketAddr, other: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(own)?;
    socket.connect(other)?;
    Ok(socket)
}

fn answer(server: &UdpSocket, is_over: &AtomicBool) {
    let _real_time = RealTime::enter();
    let mut packet = [0; ANSWER_LEN];
    // The system takes every timeout but none.
    let _ = server.set_read_timeout(Some(LOOK_EACH));
    while !is_over.load(Ordering::Relaxed) {
        if let Ok((_, asker)) = server.recv_from(&mut packet) {
            // What the system does not take is lost, and seen by who asked.
            let _ = server.send_to(&packet, asker);
        }
    }
}

/// One question at a time on each socket: its answer is read when it is its turn again, so the time is taken by a thread that waits for it.
fn ask(sockets: Vec<UdpSocket>, is_over: &Arc<AtomicBool>) -> Vec<(u64, f64)> {
    let begin = Instant::now();
    let threads: Vec<_> = (0u32..)
        .zip(sockets)
        .map(|(place, socket)| {
            let is_over = Arc::clone(is_over);
            std::thread::spawn(move || ask_in_turn(&socket, begin + EACH * place, &is_over))
        })
        .collect();
    // One that panicked has asked nothing.
    threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
}

fn ask_in_turn(socket: &UdpSocket, first: Instant, is_over: &AtomicBool) -> Vec<(u64, f64)> {
    let _real_time = RealTime::enter();
    let mut answers = Vec::new();
    let mut packet = [0; ANSWER_LEN];
    let _ = socket.set_read_timeout(Some(ANSWERED_WITHIN));
    let mut due = first;
    loop {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if is_over.load(Ordering::Relaxed) {
            return answers;
        }
        let (asked, begin) = (now(), Instant::now());
        let question = asked.to_be_bytes();
        packet[..question.len()].copy_from_slice(&question);
        let _ = socket.send(&packet[..QUESTION_LEN]);
        let is_answered = loop {
            match socket.recv(&mut packet) {
                Ok(_) if packet[..question.len()] == question => break true,
                // The answer of a question that was given up.
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        let ms = if is_answered { begin.elapsed().as_secs_f64() * 1000.0 } else { f64::INFINITY };
        answers.push((asked, ms));
        while due <= Instant::now() {
            due += EACH * SOCKETS as u32;
        }
    }
}
