//! What a line reads of IP packets: never more than is there, never less than a header.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tieline_wire::ip::IpPacket;

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = IpPacket::parse(bytes) else { return };
    let header_len = match (bytes[0] >> 4, packet.source, packet.destination) {
        (4, IpAddr::V4(source), IpAddr::V4(destination)) => {
            assert_eq!((&source.octets()[..], &destination.octets()[..]), (&bytes[12..16], &bytes[16..20]));
            20
        }
        (6, IpAddr::V6(source), IpAddr::V6(destination)) => {
            assert_eq!((&source.octets()[..], &destination.octets()[..]), (&bytes[8..24], &bytes[24..40]));
            40
        }
        mixed => panic!("{mixed:?}"),
    };
    assert!((header_len..=bytes.len()).contains(&packet.total_len));
    assert_eq!(IpPacket::parse(&bytes[..packet.total_len]), Ok(packet));
});
