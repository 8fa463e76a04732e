//! TAI64N: the date inside a handshake initiation.
//!
//! WireGuard uses it only as a number that grows: the responder keeps the greatest one seen and drops what is
//! not greater, so that a recorded initiation cannot be replayed (paper §5.4.2; format:
//! <https://cr.yp.to/libtai/tai64.html>).
//!
//! ```text
//!  0               8          12
//!  +---------------+----------+
//!  | seconds + 2^62| nanosec. |   both big endian, so octet order is order in time
//!  +---------------+----------+
//! ```

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A TAI64N label; compares as time does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64N([u8; Self::LEN]);

impl Tai64N {
    /// Octets on the wire.
    pub const LEN: usize = 12;

    /// The label of `wall`, rounded down to [`RESOLUTION_NANOSECONDS`] so that it does not tell the clock
    /// exactly (every WireGuard implementation does so, against timing attacks on the machine's clock).
    ///
    /// Dates before 1970 and those beyond the format count as its first and its last one.
    #[must_use]
    pub fn from_wall(wall: SystemTime) -> Self {
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = UNIX_EPOCH_LABEL.saturating_add(since_1970.as_secs());
        let nanoseconds = since_1970.subsec_nanos();
        Self::new(seconds, nanoseconds - nanoseconds % RESOLUTION_NANOSECONDS)
    }

    /// The label one [`RESOLUTION_NANOSECONDS`] later: the least that is greater and as coarse as
    /// [`Self::from_wall`].
    ///
    /// The greatest label of all has no successor and is returned as it is.
    #[must_use]
    pub fn next(self) -> Self {
        let nanoseconds = self.nanoseconds().saturating_add(RESOLUTION_NANOSECONDS);
        if nanoseconds < NANOSECONDS_PER_SECOND {
            return Self::new(self.seconds(), nanoseconds);
        }
        match self.seconds().checked_add(1) {
            Some(seconds) => Self::new(seconds, 0),
            None => self,
        }
    }

    /// Reads a label; any 12 octets are one, because a receiver only compares them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The octets on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }

    /// The date it stands for; `None` if this machine's clock cannot express it.
    #[must_use]
    pub fn to_wall(self) -> Option<SystemTime> {
        let seconds = self.seconds().checked_sub(UNIX_EPOCH_LABEL)?;
        let nanoseconds = u64::from(self.nanoseconds());
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?.checked_add(Duration::from_nanos(nanoseconds))
    }

    fn new(seconds: u64, nanoseconds: u32) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanoseconds.to_be_bytes());
        Self(bytes)
    }

    fn seconds(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn nanoseconds(self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Debug for Tai64N {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tai64N({:016x}.{:09})", self.seconds(), self.nanoseconds())
    }
}

/// How finely our own labels tell the time: 2^24 ns, about 17 ms.
pub const RESOLUTION_NANOSECONDS: u32 = 1 << 24;

/// The label of 1970-01-01 00:00:00 UTC, which is 10 s into TAI's 1970.
const UNIX_EPOCH_LABEL: u64 = (1 << 62) + 10;

const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanoseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
    }

    #[test]
    fn a_date_becomes_the_octets_of_the_format() {
        // 1992-06-02 08:07:09 TAI is the example of the format's page; 16 s of the difference are leap
        // seconds, which WireGuard leaves out: it adds the 10 s of 1970 and no more.
        let label = Tai64N::from_wall(at(0x2a2b_2c2d - 10, 0));
        assert_eq!(label.to_bytes(), [0x40, 0, 0, 0, 0x2a, 0x2b, 0x2c, 0x2d, 0, 0, 0, 0]);
    }

    #[test]
    fn nanoseconds_are_rounded_down_to_the_resolution() {
        let label = Tai64N::from_wall(at(1, 3 * u64::from(RESOLUTION_NANOSECONDS) + 12_345));
        assert_eq!(label.to_bytes(), [0x40, 0, 0, 0, 0, 0, 0, 11, 0x03, 0, 0, 0]);
    }

    #[test]
    fn later_dates_compare_greater() {
        let labels =
            [at(0, 0), at(0, 20_000_000), at(1, 0), at(255, 0), at(256, 0), at(u64::from(u32::MAX), 0)]
                .map(Tai64N::from_wall);
        assert!(labels.windows(2).all(|pair| pair[0] < pair[1]), "{labels:?}");
    }

    #[test]
    fn next_is_greater_and_stays_within_the_second_format() {
        let mut label = Tai64N::from_wall(at(7, 0));
        for _ in 0..200 {
            let next = label.next();
            assert!(next > label);
            assert!(next.nanoseconds() < NANOSECONDS_PER_SECOND);
            label = next;
        }
        assert_eq!(label.seconds(), UNIX_EPOCH_LABEL + 7 + 3, "200 steps of 2^24 ns are 3.4 s");
    }

    #[test]
    fn hostile_labels_have_a_next_and_do_not_panic() {
        let last = Tai64N::from_bytes([0xff; Tai64N::LEN]);
        assert_eq!(last.next(), last);
        assert_eq!(last.to_wall(), None);
        assert_eq!(Tai64N::from_bytes([0; Tai64N::LEN]).to_wall(), None);
    }

    #[test]
    fn a_label_returns_to_its_date() {
        let wall = at(1_700_000_000, 0);
        assert_eq!(Tai64N::from_wall(wall).to_wall(), Some(wall));
    }

    #[test]
    fn dates_before_1970_count_as_1970() {
        assert_eq!(Tai64N::from_wall(UNIX_EPOCH - Duration::from_secs(5)), Tai64N::from_wall(UNIX_EPOCH));
    }
}
