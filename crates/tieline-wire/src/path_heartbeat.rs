//! What the ends of a line with several paths say on each of them, on the associated channel: "I am here, and I hear you".
//!
//! | 0: path (1) | 1: flags (1) | 2: interval, ms (2) | 4: sequence (4) | 8: heard (4) | 12: age, µs (4) | 16: lost, ‰ (2) | 18: zero (2) |
//!
//! The flags: 1, the far end is heard on this path (only then `heard` and `age` mean something); 2, the sender sends its packets by this path; 4,
//! the sender wants voice by two paths; 8, packets go through the line, so heartbeats are wanted often. `heard` is the sequence of the newest heartbeat of the far end on this path, `age` how long ago it
//! came, so that its sender knows the round trip. As RFC 5880 has it, the sender says how often it sends ("interval"), and whoever hears nothing
//! for three times as long knows that the path is cut; and that it is not heard it learns from the flag ("Your Discriminator" of zero).

use std::time::Duration;

use crate::ParseError;

/// Octets of a heartbeat.
pub const LEN: usize = 20;
/// Paths of a line, numbered from 0.
pub const PATHS_MAX: usize = 4;

const FLAG_HEARS: u8 = 0x01;
const FLAG_CARRIES: u8 = 0x02;
const FLAG_WANTS_COPIES: u8 = 0x04;
const FLAG_BUSY: u8 = 0x08;
/// As much as there may be: all.
const PER_MILLE_MAX: u16 = 1000;

/// Which path of a line; the same number at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathId(u8);

impl PathId {
    /// The path of a line that has only one.
    pub const FIRST: Self = Self(0);

    /// The path with this number, if it may be one.
    #[must_use]
    pub fn new(number: usize) -> Option<Self> {
        u8::try_from(number).ok().filter(|_| number < PATHS_MAX).map(Self)
    }

    /// Its number, below [`PATHS_MAX`].
    #[must_use]
    pub fn number(self) -> usize {
        self.0.into()
    }
}

/// What is said on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which path it is sent by.
    pub path: PathId,
    /// Whether the sender's packets go by this path.
    pub carries: bool,
    /// Whether the sender wants voice by two paths.
    pub wants_copies: bool,
    /// Whether the sender has seen packets go through the line of late.
    pub is_busy: bool,
    /// Until the next one, in whole milliseconds, at least one.
    pub interval: Duration,
    /// Counts the heartbeats of the sender on this path.
    pub sequence: u32,
    /// What the sender hears of the far end on this path; none: it does not.
    pub hears: Option<Hears>,
    /// What the sender has missed of the last heartbeats of the far end, in thousandths.
    pub lost_per_mille: u16,
}

/// The newest heartbeat that came from the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hears {
    /// Which one.
    pub sequence: u32,
    /// How long ago it came, in whole microseconds.
    pub age: Duration,
}

impl Heartbeat {
    /// Reads a heartbeat; what follows it is ignored.
    ///
    /// # Errors
    ///
    /// `Truncated`; `Field` for a path beyond [`PATHS_MAX`], for an interval of nothing, and for more lost than all.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let Some(octets) = bytes.first_chunk::<LEN>() else {
            return Err(ParseError::Truncated { needed: LEN, found: bytes.len() });
        };
        let short = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let long =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let (flags, interval, lost_per_mille) = (octets[1], short(2), short(16));
        let path = PathId::new(octets[0].into())
            .ok_or(ParseError::Field { field: "path", value: octets[0].into() })?;
        if interval == 0 {
            return Err(ParseError::Field { field: "interval", value: 0 });
        }
        if lost_per_mille > PER_MILLE_MAX {
            return Err(ParseError::Field { field: "lost", value: lost_per_mille.into() });
        }
        let hears = Hears { sequence: long(8), age: Duration::from_micros(long(12).into()) };
        Ok(Self {
            path,
            carries: flags & FLAG_CARRIES != 0,
            wants_copies: flags & FLAG_WANTS_COPIES != 0,
            is_busy: flags & FLAG_BUSY != 0,
            interval: Duration::from_millis(interval.into()),
            sequence: long(4),
            hears: (flags & FLAG_HEARS != 0).then_some(hears),
            lost_per_mille,
        })
    }

    /// Its octets. What is more than fits into a field is said as the most that does.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        out[0] = self.path.0;
        out[1] = flag(self.hears.is_some(), FLAG_HEARS)
            | flag(self.carries, FLAG_CARRIES)
            | flag(self.wants_copies, FLAG_WANTS_COPIES)
            | flag(self.is_busy, FLAG_BUSY);
        let interval = u16::try_from(self.interval.as_millis()).unwrap_or(u16::MAX).max(1);
        out[2..4].copy_from_slice(&interval.to_be_bytes());
        out[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        if let Some(Hears { sequence, age }) = self.hears {
            let age = u32::try_from(age.as_micros()).unwrap_or(u32::MAX);
            out[8..12].copy_from_slice(&sequence.to_be_bytes());
            out[12..16].copy_from_slice(&age.to_be_bytes());
        }
        out[16..18].copy_from_slice(&self.lost_per_mille.min(PER_MILLE_MAX).to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Heartbeat = Heartbeat {
        path: PathId(1),
        carries: true,
        wants_copies: false,
        is_busy: true,
        interval: Duration::from_millis(50),
        sequence: 0x0102_0304,
        hears: Some(Hears { sequence: 0x0506_0708, age: Duration::from_micros(0x090a_0b0c) }),
        lost_per_mille: 21,
    };
    const OCTETS: [u8; LEN] = [1, 11, 0, 50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 21, 0, 0];

    #[test]
    fn a_heartbeat_has_golden_octets_both_ways() {
        assert_eq!(HEARTBEAT.emit(), OCTETS);
        assert_eq!(Heartbeat::parse(&OCTETS), Ok(HEARTBEAT));
        assert_eq!(Heartbeat::parse(&[&OCTETS[..], b"more"].concat()), Ok(HEARTBEAT));
    }

    #[test]
    fn who_hears_nothing_says_nothing_of_what_was_heard() {
        let deaf = Heartbeat { hears: None, carries: false, wants_copies: true, is_busy: false, ..HEARTBEAT };
        assert_eq!(deaf.emit()[1], 4);
        assert_eq!(deaf.emit()[8..16], [0; 8]);
        assert_eq!(Heartbeat::parse(&deaf.emit()), Ok(deaf));
    }

    #[test]
    fn what_is_cut_short_or_stands_for_nothing_is_refused() {
        for len in 0..LEN {
            let refused = ParseError::Truncated { needed: LEN, found: len };
            assert_eq!(Heartbeat::parse(&OCTETS[..len]), Err(refused));
        }
        for (at, value) in [(0, 4), (3, 0), (16, 4)] {
            let mut octets = OCTETS;
            octets[at] = value;
            assert!(matches!(Heartbeat::parse(&octets), Err(ParseError::Field { .. })), "octet {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_as_the_most_that_does() {
        let hears = Some(Hears { sequence: 1, age: Duration::from_hours(10) });
        let long = Heartbeat { interval: Duration::from_hours(1), hears, lost_per_mille: 2000, ..HEARTBEAT };
        let read = Heartbeat::parse(&long.emit()).unwrap();
        assert_eq!(read.interval, Duration::from_millis(u16::MAX.into()));
        assert_eq!(read.hears.unwrap().age, Duration::from_micros(u32::MAX.into()));
        assert_eq!(read.lost_per_mille, 1000);
    }

    #[test]
    fn what_is_understood_means_the_same_when_it_is_said_again() {
        for (at, value) in (0..LEN).flat_map(|at| (0..=u8::MAX).map(move |value| (at, value))) {
            let mut octets = OCTETS;
            octets[at] = value;
            if let Ok(heartbeat) = Heartbeat::parse(&octets) {
                assert_eq!(Heartbeat::parse(&heartbeat.emit()), Ok(heartbeat));
            }
        }
    }
}
