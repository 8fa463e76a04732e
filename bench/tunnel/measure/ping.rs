//! Round trips, from the rows that `ping` writes.

use tieline_bench::figures::percentile;
use tieline_bench::process;

use crate::offices::Offices;

/// The first ones wake caches and neighbours; they are left out.
const WARM_UP: usize = 10;
/// Fewer say nothing about the hundredth. Where a stream takes the whole processor, ping itself asks a quarter as often as it should.
const ANSWERS_MIN: usize = 60;

/// Of all the pings that were answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrips {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// So many, 2 ms apart.
pub(super) fn idle(offices: &Offices, count: u32) -> Result<RoundTrips, String> {
    ping(offices, &format!("-i 0.002 -c {count} -w 20"))
}

/// One every 5 ms.
pub(super) fn for_seconds(offices: &Offices, seconds: u32) -> Result<RoundTrips, String> {
    ping(offices, &format!("-i 0.005 -w {seconds}"))
}

fn ping(offices: &Offices, options: &str) -> Result<RoundTrips, String> {
    let command = offices.b.command("ping").args(["-n"]).args(options.split_whitespace());
    let said = process::must(command.arg(offices.target.to_string()))?;
    let mut times = times_us(&said);
    // What was lost took for ever, but for the last one, whose answer the end may have cut off.
    let lost = lost(&said).ok_or_else(|| format!("ping does not say how many were answered: {said}"))?;
    times.extend(std::iter::repeat_n(f64::INFINITY, lost.saturating_sub(1)));
    if times.len() < WARM_UP + ANSWERS_MIN {
        return Err(format!("only {} pings of `{options}` were answered", times.len()));
    }
    let times = &mut times[WARM_UP..];
    let of = |times: &mut [f64], share| percentile(times, share).ok_or("no ping was answered".to_owned());
    Ok(RoundTrips { p50_us: of(times, 0.5)?, p99_us: of(times, 0.99)? })
}

fn times_us(said: &str) -> Vec<f64> {
    let time = |row: &str| row.split_once("time=")?.1.strip_suffix(" ms")?.parse::<f64>().ok();
    said.lines().filter_map(time).map(|milliseconds| milliseconds * 1000.0).collect()
}

fn lost(said: &str) -> Option<usize> {
    let (before, after) = said.split_once(" packets transmitted, ")?;
    let sent: usize = before.rsplit(char::is_whitespace).next()?.parse().ok()?;
    let received: usize = after.split(' ').next()?.parse().ok()?;
    Some(sent.saturating_sub(received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_with_a_time_counts_and_no_other() {
        let said = "PING 10.9.0.1 (10.9.0.1) 56(84) bytes of data.\n\
            64 bytes from 10.9.0.1: icmp_seq=1 ttl=64 time=0.266 ms\n\
            64 bytes from 10.9.0.1: icmp_seq=2 ttl=64 time=12.5 ms\n\
            \n--- 10.9.0.1 ping statistics ---\n3 packets transmitted, 2 received, 33% packet loss, time 4ms\n";
        assert_eq!(times_us(said), [266.0, 12_500.0]);
        assert_eq!(lost(said), Some(1));
    }
}
