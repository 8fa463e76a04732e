//! What may be set from outside while transfers run: the policy, and the cap over it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The lowest rate that can be set: an old modem's. Below it not even the control stream would work.
pub const RATE_MIN: Rate = Rate(8_000);
/// The highest rate that can be set, far above any line; rates of this size can be calculated with.
pub const RATE_MAX: Rate = Rate(1_000_000_000_000);

/// What the line adds to each packet of QUIC: IPv4 and UDP, head and tag of the sealed datagram, the label.
const WIRE_OVERHEAD_BYTES: u64 = 20 + 8 + 16 + 16 + 4;

const NO_CAP: u64 = 0;
const FAIR: u64 = 0;
const TRICKLE: u64 = 1;

/// A rate on the wire, in bits of IP packets each second, as an access line is sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// How a connection shares its path with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// At this rate, which is the company's own.
    Fixed(Rate),
    /// As much as there is, shared.
    #[default]
    Fair,
    /// What nobody else wants.
    Trickle,
}

/// Policy and cap of a line's stream connection; clones share them. By default fair and without a cap. What is set counts from the
/// connection's next packet on.
#[derive(Clone, Debug, Default)]
pub struct Limits(Arc<Settings>);

#[derive(Debug, Default)]
struct Settings {
    /// [`FAIR`], [`TRICKLE`], or the fixed rate: none is as low as those two.
    policy: AtomicU64,
    /// [`NO_CAP`], or the cap in bits each second.
    cap: AtomicU64,
}

impl Rate {
    /// The rate, or the nearest that can be set ([`RATE_MIN`], [`RATE_MAX`]).
    #[must_use]
    pub fn from_bits_per_second(bits_per_second: u64) -> Self {
        Self(bits_per_second.clamp(RATE_MIN.0, RATE_MAX.0))
    }

    /// Bits each second.
    #[must_use]
    pub fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Octets of QUIC each second that fill this rate on the wire, in packets of `mtu` octets.
    pub(super) fn octets(self, mtu: u64) -> u64 {
        self.0 / 8 * mtu / (mtu + WIRE_OVERHEAD_BYTES)
    }
}

impl Limits {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self.0.policy.load(Ordering::Relaxed) {
            FAIR => Policy::Fair,
            TRICKLE => Policy::Trickle,
            rate => Policy::Fixed(Rate(rate)),
        }
    }

    /// Sets the policy.
    pub fn set_policy(&self, policy: Policy) {
        let word = match policy {
            Policy::Fixed(Rate(rate)) => rate,
            Policy::Fair => FAIR,
            Policy::Trickle => TRICKLE,
        };
        self.0.policy.store(word, Ordering::Relaxed);
    }

    /// The rate that no policy exceeds, if there is one.
    #[must_use]
    pub fn cap(&self) -> Option<Rate> {
        let cap = self.0.cap.load(Ordering::Relaxed);
        (cap != NO_CAP).then_some(Rate(cap))
    }

    /// Sets the cap, or takes it away.
    pub fn set_cap(&self, cap: Option<Rate>) {
        self.0.cap.store(cap.map_or(NO_CAP, Rate::bits_per_second), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_without_a_cap_is_the_default() {
        assert_eq!((Limits::default().policy(), Limits::default().cap()), (Policy::Fair, None));
    }

    #[test]
    fn what_is_set_is_read_by_every_clone() {
        let limits = Limits::default();
        let clone = limits.clone();
        for policy in [Policy::Fixed(RATE_MIN), Policy::Trickle, Policy::Fixed(RATE_MAX), Policy::Fair] {
            limits.set_policy(policy);
            assert_eq!(clone.policy(), policy);
        }
        for cap in [Some(RATE_MIN), Some(RATE_MAX), None] {
            limits.set_cap(cap);
            assert_eq!(clone.cap(), cap);
        }
    }

    #[test]
    fn rates_that_cannot_be_set_become_the_nearest_that_can() {
        for (asked, rate) in [(0, RATE_MIN), (7_999, RATE_MIN), (u64::MAX, RATE_MAX)] {
            assert_eq!(Rate::from_bits_per_second(asked), rate);
        }
        assert_eq!(Rate::from_bits_per_second(100_000_000).bits_per_second(), 100_000_000);
    }

    #[test]
    fn heads_of_the_sealed_line_count_towards_a_rate() {
        // 1500 octets on the wire carry 1436 of QUIC.
        assert_eq!(Rate::from_bits_per_second(12_000_000).octets(1436), 1_436_000);
        assert!(RATE_MAX.octets(65_535) < RATE_MAX.bits_per_second() / 8, "nothing overflows");
    }
}
