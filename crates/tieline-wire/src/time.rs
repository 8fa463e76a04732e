//! The two clocks of a machine, as one input.
//!
//! The core never reads a clock. Whoever drives it passes [`Now`]: the monotonic clock, which all timers go by, and the
//! wall clock, which may be wrong and may step, and which is used only where a format carries a date.

use std::time::{Duration, Instant, SystemTime};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; all timers go by it.
    pub monotonic: Instant,
    /// The date as this machine believes it; may step either way.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks of this machine; for shells, never for the core.
    #[must_use]
    pub fn from_system() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The moment `later` after this one, on both clocks.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self { monotonic: self.monotonic + later, wall: self.wall + later }
    }
}
