//! One run: every figure of one tunnel, one after the other, from office B to office A.

mod iperf;
mod ping;
mod udp;

use std::time::Duration;

use tieline_bench::machine;

use self::iperf::{ATTEMPTS, Direction, Server, Tcp};
use self::ping::RoundTrips;
use crate::metric::Figures;
use crate::offices::Offices;
use crate::options::Options;
use crate::peer::Running;

/// Pings on an idle tunnel.
const IDLE_PINGS: u32 = 800;
/// What a stream needs to fill the path before it is pinged.
const FILLED_AFTER: Duration = Duration::from_millis(500);

/// Measures everything.
///
/// # Errors
///
/// What could not be measured; then there is no figure at all, for a tunnel that breaks is not to be compared.
pub(crate) fn all(options: &Options, offices: &Offices, running: &mut Running) -> Result<Figures, String> {
    offices.use_cubic()?;
    let server = Server::start(offices)?;
    let idle = ping::idle(offices, IDLE_PINGS)?;

    let before = Processor::now(running)?;
    let up = server.tcp(options.seconds, 1, Direction::ToServer)?;
    let down = server.tcp(options.seconds, 1, Direction::FromServer)?;
    let used = Processor::now(running)?.since(&before);
    let gigabytes = (up.octets + down.octets) / 1e9;

    let four = server.tcp(options.seconds, 4, Direction::ToServer)?;
    let (loaded, beside) = beside_tcp(options, offices, &server)?;
    let udp_1200 = udp::largest_rate(&server, 1200)?;
    let udp_200 = udp::largest_rate(&server, 200)?;
    let peak = running.daemons.iter().map(|daemon| daemon.peak_kib()).collect::<Result<Vec<_>, _>>()?;
    let of_daemons = |value: f64| (!running.daemons.is_empty()).then_some(value);
    Ok([
        Some(up.bits_per_second / 1e9),
        Some(down.bits_per_second / 1e9),
        Some(four.bits_per_second / 1e9),
        Some(udp_1200),
        Some(udp_200),
        Some(idle.p50_us),
        Some(idle.p99_us),
        Some(loaded.p50_us),
        Some(loaded.p99_us),
        Some(beside.bits_per_second / 1e9),
        of_daemons(used.daemons / gigabytes),
        Some(used.machine / gigabytes),
        peak.into_iter().max().map(|kib| kib as f64 / 1024.0),
        Some(up.retransmits + down.retransmits),
    ])
}

/// Round trips while a stream of TCP fills the path the same way, and the stream.
fn beside_tcp(
    options: &Options,
    offices: &Offices,
    server: &Server<'_>,
) -> Result<(RoundTrips, Tcp), String> {
    let seconds = options.seconds;
    let mut problem = String::new();
    for _ in 0..ATTEMPTS {
        let (streamed, pinged) = std::thread::scope(|scope| {
            // In one attempt: a stream that begins late leaves pings alone on the path.
            let stream = scope.spawn(move || server.tcp_at_once(seconds + 1));
            std::thread::sleep(FILLED_AFTER);
            let pinged = ping::for_seconds(offices, seconds);
            (stream.join().unwrap_or_else(|_| Err("the measuring thread ended".into())), pinged)
        });
        match streamed {
            Ok(tcp) => return Ok((pinged?, tcp)),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// Processor time in seconds.
struct Processor {
    daemons: f64,
    machine: f64,
}

impl Processor {
    fn now(running: &Running) -> Result<Self, String> {
        let seconds = running.daemons.iter().map(|daemon| daemon.processor_seconds());
        let daemons = seconds.sum::<Result<f64, String>>()?;
        Ok(Self { daemons, machine: machine::busy_seconds()? })
    }

    fn since(&self, before: &Self) -> Self {
        Self { daemons: self.daemons - before.daemons, machine: self.machine - before.machine }
    }
}
