//! The announcement of the second cipher suite, AES-256-GCM: the end of a hello, if its sender has that suite.
//!
//! | 0: suite (2), 1 | 2: session, index at the sender (4) | 6: session, index at the receiver (4) | 10: index for the suite (4) |
//!
//! The three indices are octets as datagrams carry them (little endian). Both indices of the session name it, so that an
//! announcement that comes late is never taken for one of a later session.

use crate::wireguard::SessionIndex;

/// "Of this session I also open what is sealed with AES-256-GCM, if it comes to this index."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The session's index in datagrams to the end that announces.
    pub announcer: SessionIndex,
    /// The session's index in datagrams to the end that hears of it.
    pub hearer: SessionIndex,
    /// The index in datagrams to the end that announces, if they are sealed with AES-256-GCM.
    pub aes: SessionIndex,
}

impl Announcement {
    /// Octets of an announcement.
    pub const LEN: usize = 14;

    /// Reads the announcement at the front of `bytes`. `None` if it is cut short or for another suite, which is no
    /// error: whoever knows only the first suite goes on with that.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (suite, indices) = bytes.first_chunk::<{ Self::LEN }>()?.split_first_chunk::<2>()?;
        let mut indices =
            indices.as_chunks::<4>().0.iter().map(|octets| SessionIndex(u32::from_le_bytes(*octets)));
        if u16::from_be_bytes(*suite) != AES_256_GCM {
            return None;
        }
        Some(Self { announcer: indices.next()?, hearer: indices.next()?, aes: indices.next()? })
    }

    /// The announcement's octets.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let (suite, indices) = out.split_at_mut(2);
        suite.copy_from_slice(&AES_256_GCM.to_be_bytes());
        for (octets, index) in
            indices.as_chunks_mut::<4>().0.iter_mut().zip([self.announcer, self.hearer, self.aes])
        {
            *octets = index.0.to_le_bytes();
        }
        out
    }
}

const AES_256_GCM: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCEMENT: Announcement = Announcement {
        announcer: SessionIndex(0x0403_0201),
        hearer: SessionIndex(0x1413_1211),
        aes: SessionIndex(0x2423_2221),
    };
    const OCTETS: [u8; Announcement::LEN] =
        [0, 1, 0x01, 0x02, 0x03, 0x04, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24];

    #[test]
    fn an_announcement_has_golden_octets_both_ways() {
        assert_eq!(ANNOUNCEMENT.emit(), OCTETS);
        assert_eq!(Announcement::parse(&OCTETS), Some(ANNOUNCEMENT));
        assert_eq!(Announcement::parse(&[&OCTETS[..], b"more"].concat()), Some(ANNOUNCEMENT));
    }

    #[test]
    fn what_is_cut_short_or_of_another_suite_announces_nothing() {
        for len in 0..Announcement::LEN {
            assert_eq!(Announcement::parse(&OCTETS[..len]), None, "{len} octets");
        }
        for (octet, value) in [(0, 1), (1, 0), (1, 2)] {
            let mut other = OCTETS;
            other[octet] = value;
            assert_eq!(Announcement::parse(&other), None);
        }
    }
}
