//! Sessions are replaced while both ends seal and open as fast as they can, each in threads of its own as a node has them, and no
//! packet is lost, repeated or late.
//!
//! Only the clock is virtual: two minutes take a few milliseconds, so there are many sessions, and each turn meets the threads at
//! another place.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod pair;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use pair::{End, MTU, connected, start};
use tieline_line::{
    Control, Delivery, Event, HEADROOM, Inbound, Notice, Outbound, Outgoing, TAILROOM, counters::DropReason,
};
use tieline_seal::limits::REKEY_AFTER_TIME;
use tieline_wire::time::Now;

/// Sessions that each end must have had.
const SESSIONS: usize = 20;
/// What passes on the virtual clock between two looks of control. Less than the time in which silence is noticed.
const STEP: Duration = Duration::from_millis(500);
/// Datagrams that go from thread to thread at once.
const BATCH: usize = 64;
/// Batches under way.
const BATCHES_MAX: usize = 4;
/// Only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(60);

type Batch = Vec<Vec<u8>>;

/// What the packet threads report.
enum Report {
    Handshake(Vec<u8>),
    Associated(Vec<u8>),
    Notice(Notice),
    SessionNeeded,
}

/// The clock of all threads.
struct Clock {
    start: Now,
    milliseconds: AtomicU64,
}

impl Clock {
    fn now(&self) -> Now {
        self.start.after(Duration::from_millis(self.milliseconds.load(Ordering::Acquire)))
    }

    fn advance(&self, time: Duration) {
        self.milliseconds.fetch_add(time.as_millis() as u64, Ordering::AcqRel);
    }
}

/// What the threads of both ends have in common.
struct Run {
    clock: Clock,
    is_over: AtomicBool,
}

/// What control has of one end.
struct Side {
    control: Control,
    reports: Receiver<Report>,
    /// Packets of control for the sending thread.
    outgoing: Arc<Mutex<Vec<Outgoing>>>,
    /// Datagrams for the far end.
    medium: SyncSender<Batch>,
    /// How many packets have arrived here.
    arrived: Arc<AtomicU64>,
    far_address: std::net::SocketAddr,
    sessions: usize,
}

#[test]
fn no_packet_is_lost_repeated_or_late_when_sessions_are_replaced_under_full_load() {
    let start = start();
    let run =
        Run { clock: Clock { start, milliseconds: AtomicU64::new(0) }, is_over: AtomicBool::new(false) };
    let ends = connected(start);
    let counters = ends.each_ref().map(|end| Arc::clone(&end.shared));
    let drops = ends.each_ref().map(|end| end.control.session().drops().clone());
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    let arrived = thread::scope(|scope| {
        let [near, far] = ends;
        let (to_near, at_near) = sync_channel(BATCHES_MAX);
        let (to_far, at_far) = sync_channel(BATCHES_MAX);
        let mut sides = Vec::new();
        let addresses = [near.address, far.address];
        let parts = [(near, to_far, at_near), (far, to_near, at_far)];
        for (number, (end, medium, inbox)) in parts.into_iter().enumerate() {
            let End { control, outbound, inbound, .. } = end;
            let (reports, reported) = channel();
            let side = Side {
                control,
                reports: reported,
                outgoing: Arc::default(),
                medium: medium.clone(),
                arrived: Arc::default(),
                far_address: addresses[1 - number],
                sessions: 0,
            };
            let sender = Sealing { outbound, reports: reports.clone(), outgoing: Arc::clone(&side.outgoing) };
            let (run, sent, arrived) = (&run, &sent[number], Arc::clone(&side.arrived));
            scope.spawn(move || sender.run(run, number as u8, &medium, sent));
            let from = addresses[1 - number];
            scope.spawn(move || open(inbound, run, 1 - number as u8, from, &inbox, &reports, &arrived));
            sides.push(side);
        }
        // Whatever comes of it, the threads end.
        let over = Over(&run);
        for _ in 0..SESSIONS {
            replace_session(&run, &mut sides);
        }
        drop(over);
        sides.into_iter().map(|side| side.arrived).collect::<Vec<_>>()
    });
    for number in 0..2 {
        let (sent, arrived) =
            (sent[number].load(Ordering::Acquire), arrived[1 - number].load(Ordering::Acquire));
        println!("{arrived} packets of {sent} arrived under {SESSIONS} sessions");
        assert_eq!(arrived, sent);
        for reason in DropReason::ALL {
            assert_eq!(counters[number].counters.drops(reason), 0, "{reason:?}");
        }
        let dropped: Vec<_> = drops[number].snapshot().filter(|(_, count)| *count > 0).collect();
        assert_eq!(dropped, [], "of the session");
    }
}

/// Ends the run.
struct Over<'r>(&'r Run);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

/// Lets time pass until both ends have a new session.
fn replace_session(run: &Run, sides: &mut [Side]) {
    let before = sides.iter().map(|side| side.sessions).collect::<Vec<_>>();
    let begun = run.clock.now().monotonic;
    let deadline = Instant::now() + LIMIT;
    while sides.iter().zip(&before).any(|(side, before)| side.sessions == *before) {
        assert!(Instant::now() < deadline, "no new session");
        let age = run.clock.now().monotonic - begun;
        assert!(age < REKEY_AFTER_TIME + Duration::from_secs(20), "no new session after {age:?}");
        let seen: Vec<u64> = sides.iter().map(|side| side.arrived.load(Ordering::Acquire)).collect();
        run.clock.advance(STEP);
        // Time does not pass without traffic both ways.
        while sides.iter().zip(&seen).any(|(side, seen)| side.arrived.load(Ordering::Acquire) == *seen) {
            assert!(Instant::now() < deadline, "no packet arrives any more");
            assert!(!run.is_over.load(Ordering::Acquire), "a thread has failed");
            sides.iter_mut().for_each(|side| side.serve(run));
            // Not the whole time: the threads need it.
            thread::sleep(Duration::from_micros(50));
        }
        sides.iter_mut().for_each(|side| side.serve(run));
    }
}

impl Side {
    /// Does all that control has to do.
    fn serve(&mut self, run: &Run) {
        let now = run.clock.now();
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Handshake(datagram) => {
                    self.control.handle_handshake(now, self.far_address, &datagram)
                }
                Report::Associated(message) => {
                    self.control.handle_associated(now, now, self.far_address, &message);
                }
                Report::Notice(notice) => self.control.handle_notice(now, 0, notice),
                Report::SessionNeeded => self.control.request_session(now),
            }
        }
        if self.control.poll_timeout(now).is_some_and(|due| due <= now.monotonic) {
            self.control.handle_timeout(now);
        }
        while let Some(transmit) = self.control.poll_datagram() {
            // Who opens is there as long as the run lasts.
            let _ = self.medium.send(vec![transmit.bytes]);
        }
        while let Some(packet) = self.control.poll_packet() {
            self.outgoing.lock().unwrap().push(packet);
        }
        while let Some(event) = self.control.poll_event() {
            self.sessions += usize::from(matches!(event, Event::SessionReady));
        }
    }
}

/// What the sending thread has.
struct Sealing {
    outbound: Outbound,
    reports: Sender<Report>,
    outgoing: Arc<Mutex<Vec<Outgoing>>>,
}

impl Sealing {
    /// Seals numbered packets of the end with this number, in batches, until the run is over.
    fn run(mut self, run: &Run, end: u8, medium: &SyncSender<Batch>, sent: &AtomicU64) {
        let mut buffer = vec![0; HEADROOM + MTU + TAILROOM];
        let mut number = 0;
        while !run.is_over.load(Ordering::Acquire) {
            let now = run.clock.now().monotonic;
            let mut batch = Batch::new();
            let outgoing = std::mem::take(&mut *self.outgoing.lock().unwrap());
            for packet in &outgoing {
                let outcome = match packet {
                    Outgoing::Keepalive => self.outbound.seal_keepalive(now, &mut buffer),
                    Outgoing::Labelled { entry, payload } | Outgoing::ByPath { entry, payload, .. } => {
                        buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
                        self.outbound.seal_labelled(now, *entry, &mut buffer, payload.len())
                    }
                };
                batch.extend(outcome.datagram.map(|(_, datagram)| datagram.to_vec()));
            }
            for _ in 0..BATCH {
                let packet = numbered(end, number);
                number += 1;
                buffer[HEADROOM..HEADROOM + packet.len()].copy_from_slice(&packet);
                let outcome = self.outbound.seal_ip(now, &mut buffer, packet.len());
                batch.extend(outcome.datagram.map(|(_, datagram)| datagram.to_vec()));
                let needed = outcome.session_needed.then_some(Report::SessionNeeded);
                for report in outcome.notice.map(Report::Notice).into_iter().chain(needed) {
                    // Control ends before the threads do.
                    let _ = self.reports.send(report);
                }
            }
            if medium.send(batch).is_err() {
                break;
            }
        }
        sent.store(number, Ordering::Release);
    }
}

/// Opens what comes from the end with this number and checks that it is each of its packets, in their order, until nothing comes any
/// more.
fn open(
    mut inbound: Inbound,
    run: &Run,
    far: u8,
    from: std::net::SocketAddr,
    inbox: &Receiver<Batch>,
    reports: &Sender<Report>,
    arrived: &AtomicU64,
) {
    // If this thread fails, all end.
    let over = Over(run);
    for mut batch in inbox {
        let now = run.clock.now().monotonic;
        for datagram in &mut batch {
            let received = inbound.handle_datagram(now, from, datagram);
            let report = match received.delivery {
                Delivery::Ip(packet) => {
                    let number = arrived.load(Ordering::Relaxed);
                    assert_eq!(packet, numbered(far, number), "the next packet is number {number}");
                    arrived.store(number + 1, Ordering::Release);
                    None
                }
                Delivery::Handshake(datagram) => Some(Report::Handshake(datagram.to_vec())),
                Delivery::Associated(message) => Some(Report::Associated(message.to_vec())),
                Delivery::Streams(_) | Delivery::Piece(_) | Delivery::Packed(_) | Delivery::Lan(_) => {
                    panic!("nobody sends them")
                }
                Delivery::Nothing => None,
            };
            for report in report.into_iter().chain(received.notice.map(Report::Notice)) {
                // Control ends before the threads do.
                let _ = reports.send(report);
            }
        }
    }
    drop(over);
}

/// The packet of the end with this number that bears this number.
fn numbered(end: u8, number: u64) -> Vec<u8> {
    const LEN: u8 = 20 + 8 + 50;
    let mut packet = vec![number as u8; usize::from(LEN)];
    packet[..20].copy_from_slice(&[
        0x45,
        0,
        0,
        LEN,
        0,
        0,
        0,
        0,
        64,
        17,
        0,
        0,
        10,
        end + 1,
        0,
        7,
        10,
        2 - end,
        0,
        7,
    ]);
    packet[20..28].copy_from_slice(&number.to_be_bytes());
    packet
}
