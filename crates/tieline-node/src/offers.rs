//! Which of the far end's networks are let in and routed to it.
//!
//! A network is refused, with a sentence why, if taking it would break something here: it is not in what the operator
//! accepts, it is ours, it holds the far end's own address, or it is no network that a line can carry. The rest is accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tieline_seal::PublicKey;
use tieline_wire::control::RefusedOffer;

use crate::config::{Accept, subnet::overlap};

/// The least prefix lengths of a network of an office: larger ones would take a good part of the internet into the line.
const PREFIX_LEN_MIN_V4: u8 = 8;
const PREFIX_LEN_MIN_V6: u8 = 16;

/// Networks whose packets no router passes on, with what they are (RFC 6890).
const UNROUTABLE: [(IpNet, &str); 9] = [
    (v4([0, 0, 0, 0], 8), "addresses of this host"),
    (v4([127, 0, 0, 0], 8), "loopback addresses"),
    (v4([169, 254, 0, 0], 16), "link-local addresses"),
    (v4([224, 0, 0, 0], 4), "multicast addresses"),
    (v4([240, 0, 0, 0], 4), "reserved addresses"),
    (v6([0; 8], 127), "the loopback address"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4 addresses in the clothes of IPv6"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local addresses"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast addresses"),
];

/// What a network is held against.
#[derive(Debug)]
pub struct Surroundings<'s> {
    /// This end's own address on the line.
    pub own_address: Ipv6Addr,
    /// What the operator accepts.
    pub accept: &'s Accept,
    /// What this end offers.
    pub own_offers: &'s [IpNet],
    /// Networks that this machine reaches directly, with the name of the device.
    pub local: &'s [(IpNet, String)],
    /// Where the far end is reached, by each path.
    pub far_addresses: &'s [IpAddr],
}

/// What becomes of the far end's networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Let in and routed.
    pub accepted: Vec<IpNet>,
    /// Not, and why.
    pub refused: Vec<RefusedOffer>,
}

/// Decides about each of `networks`.
#[must_use]
pub fn decide(networks: &[IpNet], surroundings: &Surroundings<'_>) -> Decision {
    let mut decision = Decision::default();
    for network in networks {
        let network = network.trunc();
        match objection(&network, surroundings) {
            Some(reason) => decision.refused.push(RefusedOffer { network, reason }),
            None if decision.accepted.contains(&network) => {}
            None => decision.accepted.push(network),
        }
    }
    decision
}

/// The address that the end with this key has on every line: a unique local IPv6 address (RFC 4193) whose last 64 bits
/// are the first of the key, so that both ends know both addresses without having to agree on any.
#[must_use]
pub fn line_address(key: &PublicKey) -> Ipv6Addr {
    const PREFIX: [u8; 8] = [0xfd, b't', b'i', b'e', b'l', b'i', 0, 0];
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&PREFIX);
    octets[8..].copy_from_slice(&key.as_bytes()[..8]);
    octets.into()
}

/// The one address as a network.
#[must_use]
pub fn line_network(key: &PublicKey) -> IpNet {
    Ipv6Net::from(line_address(key)).into()
}

fn objection(network: &IpNet, surroundings: &Surroundings<'_>) -> Option<String> {
    if network.prefix_len() == 0 {
        return Some(
            "it is everything; an internet connection is shared with `internet.offer = true`".into(),
        );
    }
    if let Some((_, what)) = UNROUTABLE.iter().find(|(unroutable, _)| overlap(unroutable, network)) {
        return Some(format!("it holds {what}, which no line carries"));
    }
    let prefix_len_min = if network.addr().is_ipv4() { PREFIX_LEN_MIN_V4 } else { PREFIX_LEN_MIN_V6 };
    if network.prefix_len() < prefix_len_min {
        return Some(format!(
            "it is larger than a /{prefix_len_min}; name the networks of the office singly"
        ));
    }
    if network.contains(&IpAddr::from(surroundings.own_address)) {
        return Some(format!(
            "it holds {}, the other end's own address on the line",
            surroundings.own_address
        ));
    }
    if let Accept::Only(accepted) = surroundings.accept
        && !accepted.iter().any(|accepted| accepted.contains(network))
    {
        return Some("it is not in `accept` of the configuration".into());
    }
    if let Some(own) = surroundings.own_offers.iter().find(|own| overlap(own, network)) {
        return Some(format!(
            "it overlaps {own}, which the other end offers itself: renumber one of the two"
        ));
    }
    if let Some((local, device)) = surroundings.local.iter().find(|(local, _)| overlap(local, network)) {
        return Some(format!(
            "it overlaps {local} at network device {device} of the other end: renumber one of the two"
        ));
    }
    let far = surroundings.far_addresses.iter().find(|far| network.contains(*far))?;
    Some(format!("it holds {far}, over which the line itself runs"))
}

const fn v4([a, b, c, d]: [u8; 4], prefix_len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix_len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn decided(offers: &[&str], accept: &Accept) -> Decision {
        let local = [("192.168.1.0/24".parse().unwrap(), "eth0".to_owned())];
        let own_offers = networks(&["10.1.0.0/24"]);
        let surroundings = Surroundings {
            own_address: "fd74:6965:6c69:0:102:304:506:708".parse().unwrap(),
            accept,
            own_offers: &own_offers,
            local: &local,
            far_addresses: &["203.0.113.9".parse().unwrap(), "198.51.100.7".parse().unwrap()],
        };
        decide(&networks(offers), &surroundings)
    }

    fn reason(offer: &str) -> String {
        let decision = decided(&[offer], &Accept::Offered);
        assert!(decision.accepted.is_empty());
        decision.refused[0].reason.clone()
    }

    #[test]
    fn ordinary_networks_are_accepted_once() {
        let decision = decided(&["10.2.0.0/24", "fd00:2::/64", "10.2.0.0/24"], &Accept::Offered);
        assert_eq!(decision.accepted, networks(&["10.2.0.0/24", "fd00:2::/64"]));
        assert!(decision.refused.is_empty());
    }

    #[test]
    fn what_would_break_something_here_is_refused_with_its_reason() {
        assert!(reason("0.0.0.0/0").contains("everything"));
        assert!(reason("10.0.0.0/8").contains("10.1.0.0/24"));
        assert!(reason("10.1.0.128/25").contains("10.1.0.0/24"));
        assert!(reason("192.168.0.0/16").contains("eth0"));
        assert!(reason("198.51.100.0/24").contains("198.51.100.7"));
        assert!(reason("127.0.0.0/8").contains("loopback"));
        assert!(reason("224.0.0.0/4").contains("multicast"));
        assert!(reason("fe80::/64").contains("link-local"));
        assert!(reason("fd74:6965:6c69::/48").contains("own address on the line"));
    }

    #[test]
    fn parts_of_everything_are_refused_as_everything_is() {
        assert!(reason("0.0.0.0/1").contains("this host"));
        assert!(reason("128.0.0.0/1").contains("link-local"));
        assert!(reason("64.0.0.0/2").contains("loopback"));
        assert!(reason("240.0.0.0/8").contains("reserved"));
        assert!(reason("16.0.0.0/5").contains("larger than a /8"));
        assert!(reason("2000::/3").contains("larger than a /16"));
        assert!(reason("::/1").contains("loopback"));
        assert!(reason("::ffff:0:0/96").contains("IPv4"));
    }

    #[test]
    fn only_what_the_operator_accepts_is_accepted() {
        let only = Accept::Only(networks(&["10.2.0.0/16"]));
        let decision = decided(&["10.2.7.0/24", "10.3.0.0/24"], &only);
        assert_eq!(decision.accepted, networks(&["10.2.7.0/24"]));
        assert!(decision.refused[0].reason.contains("accept"));
    }

    #[test]
    fn line_address_comes_from_the_key() {
        let key: PublicKey = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".parse().unwrap();
        assert_eq!(line_address(&key).to_string(), "fd74:6965:6c69:0:102:304:506:708");
    }
}
