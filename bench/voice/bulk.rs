//! What fills the line: a stream of TCP each way by iperf3, as long as it is told, or a file by the program.

use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::Value;
use tieline_bench::offices::Offices;
use tieline_bench::process::Daemon;

/// Of the first office's server; that of the other has the next one.
const PORT: u16 = 5201;
/// How often iperf3 writes down what has arrived.
const INTERVAL: &str = "0.5";
/// What a full line may need beyond the time of a stream to make a connection, and to end it.
const GRACE_SECONDS: u64 = 15;

/// A way that is full.
pub(crate) struct Stream {
    client: Child,
    begin: Instant,
    _server: Daemon,
}

/// What arrived of it.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    begin: Instant,
    /// Begin and end of each interval, in seconds after the begin, and its octets.
    intervals: Vec<(f64, f64, f64)>,
}

impl Stream {
    /// Fills the way from the office with this place, 0 or 1, for so many seconds. The client is where it arrives, so that what it writes
    /// down is what has arrived.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn start(offices: &Offices, from: usize, seconds: u64) -> Result<Self, String> {
        let (sender, receiver) = (offices.both()[from], offices.both()[1 - from]);
        let port = PORT + from as u16;
        let listen = sender.command("iperf3").args(["--server", "--port", &port.to_string()]);
        let server = Daemon::start(listen, sender.folder.join("iperf3"))?;
        sender.wait_until_bound("tcp", port)?;
        let limit = (seconds + GRACE_SECONDS).to_string();
        let command = receiver.command("timeout").args(["--kill-after=1", &limit, "iperf3"]);
        let command = command.args(["--client", &sender.address.to_string(), "--port", &port.to_string()]);
        let command =
            command.args(["--reverse", "--json", "--interval", INTERVAL, "--connect-timeout", "9000"]);
        let command = command.args(["--time", &seconds.to_string()]).stdin(Stdio::null());
        let begin = Instant::now();
        let client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let client = client.map_err(|error| format!("iperf3: {error}"))?;
        Ok(Self { client, begin, _server: server })
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// What iperf3 said.
    pub(crate) fn finish(self) -> Result<Carried, String> {
        let output = self.client.wait_with_output().map_err(|error| format!("iperf3: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let value: Value = serde_json::from_str(&said).map_err(|error| format!("iperf3: {said}: {error}"))?;
        let intervals: Vec<(f64, f64, f64)> =
            value["intervals"].as_array().into_iter().flatten().filter_map(interval).collect();
        // It may say that the other end did not end as it should: where the line is full, that one is told too late. What arrived, arrived.
        if intervals.is_empty() {
            return Err(format!("iperf3 carried nothing: {}", value["error"]));
        }
        Ok(Carried { begin: self.begin, intervals })
    }
}

impl Carried {
    /// The rate of what arrived between these moments. Those of iperf3 begin when it has a connection, some round trips late.
    pub(crate) fn mbit(&self, begin: Instant, end: Instant) -> f64 {
        let seconds = |at: Instant| at.saturating_duration_since(self.begin).as_secs_f64();
        let (begin, end) = (seconds(begin), seconds(end));
        let share = |&(from, to, octets): &(f64, f64, f64)| {
            let within = (to.min(end) - from.max(begin)).max(0.0);
            octets * within / (to - from).max(f64::MIN_POSITIVE)
        };
        self.intervals.iter().map(share).sum::<f64>() * 8e-6 / (end - begin).max(f64::MIN_POSITIVE)
    }
}

fn interval(value: &Value) -> Option<(f64, f64, f64)> {
    let sum = &value["sum"];
    Some((sum["start"].as_f64()?, sum["end"].as_f64()?, sum["bytes"].as_f64()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_share_of_an_interval_that_lies_in_the_window_counts() {
        let begin = Instant::now();
        let carried = Carried { begin, intervals: vec![(0.0, 1.0, 9e6), (1.0, 2.0, 1e6), (2.0, 3.0, 2e6)] };
        let at = |seconds| begin + Duration::from_secs_f64(seconds);
        assert!((carried.mbit(at(1.0), at(3.0)) - 12.0).abs() < 1e-6);
        assert!((carried.mbit(at(1.5), at(2.0)) - 8.0).abs() < 1e-6);
    }
}
