//! iperf3 between the offices: a server in A, one client after the other in B.

use std::time::Duration;

use serde_json::Value;
use tieline_bench::process::{self, Daemon};

use crate::offices::Offices;

/// What a client may need beyond the time that it measures.
const GRACE_SECONDS: u32 = 10;
/// Attempts to reach a server that is still starting, or busy with the end of the measurement before.
pub(super) const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// Socket buffer of the programs that send and count datagrams. With the system's own of 92 datagrams the figure would be how long they are
/// kept from the processor.
const UDP_WINDOW: &str = "1M";

/// Which way the octets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From office B to office A.
    ToServer,
    /// From office A to office B.
    FromServer,
}

/// What TCP carried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp {
    pub(super) bits_per_second: f64,
    pub(super) octets: f64,
    pub(super) retransmits: f64,
}

impl Tcp {
    fn of(end: &Value) -> Result<Self, String> {
        let number = |sum: &str, key: &str| {
            end[sum][key].as_f64().ok_or(format!("iperf3 does not say {sum} {key}: {end}"))
        };
        Ok(Self {
            bits_per_second: number("sum_received", "bits_per_second")?,
            octets: number("sum_received", "bytes")?,
            retransmits: number("sum_sent", "retransmits")?,
        })
    }
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Udp {
    pub(super) sent_per_second: f64,
    pub(super) received_per_second: f64,
    /// 0 to 1.
    pub(super) lost: f64,
}

pub(super) struct Server<'o> {
    offices: &'o Offices,
    _daemon: Daemon,
}

impl<'o> Server<'o> {
    pub(super) fn start(offices: &'o Offices) -> Result<Self, String> {
        let office = &offices.a;
        let daemon = Daemon::start(office.command("iperf3").arg("--server"), office.folder.join("iperf3"))?;
        Ok(Self { offices, _daemon: daemon })
    }

    pub(super) fn tcp(&self, seconds: u32, streams: u32, direction: Direction) -> Result<Tcp, String> {
        let reverse = if direction == Direction::FromServer { " --reverse" } else { "" };
        Tcp::of(&self.measure(ATTEMPTS, seconds, &format!("--parallel {streams}{reverse}"))?)
    }

    /// One stream to the server, which begins now or not at all.
    pub(super) fn tcp_at_once(&self, seconds: u32) -> Result<Tcp, String> {
        Tcp::of(&self.measure(1, seconds, "")?)
    }

    /// Sends datagrams of `len` octets of payload for a second, `packets_per_second` if the sender can.
    pub(super) fn udp(&self, len: u32, packets_per_second: f64) -> Result<Udp, String> {
        let bits_per_second = packets_per_second * f64::from(len) * 8.0;
        let end = self.measure(
            ATTEMPTS,
            1,
            &format!("--udp --window {UDP_WINDOW} --length {len} --bitrate {bits_per_second:.0}"),
        )?;
        let number = |key: &str| end["sum"][key].as_f64().ok_or(format!("iperf3 does not say {key}: {end}"));
        let (packets, lost, seconds) = (number("packets")?, number("lost_packets")?, number("seconds")?);
        if packets <= 0.0 || seconds <= 0.0 {
            return Err(format!("iperf3 sent nothing: {end}"));
        }
        // Datagrams that overtook others are counted as lost and found again: never less than none.
        let lost = lost.max(0.0);
        Ok(Udp {
            sent_per_second: packets / seconds,
            received_per_second: (packets - lost) / seconds,
            lost: lost / packets,
        })
    }

    fn measure(&self, attempts: u32, seconds: u32, what: &str) -> Result<Value, String> {
        let (limit, target) = (seconds + GRACE_SECONDS, self.offices.target);
        let words = format!(
            "--kill-after=1 {limit} iperf3 --client {target} --time {seconds} --connect-timeout 3000 --json {what}"
        );
        let mut problem = String::new();
        for _ in 0..attempts {
            let command = self.offices.b.command("timeout").args(words.split_whitespace());
            match process::must(command).and_then(|said| end_of(&said)) {
                Ok(end) => return Ok(end),
                Err(error) => problem = error,
            }
            std::thread::sleep(BETWEEN_ATTEMPTS);
        }
        Err(format!("iperf3 {what}: {problem}"))
    }
}

/// The sums of a measurement. Some failures, such as a server that is busy, are told there only.
fn end_of(said: &str) -> Result<Value, String> {
    let mut said: Value = serde_json::from_str(said).map_err(|error| format!("{said}: {error}"))?;
    match said["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(said["end"].take()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_told_with_a_good_status_is_a_failure() {
        let busy = r#"{"start": {}, "intervals": [], "end": {}, "error": "the server is busy"}"#;
        assert_eq!(end_of(busy), Err("the server is busy".into()));
        assert_eq!(end_of(r#"{"end": {"sum": 1}}"#).map(|end| end["sum"].clone()), Ok(1.into()));
    }
}
