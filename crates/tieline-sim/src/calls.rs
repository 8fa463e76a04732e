//! Calls: streams of RTP both ways between two places, sent on time, and each packet's way timed to the microsecond.
//!
//! Both places are on one machine and so have one clock. A packet bears the moment at which it was sent, and the kernel writes down when
//! it came out at the other end, so it does not matter when the receiving thread gets the processor. How late the sending thread was is
//! recorded, for that is the one thing that bends what is measured: its packets then come closer together than a phone's.

mod codec;
mod packet;
mod quality;
mod receiver;
mod sender;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{setsockopt, sockopt};
use tieline_io::namespace::NamespaceThread;

pub use self::codec::Codec;
use self::packet::Label;
pub use self::quality::{Quality, Window};
use self::receiver::Arrival;
use self::sender::Departure;

/// The port of the first call at both ends; each has the even one after that of the call before (RFC 3550 §11).
const PORT: u16 = 20_000;
/// DSCP EF (RFC 3246) in the octet of IPv4.
const EXPEDITED: i32 = 46 << 2;

/// Where the phones of one side are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Their network.
    pub namespace: NamespaceThread,
    /// Their address in it.
    pub address: Ipv4Addr,
}

/// Which calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many, each both ways.
    pub calls: usize,
    /// Of all of them.
    pub codec: Codec,
    /// Whether the phones mark what they send as voice.
    pub is_marked: bool,
}

/// Calls that go on.
pub struct Calls {
    plan: Plan,
    is_over: Arc<AtomicBool>,
    /// Of each place.
    senders: Vec<JoinHandle<Vec<Departure>>>,
    receivers: Vec<JoinHandle<io::Result<Vec<Arrival>>>>,
}

/// All that was sent and has arrived.
pub struct Recording {
    plan: Plan,
    /// One for each way: from the first place, and from the second.
    ways: Vec<(Vec<Departure>, Vec<Arrival>)>,
}

/// Now, as it is written into packets: nanoseconds since 1970, on the clock with which the kernel stamps what arrives.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Calls {
    /// Has all phones talk. All packets of a place are sent at the same moments, one call behind the other: the worst case for the last
    /// of them, and what happens when one machine plays many calls. At the end it is listened so much longer for what is on its way.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn start(places: [&Place; 2], plan: Plan, longer: Duration) -> io::Result<Self> {
        let mut calls =
            Self { plan, is_over: Arc::new(AtomicBool::new(false)), senders: vec![], receivers: vec![] };
        for (place, other) in [(places[0], places[1]), (places[1], places[0])] {
            let sockets = sockets(place, other.address, plan)?;
            let copies = sockets.iter().map(UdpSocket::try_clone).collect::<Result<Vec<_>, _>>()?;
            let (over, end) = (Arc::clone(&calls.is_over), Arc::clone(&calls.is_over));
            let spawn = |name: &str| std::thread::Builder::new().name(name.into());
            calls.receivers.push(spawn("hears").spawn(move || receiver::receive(&copies, &end, longer))?);
            calls.senders.push(spawn("speaks").spawn(move || sender::send(&sockets, plan, &over))?);
        }
        Ok(calls)
    }

    /// Ends them, waits for what is on its way, and returns it all.
    ///
    /// # Errors
    ///
    /// What the system said to those who received.
    pub fn finish(mut self) -> io::Result<Recording> {
        self.is_over.store(true, Ordering::Relaxed);
        let sent: Vec<Vec<Departure>> = self.senders.drain(..).map(joined).collect();
        let heard = self.receivers.drain(..).map(joined).collect::<io::Result<Vec<_>>>()?;
        // What one place sent the other one heard.
        let ways = sent.into_iter().zip(heard.into_iter().rev()).collect();
        Ok(Recording { plan: self.plan, ways })
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        // Whoever drops them does not want to hear the rest.
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Recording {
    /// How each stream did of which packets were sent in the window: both ways of each call.
    #[must_use]
    pub fn qualities(&self, window: Window) -> Vec<Quality> {
        let ways = self.ways.iter();
        ways.flat_map(|(sent, heard)| quality::of_way(self.plan, sent, heard, window)).collect()
    }

    /// Of each way, the one-way delay in ms below which such a share (0 to 1) of all packets lie that were sent in the window, whichever
    /// call's they are. What is lost never arrives.
    #[must_use]
    pub fn delays_ms(&self, window: Window, share: f64) -> Vec<f64> {
        let of_way = |(sent, heard): &(Vec<Departure>, Vec<Arrival>)| {
            let mut delays = quality::delays_ms(sent, heard, window);
            quality::percentile(&mut delays, share).unwrap_or(f64::INFINITY)
        };
        self.ways.iter().map(of_way).collect()
    }

    /// Of each way, the longest time in ms in which nothing came of a call whose packets were sent in the window.
    #[must_use]
    pub fn longest_gaps_ms(&self, window: Window) -> Vec<f64> {
        self.ways.iter().map(|(_, heard)| quality::longest_gap_ms(heard, window)).collect()
    }

    /// How late a packet was sent, of so many hundredths in the window, in ms.
    #[must_use]
    pub fn slip_ms(&self, window: Window, share: f64) -> f64 {
        let sent =
            self.ways.iter().flat_map(|(sent, _)| sent).filter(|sent| window.contains(sent.label.sent));
        let mut slips: Vec<f64> = sent.map(|sent| sent.late.as_secs_f64() * 1000.0).collect();
        quality::percentile(&mut slips, share).unwrap_or_default()
    }
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// One for each call, connected to its peer. Opened in the place, they stay there.
fn sockets(place: &Place, other: Ipv4Addr, plan: Plan) -> io::Result<Vec<UdpSocket>> {
    let own = place.address;
    place.namespace.run(move || {
        (0..plan.calls)
            .map(|call| {
                let port = u16::try_from(call).ok().and_then(|call| PORT.checked_add(call.checked_mul(2)?));
                let port = port.ok_or_else(|| io::Error::other("there are not so many ports"))?;
                let socket = UdpSocket::bind(SocketAddr::from((own, port)))?;
                socket.connect(SocketAddr::from((other, port)))?;
                socket.set_nonblocking(true)?;
                setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
                if plan.is_marked {
                    setsockopt(&socket, sockopt::Ipv4Tos, &EXPEDITED)?;
                }
                Ok(socket)
            })
            .collect()
    })
}
