//! How much may be said: a bucket of tokens.

use std::time::Duration;

use tokio::time::Instant;

/// Things that may be said at once, as when somebody opens a window that shows all printers.
const BURST: f64 = 100.0;
/// Things that may be said each second for long.
const PER_SECOND: f64 = 50.0;

/// What may be said at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: BURST, filled: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since: Duration = now.saturating_duration_since(self.filled);
        self.tokens = (self.tokens + since.as_secs_f64() * PER_SECOND).min(BURST);
        self.filled = now;
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_and_then_a_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        let taken = |bucket: &mut Bucket, now| (0..1000).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, now), 100);
        assert_eq!(taken(&mut bucket, now + Duration::from_secs(1)), 50);
        assert_eq!(taken(&mut bucket, now + Duration::from_secs(1000)), 100);
    }
}
