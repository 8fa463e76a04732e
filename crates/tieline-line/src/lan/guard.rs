//! Whether the offices are joined in another way as well. A frame to all would then go round for ever, so nothing is carried until the other
//! way is gone for a while.
//!
//! Signs of a loop: a probe of either end of the line is heard in an office ([`tieline_wire::ethernet::probe`]), or a host is seen in one
//! office and in the other again and again ([`super::hosts`]). Probes go on while nothing is carried: they go by the other way.

use std::time::{Duration, Instant};

use tieline_wire::ethernet::MacAddress;

/// How often a probe goes into the office.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// For how long nothing is carried after the last sign of a loop.
pub const CLOSED_FOR: Duration = Duration::from_secs(20);

/// How a loop showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopSign {
    /// What this end sent into its office came back from there.
    OwnProbe,
    /// What the far end sent into its office was heard in this one.
    FarProbe,
    /// This card is in one office and in the other again and again.
    BackAndForth(MacAddress),
}

/// For how long the device's cable is out when frames are not carried any more: so the bridge forgets which hosts were behind it, and finds
/// them by the other way. In that time no probe is heard.
pub const UNPLUGGED_FOR: Duration = Duration::from_secs(3);
const _: () = assert!(UNPLUGGED_FOR.as_secs() * 2 < CLOSED_FOR.as_secs());

#[derive(Debug)]
pub(super) struct Guard {
    probe_due: Instant,
    closed_since: Instant,
    closed_until: Option<Instant>,
}

impl Guard {
    pub(super) fn new(now: Instant) -> Self {
        Self { probe_due: now, closed_since: now, closed_until: None }
    }

    /// There was a sign of a loop. Whether that is the first one.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        let begins = !self.is_closed(now);
        if begins {
            self.closed_since = now;
        }
        self.closed_until = Some(now + CLOSED_FOR);
        begins
    }

    /// Whether nothing is carried.
    pub(super) fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }

    /// Whether the device's cable is in.
    pub(super) fn is_plugged(&self, now: Instant) -> bool {
        !self.is_closed(now) || now.saturating_duration_since(self.closed_since) >= UNPLUGGED_FOR
    }

    /// Whether frames are carried again from now on; said once.
    pub(super) fn reopens(&mut self, now: Instant) -> bool {
        let reopens = self.closed_until.is_some_and(|until| until <= now);
        if reopens {
            self.closed_until = None;
        }
        reopens
    }

    /// Whether a probe is due; then the next one is due later.
    pub(super) fn takes_turn(&mut self, now: Instant) -> bool {
        let is_due = self.probe_due <= now;
        if is_due {
            self.probe_due = now + PROBE_INTERVAL;
        }
        is_due
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.probe_due
    }
}
