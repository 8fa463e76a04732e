//! The phones of an office: every 20 ms a packet of each call.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_io::scheduling::RealTime;

use super::{Codec, Label, Plan, now};

/// A packet that was sent, or that the system did not take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) label: Label,
    /// After its time.
    pub(super) late: Duration,
}

/// Sends until it is over.
pub(super) fn send(sockets: &[UdpSocket], plan: Plan, is_over: &AtomicBool) -> Vec<Departure> {
    // Without it packets are sent late on a busy machine, which the report shows.
    let _real_time = RealTime::enter();
    let (mut departures, mut packet) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for number in 0.. {
        let due = begin + Codec::INTERVAL * number;
        sleep(due.saturating_duration_since(Instant::now()));
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        for (call, socket) in (0..).zip(sockets) {
            let late = due.elapsed();
            let label = Label { call, number, sent: now() };
            label.emit(plan.codec, &mut packet);
            // What the system does not take is lost, as it would be of a phone.
            let _ = socket.send(&packet);
            departures.push(Departure { label, late });
        }
    }
    departures
}
