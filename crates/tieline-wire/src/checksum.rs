//! The internet checksum (RFC 1071) and the pseudo headers it covers (RFC 793 §3.1, RFC 8200 §8.1).

use std::net::IpAddr;

/// A one's complement sum that is not folded yet. Sums of parts add up to the sum of the whole, if every part but the last has an even
/// number of octets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Sums octets as words of 16 bits; an odd last octet is the high half of a word.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        // A one's complement sum does not care for the order of the octets in a word until it is folded (RFC 1071 §2 (B)), nor
        // for the width of the words that are added (C). So: the machine's own order, 64 bits wide, two at a time. The carries go into
        // the upper half, which costs an addition each: less than the check of every addition for overflow.
        let mut lanes = [0_u128; 2];
        let (blocks, rest) = octets.as_chunks::<16>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane = lane.wrapping_add(u64::from_ne_bytes(*word).into());
            }
        }
        let (words, odd) = rest.as_chunks::<2>();
        let rest: u64 = words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum();
        let odd = odd.first().map_or(0, |octet| u16::from_ne_bytes([*octet, 0]));
        Self(lanes.map(halves).iter().sum::<u64>() + rest + u64::from(odd))
    }

    /// The pseudo header of a transport segment of `len` octets between two addresses of one version.
    #[must_use]
    pub fn of_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Self {
        let of_address = |address| match address {
            IpAddr::V4(v4) => Self::of(&v4.octets()),
            IpAddr::V6(v6) => Self::of(&v6.octets()),
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let rest = [&len.to_be_bytes()[..], &[0, 0, 0, protocol]].map(Self::of);
        of_address(source) + of_address(destination) + rest[0] + rest[1]
    }

    /// The sum folded to 16 bits, in network byte order. Octets whose own checksum is among them, and right, give `ff ff`.
    #[must_use]
    pub fn fold(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum: the complement of the folded sum, in network byte order.
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        self.fold().map(|octet| !octet)
    }
}

/// A sum of words of 64 bits as one of words of 32 bits, so that it leaves room for others to be added.
fn halves(sum: u128) -> u64 {
    let octets = sum.to_ne_bytes();
    octets.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()
}

impl std::ops::Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_has_its_sum() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&octets).fold(), [0xdd, 0xf2]);
        assert_eq!(Sum::of(&octets).checksum(), [0x22, 0x0d]);
    }

    /// As RFC 1071 §1 defines it, word by word.
    fn plain(octets: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for word in octets.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (sum as u16).to_be_bytes()
    }

    #[test]
    fn every_length_is_summed_as_word_by_word_and_in_parts() {
        let octets: Vec<u8> = (0..200_u32).map(|n| (n * 151 + 17) as u8 | 0x80).collect();
        for len in 0..octets.len() {
            let octets = &octets[..len];
            assert_eq!(Sum::of(octets).fold(), plain(octets), "{len}");
            let (front, back) = octets.split_at(len / 4 * 2);
            assert_eq!((Sum::of(front) + Sum::of(back)).fold(), plain(octets), "{len}");
        }
        assert_eq!(Sum::of(&[0xff; 65_536]).fold(), [0xff, 0xff]);
    }

    #[test]
    fn a_udp_packet_summed_by_hand_is_right_with_its_pseudo_header() {
        // "Hi" from port 20 of 192.168.0.31 to port 10 of 192.168.0.30.
        let segment = [0x00, 0x14, 0x00, 0x0a, 0x00, 0x0a, 0x35, 0xc5, 0x48, 0x69];
        let pseudo = Sum::of_pseudo_header(
            "192.168.0.31".parse().unwrap(),
            "192.168.0.30".parse().unwrap(),
            17,
            segment.len(),
        );
        assert_eq!((pseudo + Sum::of(&segment)).fold(), [0xff, 0xff]);
    }
}
