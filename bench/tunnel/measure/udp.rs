//! The largest rate of datagrams of which nearly all arrive.

use super::iperf::Server;

/// The share that may be lost.
const LOST_MAX: f64 = 0.005;
/// Where the search begins, in packets a second.
const FIRST: f64 = 64_000.0;
/// Attempts; each takes a second. The last steps are of about 5 %.
const ATTEMPTS: u32 = 8;
/// A sender below this share of what was asked of it is at its end.
const SENDER_SHARE: f64 = 0.9;

/// Packets of `len` octets of UDP payload a second that were received at the largest rate at which fewer than 0.5 % were lost: doubled
/// from [`FIRST`] until more are, then halved in between.
///
/// # Errors
///
/// If nothing arrives at any rate.
pub(super) fn largest_rate(server: &Server<'_>, len: u32) -> Result<f64, String> {
    let (mut best, mut good, mut bad) = (0.0_f64, None, None);
    let mut problem = String::new();
    for _ in 0..ATTEMPTS {
        let Some(rate) = next_rate(good, bad) else { break };
        match server.udp(len, rate) {
            Ok(udp) if udp.lost < LOST_MAX => {
                best = best.max(udp.received_per_second);
                good = Some(rate);
                if udp.sent_per_second < rate * SENDER_SHARE {
                    break;
                }
            }
            Ok(_) => bad = Some(rate),
            // A path that is full to the brim may let the end of a measurement wait too long.
            Err(error) => {
                problem = error;
                bad = Some(rate);
            }
        }
    }
    if best > 0.0 { Ok(best) } else { Err(format!("no rate without loss for {len} octets: {problem}")) }
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
