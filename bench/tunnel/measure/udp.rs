//! The largest rate of datagrams of which nearly all arrive.

use super::iperf::{Server, Udp};

/// The share that may be lost.
const LOST_MAX: f64 = 0.005;
/// Where the search begins, in packets a second.
const FIRST: f64 = 64_000.0;
/// Rates that are tried. The last steps are of about 5 %.
const RATES: u32 = 8;
/// Seconds in which a rate may show that it loses too much. Something else on the machine can spoil one, and what has been taken for too
/// much bounds all rates after it.
const SECONDS_PER_RATE: u32 = 2;
/// A sender below this share of what was asked of it is at its end.
const SENDER_SHARE: f64 = 0.9;

/// Packets of `len` octets of UDP payload a second that were received at the largest rate at which fewer than 0.5 % were lost: doubled
/// from [`FIRST`] until more are, twice in a row, then halved in between.
///
/// # Errors
///
/// If nothing arrives at any rate.
pub(super) fn largest_rate(server: &Server<'_>, len: u32) -> Result<f64, String> {
    let (mut best, mut good, mut bad) = (0.0_f64, None, None);
    let mut problem = String::new();
    for _ in 0..RATES {
        let Some(rate) = next_rate(good, bad) else { break };
        match carried(server, len, rate) {
            Ok(Some(udp)) => {
                best = best.max(udp.received_per_second);
                good = Some(rate);
                if udp.sent_per_second < rate * SENDER_SHARE {
                    break;
                }
            }
            Ok(None) => bad = Some(rate),
            // A path that is full to the brim may let the end of a measurement wait too long.
            Err(error) => {
                problem = error;
                bad = Some(rate);
            }
        }
    }
    if best > 0.0 { Ok(best) } else { Err(format!("no rate without loss for {len} octets: {problem}")) }
}

/// What arrived in a second at `rate`; `None` if each time too much was lost.
fn carried(server: &Server<'_>, len: u32, rate: f64) -> Result<Option<Udp>, String> {
    for _ in 0..SECONDS_PER_RATE {
        let udp = server.udp(len, rate)?;
        if udp.lost < LOST_MAX {
            return Ok(Some(udp));
        }
    }
    Ok(None)
}

fn next_rate(good: Option<f64>, bad: Option<f64>) -> Option<f64> {
    /// Two that are so close are the same.
    const CLOSE: f64 = 1.03;
    match (good, bad) {
        (None, None) => Some(FIRST),
        (Some(good), None) => Some(good * 2.0),
        (None, Some(bad)) => Some(bad / 2.0),
        (Some(good), Some(bad)) => (bad / good > CLOSE).then(|| (good * bad).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_doubles_then_closes_in_and_ends() {
        assert_eq!(next_rate(None, None), Some(FIRST));
        assert_eq!(next_rate(Some(100.0), None), Some(200.0));
        assert_eq!(next_rate(None, Some(100.0)), Some(50.0));
        assert_eq!(next_rate(Some(100.0), Some(400.0)), Some(200.0));
        assert_eq!(next_rate(Some(100.0), Some(102.0)), None);
    }
}
