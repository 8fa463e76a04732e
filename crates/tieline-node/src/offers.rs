//! Which of the far end's networks are let in and routed to it.
//!
//! A network is refused, with a sentence why, if taking it would break something here: it is not in what the operator
//! accepts, it is ours, it holds the far end's own address, or it is no network that a line can carry. The rest is accepted.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use tieline_seal::PublicKey;
use tieline_wire::control::RefusedOffer;

use crate::config::{Accept, subnet::overlap};

/// What a network is held against.
#[derive(Debug)]
pub struct Surroundings<'s> {
    /// What the operator accepts.
    pub accept: &'s Accept,
    /// What this end offers.
    pub own_offers: &'s [IpNet],
    /// Networks that this machine reaches directly, with the name of the device.
    pub local: &'s [(IpNet, String)],
    /// Where the far end is reached.
    pub far_address: Option<IpAddr>,
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
        return Some("it is everything; sharing an internet connection is not possible yet".into());
    }
    if let Some(kind) = unroutable(network) {
        return Some(format!("it is {kind}, which no line carries"));
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
    let far = surroundings.far_address.filter(|far| network.contains(far))?;
    Some(format!("it holds {far}, over which the line itself runs"))
}

fn unroutable(network: &IpNet) -> Option<&'static str> {
    let address = network.addr();
    let v6_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let v4_link_local = matches!(address, IpAddr::V4(v4) if v4.is_link_local());
    if address.is_loopback() {
        Some("a loopback network")
    } else if address.is_multicast() {
        Some("a multicast network")
    } else if v4_link_local || v6_link_local {
        Some("a link-local network")
    } else if address.is_unspecified() {
        Some("without an address")
    } else {
        None
    }
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
            accept,
            own_offers: &own_offers,
            local: &local,
            far_address: Some("198.51.100.7".parse().unwrap()),
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
