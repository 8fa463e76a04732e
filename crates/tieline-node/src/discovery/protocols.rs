//! What is said in each protocol, and to whom.
//!
//! | protocol | said to | a question | an announcement |
//! |---|---|---|---|
//! | mDNS (RFC 6762) | 224.0.0.251:5353 | from another port than 5353 (§6.7), answered to the asker | all else from port 5353: questions too, for all hear the answers |
//! | SSDP | 239.255.255.250:1900 | `M-SEARCH` | `NOTIFY` |
//! | WS-Discovery | 239.255.255.250:3702 | `Probe`, `Resolve` | `Hello`, `Bye` |
//! | NetBIOS names (RFC 1002 §4.2.12) | all, port 137 | a query | nothing: who registers a name defends it in its own network |
//!
//! Other things are not passed on.

use std::net::Ipv4Addr;

use tieline_io::multicast::Group;
use tieline_wire::discovery::DiscoveryProtocol;

const MDNS_PORT: u16 = 5353;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Answered to who asks.
    Question,
    /// For all.
    Announcement,
}

/// To whom it is said.
pub(super) fn group(protocol: DiscoveryProtocol) -> Group {
    match protocol {
        // RFC 6762 §11: receivers may look for 255.
        DiscoveryProtocol::Mdns => {
            Group { address: Ipv4Addr::new(224, 0, 0, 251), port: MDNS_PORT, hops: 255 }
        }
        DiscoveryProtocol::Ssdp => Group { address: Ipv4Addr::new(239, 255, 255, 250), port: 1900, hops: 1 },
        DiscoveryProtocol::WsDiscovery => {
            Group { address: Ipv4Addr::new(239, 255, 255, 250), port: 3702, hops: 1 }
        }
        DiscoveryProtocol::Netbios => Group { address: Ipv4Addr::BROADCAST, port: 137, hops: 1 },
    }
}

/// What a host has said from `port`; none if it is not for others.
pub(super) fn heard(protocol: DiscoveryProtocol, port: u16, payload: &[u8]) -> Option<Heard> {
    match protocol {
        DiscoveryProtocol::Mdns => mdns(port, payload),
        DiscoveryProtocol::Ssdp => ssdp(payload),
        DiscoveryProtocol::WsDiscovery => ws_discovery(payload),
        DiscoveryProtocol::Netbios => netbios(payload),
    }
}

fn mdns(port: u16, payload: &[u8]) -> Option<Heard> {
    const HEADER_LEN: usize = 12;
    const RESPONSE: u8 = 0x80;
    let is_response = payload.get(2)? & RESPONSE != 0;
    match (payload.len() >= HEADER_LEN, port == MDNS_PORT) {
        (true, true) => Some(Heard::Announcement),
        // RFC 6762 §6: a response from another port is none.
        (true, false) if !is_response => Some(Heard::Question),
        _ => None,
    }
}

fn ssdp(payload: &[u8]) -> Option<Heard> {
    if payload.starts_with(b"M-SEARCH ") {
        Some(Heard::Question)
    } else {
        payload.starts_with(b"NOTIFY ").then_some(Heard::Announcement)
    }
}

/// The action is in the header of the envelope, as text between two tags.
fn ws_discovery(payload: &[u8]) -> Option<Heard> {
    let has = |action: &str| {
        let text = format!("/discovery/{action}<");
        payload.windows(text.len()).any(|window| window == text.as_bytes())
    };
    if has("Probe") || has("Resolve") {
        Some(Heard::Question)
    } else {
        (has("Hello") || has("Bye")).then_some(Heard::Announcement)
    }
}

fn netbios(payload: &[u8]) -> Option<Heard> {
    const HEADER_LEN: usize = 12;
    // Response, and the operation: 0 is a query.
    const RESPONSE_OR_OPERATION: u8 = 0xf8;
    let is_query = payload.len() > HEADER_LEN && payload[2] & RESPONSE_OR_OPERATION == 0;
    is_query.then_some(Heard::Question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_told_apart() {
        use DiscoveryProtocol::{Mdns, Netbios, Ssdp, WsDiscovery};
        let (query, response) = ([0; 12], [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        let action = |action: &str| {
            format!("<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/{action}</a:Action>")
                .into_bytes()
        };
        let name_query = [&[1, 2, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 32][..]].concat();
        let registration = [&[1, 2, 0x29, 0x10, 0, 1, 0, 0, 0, 0, 0, 1, 32][..]].concat();
        let name_response = [&[1, 2, 0x85, 0, 0, 0, 0, 1, 0, 0, 0, 0, 32][..]].concat();
        for (protocol, port, payload, expected) in [
            (Mdns, 5353, &query[..], Some(Heard::Announcement)),
            (Mdns, 5353, &response, Some(Heard::Announcement)),
            (Mdns, 40000, &query, Some(Heard::Question)),
            (Mdns, 40000, &response, None),
            (Mdns, 5353, &query[..11], None),
            (Mdns, 5353, &[], None),
            (Ssdp, 1, b"M-SEARCH * HTTP/1.1\r\n", Some(Heard::Question)),
            (Ssdp, 1, b"NOTIFY * HTTP/1.1\r\n", Some(Heard::Announcement)),
            (Ssdp, 1, b"HTTP/1.1 200 OK\r\n", None),
            (WsDiscovery, 1, &action("Probe"), Some(Heard::Question)),
            (WsDiscovery, 1, &action("Resolve"), Some(Heard::Question)),
            (WsDiscovery, 1, &action("Hello"), Some(Heard::Announcement)),
            (WsDiscovery, 1, &action("Bye"), Some(Heard::Announcement)),
            (WsDiscovery, 1, &action("ProbeMatches"), None),
            (WsDiscovery, 1, b"", None),
            (Netbios, 137, &name_query, Some(Heard::Question)),
            (Netbios, 137, &registration, None),
            (Netbios, 137, &name_response, None),
            (Netbios, 137, &name_query[..12], None),
        ] {
            assert_eq!(heard(protocol, port, payload), expected, "{protocol} {payload:?}");
        }
    }
}
