//! To which flow a packet belongs: the packets between two addresses and, with TCP and UDP, two ports, in either direction.

use std::net::{IpAddr, SocketAddr};

use tieline_wire::transport::FiveTuple;

/// A number that all packets of a flow have in common, and few of other flows; 0 for what is no IP packet. It tells nothing to the far end
/// and nobody's safety hangs on it, so it is cheap.
#[must_use]
pub fn hash(packet: &[u8]) -> u32 {
    FiveTuple::of(packet).map_or(0, |tuple| hash_of(&tuple))
}

/// As [`hash`], of what has been read.
#[must_use]
pub fn hash_of(tuple: &FiveTuple) -> u32 {
    // Of either direction the same: the two ends are added up.
    mix(end(tuple.source).wrapping_add(end(tuple.destination)))
}

fn end(address: SocketAddr) -> u32 {
    fold(address.ip()).wrapping_add(mix(address.port().into()))
}

fn fold(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => mix(v4.to_bits()),
        IpAddr::V6(v6) => v6
            .octets()
            .chunks_exact(4)
            .fold(0, |sum, word| mix(sum ^ u32::from_be_bytes([word[0], word[1], word[2], word[3]]))),
    }
}

/// Spreads what differs in few bits over all of them (the finisher of MurmurHash3).
fn mix(mut word: u32) -> u32 {
    word ^= word >> 16;
    word = word.wrapping_mul(0x85eb_ca6b);
    word ^= word >> 13;
    word = word.wrapping_mul(0xc2b2_ae35);
    word ^ word >> 16
}

#[cfg(test)]
mod tests {
    use tieline_wire::transport::{TCP, UDP};

    use super::*;

    /// A packet of UDP, or of what `protocol` says.
    fn v4(protocol: u8, source: (u8, u16), destination: (u8, u16), fragment: u16) -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, source.0, 10, 0, 0, destination.0];
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend(source.1.to_be_bytes());
        packet.extend(destination.1.to_be_bytes());
        packet.extend([0, 8, 0, 0]);
        packet
    }

    fn v6(source: (u8, u16), destination: (u8, u16)) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, UDP, 64];
        for (host, _) in [source, destination] {
            packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        }
        packet.extend(source.1.to_be_bytes());
        packet.extend(destination.1.to_be_bytes());
        packet.extend([0, 8, 0, 0]);
        packet
    }

    #[test]
    fn both_directions_are_one_flow() {
        let (a, b) = ((1, 1000), (2, 2000));
        assert_eq!(hash(&v4(UDP, a, b, 0)), hash(&v4(UDP, b, a, 0)));
        assert_eq!(hash(&v6(a, b)), hash(&v6(b, a)));
    }

    #[test]
    fn what_has_other_ports_or_addresses_is_another_flow() {
        let of = |source, destination| hash(&v4(TCP, source, destination, 0));
        assert_ne!(of((1, 1000), (2, 2000)), of((1, 1001), (2, 2000)));
        assert_ne!(of((1, 1000), (2, 2000)), of((1, 1000), (3, 2000)));
        assert_ne!(hash(&v6((1, 1000), (2, 2000))), hash(&v6((1, 1000), (2, 2001))));
    }

    #[test]
    fn fragments_of_a_packet_are_of_one_flow_with_or_without_its_ports() {
        let first = hash(&v4(UDP, (1, 1000), (2, 2000), 0x2000));
        assert_eq!(first, hash(&v4(UDP, (1, 5), (2, 6), 0x0003)));
        let icmp = 1;
        assert_eq!(hash(&v4(icmp, (1, 5), (2, 6), 0)), hash(&v4(icmp, (1, 7), (2, 8), 0)));
    }

    #[test]
    fn flows_spread() {
        let mut queues = [0; 15];
        for port in 0..1500 {
            queues[hash(&v4(TCP, (1, 40_000 + port), (2, 443), 0)) as usize % queues.len()] += 1;
        }
        assert!(queues.iter().all(|flows| (60..150).contains(flows)), "{queues:?}");
    }

    #[test]
    fn what_is_cut_short_or_no_packet_has_a_hash_as_well() {
        let whole = v4(UDP, (1, 1000), (2, 2000), 0);
        for len in 0..whole.len() {
            assert_eq!(hash(&whole[..len]), 0);
        }
        assert_eq!(hash(&[0xff; 40]), 0);
    }
}
