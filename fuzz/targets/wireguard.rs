//! The four messages of WireGuard: what is accepted is written again octet for octet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_wire::wireguard::{
    CookieReply, HandshakeInitiation, HandshakeResponse, MessageType, TransportHeader,
};

fuzz_target!(|datagram: &[u8]| {
    if let Ok(message) = HandshakeInitiation::parse(datagram) {
        let mut out = [0xa5; HandshakeInitiation::LEN];
        message.emit(&mut out);
        assert_eq!(out, datagram);
    }
    if let Ok(message) = HandshakeResponse::parse(datagram) {
        let mut out = [0xa5; HandshakeResponse::LEN];
        message.emit(&mut out);
        assert_eq!(out, datagram);
    }
    if let Ok(message) = CookieReply::parse(datagram) {
        let mut out = [0xa5; CookieReply::LEN];
        message.emit(&mut out);
        assert_eq!(out, datagram);
    }
    let mut buffer = datagram.to_vec();
    if let Ok((header, packet)) = TransportHeader::parse(&mut buffer) {
        assert_eq!(packet, &datagram[TransportHeader::LEN..]);
        let mut out = [0xa5; TransportHeader::LEN];
        header.emit(&mut out);
        assert_eq!(out, datagram[..TransportHeader::LEN]);
    }
    if MessageType::of(datagram).is_err() {
        assert!(HandshakeInitiation::parse(datagram).is_err());
        assert!(TransportHeader::parse(&mut buffer).is_err());
    }
});
